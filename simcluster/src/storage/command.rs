//! What a coordinator asks a replica to read.

use super::PartitionKey;
use crate::ring::TokenRange;
use bytes::Bytes;
use uuid::Uuid;

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadCommand {
    /// The table's id.
    pub table: Uuid,
    /// Unquoted keyspace name, for replication.
    pub keyspace: String,
    /// One partition, or an arc of the ring.
    pub target: ReadTarget,
    /// How many live rows to answer at most.
    pub row_limit: usize,
    /// Which rows of each partition, ascending and apart; `None` is all.
    pub slices: Option<Vec<Slice>>,
    /// Whether rows come last first (single partitions only).
    pub reversed: bool,
    /// Whether only what lies behind this position is wanted.
    pub after: Option<Position>,
}

/// Which partitions a command reads.
#[derive(Clone, Debug)]
pub enum ReadTarget {
    /// One partition.
    Partition(PartitionKey),
    /// All partitions of an arc of the ring, in token order.
    Range(TokenRange),
}

/// The rows whose encoded clustering keys lie in `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slice {
    /// Included.
    pub start: Bytes,
    /// Excluded.
    pub end: Bytes,
}

impl ReadCommand {
    /// A command that reads all rows of a target.
    #[must_use]
    pub fn new(table: Uuid, keyspace: &str, target: ReadTarget, row_limit: usize) -> Self {
        Self { table, keyspace: keyspace.to_owned(), target, row_limit, slices: None, reversed: false, after: None }
    }

    /// The same command over a part of its arc.
    #[must_use]
    pub fn over(&self, range: TokenRange) -> Self {
        Self { target: ReadTarget::Range(range), ..self.clone() }
    }

    /// The same command, continued after the last row of an earlier, truncated answer, for at most `row_limit` rows.
    #[must_use]
    pub fn after(&self, position: &Position, row_limit: usize) -> Self {
        Self { after: Some(position.clone()), row_limit, ..self.clone() }
    }
}

/// A row's place in token order: where a truncated answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition.
    pub key: PartitionKey,
    /// The encoded clustering key of the last row; `None` is the end of the partition.
    pub clustering: Option<Bytes>,
}
