//! The bridge between simulated time and tokio's clock.

use super::SimInstant;
use std::time::Duration;
use tokio::time::Instant;

/// Reads simulated time: tokio's clock since the start of the run.
///
/// In a paused runtime that is virtual time, in any other one it is real time (the `tcp` engine).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts at this moment. Must be called inside the runtime whose time it shows.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the simulation's one path to tokio's clock")]
    pub fn start_now() -> Self {
        Self { start: Instant::now() }
    }

    /// The present moment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the simulation's one path to tokio's clock")]
    pub fn now(&self) -> SimInstant {
        SimInstant::START + Instant::now().saturating_duration_since(self.start)
    }

    /// The same moment on tokio's clock.
    #[must_use]
    pub fn instant(&self, at: SimInstant) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }
}
