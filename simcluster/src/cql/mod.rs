//! The query language: lexer, parser, type checking, and execution onto storage.
//!
//! Preparing turns text into a [`Prepared`]; binding values turns that into an [`Action`], which says what to read
//! and write but not from whom: the coordinator does that. CQL that is not modelled is refused with
//! `Invalid("… is not modelled by the simulated cluster")`, never guessed.

mod ast;
mod conditions;
mod ddl;
mod describe;
mod dialect;
mod expr;
mod functions;
mod java;
mod lexer;
mod modify;
mod paging;
mod parser;
mod prepare;
mod read;
mod relations;
mod row;
mod select;
mod show;
mod system;
mod terms;
mod transactions;
mod write;

#[cfg(test)]
mod tests;

pub use ddl::SchemaStatement;
pub use describe::{ClusterFacts, DescribeCluster};
pub use java::string_hash_order;
pub use prepare::{bind_batch, prepare};
pub use read::ReadExecution;
pub use row::{row_deletion, row_mutation};
pub use system::{is_system, schema_from_rows, system_schema, system_schema_of, system_schema_rows, system_store};
pub use transactions::{ConditionalPlan, Decision};
pub use write::{ReadThenWrite, WriteKind, WritePlan};

use crate::protocol::{ColumnSpec, ResultRows, SchemaChangeEvent};
use crate::types::Value;
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// A parsed and type-checked statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The text as it was sent.
    pub text: String,
    /// Bind markers in order; a named marker has its name.
    pub markers: Vec<ColumnSpec>,
    /// For each partition key component the index of the marker bound to it; empty unless all are bound.
    pub partition_key_markers: Vec<u16>,
    /// The columns of the rows it answers; `None` if it answers none.
    pub result_columns: Option<Arc<[ColumnSpec]>>,
    /// Whether the text names every keyspace itself, which decides its statement id.
    pub is_fully_qualified: bool,
    keyspace: Option<String>,
    checked: prepare::Checked,
}

/// A value bound to a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A serialised value, or null.
    Value(Value),
    /// Unset (protocol v4 and later): nothing is written.
    Unset,
}

/// What an execution is given beside its values.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// Write time in microseconds, unless the statement says USING TIMESTAMP.
    pub timestamp: i64,
    /// The coordinator's clock in microseconds, never twice the same: `now()` and the places of list elements.
    pub clock: i64,
    /// The coordinator's wall clock in seconds: TTLs count from it.
    pub unix_seconds: i64,
    /// Rows per page; `None` = unpaged.
    pub page_size: Option<u32>,
    /// Where to continue.
    pub paging_state: Option<Bytes>,
    /// Random bits for `now()` and `uuid()`, distinct per execution.
    pub entropy: u64,
}

/// How a BATCH message wants its statements applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the protocol's own names")]
pub enum BatchType {
    Logged,
    Unlogged,
    Counter,
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Nothing more: here is the answer (`USE`, an empty batch, DESCRIBE).
    Answer(Answer),
    /// Read, page by page of commands.
    Read(ReadExecution),
    /// Write.
    Write(WritePlan),
    /// Read, then write (list elements by index).
    ReadThenWrite(ReadThenWrite),
    /// A lightweight transaction.
    Conditional(ConditionalPlan),
    /// Change the schema.
    Schema(SchemaStatement),
    /// Tell of the cluster, which the node knows.
    DescribeCluster(DescribeCluster),
    /// Delete all rows of a table.
    Truncate {
        /// Unquoted keyspace name.
        keyspace: String,
        /// The table's id.
        table: Uuid,
    },
}

/// A successful answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// RESULT Void.
    Void,
    /// RESULT Rows.
    Rows(ResultRows),
    /// RESULT Set_keyspace.
    SetKeyspace(String),
    /// RESULT Schema_change.
    SchemaChange(SchemaChangeEvent),
}
