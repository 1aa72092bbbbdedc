//! What the driver asks of the world: sockets, randomness, the wall clock and tasks.
//!
//! A session never touches these directly, it receives an [`Environment`]. Production uses
//! [`Environment::tokio`]; a simulation passes its own and thereby decides every outcome.
//! Monotonic time is the exception: it is always `tokio::time`, which a paused runtime makes
//! virtual, and it is reached only through [`Instant`], [`sleep`], [`sleep_until`], [`timeout`]
//! and [`Timer`].
//!
//! # Invariants
//!
//! - Nothing outside this folder opens a socket, spawns a task, reads a clock or draws randomness.
//! - The traits are object-safe, so a session has no type parameters.

mod calendar;
pub mod mutants;
mod time;
mod tokio_world;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

pub use calendar::Calendar;
pub use time::{Elapsed, Instant, Timer, sleep, sleep_until, timeout};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything the driver needs from outside, erased once. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// Opens byte streams and resolves names.
    pub transport: Arc<dyn Transport>,
    /// Source of every random decision.
    pub entropy: Arc<dyn Entropy>,
    /// Calendar time, for client timestamps.
    pub wall_clock: Arc<dyn WallClock>,
    /// Runs background tasks.
    pub spawner: Arc<dyn Spawner>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Opens connections to cluster nodes.
pub trait Transport: Send + Sync {
    /// Opens a byte stream to `address`. May stay pending forever: the caller sets the limit.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>>;

    /// Resolves a host name to all its addresses.
    ///
    /// A resolver may return them in any order; an empty list is not an error.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// A connected, ordered, reliable stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> ByteStream for T {}

/// Source of random numbers.
pub trait Entropy: Send + Sync {
    /// Returns 64 uniformly distributed bits.
    ///
    /// `purpose` names the decision being made (`"reconnection jitter"`), so that a simulation can
    /// give each purpose its own sequence and one more draw elsewhere changes nothing here.
    fn draw(&self, purpose: &'static str) -> u64;
}

/// Calendar time.
pub trait WallClock: Send + Sync {
    /// Returns microseconds since 1970-01-01T00:00:00Z; negative before. May jump either way.
    fn unix_micros(&self) -> i64;
}

/// Runs background tasks.
pub trait Spawner: Send + Sync {
    /// Starts `task` and returns a handle to it. `name` is for logs and leak reports.
    ///
    /// Dropping the handle leaves the task running.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;
}

/// A running background task. Awaiting it resolves once the task has ended, however it ended.
///
/// Dropping it neither stops nor joins the task.
pub struct TaskHandle {
    ended: BoxFuture<'static, ()>,
    abort: Box<dyn Fn() + Send + Sync>,
}

impl TaskHandle {
    /// Builds a handle for a [`Spawner`] implementation.
    ///
    /// `ended` resolves when the task has finished, panicked or been aborted and its captured
    /// values are dropped. `abort` asks it to stop at its next await; calling it twice, or after
    /// the end, must do nothing.
    pub fn new(ended: BoxFuture<'static, ()>, abort: impl Fn() + Send + Sync + 'static) -> Self {
        Self { ended, abort: Box::new(abort) }
    }

    /// Asks the task to stop at its next await. Await the handle to know that it has.
    pub fn abort(&self) {
        (self.abort)();
    }
}

impl Future for TaskHandle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.ended.as_mut().poll(cx)
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskHandle")
    }
}
