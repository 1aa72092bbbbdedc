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
use crate::statement::{Preparation, PreparedState, PreparedStatement, Statement, StatementOptions};
use crate::value::{BindValues, BindWriter};

/// A statement with its values encoded.
#[derive(Debug)]
pub(super) enum Bound {
    Text {
        text: Arc<str>,
        /// The keyspace that the application named for it.
        keyspace: Option<Arc<str>>,
    },
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
            Self::Text { text, keyspace } => fingerprint(keyspace.as_deref(), text, &[]),
            Self::Prepared { statement, values, .. } => {
                fingerprint(statement.preparation().named_keyspace(), statement.text(), values)
            }
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
            Statement::Text(text) if values.is_empty() => {
                return Ok(Bound::Text { text: Arc::clone(text), keyspace: named_keyspace(options) });
            }
            Statement::Text(text) => Arc::clone(text),
            Statement::Prepared(statement) => return self.bind_prepared(statement.clone(), values),
        };
        let started = Instant::now();
        let limit = self.limit_of(options).saturating_sub(options.spent);
        let statement = Box::pin(self.prepare_cached(self.preparation(text, named_keyspace(options)), limit)).await?;
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

    /// What preparing `text` means: in the keyspace named, or in the session's.
    pub(super) fn preparation(&self, text: Arc<str>, named: Option<Arc<str>>) -> Preparation {
        let is_keyspace_named = named.is_some();
        let keyspace = named.or_else(|| self.shared.factory.keyspace().map(Arc::from));
        Preparation { is_keyspace_named, ..Preparation::new(text, keyspace) }
    }

    pub(super) async fn prepare_cached(&self, preparation: Preparation, limit: Duration) -> Result<PreparedStatement> {
        self.check_open()?;
        let prepared = self
            .shared
            .statements
            .get_or_prepare(&preparation, async || self.prepare_within(preparation.clone(), limit).await);
        // Another caller may be preparing it with a longer limit.
        match timeout(limit + LEADER_GRACE, prepared).await {
            Ok(prepared) => prepared,
            Err(_) => Err(Error::not_sent(ErrorKind::Timeout { limit })),
        }
    }

    async fn prepare_within(&self, preparation: Preparation, limit: Duration) -> Result<PreparedStatement> {
        let shared = &self.shared;
        let mut options = StatementOptions { timeout: Some(limit), ..StatementOptions::default() };
        if preparation.is_keyspace_named || preparation.custom_payload.is_some() {
            let overrides = options.overrides_mut();
            overrides.keyspace = preparation.keyspace.clone().filter(|_| preparation.is_keyspace_named);
            overrides.custom_payload.clone_from(&preparation.custom_payload);
        }
        let started = Instant::now();
        let work = Work::Prepare { text: &preparation.text };
        let answer = shared.executor.run(&work, &options).await.map_err(only_prepared)?;
        let Message::Result(ResultBody::Prepared(prepared)) = answer.decoded.message else {
            return Err(Error::not_sent(ErrorKind::Decode("PREPARE was not answered as such".to_owned())));
        };
        let view = shared.executor.state.view();
        let statement = PreparedStatement::new(preparation, prepared_state(*prepared, &view));
        let left = limit.saturating_sub(started.elapsed());
        let settings = PreparationSettings { wait_max: shared.preparation.wait_max.min(left), ..shared.preparation };
        prepare_on_others(&view, settings, &statement, answer.coordinator, &shared.background).await;
        Ok(statement)
    }
}

pub(super) fn work_of(bound: &Bound) -> Work<'_> {
    match bound {
        Bound::Text { text, .. } => Work::Query { text },
        Bound::Prepared { statement, later, values } => {
            Work::Execute { statement, state: later.as_deref().unwrap_or(statement.first_state()), values }
        }
    }
}

/// The keyspace that the application named for a call.
fn named_keyspace(options: &StatementOptions) -> Option<Arc<str>> {
    options.overrides.as_ref()?.keyspace.clone()
}

/// PREPARE changes no data: whatever became of it, the statement itself was not sent.
fn only_prepared(error: Error) -> Error {
    error.with_certainty(Certainty::NotSent)
}

/// A caller that prepares itself learns more from its own time limit, a moment earlier.
const LEADER_GRACE: Duration = Duration::from_millis(100);
