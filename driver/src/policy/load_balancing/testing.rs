//! Situations for the tests of policies.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Distance, LoadBalancing, NodeHealth, RoutingFacts};
use crate::env::Entropy;
use crate::topology::{ClusterSnapshot, NodeIndex, Partitioner, Schema, test_node};

/// SplitMix64: draws that follow each other tell nothing about each other.
#[derive(Default)]
pub(super) struct Mixed(AtomicU64);

impl Entropy for Mixed {
    fn draw(&self, _purpose: &'static str) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Nodes 0 to 3 in `dc1`, racks `r0` and `r1` by turns; 4 to 6 in `dc2`, 7 in `dc3`.
pub(super) fn cluster() -> ClusterSnapshot {
    let datacenter = |number| match number {
        0..4 => "dc1",
        4..7 => "dc2",
        _ => "dc3",
    };
    let nodes = (0..8)
        .map(|number| {
            let rack = if number % 2 == 0 { "r0" } else { "r1" };
            test_node(number, datacenter(number), rack, &[i64::from(number) * 10])
        })
        .collect();
    ClusterSnapshot::build("test", Partitioner::Murmur3, nodes, Schema::default(), None)
}

pub(super) struct Situation<'a> {
    snapshot: &'a ClusterSnapshot,
    replicas: Vec<NodeIndex>,
    is_local_consistency: bool,
    is_conditional: bool,
    health: BTreeMap<NodeIndex, NodeHealth>,
    entropy: Mixed,
}

pub(super) const UP: NodeHealth =
    NodeHealth { is_up: true, is_suspect: false, is_slow: false, is_just_up: false, in_flight: 0, latency: None };

impl<'a> Situation<'a> {
    /// All nodes up and idle, no replica known.
    pub(super) fn new(snapshot: &'a ClusterSnapshot) -> Self {
        Self {
            snapshot,
            replicas: Vec::new(),
            is_local_consistency: false,
            is_conditional: false,
            health: BTreeMap::new(),
            entropy: Mixed::default(),
        }
    }

    pub(super) fn replicas(mut self, replicas: &[NodeIndex]) -> Self {
        self.replicas = replicas.to_vec();
        self
    }

    pub(super) fn local_consistency(mut self) -> Self {
        self.is_local_consistency = true;
        self
    }

    pub(super) fn conditional(mut self) -> Self {
        self.is_conditional = true;
        self
    }

    pub(super) fn health(mut self, index: NodeIndex, health: NodeHealth) -> Self {
        self.health.insert(index, health);
        self
    }

    fn with<T>(&self, policy: &dyn LoadBalancing, decide: impl FnOnce(&RoutingFacts<'_>, &[Distance]) -> T) -> T {
        let distances = policy.distances(self.snapshot.nodes(), "dc1");
        let health = |index| self.health.get(&index).copied().unwrap_or(UP);
        let facts = RoutingFacts {
            snapshot: self.snapshot,
            replicas: &self.replicas,
            is_local_consistency: self.is_local_consistency,
            is_conditional: self.is_conditional,
            health: &health,
            entropy: &self.entropy,
        };
        decide(&facts, &distances)
    }

    pub(super) fn plan(&self, policy: &dyn LoadBalancing) -> Vec<NodeIndex> {
        let mut plan = Vec::new();
        self.with(policy, |facts, distances| policy.plan(facts, distances, &mut plan));
        plan
    }

    pub(super) fn first(&self, policy: &dyn LoadBalancing) -> Option<NodeIndex> {
        self.with(policy, |facts, distances| policy.first(facts, distances))
    }

    /// How often each node is first, of a thousand plans and a thousand picks.
    pub(super) fn firsts(&self, policy: &dyn LoadBalancing) -> [BTreeMap<NodeIndex, usize>; 2] {
        let mut counts = [BTreeMap::new(), BTreeMap::new()];
        for _ in 0..1000 {
            *counts[0].entry(self.plan(policy)[0]).or_default() += 1;
            if let Some(first) = self.first(policy) {
                *counts[1].entry(first).or_default() += 1;
            }
        }
        counts
    }
}
