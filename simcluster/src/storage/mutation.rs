//! A change to one partition of one table.

use super::{Partition, PartitionKey};
use crate::ring::Token;
use uuid::Uuid;

/// Changes to one partition of one table. Structurally the same as stored data: applying is merging.
#[derive(Clone, Debug, Hash)]
pub struct Mutation {
    /// The table's id.
    pub table: Uuid,
    /// Unquoted keyspace name, for replication.
    pub keyspace: String,
    /// The partition it changes.
    pub key: PartitionKey,
    /// What changes.
    pub changes: Partition,
}

impl Mutation {
    /// A change that changes nothing yet.
    #[must_use]
    pub fn new(table: Uuid, keyspace: &str, key: PartitionKey) -> Self {
        Self { table, keyspace: keyspace.to_owned(), key, changes: Partition::default() }
    }

    /// The position of its partition.
    #[must_use]
    pub fn token(&self) -> Token {
        Token::of_key(&self.key)
    }

    /// Its serialised size in bytes, roughly: for batch size limits and bandwidth.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.len() + 32 + self.changes.size()
    }

    /// The same change with every timestamp replaced (paxos commits use the ballot's).
    #[must_use]
    pub fn with_timestamp(mut self, micros: i64) -> Self {
        self.changes.set_timestamp(micros);
        self
    }
}
