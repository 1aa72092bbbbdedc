//! Ring lookup: from a token to the nodes that own it.
//!
//! Replica sets are computed once per distinct replication and ring position, and interned: a cluster of 300 nodes
//! with 256 tokens each has 76,800 positions but few distinct sets.
//!
//! # Invariants
//!
//! - `tokens` is strictly ascending and `owners` is parallel to it.
//! - A key belongs to the first position whose token is not below the key's; past the last one, to the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Node, Replication, Token};

/// Position of a node in its snapshot; meaningless in any other snapshot.
pub type NodeIndex = u16;

/// Position of a replication strategy in the map of its snapshot.
pub(crate) type ReplicationIndex = u16;

/// The ring of one snapshot with its precomputed replica sets.
#[derive(Debug, Default)]
pub struct TokenMap {
    tokens: Vec<Token>,
    owners: Vec<NodeIndex>,
    /// First ring position at or after the start of each bucket; the ring is cut into equal buckets.
    buckets: Vec<u32>,
    bucket_shift: u32,
    by_replication: Vec<ReplicaTable>,
    replication_indexes: BTreeMap<Replication, ReplicationIndex>,
}

#[derive(Debug)]
struct ReplicaTable {
    /// For each ring position, an index into `sets`.
    set_of_position: Vec<u32>,
    sets: Vec<Arc<[NodeIndex]>>,
}

impl TokenMap {
    /// Builds the ring of `nodes` and the replica sets of each distinct replication in `replications`.
    ///
    /// When two nodes claim one token the node with the lower index keeps it.
    pub fn build<'a>(nodes: &[Node], replications: impl IntoIterator<Item = &'a Replication>) -> Self {
        let mut claims: BTreeMap<Token, NodeIndex> = BTreeMap::new();
        for (index, node) in (0..NodeIndex::MAX).zip(nodes) {
            for &token in &*node.tokens {
                claims.entry(token).or_insert(index);
            }
        }
        let (tokens, owners): (Vec<_>, Vec<_>) = claims.into_iter().unzip();
        let (buckets, bucket_shift) = bucket_starts(&tokens);
        let mut map = Self { tokens, owners, buckets, bucket_shift, ..Self::default() };
        for replication in replications {
            if !map.replication_indexes.contains_key(replication) {
                let Ok(index) = ReplicationIndex::try_from(map.by_replication.len()) else { break };
                let table = map.replica_table(nodes, replication);
                map.by_replication.push(table);
                map.replication_indexes.insert(replication.clone(), index);
            }
        }
        map
    }

    /// Replicas of the key with this token, the primary one first; empty if the ring or the replication is unknown.
    #[must_use]
    pub fn replicas(&self, replication: &Replication, token: Token) -> &[NodeIndex] {
        self.replication_indexes.get(replication).map_or(&[], |&index| self.replicas_by_index(index, token))
    }

    fn replicas_by_index(&self, replication: ReplicationIndex, token: Token) -> &[NodeIndex] {
        let Some(table) = self.by_replication.get(usize::from(replication)) else { return &[] };
        let Some(position) = self.position_of(token) else { return &[] };
        let set = table.set_of_position[position] as usize;
        &table.sets[set]
    }

    /// Number of tokens on the ring.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.tokens.len()
    }

    fn position_of(&self, token: Token) -> Option<usize> {
        if self.tokens.is_empty() {
            return None;
        }
        let mut position = self.buckets[bucket_of(token, self.bucket_shift)] as usize;
        while position < self.tokens.len() && self.tokens[position] < token {
            position += 1;
        }
        Some(if position == self.tokens.len() { 0 } else { position })
    }

    fn replica_table(&self, nodes: &[Node], replication: &Replication) -> ReplicaTable {
        let mut interned: BTreeMap<Arc<[NodeIndex]>, u32> = BTreeMap::new();
        let mut sets: Vec<Arc<[NodeIndex]>> = Vec::new();
        let set_of_position = (0..self.owners.len())
            .map(|start| {
                let replicas: Arc<[NodeIndex]> = replication.replicas(nodes, &self.owners, start).into();
                *interned.entry(replicas).or_insert_with_key(|replicas| {
                    sets.push(Arc::clone(replicas));
                    u32::try_from(sets.len() - 1).unwrap_or(u32::MAX)
                })
            })
            .collect();
        ReplicaTable { set_of_position, sets }
    }
}

/// Cuts the token space into about two buckets per token, so that a lookup inspects one or two tokens.
fn bucket_starts(tokens: &[Token]) -> (Vec<u32>, u32) {
    let bits = (tokens.len().max(1) * 2).next_power_of_two().trailing_zeros().min(24);
    let shift = 64 - bits;
    let mut position = 0;
    let buckets = (0..1_u64 << bits)
        .map(|bucket| {
            let start = unbiased(bucket << shift);
            while position < tokens.len() && tokens[position].value() < start {
                position += 1;
            }
            u32::try_from(position).unwrap_or(u32::MAX)
        })
        .collect();
    (buckets, shift)
}

/// Maps the signed order of tokens to the unsigned order of bucket numbers.
fn bucket_of(token: Token, shift: u32) -> usize {
    usize::try_from((token.value().cast_unsigned() ^ (1 << 63)) >> shift).unwrap_or(0)
}

fn unbiased(biased: u64) -> i64 {
    (biased ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::node::test_node as node;

    fn simple(factor: usize) -> Replication {
        Replication::Simple { factor }
    }

    #[test]
    fn key_belongs_to_the_first_token_not_below_it_and_wraps_past_the_last() {
        let nodes = [node(0, "dc1", "r1", &[-100]), node(1, "dc1", "r1", &[0]), node(2, "dc1", "r1", &[100])];
        let map = TokenMap::build(&nodes, [&simple(1)]);
        let cases = [(-101, 0), (-100, 0), (-99, 1), (0, 1), (1, 2), (100, 2), (101, 0), (i64::MAX, 0), (i64::MIN, 0)];

        for (token, owner) in cases {
            assert_eq!(map.replicas(&simple(1), Token::new(token)), [owner], "token {token}");
        }
    }

    #[test]
    fn bucketed_lookup_agrees_with_a_binary_search() {
        let tokens: Vec<i64> = (0..500_i64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())).collect();
        let nodes = [node(0, "dc1", "r1", &tokens)];
        let map = TokenMap::build(&nodes, [&simple(1)]);

        for probe in tokens.iter().flat_map(|token| [token.wrapping_sub(1), *token, token.wrapping_add(1)]) {
            let searched = map.tokens.partition_point(|token| token.value() < probe) % map.tokens.len();
            assert_eq!(map.position_of(Token::new(probe)), Some(searched), "token {probe}");
        }
    }

    #[test]
    fn simple_strategy_takes_distinct_nodes_clockwise() {
        let nodes = [node(0, "dc1", "r1", &[0, 10]), node(1, "dc1", "r1", &[20]), node(2, "dc1", "r1", &[30])];
        let map = TokenMap::build(&nodes, [&simple(2), &simple(5)]);

        assert_eq!(map.replicas(&simple(2), Token::new(-5)), [0, 1]);
        assert_eq!(map.replicas(&simple(2), Token::new(25)), [2, 0]);
        assert_eq!(map.replicas(&simple(5), Token::new(0)), [0, 1, 2], "no more replicas than nodes");
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

        assert_eq!(map.replicas(&replication, Token::new(0)), [0, 3, 2], "node 1 shares rack r1 with node 0");
    }

    #[test]
    fn network_topology_repeats_racks_when_there_are_fewer_than_copies() {
        let nodes = [node(0, "dc1", "r1", &[0]), node(1, "dc1", "r1", &[10]), node(2, "dc1", "r1", &[20])];
        let replication = Replication::NetworkTopology { factors: [("dc1".to_owned(), 3)].into() };
        let map = TokenMap::build(&nodes, [&replication]);

        assert_eq!(map.replicas(&replication, Token::new(5)), [1, 2, 0]);
    }

    #[test]
    fn empty_ring_and_unknown_replication_have_no_replicas() {
        let map = TokenMap::build(&[], [&simple(3)]);

        assert!(map.replicas(&simple(3), Token::new(0)).is_empty());
        assert!(map.replicas(&Replication::Local, Token::new(0)).is_empty());
    }
}
