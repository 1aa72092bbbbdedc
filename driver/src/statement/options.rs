//! Options of one call; what is not set falls back to the session's defaults.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::protocol::{Consistency, SerialConsistency};

/// How one call is executed.
#[derive(Debug, Clone, Default)]
pub struct StatementOptions {
    /// Consistency level.
    pub consistency: Option<Consistency>,
    /// Level at which the condition of a conditional statement is decided.
    pub serial_consistency: Option<SerialConsistency>,
    /// Limit of the whole call, all attempts included; of each page when paging.
    pub timeout: Option<Duration>,
    /// Limit of each attempt.
    pub attempt_timeout: Option<Duration>,
    /// Whether executing the statement twice has the effect of executing it once.
    pub is_idempotent: Option<bool>,
    /// Rows per page.
    pub page_size: Option<i32>,
    /// Client timestamp in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// Whether the cluster records a trace.
    pub is_traced: bool,
    /// Bytes for the server's query handler.
    pub custom_payload: Option<Arc<BTreeMap<String, Bytes>>>,
    /// Where to resume a paged query.
    pub paging_state: Option<Bytes>,
}
