//! Materialized views as values: what a view is, not what is in it.

use super::Table;
use std::sync::Arc;
use uuid::Uuid;

/// A materialized view.
#[derive(Clone, Debug)]
pub struct View {
    /// Its columns and options, as if it were a table; without indexes.
    pub table: Arc<Table>,
    /// The id of the table it is made from.
    pub base_id: Uuid,
    /// The name of that table, which is in the same keyspace.
    pub base_name: String,
    /// Whether it selects `*`: columns that are added to the table become its own.
    pub includes_all: bool,
    /// The relations of WHERE, as `system_schema.views` and DESCRIBE write them.
    pub where_clause: String,
}

impl View {
    /// Whether it is made from this table.
    #[must_use]
    pub fn is_of(&self, table: &Table) -> bool {
        self.base_id == table.id
    }
}
