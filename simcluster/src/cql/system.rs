//! The system keyspaces, and the schema as rows of `system_schema`, which are built once and shared by all stores.

mod catalog;
mod dropped;
mod functions;
mod views;

pub use catalog::{is_system, system_schema, system_schema_of};
pub use functions::{aggregate_rows, function_rows};
pub use views::view_rows;

use super::row::{RowView, row_mutation};
use super::{ddl, parser};
use crate::remembered::Remembered;
use crate::schema::options::{self, TableOptions, read_map, read_string, show_map};
use crate::schema::{Column, ColumnKind, Index, Keyspace, Schema, Table};
use crate::storage::{ColumnId, Mutation, Store};
use crate::types::{CqlType, UserType, Value, codec};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

thread_local! {
    /// Options by their values in the rows.
    static OPTIONS: Remembered<Vec<Option<Bytes>>, TableOptions> = const { Remembered::new(64) };
}

static STORE: LazyLock<Store> = LazyLock::new(|| {
    let mut store = Store::default();
    let schema = system_schema();
    for mutation in system_schema_rows(&schema) {
        if let Some(table) = schema.table_by_id(mutation.table) {
            store.apply(table, &mutation);
        }
    }
    store
});

/// A store that holds what [`system_schema_rows`] writes: built once, cheap to clone.
#[must_use]
pub fn system_store() -> Store {
    STORE.clone()
}

/// Mutations that write the rows of `system_schema` describing the given system keyspaces.
#[must_use]
pub fn system_schema_rows(system: &Schema) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for keyspace in system.keyspaces.values() {
        mutations.extend(keyspace_rows(system, keyspace, 0));
        for table in keyspace.tables.values() {
            mutations.extend(table_rows(system, table, keyspace.is_virtual, 0));
        }
    }
    mutations
}

/// Derives the schema from the rows of `system_schema` in a node's store (the system keyspaces included), with its
/// version.
#[must_use]
pub fn schema_from_rows(store: &Store, system: &Schema, unix_seconds: i64) -> Schema {
    let mut rows = SchemaRows { store, system, unix_seconds, digest: Md5::new() };
    let mut schema = Schema { keyspaces: system.keyspaces.clone(), version: Uuid::nil(), dialect: system.dialect };
    for row in rows.all("keyspaces") {
        let name = row.text("keyspace_name");
        if !is_system(&name) {
            let keyspace = Keyspace {
                name: name.clone(),
                replication: row.text_map("replication"),
                durable_writes: row.get("durable_writes").is_none_or(|b| b[..] == [1]),
                tables: BTreeMap::new(),
                views: BTreeMap::new(),
                types: BTreeMap::new(),
                functions: BTreeMap::new(),
                aggregates: BTreeMap::new(),
                is_virtual: false,
            };
            schema.keyspaces.insert(name, Arc::new(keyspace));
        }
    }
    let mut keyspaces: BTreeMap<String, Keyspace> = schema
        .keyspaces
        .iter()
        .filter(|(name, _)| !is_system(name))
        .map(|(name, keyspace)| (name.clone(), Keyspace::clone(keyspace)))
        .collect();
    read_types(&mut rows, &mut keyspaces);
    functions::read(&mut rows, &mut keyspaces);
    let columns = rows.all("columns");
    let indexes = rows.all("indexes");
    let tables = rows.all("tables");
    // Dropped columns are part of the version, as in Cassandra.
    let dropped = rows.all("dropped_columns");
    for row in tables {
        let (keyspace_name, name) = (row.text("keyspace_name"), row.text("table_name"));
        let Some(keyspace) = keyspaces.get_mut(&keyspace_name) else { continue };
        let own = |other: &&SchemaRow<'_>| other.table() == row.table();
        let mut table = Table {
            keyspace: keyspace_name.clone(),
            name: name.clone(),
            id: row.get("id").and_then(|b| Uuid::from_slice(&b).ok()).unwrap_or_default(),
            columns: columns.iter().filter(own).filter_map(|c| column_from(c, &keyspace.types)).collect(),
            partition_key_len: 0,
            clustering_len: 0,
            options: row.options(),
            indexes: indexes
                .iter()
                .filter(own)
                .map(|i| (i.text("index_name"), Index { kind: i.text("kind"), options: i.text_map("options") }))
                .collect(),
            dropped: dropped.iter().filter(own).filter_map(|row| dropped::read(row, &keyspace.types)).collect(),
            is_counter: false,
        };
        table.arrange();
        keyspace.tables.insert(name, Arc::new(table));
    }
    views::read(&mut rows, &columns, &mut keyspaces);
    let digest: [u8; 16] = rows.digest.finalize().into();
    schema.keyspaces.extend(keyspaces.into_iter().map(|(name, keyspace)| (name, Arc::new(keyspace))));
    schema.version = uuid::Builder::from_md5_bytes(digest).into_uuid();
    schema
}

/// The rows that describe a keyspace itself.
#[must_use]
pub fn keyspace_rows(system: &Schema, keyspace: &Keyspace, timestamp: i64) -> Vec<Mutation> {
    let name = text(&keyspace.name);
    if keyspace.is_virtual {
        return mutation(system, "system_virtual_schema", "keyspaces", timestamp, &[("keyspace_name", name)]);
    }
    let cells = [
        ("keyspace_name", name),
        ("durable_writes", boolean(keyspace.durable_writes)),
        ("replication", text_map(&keyspace.replication)),
    ];
    mutation(system, "system_schema", "keyspaces", timestamp, &cells)
}

/// The rows that describe a table: itself, its columns, those that were dropped, and its indexes.
#[must_use]
pub fn table_rows(system: &Schema, table: &Table, is_virtual: bool, timestamp: i64) -> Vec<Mutation> {
    let schema_keyspace = if is_virtual { "system_virtual_schema" } else { "system_schema" };
    let mut rows = if is_virtual {
        let comment = table.options.get("comment").map(|c| read_string(c)).unwrap_or_default();
        let cells =
            [("keyspace_name", text(&table.keyspace)), ("table_name", text(&table.name)), ("comment", text(&comment))];
        mutation(system, schema_keyspace, "tables", timestamp, &cells)
    } else {
        mutation(system, schema_keyspace, "tables", timestamp, &table_cells(table))
    };
    for column in &table.columns {
        rows.extend(mutation(system, schema_keyspace, "columns", timestamp, &column_cells(table, column)));
    }
    for (name, index) in &table.indexes {
        let cells = [
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("index_name", text(name)),
            ("kind", text(&index.kind)),
            ("options", text_map(&index.options)),
        ];
        rows.extend(mutation(system, schema_keyspace, "indexes", timestamp, &cells));
    }
    rows.extend(dropped::rows(system, schema_keyspace, table, timestamp));
    rows
}

/// The row that describes a user type.
#[must_use]
pub fn type_rows(system: &Schema, user_type: &UserType, timestamp: i64) -> Vec<Mutation> {
    let list = |values: Vec<String>| {
        let values: Vec<Value> = values.iter().map(|v| text(v)).collect();
        Some(codec::join_collection(values.len(), &values))
    };
    let cells = [
        ("keyspace_name", text(&user_type.keyspace)),
        ("type_name", text(&user_type.name)),
        ("field_names", list(user_type.fields.iter().map(|(name, _)| name.clone()).collect())),
        ("field_types", list(user_type.fields.iter().map(|(_, t)| t.to_string()).collect())),
    ];
    mutation(system, "system_schema", "types", timestamp, &cells)
}

/// A serialised frozen list of texts.
#[must_use]
pub fn text_list(values: &[String]) -> Value {
    let values: Vec<Value> = values.iter().map(|value| text(value)).collect();
    Some(codec::join_collection(values.len(), &values))
}

/// A serialised text.
#[must_use]
pub fn text(text: &str) -> Value {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

fn boolean(value: bool) -> Value {
    Some(Bytes::copy_from_slice(&[u8::from(value)]))
}

fn text_map(map: &BTreeMap<String, String>) -> Value {
    let parts: Vec<Value> = map.iter().flat_map(|(k, v)| [text(k), text(v)]).collect();
    Some(codec::join_collection(map.len(), &parts))
}

/// Zero or one mutation: none if the schema lacks the table, which a profile of an older version may.
fn mutation(system: &Schema, keyspace: &str, table: &str, timestamp: i64, cells: &[(&str, Value)]) -> Vec<Mutation> {
    system.table(keyspace, table).map(|table| row_mutation(table, timestamp, cells)).into_iter().collect()
}

fn table_cells(table: &Table) -> Vec<(&'static str, Value)> {
    let mut flags: Vec<Value> = vec![text("compound")];
    if table.is_counter {
        flags.push(text("counter"));
    }
    let mut cells = vec![
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("id", Some(Bytes::copy_from_slice(table.id.as_bytes()))),
        ("flags", Some(codec::join_collection(flags.len(), &flags))),
    ];
    cells.extend(option_cells(table));
    cells
}

/// What tables and views have in common.
fn option_cells(table: &Table) -> Vec<(&'static str, Value)> {
    let double = |value: f64| Some(Bytes::copy_from_slice(&value.to_be_bytes()));
    let mut cells = vec![("dclocal_read_repair_chance", double(0.0)), ("read_repair_chance", double(0.0))];
    for (name, default) in options::DEFAULTS {
        let shown = table.options.get(*name).map_or(*default, String::as_str);
        let value = match *name {
            "caching" | "compaction" | "compression" => text_map(&read_map(shown)),
            "extensions" => text_map(&BTreeMap::new()),
            "bloom_filter_fp_chance" | "crc_check_chance" => double(shown.parse().unwrap_or_default()),
            "comment" | "additional_write_policy" | "read_repair" | "speculative_retry" => text(&read_string(shown)),
            // Null unless they differ from the default: so Cassandra writes them.
            "allow_auto_snapshot" | "incremental_backups" => boolean(false).filter(|_| shown == "false"),
            "cdc" => boolean(true).filter(|_| shown == "true"),
            "memtable" => text(&read_string(shown)).filter(|_| shown != *default),
            _ => Some(Bytes::copy_from_slice(&shown.parse::<i32>().unwrap_or_default().to_be_bytes())),
        };
        if value.is_some() {
            cells.push((name, value));
        }
    }
    cells
}

fn column_cells(table: &Table, column: &Column) -> [(&'static str, Value); 8] {
    let kind = match column.kind {
        ColumnKind::PartitionKey => "partition_key",
        ColumnKind::Clustering => "clustering",
        ColumnKind::Static => "static",
        ColumnKind::Regular => "regular",
    };
    let order = match (column.kind, column.descending) {
        (ColumnKind::Clustering, true) => "desc",
        (ColumnKind::Clustering, false) => "asc",
        _ => "none",
    };
    [
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("column_name", text(&column.name)),
        ("clustering_order", text(order)),
        ("column_name_bytes", text(&column.name)),
        ("kind", text(kind)),
        ("position", Some(Bytes::copy_from_slice(&column.position.to_be_bytes()))),
        ("type", text(&column.cql_type.to_string())),
    ]
}

fn column_from(row: &SchemaRow, types: &BTreeMap<String, Arc<UserType>>) -> Option<Column> {
    let kind = match row.text("kind").as_str() {
        "partition_key" => ColumnKind::PartitionKey,
        "clustering" => ColumnKind::Clustering,
        "static" => ColumnKind::Static,
        _ => ColumnKind::Regular,
    };
    let position = row.get("position").map_or(-1, |b| crate::types::text::integer(&b) as i32);
    Some(Column {
        name: row.text("column_name"),
        cql_type: stored_type(&row.text("type"), types)?,
        kind,
        position,
        descending: row.text("clustering_order") == "desc",
    })
}

fn stored_type(text: &str, types: &BTreeMap<String, Arc<UserType>>) -> Option<CqlType> {
    if let Some(native) = CqlType::native(text) {
        return Some(native);
    }
    let name = parser::parse_type(text).ok()?;
    ddl::resolve_type(&name, &|name| types.get(name).cloned(), "").ok()
}

/// Types may use each other, in any order of names: they are resolved in as many passes as that takes.
fn read_types(rows: &mut SchemaRows<'_>, keyspaces: &mut BTreeMap<String, Keyspace>) {
    let mut pending = rows.all("types");
    loop {
        let before = pending.len();
        pending.retain(|row| {
            let Some(keyspace) = keyspaces.get_mut(&row.text("keyspace_name")) else { return false };
            let (names, types) = (row.text_list("field_names"), row.text_list("field_types"));
            let types: Option<Vec<_>> = types.iter().map(|t| stored_type(t, &keyspace.types)).collect();
            let Some(types) = types else { return true };
            let name = row.text("type_name");
            let fields = names.into_iter().zip(types).collect();
            let user_type = UserType { keyspace: keyspace.name.clone(), name: name.clone(), fields };
            keyspace.types.insert(name, Arc::new(user_type));
            false
        });
        if pending.is_empty() || pending.len() == before {
            return;
        }
    }
}

/// Reads rows of `system_schema` and digests those of user keyspaces.
struct SchemaRows<'a> {
    store: &'a Store,
    system: &'a Schema,
    unix_seconds: i64,
    digest: Md5,
}

impl<'a> SchemaRows<'a> {
    fn all(&mut self, name: &str) -> Vec<SchemaRow<'a>> {
        let Some(table) = self.system.table("system_schema", name) else { return Vec::new() };
        let mut by_name: Vec<(usize, ColumnId)> =
            table.columns.iter().map(|column| ColumnId::of(&column.name)).enumerate().collect();
        by_name.sort_unstable_by_key(|(at, _)| &table.columns[*at].name);
        let mut rows = Vec::new();
        self.digest.update(name.as_bytes());
        for (key, partition) in self.store.partitions(table.id) {
            if std::str::from_utf8(key).is_ok_and(is_system) {
                continue;
            }
            let parts = [key.clone()];
            let no_clustering = table.clustering_len == 0;
            for row in partition.rows.values().filter(|r| no_clustering || r.is_live(self.unix_seconds)) {
                if !row.is_live(self.unix_seconds) {
                    continue;
                }
                let view = RowView {
                    table,
                    key: &parts,
                    row: Some(row),
                    static_row: &partition.static_row,
                    unix_seconds: self.unix_seconds,
                };
                let mut values = Vec::with_capacity(by_name.len());
                for (at, id) in &by_name {
                    let Some(value) = view.value(*at) else { continue };
                    self.digest.update(id.0.to_be_bytes());
                    self.digest.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
                    self.digest.update(&value);
                    values.push((table.columns[*at].name.as_str(), value));
                }
                rows.push(SchemaRow(values));
            }
        }
        rows
    }
}

/// One live row of a schema table: its values in the order of their columns' names.
struct SchemaRow<'a>(Vec<(&'a str, Bytes)>);

impl SchemaRow<'_> {
    fn value(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(column, _)| *column == name).map(|(_, value)| value)
    }

    fn get(&self, name: &str) -> Option<Bytes> {
        self.value(name).cloned()
    }

    fn text(&self, name: &str) -> String {
        self.value(name).map(|b| String::from_utf8_lossy(b).into_owned()).unwrap_or_default()
    }

    /// The table that the row is about.
    fn table(&self) -> (&[u8], &[u8]) {
        let name = |column| self.value(column).map(|bytes| &bytes[..]).unwrap_or_default();
        (name("keyspace_name"), name("table_name"))
    }

    fn text_list(&self, name: &str) -> Vec<String> {
        let parts = self.value(name).and_then(|b| codec::split_collection(b, false)).unwrap_or_default();
        parts.into_iter().flatten().map(|b| String::from_utf8_lossy(&b).into_owned()).collect()
    }

    fn text_map(&self, name: &str) -> BTreeMap<String, String> {
        let parts = self.value(name).and_then(|b| codec::split_collection(b, true)).unwrap_or_default();
        let texts: Vec<String> =
            parts.into_iter().map(|b| String::from_utf8_lossy(&b.unwrap_or_default()).into_owned()).collect();
        texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }

    /// The options of a table or view, which few of them have to themselves.
    fn options(&self) -> TableOptions {
        let values: Vec<Option<Bytes>> = options::DEFAULTS.iter().map(|(name, _)| self.get(name)).collect();
        OPTIONS.with(|known| {
            known.recall(&values).unwrap_or_else(|| {
                let shown = self.shown_options();
                known.remember(values, Arc::clone(&shown));
                shown
            })
        })
    }

    fn shown_options(&self) -> TableOptions {
        let mut shown = options::defaults();
        for (name, default) in options::DEFAULTS {
            let Some(value) = self.get(name) else { continue };
            let text = match *name {
                "caching" | "compaction" | "compression" | "extensions" => show_map(&self.text_map(name)),
                "bloom_filter_fp_chance" | "crc_check_chance" => crate::types::text::to_text(&CqlType::Double, &value),
                "comment" | "additional_write_policy" | "read_repair" | "speculative_retry" | "memtable" => {
                    options::show_string(&self.text(name))
                }
                "allow_auto_snapshot" | "incremental_backups" | "cdc" => (value[..] == [1]).to_string(),
                _ => crate::types::text::integer(&value).to_string(),
            };
            if text != *default {
                Arc::make_mut(&mut shown).insert((*name).to_owned(), text);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_tables_have_the_ids_of_cassandra() {
        let schema = system_schema();
        for (keyspace, table, id) in [
            ("system", "local", "7ad54392-bcdd-35a6-8417-4e047860b377"),
            ("system", "IndexInfo", "9f5c6374-d485-3229-9a0a-5094af9ad1e3"),
            ("system_schema", "tables", "afddfb9d-bc1e-3068-8056-eed6c302ba09"),
        ] {
            assert_eq!(schema.table(keyspace, table).expect(table).id.to_string(), id);
        }
    }

    #[test]
    fn system_keyspaces_describe_themselves_and_do_not_change_the_version() {
        let system = system_schema();
        let schema = schema_from_rows(&system_store(), &system, 0);
        assert!(schema.keyspaces.len() > 2 && schema.keyspaces.keys().all(|name| is_system(name)));
        let again = schema_from_rows(&Store::default(), &system, 0);
        assert_eq!(schema.version, again.version, "only user keyspaces count");
        assert_ne!(schema.version, Uuid::nil());
    }
}
