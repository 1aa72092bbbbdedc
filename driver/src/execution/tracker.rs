//! Tells an application about each of its requests.

use std::time::Duration;

use uuid::Uuid;

use super::error::{Attempt, Error};

/// Learns how requests end: for slow logs, audits, metrics of one's own. Called by the task of the caller, before it
/// gets its result: it must return at once and must not panic.
pub trait RequestTracker: Send + Sync {
    /// A request was answered. Default: nothing.
    fn on_success(&self, request: &TrackedRequest<'_>) {
        let _ = request;
    }

    /// A request failed. Default: nothing.
    fn on_error(&self, request: &TrackedRequest<'_>, error: &Error) {
        let _ = (request, error);
    }
}

/// A request that has ended. Each page of a paged query is one.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TrackedRequest<'a> {
    /// What was asked for.
    pub kind: RequestKind,
    /// The CQL text; `None` for batches.
    pub text: Option<&'a str>,
    /// Host id of the node that answered.
    pub coordinator: Option<Uuid>,
    /// From the call to its end, all attempts included.
    pub elapsed: Duration,
    /// What was tried beside the attempt that was answered.
    pub attempts: &'a [Attempt],
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestKind {
    /// Text to run.
    Query,
    /// Text to prepare.
    Prepare,
    /// A prepared statement to run.
    Execute,
    /// Several statements.
    Batch,
}
