//! Parallel attempts of slow idempotent requests.

use std::time::Duration;

use crate::observe::LatencyHistogram;

/// What a policy may know when it schedules the next parallel execution.
#[derive(Debug, Clone, Copy)]
pub struct SpeculationFacts<'a> {
    /// Executions started so far, the first one included.
    pub started: u32,
    /// Latencies of the session's recent successful attempts.
    pub latencies: &'a LatencyHistogram,
}

/// Decides when to start another execution while earlier ones are still unanswered.
///
/// Consulted after a request was sent, and only for requests declared idempotent; never for conditional ones and
/// never for counters.
pub trait SpeculativeExecution: Send + Sync {
    /// Time after the latest execution was sent at which the next one starts; `None` starts no more.
    fn next_execution(&self, facts: SpeculationFacts<'_>) -> Option<Duration>;
}

/// Starts no parallel executions. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSpeculation;

impl SpeculativeExecution for NoSpeculation {
    fn next_execution(&self, _facts: SpeculationFacts<'_>) -> Option<Duration> {
        None
    }
}

/// Starts up to `max_extra` parallel executions, one each `delay`.
#[derive(Debug, Clone, Copy)]
pub struct ConstantSpeculation {
    /// Executions beyond the first.
    pub max_extra: u32,
    /// Time between two starts.
    pub delay: Duration,
}

impl SpeculativeExecution for ConstantSpeculation {
    fn next_execution(&self, facts: SpeculationFacts<'_>) -> Option<Duration> {
        (facts.started <= self.max_extra).then_some(self.delay)
    }
}

/// Starts up to `max_extra` parallel executions, each once the latest is slower than `percentile` percent of the
/// session's recent requests were.
///
/// Until [`Self::SAMPLES_MIN`] latencies are known nothing is started: a cold session knows no percentile.
#[derive(Debug, Clone, Copy)]
pub struct PercentileSpeculation {
    /// Executions beyond the first.
    pub max_extra: u32,
    /// Between 0 and 100, such as 99.0.
    pub percentile: f64,
}

impl PercentileSpeculation {
    /// Latencies that must be known before the percentile means anything.
    pub const SAMPLES_MIN: u64 = 100;
}

impl SpeculativeExecution for PercentileSpeculation {
    fn next_execution(&self, facts: SpeculationFacts<'_>) -> Option<Duration> {
        if facts.started > self.max_extra {
            return None;
        }
        let snapshot = facts.latencies.recent();
        (snapshot.count() >= Self::SAMPLES_MIN).then(|| snapshot.percentile(self.percentile))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(policy: &dyn SpeculativeExecution, started: u32, latencies: &LatencyHistogram) -> Option<Duration> {
        policy.next_execution(SpeculationFacts { started, latencies })
    }

    #[test]
    fn constant_policy_starts_at_most_its_extra_executions() {
        let policy = ConstantSpeculation { max_extra: 2, delay: Duration::from_millis(5) };
        let latencies = LatencyHistogram::default();

        assert_eq!(next(&policy, 1, &latencies), Some(Duration::from_millis(5)));
        assert_eq!(next(&policy, 2, &latencies), Some(Duration::from_millis(5)));
        assert_eq!(next(&policy, 3, &latencies), None);
    }

    #[test]
    fn percentile_policy_waits_until_it_knows_enough_latencies() {
        let policy = PercentileSpeculation { max_extra: 1, percentile: 90.0 };
        let latencies = LatencyHistogram::default();
        for _ in 0..99 {
            latencies.record(Duration::from_millis(10));
        }
        assert_eq!(next(&policy, 1, &latencies), None);

        latencies.record(Duration::from_millis(10));

        let delay = next(&policy, 1, &latencies).unwrap();
        assert!((Duration::from_millis(9)..=Duration::from_millis(12)).contains(&delay), "{delay:?}");
        assert_eq!(next(&policy, 2, &latencies), None);
    }

    #[test]
    fn percentile_policy_follows_the_recent_latencies() {
        let policy = PercentileSpeculation { max_extra: 1, percentile: 50.0 };
        let latencies = LatencyHistogram::default();
        for _ in 0..LatencyHistogram::WINDOW * 3 {
            latencies.record(Duration::from_millis(1));
        }
        for _ in 0..LatencyHistogram::WINDOW * 2 {
            latencies.record(Duration::from_millis(100));
        }

        let delay = next(&policy, 1, &latencies).unwrap();

        assert!(delay >= Duration::from_millis(90), "{delay:?}");
    }
}
