//! All nodes in turn.

use super::{Distance, LoadBalancing, RoutingFacts, append_rotated, distance_of};
use crate::topology::{Node, NodeIndex};

/// All nodes rotated from a random one, local data centre before remote ones, regardless of replicas.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin;

impl LoadBalancing for RoundRobin {
    fn distance(&self, node: &Node, contact_datacenter: &str) -> Distance {
        if *node.datacenter == *contact_datacenter { Distance::Local } else { Distance::Remote }
    }

    fn plan(&self, facts: &RoutingFacts<'_>, distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        append_rotated(facts, plan, |index| match distance_of(distances, index) {
            Distance::Local => true,
            Distance::Remote => !facts.is_local_consistency,
            Distance::Ignored => false,
        });
        plan.sort_by_cached_key(|&index| {
            let health = (facts.health)(index);
            (!health.is_up, distance_of(distances, index), health.is_suspect)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Situation, cluster};
    use super::*;

    #[test]
    fn every_node_is_first_sometimes_and_remote_ones_come_last() {
        let snapshot = cluster();
        let situation = Situation::new(&snapshot).replicas(&[1]);

        let mut firsts: Vec<_> = (0..100).map(|_| situation.plan(&RoundRobin)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();

        assert_eq!(firsts, [0, 1, 2, 3]);
        assert!(situation.plan(&RoundRobin)[4..].iter().all(|index| *index >= 4));
    }
}
