//! A statement and its values, made ready to be sent.

use std::sync::Arc;
use std::time::Duration;

use super::handle::Session;
use super::paging_state::fingerprint;
use crate::env::{Instant, timeout};
use crate::execution::{
    Certainty, Error, ErrorKind, PreparationSettings, Result, Work, prepare_on_others, prepared_state,
};
use crate::protocol::ProtocolVersion;
use crate::protocol::response::{Message, ResultBody};
use crate::statement::{PreparedState, PreparedStatement, Statement, StatementOptions};
use crate::value::{BindValues, BindWriter};

/// A statement with its values encoded.
#[derive(Debug)]
pub(super) enum Bound {
    Text(Arc<str>),
    Prepared {
        statement: PreparedStatement,
        /// What the values were encoded for, if it was not what was first known.
        later: Option<Arc<PreparedState>>,
        values: Vec<u8>,
    },
}

impl Bound {
    /// See [`fingerprint`].
    pub(super) fn fingerprint(&self) -> u64 {
        match self {
            Self::Text(text) => fingerprint(text, &[]),
            Self::Prepared { statement, values, .. } => fingerprint(statement.text(), values),
        }
    }
}

impl Session {
    /// Prepares text if it has values, and encodes the values. The time for it is part of the call's limit.
    pub(super) async fn bind<V: BindValues + ?Sized>(
        &self,
        statement: &Statement,
        values: &V,
        options: &mut StatementOptions,
    ) -> Result<Bound> {
        let text = match statement {
            Statement::Text(text) if values.is_empty() => return Ok(Bound::Text(Arc::clone(text))),
            Statement::Text(text) => text,
            Statement::Prepared(statement) => return self.bind_prepared(statement.clone(), values),
        };
        let started = Instant::now();
        let limit = self.limit_of(options).saturating_sub(options.spent);
        let statement = Box::pin(self.prepare_cached(text, limit)).await?;
        options.spent += started.elapsed();
        self.bind_prepared(statement, values)
    }

    /// Encodes the values of a prepared statement.
    #[inline]
    pub(super) fn bind_prepared<V: BindValues + ?Sized>(
        &self,
        statement: PreparedStatement,
        values: &V,
    ) -> Result<Bound> {
        let later = statement.later_state();
        let state = later.as_deref().unwrap_or(statement.first_state());
        let mut encoded = Vec::with_capacity(values.len_hint());
        let is_unset_supported = self.protocol_version() >= ProtocolVersion::V4;
        let mut writer = BindWriter::new(&state.variables, is_unset_supported, &mut encoded);
        values
            .bind(&mut writer)
            .and_then(|()| writer.finish())
            .map_err(|error| Error::not_sent(ErrorKind::Bind(error)))?;
        Ok(Bound::Prepared { statement, later, values: encoded })
    }

    /// The limit of a call, by its own options, its profile or the session's default.
    pub(super) fn limit_of(&self, options: &StatementOptions) -> Duration {
        let profile = options.overrides.as_ref().and_then(|overrides| overrides.profile().ok().flatten());
        let limit = options.timeout.or_else(|| profile?.timeout);
        limit.unwrap_or(self.shared.executor.defaults.timeout)
    }

    pub(super) async fn prepare_cached(&self, text: &Arc<str>, limit: Duration) -> Result<PreparedStatement> {
        self.check_open()?;
        let keyspace = self.shared.factory.keyspace().map(Arc::from);
        let prepared = self.shared.statements.get_or_prepare(keyspace.clone(), text, async || {
            let statement = self.prepare_within(Arc::clone(text), keyspace, limit).await?;
            Ok(statement)
        });
        // Another caller may be preparing it with a longer limit.
        match timeout(limit + LEADER_GRACE, prepared).await {
            Ok(prepared) => prepared,
            Err(_) => Err(Error::not_sent(ErrorKind::Timeout { limit })),
        }
    }

    async fn prepare_within(
        &self,
        text: Arc<str>,
        keyspace: Option<Arc<str>>,
        limit: Duration,
    ) -> Result<PreparedStatement> {
        let shared = &self.shared;
        let options = StatementOptions { timeout: Some(limit), ..StatementOptions::default() };
        let started = Instant::now();
        let answer = shared.executor.run(&Work::Prepare { text: &text }, &options).await.map_err(only_prepared)?;
        let Message::Result(ResultBody::Prepared(prepared)) = answer.decoded.message else {
            return Err(Error::not_sent(ErrorKind::Decode("PREPARE was not answered as such".to_owned())));
        };
        let view = shared.executor.state.view();
        let id = prepared.id.clone();
        let statement = PreparedStatement::new(Arc::clone(&text), keyspace, prepared_state(*prepared, &view));
        let left = limit.saturating_sub(started.elapsed());
        let settings = PreparationSettings { wait_max: shared.preparation.wait_max.min(left), ..shared.preparation };
        prepare_on_others(&view, settings, &text, &id, answer.coordinator, &shared.background).await;
        Ok(statement)
    }
}

pub(super) fn work_of(bound: &Bound) -> Work<'_> {
    match bound {
        Bound::Text(text) => Work::Query { text },
        Bound::Prepared { statement, later, values } => {
            Work::Execute { statement, state: later.as_deref().unwrap_or(statement.first_state()), values }
        }
    }
}

/// PREPARE changes no data: whatever became of it, the statement itself was not sent.
fn only_prepared(error: Error) -> Error {
    error.with_certainty(Certainty::NotSent)
}

/// A caller that prepares itself learns more from its own time limit, a moment earlier.
const LEADER_GRACE: Duration = Duration::from_millis(100);
