//! Everything known about the cluster at one moment.
//!
//! # Invariants
//!
//! - Nodes are sorted by host id and host ids are distinct; a [`NodeIndex`] is a position in that order.
//! - The token map was computed from exactly these nodes and this schema.

use std::net::SocketAddr;

use uuid::Uuid;

use super::{KeyspaceMetadata, Node, NodeIndex, Schema, Token, TokenMap};

/// An immutable picture of the cluster: nodes, ring and schema.
#[derive(Debug)]
pub struct ClusterSnapshot {
    cluster_name: String,
    nodes: Vec<Node>,
    schema: Schema,
    token_map: TokenMap,
}

impl ClusterSnapshot {
    /// Builds a snapshot; of several nodes with one host id the first is kept.
    pub(crate) fn build(cluster_name: &str, mut nodes: Vec<Node>, schema: Schema) -> Self {
        nodes.sort_by_key(|node| node.host_id);
        nodes.dedup_by_key(|node| node.host_id);
        nodes.truncate(usize::from(NodeIndex::MAX));
        let token_map = TokenMap::build(&nodes, schema.keyspaces.values().map(|keyspace| &keyspace.replication));
        Self { cluster_name: cluster_name.to_owned(), nodes, schema, token_map }
    }

    /// Name of the cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// Members of the cluster, sorted by host id.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Finds a node by its identity.
    #[must_use]
    pub fn node(&self, host_id: Uuid) -> Option<&Node> {
        self.index_of(host_id).map(|index| &self.nodes[usize::from(index)])
    }

    /// Finds a node by the address it announces or the one the driver dials.
    #[must_use]
    pub fn node_at(&self, address: SocketAddr) -> Option<&Node> {
        self.nodes.iter().find(|node| node.announced_address == address || node.address == address)
    }

    pub(crate) fn index_of(&self, host_id: Uuid) -> Option<NodeIndex> {
        let position = self.nodes.binary_search_by_key(&host_id, |node| node.host_id).ok()?;
        NodeIndex::try_from(position).ok()
    }

    /// Keyspaces, tables and types.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All keyspaces, by name.
    pub fn keyspaces(&self) -> impl Iterator<Item = &KeyspaceMetadata> {
        self.schema.keyspaces.values().map(|keyspace| &**keyspace)
    }

    /// Finds a keyspace.
    #[must_use]
    pub fn keyspace(&self, name: &str) -> Option<&KeyspaceMetadata> {
        self.schema.keyspaces.get(name).map(|keyspace| &**keyspace)
    }

    /// Host ids of the replicas of a partition, the primary one first.
    ///
    /// `partition_key` is the serialized key, see [`super::compose_routing_key`]. Empty if the keyspace is unknown or
    /// has no computed replication.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, partition_key: &[u8]) -> Vec<Uuid> {
        self.replicas_of_token(keyspace, Token::of_partition_key(partition_key))
            .iter()
            .map(|&index| self.nodes[usize::from(index)].host_id)
            .collect()
    }

    /// Positions of the replicas of a token, the primary one first.
    #[must_use]
    pub fn replicas_of_token(&self, keyspace: &str, token: Token) -> &[NodeIndex] {
        self.schema
            .keyspaces
            .get(keyspace)
            .map_or(&[], |keyspace| self.token_map.replicas(&keyspace.replication, token))
    }

    /// The ring.
    #[must_use]
    pub fn token_map(&self) -> &TokenMap {
        &self.token_map
    }

    /// Schema version the nodes agree on, or `None` while they differ or none is known.
    #[must_use]
    pub fn schema_version(&self) -> Option<Uuid> {
        let mut versions = self.nodes.iter().filter_map(|node| node.schema_version);
        let first = versions.next()?;
        versions.all(|version| version == first).then_some(first)
    }
}
