//! Monotonic time: the only users of `tokio::time`.
//!
//! Under a paused tokio runtime all of this is virtual, which is what lets a simulation run
//! hours of driver time in milliseconds. Timers have a grain of one millisecond.

use std::fmt;
use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A point of monotonic time. Adding saturates: a far deadline is never a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(tokio::time::Instant);

/// Longest distance a deadline may lie in the future; farther ones are moved here.
const HORIZON: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Instant {
    /// Reads the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "the one path to monotonic time")]
    pub fn now() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// Time passed since this instant.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let moved = self.0.checked_add(duration.min(HORIZON));
        Self(moved.unwrap_or(self.0))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration.min(HORIZON)).await;
}

/// Waits until `deadline`; returns at once if it has passed.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.0).await;
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
        Self { sleep: Box::pin(tokio::time::sleep_until(deadline.0)), deadline }
    }

    /// Moves the timer; does nothing if `deadline` is the one it has and it has not fired.
    pub fn set(&mut self, deadline: Instant) {
        if deadline != self.deadline || self.sleep.is_elapsed() {
            self.deadline = deadline;
            self.sleep.as_mut().reset(deadline.0);
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
    async fn a_moved_timer_fires_at_its_new_deadline() {
        let start = Instant::now();
        let mut timer = Timer::new(start + Duration::from_secs(10));
        timer.set(start + Duration::from_secs(2));
        std::future::poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
