//! CREATE and DROP INDEX.

use super::{Change, Changes, event, invalid};
use crate::cql::ast::{Ddl, Name};
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Index, Table};

impl Change<'_> {
    pub(super) fn create_index(&self, ddl: &Ddl) -> Result<Option<Changes>, ServerError> {
        let Ddl::CreateIndex { name, if_not_exists, table, target: (column_name, part), custom_class, options } = ddl
        else {
            return Ok(None);
        };
        let keyspace_name = self.keyspace_of(table)?;
        let keyspace = self.existing_keyspace(keyspace_name)?;
        let found = keyspace
            .tables
            .get(&table.name)
            .ok_or_else(|| invalid(format!("Table '{keyspace_name}.{}' doesn't exist", table.name)))?;
        let column = found
            .column(column_name)
            .ok_or_else(|| invalid(format!("Undefined column name {column_name} in table {}", found.full_name())))?;
        if column.kind == ColumnKind::PartitionKey && found.partition_key_len == 1 {
            return Err(invalid(format!(
                "Cannot create secondary index on the only partition key column {column_name}"
            )));
        }
        if found.is_counter {
            return Err(invalid("Secondary indexes on counter tables aren't supported"));
        }
        let mut mine = Table::clone(found);
        let name = name.clone().unwrap_or_else(|| {
            let base = format!("{}_{column_name}_idx", table.name);
            let taken = |candidate: &String| keyspace.tables.values().any(|t| t.indexes.contains_key(candidate));
            let numbered = (1..).map(|n| format!("{base}_{n}"));
            std::iter::once(base.clone()).chain(numbered).find(|c| !taken(c)).unwrap_or(base.clone())
        });
        if keyspace.tables.values().any(|t| t.indexes.contains_key(&name)) {
            if *if_not_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Index '{name}' already exists")));
        }
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
