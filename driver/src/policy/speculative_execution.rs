//! Parallel attempts of slow idempotent requests.

use std::time::Duration;

/// Decides when to start another attempt while earlier ones are still unanswered.
///
/// Consulted only for requests declared idempotent, and never for conditional ones.
pub trait SpeculativeExecution: Send + Sync {
    /// Delay before the next parallel attempt when `running` attempts are unanswered; `None` starts no more.
    fn next_execution(&self, running: u32) -> Option<Duration>;
}

/// Starts no parallel attempts. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSpeculation;

impl SpeculativeExecution for NoSpeculation {
    fn next_execution(&self, _running: u32) -> Option<Duration> {
        None
    }
}

/// Starts up to `max_extra` parallel attempts, one each `delay`.
#[derive(Debug, Clone, Copy)]
pub struct ConstantSpeculation {
    /// Attempts beyond the first.
    pub max_extra: u32,
    /// Time between two starts.
    pub delay: Duration,
}

impl SpeculativeExecution for ConstantSpeculation {
    fn next_execution(&self, running: u32) -> Option<Duration> {
        (running <= self.max_extra).then_some(self.delay)
    }
}
