//! How one node answers: counters, latencies, and what load balancing reads from them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::latency::Counts;
use super::{LatencySnapshot, NodeCounters};

/// Live counters of one node, in microseconds of a clock that its owner starts. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct NodeActivity {
    requests: AtomicU64,
    errors: AtomicU64,
    timeouts: AtomicU64,
    dials: AtomicU64,
    failed_dials: AtomicU64,
    /// When the latest answer and the one before it came; zero for never.
    latest_answer: AtomicU64,
    earlier_answer: AtomicU64,
    average_nanos: AtomicU64,
    answers: AtomicU64,
    /// Made with the first answer: most nodes of a large cluster never give one.
    latencies: OnceLock<Counts>,
}

impl NodeActivity {
    pub(crate) fn handle_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// An answer came at `now_micros` after `latency`.
    pub(crate) fn handle_answer(&self, now_micros: u64, latency: Duration) {
        // Loads and stores where nothing is counted: they cost a fraction of an exchange, and of two answers at once
        // one may be lost for all of this.
        self.earlier_answer.store(self.latest_answer.load(Ordering::Relaxed), Ordering::Relaxed);
        self.latest_answer.store(now_micros.max(1), Ordering::Relaxed);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX >> 4).min(u64::MAX >> 4);
        let average = self.average_nanos.load(Ordering::Relaxed);
        let answers = self.answers.load(Ordering::Relaxed);
        self.answers.store(answers + 1, Ordering::Relaxed);
        let next = if answers == 0 { nanos } else { average - average / 8 + nanos / 8 };
        self.average_nanos.store(next, Ordering::Relaxed);
        self.latencies.get_or_init(Counts::default).record(latency);
    }

    pub(crate) fn handle_error(&self, is_timeout: bool) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if is_timeout {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn handle_dial(&self, is_failed: bool) {
        self.dials.fetch_add(1, Ordering::Relaxed);
        if is_failed {
            self.failed_dials.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether fewer than two answers came within `period` before `now_micros`.
    pub(crate) fn is_silent(&self, now_micros: u64, period: Duration) -> bool {
        let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let earlier = self.earlier_answer.load(Ordering::Relaxed);
        earlier == 0 || now_micros.saturating_sub(earlier) > period
    }

    /// Average latency, how many answers it is made of, and when the latest came; `None` before the first.
    pub(crate) fn latency(&self) -> Option<(Duration, u64, u64)> {
        let answers = self.answers.load(Ordering::Relaxed);
        let average = Duration::from_nanos(self.average_nanos.load(Ordering::Relaxed));
        (answers > 0).then(|| (average, answers, self.latest_answer.load(Ordering::Relaxed)))
    }

    pub(crate) fn counters(&self) -> NodeCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NodeCounters {
            requests: read(&self.requests),
            errors: read(&self.errors),
            timeouts: read(&self.timeouts),
            dials: read(&self.dials),
            failed_dials: read(&self.failed_dials),
        }
    }

    pub(crate) fn latencies(&self) -> LatencySnapshot {
        self.latencies.get().map(Counts::snapshot).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn node_is_silent_until_two_answers_came_within_the_period() {
        let activity = NodeActivity::default();
        assert!(activity.is_silent(1_000_000, 200 * MS));
        activity.handle_answer(900_000, MS);
        assert!(activity.is_silent(1_000_000, 200 * MS), "one answer");
        activity.handle_answer(950_000, MS);
        assert!(!activity.is_silent(1_100_000, 200 * MS), "two answers");
        assert!(activity.is_silent(1_100_001, 200 * MS), "the earlier one is too old");
    }

    #[test]
    fn average_follows_the_latest_answers() {
        let activity = NodeActivity::default();
        assert_eq!(activity.latency(), None);
        activity.handle_answer(1, 80 * MS);
        assert_eq!(activity.latency(), Some((80 * MS, 1, 1)));
        for now in 2..100 {
            activity.handle_answer(now, 8 * MS);
        }
        let (average, answers, latest) = activity.latency().unwrap();
        assert!((7 * MS..9 * MS).contains(&average), "{average:?}");
        assert_eq!((answers, latest, activity.latencies().count()), (99, 99, 99));
    }
}
