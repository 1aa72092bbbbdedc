//! Opens the control connection and makes the first full refresh over it.
//!
//! # Invariants
//!
//! - REGISTER is acknowledged before the first row is asked for, so no event falls into the gap.
//! - One deadline covers connecting, registering and reading; a node that accepts and never answers costs one limit.
//! - A list without a node to which there is a connection is read again before it is believed.
//! - A control connection that is dropped closes its socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;
use uuid::Uuid;

use super::cluster_state::ClusterView;
use super::listener::{NodeListeners, SchemaListeners};
use super::metadata_queries::{MetadataError, Topology, read_topology};
use super::refresh::{REMOVAL_CONFIRMATION_DELAY, removes_live};
use super::refresh_window::RefreshWindows;
use super::schema_queries::SchemaReader;
use super::schema_scope::SchemaScope;
use crate::connection::{ConnectError, Connection, EventSink};
use crate::env::mutants::is_planted;
use crate::env::{Environment, Instant, sleep, timeout};
use crate::policy::{AddressTranslation, LoadBalancing, Reconnection};
use crate::pool::ConnectionFactory;
use crate::protocol::response::Message;
use crate::protocol::{EventKind, ProtocolVersion};
use crate::topology::{ClusterSnapshot, KeyspaceFilter, Node, Schema};

/// What the control connection needs to know.
pub(crate) struct ControlSettings {
    pub environment: Environment,
    pub factory: Arc<ConnectionFactory>,
    pub contact_points: Vec<ContactPoint>,
    pub reconnection: Arc<dyn Reconnection>,
    pub load_balancing: Arc<dyn LoadBalancing>,
    pub translation: Arc<dyn AddressTranslation>,
    pub windows: RefreshWindows,
    /// Which keyspaces have their contents read.
    pub keyspace_filter: KeyspaceFilter,
    pub node_listeners: NodeListeners,
    pub schema_listeners: SchemaListeners,
    /// Time between two reads of the list of nodes while no event arrives.
    pub refresh_interval: Duration,
    /// Limit of opening a control connection, reading included, and of each later refresh.
    pub timeout: Duration,
}

/// An address or name given by the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContactPoint {
    pub host: String,
    pub port: u16,
}

/// An open control connection.
pub(crate) struct ControlConnection {
    pub connection: Connection,
    pub dialled: SocketAddr,
    pub use_peers_v2: bool,
}

impl ControlConnection {
    /// Reads the list of nodes.
    async fn read_nodes(&mut self, settings: &ControlSettings, deadline: Instant) -> Result<Topology, MetadataError> {
        let translation = &*settings.translation;
        read_topology(&self.connection, self.dialled, &mut self.use_peers_v2, translation, deadline).await
    }
}

impl Drop for ControlConnection {
    fn drop(&mut self) {
        self.connection.close("the control connection moved");
    }
}

/// An open control connection and what the first refresh over it read.
pub(crate) struct Established {
    pub control: ControlConnection,
    pub topology: Topology,
    pub schema: Schema,
}

impl Established {
    pub(crate) fn local_host_id(&self) -> Uuid {
        self.topology.local_host_id
    }

    /// The data centre of the node at the other end; empty if the node does not list itself.
    pub(crate) fn local_datacenter(&self) -> Arc<str> {
        let local = self.topology.nodes.iter().find(|node| node.host_id == self.topology.local_host_id);
        local.map_or_else(|| "".into(), |node| Arc::clone(&node.datacenter))
    }

    /// What a session knows before it adopts the nodes. The schema is there: none of it is news to a listener.
    pub(crate) fn snapshot_without_nodes(&self) -> ClusterSnapshot {
        let Topology { cluster_name, partitioner, .. } = &self.topology;
        ClusterSnapshot::build(cluster_name, *partitioner, Vec::new(), self.schema.clone(), None)
    }
}

/// Builds a snapshot. A node that announces the address it announced before keeps the address it is dialled at: the
/// control node is known by the address that worked, which its own tables may not show.
pub(super) fn build_snapshot(
    topology: &Topology,
    schema: Schema,
    previous: Option<&ClusterSnapshot>,
) -> ClusterSnapshot {
    let mut nodes = topology.nodes.clone();
    for node in &mut nodes {
        if let Some(known) = previous.and_then(|previous| previous.node(node.host_id))
            && known.announced_address == node.announced_address
        {
            node.address = known.address;
        }
    }
    ClusterSnapshot::build(&topology.cluster_name, topology.partitioner, nodes, schema, previous)
}

/// Tries the addresses in order and returns the first that works, or why each did not.
pub(crate) async fn establish_first(
    settings: &ControlSettings,
    addresses: &[SocketAddr],
    sink: &EventSink,
    view: Option<&ClusterView>,
) -> Result<Established, Vec<(SocketAddr, MetadataError)>> {
    let mut failures = Vec::new();
    for &address in addresses {
        match establish(settings, address, sink, view).await {
            Ok(established) => return Ok(established),
            Err(error) => {
                debug!(%address, %error, "control connection failed");
                failures.push((address, error));
            }
        }
    }
    Err(failures)
}

/// Connects in a version that every node of the cluster speaks, which is known only once the nodes are.
async fn establish(
    settings: &ControlSettings,
    address: SocketAddr,
    sink: &EventSink,
    view: Option<&ClusterView>,
) -> Result<Established, MetadataError> {
    let deadline = Instant::now() + settings.timeout;
    let attempt = async {
        loop {
            let (control, topology) = open_and_read_nodes(settings, address, sink, view, deadline).await?;
            if let Some(common) = newest_common_version(&topology.nodes) {
                settings.factory.lower_version(common);
            }
            if control.connection.version() <= settings.factory.version() {
                let reader =
                    SchemaReader { connection: &control.connection, filter: &settings.keyspace_filter, deadline };
                let schema = reader.read(&SchemaScope::All, &Schema::default()).await?;
                return Ok(Established { control, topology, schema });
            }
        }
    };
    timeout(settings.timeout, attempt).await.unwrap_or(Err(MetadataError::Connect(ConnectError::Timeout)))
}

async fn open_and_read_nodes(
    settings: &ControlSettings,
    address: SocketAddr,
    sink: &EventSink,
    view: Option<&ClusterView>,
    deadline: Instant,
) -> Result<(ControlConnection, Topology), MetadataError> {
    let connection =
        settings.factory.open_control(&settings.environment, address).await.map_err(MetadataError::Connect)?;
    let mut control = ControlConnection { connection, dialled: address, use_peers_v2: true };
    if !is_planted("D12-register-after-reading") {
        register(&control.connection, sink, deadline).await?;
    }
    let mut topology = control.read_nodes(settings, deadline).await?;
    if view.is_some_and(|view| removes_live(&topology, view)) {
        // A node that has just started may not know the others yet.
        sleep(REMOVAL_CONFIRMATION_DELAY).await;
        topology = control.read_nodes(settings, deadline).await?;
    }
    if is_planted("D12-register-after-reading") {
        register(&control.connection, sink, deadline).await?;
    }
    Ok((control, topology))
}

/// The newest version that every node speaks, as far as their releases tell.
pub(super) fn newest_common_version(nodes: &[Node]) -> Option<ProtocolVersion> {
    let releases = nodes.iter().filter_map(|node| node.release_version.as_deref());
    releases.filter_map(ProtocolVersion::newest_of_release).min()
}

async fn register(connection: &Connection, sink: &EventSink, deadline: Instant) -> Result<(), MetadataError> {
    let response = connection
        .register_events(&EventKind::ALL, Arc::clone(sink), Some(deadline))
        .await
        .map_err(MetadataError::Call)?;
    match response.response.decode().map_err(MetadataError::Decode)?.message {
        Message::Ready => Ok(()),
        Message::Error(error) => Err(MetadataError::Server(*error)),
        _ => Err(MetadataError::NotRows),
    }
}

/// Resolves all contact points; names that do not resolve in time are skipped.
pub(crate) async fn resolve(settings: &ControlSettings) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for point in &settings.contact_points {
        if let Ok(ip) = point.host.parse() {
            addresses.push(SocketAddr::new(ip, point.port));
            continue;
        }
        let lookup = settings.environment.transport.resolve(&point.host, point.port);
        match timeout(settings.timeout, lookup).await {
            Ok(Ok(resolved)) => addresses.extend(resolved),
            Ok(Err(error)) => debug!(host = %point.host, %error, "contact point does not resolve"),
            Err(_) => debug!(host = %point.host, "contact point does not resolve in time"),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| seen.insert(*address));
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::test_node;

    fn node_of_release(release: Option<&str>) -> Node {
        Node { release_version: release.map(Arc::from), ..test_node(0, "dc1", "r1", &[]) }
    }

    #[test]
    fn the_oldest_release_decides_the_common_version_and_unknown_ones_say_nothing() {
        for (releases, expected) in [
            (&[Some("5.0.8"), Some("4.0.1")][..], Some(ProtocolVersion::V5)),
            (&[Some("5.0.8"), Some("3.11.19"), Some("4.1.0")], Some(ProtocolVersion::V4)),
            (&[Some("2.1.22"), Some("2.2.19")], Some(ProtocolVersion::V3)),
            (&[Some("5.0.8"), None, Some("odd")], Some(ProtocolVersion::V5)),
            (&[None], None),
        ] {
            let nodes: Vec<Node> = releases.iter().map(|release| node_of_release(*release)).collect();
            assert_eq!(newest_common_version(&nodes), expected, "{releases:?}");
        }
    }
}
