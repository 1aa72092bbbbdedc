//! CREATE and DROP TABLE.

use super::properties::first_table_properties;
use super::{Change, Changes, event, invalid, resolve_type};
use crate::cql::ast::{ColumnDefinition, Ddl, Name, Properties};
use crate::cql::java::hash_order;
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
        if keyspace.views.contains_key(&name.name) {
            // Cassandra fails with an internal error, and afterwards has both.
            return Err(not_modelled("a table with the name of a materialized view"));
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
        self.check_no_view(name, "DROP TABLE", ". Please use DROP MATERIALIZED VIEW instead.")?;
        let Some(table) = self.schema.table(keyspace, &name.name) else {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("Table '{keyspace}.{}' doesn't exist", name.name)));
        };
        self.check_no_views_of(table)?;
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
        self.check_names()?;
        let mut table = Table {
            keyspace: self.keyspace.to_owned(),
            name: self.name.to_owned(),
            id,
            columns: Vec::new(),
            partition_key_len: 0,
            clustering_len: 0,
            options: options::defaults(),
            indexes: BTreeMap::new(),
            dropped: BTreeMap::new(),
            is_counter: false,
        };
        // Cassandra looks its columns' types up in the order of a hash map.
        let mut resolved = vec![None; self.columns.len()];
        for place in hash_order(self.columns.iter().map(|column| column.name.as_str())) {
            resolved[place] = Some(resolve_type(&self.columns[place].type_name, types, self.keyspace)?);
        }
        for (column, cql_type) in self.columns.iter().zip(resolved.into_iter().flatten()) {
            let place = |names: &[String]| names.iter().position(|n| *n == column.name);
            let (kind, position) = match (place(self.partition_key), place(self.clustering)) {
                (Some(position), _) => (ColumnKind::PartitionKey, position as i32),
                (None, Some(position)) => (ColumnKind::Clustering, position as i32),
                (None, None) if column.is_static => (ColumnKind::Static, -1),
                (None, None) => (ColumnKind::Regular, -1),
            };
            if position >= 0 {
                if column.is_static {
                    return Err(invalid(format!("Static column '{}' cannot be part of the PRIMARY KEY", column.name)));
                }
                if cql_type.is_multi_cell() {
                    return Err(invalid(format!(
                        "Invalid non-frozen {} type {cql_type} for PRIMARY KEY column '{}'",
                        if cql_type.is_collection() { "collection" } else { "user-defined" },
                        column.name
                    )));
                }
                let unfit = if cql_type == CqlType::Counter { "counter" } else { "duration" };
                if cql_type == CqlType::Counter || cql_type.references_duration() {
                    return Err(invalid(format!(
                        "{unfit} type is not supported for PRIMARY KEY column '{}'",
                        column.name
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
        let counters = table.columns.iter().filter(|c| c.position < 0 && c.cql_type == CqlType::Counter).count();
        let others = table.columns.iter().filter(|c| c.position < 0).count();
        if counters > 0 && counters < others {
            return Err(invalid("Cannot mix counter and non counter columns in the same table"));
        }
        first_table_properties(&mut table, self.properties)?;
        table.arrange();
        if counters > 0 && table.options.get("default_time_to_live").is_some_and(|ttl| ttl != "0") {
            return Err(invalid("Cannot set default_time_to_live on a table with counters"));
        }
        if !self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ServerError::Config(format!(
                "{}.{}: Table name must not be empty or not contain non-alphanumeric-underscore characters (got \"{}\")",
                self.keyspace, self.name, self.name
            )));
        }
        Ok(table)
    }

    /// Every column once, and the key of columns that are there.
    fn check_names(&self) -> Result<(), ServerError> {
        let name = self.name;
        if self.partition_key.is_empty() {
            return Err(invalid(format!("No PRIMARY KEY specifed for table '{name}' (exactly one required)")));
        }
        let is_column = |wanted: &String| self.columns.iter().any(|column| column.name == *wanted);
        for (place, column) in self.columns.iter().enumerate() {
            if self.columns[..place].iter().any(|earlier| earlier.name == column.name) {
                return Err(invalid(format!("Duplicate column '{}' declaration for table '{name}'", column.name)));
            }
        }
        let key: Vec<&String> = self.partition_key.iter().chain(self.clustering).collect();
        for (place, column) in key.iter().enumerate() {
            if !is_column(column) {
                return Err(invalid(format!("Unknown column '{column}' referenced in PRIMARY KEY for table '{name}'")));
            }
            if key[..place].contains(column) {
                return Err(invalid(format!("Duplicate column '{column}' in PRIMARY KEY clause for table '{name}'")));
            }
        }
        self.check_order()
    }

    /// CLUSTERING ORDER BY names all clustering columns, in their order.
    fn check_order(&self) -> Result<(), ServerError> {
        let ordered: Vec<&String> = self.order.iter().map(|(column, _)| column).collect();
        for (place, column) in ordered.iter().enumerate() {
            if ordered[..place].contains(column) {
                return Err(invalid(format!(
                    "Duplicate column '{column}' in CLUSTERING ORDER BY clause for table '{}'",
                    self.name
                )));
            }
        }
        if ordered.is_empty() {
            return Ok(());
        }
        let strangers: Vec<&str> =
            ordered.iter().filter(|c| !self.clustering.contains(c)).map(|c| c.as_str()).collect();
        if !strangers.is_empty() {
            return Err(invalid(format!(
                "Only clustering key columns can be defined in CLUSTERING ORDER directive: [{}] are not clustering columns",
                strangers.join(", ")
            )));
        }
        // Columns behind the last one named are ascending.
        for (place, column) in self.clustering.iter().enumerate().take(ordered.len()) {
            match ordered.get(place) {
                Some(found) if *found == column => {}
                Some(found) if ordered.contains(&column) => {
                    return Err(invalid(format!(
                        "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns ({column} must appear before {found})"
                    )));
                }
                _ => return Err(invalid(format!("Missing CLUSTERING ORDER for column {column}"))),
            }
        }
        Ok(())
    }
}
