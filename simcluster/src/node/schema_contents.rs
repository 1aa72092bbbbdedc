//! A name for what a node's schema tables contain, and what follows from the contents alone, remembered.
//!
//! The nodes of a cluster derive the same schema from the same rows, and check the same statements against it: a
//! quarter of the instructions of a short simulation, if each did it anew.
//!
//! # Invariants
//!
//! - Contents are named by the sum of the hashes of the mutations that made them: equal names mean equal rows, because
//!   merging is commutative and none of these rows expires. The name is as durable as the rows.

use super::config::ReleaseLine;
use crate::cql::{self, Prepared};
use crate::protocol::ServerError;
use crate::remembered::{Remembered, TEXT_LEN_MAX};
use crate::schema::Schema;
use crate::storage::Mutation;
use crate::trace::{HASH_START, fold, hash_bytes};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Names the contents of a node's schema tables, and the release that reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaContents {
    line: ReleaseLine,
    sum: u64,
}

thread_local! {
    static SCHEMAS: Remembered<SchemaContents, Arc<Schema>> = const { Remembered::new(16) };
    static STATEMENTS: Remembered<StatementKey, Arc<Prepared>> = const { Remembered::new(512) };
}

/// What a statement is checked against, the keyspace in use, and its text.
type StatementKey = (SchemaContents, Option<String>, String);

/// Hashes with the hash of traces, which is the same in every process and faster than the standard library's.
struct FoldHasher(u64);

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_bytes(self.0, bytes);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = fold(self.0, word);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl SchemaContents {
    /// A description of the system keyspaces and nothing else.
    pub(super) fn of_system(line: ReleaseLine) -> Self {
        Self { line, sum: 0 }
    }

    /// The same rows, read by a node of this release.
    pub(super) fn read_by(self, line: ReleaseLine) -> Self {
        if line == self.line {
            return self;
        }
        // They still describe the system keyspaces of the release that wrote them.
        let mut hasher = FoldHasher(HASH_START);
        self.line.hash(&mut hasher);
        Self { line, sum: self.sum.wrapping_add(hasher.finish()) }
    }

    /// Notes a mutation of a schema table.
    pub(super) fn apply(&mut self, mutation: &Mutation) {
        let mut hasher = FoldHasher(HASH_START);
        mutation.hash(&mut hasher);
        self.sum = self.sum.wrapping_add(hasher.finish() | 1);
    }

    /// The schema that these contents describe, which is derived if nobody has done it before.
    pub(super) fn schema(self, derive: impl FnOnce() -> Schema) -> Arc<Schema> {
        SCHEMAS.with(|schemas| {
            schemas.recall(&self).unwrap_or_else(|| {
                let schema = Arc::new(derive());
                schemas.remember(self, Arc::clone(&schema));
                schema
            })
        })
    }

    /// Parses and checks a statement against the schema that these contents describe.
    ///
    /// # Errors
    ///
    /// See [`cql::prepare`].
    pub(super) fn prepare(
        self,
        schema: &Schema,
        keyspace: Option<&str>,
        text: &str,
    ) -> Result<Arc<Prepared>, ServerError> {
        if text.len() > TEXT_LEN_MAX {
            return cql::prepare(schema, keyspace, text).map(Arc::new);
        }
        let mut key = (Self::of_system(self.line), keyspace.map(str::to_owned), text.to_owned());
        STATEMENTS.with(|statements| {
            if let Some(prepared) = statements.recall(&key) {
                return Ok(prepared);
            }
            key.0 = self;
            if let Some(prepared) = statements.recall(&key) {
                return Ok(prepared);
            }
            let prepared = Arc::new(cql::prepare(schema, keyspace, text)?);
            // What clients ask about the cluster and its schema means the same whatever else there is.
            if prepared.reads_only_system_tables() {
                key.0 = Self::of_system(self.line);
            }
            statements.remember(key, Arc::clone(&prepared));
            Ok(prepared)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_another_release_reads_are_other_contents_than_its_own_and_than_the_first() {
        let older = SchemaContents::of_system(ReleaseLine::V41);
        let read = older.read_by(ReleaseLine::V50);
        assert_eq!(older.read_by(ReleaseLine::V41), older, "a restart changes nothing");
        assert!(![older, SchemaContents::of_system(ReleaseLine::V50)].contains(&read));
        assert_ne!(SchemaContents::of_system(ReleaseLine::V40).read_by(ReleaseLine::V50), read);
    }
}
