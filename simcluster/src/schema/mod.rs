//! The schema as plain values: what a node believes at one moment.
//!
//! A `Schema` is immutable and shared; a change builds a new one. The rows of `system_schema` are the durable form:
//! a node derives its `Schema` from them.

pub mod functions;
pub mod options;
pub mod views;

use crate::types::{CqlType, UserType};
use functions::{Aggregate, Function, Signature};
use options::TableOptions;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;
use views::View;

/// All keyspaces a node knows, and the version that a client sees as `schema_version`.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// By unquoted name.
    pub keyspaces: BTreeMap<String, Arc<Keyspace>>,
    /// A type-3 UUID of a digest of all schema rows: equal schemas have equal versions.
    pub version: Uuid,
    /// The language of the node that has it.
    pub dialect: Dialect,
}

/// The language of a release, as far as releases differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Of Cassandra 4.0; also taken for that of 3.11.
    V40,
    /// Of Cassandra 4.1.
    V41,
    /// Of Cassandra 5.0.
    #[default]
    V50,
}

impl Schema {
    /// Looks a table up by unquoted names.
    #[must_use]
    pub fn table(&self, keyspace: &str, table: &str) -> Option<&Arc<Table>> {
        self.keyspaces.get(keyspace)?.tables.get(table)
    }

    /// Looks a table up by its id.
    #[must_use]
    pub fn table_by_id(&self, id: Uuid) -> Option<&Arc<Table>> {
        self.keyspaces.values().flat_map(|k| k.tables.values()).find(|t| t.id == id)
    }
}

/// A keyspace with everything in it.
#[derive(Clone, Debug)]
pub struct Keyspace {
    /// Unquoted name.
    pub name: String,
    /// Replication options; `class` is the full Java class name.
    pub replication: BTreeMap<String, String>,
    /// Whether writes go through the commit log.
    pub durable_writes: bool,
    /// Tables by unquoted name.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// Materialized views by unquoted name.
    pub views: BTreeMap<String, Arc<View>>,
    /// User-defined types by unquoted name.
    pub types: BTreeMap<String, Arc<UserType>>,
    /// User-defined functions.
    pub functions: BTreeMap<Signature, Arc<Function>>,
    /// User-defined aggregates.
    pub aggregates: BTreeMap<Signature, Arc<Aggregate>>,
    /// True for the keyspaces of `system_virtual_schema` (`system_views`, `system_virtual_schema`).
    pub is_virtual: bool,
}

impl Keyspace {
    /// A keyspace with nothing in it and no replication.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            replication: BTreeMap::new(),
            durable_writes: true,
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            types: BTreeMap::new(),
            functions: BTreeMap::new(),
            aggregates: BTreeMap::new(),
            is_virtual: false,
        }
    }

    /// The views of a table.
    pub fn views_of<'a>(&'a self, table: &'a Table) -> impl Iterator<Item = &'a Arc<View>> {
        self.views.values().filter(|view| view.is_of(table))
    }

    /// Whether it has a function or an aggregate of that name, whatever its arguments.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.keys().chain(self.aggregates.keys()).any(|(known, _)| known == name)
    }
}

/// What part a column plays in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the variants are CQL's own names")]
pub enum ColumnKind {
    PartitionKey,
    Clustering,
    Static,
    Regular,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Unquoted name.
    pub name: String,
    /// Its type.
    pub cql_type: CqlType,
    /// What part it plays.
    pub kind: ColumnKind,
    /// Position among the partition key or clustering columns; -1 for the others.
    pub position: i32,
    /// Whether a clustering column is ordered descending.
    pub descending: bool,
}

/// A table: columns in the order of `SELECT *` and its options.
#[derive(Clone, Debug)]
pub struct Table {
    /// The keyspace it lives in.
    pub keyspace: String,
    /// Unquoted name.
    pub name: String,
    /// Its id, which changes when it is dropped and created again.
    pub id: Uuid,
    /// Partition key, clustering columns, then statics and regulars, each group alphabetically: the order of `SELECT *`.
    pub columns: Vec<Column>,
    /// How many of `columns` are the partition key.
    pub partition_key_len: usize,
    /// How many of `columns`, after the partition key, are clustering columns.
    pub clustering_len: usize,
    /// `system_schema.tables` options by name, in the form DESCRIBE shows.
    pub options: TableOptions,
    /// Secondary indexes by name.
    pub indexes: BTreeMap<String, Index>,
    /// Columns that were dropped, by name; some may have been added again.
    pub dropped: BTreeMap<String, DroppedColumn>,
    /// Whether it holds counters.
    pub is_counter: bool,
}

/// A column that was dropped: what was written of it until then does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedColumn {
    /// Its type, with tuples in the place of user types.
    pub cql_type: CqlType,
    /// Whether it was static.
    pub is_static: bool,
    /// When it was dropped, in microseconds.
    pub micros: i64,
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// `COMPOSITES`, `KEYS` or `CUSTOM`.
    pub kind: String,
    /// As in `system_schema.indexes.options`.
    pub options: BTreeMap<String, String>,
}

impl Table {
    /// A table without columns.
    #[must_use]
    pub fn empty(keyspace: &str, name: &str) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            id: Uuid::nil(),
            columns: Vec::new(),
            partition_key_len: 0,
            clustering_len: 0,
            options: TableOptions::default(),
            indexes: BTreeMap::new(),
            dropped: BTreeMap::new(),
            is_counter: false,
        }
    }

    /// The partition key columns, in order.
    #[must_use]
    pub fn partition_key(&self) -> &[Column] {
        &self.columns[..self.partition_key_len]
    }

    /// The clustering columns, in order.
    #[must_use]
    pub fn clustering(&self) -> &[Column] {
        &self.columns[self.partition_key_len..self.partition_key_len + self.clustering_len]
    }

    /// The columns that are not part of the primary key.
    #[must_use]
    pub fn other_columns(&self) -> &[Column] {
        &self.columns[self.partition_key_len + self.clustering_len..]
    }

    /// Whether it has static columns.
    #[must_use]
    pub fn has_static(&self) -> bool {
        self.columns.iter().any(|c| c.kind == ColumnKind::Static)
    }

    /// `keyspace.table` as error messages write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// A column's index by unquoted name.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Sorts columns into the order of `SELECT *` and counts the key columns.
    ///
    /// Everything in a table that is derived from its columns is set here.
    pub fn arrange(&mut self) {
        let rank = |c: &Column| match c.kind {
            ColumnKind::PartitionKey | ColumnKind::Clustering => (c.kind, c.position, String::new()),
            ColumnKind::Static | ColumnKind::Regular => (c.kind, 0, c.name.clone()),
        };
        self.columns.sort_by_key(rank);
        let count = |kind| self.columns.iter().filter(|c| c.kind == kind).count();
        self.partition_key_len = count(ColumnKind::PartitionKey);
        self.clustering_len = count(ColumnKind::Clustering);
        self.is_counter = self.columns.iter().any(|c| c.cql_type == CqlType::Counter);
    }

    /// Looks a column up by unquoted name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
