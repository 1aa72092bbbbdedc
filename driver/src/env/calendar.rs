//! Calendar time for many requests at the price of one clock.
//!
//! # Invariants
//!
//! - Calendar time that goes on steadily is reported exactly; after a jump of the wall clock the time before it goes on
//!   for at most 10 ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::{Instant, WallClock};

/// How long the wall clock is trusted to go on as fast as the monotonic one.
const LOOK_INTERVAL_NANOS: u64 = 10_000_000;

/// Follows the wall clock by the monotonic one, which a request reads anyway.
pub struct Calendar {
    wall_clock: Arc<dyn WallClock>,
    /// Nanoseconds of the wall clock minus those of the monotonic one.
    ahead: AtomicI64,
    /// When the wall clock was looked at, in nanoseconds of the monotonic one; zero for never.
    looked_at: AtomicU64,
}

impl Calendar {
    /// Has not looked at `wall_clock` yet.
    pub fn new(wall_clock: Arc<dyn WallClock>) -> Self {
        Self { wall_clock, ahead: AtomicI64::new(0), looked_at: AtomicU64::new(0) }
    }

    /// Microseconds since 1970-01-01T00:00:00Z at `now`, which is the present.
    pub fn unix_micros(&self, now: Instant) -> i64 {
        let nanos = now.nanos();
        let since = nanos.wrapping_sub(self.looked_at.load(Ordering::Acquire));
        if since > LOOK_INTERVAL_NANOS {
            return self.look(nanos);
        }
        (self.ahead.load(Ordering::Relaxed).wrapping_add(nanos.cast_signed())).div_euclid(NANOS_PER_MICRO)
    }

    #[cold]
    fn look(&self, nanos: u64) -> i64 {
        let micros = self.wall_clock.unix_micros();
        if let Some(wall_nanos) = micros.checked_mul(NANOS_PER_MICRO) {
            self.ahead.store(wall_nanos.wrapping_sub(nanos.cast_signed()), Ordering::Relaxed);
            self.looked_at.store(nanos, Ordering::Release);
        }
        micros
    }
}

const NANOS_PER_MICRO: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Adjustable(AtomicI64);

    impl WallClock for Adjustable {
        fn unix_micros(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calendar_goes_on_with_the_monotonic_clock_and_follows_jumps_of_the_wall_clock() {
        let wall_clock = Arc::new(Adjustable(AtomicI64::new(1_000_000)));
        let calendar = Calendar::new(Arc::<Adjustable>::clone(&wall_clock));
        let start = Instant::now();
        let after = |micros| calendar.unix_micros(start + Duration::from_micros(micros));
        assert_eq!([after(0), after(1), after(9_999)], [1_000_000, 1_000_001, 1_009_999]);
        wall_clock.0.store(-7, Ordering::Relaxed);
        assert_eq!(after(10_000), 1_010_000, "not looked at yet");
        assert_eq!([after(10_001), after(10_003)], [-7, -5]);
        wall_clock.0.store(i64::MAX, Ordering::Relaxed);
        assert_eq!([after(30_000), after(30_001)], [i64::MAX; 2], "beyond what can be followed it is asked each time");
    }
}
