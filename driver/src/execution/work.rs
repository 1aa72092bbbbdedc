//! What is sent to a coordinator: text, a prepared statement, a batch, or text to prepare.

use std::borrow::Cow;

use crate::protocol::request::{
    self, BatchStatement, EncodeRequest, EnvelopeOptions, Execute, Parameters, Prepare, Query, Values,
};
use crate::protocol::{BatchType, Consistency, EncodeError, ProtocolVersion, SerialConsistency};
use crate::statement::{
    BatchEntry, KnownState, Overrides, PreparedState, PreparedStatement, StatementOptions, is_conditional,
};
use crate::topology::{ClusterSnapshot, NodeIndex};

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

    /// Replicas of the partition; none if the request has no partition. A batch goes where its first prepared statement
    /// does.
    pub(super) fn replicas<'s>(&self, snapshot: &'s ClusterSnapshot) -> &'s [NodeIndex] {
        match self {
            Self::Execute { state, values, .. } => state.replicas(values, snapshot),
            Self::Batch { entries, .. } => {
                first_prepared(entries).map_or(&[], |(statement, values)| statement.state().replicas(values, snapshot))
            }
            Self::Query { .. } | Self::Prepare { .. } => &[],
        }
    }

    /// The serialized key of that partition.
    pub(super) fn partition_key(&self) -> Option<Vec<u8>> {
        match self {
            Self::Execute { state, values, .. } => state.partition_key(values).map(Cow::into_owned),
            Self::Batch { entries, .. } => {
                let (statement, values) = first_prepared(entries)?;
                statement.state().partition_key(values).map(Cow::into_owned)
            }
            Self::Query { .. } | Self::Prepare { .. } => None,
        }
    }
}

/// The statement whose replicas a batch goes to, and its values.
fn first_prepared(entries: &[BatchEntry]) -> Option<(&PreparedStatement, &[u8])> {
    entries.iter().find_map(|entry| match entry {
        BatchEntry::Prepared { statement, values } => Some((statement, &**values)),
        BatchEntry::Text(_) => None,
    })
}

/// A request about to be sent to one coordinator, with what its statements are known as at this moment.
///
/// Not the states of the binding: statements may have been prepared again since.
pub(super) struct Sending<'a> {
    message: Message<'a>,
    settled: &'a Settled<'a>,
    consistency: Consistency,
    timestamp: Option<i64>,
}

enum Message<'a> {
    Query(&'a str),
    Prepare(&'a str),
    Execute(KnownState<'a>, &'a [u8]),
    /// States of the entries; text has none.
    Batch(BatchType, &'a [BatchEntry], Vec<Option<KnownState<'a>>>),
}

impl<'a> Sending<'a> {
    #[inline]
    pub(super) fn new(
        work: &'a Work<'a>,
        settled: &'a Settled<'a>,
        consistency: Consistency,
        timestamp: Option<i64>,
    ) -> Self {
        let message = match work {
            Work::Query { text } => Message::Query(text),
            Work::Prepare { text } => Message::Prepare(text),
            Work::Execute { statement, values, .. } => Message::Execute(statement.state(), values),
            Work::Batch { batch_type, entries } => {
                Message::Batch(*batch_type, entries, entries.iter().map(state_of).collect())
            }
        };
        Self { message, settled, consistency, timestamp }
    }

    /// What the executed statement was known as; the answer must be read with it.
    pub(super) fn sent_with(&self) -> Option<&KnownState<'a>> {
        match &self.message {
            Message::Execute(state, _) => Some(state),
            Message::Query(_) | Message::Prepare(_) | Message::Batch(..) => None,
        }
    }

    #[inline]
    fn parameters(&self) -> Parameters<'_> {
        Parameters {
            consistency: self.consistency,
            serial_consistency: self.settled.serial_consistency,
            page_size: self.settled.page_size,
            paging_state: self.settled.options.paging_state.as_deref(),
            timestamp: self.timestamp,
            ..Parameters::default()
        }
    }

    fn options(&self) -> EnvelopeOptions<'_> {
        EnvelopeOptions {
            tracing: self.settled.options.is_traced,
            custom_payload: self.overrides().and_then(|overrides| overrides.custom_payload.as_deref()),
        }
    }

    fn overrides(&self) -> Option<&Overrides> {
        self.settled.options.overrides.as_deref()
    }

    /// The keyspace of text. A prepared statement has had its own since it was prepared.
    fn keyspace(&self) -> Option<&str> {
        self.overrides()?.keyspace.as_deref()
    }

    #[inline]
    fn execute<'s>(&'s self, state: &'s PreparedState, values: &'s [u8]) -> Execute<'s> {
        let count = u16::try_from(state.variables.len()).unwrap_or(u16::MAX);
        Execute {
            id: &state.id,
            result_metadata_id: state.result_metadata_id.as_deref(),
            parameters: Parameters {
                values: if count == 0 { Values::None } else { Values::Encoded { count, bytes: values } },
                // Without a metadata id a stale `SELECT *` would be read with the wrong columns.
                skip_metadata: state.result_metadata_id.is_some() && state.result_columns.is_some(),
                ..self.parameters()
            },
            options: self.options(),
        }
    }

    fn encode_batch(
        &self,
        batch_type: BatchType,
        entries: &[BatchEntry],
        states: &[Option<KnownState<'_>>],
        envelope: (ProtocolVersion, i16),
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let entries: Vec<_> =
            entries.iter().zip(states).map(|(entry, state)| wire_entry(entry, state.as_deref())).collect();
        let batch = request::Batch {
            batch_type,
            entries: &entries,
            consistency: self.consistency,
            serial_consistency: self.settled.serial_consistency,
            timestamp: self.timestamp,
            keyspace: self.keyspace(),
            now_in_seconds: None,
            options: self.options(),
        };
        batch.encode(envelope.0, envelope.1, out)
    }
}

/// The message is made where it is written, so that it takes no room in the future that waits for the answer.
impl EncodeRequest for Sending<'_> {
    #[inline]
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &self.message {
            Message::Execute(state, values) => self.execute(state, values).encode(version, stream, out),
            Message::Batch(batch_type, entries, states) => {
                self.encode_batch(*batch_type, entries, states, (version, stream), out)
            }
            Message::Query(text) => {
                let parameters = Parameters { keyspace: self.keyspace(), ..self.parameters() };
                let query = Query { text, parameters, options: self.options() };
                query.encode(version, stream, out)
            }
            Message::Prepare(text) => {
                Prepare { text, keyspace: self.keyspace(), options: self.options() }.encode(version, stream, out)
            }
        }
    }
}

fn state_of(entry: &BatchEntry) -> Option<KnownState<'_>> {
    match entry {
        BatchEntry::Prepared { statement, .. } => Some(statement.state()),
        BatchEntry::Text(_) => None,
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
