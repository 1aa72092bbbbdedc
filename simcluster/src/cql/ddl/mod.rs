//! What CREATE, ALTER and DROP do to the schema, as mutations of `system_schema`.
//!
//! Every change is computed from the schema at the moment of execution. A dropped and recreated table has another id,
//! so rows of the old one never come back.

mod functions;
mod indexes;
mod keyspaces;
mod properties;
mod table_changes;
mod tables;
mod types;
mod views;

pub use indexes::index_column;
pub use tables::TableDefinition;
pub use types::resolve_type;

use super::ast::{Ddl, Name, TypeName};
use super::row::row_deletion;
use super::system::{self, is_system, text};
use crate::protocol::{SchemaChangeEvent, ServerError};
use crate::schema::{Keyspace, Schema, Table};
use crate::storage::Mutation;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// `datacenters` are those of the cluster.
    ///
    /// # Errors
    ///
    /// As Cassandra: already exists, does not exist, bad options, …
    pub fn apply(
        &self,
        schema: &Schema,
        timestamp: i64,
        entropy: u64,
        datacenters: &BTreeSet<String>,
    ) -> Result<Option<Changes>, ServerError> {
        let change = Change { schema, keyspace: self.keyspace.as_deref(), timestamp, entropy, datacenters };
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
            Ddl::CreateFunction(create) => change.create_function(create),
            Ddl::CreateAggregate(create) => change.create_aggregate(create),
            Ddl::CreateView(create) => change.create_view(create),
            Ddl::AlterView { name, if_exists, properties } => change.alter_view(name, *if_exists, properties),
            Ddl::DropView { name, if_exists } => change.drop_view(name, *if_exists),
            Ddl::DropFunction { name, arguments, if_exists, is_aggregate } => {
                change.drop_function(name, arguments.as_deref(), *if_exists, *is_aggregate)
            }
        }
    }
}

impl SchemaStatement {
    /// What the client is warned of, whether or not there was anything to do.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        match &self.ddl {
            Ddl::CreateView(_) => vec![views::WARNING.to_owned()],
            _ => Vec::new(),
        }
    }

    /// The change as the client that made it is answered: CREATE FUNCTION and CREATE AGGREGATE name the types of the
    /// arguments as they were written, events as they were understood.
    #[must_use]
    pub fn answered(&self, event: &SchemaChangeEvent) -> SchemaChangeEvent {
        let written: Vec<&TypeName> = match &self.ddl {
            Ddl::CreateFunction(create) => create.arguments.iter().map(|(_, name)| name).collect(),
            Ddl::CreateAggregate(create) => create.arguments.iter().collect(),
            _ => return event.clone(),
        };
        let arguments = written.into_iter().map(|name| functions::as_answered(name, &event.keyspace)).collect();
        SchemaChangeEvent { arguments, ..event.clone() }
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
    datacenters: &'a BTreeSet<String>,
}

impl Change<'_> {
    // names

    /// The keyspace of a function to be created: the system's are refused before permissions are looked at.
    fn keyspace_of_function<'b>(&'b self, name: &'b Name) -> Result<&'b str, ServerError> {
        match name.keyspace.as_deref().or(self.keyspace) {
            Some(keyspace) if is_system(keyspace) => {
                Err(invalid(format!("System keyspace '{keyspace}' is not user-modifiable")))
            }
            _ => self.keyspace_of(name),
        }
    }

    fn keyspace_of<'b>(&'b self, name: &'b Name) -> Result<&'b str, ServerError> {
        let keyspace = name.keyspace.as_deref().or(self.keyspace).ok_or_else(no_keyspace)?;
        if is_system(keyspace) {
            return Err(ServerError::Unauthorized(format!("{keyspace} keyspace is not user-modifiable.")));
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
}

/// The error of an unqualified name on a connection without keyspace.
#[must_use]
pub fn no_keyspace() -> ServerError {
    invalid("No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename")
}
