//! Schema changes: carried out here, pushed to the others, pulled from them, told to clients.
//!
//! The rows of `system_schema` in the node's own store are the schema; the [`Schema`] value is derived from them. A
//! statement is answered once it is applied here and pushed: until the push arrives the other nodes show another
//! `schema_version`, and clients that care wait for agreement.

use super::Node;
use super::message::{Output, PeerMessage};
use super::schema_diff::diff;
use super::system_tables::local_schema_version;
use crate::cql::{self, Answer, SchemaStatement};
use crate::kernel::Now;
use crate::protocol::{EventMessage, SchemaChangeEvent, ServerError};
use crate::ring::TokenRange;
use crate::schema::{Schema, Table};
use crate::storage::{ColumnData, Mutation, Partition, ReadCommand, ReadTarget, Row};
use std::sync::Arc;
use uuid::Uuid;

impl Node {
    /// Carries out a schema statement of a client.
    pub(super) fn change_schema(
        &mut self,
        now: Now,
        statement: &SchemaStatement,
        outputs: &mut Vec<Output>,
    ) -> Result<Answer, ServerError> {
        let timestamp = self.timestamps.next_schema(now);
        let ring = &self.members.ring;
        let datacenters = ring.locations.values().map(|location| location.datacenter.clone()).collect();
        let change = statement.apply(&self.schema, timestamp, self.dice.next_u64(), &datacenters)?;
        let Some((mutations, event)) = change else {
            return Ok(Answer::Void);
        };
        let new = self.apply_schema(now, &mutations);
        // A type that changes, changes the types and tables that are made of it, a table its views, and with a keyspace
        // all that is in it goes; clients are told of each.
        let changes_more = match (event.change, event.target) {
            ("UPDATED", "TYPE") | ("DROPPED", "KEYSPACE") => true,
            ("UPDATED", "TABLE") => new
                .keyspaces
                .get(&event.keyspace)
                .is_some_and(|keyspace| keyspace.views.values().any(|view| view.base_name == event.name)),
            _ => false,
        };
        let events = if changes_more { diff(&self.schema, &new) } else { vec![event.clone()] };
        self.adopt_schema(now, new, &events, outputs);
        for to in self.members.live_peers(self.config.id) {
            outputs.push(Output::ToPeer { to, message: PeerMessage::SchemaPush(mutations.clone()) });
        }
        Ok(Answer::SchemaChange(statement.answered(&event)))
    }

    /// Takes schema rows of another node.
    pub(super) fn handle_schema_push(&mut self, now: Now, mutations: &[Mutation], outputs: &mut Vec<Output>) {
        let new = self.apply_schema(now, mutations);
        let events = diff(&self.schema, &new);
        self.adopt_schema(now, new, &events, outputs);
    }

    /// Applies schema rows to the store and derives the schema that they make.
    fn apply_schema(&mut self, now: Now, mutations: &[Mutation]) -> Arc<Schema> {
        for mutation in mutations {
            if let Some(timestamp) = newest_timestamp(&mutation.changes) {
                self.timestamps.see_schema(timestamp);
            }
            self.apply_local(mutation);
        }
        self.schema_contents.schema(|| cql::schema_from_rows(&self.store, &self.tables.system, now.unix_seconds()))
    }

    /// Makes a schema the node's own: rows, statements and clients learn of it.
    fn adopt_schema(&mut self, now: Now, new: Arc<Schema>, events: &[SchemaChangeEvent], outputs: &mut Vec<Output>) {
        for dropped in dropped_tables(&self.schema, &new) {
            self.store.truncate(dropped);
        }
        let version_changed = self.schema.version != new.version;
        self.schema = new;
        if version_changed && let Some(local) = self.tables.table("local") {
            let timestamp = self.timestamps.next_local(now);
            let mutation = local_schema_version(local, timestamp, self.schema.version);
            self.store.apply(local, &mutation);
        }
        for event in events {
            self.prepared.handle_schema_change(event);
            self.broadcast(&EventMessage::SchemaChange(event.clone()), outputs);
        }
    }

    /// All rows of `system_schema` but those of the system keyspaces, which everybody has; tombstones included, so
    /// that drops travel too.
    pub(super) fn schema_rows(&self, now: Now) -> Vec<Mutation> {
        let Some(keyspace) = self.tables.system.keyspaces.get("system_schema") else { return Vec::new() };
        let mut rows = Vec::new();
        for table in keyspace.tables.values() {
            let target = ReadTarget::Range(TokenRange::FULL);
            let command = ReadCommand::new(table.id, &table.keyspace, target, usize::MAX);
            for (key, changes) in self.store.read(table, &command, now.unix_seconds()).partitions {
                // The partition key of all these tables is the keyspace's name.
                if std::str::from_utf8(&key).is_ok_and(|name| self.tables.system.keyspaces.contains_key(name)) {
                    continue;
                }
                rows.push(Mutation { changes, ..Mutation::new(table.id, &table.keyspace, key) });
            }
        }
        rows
    }
}

/// The tables of one schema that another one has no more. A table that was created again under its name is another one.
fn dropped_tables(old: &Schema, new: &Schema) -> Vec<Uuid> {
    let mut dropped = Vec::new();
    for (name, keyspace) in &old.keyspaces {
        let kept = new.keyspaces.get(name);
        // The system keyspaces, most of all tables, are the same objects in both.
        if kept.is_some_and(|kept| Arc::ptr_eq(kept, keyspace)) {
            continue;
        }
        let is_kept = |table: &Table| {
            kept.and_then(|kept| kept.tables.get(&table.name)).is_some_and(|other| other.id == table.id)
        };
        dropped.extend(keyspace.tables.values().filter(|table| !is_kept(table)).map(|table| table.id));
    }
    dropped
}

/// The newest write time in a change.
fn newest_timestamp(changes: &Partition) -> Option<i64> {
    let of_row = |row: &Row| {
        let liveness = row.liveness.map(|liveness| liveness.timestamp);
        let cells = row.columns.values().filter_map(|column| match column {
            ColumnData::Simple(cell) => Some(cell.timestamp),
            ColumnData::Complex(complex) => {
                complex.cells.values().map(|(_, cell)| cell.timestamp).max().max(Some(complex.deletion))
            }
        });
        liveness.max(Some(row.deletion)).max(cells.max())
    };
    let rows = changes.rows.values().chain(std::iter::once(&changes.static_row)).filter_map(of_row).max();
    let ranges = changes.range_tombstones.iter().map(|tombstone| tombstone.timestamp).max();
    rows.max(ranges).max(Some(changes.deletion))
}
