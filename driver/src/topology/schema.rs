//! Keyspaces, tables, columns and user types, as read from `system_schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Replication;
use crate::value::{CqlType, UserType};

/// All keyspaces of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Keyspaces by name.
    pub keyspaces: BTreeMap<String, Arc<KeyspaceMetadata>>,
}

impl Schema {
    /// Finds a table.
    #[must_use]
    pub fn table(&self, keyspace: &str, table: &str) -> Option<&TableMetadata> {
        self.keyspaces.get(keyspace)?.tables.get(table)
    }
}

/// One keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyspaceMetadata {
    /// Name, as written in lower case or within quotes.
    pub name: String,
    /// Placement of replicas.
    pub replication: Replication,
    /// Whether writes go to the commit log.
    pub durable_writes: bool,
    /// Tables by name.
    pub tables: BTreeMap<String, TableMetadata>,
    /// User-defined types by name.
    pub user_types: BTreeMap<String, UserTypeMetadata>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMetadata {
    /// Keyspace that owns the table.
    pub keyspace: String,
    /// Name of the table.
    pub name: String,
    /// Identity, new for each CREATE.
    pub id: Option<uuid::Uuid>,
    /// Columns: partition key, clustering, static, then regular ones by name.
    pub columns: Vec<ColumnMetadata>,
    /// Comment of the table, possibly empty.
    pub comment: String,
    /// Seconds after which written values expire; zero never.
    pub default_time_to_live: i32,
}

impl TableMetadata {
    /// Columns of the partition key, in order.
    pub fn partition_key(&self) -> impl Iterator<Item = &ColumnMetadata> {
        self.columns.iter().filter(|column| column.kind == ColumnKind::PartitionKey)
    }

    /// Clustering columns, in order.
    pub fn clustering_columns(&self) -> impl Iterator<Item = &ColumnMetadata> {
        self.columns.iter().filter(|column| column.kind == ColumnKind::Clustering)
    }

    /// Finds a column by name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnMetadata> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMetadata {
    /// Name of the column.
    pub name: String,
    /// Role in the table.
    pub kind: ColumnKind,
    /// Position among the key columns of its kind; -1 for others.
    pub position: i32,
    /// Whether a clustering column sorts in descending order.
    pub is_descending: bool,
    /// Type text as the server writes it, which also tells whether the type is frozen.
    pub type_text: String,
    /// Type of the values.
    pub cql_type: CqlType,
}

/// Role of a column in its table, in the order columns are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnKind {
    /// Part of the partition key.
    PartitionKey,
    /// Orders the rows of a partition.
    Clustering,
    /// Shared by the rows of a partition.
    Static,
    /// Any other.
    Regular,
}

impl ColumnKind {
    /// Reads `system_schema.columns.kind`; unknown kinds count as regular.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "partition_key" => Self::PartitionKey,
            "clustering" => Self::Clustering,
            "static" => Self::Static,
            _ => Self::Regular,
        }
    }
}

/// One user-defined type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTypeMetadata {
    /// Type texts of the fields, in order, by name.
    pub fields: Vec<(String, String)>,
    /// The type as values use it.
    pub user_type: Arc<UserType>,
}
