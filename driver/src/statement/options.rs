//! Options of one call; what is not set falls back to the session's defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Profile;
use crate::policy::{Retry, SpeculativeExecution};
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
    /// What of the limit is used up before the request is sent, by preparing its text.
    pub spent: Duration,
    /// Whether executing the statement twice has the effect of executing it once.
    pub is_idempotent: Option<bool>,
    /// Rows per page.
    pub page_size: Option<i32>,
    /// Client timestamp in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// Whether the cluster records a trace.
    pub is_traced: bool,
    /// Where to resume a paged query, in the server's own form.
    pub paging_state: Option<Bytes>,
    /// What few calls set.
    pub overrides: Option<Arc<Overrides>>,
}

/// Options that few calls set, kept apart so that the others stay small.
#[derive(Clone, Default)]
pub struct Overrides {
    /// Host id of the only node to ask.
    pub node: Option<Uuid>,
    /// Limit of each attempt.
    pub attempt_timeout: Option<Duration>,
    /// What unqualified names of the statement mean; protocol v5.
    pub keyspace: Option<Arc<str>>,
    /// Bytes for the server's query handler.
    pub custom_payload: Option<Arc<BTreeMap<String, Bytes>>>,
    profile: Option<Result<Arc<Profile>, String>>,
    retry: Option<Arc<dyn Retry>>,
    speculation: Option<Arc<dyn SpeculativeExecution>>,
}

impl StatementOptions {
    pub(crate) fn overrides_mut(&mut self) -> &mut Overrides {
        Arc::make_mut(self.overrides.get_or_insert_default())
    }
}

impl Overrides {
    /// Takes options from `profile`; an unknown name is reported when the call is made.
    pub(crate) fn set_profile(&mut self, profile: Result<Arc<Profile>, String>) {
        self.profile = Some(profile);
    }

    pub(crate) fn set_retry(&mut self, policy: Arc<dyn Retry>) {
        self.retry = Some(policy);
    }

    pub(crate) fn set_speculation(&mut self, policy: Arc<dyn SpeculativeExecution>) {
        self.speculation = Some(policy);
    }

    /// The profile of the call, or the name of one that does not exist.
    pub(crate) fn profile(&self) -> Result<Option<&Profile>, &str> {
        match &self.profile {
            None => Ok(None),
            Some(Ok(profile)) => Ok(Some(profile)),
            Some(Err(name)) => Err(name),
        }
    }

    /// The call's own policy, or its profile's.
    pub(crate) fn retry(&self) -> Option<&Arc<dyn Retry>> {
        self.retry.as_ref().or_else(|| self.profile().ok()??.retry.as_ref())
    }

    /// The call's own policy, or its profile's.
    pub(crate) fn speculation(&self) -> Option<&Arc<dyn SpeculativeExecution>> {
        self.speculation.as_ref().or_else(|| self.profile().ok()??.speculation.as_ref())
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides").field("node", &self.node).field("profile", &self.profile).finish_non_exhaustive()
    }
}
