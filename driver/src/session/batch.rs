//! Batches: several writes in one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::binding::Bound;
use super::handle::Session;
use super::result::{Applied, QueryResult};
use crate::execution::Result;
use crate::policy::{Retry, SpeculativeExecution};
use crate::protocol::{BatchType, Consistency, SerialConsistency};
use crate::statement::{BatchEntry, Statement, StatementOptions};
use crate::value::{BindValues, DecodeRow};

/// A batch about to be executed. It is routed to the partition of its first prepared statement.
#[must_use = "nothing is sent before execute or apply"]
pub struct BatchQuery<'v> {
    session: Session,
    batch_type: BatchType,
    parts: Vec<(Statement, Box<dyn BindValues + Send + Sync + 'v>)>,
    options: StatementOptions,
}

impl<'v> BatchQuery<'v> {
    pub(super) fn new(session: Session, batch_type: BatchType) -> Self {
        Self { session, batch_type, parts: Vec::new(), options: StatementOptions::default() }
    }

    /// Adds a statement with its values. At most 65,535 are allowed; more are reported by the ending method.
    pub fn push(mut self, statement: impl Into<Statement>, values: impl BindValues + Send + Sync + 'v) -> Self {
        self.parts.push((statement.into(), Box::new(values)));
        self
    }

    /// Consistency level. Default: the session's.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.options.consistency = Some(consistency);
        self
    }

    /// Level at which conditions are decided. Default: the session's.
    pub fn serial_consistency(mut self, consistency: SerialConsistency) -> Self {
        self.options.serial_consistency = Some(consistency);
        self
    }

    /// Declares that executing the batch twice has the effect of executing it once. Ignored for counter batches.
    pub fn idempotent(mut self, is_idempotent: bool) -> Self {
        self.options.is_idempotent = Some(is_idempotent);
        self
    }

    /// Limit of the whole call with all its attempts. Default: the session's.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Limit of each attempt. Default: the session's.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.options.overrides_mut().attempt_timeout = Some(limit);
        self
    }

    /// Timestamp of the writes in microseconds since 1970. Default: the session's generator.
    pub fn timestamp(mut self, micros: i64) -> Self {
        self.options.timestamp = Some(micros);
        self
    }

    /// Has the cluster record a trace. Default: no.
    pub fn tracing(mut self, is_traced: bool) -> Self {
        self.options.is_traced = is_traced;
        self
    }

    /// What unqualified names mean in the batch's texts; protocol v5. Prepared statements keep the keyspace they were
    /// prepared in. Case-sensitive, without quotes. Default: the session's.
    ///
    /// With an older protocol the ending method reports [`ErrorKind::Encode`](crate::ErrorKind::Encode).
    pub fn keyspace(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.overrides_mut().keyspace = Some(name.into());
        self
    }

    /// Bytes for the server's query handler; protocol v4 and later.
    pub fn custom_payload(mut self, payload: BTreeMap<String, Bytes>) -> Self {
        self.options.overrides_mut().custom_payload = Some(Arc::new(payload));
        self
    }

    /// Takes the options that the call does not set from the profile `name` of the session.
    ///
    /// A name that the session does not know is reported by the ending method.
    pub fn profile(mut self, name: &str) -> Self {
        let profile = self.session.profile_named(name);
        self.options.overrides_mut().set_profile(profile);
        self
    }

    /// Decides about retries of this call. Default: the session's policy.
    pub fn retry(mut self, policy: Arc<dyn Retry>) -> Self {
        self.options.overrides_mut().set_retry(policy);
        self
    }

    /// Decides about parallel executions of this call, if it is idempotent. Default: the session's policy.
    pub fn speculative_execution(mut self, policy: Arc<dyn SpeculativeExecution>) -> Self {
        self.options.overrides_mut().set_speculation(policy);
        self
    }

    /// Asks only the node with this host id, whatever the load-balancing policy says. Default: no such node.
    pub fn node(mut self, host_id: Uuid) -> Self {
        self.options.overrides_mut().node = Some(host_id);
        self
    }

    /// Executes the batch.
    ///
    /// # Errors
    ///
    /// As `Query::execute`.
    pub async fn execute(mut self) -> Result<QueryResult> {
        let mut entries = Vec::with_capacity(self.parts.len());
        for (statement, values) in &self.parts {
            entries.push(match self.session.bind(statement, &**values, &mut self.options).await? {
                Bound::Text { text, .. } => BatchEntry::Text(text),
                Bound::Prepared { statement, values, .. } => BatchEntry::Prepared { statement, values },
            });
        }
        self.session.execute_batch(self.batch_type, &entries, &self.options).await
    }

    /// Executes a conditional batch; if it was not applied, `T` is read from the first existing row.
    ///
    /// # Errors
    ///
    /// As `Query::apply`.
    pub async fn apply<T: for<'a> DecodeRow<'a>>(self) -> Result<Applied<T>> {
        self.execute().await?.applied()
    }
}

impl std::fmt::Debug for BatchQuery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchQuery")
            .field("batch_type", &self.batch_type)
            .field("statements", &self.parts.len())
            .finish_non_exhaustive()
    }
}
