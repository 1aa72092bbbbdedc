//! The system keyspaces of each release: CREATE TABLE texts, parsed once per process.

use super::dropped;
use crate::cql::ast::{Ddl, Name, Statement};
use crate::cql::{ddl, parser};
use crate::schema::{Dialect, Keyspace, Schema, Table};
use md5::{Digest as _, Md5};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use uuid::Uuid;

/// Releases, newest first: the tables of the first, and of each other one what is different from the release before.
const RELEASES: [(Dialect, &str); 3] = [
    (Dialect::V50, include_str!("tables.cql")),
    (Dialect::V41, include_str!("tables_4_1.cql")),
    (Dialect::V40, include_str!("tables_4_0.cql")),
];

type Options = &'static [(&'static str, &'static str)];

/// Keyspaces, their replication and whether they are virtual.
const KEYSPACES: &[(&str, Options, bool)] = &[
    ("system", &[("class", "org.apache.cassandra.locator.LocalStrategy")], false),
    ("system_schema", &[("class", "org.apache.cassandra.locator.LocalStrategy")], false),
    ("system_traces", &[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "2")], false),
    ("system_auth", &[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "1")], false),
    (
        "system_distributed",
        &[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "3")],
        false,
    ),
    ("system_views", &[("class", "org.apache.cassandra.locator.LocalStrategy")], true),
    ("system_virtual_schema", &[("class", "org.apache.cassandra.locator.LocalStrategy")], true),
];

static NEWEST: LazyLock<Schema> = LazyLock::new(|| system_schema_of(Dialect::default()));

/// The schema of the system keyspaces that every node of the newest release starts with.
#[must_use]
pub fn system_schema() -> Schema {
    NEWEST.clone()
}

/// The same of the releases with this language.
#[must_use]
pub fn system_schema_of(dialect: Dialect) -> Schema {
    let mut keyspaces: BTreeMap<String, Keyspace> = KEYSPACES.iter().map(empty_keyspace).collect();
    for (_, changes) in RELEASES.iter().filter(|(release, _)| *release >= dialect) {
        changes.lines().filter(|line| !line.starts_with("--")).for_each(|line| apply(&mut keyspaces, line));
    }
    let keyspaces = keyspaces.into_iter().map(|(name, keyspace)| (name, Arc::new(keyspace))).collect();
    Schema { keyspaces, version: Uuid::nil(), dialect }
}

/// Whether a keyspace is one of Cassandra's own.
#[must_use]
pub fn is_system(keyspace: &str) -> bool {
    KEYSPACES.iter().any(|(name, ..)| *name == keyspace)
}

fn empty_keyspace((name, replication, is_virtual): &(&str, Options, bool)) -> (String, Keyspace) {
    let keyspace = Keyspace {
        name: (*name).to_owned(),
        replication: replication.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        durable_writes: true,
        tables: BTreeMap::new(),
        views: BTreeMap::new(),
        types: BTreeMap::new(),
        functions: BTreeMap::new(),
        aggregates: BTreeMap::new(),
        is_virtual: *is_virtual,
    };
    ((*name).to_owned(), keyspace)
}

/// Carries out a line of an embedded text: a table that is made, or made anew, or taken away.
fn apply(keyspaces: &mut BTreeMap<String, Keyspace>, line: &str) {
    let parsed = parser::parse(line).expect("the embedded text is CQL");
    match parsed.statement {
        Statement::Ddl(Ddl::CreateTable { name, columns, partition_key, clustering, order, properties, .. }) => {
            let keyspace_name = name.keyspace.clone().unwrap_or_default();
            let definition = ddl::TableDefinition {
                keyspace: &keyspace_name,
                name: &name.name,
                columns: &columns,
                partition_key: &partition_key,
                clustering: &clustering,
                order: &order,
                properties: &properties,
            };
            let table = built(&definition, &name);
            if let Some(keyspace) = keyspaces.get_mut(&keyspace_name) {
                keyspace.tables.insert(name.name, Arc::new(table));
            }
        }
        Statement::Ddl(Ddl::DropTable { name, .. }) => {
            if let Some(keyspace) = keyspaces.get_mut(name.keyspace.as_deref().unwrap_or_default()) {
                keyspace.tables.remove(&name.name);
            }
        }
        other => unreachable!("the embedded text has no {other:?}"),
    }
}

fn built(definition: &ddl::TableDefinition<'_>, name: &Name) -> Table {
    // As Cassandra: the id is the type-3 UUID of the names, so it is the same in every cluster.
    let digest: [u8; 16] = Md5::digest(format!("{}{}", definition.keyspace, name.name)).into();
    let id = uuid::Builder::from_md5_bytes(digest).into_uuid();
    let mut table = definition.build(id, &|_| None).expect("the embedded tables are valid");
    dropped::add_leftovers(&mut table);
    table
}
