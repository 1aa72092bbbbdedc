//! Reads the nodes from the system tables, and how any system table is read.
//!
//! # Invariants
//!
//! - Every query has a deadline and is paged.
//! - A row that cannot be used is skipped alone; it never spoils the others.
//!
//! # Source
//!
//! `system.local`, `system.peers_v2` (Cassandra 4.0), `system.peers`.

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
use crate::topology::{Node, Partitioner, Token};
use crate::value::{CqlRow, RowError, RowIterator};

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
    pub partitioner: Partitioner,
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
    let partitioner =
        text(local_row, "partitioner").map_or(Partitioner::Murmur3, |class| Partitioner::from_class(&class));
    let local = local_node(local_row, dialled, partitioner).ok_or(MetadataError::NoLocalRow)?;
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
        match peer_node(row, dialled.port(), translation, partitioner) {
            Some(node) if is_same_node(&node, &nodes[0]) => {}
            Some(node) => nodes.push(node),
            None => warn!("skipping an incomplete row of the peers table"),
        }
    }
    let cluster_name = text(local_row, "cluster_name").unwrap_or_default();
    Ok(Topology { cluster_name, local_host_id, nodes, schema_version, partitioner })
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
fn local_node(row: &CqlRow, dialled: SocketAddr, partitioner: Partitioner) -> Option<Node> {
    let announced = native_address(row, &["broadcast_address", "listen_address"])
        .map_or(dialled, |address| SocketAddr::new(address, native_port(row).unwrap_or(dialled.port())));
    node(row, dialled, announced, partitioner)
}

fn peer_node(
    row: &CqlRow,
    default_port: u16,
    translation: &dyn AddressTranslation,
    partitioner: Partitioner,
) -> Option<Node> {
    let address = native_address(row, &["peer"])?;
    let announced = SocketAddr::new(address, native_port(row).unwrap_or(default_port));
    // A row without a schema version belongs to a node that has not finished joining.
    row.get::<Option<Uuid>>("schema_version").ok().flatten()?;
    node(row, translation.translate(announced), announced, partitioner)
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

fn node(row: &CqlRow, address: SocketAddr, announced_address: SocketAddr, partitioner: Partitioner) -> Option<Node> {
    let tokens: Vec<&str> = row.get::<Option<_>>("tokens").ok()??;
    if tokens.is_empty() {
        return None;
    }
    // Those of other partitioners mean nothing here.
    let is_known = partitioner == Partitioner::Murmur3;
    let mut tokens: Vec<Token> = tokens.iter().filter(|_| is_known).filter_map(|text| Token::parse(text)).collect();
    if tokens.is_empty() && is_known {
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

const PAGE_SIZE: i32 = 5000;
