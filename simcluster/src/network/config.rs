//! How links behave when nothing is wrong.

use crate::entropy::Dice;
use std::time::Duration;

/// Latency, bandwidth, buffers and chunking of every link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// The shortest one-way latency; default 0.5 ms.
    pub latency_min: Duration,
    /// The longest one-way latency (uniformly drawn per segment); default 2 ms.
    pub latency_max: Duration,
    /// Probability that a write travels as two segments, and that a read yields only some of what is there; default 0.1.
    pub split_chance: f64,
    /// Bytes per second and direction of one connection; default unlimited.
    pub bandwidth: Option<u64>,
    /// How many bytes a client can write that have not arrived yet; default 256 KiB.
    pub send_buffer: usize,
    /// How many bytes can wait at a client to be read before the link holds the rest back; default 1 MiB.
    pub receive_window: usize,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency_min: Duration::from_micros(500),
            latency_max: Duration::from_millis(2),
            split_chance: 0.1,
            bandwidth: None,
            send_buffer: 256 * 1024,
            receive_window: 1024 * 1024,
        }
    }
}

impl LinkConfig {
    /// Draws a one-way latency.
    #[must_use]
    pub fn latency(&self, dice: &mut Dice) -> Duration {
        let jitter = self.latency_max.saturating_sub(self.latency_min);
        let jitter = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        self.latency_min + Duration::from_nanos(dice.below(jitter.saturating_add(1)))
    }
}
