//! The production environment: tokio sockets and tasks, the system clock, process randomness.
//!
//! This is the one file of the driver that touches the real world.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::{BoxFuture, ByteStream, Entropy, Environment, Spawner, TaskHandle, Transport, WallClock};

impl Environment {
    /// The production environment. Use the session inside a tokio runtime with I/O and time.
    pub fn tokio() -> Self {
        Self {
            transport: Arc::new(TcpTransport),
            entropy: Arc::new(ProcessEntropy::new()),
            wall_clock: Arc::new(SystemClock),
            spawner: Arc::new(TokioSpawner),
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::tokio()
    }
}

struct TcpTransport;

impl Transport for TcpTransport {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            // Requests are flushed in whole batches already; waiting for more only adds latency.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host.as_str(), port)).await?.collect()) })
    }
}

/// Randomness for load balancing and jitter, not for secrets: SplitMix64 from a seed that the
/// standard library takes from the operating system.
struct ProcessEntropy {
    state: AtomicU64,
}

impl ProcessEntropy {
    fn new() -> Self {
        let seed = RandomState::new().build_hasher().finish();
        Self { state: AtomicU64::new(seed) }
    }
}

impl Entropy for ProcessEntropy {
    fn draw(&self, _purpose: &'static str) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the production wall clock")]
    fn unix_micros(&self) -> i64 {
        let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        }
    }
}

struct TokioSpawner;

impl Spawner for TokioSpawner {
    #[expect(clippy::disallowed_methods, reason = "the production spawner")]
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let join = tokio::spawn(task);
        let abort = join.abort_handle();
        let ended = Box::pin(async move {
            // A panic was already reported by the panic hook; the task has ended either way.
            let _ = join.await;
        });
        TaskHandle::new(ended, move || abort.abort())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_aborted_task_ends_and_its_handle_resolves() {
        let environment = Environment::tokio();
        let handle = environment.spawner.spawn("test", Box::pin(std::future::pending()));
        handle.abort();
        handle.await;
    }

    #[test]
    fn process_entropy_does_not_repeat_itself() {
        let entropy = ProcessEntropy::new();
        assert_ne!(entropy.draw("test"), entropy.draw("test"));
    }
}
