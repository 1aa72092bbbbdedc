//! The rows a node keeps about itself and its peers: `system.local`, `system.peers`, `system.peers_v2`.
//!
//! They are ordinary rows of ordinary tables in the node's own store. What every node of a release starts with is
//! computed once and shared.

use super::config::{NodeConfig, ReleaseLine};
use super::message::GossipState;
use crate::cql;
use crate::protocol::{VERSION_MIN, md5};
use crate::ring::Token;
use crate::schema::{Dialect, Keyspace, Schema, Table};
use crate::storage::{Mutation, Store};
use crate::types::{Value, codec};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// The port between nodes, which clients see in some rows.
pub(super) const STORAGE_PORT: i32 = 7000;

/// What every node of a release line starts with.
#[derive(Debug)]
pub(super) struct SystemTables {
    /// The system keyspaces.
    pub(super) system: Schema,
    /// The same as derived from the rows, with its version.
    pub(super) schema: Arc<Schema>,
    /// A store that describes the system keyspaces in `system_schema`.
    pub(super) store: Store,
    by_id: BTreeMap<Uuid, Arc<Table>>,
}

impl SystemTables {
    /// The system tables of a release line, computed on first use.
    pub(super) fn of(line: ReleaseLine) -> &'static Self {
        static TABLES: [OnceLock<SystemTables>; ReleaseLine::ALL.len()] =
            [const { OnceLock::new() }; ReleaseLine::ALL.len()];
        TABLES[line as usize].get_or_init(|| Self::compute(line))
    }

    fn compute(line: ReleaseLine) -> Self {
        let system = of_line(line);
        let mut store = Store::default();
        for mutation in cql::system_schema_rows(&system) {
            if let Some(table) = system.table_by_id(mutation.table) {
                store.apply(table, &mutation);
            }
        }
        let schema = Arc::new(cql::schema_from_rows(&store, &system, 0));
        let tables = system.keyspaces.values().flat_map(|keyspace| keyspace.tables.values());
        let by_id = tables.map(|table| (table.id, Arc::clone(table))).collect();
        Self { system, schema, store, by_id }
    }

    /// The system table with this id.
    pub(super) fn table_by_id(&self, id: Uuid) -> Option<&Arc<Table>> {
        self.by_id.get(&id)
    }

    /// The table of keyspace `system` with this name, if the release has it.
    pub(super) fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.system.table("system", name)
    }
}

/// The system keyspaces of a release line. Of 3.11 it is known what clients rely on: everything else is as in 4.0.
fn of_line(line: ReleaseLine) -> Schema {
    let dialect = match line {
        ReleaseLine::V50 => Dialect::V50,
        ReleaseLine::V41 => Dialect::V41,
        ReleaseLine::V40 | ReleaseLine::V3 => Dialect::V40,
    };
    let mut system = cql::system_schema_of(dialect);
    if line == ReleaseLine::V3 {
        system.keyspaces.retain(|_, keyspace| !keyspace.is_virtual);
        edit(&mut system, "system", |keyspace| {
            keyspace.tables.remove("peers_v2");
        });
        let ports = ["broadcast_port", "listen_port", "rpc_port"];
        drop_columns(&mut system, "system", "local", &ports);
        drop_columns(&mut system, "system_traces", "sessions", &["coordinator_port"]);
        drop_columns(&mut system, "system_traces", "events", &["source_port"]);
    }
    system
}

fn edit(system: &mut Schema, keyspace: &str, change: impl FnOnce(&mut Keyspace)) {
    if let Some(keyspace) = system.keyspaces.get_mut(keyspace) {
        change(Arc::make_mut(keyspace));
    }
}

fn drop_columns(system: &mut Schema, keyspace: &str, table: &str, names: &[&str]) {
    edit(system, keyspace, |keyspace| {
        if let Some(table) = keyspace.tables.get_mut(table) {
            Arc::make_mut(table).columns.retain(|column| !names.contains(&column.name.as_str()));
        }
    });
}

/// The row of `system.local`. `generation` is when the node started, in seconds since 1970.
pub(super) fn local_row(
    table: &Table,
    timestamp: i64,
    config: &NodeConfig,
    generation: i64,
    schema_version: Uuid,
) -> Mutation {
    let port = i32::from(config.address.port());
    let cells = [
        ("key", text("local")),
        ("bootstrapped", text("COMPLETED")),
        ("broadcast_address", inet(config.address.ip())),
        ("broadcast_port", int(STORAGE_PORT)),
        ("cluster_name", text(&config.cluster_name)),
        ("cql_version", text(ReleaseLine::of(&config.release).cql_version())),
        ("data_center", text(&config.location.datacenter)),
        ("gossip_generation", int(i32::try_from(generation).unwrap_or(i32::MAX))),
        ("host_id", uuid(config.host_id)),
        ("listen_address", inet(config.address.ip())),
        ("listen_port", int(STORAGE_PORT)),
        ("native_protocol_version", text(&config.protocol_version_max.max(VERSION_MIN).to_string())),
        ("partitioner", text("org.apache.cassandra.dht.Murmur3Partitioner")),
        ("rack", text(&config.location.rack)),
        ("release_version", text(&config.release)),
        ("rpc_address", inet(config.address.ip())),
        ("rpc_port", int(port)),
        ("schema_version", uuid(schema_version)),
        ("tokens", tokens(&config.tokens)),
        ("truncated_at", truncated_at_start(generation)),
    ];
    row(table, timestamp, &cells)
}

/// The tables that a node empties when it starts: by id the place in its commit log and the time, in milliseconds.
fn truncated_at_start(generation: i64) -> Value {
    let mut parts = Vec::new();
    for name in ["size_estimates", "table_estimates"] {
        let id = uuid::Builder::from_md5_bytes(md5(&[b"system", name.as_bytes()])).into_uuid();
        let mut place = (generation * 1000).to_be_bytes().to_vec();
        place.extend_from_slice(&0_i32.to_be_bytes());
        place.extend_from_slice(&(generation * 1000).to_be_bytes());
        parts.extend([uuid(id), Some(Bytes::from(place))]);
    }
    Some(codec::join_collection(parts.len() / 2, &parts))
}

/// The change of `system.local` that follows a change of the schema.
pub(super) fn local_schema_version(table: &Table, timestamp: i64, version: Uuid) -> Mutation {
    row(table, timestamp, &[("key", text("local")), ("schema_version", uuid(version))])
}

/// The rows of a peer in `system.peers` and, if there is one, `system.peers_v2`.
pub(super) fn peer_rows(tables: &SystemTables, timestamp: i64, peer: &GossipState) -> Vec<Mutation> {
    let address = peer.address.ip();
    let common = [
        ("peer", inet(address)),
        ("data_center", text(&peer.location.datacenter)),
        ("host_id", uuid(peer.host_id)),
        ("rack", text(&peer.location.rack)),
        ("release_version", text(&peer.release)),
        ("schema_version", uuid(peer.schema_version)),
        ("tokens", tokens(&peer.tokens)),
    ];
    let mut mutations = Vec::new();
    if let Some(table) = tables.table("peers") {
        let mut cells = common.to_vec();
        cells.push(("rpc_address", inet(address)));
        mutations.push(row(table, timestamp, &cells));
    }
    if let Some(table) = tables.table("peers_v2") {
        let mut cells = common.to_vec();
        cells.push(("peer_port", int(STORAGE_PORT)));
        cells.push(("native_address", inet(address)));
        cells.push(("native_port", int(i32::from(peer.address.port()))));
        mutations.push(row(table, timestamp, &cells));
    }
    mutations
}

/// The changes of a peer's rows that follow from a change of its schema.
pub(super) fn peer_schema_version(tables: &SystemTables, timestamp: i64, peer: &GossipState) -> Vec<Mutation> {
    let version = ("schema_version", uuid(peer.schema_version));
    let change = |(table, mut cells): (&Arc<Table>, Vec<(&str, Value)>)| {
        cells.push(version.clone());
        row(table, timestamp, &cells)
    };
    peer_keys(tables, peer.address).map(change).collect()
}

/// The deletions of a peer's rows.
pub(super) fn peer_deletions(tables: &SystemTables, timestamp: i64, address: SocketAddr) -> Vec<Mutation> {
    peer_keys(tables, address).map(|(table, key)| cql::row_deletion(table, timestamp, &key)).collect()
}

/// The tables that have a row of each peer, and what finds it there.
fn peer_keys(
    tables: &SystemTables,
    address: SocketAddr,
) -> impl Iterator<Item = (&Arc<Table>, Vec<(&'static str, Value)>)> {
    let peer = ("peer", inet(address.ip()));
    let of_peers = vec![peer.clone()];
    let of_peers_v2 = vec![peer, ("peer_port", int(STORAGE_PORT))];
    [("peers", of_peers), ("peers_v2", of_peers_v2)]
        .into_iter()
        .filter_map(|(name, key)| tables.table(name).map(|table| (table, key)))
}

/// The row with those of the cells whose columns the table has: older releases have fewer.
pub(super) fn row(table: &Table, timestamp: i64, cells: &[(&str, Value)]) -> Mutation {
    let known: Vec<(&str, Value)> = cells
        .iter()
        .filter(|(name, _)| table.column(name).is_some())
        .map(|(name, value)| (*name, value.clone()))
        .collect();
    cql::row_mutation(table, timestamp, &known)
}

/// A serialised `text`.
pub(super) fn text(value: &str) -> Value {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// A serialised `int`.
pub(super) fn int(value: i32) -> Value {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

/// A serialised `bigint` or `timestamp`.
pub(super) fn bigint(value: i64) -> Value {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

/// A serialised `uuid` or `timeuuid`.
pub(super) fn uuid(value: Uuid) -> Value {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// A serialised `inet`.
pub(super) fn inet(address: IpAddr) -> Value {
    Some(match address {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    })
}

/// A serialised `map<text, text>`.
pub(super) fn text_map(entries: &BTreeMap<String, String>) -> Value {
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(entries.len()).unwrap_or(i32::MAX));
    for (key, value) in entries {
        put_element(&mut out, key);
        put_element(&mut out, value);
    }
    Some(out.freeze())
}

/// Tokens as a serialised `set<text>`: decimal, in the order of the texts.
fn tokens(tokens: &[Token]) -> Value {
    let mut texts: Vec<String> = tokens.iter().map(|token| token.0.to_string()).collect();
    texts.sort_unstable();
    texts.dedup();
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(texts.len()).unwrap_or(i32::MAX));
    for element in texts {
        put_element(&mut out, &element);
    }
    Some(out.freeze())
}

fn put_element(out: &mut BytesMut, element: &str) {
    out.put_i32(i32::try_from(element.len()).unwrap_or(i32::MAX));
    out.put_slice(element.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_sets_are_sorted_as_texts() {
        let value = tokens(&[Token(5), Token(-7), Token(10)]).expect("not null");
        assert_eq!(&value[..], b"\0\0\0\x03\0\0\0\x02-7\0\0\0\x0210\0\0\0\x015");
    }
}
