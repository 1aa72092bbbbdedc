//! One call: a statement, its values and its options, ended by the method that says what is wanted back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::binding::work_of;
use super::handle::{Session, has_followup};
use super::paging_state::PagingState;
use super::result::{Applied, QueryResult, row_error};
use super::rows::{Pages, RowStream, resume};
use crate::execution::{Error, ErrorKind, Explanation, Result};
use crate::policy::{Retry, SpeculativeExecution};
use crate::protocol::{Consistency, SerialConsistency};
use crate::statement::{Statement, StatementOptions};
use crate::value::{BindValues, DecodeRow};

/// A statement about to be executed. Nothing is sent before one of the ending methods is awaited.
///
/// Dropping an ending method's future gives the request up: the cluster may still execute it.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before execute, all, one, optional, pages, stream or apply"]
pub struct Query<V = ()> {
    session: Session,
    statement: Statement,
    values: V,
    options: StatementOptions,
    /// Boxed: few calls have one.
    resumed: Option<Box<PagingState>>,
}

impl Query<()> {
    pub(super) fn new(session: Session, statement: Statement) -> Self {
        Self { session, statement, values: (), options: StatementOptions::default(), resumed: None }
    }
}

impl<V> Query<V> {
    /// Gives the statement its values: a tuple, a vector, or names with values.
    ///
    /// Values that do not fit are reported by the ending method, as [`ErrorKind::Bind`].
    pub fn bind<W: BindValues>(self, values: W) -> Query<W> {
        Query { session: self.session, statement: self.statement, values, options: self.options, resumed: self.resumed }
    }

    /// Consistency level. Default: the session's, `LOCAL_QUORUM` unless set.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.options.consistency = Some(consistency);
        self
    }

    /// Level at which a condition is decided. Default: the session's, `LOCAL_SERIAL` unless set.
    pub fn serial_consistency(mut self, consistency: SerialConsistency) -> Self {
        self.options.serial_consistency = Some(consistency);
        self
    }

    /// Declares that executing the statement twice has the effect of executing it once, which allows retries after
    /// attempts that may have been executed. Default: the session's, false unless set.
    pub fn idempotent(mut self, is_idempotent: bool) -> Self {
        self.options.is_idempotent = Some(is_idempotent);
        self
    }

    /// Limit of the whole call with all its attempts, and of each page when paging. Default: the session's, 10 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// Limit of each attempt; useful for idempotent statements only. Default: the session's, none.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.options.overrides_mut().attempt_timeout = Some(limit);
        self
    }

    /// Rows per page. Default: the session's, 5,000.
    pub fn page_size(mut self, rows: i32) -> Self {
        self.options.page_size = Some(rows);
        self
    }

    /// Resumes a paged query where an earlier page of the same statement and values ended.
    ///
    /// A state of another statement or other values is reported by the ending method, as
    /// [`ErrorKind::PagingStateForeign`].
    pub fn paging_state(mut self, state: PagingState) -> Self {
        self.resumed = Some(Box::new(state));
        self
    }

    /// Timestamp of the write in microseconds since 1970. Default: the session's generator.
    pub fn timestamp(mut self, micros: i64) -> Self {
        self.options.timestamp = Some(micros);
        self
    }

    /// Has the cluster record a trace. Default: no.
    pub fn tracing(mut self, is_traced: bool) -> Self {
        self.options.is_traced = is_traced;
        self
    }

    /// What unqualified names of the text mean; protocol v5. Case-sensitive, without quotes. Default: the session's.
    ///
    /// With an older protocol the ending method reports [`ErrorKind::Encode`]. A prepared statement has its keyspace
    /// since it was prepared, see [`PrepareOptions::keyspace`](super::PrepareOptions::keyspace); another one is
    /// reported as [`ErrorKind::Configuration`].
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
}

impl<V: BindValues> Query<V> {
    /// Executes the statement and returns its result; of a paged one the first page.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]; [`Error::certainty`] says what is known about the effect.
    pub async fn execute(mut self) -> Result<QueryResult> {
        let statement = match self.statement {
            Statement::Prepared(statement) => statement,
            Statement::Text(_) => return Box::pin(self.execute_text()).await,
        };
        // As `execute_text` does it, without the futures around: each of them would move the answer once more.
        let bound = self.session.bind_prepared(statement, &self.values)?;
        resume(self.resumed, &bound, &mut self.options)?;
        let executor = &self.session.shared.executor;
        let answer = executor.run(&work_of(&bound), &self.options).await?;
        if has_followup(&answer) {
            return Box::pin(self.session.follow_up(answer, &self.options, None)).await;
        }
        QueryResult::new(answer, true, || bound.fingerprint())
    }

    async fn execute_text(mut self) -> Result<QueryResult> {
        let bound = self.session.bind(&self.statement, &self.values, &mut self.options).await?;
        resume(self.resumed, &bound, &mut self.options)?;
        self.session.execute_bound(&bound, &self.options).await
    }

    /// Executes the statement and collects all rows of all pages.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; [`ErrorKind::Row`] if a row cannot be read as `T`.
    pub async fn all<T: for<'a> DecodeRow<'a>>(self) -> Result<Vec<T>> {
        self.rows_up_to(usize::MAX).await
    }

    /// Executes the statement and returns its only row, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Self::all`]; [`ErrorKind::RowCount`] if there is more than one row.
    pub async fn optional<T: for<'a> DecodeRow<'a>>(self) -> Result<Option<T>> {
        let mut rows = self.rows_up_to(2).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::applied(ErrorKind::RowCount(count))),
        }
    }

    /// Executes the statement and returns its only row.
    ///
    /// # Errors
    ///
    /// As [`Self::optional`]; [`ErrorKind::RowCount`] also if there is no row.
    pub async fn one<T: for<'a> DecodeRow<'a>>(self) -> Result<T> {
        self.optional().await?.ok_or_else(|| Error::applied(ErrorKind::RowCount(0)))
    }

    /// Executes a conditional statement; if it was not applied, `T` is read from the existing row.
    ///
    /// # Errors
    ///
    /// As [`Self::execute`]; [`ErrorKind::Row`] if the existing row cannot be read as `T`.
    pub async fn apply<T: for<'a> DecodeRow<'a>>(self) -> Result<Applied<T>> {
        self.execute().await?.applied()
    }

    /// Where the request would go, without sending it. Text with values is prepared first.
    ///
    /// # Errors
    ///
    /// Those of preparing and binding.
    pub async fn explain(mut self) -> Result<Explanation> {
        let bound = self.session.bind(&self.statement, &self.values, &mut self.options).await?;
        self.session.explain_bound(&bound, &self.options)
    }

    async fn rows_up_to<T: for<'a> DecodeRow<'a>>(mut self, count_max: usize) -> Result<Vec<T>> {
        let bound = self.session.bind(&self.statement, &self.values, &mut self.options).await?;
        resume(self.resumed, &bound, &mut self.options)?;
        let mut pages = Pages::of_bound(self.session, bound, self.options);
        let mut collected = Vec::new();
        while collected.len() < count_max
            && let Some(page) = pages.next().await?
        {
            for row in page.rows::<T>()?.take(count_max - collected.len()) {
                collected.push(row.map_err(row_error)?);
            }
        }
        Ok(collected)
    }
}

impl<V: BindValues + Send + Sync + 'static> Query<V> {
    /// Executes the statement page by page, each fetched when asked for.
    pub fn pages(self) -> Pages {
        Pages::new(self.session, self.statement, Box::new(self.values), self.options, self.resumed)
    }

    /// Executes the statement as a stream of rows.
    pub fn stream<T: for<'a> DecodeRow<'a> + Send + 'static>(self) -> RowStream<T> {
        RowStream::new(self.pages())
    }
}
