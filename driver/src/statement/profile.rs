//! Execution profiles: options that many calls share, under a name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{LoadBalancing, Retry, SpeculativeExecution};
use crate::protocol::{Consistency, SerialConsistency};

/// Options for a kind of calls, such as reports or background jobs. What a profile leaves open is the session's
/// default; what a call sets itself comes before its profile.
#[derive(Clone, Default)]
#[must_use = "give it to SessionBuilder::profile"]
pub struct Profile {
    pub(crate) consistency: Option<Consistency>,
    pub(crate) serial_consistency: Option<SerialConsistency>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) page_size: Option<i32>,
    pub(crate) is_idempotent: Option<bool>,
    pub(crate) load_balancing: Option<Arc<dyn LoadBalancing>>,
    pub(crate) retry: Option<Arc<dyn Retry>>,
    pub(crate) speculation: Option<Arc<dyn SpeculativeExecution>>,
}

impl Profile {
    /// A profile that leaves everything to the session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Consistency level.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = Some(consistency);
        self
    }

    /// Level at which conditions are decided.
    pub fn serial_consistency(mut self, consistency: SerialConsistency) -> Self {
        self.serial_consistency = Some(consistency);
        self
    }

    /// Limit of the whole call with all its attempts, and of each page when paging.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limit of each attempt.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = Some(limit);
        self
    }

    /// Rows per page.
    pub fn page_size(mut self, rows: i32) -> Self {
        self.page_size = Some(rows);
        self
    }

    /// Whether calls that do not say are idempotent.
    pub fn idempotent(mut self, is_idempotent: bool) -> Self {
        self.is_idempotent = Some(is_idempotent);
        self
    }

    /// Orders the coordinators. Nodes that the session's own policy ignores stay ignored: nothing connects to them.
    pub fn load_balancing(mut self, policy: Arc<dyn LoadBalancing>) -> Self {
        self.load_balancing = Some(policy);
        self
    }

    /// Decides about retries.
    pub fn retry(mut self, policy: Arc<dyn Retry>) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Decides about parallel executions.
    pub fn speculative_execution(mut self, policy: Arc<dyn SpeculativeExecution>) -> Self {
        self.speculation = Some(policy);
        self
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("consistency", &self.consistency)
            .field("serial_consistency", &self.serial_consistency)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("page_size", &self.page_size)
            .field("is_idempotent", &self.is_idempotent)
            .finish_non_exhaustive()
    }
}
