//! Reads the schema, all of it or parts, over one connection.
//!
//! # Invariants
//!
//! - All queries of one read share a deadline; those that do not need each other's answers are under way together.
//! - A table that the server's release does not have is empty; any other failure fails the whole read, so that a
//!   server in trouble never looks like a dropped table.
//!
//! # Source
//!
//! `system_schema` of Cassandra 3.0 and later, `system_virtual_schema` of 4.0 and later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::metadata_queries::{MetadataError, query_rows};
use super::schema_rows::{SchemaBuilder, SchemaRows};
use super::schema_scope::{KeyspaceScope, SchemaScope};
use crate::connection::Connection;
use crate::env::Instant;
use crate::protocol::response::{SchemaTarget, ServerErrorKind};
use crate::topology::{KeyspaceFilter, KeyspaceMetadata, Schema};
use crate::value::CqlRow;

/// Reads schema over one connection until a deadline.
pub(super) struct SchemaReader<'a> {
    pub connection: &'a Connection,
    pub filter: &'a KeyspaceFilter,
    pub deadline: Instant,
}

type Keyspaces = BTreeMap<Arc<str>, Arc<KeyspaceMetadata>>;

impl SchemaReader<'_> {
    /// Reads the parts of `scope`; what is outside of it stays as in `previous`, and so do objects that did not change.
    pub(super) async fn read(&self, scope: &SchemaScope, previous: &Schema) -> Result<Schema, MetadataError> {
        let mut schema = match scope {
            SchemaScope::All => Schema { keyspaces: self.read_all().await? },
            SchemaScope::Keyspaces(keyspaces) => self.read_some(keyspaces, previous).await?,
        };
        schema.share_with(previous);
        Ok(schema)
    }

    async fn read_all(&self) -> Result<Keyspaces, MetadataError> {
        let mut builder = SchemaBuilder::default();
        let (rows, virtual_rows) = tokio::join!(
            self.query("SELECT * FROM system_schema.keyspaces"),
            self.query_if_present("SELECT * FROM system_virtual_schema.keyspaces"),
        );
        builder.add_keyspaces(&rows?);
        builder.add_virtual_keyspaces(&virtual_rows?);
        self.mark_admitted(&mut builder);
        if !self.filter.is_none() {
            let (own, of_virtual) = (self.condition(&builder, false), self.condition(&builder, true));
            let (rows, virtual_rows) =
                tokio::join!(self.contents(own.as_deref()), self.virtual_contents(of_virtual.as_deref()));
            builder.add_contents(&rows?);
            builder.add_contents(&virtual_rows?);
        }
        Ok(builder.finish().0)
    }

    /// Notes which keyspaces the filter admits: contents are kept of no others.
    fn mark_admitted(&self, builder: &mut SchemaBuilder) {
        for (name, keyspace) in &mut builder.keyspaces {
            keyspace.is_loaded = self.filter.admits(name);
        }
    }

    /// Limits a query to the admitted keyspaces; `None` if there are none, and empty if that is no limit.
    fn condition(&self, builder: &SchemaBuilder, is_virtual: bool) -> Option<String> {
        let admitted = builder.keyspaces.values().filter(|k| k.is_loaded && k.is_virtual == is_virtual);
        let names: Vec<_> = admitted.map(|keyspace| literal(&keyspace.name)).collect();
        match names.as_slice() {
            [] => None,
            _ if self.filter.is_all() => Some(String::new()),
            [name] => Some(format!(" WHERE keyspace_name = {name}")),
            names => Some(format!(" WHERE keyspace_name IN ({})", names.join(", "))),
        }
    }

    async fn read_some(
        &self,
        scopes: &BTreeMap<String, KeyspaceScope>,
        previous: &Schema,
    ) -> Result<Schema, MetadataError> {
        let mut schema = previous.clone();
        for (name, scope) in scopes {
            let known = previous.keyspaces.get(name.as_str()).filter(|known| known.is_loaded);
            if known.is_some_and(|known| known.is_virtual) {
                // Part of the release: nothing in it changes.
                continue;
            }
            let read = match (scope, known) {
                (KeyspaceScope::Objects(_), _) if !self.filter.admits(name) => continue,
                (KeyspaceScope::Objects(objects), Some(known)) => self.read_objects(known, objects).await?,
                (KeyspaceScope::Whole | KeyspaceScope::Objects(_), _) => self.read_keyspace(name).await?,
            };
            match read {
                Some(keyspace) => schema.keyspaces.insert(name.as_str().into(), keyspace),
                None => schema.keyspaces.remove(name.as_str()),
            };
        }
        Ok(schema)
    }

    /// Reads one keyspace; `None` if there is none of that name.
    async fn read_keyspace(&self, name: &str) -> Result<Option<Arc<KeyspaceMetadata>>, MetadataError> {
        let condition = format!(" WHERE keyspace_name = {}", literal(name));
        let mut builder = SchemaBuilder::default();
        builder.add_keyspaces(&self.query(&format!("SELECT * FROM system_schema.keyspaces{condition}")).await?);
        self.mark_admitted(&mut builder);
        if builder.keyspaces.values().any(|keyspace| keyspace.is_loaded) {
            builder.add_contents(&self.contents(Some(&condition)).await?);
        }
        Ok(builder.finish().0.remove(name))
    }

    /// Reads some objects of a keyspace. One that is gone is removed.
    async fn read_objects(
        &self,
        known: &KeyspaceMetadata,
        objects: &BTreeSet<SchemaTarget>,
    ) -> Result<Option<Arc<KeyspaceMetadata>>, MetadataError> {
        let mut keyspace = known.clone();
        let mut all_rows = Vec::with_capacity(objects.len());
        for object in objects {
            all_rows.push(self.object(&known.name, object).await?);
            remove(&mut keyspace, object);
        }
        let mut builder = SchemaBuilder::default();
        builder.keyspaces.insert(Arc::clone(&known.name), keyspace);
        for rows in &all_rows {
            builder.add_contents(rows);
        }
        let (mut keyspaces, incomplete) = builder.finish();
        if incomplete.is_empty() {
            return Ok(keyspaces.remove(&*known.name));
        }
        // An object uses a type that is not known yet: its event is still to come, or was lost.
        self.read_keyspace(&known.name).await
    }

    /// Reads the rows of one object.
    async fn object(&self, keyspace: &str, object: &SchemaTarget) -> Result<SchemaRows, MetadataError> {
        let query = |table: &str, column: &str, name: &str| {
            format!(
                "SELECT * FROM system_schema.{table} WHERE keyspace_name = {} AND {column} = {}",
                literal(keyspace),
                literal(name)
            )
        };
        let mut rows = SchemaRows::default();
        match object {
            // The scope has the keyspace itself as a whole.
            SchemaTarget::Keyspace => {}
            SchemaTarget::Table(name) => {
                let texts = ["tables", "columns", "indexes", "triggers", "column_masks"]
                    .map(|table| query(table, "table_name", name));
                let view_text = query("views", "view_name", name);
                let (tables, columns, indexes, triggers, masks, views) = tokio::join!(
                    self.query(&texts[0]),
                    self.query(&texts[1]),
                    self.query(&texts[2]),
                    self.query(&texts[3]),
                    self.query_if_present(&texts[4]),
                    self.query(&view_text),
                );
                (rows.tables, rows.columns, rows.indexes) = (tables?, columns?, indexes?);
                (rows.triggers, rows.column_masks, rows.views) = (triggers?, masks?, views?);
            }
            SchemaTarget::Type(name) => rows.types = self.query(&query("types", "type_name", name)).await?,
            SchemaTarget::Function { name, .. } => {
                rows.functions = self.query(&query("functions", "function_name", name)).await?;
            }
            SchemaTarget::Aggregate { name, .. } => {
                rows.aggregates = self.query(&query("aggregates", "aggregate_name", name)).await?;
            }
        }
        Ok(rows)
    }

    async fn contents(&self, condition: Option<&str>) -> Result<SchemaRows, MetadataError> {
        let Some(condition) = condition else { return Ok(SchemaRows::default()) };
        let texts = ["tables", "types", "indexes", "triggers", "views", "functions", "aggregates", "column_masks"]
            .map(|table| format!("SELECT * FROM system_schema.{table}{condition}"));
        let columns_text = format!("SELECT {COLUMNS} FROM system_schema.columns{condition}");
        let [tables, types, indexes, triggers, views, functions, aggregates, column_masks] = &texts;
        let (tables, columns, types, indexes, triggers, views, functions, aggregates, column_masks) = tokio::join!(
            self.query(tables),
            self.query(&columns_text),
            self.query(types),
            self.query(indexes),
            self.query(triggers),
            self.query(views),
            self.query(functions),
            self.query(aggregates),
            self.query_if_present(column_masks),
        );
        Ok(SchemaRows {
            tables: tables?,
            columns: columns?,
            types: types?,
            indexes: indexes?,
            triggers: triggers?,
            views: views?,
            functions: functions?,
            aggregates: aggregates?,
            column_masks: column_masks?,
        })
    }

    async fn virtual_contents(&self, condition: Option<&str>) -> Result<SchemaRows, MetadataError> {
        let Some(condition) = condition else { return Ok(SchemaRows::default()) };
        let tables_text = format!("SELECT * FROM system_virtual_schema.tables{condition}");
        let columns_text = format!("SELECT {COLUMNS} FROM system_virtual_schema.columns{condition}");
        let (tables, columns) = tokio::join!(self.query_if_present(&tables_text), self.query_if_present(&columns_text));
        Ok(SchemaRows { tables: tables?, columns: columns?, ..SchemaRows::default() })
    }

    async fn query(&self, text: &str) -> Result<Vec<CqlRow>, MetadataError> {
        query_rows(self.connection, text, self.deadline).await
    }

    /// The rows of a table that older releases do not have.
    async fn query_if_present(&self, text: &str) -> Result<Vec<CqlRow>, MetadataError> {
        match self.query(text).await {
            Err(MetadataError::Server(error)) if error.kind == ServerErrorKind::Invalid => Ok(Vec::new()),
            other => other,
        }
    }
}

fn remove(keyspace: &mut KeyspaceMetadata, object: &SchemaTarget) {
    match object {
        SchemaTarget::Keyspace => {}
        SchemaTarget::Table(name) => {
            keyspace.tables.remove(name.as_str());
            keyspace.views.remove(name.as_str());
        }
        SchemaTarget::Type(name) => drop(keyspace.user_types.remove(name.as_str())),
        // All that have the name are read, whatever their arguments.
        SchemaTarget::Function { name, .. } => keyspace.functions.retain(|signature, _| *signature.name != **name),
        SchemaTarget::Aggregate { name, .. } => keyspace.aggregates.retain(|signature, _| *signature.name != **name),
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Without the bytes of the name, which say the same.
const COLUMNS: &str = "keyspace_name, table_name, column_name, clustering_order, kind, position, type";
