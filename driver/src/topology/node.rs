//! One member of the cluster, as its own row in `system.local` or `system.peers*` describes it.
//!
//! A node is its `host_id`. Its address may change while it stays the same node; two rows with the same host id
//! never coexist in a snapshot.

use std::net::SocketAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::Tokens;

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Identity of the node, stable across address changes.
    pub host_id: Uuid,
    /// Address the driver dials, after address translation.
    pub address: SocketAddr,
    /// Address the cluster announces in its tables and events, before translation.
    pub announced_address: SocketAddr,
    /// Data centre name.
    pub datacenter: Arc<str>,
    /// Rack name.
    pub rack: Arc<str>,
    /// Tokens the node owns; none if the partitioner is one whose tokens this driver does not know.
    pub tokens: Tokens,
    /// Cassandra version, such as `5.0.2`, if announced.
    pub release_version: Option<Arc<str>>,
    /// Schema version the node was last seen with.
    pub schema_version: Option<Uuid>,
}

/// A node for tests: host id and port follow from `number`.
#[cfg(test)]
pub(crate) fn test_node(number: u8, datacenter: &str, rack: &str, tokens: &[i64]) -> Node {
    let address = SocketAddr::from(([127, 0, 0, number + 1], 9042));
    Node {
        host_id: Uuid::from_u128(u128::from(number) + 1),
        address,
        announced_address: address,
        datacenter: datacenter.into(),
        rack: rack.into(),
        tokens: Tokens::murmur3(tokens.to_vec()),
        release_version: None,
        schema_version: None,
    }
}
