//! Reads nodes and schema from the system tables.
//!
//! # Invariants
//!
//! - Every query has a deadline and is paged.
//! - A row that cannot be used is skipped alone; it never spoils the others.
//!
//! # Source
//!
//! `system.local`, `system.peers_v2` (Cassandra 4.0), `system.peers`, and `system_schema` of Cassandra 3.0 and later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::connection::Connection;
use crate::env::Instant;
use crate::policy::AddressTranslation;
use crate::protocol::request::{EnvelopeOptions, Parameters, Query};
use crate::protocol::response::{Message, ResultBody, Rows, ServerError, ServerErrorKind};
use crate::protocol::{Consistency, DecodeError};
use crate::topology::{
    ColumnKind, ColumnMetadata, KeyspaceMetadata, Node, Replication, Schema, TableMetadata, Token, UserTypeMetadata,
    parse_cql_type,
};
use crate::value::{CqlRow, RowError, RowIterator, UserType};

/// Why the system tables could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum MetadataError {
    /// The connection could not be opened.
    Connect(crate::connection::ConnectError),
    /// The connection was lost, or the node did not answer in time.
    Call(crate::connection::CallError),
    /// The node refused.
    Server(ServerError),
    /// The answer could not be understood.
    Decode(DecodeError),
    /// The rows are not what the tables promise.
    Row(RowError),
    /// The answer has no rows where rows must be.
    NotRows,
    /// `system.local` has no usable row.
    NoLocalRow,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Call(error) => error.fmt(f),
            Self::Server(error) => f.write_str(&error.message),
            Self::Decode(error) => error.fmt(f),
            Self::Row(error) => error.fmt(f),
            Self::NotRows => f.write_str("a system table query returned no rows"),
            Self::NoLocalRow => f.write_str("system.local has no usable row"),
        }
    }
}

impl std::error::Error for MetadataError {}

/// The nodes as one of them sees them.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    pub cluster_name: String,
    /// The node that was asked.
    pub local_host_id: Uuid,
    pub nodes: Vec<Node>,
    pub schema_version: Option<Uuid>,
}

/// Runs a query to its last page.
pub(super) async fn query_rows(
    connection: &Connection,
    text: &str,
    deadline: Instant,
) -> Result<Vec<CqlRow>, MetadataError> {
    let mut rows = Vec::new();
    let mut paging_state: Option<Bytes> = None;
    loop {
        let parameters = Parameters {
            consistency: Consistency::One,
            page_size: Some(PAGE_SIZE),
            paging_state: paging_state.as_deref(),
            ..Parameters::default()
        };
        let query = Query { text, parameters, options: EnvelopeOptions::default() };
        let response = connection.call(&query, Some(deadline)).await.map_err(MetadataError::Call)?;
        let page = match response.decode().map_err(MetadataError::Decode)?.message {
            Message::Result(ResultBody::Rows(page)) => page,
            Message::Error(error) => return Err(MetadataError::Server(error)),
            _ => return Err(MetadataError::NotRows),
        };
        paging_state = page.metadata.paging_state.clone();
        append_rows(&page, &mut rows)?;
        if paging_state.is_none() {
            return Ok(rows);
        }
    }
}

fn append_rows(page: &Rows, rows: &mut Vec<CqlRow>) -> Result<(), MetadataError> {
    let columns = page.metadata.columns.as_ref().ok_or(MetadataError::NotRows)?;
    let decoded = RowIterator::<CqlRow>::new(columns, &page.content, page.row_count).map_err(MetadataError::Row)?;
    for row in decoded {
        rows.push(row.map_err(MetadataError::Row)?);
    }
    Ok(())
}

/// Reads the list of nodes. `use_peers_v2` is cleared when the node has no such table.
pub(super) async fn read_topology(
    connection: &Connection,
    dialled: SocketAddr,
    use_peers_v2: &mut bool,
    translation: &dyn AddressTranslation,
    deadline: Instant,
) -> Result<Topology, MetadataError> {
    let local_rows = query_rows(connection, "SELECT * FROM system.local WHERE key='local'", deadline).await?;
    let local_row = local_rows.first().ok_or(MetadataError::NoLocalRow)?;
    let local = local_node(local_row, dialled).ok_or(MetadataError::NoLocalRow)?;
    let peer_rows = match query_peers(connection, *use_peers_v2, deadline).await {
        Err(MetadataError::Server(error)) if *use_peers_v2 && is_peers_v2_missing(&error) => {
            debug!(%error, "no system.peers_v2, reading system.peers");
            *use_peers_v2 = false;
            query_peers(connection, false, deadline).await?
        }
        other => other?,
    };
    let schema_version = local.schema_version;
    let local_host_id = local.host_id;
    let mut nodes = vec![local];
    for row in &peer_rows {
        match peer_node(row, dialled.port(), translation) {
            Some(node) if is_same_node(&node, &nodes[0]) => {}
            Some(node) => nodes.push(node),
            None => warn!("skipping an incomplete row of the peers table"),
        }
    }
    let cluster_name = text(local_row, "cluster_name").unwrap_or_default();
    Ok(Topology { cluster_name, local_host_id, nodes, schema_version })
}

/// Whether the node says that it has no such table, rather than that it cannot read it at the moment.
fn is_peers_v2_missing(error: &ServerError) -> bool {
    match error.kind {
        ServerErrorKind::Invalid => true,
        ServerErrorKind::ServerError => error.message.contains("peers_v2"),
        _ => false,
    }
}

/// Whether a row of the peers table is about the node that was asked: some have a stale row of themselves.
fn is_same_node(peer: &Node, local: &Node) -> bool {
    peer.host_id == local.host_id || peer.announced_address == local.announced_address || peer.address == local.address
}

async fn query_peers(connection: &Connection, v2: bool, deadline: Instant) -> Result<Vec<CqlRow>, MetadataError> {
    let table = if v2 { "SELECT * FROM system.peers_v2" } else { "SELECT * FROM system.peers" };
    query_rows(connection, table, deadline).await
}

/// The node that was asked: reachable where it was dialled, whatever its table says.
fn local_node(row: &CqlRow, dialled: SocketAddr) -> Option<Node> {
    let announced = native_address(row, &["broadcast_address", "listen_address"])
        .map_or(dialled, |address| SocketAddr::new(address, native_port(row).unwrap_or(dialled.port())));
    node(row, dialled, announced)
}

fn peer_node(row: &CqlRow, default_port: u16, translation: &dyn AddressTranslation) -> Option<Node> {
    let address = native_address(row, &["peer"])?;
    let announced = SocketAddr::new(address, native_port(row).unwrap_or(default_port));
    // A row without a schema version belongs to a node that has not finished joining.
    row.get::<Option<Uuid>>("schema_version").ok().flatten()?;
    node(row, translation.translate(announced), announced)
}

/// Where the node says clients reach it. A node that serves clients on all its addresses announces the unspecified one:
/// then the address other nodes know it by is as good. One that announces nothing is not ready for clients.
fn native_address(row: &CqlRow, otherwise: &[&str]) -> Option<IpAddr> {
    let announced = ["native_address", "native_transport_address", "rpc_address"];
    let address = announced.iter().find_map(|column| inet(row, column))?;
    if !address.is_unspecified() {
        return Some(address);
    }
    otherwise.iter().filter_map(|column| inet(row, column)).find(|address| !address.is_unspecified())
}

fn native_port(row: &CqlRow) -> Option<u16> {
    ["native_port", "native_transport_port", "rpc_port"].iter().find_map(|column| port(row, column))
}

fn node(row: &CqlRow, address: SocketAddr, announced_address: SocketAddr) -> Option<Node> {
    let tokens: Option<BTreeSet<String>> = row.get("tokens").ok()?;
    let mut tokens: Vec<Token> = tokens?.iter().filter_map(|text| Token::parse(text)).collect();
    if tokens.is_empty() {
        return None;
    }
    tokens.sort_unstable();
    Some(Node {
        host_id: row.get::<Option<Uuid>>("host_id").ok().flatten()?,
        address,
        announced_address,
        datacenter: text(row, "data_center")?.into(),
        rack: text(row, "rack")?.into(),
        tokens: tokens.into(),
        release_version: text(row, "release_version").map(Arc::from),
        schema_version: row.get::<Option<Uuid>>("schema_version").ok().flatten(),
    })
}

fn text(row: &CqlRow, column: &str) -> Option<String> {
    row.get::<Option<String>>(column).ok().flatten()
}

fn inet(row: &CqlRow, column: &str) -> Option<IpAddr> {
    row.get::<Option<IpAddr>>(column).ok().flatten()
}

fn port(row: &CqlRow, column: &str) -> Option<u16> {
    let port = row.get::<Option<i32>>(column).ok().flatten()?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Reads all keyspaces, or one.
pub(super) async fn read_keyspaces(
    connection: &Connection,
    only: Option<&str>,
    deadline: Instant,
) -> Result<BTreeMap<String, Arc<KeyspaceMetadata>>, MetadataError> {
    let condition =
        only.map_or_else(String::new, |name| format!(" WHERE keyspace_name = '{}'", name.replace('\'', "''")));
    let select = |table: &str| format!("SELECT * FROM system_schema.{table}{condition}");
    let keyspaces = query_rows(connection, &select("keyspaces"), deadline).await?;
    let tables = query_rows(connection, &select("tables"), deadline).await?;
    let columns = query_rows(connection, &select("columns"), deadline).await?;
    let types = query_rows(connection, &select("types"), deadline).await?;
    Ok(build_keyspaces(&keyspaces, &tables, &columns, &types))
}

fn build_keyspaces(
    keyspaces: &[CqlRow],
    tables: &[CqlRow],
    columns: &[CqlRow],
    types: &[CqlRow],
) -> BTreeMap<String, Arc<KeyspaceMetadata>> {
    let mut built: BTreeMap<String, KeyspaceMetadata> = BTreeMap::new();
    for row in keyspaces {
        let Some(name) = text(row, "keyspace_name") else { continue };
        let options: BTreeMap<String, String> = row.get("replication").unwrap_or_default();
        let keyspace = KeyspaceMetadata {
            name: name.clone(),
            replication: Replication::from_options(&options),
            durable_writes: row.get::<Option<bool>>("durable_writes").ok().flatten().unwrap_or(true),
            tables: BTreeMap::new(),
            user_types: BTreeMap::new(),
        };
        built.insert(name, keyspace);
    }
    add_types(&mut built, types);
    for row in tables {
        let (Some(keyspace_name), Some(name)) = (text(row, "keyspace_name"), text(row, "table_name")) else { continue };
        let Some(keyspace) = built.get_mut(&keyspace_name) else { continue };
        let table = TableMetadata {
            keyspace: keyspace_name,
            name: name.clone(),
            id: row.get::<Option<Uuid>>("id").ok().flatten(),
            columns: Vec::new(),
            comment: text(row, "comment").unwrap_or_default(),
            default_time_to_live: row.get::<Option<i32>>("default_time_to_live").ok().flatten().unwrap_or(0),
        };
        keyspace.tables.insert(name, table);
    }
    for row in columns {
        let (Some(keyspace_name), Some(table_name)) = (text(row, "keyspace_name"), text(row, "table_name")) else {
            continue;
        };
        let Some(keyspace) = built.get_mut(&keyspace_name) else { continue };
        let Some(column) = column(row, &keyspace.user_types) else { continue };
        if let Some(table) = keyspace.tables.get_mut(&table_name) {
            table.columns.push(column);
        }
    }
    for keyspace in built.values_mut() {
        for table in keyspace.tables.values_mut() {
            table.columns.sort_by(|a, b| (a.kind, a.position, &a.name).cmp(&(b.kind, b.position, &b.name)));
        }
    }
    built.into_iter().map(|(name, keyspace)| (name, Arc::new(keyspace))).collect()
}

/// Adds user-defined types. A type may use others of its keyspace in any order, so passes repeat until nothing is new.
fn add_types(keyspaces: &mut BTreeMap<String, KeyspaceMetadata>, rows: &[CqlRow]) {
    for _ in 0..TYPE_PASSES_MAX {
        let mut is_changed = false;
        for row in rows {
            let (Some(keyspace_name), Some(name)) = (text(row, "keyspace_name"), text(row, "type_name")) else {
                continue;
            };
            let Some(keyspace) = keyspaces.get_mut(&keyspace_name) else { continue };
            let names: Vec<String> = row.get("field_names").unwrap_or_default();
            let texts: Vec<String> = row.get("field_types").unwrap_or_default();
            let known = &keyspace.user_types;
            let find = |name: &str| known.get(name).map(|metadata| Arc::clone(&metadata.user_type));
            let fields: Option<Vec<_>> = names
                .iter()
                .zip(&texts)
                .map(|(field, text)| Some((Arc::from(field.as_str()), parse_cql_type(text, &find).ok()?)))
                .collect();
            let Some(fields) = fields else { continue };
            let user_type =
                Arc::new(UserType { keyspace: keyspace_name.as_str().into(), name: name.as_str().into(), fields });
            let metadata = UserTypeMetadata { fields: names.into_iter().zip(texts).collect(), user_type };
            is_changed |= known.get(&name) != Some(&metadata);
            keyspace.user_types.insert(name, metadata);
        }
        if !is_changed {
            return;
        }
    }
}

fn column(row: &CqlRow, user_types: &BTreeMap<String, UserTypeMetadata>) -> Option<ColumnMetadata> {
    let type_text = text(row, "type")?;
    let find = |name: &str| user_types.get(name).map(|metadata| Arc::clone(&metadata.user_type));
    Some(ColumnMetadata {
        name: text(row, "column_name")?,
        kind: ColumnKind::from_name(&text(row, "kind")?),
        position: row.get::<Option<i32>>("position").ok().flatten().unwrap_or(-1),
        is_descending: text(row, "clustering_order").is_some_and(|order| order.eq_ignore_ascii_case("desc")),
        cql_type: parse_cql_type(&type_text, &find).ok()?,
        type_text,
    })
}

/// Replaces the named keyspaces of `previous` by what was read of them, which may be nothing.
pub(super) fn merge_keyspaces(
    previous: &Schema,
    names: &BTreeSet<String>,
    read: BTreeMap<String, Arc<KeyspaceMetadata>>,
) -> Schema {
    let mut schema = previous.clone();
    schema.keyspaces.retain(|name, _| !names.contains(name));
    schema.keyspaces.extend(read);
    schema
}

const PAGE_SIZE: i32 = 5000;
/// Nesting of user types in user types that is followed.
const TYPE_PASSES_MAX: usize = 16;
