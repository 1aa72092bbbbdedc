//! The nodes to try for one request, and the explanation of that choice without sending anything.

use std::net::SocketAddr;

use uuid::Uuid;

use crate::control::ClusterView;
use crate::env::Entropy;
use crate::policy::{Distance, LoadBalancing, NodeHealth, RoutingFacts};
use crate::protocol::Consistency;
use crate::topology::{NodeIndex, Token};

/// Where a request would be sent, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Token of the partition, if the values determine one.
    pub token: Option<Token>,
    /// Host ids of the partition's replicas, the primary one first.
    pub replicas: Vec<Uuid>,
    /// The coordinators in the order they would be tried.
    pub plan: Vec<PlannedNode>,
}

/// One coordinator of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Identity of the node.
    pub host_id: Uuid,
    /// Address the driver dials.
    pub address: SocketAddr,
    /// How near the load-balancing policy finds it.
    pub distance: Distance,
    /// Whether it replicates the partition.
    pub is_replica: bool,
    /// Whether it has a usable connection.
    pub is_up: bool,
}

/// Runs `decide` with the facts of a request.
pub(super) fn with_facts<T>(
    view: &ClusterView,
    replicas: &[NodeIndex],
    consistency: Consistency,
    entropy: &dyn Entropy,
    decide: impl FnOnce(&RoutingFacts<'_>) -> T,
) -> T {
    let health = |index: NodeIndex| -> NodeHealth { view.health(index) };
    let is_local_consistency =
        matches!(consistency, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial);
    decide(&RoutingFacts { snapshot: &view.snapshot, replicas, is_local_consistency, health: &health, entropy })
}

/// The whole plan, without repetitions whatever the policy returned.
pub(super) fn plan(
    policy: &dyn LoadBalancing,
    view: &ClusterView,
    replicas: &[NodeIndex],
    consistency: Consistency,
    entropy: &dyn Entropy,
) -> Vec<NodeIndex> {
    let mut plan = Vec::with_capacity(view.pools.len());
    with_facts(view, replicas, consistency, entropy, |facts| policy.plan(facts, &view.distances, &mut plan));
    let mut seen = vec![false; view.pools.len()];
    plan.retain(|&index| {
        seen.get_mut(usize::from(index)).is_some_and(|seen| !std::mem::replace(seen, true))
            && view.pool(index).is_some()
    });
    plan
}
