//! Monotonic time: the only users of `tokio::time`.
//!
//! Under a paused tokio runtime all of this is virtual, which is what lets a simulation run
//! hours of driver time in milliseconds. Timers have a grain of one millisecond.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

/// A point of monotonic time. Adding saturates: a far deadline is never a panic.
///
/// Nanoseconds from a point of the process's past: requests compare and subtract instants several times, which
/// seconds with a fraction make dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

/// What [`ORIGIN`] counts as. Large enough for the clocks of other runtimes, which may have started before it, and small
/// enough to leave room for [`HORIZON`].
const ORIGIN_NANOS: u64 = 1 << 62;

/// The first instant that was read.
static ORIGIN: OnceLock<tokio::time::Instant> = OnceLock::new();

/// Longest distance a deadline may lie in the future; farther ones are moved here.
const HORIZON: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Instant {
    /// Reads the monotonic clock.
    #[inline]
    pub fn now() -> Self {
        let now = Self::now_of_tokio();
        let origin = *ORIGIN.get_or_init(|| now);
        let nanos = match now.checked_duration_since(origin) {
            Some(after) => ORIGIN_NANOS.saturating_add(nanos_of(after)),
            None => ORIGIN_NANOS.saturating_sub(nanos_of(origin.saturating_duration_since(now))),
        };
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the one path to monotonic time")]
    fn now_of_tokio() -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    /// For [`super::Calendar`]: the absolute value means nothing, differences are nanoseconds.
    pub(super) fn nanos(self) -> u64 {
        self.0.get()
    }

    /// Whole microseconds passed since `earlier`; zero if `earlier` is later.
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get()) / 1_000
    }

    /// The instant for tokio's timers.
    fn to_tokio(self) -> tokio::time::Instant {
        let nanos = self.0.get() - 1;
        let origin = *ORIGIN.get_or_init(Self::now_of_tokio);
        let moved = match nanos.checked_sub(ORIGIN_NANOS) {
            Some(after) => origin.checked_add(Duration::from_nanos(after)),
            None => origin.checked_sub(Duration::from_nanos(ORIGIN_NANOS - nanos)),
        };
        moved.unwrap_or(origin)
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// Time passed since this instant.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(duration.min(HORIZON))))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// In 64 bits throughout: this is in the way of every request, and 584 years are long enough.
#[inline]
fn nanos_of(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration.min(HORIZON)).await;
}

/// Waits until `deadline`; returns at once if it has passed.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.to_tokio()).await;
}

/// Runs `future` for at most `limit`.
///
/// # Errors
///
/// [`Elapsed`] if the limit was reached first; the future has been dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(limit.min(HORIZON), future).await.map_err(|_| Elapsed)
}

/// The time limit given to [`timeout`] was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time limit reached")
    }
}

impl std::error::Error for Elapsed {}

/// A timer that can be moved, for tasks that poll. Allocates once.
pub struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    deadline: Instant,
}

impl Timer {
    /// A timer that fires at `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(deadline.to_tokio())), deadline }
    }

    /// Moves the timer; does nothing if `deadline` is the one it has and it has not fired.
    pub fn set(&mut self, deadline: Instant) {
        if deadline != self.deadline || self.sleep.is_elapsed() {
            self.deadline = deadline;
            self.sleep.as_mut().reset(deadline.to_tokio());
        }
    }

    /// Makes sure that the timer fires at `deadline` or earlier.
    ///
    /// A timer that may fire too early is cheaper than one that is moved all the time.
    pub fn set_at_most(&mut self, deadline: Instant) {
        if deadline < self.deadline || self.sleep.is_elapsed() {
            self.set(deadline);
        }
    }

    /// Ready once the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("deadline", &self.deadline).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn adding_more_than_a_century_stays_in_range() {
        let now = Instant::now();
        assert_eq!(now + Duration::MAX, now + HORIZON);
        assert_eq!(now - (now + HORIZON), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn instants_before_the_first_one_read_keep_their_distances() {
        let now = Instant::now();
        let before = Instant(NonZeroU64::new(ORIGIN_NANOS - 5_000).unwrap());
        assert_eq!(before + Duration::from_nanos(7) - before, Duration::from_nanos(7));
        assert_eq!(now.to_tokio(), Instant::now().to_tokio());
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_timer_fires_at_its_new_deadline() {
        let start = Instant::now();
        let mut timer = Timer::new(start + Duration::from_secs(10));
        timer.set(start + Duration::from_secs(2));
        std::future::poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
