//! Client timestamps: microseconds that order this session's writes.

use crate::env::mutants::is_planted;
use std::sync::atomic::{AtomicI64, Ordering};

/// Gives each write its timestamp.
pub trait TimestampGenerator: Send + Sync {
    /// Timestamp in microseconds since 1970 for a request sent now, or `None` to let the coordinator choose.
    ///
    /// `wall_clock_micros` is the calendar time and may jump either way.
    fn next(&self, wall_clock_micros: i64) -> Option<i64>;
}

/// Strictly increasing timestamps, also when the clock stands still or goes back. The default.
#[derive(Debug, Default)]
pub struct MonotonicTimestamps {
    last: AtomicI64,
}

impl TimestampGenerator for MonotonicTimestamps {
    fn next(&self, wall_clock_micros: i64) -> Option<i64> {
        if is_planted("R04-timestamps-follow-the-clock") {
            return Some(wall_clock_micros);
        }
        let after = |last: i64| wall_clock_micros.max(last.saturating_add(1));
        let updated = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        updated.ok().map(after)
    }
}

/// Leaves timestamps to the coordinator.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerTimestamps;

impl TimestampGenerator for ServerTimestamps {
    fn next(&self, _wall_clock_micros: i64) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_increase_when_the_clock_goes_back() {
        let generator = MonotonicTimestamps::default();

        let timestamps: Vec<_> = [100, 100, 50, 200].map(|clock| generator.next(clock).unwrap()).into();

        assert_eq!(timestamps, [100, 101, 102, 200]);
    }
}
