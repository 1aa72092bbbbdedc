//! ALTER TABLE.

use super::properties::table_properties;
use super::{Change, Changes, event, index_column, invalid, resolve_type};
use crate::cql::ast::{Name, Properties, TableChange};
use crate::cql::row::row_mutation;
use crate::cql::system::text;
use crate::protocol::ServerError;
use crate::schema::{Column, ColumnKind, Table};
use crate::storage::Mutation;
use crate::types::CqlType;
use bytes::Bytes;

impl Change<'_> {
    pub(super) fn alter_table(
        &self,
        name: &Name,
        if_exists: bool,
        what: &TableChange,
    ) -> Result<Option<Changes>, ServerError> {
        let keyspace_name = self.keyspace_of(name)?;
        let found = self.schema.table(keyspace_name, &name.name);
        let (Some(table), Some(keyspace)) = (found, self.schema.keyspaces.get(keyspace_name)) else {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Table '{keyspace_name}.{}' doesn't exist", name.name)));
        };
        let mut table = Table::clone(table);
        let mut rows = Vec::new();
        match what {
            TableChange::Add { columns, if_not_exists } => {
                for column in columns {
                    if table.column(&column.name).is_some() {
                        if *if_not_exists {
                            continue;
                        }
                        return Err(invalid(format!("Column with name '{}' already exists", column.name)));
                    }
                    let resolve = |type_name: &str| keyspace.types.get(type_name).cloned();
                    let cql_type = resolve_type(&column.type_name, &resolve, keyspace_name)?;
                    if column.is_static && table.clustering_len == 0 {
                        return Err(invalid(
                            "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
                        ));
                    }
                    check_counter(&table, &column.name, &cql_type)?;
                    let kind = if column.is_static { ColumnKind::Static } else { ColumnKind::Regular };
                    let name = column.name.clone();
                    table.columns.push(Column { name, cql_type, kind, position: -1, descending: false });
                }
                table.arrange();
            }
            TableChange::Drop { columns, if_exists } => {
                for column in columns {
                    let Some(found) = table.column(column).cloned() else {
                        if *if_exists {
                            continue;
                        }
                        return Err(invalid(format!("Column {column} was not found in table '{}'", table.full_name())));
                    };
                    if matches!(found.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
                        return Err(invalid(format!("Cannot drop PRIMARY KEY column {column}")));
                    }
                    let indexes: Vec<_> = table
                        .indexes
                        .iter()
                        .filter(|(_, i)| index_column(i) == *column)
                        .map(|(n, _)| n.clone())
                        .collect();
                    if !indexes.is_empty() {
                        return Err(invalid(format!(
                            "Cannot drop column {column} because it has dependent secondary indexes ({})",
                            indexes.join(", ")
                        )));
                    }
                    table.columns.retain(|c| c.name != *column);
                    let key = [("keyspace_name", keyspace_name), ("table_name", &table.name), ("column_name", column)];
                    rows.extend(self.deletion("columns", &key));
                    rows.extend(self.dropped_column(&table, &found));
                }
                table.arrange();
            }
            TableChange::Rename { pairs, .. } => {
                for (from, to) in pairs {
                    let Some(index) = table.column_index(from) else {
                        return Err(invalid(format!("Undefined column name {from} in table {}", table.full_name())));
                    };
                    if !matches!(table.columns[index].kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
                        return Err(invalid(format!("Cannot rename non PRIMARY KEY column {from}")));
                    }
                    if table.column(to).is_some() {
                        return Err(invalid(format!(
                            "Cannot rename column {from} to {to} in table '{}'; another column with that name already exists",
                            table.full_name()
                        )));
                    }
                    table.columns[index].name.clone_from(to);
                    let key = [("keyspace_name", keyspace_name), ("table_name", &table.name), ("column_name", from)];
                    rows.extend(self.deletion("columns", &key));
                }
                table.arrange();
            }
            TableChange::With(properties) => change_properties(&mut table, properties)?,
        }
        if self
            .schema
            .table(keyspace_name, &name.name)
            .is_some_and(|before| before.columns == table.columns && before.options == table.options)
        {
            return Ok(None);
        }
        rows.extend(self.table_rows(&table));
        Ok(Some((rows, event("UPDATED", "TABLE", keyspace_name, &name.name))))
    }

    fn dropped_column(&self, table: &Table, column: &Column) -> Option<Mutation> {
        let registry = self.schema.table("system_schema", "dropped_columns")?;
        let kind = if column.kind == ColumnKind::Static { "static" } else { "regular" };
        let millis = (self.timestamp / 1000).to_be_bytes();
        let cells = [
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("column_name", text(&column.name)),
            ("dropped_time", Some(Bytes::copy_from_slice(&millis))),
            ("kind", text(kind)),
            ("type", text(&column.cql_type.freeze().to_string())),
        ];
        Some(row_mutation(registry, self.timestamp, &cells))
    }
}

/// Counters and other columns live in tables of their own.
fn check_counter(table: &Table, column: &str, cql_type: &CqlType) -> Result<(), ServerError> {
    let is_counter = *cql_type == CqlType::Counter;
    if is_counter == table.is_counter {
        return Ok(());
    }
    let (of_column, of_table) = if is_counter { ("counter", "non counter") } else { ("non counter", "counter") };
    Err(ServerError::Config(format!(
        "{}: Cannot have a {of_column} column (\"{column}\") in a {of_table} table",
        table.full_name()
    )))
}

fn change_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    if properties.iter().any(|(name, _)| name == "id") {
        return Err(ServerError::Config("Cannot alter table id.".to_owned()));
    }
    table_properties(table, properties)
}
