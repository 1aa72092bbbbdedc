//! CREATE and DROP TABLE.

use super::properties::table_properties;
use super::{Change, Changes, event, invalid, resolve_type};
use crate::cql::ast::{ColumnDefinition, Ddl, Name, Properties};
use crate::cql::parser::not_modelled;
use crate::cql::row::time_uuid;
use crate::protocol::ServerError;
use crate::schema::{Column, ColumnKind, Table, options};
use crate::types::{CqlType, UserType};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

impl Change<'_> {
    pub(super) fn create_table(&self, ddl: &Ddl) -> Result<Option<Changes>, ServerError> {
        let Ddl::CreateTable { name, if_not_exists, columns, partition_key, clustering, order, compact, properties } =
            ddl
        else {
            return Ok(None);
        };
        let keyspace_name = self.keyspace_of(name)?;
        let keyspace = self.existing_keyspace(keyspace_name)?;
        if keyspace.tables.contains_key(&name.name) {
            if *if_not_exists {
                return Ok(None);
            }
            return Err(ServerError::AlreadyExists {
                keyspace: keyspace_name.to_owned(),
                table: name.name.clone(),
                message: format!("Cannot add already existing table \"{}\" to keyspace \"{keyspace_name}\"", name.name),
            });
        }
        if *compact {
            return Err(not_modelled("COMPACT STORAGE"));
        }
        let definition = TableDefinition {
            keyspace: keyspace_name,
            name: &name.name,
            columns,
            partition_key,
            clustering,
            order,
            properties,
        };
        let id_bytes = time_uuid(self.timestamp, self.entropy % 10, self.entropy);
        let id = Uuid::from_slice(&id_bytes).unwrap_or_default();
        let table = definition.build(id, &|type_name| keyspace.types.get(type_name).cloned())?;
        Ok(Some((self.table_rows(&table), event("CREATED", "TABLE", keyspace_name, &name.name))))
    }

    pub(super) fn drop_table(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        let keyspace = self.keyspace_of(name)?;
        if self.schema.table(keyspace, &name.name).is_none() {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Table '{keyspace}.{}' doesn't exist", name.name)));
        }
        let key = [("keyspace_name", keyspace), ("table_name", name.name.as_str())];
        let tables = ["tables", "columns", "indexes", "dropped_columns"];
        let rows = tables.iter().filter_map(|table| self.deletion(table, &key)).collect();
        Ok(Some((rows, event("DROPPED", "TABLE", keyspace, &name.name))))
    }
}

/// The parts of a CREATE TABLE that make a table.
#[derive(Clone, Copy, Debug)]
pub struct TableDefinition<'a> {
    pub keyspace: &'a str,
    pub name: &'a str,
    pub columns: &'a [ColumnDefinition],
    pub partition_key: &'a [String],
    pub clustering: &'a [String],
    pub order: &'a [(String, bool)],
    pub properties: &'a Properties,
}

impl TableDefinition<'_> {
    /// Checks the definition and makes the table.
    ///
    /// # Errors
    ///
    /// As Cassandra: no primary key, unknown type, mixed counters, …
    pub fn build(&self, id: Uuid, types: &dyn Fn(&str) -> Option<Arc<UserType>>) -> Result<Table, ServerError> {
        let full_name = format!("{}.{}", self.keyspace, self.name);
        if self.partition_key.is_empty() {
            return Err(invalid(format!("No PRIMARY KEY specifed for table '{full_name}' (exactly one required)")));
        }
        let mut table = Table {
            keyspace: self.keyspace.to_owned(),
            name: self.name.to_owned(),
            id,
            columns: Vec::new(),
            partition_key_len: 0,
            clustering_len: 0,
            options: options::defaults(),
            indexes: BTreeMap::new(),
            is_counter: false,
        };
        for column in self.columns {
            if table.column(&column.name).is_some() {
                return Err(invalid(format!("Duplicate column '{}' declaration for table '{full_name}'", column.name)));
            }
            let cql_type = resolve_type(&column.type_name, types, self.keyspace)?;
            let place = |names: &[String]| names.iter().position(|n| *n == column.name);
            let (kind, position) = match (place(self.partition_key), place(self.clustering)) {
                (Some(position), _) => (ColumnKind::PartitionKey, position as i32),
                (None, Some(position)) => (ColumnKind::Clustering, position as i32),
                (None, None) if column.is_static => (ColumnKind::Static, -1),
                (None, None) => (ColumnKind::Regular, -1),
            };
            if position >= 0 {
                if column.is_static {
                    return Err(invalid(format!("Static column {} cannot be part of the PRIMARY KEY", column.name)));
                }
                if cql_type.is_multi_cell() {
                    return Err(invalid(format!(
                        "Invalid non-frozen collection type {cql_type} for PRIMARY KEY column '{}'",
                        column.name
                    )));
                }
                if matches!(cql_type, CqlType::Counter | CqlType::Duration) {
                    return Err(invalid(format!(
                        "{} type is not supported for PRIMARY KEY column '{}'",
                        cql_type, column.name
                    )));
                }
            }
            if kind == ColumnKind::Static && self.clustering.is_empty() {
                return Err(invalid(
                    "Static columns are only useful (and thus allowed) if the table has at least one clustering column",
                ));
            }
            let descending = self.order.iter().any(|(name, descending)| *name == column.name && *descending);
            table.columns.push(Column { name: column.name.clone(), cql_type, kind, position, descending });
        }
        for name in self.partition_key.iter().chain(self.clustering) {
            if table.column(name).is_none() {
                return Err(invalid(format!(
                    "Unknown column '{name}' referenced in PRIMARY KEY for table '{full_name}'"
                )));
            }
        }
        for (position, (name, _)) in self.order.iter().enumerate() {
            if self.clustering.get(position) != Some(name) {
                return Err(invalid(format!(
                    "Clustering key columns must exactly match columns in CLUSTERING ORDER BY directive: {}",
                    self.clustering.join(", ")
                )));
            }
        }
        let counters = table.columns.iter().filter(|c| c.position < 0 && c.cql_type == CqlType::Counter).count();
        let others = table.columns.iter().filter(|c| c.position < 0).count();
        if counters > 0 && counters < others {
            return Err(invalid("Cannot mix counter and non counter columns in the same table"));
        }
        table_properties(&mut table, self.properties)?;
        table.arrange();
        Ok(table)
    }
}
