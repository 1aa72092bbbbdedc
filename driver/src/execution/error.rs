//! Why a request failed, what was tried, and what may have been left behind.
//!
//! # Invariants
//!
//! - A label is never too weak: over several attempts the most dangerous one wins, and anything that was handed to a
//!   transport and not refused by the server counts as possibly applied.

use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;

use crate::protocol::Consistency;
use crate::value::{BindError, RowError};

/// Result of the public methods of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed; one word wide, so that `Result` stays small on the hot path.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    certainty: Certainty,
    attempts: Vec<Attempt>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, certainty: Certainty, attempts: Vec<Attempt>) -> Self {
        Self(Box::new(Inner { kind, certainty, attempts }))
    }

    /// An error that arose before anything was sent.
    pub(crate) fn not_sent(kind: ErrorKind) -> Self {
        Self::new(kind, Certainty::NotSent, Vec::new())
    }

    /// An error about the answer of a request that succeeded.
    pub(crate) fn applied(kind: ErrorKind) -> Self {
        Self::new(kind, Certainty::Applied, Vec::new())
    }

    /// The same error with another label, for a caller who knows more about what was sent.
    pub(crate) fn with_certainty(mut self, certainty: Certainty) -> Self {
        self.0.certainty = certainty;
        self
    }

    /// The same error for another caller of the same work.
    pub(crate) fn duplicate(&self) -> Self {
        Self::new(self.0.kind.clone(), self.0.certainty, self.0.attempts.clone())
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What is known about the effect of the request.
    #[must_use]
    pub fn certainty(&self) -> Certainty {
        self.0.certainty
    }

    /// What was tried, in order of the outcomes.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.0.attempts
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)?;
        if let [_, .., last] = self.0.attempts.as_slice() {
            write!(f, " (after {} attempts, the last one on {})", self.0.attempts.len(), last.address)?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            ErrorKind::Bind(error) => error.source(),
            ErrorKind::Row(error) => error.source(),
            _ => None,
        }
    }
}

/// What a failed request may have left behind in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// Nothing reached any node.
    NotSent,
    /// A node refused it before doing anything.
    Rejected,
    /// Some replica may have applied it, or may still. Repeat it only if it is idempotent.
    MaybeApplied,
    /// It succeeded; only its answer could not be used as asked.
    Applied,
}

/// One request sent, or meant to be sent, to one coordinator.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The coordinator.
    pub node: Uuid,
    /// Its address at that time.
    pub address: SocketAddr,
    /// What was sent.
    pub what: AttemptKind,
    /// Zero for the first execution of the request, counting up for the speculative ones beside it.
    pub execution: u32,
    /// Consistency level it was sent with.
    pub consistency: Consistency,
    /// What came back.
    pub outcome: AttemptOutcome,
    /// What is known about its effect.
    pub certainty: Certainty,
    /// Time from its start to its outcome.
    pub elapsed: Duration,
}

/// What an attempt sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// The request itself.
    Request,
    /// A PREPARE that the coordinator had asked for.
    Reprepare,
}

/// How an attempt ended that did not give the request its answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// It failed.
    Failed(ErrorKind),
    /// Nothing was sent: the node had no usable connection.
    NoConnection,
    /// It was given up because another execution of the request had its answer first.
    Superseded,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            AttemptKind::Request => "request",
            AttemptKind::Reprepare => "PREPARE",
        };
        write!(f, "{what} to {} at {}, {:?}: {}", self.address, self.consistency, self.elapsed, self.outcome)
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(kind) => kind.fmt(f),
            Self::NoConnection => f.write_str("the node has no usable connection"),
            Self::Superseded => f.write_str("another execution was answered first"),
        }
    }
}

/// What went wrong. Server errors carry what the server reported.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Too few live replicas for the consistency level.
    Unavailable {
        /// Replicas the level needs.
        required: i32,
        /// Replicas thought to be alive.
        alive: i32,
    },
    /// Too few replicas answered a read in time.
    ReadTimeout {
        /// Replicas that answered.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Whether the replica asked for the data answered.
        data_present: bool,
    },
    /// Too few replicas acknowledged a write in time.
    WriteTimeout {
        /// Replicas that acknowledged.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Kind of the write, as the server names it.
        write_type: String,
    },
    /// Replicas failed a read.
    ReadFailure {
        /// Replicas that answered.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
    },
    /// Replicas failed a write.
    WriteFailure {
        /// Replicas that acknowledged.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Kind of the write, as the server names it.
        write_type: String,
    },
    /// A conditional write ended without an outcome: read the row to learn it.
    CasWriteUnknown {
        /// Replicas that accepted.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
    },
    /// The change data capture log refused the write.
    CdcWriteFailure(String),
    /// The coordinator shed the request.
    Overloaded(String),
    /// The coordinator is still bootstrapping.
    IsBootstrapping(String),
    /// The coordinator failed internally.
    ServerError(String),
    /// A truncation failed.
    TruncateError(String),
    /// The statement is not CQL.
    Syntax(String),
    /// The user may not do this.
    Unauthorized(String),
    /// The statement is wrong for this schema.
    Invalid(String),
    /// The statement contradicts the configuration of the server.
    Config(String),
    /// A user-defined function failed.
    FunctionFailure(String),
    /// What the statement creates exists.
    AlreadyExists {
        /// Keyspace.
        keyspace: String,
        /// Table; empty when the keyspace itself exists.
        table: String,
    },
    /// The server found a request malformed: a bug in this driver or in the server.
    Protocol(String),
    /// An error code this driver does not know.
    Other {
        /// The code.
        code: i32,
        /// The server's message.
        message: String,
    },
    /// The time limit of the call passed.
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The time limit of one attempt passed and the request could not be repeated.
    AttemptTimeout,
    /// The connection was lost before an answer came. The certainty says whether the request may have left before.
    ConnectionLost(String),
    /// No node could be asked: none is known, or none has a usable connection.
    NoNodeAvailable,
    /// The connections have as many requests in flight as they may.
    Busy,
    /// Coordinators kept forgetting a prepared statement.
    RepreparationLimit,
    /// Preparing a statement again gave another id: the default keyspace changed with `USE`, or the table did.
    PreparedIdChanged,
    /// The values do not fit the statement.
    Bind(BindError),
    /// The request cannot be written in the negotiated protocol version.
    Encode(String),
    /// The rows do not fit the Rust type.
    Row(RowError),
    /// The answer could not be understood.
    Decode(String),
    /// The paging state belongs to another statement or to other values.
    PagingStateForeign,
    /// The bytes are not a paging state, or not all of it.
    PagingStateMalformed,
    /// The trace of this request was not there, or not complete, in time.
    TraceIncomplete(Uuid),
    /// The statement returned no rows, and rows were asked for.
    NotRows,
    /// One row was asked for and this many were returned (two means two or more).
    RowCount(usize),
    /// The session was closed.
    SessionClosed,
    /// The configuration of the session or statement is wrong; the sentence says how.
    Configuration(String),
    /// No contact point could be used; the sentence says why for each.
    NoContactPoint(String),
    /// No protocol version is spoken by both sides.
    UnsupportedProtocolVersion(String),
    /// The credentials were refused.
    Authentication(String),
    /// The keyspace of the session does not exist.
    KeyspaceMissing(String),
    /// The nodes did not agree on a schema version in time.
    SchemaDisagreement,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { required, alive } => {
                write!(
                    f,
                    "too few live replicas, {required} needed and {alive} alive: wait for nodes to come back, or ask for a \
                     level that fewer can satisfy"
                )
            }
            Self::ReadTimeout { received, block_for, data_present } => {
                let data = if *data_present { "with" } else { "without" };
                write!(f, "replicas did not answer the read in time: {received} of {block_for}, {data} the data")
            }
            Self::WriteTimeout { received, block_for, write_type } => {
                write!(f, "replicas did not acknowledge the {write_type} write in time: {received} of {block_for}")
            }
            Self::ReadFailure { received, block_for } => {
                write!(f, "replicas failed the read: {received} of {block_for} answered")
            }
            Self::WriteFailure { received, block_for, write_type } => {
                write!(f, "replicas failed the {write_type} write: {received} of {block_for} acknowledged")
            }
            Self::CasWriteUnknown { received, block_for } => write!(
                f,
                "the outcome of the conditional write is unknown ({received} of {block_for} accepted): read the row"
            ),
            Self::CdcWriteFailure(message) => write!(f, "the change data capture log is full: {message}"),
            Self::Overloaded(message) => write!(f, "the coordinator is overloaded: {message}"),
            Self::IsBootstrapping(message) => write!(f, "the coordinator is bootstrapping: {message}"),
            Self::ServerError(message) => write!(f, "the coordinator failed internally: {message}"),
            Self::TruncateError(message) => write!(f, "the truncation failed: {message}"),
            Self::Syntax(message) => write!(f, "the statement is not valid CQL: {message}"),
            Self::Unauthorized(message) => write!(f, "not permitted: {message}"),
            Self::Invalid(message) => write!(f, "the server refused the statement: {message}"),
            Self::Config(message) => write!(f, "the server refused the configuration: {message}"),
            Self::FunctionFailure(message) => write!(f, "a user-defined function failed: {message}"),
            Self::AlreadyExists { keyspace, table } if table.is_empty() => {
                write!(f, "keyspace {keyspace:?} exists already")
            }
            Self::AlreadyExists { keyspace, table } => write!(f, "{keyspace}.{table} exists already"),
            Self::Protocol(message) => write!(f, "the server found the request malformed: {message}"),
            Self::Other { code, message } => write!(f, "the server reported error 0x{code:04x}: {message}"),
            Self::Timeout { limit } => write!(f, "no result within the time limit of {limit:?}"),
            Self::AttemptTimeout => f.write_str("the coordinator did not answer within the limit of one attempt"),
            Self::ConnectionLost(reason) => {
                write!(f, "the connection was lost before the answer came: {reason}")
            }
            Self::NoNodeAvailable => f.write_str("no node has a usable connection"),
            Self::Busy => f.write_str(
                "the connections have as many requests in flight as they may: send fewer at once, or raise \
                 in_flight_max or connections_per_node",
            ),
            Self::RepreparationLimit => {
                f.write_str("the coordinator keeps forgetting the prepared statement: its cache is too small")
            }
            Self::PreparedIdChanged => f.write_str(
                "preparing the statement again gave another id: was the keyspace changed with USE? Name the keyspace \
                 in the statement, or prepare it again",
            ),
            Self::Bind(error) => error.fmt(f),
            Self::Encode(message) => write!(f, "the request cannot be encoded: {message}"),
            Self::Row(error) => error.fmt(f),
            Self::Decode(message) => write!(f, "the answer could not be understood: {message}"),
            Self::PagingStateForeign => f.write_str(
                "the paging state belongs to another statement or to other values: resume with those it came from",
            ),
            Self::PagingStateMalformed => f.write_str(
                "this is not a paging state of this driver, or it was cut or changed: start from the first page",
            ),
            Self::TraceIncomplete(id) => {
                write!(f, "the trace {id} is not complete yet: was the request traced? If so, ask again later")
            }
            Self::NotRows => f.write_str("the statement returns no rows: end the call with execute()"),
            Self::RowCount(0) => f.write_str("exactly one row was expected and none was returned: use optional()"),
            Self::RowCount(_) => f.write_str("at most one row was expected and more were returned: use all()"),
            Self::SessionClosed => f.write_str("the session is closed: connect another one"),
            Self::Configuration(message) => f.write_str(message),
            Self::NoContactPoint(message) => {
                write!(f, "no contact point could be used, check addresses and that Cassandra is running: {message}")
            }
            Self::UnsupportedProtocolVersion(message) => {
                write!(f, "driver and server share no protocol version, this driver speaks v3, v4 and v5: {message}")
            }
            Self::Authentication(message) => write!(f, "authentication failed, check the credentials: {message}"),
            Self::KeyspaceMissing(name) => {
                write!(f, "keyspace {name:?} does not exist: create it first, or connect without a keyspace")
            }
            Self::SchemaDisagreement => f.write_str("the nodes did not agree on a schema version in time"),
        }
    }
}
