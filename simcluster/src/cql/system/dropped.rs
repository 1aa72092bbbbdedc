//! Columns that were dropped, as rows of `system_schema.dropped_columns` and from them.

use super::{SchemaRow, mutation, stored_type, text};
use crate::schema::{DroppedColumn, Index, Schema, Table};
use crate::storage::Mutation;
use crate::types::{CqlType, UserType};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rows of a table's dropped columns.
pub fn rows(system: &Schema, schema_keyspace: &str, table: &Table, timestamp: i64) -> Vec<Mutation> {
    let mut rows = Vec::new();
    for (name, column) in &table.dropped {
        let kind = if column.is_static { "static" } else { "regular" };
        let millis = (column.micros / 1000).to_be_bytes();
        let cells = [
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("column_name", text(name)),
            ("dropped_time", Some(Bytes::copy_from_slice(&millis))),
            ("kind", text(kind)),
            ("type", text(&column.cql_type.to_string())),
        ];
        rows.extend(mutation(system, schema_keyspace, "dropped_columns", timestamp, &cells));
    }
    rows
}

/// The column of a row, with its name.
pub fn read(row: &SchemaRow<'_>, types: &BTreeMap<String, Arc<UserType>>) -> Option<(String, DroppedColumn)> {
    let millis = row.get("dropped_time").map(|bytes| crate::types::text::integer(&bytes))?;
    let column = DroppedColumn {
        cql_type: stored_type(&row.text("type"), types)?,
        is_static: row.text("kind") == "static",
        micros: millis.saturating_mul(1000),
    };
    Some((row.text("column_name"), column))
}

/// What Cassandra's own tables have and no CREATE TABLE can say.
pub fn add_leftovers(table: &mut Table) {
    match (table.keyspace.as_str(), table.name.as_str()) {
        ("system", "local") => {
            let column = DroppedColumn { cql_type: CqlType::Text, is_static: false, micros: i64::MAX };
            table.dropped.insert("thrift_version".to_owned(), column);
        }
        // The index came with this column, in 4.1.
        ("system", "paxos") if table.column_index("in_progress_read_ballot").is_some() => {
            let class = "org.apache.cassandra.service.paxos.uncommitted.PaxosUncommittedIndex";
            let options = [("class_name", class), ("target", "")];
            let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let index = Index { kind: "CUSTOM".to_owned(), options };
            table.indexes.insert("PaxosUncommittedIndex".to_owned(), index);
        }
        _ => {}
    }
}
