//! How long to wait before dialling an unreachable node again.
//!
//! # Invariants
//!
//! - A schedule never ends: a node that comes back after a week is found without any event.
//! - A delay lies within `[base, max]`, also after 2^32 attempts.

use std::time::Duration;

/// Chooses the delay before each reconnection attempt.
pub trait Reconnection: Send + Sync {
    /// Delay before attempt number `failures` in a row, counting from one after the first failure.
    ///
    /// `random` is 64 uniformly distributed bits, for jitter.
    fn delay(&self, failures: u32, random: u64) -> Duration;

    /// The longest delay [`Self::delay`] returns; used at once for failures that waiting rarely cures, such as
    /// refused credentials.
    fn max_delay(&self) -> Duration;
}

/// Doubles the delay from `base` to `max`, spread by 15 % either way. The default: 500 ms to 60 s.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialReconnection {
    base: Duration,
    max: Duration,
}

impl ExponentialReconnection {
    /// Builds a schedule from `base` to `max`.
    ///
    /// A zero `base` would reconnect in a busy loop: it is raised to 1 ms. A `max` below `base` is raised to it.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { base, max: max.max(base) }
    }
}

impl Default for ExponentialReconnection {
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(60))
    }
}

impl Reconnection for ExponentialReconnection {
    fn delay(&self, failures: u32, random: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(63);
        let factor = u32::try_from(1_u64 << doublings.min(31)).unwrap_or(u32::MAX);
        let delay = self.base.saturating_mul(factor).min(self.max);
        // 85 % to 115 % in steps of a tenth of a percent.
        let permille = 850 + u32::try_from(random % 301).unwrap_or(150);
        (delay.saturating_mul(permille) / 1000).clamp(self.base, self.max)
    }

    fn max_delay(&self) -> Duration {
        self.max
    }
}

/// Waits the same time before each attempt.
#[derive(Debug, Clone, Copy)]
pub struct ConstantReconnection {
    delay: Duration,
}

impl ConstantReconnection {
    /// Builds a constant schedule; a zero delay is raised to 1 ms.
    #[must_use]
    pub fn new(delay: Duration) -> Self {
        Self { delay: delay.max(Duration::from_millis(1)) }
    }
}

impl Reconnection for ConstantReconnection {
    fn delay(&self, _failures: u32, _random: u64) -> Duration {
        self.delay
    }

    fn max_delay(&self) -> Duration {
        self.delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum() {
        let schedule = ExponentialReconnection::new(Duration::from_secs(1), Duration::from_secs(60));
        let no_jitter = 150;

        let seconds: Vec<u64> = (1..=8).map(|failures| schedule.delay(failures, no_jitter).as_secs()).collect();

        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn jitter_stays_within_fifteen_percent_and_inside_the_bounds() {
        let schedule = ExponentialReconnection::new(Duration::from_secs(1), Duration::from_secs(60));

        for random in 0..301 {
            let fourth = schedule.delay(4, random);
            assert!(fourth >= Duration::from_millis(6800) && fourth <= Duration::from_millis(9200));
            assert!(schedule.delay(1, random) >= Duration::from_secs(1));
            assert!(schedule.delay(30, random) <= Duration::from_secs(60));
        }
    }

    #[test]
    fn schedule_survives_any_number_of_failures() {
        let schedule = ExponentialReconnection::new(Duration::MAX / 2, Duration::MAX);

        assert!(schedule.delay(u32::MAX, u64::MAX) <= Duration::MAX);
        assert!(ExponentialReconnection::new(Duration::ZERO, Duration::ZERO).delay(0, 0) > Duration::ZERO);
    }

    #[test]
    fn delays_are_those_documented_where_nothing_is_configured() {
        let schedule = ExponentialReconnection::default();
        let no_jitter = 150;

        assert_eq!(schedule.delay(1, no_jitter), Duration::from_millis(500));
        assert_eq!(
            (schedule.delay(20, no_jitter), schedule.max_delay()),
            (Duration::from_secs(60), Duration::from_secs(60))
        );
    }

    #[test]
    fn a_constant_schedule_waits_the_same_each_time() {
        let schedule = ConstantReconnection::new(Duration::from_secs(3));

        for (failures, random) in [(1, 0), (2, 7), (1000, u64::MAX)] {
            assert_eq!(schedule.delay(failures, random), Duration::from_secs(3));
        }
        assert_eq!(schedule.max_delay(), Duration::from_secs(3));
        assert!(ConstantReconnection::new(Duration::ZERO).delay(1, 0) > Duration::ZERO, "a busy loop");
    }
}
