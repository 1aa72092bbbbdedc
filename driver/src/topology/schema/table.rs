//! Tables, views, their columns, indexes and triggers.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::TableOptions;
use crate::value::CqlType;

/// One table, or the columns and options of a view.
#[derive(Debug, Clone, PartialEq)]
pub struct TableMetadata {
    /// Keyspace that owns the table.
    pub keyspace: Arc<str>,
    /// Name of the table.
    pub name: Arc<str>,
    /// Identity, new for each CREATE; virtual tables have none.
    pub id: Option<Uuid>,
    /// Columns: partition key, clustering, static, then regular ones by name.
    pub columns: Vec<ColumnMetadata>,
    /// Secondary indexes by name.
    pub indexes: BTreeMap<Arc<str>, IndexMetadata>,
    /// Triggers by name.
    pub triggers: BTreeMap<Arc<str>, TriggerMetadata>,
    /// Options; tables with the same options share them.
    pub options: Arc<TableOptions>,
    /// Whether the table holds counters.
    pub is_counter: bool,
    /// Whether the table was created WITH COMPACT STORAGE.
    pub is_compact: bool,
    /// Whether the server computes its rows and stores none.
    pub is_virtual: bool,
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
        self.columns.iter().find(|column| &*column.name == name)
    }
}

/// One materialized view.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewMetadata {
    /// Columns and options, as those of a table.
    pub table: TableMetadata,
    /// Table the rows come from, in the same keyspace.
    pub base_table: Arc<str>,
    /// Whether the view has all columns of its table, also those added later (`SELECT *`).
    pub includes_all_columns: bool,
    /// Which rows it has, as the server writes it.
    pub where_clause: String,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMetadata {
    /// Name of the column.
    pub name: Arc<str>,
    /// Role in the table.
    pub kind: ColumnKind,
    /// Position among the key columns of its kind; -1 for others.
    pub position: i32,
    /// Whether a clustering column sorts in descending order.
    pub is_descending: bool,
    /// Type text as the server writes it, which also tells whether the type is frozen.
    pub type_text: Arc<str>,
    /// Type of the values.
    pub cql_type: CqlType,
    /// The call that hides values from those without UNMASK, such as `system.mask_default()` (Cassandra 5.0).
    pub mask: Option<Arc<str>>,
}

impl ColumnMetadata {
    /// Whether the column is stored as many cells: a collection or user-defined type that is not frozen.
    #[must_use]
    pub fn is_multi_cell(&self) -> bool {
        let is_composed =
            matches!(self.cql_type, CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) | CqlType::UserDefined(_));
        is_composed && !self.type_text.starts_with("frozen<")
    }
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

/// One secondary index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexMetadata {
    /// Keyspace of the indexed table.
    pub keyspace: Arc<str>,
    /// Indexed table.
    pub table: Arc<str>,
    /// Name of the index.
    pub name: Arc<str>,
    /// `COMPOSITES`, `KEYS` or `CUSTOM`.
    pub kind: Arc<str>,
    /// Options, among them `target` and, for a custom index, `class_name`.
    pub options: BTreeMap<String, String>,
}

impl IndexMetadata {
    /// What is indexed, as the server writes it: a column, or `keys(column)` and the like.
    #[must_use]
    pub fn target(&self) -> &str {
        self.options.get("target").map_or("", String::as_str)
    }

    /// Class of a custom index.
    #[must_use]
    pub fn class_name(&self) -> Option<&str> {
        self.options.get("class_name").map(String::as_str)
    }
}

/// One trigger: code on the server that sees every write to its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerMetadata {
    /// Keyspace of the table.
    pub keyspace: Arc<str>,
    /// Table whose writes it sees.
    pub table: Arc<str>,
    /// Name of the trigger.
    pub name: Arc<str>,
    /// Options, of which servers know one: `class`.
    pub options: BTreeMap<String, String>,
}

impl TriggerMetadata {
    /// Java class of the trigger; empty if the server does not say.
    #[must_use]
    pub fn class_name(&self) -> &str {
        self.options.get("class").map_or("", String::as_str)
    }
}

/// A table for tests with regular columns of the given names and type texts, resolved as far as no user types occur.
#[cfg(test)]
pub(crate) fn test_table(keyspace: &str, name: &str, columns: &[(&str, &str)]) -> TableMetadata {
    let column = |(name, text): &(&str, &str)| ColumnMetadata {
        name: (*name).into(),
        kind: ColumnKind::Regular,
        position: -1,
        is_descending: false,
        type_text: (*text).into(),
        cql_type: crate::topology::parse_cql_type(text, &|_| None).unwrap(),
        mask: None,
    };
    TableMetadata {
        keyspace: keyspace.into(),
        name: name.into(),
        id: None,
        columns: columns.iter().map(column).collect(),
        indexes: BTreeMap::new(),
        triggers: BTreeMap::new(),
        options: Arc::default(),
        is_counter: false,
        is_compact: false,
        is_virtual: false,
    }
}
