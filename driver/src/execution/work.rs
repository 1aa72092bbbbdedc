//! What is sent to a coordinator: text, a prepared statement, a batch, or text to prepare.

use std::sync::Arc;

use crate::connection::{CallError, Connection};
use crate::env::Instant;
use crate::protocol::request::{self, BatchStatement, EnvelopeOptions, Execute, Parameters, Prepare, Query, Values};
use crate::protocol::response::Response;
use crate::protocol::{BatchType, Consistency, SerialConsistency};
use crate::statement::{BatchEntry, PreparedState, PreparedStatement, StatementOptions, is_conditional};
use crate::topology::{ClusterSnapshot, NodeIndex, Token};

use super::request::RequestFacts;
use super::tracker::RequestKind;

/// A request without its options.
pub(crate) enum Work<'a> {
    Query {
        text: &'a str,
    },
    Prepare {
        text: &'a str,
    },
    Execute {
        statement: &'a PreparedStatement,
        /// What was known about the statement when its values were encoded.
        state: &'a PreparedState,
        values: &'a [u8],
    },
    Batch {
        batch_type: BatchType,
        entries: &'a [BatchEntry],
    },
}

/// Options with the session's defaults filled in, fixed for all attempts of a request.
pub(super) struct Settled<'a> {
    pub consistency: Consistency,
    pub serial_consistency: Option<SerialConsistency>,
    pub page_size: Option<i32>,
    pub timestamp: Option<i64>,
    pub options: &'a StatementOptions,
}

impl Work<'_> {
    /// What the request is; `said` is what the caller declared, `default` what holds for those who do not say.
    pub(super) fn facts(&self, said: Option<bool>, default: bool) -> RequestFacts {
        let is_idempotent = said.unwrap_or(default);
        let plain = RequestFacts { is_idempotent, ..RequestFacts::default() };
        match self {
            Self::Query { text } => RequestFacts { is_conditional: is_conditional(text), ..plain },
            Self::Prepare { .. } => RequestFacts { is_idempotent: true, ..plain },
            Self::Execute { statement, state, .. } => {
                let is_counter = state.is_counter;
                RequestFacts {
                    // A default is no word of the caller about this increment.
                    is_idempotent: if is_counter { said.unwrap_or(false) } else { is_idempotent },
                    is_conditional: statement.is_conditional(),
                    is_counter,
                    ..plain
                }
            }
            Self::Batch { batch_type, entries } => {
                let is_counter = *batch_type == BatchType::Counter;
                RequestFacts {
                    is_idempotent: is_idempotent && !is_counter,
                    is_conditional: entries.iter().any(|entry| match entry {
                        BatchEntry::Text(text) => is_conditional(text),
                        BatchEntry::Prepared { statement, .. } => statement.is_conditional(),
                    }),
                    is_logged_batch: *batch_type == BatchType::Logged,
                    is_counter,
                }
            }
        }
    }

    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Self::Query { .. } => RequestKind::Query,
            Self::Prepare { .. } => RequestKind::Prepare,
            Self::Execute { .. } => RequestKind::Execute,
            Self::Batch { .. } => RequestKind::Batch,
        }
    }

    /// The CQL text, if there is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Query { text } | Self::Prepare { text } => Some(text),
            Self::Execute { statement, .. } => Some(statement.text()),
            Self::Batch { .. } => None,
        }
    }

    /// Token and replicas of the partition, if the request has one. A batch goes where its first statement does.
    pub(super) fn routing<'s>(&self, snapshot: &'s ClusterSnapshot) -> Option<(Token, &'s [NodeIndex])> {
        match self {
            Self::Execute { state, values, .. } => state.route(values, snapshot),
            Self::Batch { entries, .. } => entries.iter().find_map(|entry| match entry {
                BatchEntry::Prepared { statement, values } => Some(statement.state().route(values, snapshot)),
                BatchEntry::Text(_) => None,
            })?,
            Self::Query { .. } | Self::Prepare { .. } => None,
        }
    }

    /// Sends the request once. Also returns the state of the prepared statement it was sent with, which the answer
    /// must be read with.
    pub(super) async fn send(
        &self,
        connection: &Connection,
        settled: &Settled<'_>,
        consistency: Consistency,
        deadline: Instant,
    ) -> (Result<Response, CallError>, Option<Arc<PreparedState>>) {
        let options = EnvelopeOptions {
            tracing: settled.options.is_traced,
            custom_payload: settled.options.custom_payload.as_deref(),
        };
        let parameters = Parameters {
            consistency,
            serial_consistency: settled.serial_consistency,
            page_size: settled.page_size,
            paging_state: settled.options.paging_state.as_deref(),
            timestamp: settled.timestamp,
            ..Parameters::default()
        };
        match self {
            Self::Query { text } => (connection.call(&Query { text, parameters, options }, Some(deadline)).await, None),
            Self::Prepare { text } => {
                (connection.call(&Prepare { text, keyspace: None, options }, Some(deadline)).await, None)
            }
            Self::Execute { statement, values, .. } => {
                // Not the state of the binding: the statement may have been prepared again since.
                let state = statement.state();
                let count = u16::try_from(state.variables.len()).unwrap_or(u16::MAX);
                let parameters = Parameters {
                    values: if count == 0 { Values::None } else { Values::Encoded { count, bytes: values } },
                    // Without a metadata id a stale `SELECT *` would be read with the wrong columns.
                    skip_metadata: state.result_metadata_id.is_some() && state.result_columns.is_some(),
                    ..parameters
                };
                let execute = Execute {
                    id: &state.id,
                    result_metadata_id: state.result_metadata_id.as_deref(),
                    parameters,
                    options,
                };
                let result = connection.call(&execute, Some(deadline)).await;
                (result, Some(state))
            }
            Self::Batch { batch_type, entries } => {
                let states: Vec<Option<Arc<PreparedState>>> = entries
                    .iter()
                    .map(|entry| match entry {
                        BatchEntry::Prepared { statement, .. } => Some(statement.state()),
                        BatchEntry::Text(_) => None,
                    })
                    .collect();
                let entries: Vec<_> =
                    entries.iter().zip(&states).map(|(entry, state)| wire_entry(entry, state.as_deref())).collect();
                let batch = request::Batch {
                    batch_type: *batch_type,
                    entries: &entries,
                    consistency,
                    serial_consistency: settled.serial_consistency,
                    timestamp: settled.timestamp,
                    keyspace: None,
                    now_in_seconds: None,
                    options,
                };
                (connection.call(&batch, Some(deadline)).await, None)
            }
        }
    }
}

fn wire_entry<'a>(entry: &'a BatchEntry, state: Option<&'a PreparedState>) -> request::BatchEntry<'a> {
    match (entry, state) {
        (BatchEntry::Prepared { values, .. }, Some(state)) => {
            let count = u16::try_from(state.variables.len()).unwrap_or(u16::MAX);
            request::BatchEntry {
                statement: BatchStatement::Prepared(&state.id),
                values: if count == 0 { Values::None } else { Values::Encoded { count, bytes: values } },
            }
        }
        (BatchEntry::Prepared { statement, .. }, None) => {
            request::BatchEntry { statement: BatchStatement::Text(statement.text()), values: Values::None }
        }
        (BatchEntry::Text(text), _) => {
            request::BatchEntry { statement: BatchStatement::Text(text), values: Values::None }
        }
    }
}
