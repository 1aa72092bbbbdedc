//! From a position on the ring to the nodes that own it.
//!
//! Replicas are computed once per distinct placement and ring position and kept in one flat table per placement: a
//! cluster of 300 nodes with 256 tokens each has 76,800 positions, and no two of them need have the same replicas.
//! Simple strategies share the table of the largest factor, because a smaller factor takes the first of its nodes.

use std::collections::BTreeMap;

use super::replication::RingWalk;
use super::ring::Ring;
use super::{Node, Replication, Token};

/// Position of a node in its snapshot; meaningless in any other snapshot.
pub type NodeIndex = u16;

/// The ring of one snapshot with its precomputed replicas.
#[derive(Debug, Default)]
pub struct TokenMap {
    ring: Ring,
    tables: Vec<ReplicaTable>,
    by_replication: BTreeMap<Replication, Placement>,
}

/// Where the replicas of one replication are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    table: usize,
    /// How many nodes of each row are replicas.
    len: usize,
}

/// Replicas of all ring positions, `width` nodes for each.
#[derive(Debug)]
struct ReplicaTable {
    width: usize,
    nodes: Box<[NodeIndex]>,
}

impl TokenMap {
    /// Builds the ring of `nodes` and the replicas of each distinct replication in `replications`.
    ///
    /// When two nodes claim one token the node with the lower index keeps it.
    pub fn build<'a>(nodes: &[Node], replications: impl IntoIterator<Item = &'a Replication>) -> Self {
        let mut map = Self { ring: Ring::of(nodes), ..Self::default() };
        map.place(nodes, replications);
        map
    }

    fn place<'a>(&mut self, nodes: &[Node], replications: impl IntoIterator<Item = &'a Replication>) {
        let mut simple_factors = Vec::new();
        for replication in replications {
            if let Replication::Simple { factor } = replication {
                simple_factors.push(*factor);
            } else if !self.by_replication.contains_key(replication) {
                self.add_table(nodes, replication);
            }
        }
        let Some(&largest) = simple_factors.iter().max() else { return };
        self.add_table(nodes, &Replication::Simple { factor: largest });
        let Some(&shared) = self.by_replication.get(&Replication::Simple { factor: largest }) else { return };
        for factor in simple_factors {
            let placement = Placement { table: shared.table, len: factor.min(shared.len) };
            self.by_replication.insert(Replication::Simple { factor }, placement);
        }
    }

    fn add_table(&mut self, nodes: &[Node], replication: &Replication) {
        let owners = self.ring.owners();
        let Some(mut walk) = RingWalk::new(replication, nodes, owners) else { return };
        let width = walk.width();
        let mut replicas = Vec::with_capacity(width * owners.len());
        for (start, &owner) in owners.iter().enumerate() {
            walk.append(start, &mut replicas);
            // Every walk finds all it wants: what a rack lacks, others may repeat.
            debug_assert_eq!(replicas.len(), width * (start + 1));
            replicas.resize(width * (start + 1), owner);
        }
        let placement = Placement { table: self.tables.len(), len: width };
        self.tables.push(ReplicaTable { width, nodes: replicas.into() });
        self.by_replication.insert(replication.clone(), placement);
    }

    /// Whether the map has what there is to know of these nodes and replications.
    pub(super) fn covers<'a>(
        &self,
        own_nodes: &[Node],
        nodes: &[Node],
        replications: impl IntoIterator<Item = &'a Replication>,
    ) -> bool {
        let place = |node: &Node| (node.host_id, node.datacenter.clone(), node.rack.clone(), node.tokens.clone());
        let computed = |replication: &Replication| match replication {
            Replication::Simple { .. } | Replication::NetworkTopology { .. } => {
                self.by_replication.contains_key(replication)
            }
            Replication::Local | Replication::Other { .. } => true,
        };
        own_nodes.len() == nodes.len()
            && own_nodes.iter().zip(nodes).all(|(own, node)| place(own) == place(node))
            && replications.into_iter().all(computed)
    }

    /// Replicas of the key with this token, the primary one first; empty if the ring or the replication is unknown.
    #[must_use]
    pub fn replicas(&self, replication: &Replication, token: &Token) -> &[NodeIndex] {
        self.placement(replication).map_or(&[], |placement| self.replicas_at(placement, self.ring.position_of(token)))
    }

    /// Where the replica sets of a replication are.
    pub(super) fn placement(&self, replication: &Replication) -> Option<Placement> {
        self.by_replication.get(replication).copied()
    }

    /// Replicas of the keys that a position of [`Self::sorted_ring`] owns.
    pub(super) fn replicas_at(&self, placement: Placement, position: Option<usize>) -> &[NodeIndex] {
        let (Some(table), Some(position)) = (self.tables.get(placement.table), position) else { return &[] };
        &table.nodes[position * table.width..][..placement.len]
    }

    /// Number of tokens on the ring.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.ring.owners().len()
    }

    /// Tokens and the nodes that own them, in token order. A node owns the keys past the previous token, up to and
    /// with its own.
    pub fn ring(&self) -> impl Iterator<Item = (Token, NodeIndex)> {
        self.ring.iter()
    }

    /// The ring itself, for looking up positions.
    pub(super) fn sorted_ring(&self) -> &Ring {
        &self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::node::test_node as node;

    fn simple(factor: usize) -> Replication {
        Replication::Simple { factor }
    }

    #[test]
    fn simple_strategy_takes_distinct_nodes_clockwise() {
        let nodes = [node(0, "dc1", "r1", &[0, 10]), node(1, "dc1", "r1", &[20]), node(2, "dc1", "r1", &[30])];
        let map = TokenMap::build(&nodes, [&simple(2), &simple(5)]);

        assert_eq!(map.replicas(&simple(2), &Token::Murmur3(-5)), [0, 1]);
        assert_eq!(map.replicas(&simple(2), &Token::Murmur3(25)), [2, 0]);
        assert_eq!(map.replicas(&simple(5), &Token::Murmur3(0)), [0, 1, 2], "no more replicas than nodes");
    }

    #[test]
    fn network_topology_prefers_racks_not_used_yet() {
        let nodes = [
            node(0, "dc1", "r1", &[0]),
            node(1, "dc1", "r1", &[10]),
            node(2, "dc1", "r2", &[20]),
            node(3, "dc2", "r1", &[5]),
        ];
        let replication =
            Replication::NetworkTopology { factors: [("dc1".to_owned(), 2), ("dc2".to_owned(), 1)].into() };
        let map = TokenMap::build(&nodes, [&replication]);

        assert_eq!(map.replicas(&replication, &Token::Murmur3(0)), [0, 3, 2], "node 1 shares rack r1 with node 0");
    }

    #[test]
    fn network_topology_repeats_racks_when_there_are_fewer_than_copies() {
        let nodes = [node(0, "dc1", "r1", &[0]), node(1, "dc1", "r1", &[10]), node(2, "dc1", "r1", &[20])];
        let replication = Replication::NetworkTopology { factors: [("dc1".to_owned(), 3)].into() };
        let map = TokenMap::build(&nodes, [&replication]);

        assert_eq!(map.replicas(&replication, &Token::Murmur3(5)), [1, 2, 0]);
    }

    #[test]
    fn a_rack_that_is_used_waits_until_the_others_are_and_repeats_fill_up_the_rest() {
        let nodes = [
            node(0, "dc1", "r1", &[0]),
            node(1, "dc1", "r1", &[10]),
            node(2, "dc1", "r1", &[20]),
            node(3, "dc1", "r2", &[30]),
            node(4, "dc1", "r2", &[40]),
        ];
        let factor = |factor| Replication::NetworkTopology { factors: [("dc1".to_owned(), factor)].into() };
        let map = TokenMap::build(&nodes, [&factor(2), &factor(3), &factor(9)]);

        assert_eq!(map.replicas(&factor(2), &Token::Murmur3(0)), [0, 3]);
        assert_eq!(map.replicas(&factor(3), &Token::Murmur3(0)), [0, 1, 3], "one repeat, taken where it is met first");
        assert_eq!(map.replicas(&factor(9), &Token::Murmur3(5)), [1, 2, 3, 4, 0], "every node, not more");
    }

    #[test]
    fn smaller_simple_factors_are_the_first_nodes_of_larger_ones() {
        let nodes = [node(0, "dc1", "r1", &[0, 50]), node(1, "dc1", "r1", &[10]), node(2, "dc2", "r1", &[20])];
        let map = TokenMap::build(&nodes, [&simple(1), &simple(0), &simple(7)]);

        assert_eq!(map.replicas(&simple(7), &Token::Murmur3(15)), [2, 0, 1]);
        assert_eq!(map.replicas(&simple(1), &Token::Murmur3(15)), [2]);
        assert!(map.replicas(&simple(0), &Token::Murmur3(15)).is_empty());
        assert_eq!(
            map.ring().collect::<Vec<_>>(),
            [(0, 0), (10, 1), (20, 2), (50, 0)].map(|(token, node)| (Token::Murmur3(token), node))
        );
    }

    #[test]
    fn large_cluster_fits_into_little_memory() {
        let mut token = 0_i64;
        let nodes: Vec<_> = (0..300_u16)
            .map(|number| {
                let tokens: Vec<i64> = (0..256)
                    .map(|_| {
                        token = token.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        token
                    })
                    .collect();
                let mut node = node(0, "dc1", &format!("r{}", number % 3), &tokens);
                node.host_id = uuid::Uuid::from_u128(u128::from(number));
                node
            })
            .collect();
        let in_datacenter = Replication::NetworkTopology { factors: [("dc1".to_owned(), 3)].into() };

        let map = TokenMap::build(&nodes, [&simple(1), &simple(2), &simple(3), &in_datacenter]);

        assert_eq!(map.ring_len(), 76_800);
        let replicas: usize = map.tables.iter().map(|table| size_of_val(&*table.nodes)).sum();
        let ring = map.ring.byte_len();
        assert!(replicas + ring < 2_300_000, "{replicas} for replicas and {ring} for the ring");
    }

    #[test]
    fn empty_ring_and_unknown_replication_have_no_replicas() {
        let map = TokenMap::build(&[], [&simple(3)]);

        assert!(map.replicas(&simple(3), &Token::Murmur3(0)).is_empty());
        assert!(map.replicas(&Replication::Local, &Token::Murmur3(0)).is_empty());
    }
}
