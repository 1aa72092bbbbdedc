//! Which coordinators to try for a request, in which order.
//!
//! # Invariants
//!
//! - A plan names each node at most once and names every node that is not ignored.
//! - Nodes thought to be down come last, they are not left out: the driver's opinion may be old.

mod host_filter;
mod latency_aware;
mod round_robin;
#[cfg(test)]
mod testing;
mod token_aware;

use std::fmt;
use std::time::Duration;

pub use host_filter::HostFilter;
pub use latency_aware::LatencyAware;
pub use round_robin::RoundRobin;
pub use token_aware::TokenAware;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeHealth {
    /// Whether the node has a usable connection.
    pub is_up: bool,
    /// Recent requests got no answer at all, and a probe of the connection has not settled it.
    pub is_suspect: bool,
    /// It owes ten answers or more and has given fewer than two within the last 200 ms.
    pub is_slow: bool,
    /// It has been up for less than a minute: its caches are cold.
    pub is_just_up: bool,
    /// Requests the node owes an answer, given-up ones included.
    pub in_flight: usize,
    /// How fast it answered, if it did.
    pub latency: Option<RecentLatency>,
}

/// How fast a node answered of late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentLatency {
    /// Moving average over the latest answers, an eighth of each new one.
    pub average: Duration,
    /// Answers it was computed from.
    pub samples: u64,
    /// Time since the latest one.
    pub age: Duration,
}

/// What a policy may know when it orders the nodes for one request.
pub struct RoutingFacts<'a> {
    /// Nodes and ring.
    pub snapshot: &'a ClusterSnapshot,
    /// Replicas of the request's partition, primary first; empty when the partition is unknown.
    pub replicas: &'a [NodeIndex],
    /// Whether the consistency level is a `LOCAL_` one, which remote coordinators would read differently.
    pub is_local_consistency: bool,
    /// Whether the request is a lightweight transaction: contention is least if all clients ask one replica first.
    pub is_conditional: bool,
    /// Current health by node.
    pub health: &'a dyn Fn(NodeIndex) -> NodeHealth,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
}

/// Orders the nodes for a request.
pub trait LoadBalancing: Send + Sync {
    /// How near `node` is. `contact_datacenter` is the data centre of the node that was contacted first.
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance;

    /// The distance of each node, for policies that count nodes. Default: [`Self::distance`] of each.
    fn distances(&self, nodes: &[Node], contact_datacenter: &str) -> Vec<Distance> {
        nodes.iter().map(|node| self.distance(node, contact_datacenter)).collect()
    }

    /// Appends the whole plan to `plan`, which is empty. `distances` holds the distance of each node of the snapshot.
    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>);

    /// Picks the first coordinator without making a whole plan, or `None` to have the plan made.
    ///
    /// Called once per request: it must be cheap and must not allocate.
    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        let _ = (facts, distances);
        None
    }

    /// Whether [`NodeHealth::latency`] is looked at, which costs a look at the clock for each node. Default: no.
    fn wants_latency(&self) -> bool {
        false
    }

    /// What the policy itself knows about the rank of a node, for explanations. Default: nothing.
    fn reasons(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> Vec<RankReason> {
        let _ = (facts, index);
        Vec::new()
    }
}

/// Something that moved a node forward or back in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RankReason {
    /// The caller chose this node.
    Pinned,
    /// It replicates the partition, at this position from the primary replica, which is zero.
    Replica(usize),
    /// It is on the preferred rack.
    LocalRack,
    /// It is in another data centre.
    RemoteDatacenter,
    /// It has no usable connection.
    Down,
    /// Recent requests got no answer at all.
    Suspect,
    /// It owes many answers and gave few of late.
    Slow,
    /// It came up a moment ago.
    JustUp,
    /// It owes this many answers.
    InFlight(usize),
    /// It answers much slower than the fastest node.
    HighLatency(Duration),
}

impl fmt::Display for RankReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("chosen by the caller"),
            Self::Replica(0) => f.write_str("primary replica"),
            Self::Replica(position) => write!(f, "replica {}", position + 1),
            Self::LocalRack => f.write_str("on the local rack"),
            Self::RemoteDatacenter => f.write_str("in a remote data centre"),
            Self::Down => f.write_str("down"),
            Self::Suspect => f.write_str("suspect: requests got no answer"),
            Self::Slow => f.write_str("slow: owes many answers"),
            Self::JustUp => f.write_str("just up"),
            Self::InFlight(count) => write!(f, "{count} in flight"),
            Self::HighLatency(average) => write!(f, "answers in {average:?} on average"),
        }
    }
}

fn distance_of(distances: &[Distance], index: NodeIndex) -> Distance {
    distances.get(usize::from(index)).copied().unwrap_or(Distance::Ignored)
}

/// Appends the usable nodes not in the plan yet, starting at a random one.
fn append_rotated(facts: &RoutingFacts<'_>, plan: &mut Vec<NodeIndex>, is_usable: impl Fn(NodeIndex) -> bool) {
    let count = facts.snapshot.nodes().len();
    if count == 0 {
        return;
    }
    let start = below(facts.entropy, "plan rotation", count);
    let replicas = plan.len();
    for offset in 0..count {
        let Ok(index) = NodeIndex::try_from((start + offset) % count) else { continue };
        if is_usable(index) && !plan[..replicas].contains(&index) {
            plan.push(index);
        }
    }
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
