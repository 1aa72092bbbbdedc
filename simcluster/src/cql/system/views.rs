//! Materialized views as rows of `system_schema`, and back.
//!
//! A view has a row in `views` that is much like that of a table, and its columns are in `columns`.

use super::{SchemaRow, SchemaRows, boolean, column_cells, column_from, mutation, option_cells, text};
use crate::schema::views::View;
use crate::schema::{Keyspace, Schema, Table};
use crate::storage::Mutation;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The rows that describe a view: itself and its columns.
#[must_use]
pub fn view_rows(system: &Schema, view: &View, timestamp: i64) -> Vec<Mutation> {
    let table = &view.table;
    let uuid = |id: &Uuid| Some(Bytes::copy_from_slice(id.as_bytes()));
    let mut cells = vec![
        ("keyspace_name", text(&table.keyspace)),
        ("view_name", text(&table.name)),
        ("id", uuid(&table.id)),
        ("base_table_id", uuid(&view.base_id)),
        ("base_table_name", text(&view.base_name)),
        ("include_all_columns", boolean(view.includes_all)),
        ("where_clause", text(&view.where_clause)),
    ];
    cells.extend(option_cells(table));
    let mut rows = mutation(system, "system_schema", "views", timestamp, &cells);
    for column in &table.columns {
        rows.extend(mutation(system, "system_schema", "columns", timestamp, &column_cells(table, column)));
    }
    rows
}

/// Reads the views, given the rows of all columns.
pub(super) fn read(rows: &mut SchemaRows<'_>, columns: &[SchemaRow<'_>], keyspaces: &mut BTreeMap<String, Keyspace>) {
    for row in rows.all("views") {
        let (keyspace_name, name) = (row.text("keyspace_name"), row.text("view_name"));
        let Some(keyspace) = keyspaces.get_mut(&keyspace_name) else { continue };
        let own = |other: &&SchemaRow<'_>| other.table() == (keyspace_name.as_bytes(), name.as_bytes());
        let uuid = |column: &str| row.get(column).and_then(|b| Uuid::from_slice(&b).ok()).unwrap_or_default();
        let mut table = Table {
            id: uuid("id"),
            columns: columns.iter().filter(own).filter_map(|c| column_from(c, &keyspace.types)).collect(),
            options: row.options(),
            ..Table::empty(&keyspace_name, &name)
        };
        table.arrange();
        let view = View {
            table: Arc::new(table),
            base_id: uuid("base_table_id"),
            base_name: row.text("base_table_name"),
            includes_all: row.get("include_all_columns").is_some_and(|b| b[..] == [1]),
            where_clause: row.text("where_clause"),
        };
        keyspace.views.insert(name, Arc::new(view));
    }
}
