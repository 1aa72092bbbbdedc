//! The event kernel: virtual time, an ordered map of events, and the tasks of the code under test.
//!
//! It runs inside one paused current-thread tokio runtime, so that the code under test keeps its timers and channels.

mod clock;
mod drive;
mod queue;
mod race;
mod time;

pub use clock::Clock;
pub use drive::{Budget, EventWorld, Stop, StopReason, drive, paused_runtime};
pub use queue::EventQueue;
pub use race::{First, race};
pub use time::{NodeId, Now, SimInstant};
