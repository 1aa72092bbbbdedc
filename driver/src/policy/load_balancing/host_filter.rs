//! Leaves nodes out altogether.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Distance, LoadBalancing, RankReason, RoutingFacts};
use crate::topology::{Node, NodeIndex};

/// Uses only the nodes that a predicate accepts: no connection is ever opened to the others, except to contact points.
#[derive(Clone)]
pub struct HostFilter {
    inner: Arc<dyn LoadBalancing>,
    accept: Arc<dyn Fn(&Node) -> bool + Send + Sync>,
}

impl HostFilter {
    /// Orders what `accept` accepts by `inner`. `accept` must give the same answer for the same node.
    #[must_use]
    pub fn new(inner: Arc<dyn LoadBalancing>, accept: impl Fn(&Node) -> bool + Send + Sync + 'static) -> Self {
        Self { inner, accept: Arc::new(accept) }
    }

    /// Uses only nodes with these addresses, as the driver dials them or as the cluster announces them.
    #[must_use]
    pub fn allow(inner: Arc<dyn LoadBalancing>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses: Vec<_> = addresses.into_iter().collect();
        Self::new(inner, move |node| has_address(node, &addresses))
    }

    /// Uses all nodes but those with these addresses.
    #[must_use]
    pub fn deny(inner: Arc<dyn LoadBalancing>, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses: Vec<_> = addresses.into_iter().collect();
        Self::new(inner, move |node| !has_address(node, &addresses))
    }
}

fn has_address(node: &Node, addresses: &[IpAddr]) -> bool {
    addresses.contains(&node.address.ip()) || addresses.contains(&node.announced_address.ip())
}

impl LoadBalancing for HostFilter {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        if (self.accept)(node) { self.inner.distance(node, contact_datacenter) } else { Distance::Ignored }
    }

    fn distances(&self, nodes: &[Node], contact_datacenter: &str) -> Vec<Distance> {
        let accepted: Vec<Node> = nodes.iter().filter(|node| (self.accept)(node)).cloned().collect();
        // Rejected nodes must not count where the inner policy counts nodes.
        let mut distances = self.inner.distances(&accepted, contact_datacenter).into_iter();
        let mut distance_of = |node| if (self.accept)(node) { distances.next() } else { None };
        nodes.iter().map(|node| distance_of(node).unwrap_or(Distance::Ignored)).collect()
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        self.inner.plan(facts, distances, plan);
    }

    fn first(&self, facts: &RoutingFacts<'_>, distances: &[Distance]) -> Option<NodeIndex> {
        self.inner.first(facts, distances)
    }

    fn wants_latency(&self) -> bool {
        self.inner.wants_latency()
    }

    fn reasons(&self, facts: &RoutingFacts<'_>, index: NodeIndex) -> Vec<RankReason> {
        self.inner.reasons(facts, index)
    }
}

impl fmt::Debug for HostFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostFilter")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Situation, cluster};
    use super::super::{RoundRobin, TokenAware};
    use super::*;

    fn sorted(mut plan: Vec<NodeIndex>) -> Vec<NodeIndex> {
        plan.sort_unstable();
        plan
    }

    /// The address of a node of the test cluster.
    fn address(index: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, index + 1])
    }

    #[test]
    fn nodes_that_are_not_allowed_are_in_no_plan() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[0, 1]);

        let allowed = HostFilter::allow(Arc::new(RoundRobin), [address(1), address(5)]);
        assert_eq!(situation.plan(&allowed), [1, 5]);

        let denied = HostFilter::deny(Arc::new(TokenAware::in_datacenter("dc1")), [address(0), address(3)]);
        assert_eq!(situation.plan(&denied), [1, 2]);
        assert_eq!(situation.first(&denied), Some(1));
    }

    #[test]
    fn rejected_nodes_do_not_count_for_limits_of_the_inner_policy() {
        let snapshot = cluster();
        let inner = TokenAware::new().remote_nodes_max(1).remote_datacenters(["dc2"]);
        let filter = HostFilter::new(Arc::new(inner), |node| node.address.ip() != address(4));

        assert_eq!(sorted(Situation::new(&snapshot).plan(&filter)), [0, 1, 2, 3, 5]);
    }
}
