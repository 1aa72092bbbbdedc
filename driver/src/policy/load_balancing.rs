//! Which coordinators to try for a request, in which order.
//!
//! # Invariants
//!
//! - A plan names each node at most once and names every node that is not ignored.
//! - Nodes thought to be down come last, they are not left out: the driver's opinion may be old.

use crate::env::Entropy;
use crate::topology::{ClusterSnapshot, Node, NodeIndex};

/// How near a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// Preferred.
    Local,
    /// Used after all local nodes.
    Remote,
    /// Never connected to.
    Ignored,
}

/// What the pool of a node says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeHealth {
    /// Whether the node has a usable connection.
    pub is_up: bool,
    /// Requests waiting for an answer of the node.
    pub in_flight: usize,
}

/// What a policy may know when it orders the nodes for one request.
pub struct RoutingFacts<'a> {
    /// Nodes and ring.
    pub snapshot: &'a ClusterSnapshot,
    /// Replicas of the request's partition, primary first; empty when the partition is unknown.
    pub replicas: &'a [NodeIndex],
    /// Whether the consistency level is a `LOCAL_` one, which remote coordinators would read differently.
    pub is_local_consistency: bool,
    /// Current health by node.
    pub health: &'a dyn Fn(NodeIndex) -> NodeHealth,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
}

/// Orders the nodes for a request.
pub trait LoadBalancing: Send + Sync {
    /// How near `node` is. `contact_datacenter` is the data centre of the node that was contacted first.
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance;

    /// Appends the whole plan to `plan`, which is empty. `distances` holds the distance of each node of the snapshot.
    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>);

    /// Picks the first coordinator without making a whole plan, or `None` to have the plan made.
    ///
    /// Called once per request: it must be cheap and must not allocate.
    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        let _ = (facts, distances);
        None
    }
}

/// Replicas first, in random order, then the other nodes rotated; local data centre before remote ones. The default.
#[derive(Debug, Clone, Default)]
pub struct TokenAware {
    local_datacenter: Option<String>,
    is_remote_allowed: bool,
}

impl TokenAware {
    /// Prefers the data centre of the contact point and uses others when it has no node left.
    #[must_use]
    pub fn new() -> Self {
        Self { local_datacenter: None, is_remote_allowed: true }
    }

    /// Uses only this data centre, unless [`Self::allow_remote`].
    #[must_use]
    pub fn in_datacenter(name: impl Into<String>) -> Self {
        Self { local_datacenter: Some(name.into()), is_remote_allowed: false }
    }

    /// Adds nodes of other data centres at the end of plans, except for `LOCAL_` consistency levels. Default: not
    /// when a local data centre was named.
    #[must_use]
    pub fn allow_remote(mut self, is_allowed: bool) -> Self {
        self.is_remote_allowed = is_allowed;
        self
    }
}

impl LoadBalancing for TokenAware {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        let local = self.local_datacenter.as_deref().unwrap_or(contact_datacenter);
        if *node.datacenter == *local {
            Distance::Local
        } else if self.is_remote_allowed {
            Distance::Remote
        } else {
            Distance::Ignored
        }
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        let usable = |index: NodeIndex| is_usable(facts, distances, index);
        plan.extend(facts.replicas.iter().copied().filter(|&index| usable(index)));
        shuffle(plan, facts.entropy);
        append_rotated(facts, distances, plan);
        sort_by_preference(facts, distances, plan);
    }

    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        let best = |index: &NodeIndex| {
            distances.get(usize::from(*index)) == Some(&Distance::Local) && (facts.health)(*index).is_up
        };
        let count = facts.replicas.iter().filter(|index| best(index)).count();
        if count == 0 {
            return None;
        }
        let pick = below(facts.entropy, "replica choice", count);
        facts.replicas.iter().copied().filter(best).nth(pick)
    }
}

/// All nodes rotated, local data centre before remote ones, regardless of replicas.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin;

impl LoadBalancing for RoundRobin {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        if *node.datacenter == *contact_datacenter { Distance::Local } else { Distance::Remote }
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        append_rotated(facts, distances, plan);
        sort_by_preference(facts, distances, plan);
    }
}

fn is_usable(facts: &RoutingFacts<'_>, distances: &[Distance], index: NodeIndex) -> bool {
    match distances.get(usize::from(index)) {
        Some(Distance::Local) => true,
        Some(Distance::Remote) => !facts.is_local_consistency,
        Some(Distance::Ignored) | None => false,
    }
}

/// Appends the nodes not in the plan yet, starting at a random one.
fn append_rotated(facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
    let count = facts.snapshot.nodes().len();
    if count == 0 {
        return;
    }
    let start = below(facts.entropy, "plan rotation", count);
    let replicas = plan.len();
    for offset in 0..count {
        let Ok(index) = NodeIndex::try_from((start + offset) % count) else { continue };
        if is_usable(facts, distances, index) && !plan[..replicas].contains(&index) {
            plan.push(index);
        }
    }
}

/// Moves local before remote and, within both, up before down; the sort is stable, so replicas stay first in each.
fn sort_by_preference(facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut [NodeIndex]) {
    plan.sort_by_cached_key(|&index| {
        let is_down = !(facts.health)(index).is_up;
        (is_down, distances.get(usize::from(index)).copied().unwrap_or(Distance::Ignored))
    });
}

fn shuffle(nodes: &mut [NodeIndex], entropy: &dyn Entropy) {
    for last in (1..nodes.len()).rev() {
        nodes.swap(last, below(entropy, "replica order", last + 1));
    }
}

/// A number below `bound`, which is not zero. The bias of the remainder is below 2^-50 for any cluster.
fn below(entropy: &dyn Entropy, purpose: &'static str, bound: usize) -> usize {
    usize::try_from(entropy.draw(purpose) % bound as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::topology::{Schema, test_node};

    /// Counts up, so that tests see several rotations.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Entropy for Counting {
        fn draw(&self, _purpose: &'static str) -> u64 {
            self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 7
        }
    }

    fn cluster() -> ClusterSnapshot {
        let nodes = (0..6)
            .map(|number| test_node(number, if number < 4 { "dc1" } else { "dc2" }, "r1", &[i64::from(number) * 10]))
            .collect();
        ClusterSnapshot::build("test", nodes, Schema::default())
    }

    fn plan_of(
        policy: &dyn LoadBalancing,
        snapshot: &ClusterSnapshot,
        replicas: &[NodeIndex],
        is_local_consistency: bool,
        down: &[NodeIndex],
        entropy: &dyn Entropy,
    ) -> Vec<NodeIndex> {
        let distances: Vec<_> = snapshot.nodes().iter().map(|node| policy.distance(node, "dc1")).collect();
        let health = |index| NodeHealth { is_up: !down.contains(&index), in_flight: 0 };
        let facts = RoutingFacts { snapshot, replicas, is_local_consistency, health: &health, entropy };
        let mut plan = Vec::new();
        policy.plan(&facts, &distances, &mut plan);
        plan
    }

    #[test]
    fn plan_starts_with_the_replicas_and_names_every_node_once() {
        let (snapshot, entropy) = (cluster(), Counting::default());

        for _ in 0..50 {
            let mut plan = plan_of(&TokenAware::new(), &snapshot, &[2, 0], false, &[], &entropy);
            assert!(plan[..2] == [2, 0] || plan[..2] == [0, 2], "replicas first: {plan:?}");
            assert!(plan[4..].iter().all(|index| *index >= 4), "remote data centre last: {plan:?}");
            plan.sort_unstable();
            assert_eq!(plan, [0, 1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn down_nodes_come_last_but_stay_in_the_plan() {
        let (snapshot, entropy) = (cluster(), Counting::default());

        let plan = plan_of(&TokenAware::in_datacenter("dc1"), &snapshot, &[1, 2], false, &[1], &entropy);

        assert_eq!(plan[0], 2);
        assert_eq!(plan[3], 1);
        assert_eq!(plan.len(), 4);
    }

    #[test]
    fn local_consistency_never_leaves_the_data_centre() {
        let (snapshot, entropy) = (cluster(), Counting::default());

        let plan = plan_of(&TokenAware::new(), &snapshot, &[4, 1], true, &[], &entropy);

        assert_eq!(plan[0], 1);
        assert!(plan.iter().all(|index| *index < 4), "{plan:?}");
    }

    #[test]
    fn named_data_centre_ignores_the_others() {
        let (snapshot, entropy) = (cluster(), Counting::default());

        let plan = plan_of(&TokenAware::in_datacenter("dc2"), &snapshot, &[0, 5], false, &[], &entropy);

        assert_eq!(plan, [5, 4]);
    }

    #[test]
    fn each_replica_is_first_sometimes() {
        let (snapshot, entropy) = (cluster(), Counting::default());

        let mut firsts: Vec<_> =
            (0..50).map(|_| plan_of(&TokenAware::new(), &snapshot, &[0, 1, 2], false, &[], &entropy)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();

        assert_eq!(firsts, [0, 1, 2]);
    }
}
