//! The prepared statements that one node knows.
//!
//! # Invariants
//!
//! - An id is the digest of keyspace and text, so it is the same on all nodes; but each node knows only what it was
//!   told, and forgets a statement when something it mentions is altered or dropped.

use crate::cql::Prepared;
use crate::protocol::{ColumnSpec, SchemaChangeEvent, result_metadata_id, statement_id};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A prepared statement with what its clients need to know.
#[derive(Debug)]
pub(super) struct PreparedEntry {
    /// The statement.
    pub(super) prepared: Arc<Prepared>,
    /// The keyspace under which it was prepared, for its unqualified names.
    pub(super) keyspace: Option<String>,
    /// The digest of its result columns.
    pub(super) result_metadata_id: Bytes,
}

/// Statements by id.
#[derive(Clone, Debug, Default)]
pub(super) struct PreparedCache {
    entries: BTreeMap<[u8; 16], Arc<PreparedEntry>>,
}

impl PreparedCache {
    /// Keeps a statement; answers the id by which clients are to execute it.
    ///
    /// A statement that names its keyspaces itself is kept under both ids, with and without the connection's
    /// keyspace, because clients of either kind may know it already.
    pub(super) fn insert(&mut self, prepared: Arc<Prepared>, keyspace: Option<&str>) -> ([u8; 16], Arc<PreparedEntry>) {
        let with_keyspace = statement_id(keyspace, &prepared.text);
        let id = if prepared.is_fully_qualified { statement_id(None, &prepared.text) } else { with_keyspace };
        let entry = Arc::new(PreparedEntry {
            result_metadata_id: result_metadata_id(prepared.result_columns.as_deref()),
            keyspace: keyspace.map(str::to_owned),
            prepared,
        });
        self.entries.insert(with_keyspace, entry.clone());
        self.entries.insert(id, entry.clone());
        (id, entry)
    }

    /// The statement with this id.
    pub(super) fn get(&self, id: &[u8]) -> Option<&Arc<PreparedEntry>> {
        self.entries.get(&<[u8; 16]>::try_from(id).ok()?)
    }

    /// Forgets every statement.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Forgets the statements that a schema change has made stale.
    pub(super) fn handle_schema_change(&mut self, change: &SchemaChangeEvent) {
        if change.change == "CREATED" {
            return;
        }
        self.entries.retain(|_, entry| !entry.mentions(change));
    }

    /// Texts with their keyspaces, to prepare them again after a restart.
    pub(super) fn texts(&self) -> Vec<(Option<String>, String)> {
        let texts: BTreeMap<_, _> =
            self.entries.values().map(|entry| ((entry.keyspace.clone(), entry.prepared.text.clone()), ())).collect();
        texts.into_keys().collect()
    }
}

impl PreparedEntry {
    fn columns(&self) -> impl Iterator<Item = &ColumnSpec> {
        self.prepared.markers.iter().chain(self.prepared.result_columns.iter().flat_map(|columns| columns.iter()))
    }

    /// Whether the changed thing is part of the statement. A statement without markers and result columns shows its
    /// tables only in its text; forgetting one too many costs its clients a PREPARE and nothing else.
    fn mentions(&self, change: &SchemaChangeEvent) -> bool {
        let text = || self.prepared.text.to_ascii_lowercase();
        let is_of_keyspace = || {
            self.keyspace.as_ref() == Some(&change.keyspace)
                || self.columns().any(|column| column.keyspace == change.keyspace)
                || text().contains(&change.keyspace.to_ascii_lowercase())
        };
        match change.target {
            "TABLE" => {
                self.columns().any(|column| column.table == change.name && column.keyspace == change.keyspace)
                    || (text().contains(&change.name.to_ascii_lowercase()) && is_of_keyspace())
            }
            "KEYSPACE" => change.change == "DROPPED" && is_of_keyspace(),
            _ => is_of_keyspace(),
        }
    }
}
