//! ALTER TABLE.

use super::properties::table_properties;
use super::{Change, Changes, event, index_column, invalid, resolve_type, views};
use crate::cql::ast::{Name, Properties, TableChange};
use crate::cql::show;
use crate::protocol::ServerError;
use crate::schema::{Column, ColumnKind, DroppedColumn, Table};
use crate::storage::Mutation;
use crate::types::CqlType;
use std::sync::Arc;

impl Change<'_> {
    pub(super) fn alter_table(
        &self,
        name: &Name,
        if_exists: bool,
        what: &TableChange,
    ) -> Result<Option<Changes>, ServerError> {
        let keyspace_name = self.keyspace_of(name)?;
        self.check_no_view(name, "ALTER TABLE", "; use ALTER MATERIALIZED VIEW instead")?;
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
                    check_dropped(&table, &column.name, &cql_type, column.is_static)?;
                    check_counter(&table, &column.name, &cql_type)?;
                    let kind = if column.is_static { ColumnKind::Static } else { ColumnKind::Regular };
                    let name = column.name.clone();
                    table.columns.push(Column { name, cql_type, kind, position: -1, descending: false });
                }
                table.arrange();
            }
            TableChange::Drop { columns, if_exists, timestamp } => {
                let dropped_at = timestamp.unwrap_or(self.timestamp);
                for column in columns {
                    rows.extend(self.drop_column(&mut table, column, *if_exists, dropped_at)?);
                }
                table.arrange();
            }
            TableChange::Rename { pairs, .. } => {
                for (from, to) in pairs {
                    let Some(index) = table.column_index(from) else {
                        return Err(invalid(show::undefined_column(&table, from)));
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
            TableChange::With(properties) => {
                change_properties(&mut table, properties)?;
                if self.has_views(&table) {
                    views::check_grace(&table, "the base table of a materialized view")?;
                }
            }
        }
        if self.schema.table(keyspace_name, &name.name).is_some_and(|before| {
            before.columns == table.columns && before.options == table.options && before.dropped == table.dropped
        }) {
            return Ok(None);
        }
        rows.extend(self.table_rows(&table));
        rows.extend(self.changes_of_views(keyspace, &table, what));
        Ok(Some((rows, event("UPDATED", "TABLE", keyspace_name, &name.name))))
    }

    /// Takes a column out of a table; answers what that deletes.
    fn drop_column(
        &self,
        table: &mut Table,
        column: &str,
        if_exists: bool,
        micros: i64,
    ) -> Result<Option<Mutation>, ServerError> {
        let Some(found) = table.column(column).cloned() else {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Column {column} was not found in table '{}'", table.full_name())));
        };
        if matches!(found.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            return Err(invalid(format!("Cannot drop PRIMARY KEY column {column}")));
        }
        if matches!(found.cql_type, CqlType::Udt { frozen: false, .. }) {
            return Err(invalid(format!("Cannot drop non-frozen column {column} of user type {}", found.cql_type)));
        }
        let indexes: Vec<_> =
            table.indexes.iter().filter(|(_, i)| index_column(i) == column).map(|(n, _)| n.clone()).collect();
        if !indexes.is_empty() {
            return Err(invalid(format!(
                "Cannot drop column {column} because it has dependent secondary indexes ({})",
                indexes.join(", ")
            )));
        }
        if self.has_views(table) {
            return Err(invalid(format!(
                "Cannot drop column {column} on base table {} with materialized views",
                table.name
            )));
        }
        table.columns.retain(|c| c.name != column);
        let key =
            [("keyspace_name", table.keyspace.as_str()), ("table_name", table.name.as_str()), ("column_name", column)];
        let row = self.deletion("columns", &key);
        let dropped = DroppedColumn {
            cql_type: expanded(&found.cql_type),
            is_static: found.kind == ColumnKind::Static,
            // As it is kept: in milliseconds.
            micros: micros / 1000 * 1000,
        };
        table.dropped.insert(column.to_owned(), dropped);
        Ok(row)
    }
}

/// Refuses a column whose name was that of another, if what is stored of that one could be taken for its own.
fn check_dropped(table: &Table, name: &str, cql_type: &CqlType, is_static: bool) -> Result<(), ServerError> {
    let Some(dropped) = table.dropped.get(name) else { return Ok(()) };
    if !reads(cql_type, &dropped.cql_type) {
        return Err(invalid(format!(
            "Cannot add a column '{name}' of type {cql_type}, incompatible with previously dropped column '{name}' of type {}",
            dropped.cql_type
        )));
    }
    if dropped.is_static != is_static {
        let kind = |is_static: bool| if is_static { "STATIC" } else { "REGULAR" };
        return Err(invalid(format!(
            "Cannot re-add previously dropped column '{name}' of kind {}, incompatible with previous kind {}",
            kind(is_static),
            kind(dropped.is_static)
        )));
    }
    if table.is_counter {
        return Err(invalid(format!("Cannot re-add previously dropped counter column {name}")));
    }
    Ok(())
}

/// Whether cells of one type can be read as another: their values make sense and end at the same place.
fn reads(new: &CqlType, old: &CqlType) -> bool {
    use CqlType as T;
    let is_fixed = |t: &T| {
        use CqlType as T;
        matches!(
            t,
            T::Boolean | T::Int | T::Bigint | T::Counter | T::Float | T::Double | T::Timestamp | T::Uuid | T::Timeuuid
        ) || matches!(t, T::Vector { .. })
    };
    match (new, old) {
        (T::List { element, frozen }, T::List { element: of, frozen: was_frozen })
        | (T::Set { element, frozen }, T::Set { element: of, frozen: was_frozen }) => {
            frozen == was_frozen && reads(element, of)
        }
        (T::Map { key, value, frozen }, T::Map { key: of_key, value: of, frozen: was_frozen }) => {
            frozen == was_frozen && reads(key, of_key) && reads(value, of)
        }
        (T::Vector { .. }, _) => new == old,
        _ if old.is_collection() || new.is_collection() => false,
        _ => values_make_sense(new, old) && (new == old || is_fixed(new) == is_fixed(old)),
    }
}

fn values_make_sense(new: &CqlType, old: &CqlType) -> bool {
    use CqlType as T;
    match (new, old) {
        (T::Tuple(new), T::Tuple(old)) => {
            new.len() >= old.len() && new.iter().zip(old.iter()).all(|(new, old)| values_make_sense(new, old))
        }
        (T::Blob, _)
        | (T::Text, T::Ascii)
        | (T::Bigint, T::Timestamp)
        | (T::Timestamp, T::Bigint)
        | (T::Uuid, T::Timeuuid)
        | (T::Varint, T::Int | T::Bigint) => true,
        (new, old) => new == old,
    }
}

/// A type with tuples in the place of user types.
fn expanded(cql_type: &CqlType) -> CqlType {
    match cql_type {
        CqlType::Udt { definition, .. } => {
            CqlType::Tuple(definition.fields.iter().map(|(_, field)| expanded(field)).collect())
        }
        CqlType::Tuple(parts) => CqlType::Tuple(parts.iter().map(expanded).collect()),
        CqlType::List { element, frozen } => CqlType::list(expanded(element), *frozen),
        CqlType::Set { element, frozen } => CqlType::set(expanded(element), *frozen),
        CqlType::Map { key, value, frozen } => CqlType::map(expanded(key), expanded(value), *frozen),
        CqlType::Vector { element, dimensions } => {
            CqlType::Vector { element: Arc::new(expanded(element)), dimensions: *dimensions }
        }
        other => other.clone(),
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
