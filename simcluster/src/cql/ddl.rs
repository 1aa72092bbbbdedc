//! What CREATE, ALTER and DROP do to the schema, as mutations of `system_schema`.
//!
//! Every change is computed from the schema at the moment of execution. A dropped and recreated table has another id,
//! so rows of the old one never come back.

use super::ast::{ColumnDefinition, Ddl, Name, Properties, Property, TableChange, TypeChange, TypeName};
use super::parser::not_modelled;
use super::row::{row_deletion, time_uuid};
use super::system::{self, is_system, text};
use crate::protocol::{SchemaChangeEvent, ServerError};
use crate::schema::options::{self, show_map, show_string};
use crate::schema::{Column, ColumnKind, Index, Keyspace, Schema, Table};
use crate::storage::Mutation;
use crate::types::{CqlType, UserType};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A checked DDL statement.
#[derive(Clone, Debug)]
pub struct SchemaStatement {
    ddl: Ddl,
    keyspace: Option<String>,
}

type Changes = (Vec<Mutation>, SchemaChangeEvent);

impl SchemaStatement {
    pub(super) fn new(ddl: Ddl, keyspace: Option<&str>) -> Self {
        Self { ddl, keyspace: keyspace.map(ToOwned::to_owned) }
    }

    /// What it changes, given the schema at the moment of its execution: mutations of `system_schema` tables with
    /// write time `timestamp`, and the event that tells clients. `None` if `IF [NOT] EXISTS` makes it do nothing.
    ///
    /// # Errors
    ///
    /// As Cassandra: already exists, does not exist, bad options, …
    pub fn apply(&self, schema: &Schema, timestamp: i64, entropy: u64) -> Result<Option<Changes>, ServerError> {
        let change = Change { schema, keyspace: self.keyspace.as_deref(), timestamp, entropy };
        match &self.ddl {
            Ddl::CreateKeyspace { name, if_not_exists, properties } => {
                change.create_keyspace(name, *if_not_exists, properties)
            }
            Ddl::AlterKeyspace { name, if_exists, properties } => change.alter_keyspace(name, *if_exists, properties),
            Ddl::DropKeyspace { name, if_exists } => change.drop_keyspace(name, *if_exists),
            Ddl::CreateTable { .. } => change.create_table(&self.ddl),
            Ddl::AlterTable { name, if_exists, change: what } => change.alter_table(name, *if_exists, what),
            Ddl::DropTable { name, if_exists } => change.drop_table(name, *if_exists),
            Ddl::CreateType { name, if_not_exists, fields } => change.create_type(name, *if_not_exists, fields),
            Ddl::AlterType { name, if_exists, change: what } => change.alter_type(name, *if_exists, what),
            Ddl::DropType { name, if_exists } => change.drop_type(name, *if_exists),
            Ddl::CreateIndex { .. } => change.create_index(&self.ddl),
            Ddl::DropIndex { name, if_exists } => change.drop_index(name, *if_exists),
        }
    }
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

fn event(change: &'static str, target: &'static str, keyspace: &str, name: &str) -> SchemaChangeEvent {
    SchemaChangeEvent { change, target, keyspace: keyspace.to_owned(), name: name.to_owned(), arguments: Vec::new() }
}

struct Change<'a> {
    schema: &'a Schema,
    keyspace: Option<&'a str>,
    timestamp: i64,
    entropy: u64,
}

impl Change<'_> {
    // names

    fn keyspace_of<'b>(&'b self, name: &'b Name) -> Result<&'b str, ServerError> {
        let keyspace = name.keyspace.as_deref().or(self.keyspace).ok_or_else(no_keyspace)?;
        if is_system(keyspace) {
            return Err(invalid(format!("System keyspace '{keyspace}' is not user-modifiable")));
        }
        Ok(keyspace)
    }

    fn existing_keyspace(&self, name: &str) -> Result<&Arc<Keyspace>, ServerError> {
        self.schema.keyspaces.get(name).ok_or_else(|| invalid(format!("Keyspace '{name}' doesn't exist")))
    }

    fn deletion(&self, table: &str, key: &[(&str, &str)]) -> Option<Mutation> {
        let table = self.schema.table("system_schema", table)?;
        let key: Vec<_> = key.iter().map(|(column, value)| (*column, text(value))).collect();
        Some(row_deletion(table, self.timestamp, &key))
    }

    fn table_rows(&self, table: &Table) -> Vec<Mutation> {
        system::table_rows(self.schema, table, false, self.timestamp)
    }

    // keyspaces

    fn create_keyspace(
        &self,
        name: &str,
        if_not_exists: bool,
        properties: &Properties,
    ) -> Result<Option<Changes>, ServerError> {
        if is_system(name) {
            return Err(invalid(format!("System keyspace '{name}' is not user-modifiable")));
        }
        if self.schema.keyspaces.contains_key(name) {
            if if_not_exists {
                return Ok(None);
            }
            return Err(ServerError::AlreadyExists {
                keyspace: name.to_owned(),
                table: String::new(),
                message: format!("Cannot add existing keyspace \"{name}\""),
            });
        }
        if name.len() > 48 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || name.is_empty() {
            return Err(invalid(format!(
                "Keyspace name must not be empty, more than 48 characters long, or contain non-alphanumeric-underscore characters (got \"{name}\")"
            )));
        }
        let mut keyspace = Keyspace {
            name: name.to_owned(),
            replication: BTreeMap::new(),
            durable_writes: true,
            tables: BTreeMap::new(),
            types: BTreeMap::new(),
            is_virtual: false,
        };
        keyspace_properties(&mut keyspace, properties)?;
        if keyspace.replication.is_empty() {
            return Err(ServerError::Config("Missing mandatory option 'replication'".into()));
        }
        let rows = system::keyspace_rows(self.schema, &keyspace, self.timestamp);
        Ok(Some((rows, event("CREATED", "KEYSPACE", name, ""))))
    }

    fn alter_keyspace(
        &self,
        name: &str,
        if_exists: bool,
        properties: &Properties,
    ) -> Result<Option<Changes>, ServerError> {
        if if_exists && !self.schema.keyspaces.contains_key(name) {
            return Ok(None);
        }
        let mut keyspace = Keyspace::clone(self.existing_keyspace(name)?);
        if is_system(name) && !matches!(name, "system_auth" | "system_distributed" | "system_traces") {
            return Err(invalid(format!("System keyspace '{name}' is not user-modifiable")));
        }
        keyspace_properties(&mut keyspace, properties)?;
        let rows = system::keyspace_rows(self.schema, &keyspace, self.timestamp);
        Ok(Some((rows, event("UPDATED", "KEYSPACE", name, ""))))
    }

    fn drop_keyspace(&self, name: &str, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        if is_system(name) {
            return Err(invalid(format!("System keyspace '{name}' is not user-modifiable")));
        }
        if if_exists && !self.schema.keyspaces.contains_key(name) {
            return Ok(None);
        }
        self.existing_keyspace(name)?;
        let tables = ["keyspaces", "tables", "columns", "types", "indexes", "dropped_columns"];
        let rows = tables.iter().filter_map(|table| self.deletion(table, &[("keyspace_name", name)])).collect();
        Ok(Some((rows, event("DROPPED", "KEYSPACE", name, ""))))
    }

    // tables

    fn create_table(&self, ddl: &Ddl) -> Result<Option<Changes>, ServerError> {
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

    fn alter_table(&self, name: &Name, if_exists: bool, what: &TableChange) -> Result<Option<Changes>, ServerError> {
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
                    if (cql_type == CqlType::Counter) != table.is_counter && !table.other_columns().is_empty() {
                        return Err(invalid("Cannot mix counter and non counter columns in the same table"));
                    }
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
            TableChange::Rename { pairs, if_exists } => {
                for (from, to) in pairs {
                    let Some(index) = table.column_index(from) else {
                        if *if_exists {
                            continue;
                        }
                        return Err(invalid(format!("Column {from} was not found in table '{}'", table.full_name())));
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
            TableChange::With(properties) => table_properties(&mut table, properties)?,
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
        Some(super::row::row_mutation(registry, self.timestamp, &cells))
    }

    fn drop_table(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
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

    // types

    fn create_type(
        &self,
        name: &Name,
        if_not_exists: bool,
        fields: &[(String, TypeName)],
    ) -> Result<Option<Changes>, ServerError> {
        let keyspace_name = self.keyspace_of(name)?;
        let keyspace = self.existing_keyspace(keyspace_name)?;
        if keyspace.types.contains_key(&name.name) {
            if if_not_exists {
                return Ok(None);
            }
            return Err(invalid(format!("A user type with name '{}' already exists", name.name)));
        }
        let mut resolved: Vec<(String, CqlType)> = Vec::new();
        for (field, type_name) in fields {
            if resolved.iter().any(|(present, _)| present == field) {
                return Err(invalid(format!("Duplicate field name '{field}' in type '{}'", name.name)));
            }
            let cql_type = resolve_type(type_name, &|t| keyspace.types.get(t).cloned(), keyspace_name)?;
            check_field(&cql_type)?;
            resolved.push((field.clone(), cql_type));
        }
        let user_type = UserType { keyspace: keyspace_name.to_owned(), name: name.name.clone(), fields: resolved };
        let rows = system::type_rows(self.schema, &user_type, self.timestamp);
        Ok(Some((rows, event("CREATED", "TYPE", keyspace_name, &name.name))))
    }

    fn existing_type(&self, name: &Name, if_exists: bool) -> Result<Option<&Arc<UserType>>, ServerError> {
        let keyspace = self.keyspace_of(name)?;
        let found = self.schema.keyspaces.get(keyspace).and_then(|k| k.types.get(&name.name));
        if found.is_none() && !if_exists {
            return Err(invalid(format!("Type '{keyspace}.{}' doesn't exist", name.name)));
        }
        Ok(found)
    }

    fn alter_type(&self, name: &Name, if_exists: bool, what: &TypeChange) -> Result<Option<Changes>, ServerError> {
        let Some(found) = self.existing_type(name, if_exists)? else { return Ok(None) };
        let keyspace = self.existing_keyspace(&found.keyspace)?;
        let mut user_type = UserType::clone(found);
        match what {
            TypeChange::Add { field, type_name, if_not_exists } => {
                if user_type.fields.iter().any(|(present, _)| present == field) {
                    if *if_not_exists {
                        return Ok(None);
                    }
                    return Err(invalid(format!(
                        "Cannot add field {field} to type {}.{}: a field with name {field} already exists",
                        found.keyspace, found.name
                    )));
                }
                let cql_type = resolve_type(type_name, &|t| keyspace.types.get(t).cloned(), &keyspace.name)?;
                check_field(&cql_type)?;
                user_type.fields.push((field.clone(), cql_type));
            }
            TypeChange::Rename(pairs) => {
                for (from, to) in pairs {
                    let unknown =
                        || invalid(format!("Unkown field {from} in user type {}.{}", found.keyspace, found.name));
                    let field = user_type.fields.iter_mut().find(|(f, _)| f == from).ok_or_else(unknown)?;
                    field.0.clone_from(to);
                }
            }
        }
        let rows = system::type_rows(self.schema, &user_type, self.timestamp);
        Ok(Some((rows, event("UPDATED", "TYPE", &found.keyspace, &found.name))))
    }

    fn drop_type(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
        let Some(found) = self.existing_type(name, if_exists)? else { return Ok(None) };
        let keyspace = self.existing_keyspace(&found.keyspace)?;
        let uses = |cql_type: &CqlType| {
            let mut used = Vec::new();
            cql_type.user_types(&mut used);
            used.iter().any(|t| t.name == found.name)
        };
        let types: Vec<_> =
            keyspace.types.values().filter(|t| t.fields.iter().any(|(_, f)| uses(f))).map(|t| t.name.clone()).collect();
        let tables: Vec<_> = keyspace
            .tables
            .values()
            .filter(|t| t.columns.iter().any(|c| uses(&c.cql_type)))
            .map(|t| t.name.clone())
            .collect();
        for (what, users) in [("user types", types), ("tables", tables)] {
            if !users.is_empty() {
                return Err(invalid(format!(
                    "Cannot drop user type '{}.{}' as it is still used by {what} {}",
                    found.keyspace,
                    found.name,
                    users.join(", ")
                )));
            }
        }
        let key = [("keyspace_name", found.keyspace.as_str()), ("type_name", found.name.as_str())];
        let rows = self.deletion("types", &key).into_iter().collect();
        Ok(Some((rows, event("DROPPED", "TYPE", &found.keyspace, &found.name))))
    }

    // indexes

    fn create_index(&self, ddl: &Ddl) -> Result<Option<Changes>, ServerError> {
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

    fn drop_index(&self, name: &Name, if_exists: bool) -> Result<Option<Changes>, ServerError> {
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

/// The error of an unqualified name on a connection without keyspace.
#[must_use]
pub fn no_keyspace() -> ServerError {
    invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
}

/// The column an index is on.
#[must_use]
pub fn index_column(index: &Index) -> String {
    let target = index.options.get("target").map(String::as_str).unwrap_or_default();
    let inner = target.split_once('(').map_or(target, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
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

/// Looks up the names in a type.
///
/// # Errors
///
/// As Cassandra: unknown types, non-frozen collections inside collections.
pub fn resolve_type(
    name: &TypeName,
    types: &dyn Fn(&str) -> Option<Arc<UserType>>,
    keyspace: &str,
) -> Result<CqlType, ServerError> {
    let inner = |name: &TypeName, parent: &str| -> Result<CqlType, ServerError> {
        let found = resolve_type(name, types, keyspace)?;
        if found.is_multi_cell() {
            let what = if found.is_collection() { "collections" } else { "UDTs" };
            return Err(invalid(format!("Non-frozen {what} are not allowed inside collections: {parent}<{found}>")));
        }
        if found == CqlType::Counter {
            return Err(invalid(format!("Counters are not allowed inside collections: {parent}<counter>")));
        }
        Ok(found)
    };
    Ok(match name {
        TypeName::Named(Name { keyspace: in_keyspace, name }) => {
            if let (None, Some(native)) = (in_keyspace, CqlType::native(name)) {
                return Ok(native);
            }
            let definition = types(name).ok_or_else(|| {
                invalid(format!("Unknown type {}.{name}", in_keyspace.as_deref().unwrap_or(keyspace)))
            })?;
            CqlType::Udt { definition, frozen: false }
        }
        TypeName::List(element) => CqlType::list(inner(element, "list")?, false),
        TypeName::Set(element) => CqlType::set(inner(element, "set")?, false),
        TypeName::Map(key, value) => CqlType::map(inner(key, "map")?, inner(value, "map")?, false),
        TypeName::Tuple(parts) => {
            let parts = parts.iter().map(|part| Ok(resolve_type(part, types, keyspace)?.freeze()));
            CqlType::Tuple(parts.collect::<Result<Vec<_>, ServerError>>()?.into())
        }
        // Freezing allows everything inside to be written without its own `frozen`.
        TypeName::Frozen(inner) => match inner.as_ref() {
            TypeName::List(e) => CqlType::list(resolve_type(e, types, keyspace)?.freeze(), true),
            TypeName::Set(e) => CqlType::set(resolve_type(e, types, keyspace)?.freeze(), true),
            TypeName::Map(k, v) => CqlType::map(
                resolve_type(k, types, keyspace)?.freeze(),
                resolve_type(v, types, keyspace)?.freeze(),
                true,
            ),
            other => resolve_type(other, types, keyspace)?.freeze(),
        },
        TypeName::Vector(element, dimensions) => CqlType::Vector {
            element: Arc::new(resolve_type(element, types, keyspace)?.freeze()),
            dimensions: *dimensions,
        },
    })
}

fn check_field(cql_type: &CqlType) -> Result<(), ServerError> {
    if *cql_type == CqlType::Counter {
        return Err(invalid("A user type cannot contain counters"));
    }
    if matches!(cql_type, CqlType::Udt { frozen: false, .. }) {
        return Err(invalid("A user type cannot contain non-frozen UDTs"));
    }
    Ok(())
}

fn keyspace_properties(keyspace: &mut Keyspace, properties: &Properties) -> Result<(), ServerError> {
    for (name, value) in properties {
        match (name.as_str(), value) {
            ("replication", Property::Map(map)) => keyspace.replication = replication(map)?,
            ("durable_writes", Property::Simple(value)) => keyspace.durable_writes = value != "false",
            ("replication" | "durable_writes", _) => {
                return Err(ServerError::Syntax(format!("Invalid value for property '{name}'")));
            }
            _ => return Err(ServerError::Syntax(format!("Unknown property '{name}'"))),
        }
    }
    Ok(())
}

fn replication(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ServerError> {
    let Some(class) = map.get("class") else {
        return Err(ServerError::Config("Missing replication strategy class".into()));
    };
    let short = class.rsplit('.').next().unwrap_or_default();
    if !["SimpleStrategy", "NetworkTopologyStrategy", "LocalStrategy", "EverywhereStrategy"].contains(&short) {
        let full = if class.contains('.') { class.clone() } else { format!("org.apache.cassandra.locator.{class}") };
        return Err(ServerError::Config(format!("Unable to find replication strategy class '{full}'")));
    }
    let mut options = map.clone();
    options.insert("class".to_owned(), format!("org.apache.cassandra.locator.{short}"));
    if short == "SimpleStrategy" {
        if !options.contains_key("replication_factor") {
            return Err(ServerError::Config("SimpleStrategy requires a replication_factor strategy option.".into()));
        }
        if let Some(extra) = options.keys().find(|k| !matches!(k.as_str(), "class" | "replication_factor")) {
            return Err(ServerError::Config(format!(
                "Unrecognized strategy option {{{extra}}} passed to SimpleStrategy for keyspace"
            )));
        }
    }
    if short == "NetworkTopologyStrategy" && options.len() == 1 {
        return Err(ServerError::Config("Configuration for at least one datacenter must be present".into()));
    }
    for (name, factor) in options.iter().filter(|(name, _)| *name != "class") {
        match factor.split('/').next().unwrap_or_default().parse::<i64>() {
            Err(_) => {
                return Err(ServerError::Config(format!("Replication factor must be numeric; found {factor}")));
            }
            Ok(n) if n < 0 => {
                return Err(ServerError::Config(format!("Replication factor must be non-negative; found {factor}")));
            }
            Ok(0) if name == "replication_factor" && short == "SimpleStrategy" => {}
            Ok(_) => {}
        }
    }
    Ok(options)
}

fn table_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    for (name, value) in properties {
        let Some((_, default)) = options::DEFAULTS.iter().find(|(known, _)| known == name) else {
            if name == "id" {
                return Err(not_modelled("WITH id"));
            }
            return Err(ServerError::Syntax(format!("Unknown property '{name}'")));
        };
        let shown = match value {
            Property::Map(map) if default.starts_with('{') => {
                let mut map = map.clone();
                if let Some(class) = map.get("class").filter(|class| !class.contains('.')) {
                    let package = if name == "compaction" { "db.compaction" } else { "io.compress" };
                    let full = format!("org.apache.cassandra.{package}.{class}");
                    map.insert("class".to_owned(), full);
                }
                show_map(&map)
            }
            Property::Simple(value) if default.starts_with('\'') => show_string(value),
            Property::Simple(value) if !default.starts_with('{') => {
                if default.parse::<bool>().is_err() && value.parse::<f64>().is_err() {
                    return Err(ServerError::Syntax(format!("Invalid integer value {value} for '{name}'")));
                }
                value.clone()
            }
            _ => return Err(ServerError::Syntax(format!("Invalid value for property '{name}'"))),
        };
        table.options.insert(name.clone(), shown);
    }
    Ok(())
}
