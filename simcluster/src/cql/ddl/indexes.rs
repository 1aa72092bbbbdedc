//! CREATE and DROP INDEX.

use super::{Change, Changes, event, invalid};
use crate::cql::ast::{Ddl, Name};
use crate::cql::parser::not_modelled;
use crate::cql::relations::is_storage_attached;
use crate::cql::show;
use crate::protocol::ServerError;
use crate::schema::options::show_map;
use crate::schema::{Column, ColumnKind, Index, Table};
use crate::types::CqlType;

impl Change<'_> {
    pub(super) fn create_index(&self, ddl: &Ddl) -> Result<Option<Changes>, ServerError> {
        let Ddl::CreateIndex { name, if_not_exists, table, target: (column_name, part), custom_class, options } = ddl
        else {
            return Ok(None);
        };
        let keyspace_name = self.keyspace_of(table)?;
        let keyspace = self.existing_keyspace(keyspace_name)?;
        let view = keyspace.views.get(&table.name).map(|view| &view.table);
        let found = keyspace
            .tables
            .get(&table.name)
            .or(view)
            .ok_or_else(|| invalid(format!("Table '{}' doesn't exist", table.name)))?;
        let is_taken = |name: &String| keyspace.tables.values().any(|t| t.indexes.contains_key(name));
        if let Some(name) = name.as_ref().filter(|name| is_taken(name)) {
            if *if_not_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Index '{name}' already exists")));
        }
        if found.is_counter {
            return Err(invalid("Secondary indexes on counter tables aren't supported"));
        }
        if view.is_some() {
            return Err(invalid("Secondary indexes on materialized views aren't supported"));
        }
        if column_name.is_empty() {
            return Err(invalid(match custom_class {
                None => "Only CUSTOM indexes can be created without specifying a target column",
                Some(_) => "Failed to retrieve target column for: ",
            }));
        }
        let Some(column) = found.column(column_name) else {
            return Err(invalid(show::undefined_column(found, column_name)));
        };
        check_target(found, column, part.as_deref())?;
        if let Some(class) = custom_class {
            check_custom(found, column, class, options)?;
        }
        let mut mine = Table::clone(found);
        let name = name.clone().unwrap_or_else(|| {
            let base: String = format!("{}_{column_name}_idx", table.name)
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let taken = is_taken;
            let numbered = (1..).map(|n| format!("{base}_{n}"));
            std::iter::once(base.clone()).chain(numbered).find(|c| !taken(c)).unwrap_or(base.clone())
        });
        let target = match (&column.cql_type, part.as_deref()) {
            (_, Some(part)) => format!("{part}({column_name})"),
            (t, None) if t.is_collection() && t.is_multi_cell() => format!("values({column_name})"),
            _ => column_name.clone(),
        };
        let mut all = options.clone();
        all.insert("target".to_owned(), target);
        let kind = match custom_class {
            Some(class) => {
                all.insert("class_name".to_owned(), class.clone());
                "CUSTOM"
            }
            None => "COMPOSITES",
        };
        let index = Index { kind: kind.to_owned(), options: all };
        if mine.indexes.values().any(|present| *present == index) {
            if *if_not_exists {
                return Ok(None);
            }
            let twin = mine.indexes.iter().find(|(_, i)| **i == index).map(|(n, _)| n.clone()).unwrap_or_default();
            return Err(invalid(format!("Index {name} is a duplicate of existing index {twin}")));
        }
        mine.indexes.insert(name, index);
        Ok(Some((self.table_rows(&mine), event("UPDATED", "TABLE", keyspace_name, &table.name))))
    }

    pub(super) fn drop_index(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        let keyspace = self.keyspace_of(name)?;
        let tables = self.schema.keyspaces.get(keyspace).map(|k| &k.tables);
        let found = tables.and_then(|tables| tables.values().find(|t| t.indexes.contains_key(&name.name)));
        let Some(table) = found else {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Index '{keyspace}.{}' doesn't exist'", name.name)));
        };
        let key = [("keyspace_name", keyspace), ("table_name", &table.name), ("index_name", &name.name)];
        let rows = self.deletion("indexes", &key).into_iter().collect();
        Ok(Some((rows, event("UPDATED", "TABLE", keyspace, &table.name))))
    }
}

/// The column an index is on.
#[must_use]
pub fn index_column(index: &Index) -> String {
    let target = index.options.get("target").map(String::as_str).unwrap_or_default();
    let inner = target.split_once('(').map_or(target, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

/// Whether a column can be indexed in this way.
fn check_target(table: &Table, column: &Column, part: Option<&str>) -> Result<(), ServerError> {
    let Column { name, cql_type, .. } = column;
    if cql_type.references_duration() {
        let what = match cql_type {
            CqlType::Tuple(_) => "tuples containing durations",
            CqlType::Udt { .. } => "UDTs containing durations",
            other if other.is_collection() => "collections containing durations",
            _ => "duration columns",
        };
        return Err(invalid(format!("Secondary indexes are not supported on {what}")));
    }
    if column.kind == ColumnKind::PartitionKey && table.partition_key_len == 1 {
        return Err(invalid(format!("Cannot create secondary index on the only partition key column {name}")));
    }
    let is_frozen = cql_type.is_collection() && !cql_type.is_multi_cell();
    if is_frozen && part != Some("full") {
        return Err(invalid(format!(
            "Cannot create {}() index on frozen column {name}. Frozen collections are immutable and must be fully indexed by using the 'full({name})' modifier",
            part.unwrap_or("values")
        )));
    }
    match part {
        Some("full") if !is_frozen => Err(invalid("full() indexes can only be created on frozen collections")),
        Some(part) if !cql_type.is_collection() => Err(invalid(format!(
            "Cannot create {part}() index on {name}. Non-collection columns only support simple indexes"
        ))),
        Some(part @ ("keys" | "entries")) if !matches!(cql_type, CqlType::Map { .. }) => {
            Err(invalid(format!("Cannot create index on {part} of column {name} with non-map type")))
        }
        _ if matches!(cql_type, CqlType::Udt { frozen: false, .. }) => {
            Err(invalid(format!("Cannot create index on non-frozen UDT column {name}")))
        }
        _ => Ok(()),
    }
}

/// Whether a custom index can be made: of the classes there are, only storage-attached indexes are modelled.
fn check_custom(
    table: &Table,
    column: &Column,
    class: &str,
    options: &std::collections::BTreeMap<String, String>,
) -> Result<(), ServerError> {
    let short = class.rsplit('.').next().unwrap_or_default();
    if short.contains("SASI") {
        return Err(not_modelled("a SASI index"));
    }
    if !class.eq_ignore_ascii_case("sai") && short != "StorageAttachedIndex" {
        return Err(ServerError::Config(format!("Unable to find custom indexer class '{class}'")));
    }
    let on_column = |index: &Index| {
        is_storage_attached(index)
            && index_column(index) == column.name
            // The very same index is refused as a duplicate.
            && (index.options.get("class_name").is_none_or(|present| present != class)
                || index.options.len() != options.len() + 2)
    };
    if !column.cql_type.is_collection() && table.indexes.values().any(on_column) {
        return Err(invalid(format!(
            "Cannot create more than one storage-attached index on the same column: {}",
            column.name
        )));
    }
    let is_key = matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering);
    if is_key && !options.is_empty() {
        let shown = show_map(options);
        return Err(invalid(format!("Analysis options are not supported on primary key columns, but found {shown}")));
    }
    if matches!(column.cql_type, CqlType::Blob | CqlType::Counter) {
        return Err(invalid(format!("Unsupported type: {}", column.cql_type)));
    }
    Ok(())
}
