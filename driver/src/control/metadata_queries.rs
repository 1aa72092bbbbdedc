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
use crate::env::mutants::is_planted;
use crate::policy::AddressTranslation;
use crate::protocol::request::{EnvelopeOptions, Parameters, Query};
use crate::protocol::response::{Message, ResultBody, Rows, ServerError, ServerErrorKind};
use crate::protocol::{Consistency, DecodeError};
use crate::topology::{Node, Partitioner, Tokens};
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
        let limit = (!is_planted("D09-control-queries-without-limit")).then_some(deadline);
        let response = connection.call(&query, limit).await.map_err(MetadataError::Call)?;
        let page = match response.response.decode().map_err(MetadataError::Decode)?.message {
            Message::Result(ResultBody::Rows(page)) => page,
            Message::Error(error) => return Err(MetadataError::Server(*error)),
            _ => return Err(MetadataError::NotRows),
        };
        paging_state = page.metadata.paging_state().cloned();
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
    let tokens = Tokens::parse(partitioner, &tokens);
    if tokens.is_empty() && partitioner != Partitioner::Other {
        return None;
    }
    Some(Node {
        host_id: row.get::<Option<Uuid>>("host_id").ok().flatten()?,
        address,
        announced_address,
        datacenter: text(row, "data_center")?.into(),
        rack: text(row, "rack")?.into(),
        tokens,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{AddressMap, NoTranslation};
    use crate::value::{ColumnSpec, CqlType, NativeType};

    /// A row of columns by name; `None` is null.
    fn row(cells: &[(&str, Option<Cell>)]) -> CqlRow {
        let columns: Arc<[ColumnSpec]> = cells
            .iter()
            .map(|(name, cell)| ColumnSpec {
                keyspace: "system".into(),
                table: "peers_v2".into(),
                name: (*name).into(),
                cql_type: cell.as_ref().map_or(NativeType::Text.into(), Cell::cql_type),
            })
            .collect();
        let mut content = Vec::new();
        for (_, cell) in cells {
            let bytes = cell.as_ref().map(Cell::bytes);
            let len = bytes.as_ref().map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
            content.extend(len.to_be_bytes());
            content.extend(bytes.unwrap_or_default());
        }
        RowIterator::<CqlRow>::new(&columns, &content, 1).unwrap().next().unwrap().unwrap()
    }

    #[derive(Clone)]
    enum Cell {
        Text(&'static str),
        Inet(&'static str),
        Int(i32),
        Uuid(u128),
        Tokens(&'static str),
    }

    impl Cell {
        fn cql_type(&self) -> CqlType {
            match self {
                Self::Text(_) => NativeType::Text.into(),
                Self::Inet(_) => NativeType::Inet.into(),
                Self::Int(_) => NativeType::Int.into(),
                Self::Uuid(_) => NativeType::Uuid.into(),
                Self::Tokens(_) => CqlType::Set(Box::new(NativeType::Text.into())),
            }
        }

        fn bytes(&self) -> Vec<u8> {
            match self {
                Self::Text(text) => text.as_bytes().to_vec(),
                Self::Inet(text) => match text.parse::<IpAddr>().unwrap() {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                },
                Self::Int(number) => number.to_be_bytes().to_vec(),
                Self::Uuid(number) => number.to_be_bytes().to_vec(),
                Self::Tokens(token) => {
                    let len = i32::try_from(token.len()).unwrap();
                    [&1_i32.to_be_bytes()[..], &len.to_be_bytes(), token.as_bytes()].concat()
                }
            }
        }
    }

    /// A complete row of `system.peers_v2`.
    fn peer() -> Vec<(&'static str, Option<Cell>)> {
        vec![
            ("peer", Some(Cell::Inet("10.0.0.2"))),
            ("native_address", Some(Cell::Inet("10.1.0.2"))),
            ("native_port", Some(Cell::Int(9142))),
            ("host_id", Some(Cell::Uuid(2))),
            ("data_center", Some(Cell::Text("dc1"))),
            ("rack", Some(Cell::Text("r1"))),
            ("schema_version", Some(Cell::Uuid(9))),
            ("tokens", Some(Cell::Tokens("42"))),
            ("release_version", Some(Cell::Text("5.0.8"))),
        ]
    }

    fn with(mut cells: Vec<(&'static str, Option<Cell>)>, name: &'static str, cell: Option<Cell>) -> CqlRow {
        cells.retain(|(known, _)| *known != name);
        cells.push((name, cell));
        row(&cells)
    }

    fn address_of(row: &CqlRow) -> Option<String> {
        peer_node(row, 9042, &NoTranslation, Partitioner::Murmur3).map(|node| node.address.to_string())
    }

    #[test]
    fn a_peer_is_dialled_at_its_native_address_and_port() {
        assert_eq!(address_of(&row(&peer())).as_deref(), Some("10.1.0.2:9142"));
    }

    #[test]
    fn a_peer_counts_only_with_everything_needed_to_use_it() {
        for missing in ["native_address", "host_id", "data_center", "rack", "schema_version", "tokens"] {
            assert_eq!(address_of(&with(peer(), missing, None)), None, "{missing} is null");
            let cells: Vec<_> = peer().into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(address_of(&row(&cells)), None, "there is no {missing}");
        }
        assert!(address_of(&with(peer(), "release_version", None)).is_some(), "nice to have only");
    }

    #[test]
    fn addresses_and_ports_of_older_tables_stand_in() {
        for (address, port) in [("native_transport_address", "native_transport_port"), ("rpc_address", "rpc_port")] {
            let mut cells: Vec<_> = peer().into_iter().filter(|(name, _)| !name.starts_with("native")).collect();
            cells.push((address, Some(Cell::Inet("10.2.0.2"))));
            assert_eq!(address_of(&row(&cells)).as_deref(), Some("10.2.0.2:9042"), "the port that was dialled");
            cells.push((port, Some(Cell::Int(9242))));
            assert_eq!(address_of(&row(&cells)).as_deref(), Some("10.2.0.2:9242"));
        }
    }

    #[test]
    fn the_unspecified_address_means_the_one_other_nodes_know() {
        for unspecified in ["0.0.0.0", "::"] {
            let row = with(peer(), "native_address", Some(Cell::Inet(unspecified)));
            assert_eq!(address_of(&row).as_deref(), Some("10.0.0.2:9142"));
        }
    }

    #[test]
    fn ports_out_of_range_are_no_ports() {
        for port in [0, -1, 65_536] {
            let row = with(peer(), "native_port", Some(Cell::Int(port)));
            assert_eq!(address_of(&row).as_deref(), Some("10.1.0.2:9042"), "{port}");
        }
    }

    #[test]
    fn an_announced_address_is_kept_beside_its_translation() {
        let (announced, reachable) = ("10.1.0.2:9142".parse().unwrap(), "192.0.2.1:1".parse().unwrap());
        let translation = AddressMap { reachable: [(announced, reachable)].into() };
        let node = peer_node(&row(&peer()), 9042, &translation, Partitioner::Murmur3).unwrap();
        assert_eq!((node.address, node.announced_address), (reachable, announced));
    }

    #[test]
    fn the_node_that_was_asked_is_where_it_was_dialled() {
        let dialled = "192.0.2.7:9999".parse().unwrap();
        let cells = [
            ("rpc_address", Some(Cell::Inet("10.0.0.1"))),
            ("rpc_port", Some(Cell::Int(9042))),
            ("host_id", Some(Cell::Uuid(1))),
            ("data_center", Some(Cell::Text("dc1"))),
            ("rack", Some(Cell::Text("r1"))),
            ("tokens", Some(Cell::Tokens("7"))),
        ];
        let node = local_node(&row(&cells), dialled, Partitioner::Murmur3).unwrap();
        assert_eq!((node.address, node.announced_address.to_string().as_str()), (dialled, "10.0.0.1:9042"));
        let node = local_node(&row(&cells[2..]), dialled, Partitioner::Murmur3).unwrap();
        assert_eq!(node.announced_address, dialled, "it announces nothing");
    }

    #[test]
    fn a_row_of_the_asked_node_itself_among_its_peers_is_recognised_by_id_and_by_address() {
        let local = local_node(&row(&peer()), "10.1.0.2:9142".parse().unwrap(), Partitioner::Murmur3).unwrap();
        let stale =
            peer_node(&with(peer(), "host_id", Some(Cell::Uuid(77))), 9042, &NoTranslation, Partitioner::Murmur3)
                .unwrap();
        assert!(is_same_node(&stale, &local), "a predecessor at the same address");
        let moved =
            peer_node(&with(peer(), "native_port", Some(Cell::Int(1))), 9042, &NoTranslation, Partitioner::Murmur3)
                .unwrap();
        assert!(is_same_node(&moved, &local), "itself at a former address");
        let mut other = peer();
        other.retain(|(name, _)| *name != "host_id" && *name != "native_port");
        other.extend([("host_id", Some(Cell::Uuid(3))), ("native_port", Some(Cell::Int(1)))]);
        assert!(
            !is_same_node(&peer_node(&row(&other), 9042, &NoTranslation, Partitioner::Murmur3).unwrap(), &local),
            "same machine"
        );
    }

    #[test]
    fn only_a_missing_table_makes_system_peers_do() {
        let error = |kind, message: &str| ServerError { kind, message: message.to_owned() };
        assert!(is_peers_v2_missing(&error(ServerErrorKind::Invalid, "unconfigured table peers_v2")));
        assert!(is_peers_v2_missing(&error(
            ServerErrorKind::ServerError,
            "Unknown keyspace/cf pair (system.peers_v2)"
        )));
        assert!(!is_peers_v2_missing(&error(ServerErrorKind::ServerError, "java.lang.NullPointerException")));
        assert!(!is_peers_v2_missing(&error(ServerErrorKind::Overloaded, "busy")));
    }
}
