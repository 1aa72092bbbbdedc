//! What a server says, before it is bytes: the plain values that errors, rows and schema changes are made of.

use crate::types::{CqlType, Value};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A consistency level, by its wire code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are Cassandra's own names")]
#[repr(u16)]
pub enum Consistency {
    Any = 0,
    One = 1,
    Two = 2,
    Three = 3,
    Quorum = 4,
    All = 5,
    LocalQuorum = 6,
    EachQuorum = 7,
    Serial = 8,
    LocalSerial = 9,
    LocalOne = 10,
}

impl Consistency {
    /// All levels a client may ask for, by code.
    pub const ALL: [Self; 11] = [
        Self::Any,
        Self::One,
        Self::Two,
        Self::Three,
        Self::Quorum,
        Self::All,
        Self::LocalQuorum,
        Self::EachQuorum,
        Self::Serial,
        Self::LocalSerial,
        Self::LocalOne,
    ];

    /// The level with this wire code.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its wire code.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Its name as Cassandra prints it: `LOCAL_QUORUM`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "ANY",
            Self::One => "ONE",
            Self::Two => "TWO",
            Self::Three => "THREE",
            Self::Quorum => "QUORUM",
            Self::All => "ALL",
            Self::LocalQuorum => "LOCAL_QUORUM",
            Self::EachQuorum => "EACH_QUORUM",
            Self::Serial => "SERIAL",
            Self::LocalSerial => "LOCAL_SERIAL",
            Self::LocalOne => "LOCAL_ONE",
        }
    }
}

/// What kind of write timed out or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Cassandra's own names")]
pub enum WriteType {
    Simple,
    Batch,
    UnloggedBatch,
    Counter,
    BatchLog,
    Cas,
    View,
    Cdc,
}

impl WriteType {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "SIMPLE",
            Self::Batch => "BATCH",
            Self::UnloggedBatch => "UNLOGGED_BATCH",
            Self::Counter => "COUNTER",
            Self::BatchLog => "BATCH_LOG",
            Self::Cas => "CAS",
            Self::View => "VIEW",
            Self::Cdc => "CDC",
        }
    }
}

/// A column of a result or a bind marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Unquoted keyspace name.
    pub keyspace: String,
    /// Unquoted table name.
    pub table: String,
    /// Column name, alias or function text, as Cassandra reports it.
    pub name: String,
    /// Its type.
    pub cql_type: CqlType,
}

/// One page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRows {
    /// What the columns are.
    pub columns: Arc<[ColumnSpec]>,
    /// Serialised cells, row by row.
    pub rows: Vec<Vec<Value>>,
    /// Where the next page begins; `None` on the last page.
    pub paging_state: Option<Bytes>,
}

/// What a schema change did: the body of RESULT kind 5 and of a SCHEMA_CHANGE event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaChangeEvent {
    /// `CREATED`, `UPDATED` or `DROPPED`.
    pub change: &'static str,
    /// `KEYSPACE`, `TABLE`, `TYPE`, `FUNCTION` or `AGGREGATE`.
    pub target: &'static str,
    /// Unquoted keyspace name.
    pub keyspace: String,
    /// Unquoted name of the table, type, function or aggregate; empty for a keyspace.
    pub name: String,
    /// Argument types of a function or aggregate.
    pub arguments: Vec<String>,
}

/// An ERROR response. Messages that Cassandra computes from the fields are written by the encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the protocol's own names")]
pub enum ServerError {
    Server(String),
    Protocol(String),
    BadCredentials(String),
    Unavailable {
        consistency: Consistency,
        required: i32,
        alive: i32,
        datacenter: Option<String>,
    },
    Overloaded(String),
    IsBootstrapping,
    Truncate(String),
    WriteTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        write_type: WriteType,
        contentions: Option<u16>,
    },
    ReadTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        data_present: bool,
    },
    ReadFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        reasons: Vec<(IpAddr, u16)>,
        data_present: bool,
    },
    FunctionFailure {
        keyspace: String,
        function: String,
        arguments: Vec<String>,
        message: String,
    },
    WriteFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        reasons: Vec<(IpAddr, u16)>,
        write_type: WriteType,
    },
    CasWriteUnknown {
        consistency: Consistency,
        received: i32,
        block_for: i32,
    },
    Syntax(String),
    Unauthorized(String),
    Invalid(String),
    Config(String),
    AlreadyExists {
        keyspace: String,
        table: String,
        message: String,
    },
    Unprepared {
        id: Bytes,
    },
}
