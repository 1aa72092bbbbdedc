//! Everything known about the cluster at one moment.
//!
//! # Invariants
//!
//! - Nodes are sorted by host id and host ids are distinct; a [`NodeIndex`] is a position in that order.
//! - The token map was computed from nodes with exactly these tokens, and covers every replication of this schema.
//!   It is empty if the partitioner is one whose tokens this driver does not know.

use std::net::SocketAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::token_map::Placement;
use super::{KeyspaceMetadata, Node, NodeIndex, Partitioner, Schema, Token, TokenMap};

/// An immutable picture of the cluster: nodes, ring and schema.
#[derive(Debug)]
pub struct ClusterSnapshot {
    cluster_name: String,
    nodes: Vec<Node>,
    schema: Schema,
    token_map: Arc<TokenMap>,
    partitioner: Partitioner,
    /// Sorted by keyspace, so that a request compares a few names and no replications.
    placements: Vec<(Arc<str>, Placement)>,
}

impl ClusterSnapshot {
    /// Builds a snapshot; of several nodes with one host id the first is kept. What did not change since `previous` is
    /// shared with it.
    pub(crate) fn build(
        cluster_name: &str,
        partitioner: Partitioner,
        mut nodes: Vec<Node>,
        schema: Schema,
        previous: Option<&Self>,
    ) -> Self {
        nodes.sort_by_key(|node| node.host_id);
        nodes.dedup_by_key(|node| node.host_id);
        nodes.truncate(usize::from(NodeIndex::MAX));
        for node in &mut nodes {
            if let Some(known) = previous.and_then(|previous| previous.node(node.host_id))
                && known.tokens == node.tokens
            {
                node.tokens = known.tokens.clone();
            }
        }
        let replications = || schema.keyspaces.values().map(|keyspace| &keyspace.replication);
        let token_map = match previous {
            Some(previous) if previous.token_map.covers(&previous.nodes, &nodes, replications()) => {
                Arc::clone(&previous.token_map)
            }
            _ => Arc::new(TokenMap::build(&nodes, replications())),
        };
        let placements = schema
            .keyspaces
            .iter()
            .filter_map(|(name, keyspace)| Some((Arc::from(&**name), token_map.placement(&keyspace.replication)?)))
            .collect();
        Self { cluster_name: cluster_name.to_owned(), nodes, schema, token_map, placements, partitioner }
    }

    /// How the cluster turns partition keys into tokens.
    #[must_use]
    pub fn partitioner(&self) -> Partitioner {
        self.partitioner
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
        self.replicas_of_key(keyspace, partition_key)
            .iter()
            .map(|&index| self.nodes[usize::from(index)].host_id)
            .collect()
    }

    /// Positions of the replicas of a token, the primary one first.
    #[must_use]
    pub fn replicas_of_token(&self, keyspace: &str, token: &Token) -> &[NodeIndex] {
        self.replicas_at(keyspace, self.token_map.sorted_ring().position_of(token))
    }

    /// Positions of the replicas of a serialized partition key (see [`super::compose_routing_key`]), the primary one first.
    #[must_use]
    pub fn replicas_of_key(&self, keyspace: &str, partition_key: &[u8]) -> &[NodeIndex] {
        self.replicas_at(keyspace, self.token_map.sorted_ring().position_of_key(partition_key))
    }

    fn replicas_at(&self, keyspace: &str, position: Option<usize>) -> &[NodeIndex] {
        let found = self.placements.binary_search_by(|(name, _)| (**name).cmp(keyspace));
        found.map_or(&[], |found| self.token_map.replicas_at(self.placements[found].1, position))
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
