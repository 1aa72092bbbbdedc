//! Ring lookup: from a token to the nodes that own it.
//!
//! Replicas are computed once per distinct placement and ring position and kept in one flat table per placement: a
//! cluster of 300 nodes with 256 tokens each has 76,800 positions, and no two of them need have the same replicas.
//! Simple strategies share the table of the largest factor, because a smaller factor takes the first of its nodes.
//!
//! # Invariants
//!
//! - `tokens` is strictly ascending and `owners` is parallel to it.
//! - A key belongs to the first position whose token is not below the key's; past the last one, to the first.

use std::collections::BTreeMap;

use super::replication::RingWalk;
use super::{Node, Replication, Token};

/// Position of a node in its snapshot; meaningless in any other snapshot.
pub type NodeIndex = u16;

/// The ring of one snapshot with its precomputed replicas.
#[derive(Debug, Default)]
pub struct TokenMap {
    tokens: Box<[Token]>,
    owners: Box<[NodeIndex]>,
    /// First ring position at or after the start of each bucket; the ring is cut into equal buckets.
    buckets: Box<[u32]>,
    bucket_shift: u32,
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
        let mut map = Self::ring_of(nodes);
        map.place(nodes, replications);
        map
    }

    /// Sorts the tokens of `nodes` by counting how many fall into each bucket: they are evenly spread as a rule, and
    /// where they are not a bucket is sorted like any list.
    fn ring_of(nodes: &[Node]) -> Self {
        let claims = || {
            let nodes = (0..NodeIndex::MAX).zip(nodes);
            nodes.flat_map(|(index, node)| node.tokens.iter().map(move |&token| (token, index)))
        };
        let count = claims().count();
        let shift = bucket_shift(count);
        let mut ends = vec![0_u32; (1 << (64 - shift)) + 1];
        claims().for_each(|(token, _)| ends[bucket_of(token, shift) + 1] += 1);
        // Where each bucket starts; filling them moves that to where each ends, which is where the next one starts.
        (1..ends.len()).for_each(|bucket| ends[bucket] += ends[bucket - 1]);
        let mut tokens = vec![Token::new(0); count];
        let mut owners = vec![0; count];
        for (token, owner) in claims() {
            let position = &mut ends[bucket_of(token, shift)];
            tokens[*position as usize] = token;
            owners[*position as usize] = owner;
            *position += 1;
        }
        let mut start = 0;
        for &end in &ends[..ends.len() - 1] {
            sort_bucket(&mut tokens[start..end as usize], &mut owners[start..end as usize]);
            start = end as usize;
        }
        let is_claimed_twice = |pair: &[Token]| pair[0] == pair[1];
        if tokens.windows(2).any(is_claimed_twice) {
            // The first of them is of the node with the lower index.
            let is_first: Vec<bool> = (0..count).map(|at| at == 0 || tokens[at - 1] != tokens[at]).collect();
            let mut kept = is_first.iter();
            tokens.retain(|_| kept.next() == Some(&true));
            let mut kept = is_first.iter();
            owners.retain(|_| kept.next() == Some(&true));
        }
        let buckets = bucket_starts(&tokens, shift);
        Self { tokens: tokens.into(), owners: owners.into(), buckets, bucket_shift: shift, ..Self::default() }
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
        let Some(mut walk) = RingWalk::new(replication, nodes, &self.owners) else { return };
        let width = walk.width();
        let mut replicas = Vec::with_capacity(width * self.owners.len());
        for start in 0..self.owners.len() {
            walk.append(start, &mut replicas);
            // Every walk finds all it wants: what a rack lacks, others may repeat.
            debug_assert_eq!(replicas.len(), width * (start + 1));
            replicas.resize(width * (start + 1), self.owners[start]);
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
    pub fn replicas(&self, replication: &Replication, token: Token) -> &[NodeIndex] {
        self.placement(replication).map_or(&[], |placement| self.replicas_at(placement, token))
    }

    /// Where the replica sets of a replication are.
    pub(super) fn placement(&self, replication: &Replication) -> Option<Placement> {
        self.by_replication.get(replication).copied()
    }

    pub(super) fn replicas_at(&self, placement: Placement, token: Token) -> &[NodeIndex] {
        let (Some(table), Some(position)) = (self.tables.get(placement.table), self.position_of(token)) else {
            return &[];
        };
        &table.nodes[position * table.width..][..placement.len]
    }

    /// Number of tokens on the ring.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens and the nodes that own them, in token order. A node owns the keys past the previous token, up to and
    /// with its own.
    pub fn ring(&self) -> impl Iterator<Item = (Token, NodeIndex)> {
        self.tokens.iter().copied().zip(self.owners.iter().copied())
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
}

/// How far to shift a token to get its bucket, so that there are one or two tokens per bucket.
fn bucket_shift(tokens: usize) -> u32 {
    64 - (tokens.max(4) / 2).next_power_of_two().trailing_zeros().min(24)
}

/// Sorts the tokens of a bucket and their owners; equal tokens keep their order.
fn sort_bucket(tokens: &mut [Token], owners: &mut [NodeIndex]) {
    if tokens.is_sorted() {
        return;
    }
    let mut claims: Vec<_> = tokens.iter().copied().zip(owners.iter().copied()).collect();
    claims.sort_by_key(|&(token, _)| token);
    for ((token, owner), claim) in tokens.iter_mut().zip(owners).zip(claims) {
        (*token, *owner) = claim;
    }
}

/// The first position at or after the start of each bucket.
fn bucket_starts(tokens: &[Token], shift: u32) -> Box<[u32]> {
    let mut position = 0;
    let starts = (0..1_u64 << (64 - shift)).map(|bucket| {
        let start = unbiased(bucket << shift);
        while position < tokens.len() && tokens[position].value() < start {
            position += 1;
        }
        u32::try_from(position).unwrap_or(u32::MAX)
    });
    starts.collect()
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
    fn tokens_are_sorted_however_they_are_spread_and_twice_claimed_ones_keep_their_first_owner() {
        let spread: Vec<i64> = (0..300_i64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())).collect();
        let dense: Vec<i64> = (0..300).rev().collect();
        for tokens in [spread, dense, vec![i64::MAX, i64::MIN, 0, -1], vec![5], vec![]] {
            let (own, other): (Vec<i64>, Vec<i64>) = tokens.iter().partition(|token| *token % 3 == 0);
            let nodes = [node(0, "dc1", "r1", &own), node(1, "dc1", "r1", &tokens), node(2, "dc1", "r1", &other)];
            let map = TokenMap::build(&nodes, [&simple(1)]);
            let mut expected: Vec<(i64, u16)> =
                tokens.iter().map(|token| (*token, u16::from(!own.contains(token)))).collect();
            expected.sort_unstable();
            let ring: Vec<_> = map.ring().map(|(token, owner)| (token.value(), owner)).collect();
            assert_eq!(ring, expected);
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

        assert_eq!(map.replicas(&factor(2), Token::new(0)), [0, 3]);
        assert_eq!(map.replicas(&factor(3), Token::new(0)), [0, 1, 3], "one repeat, taken where it is met first");
        assert_eq!(map.replicas(&factor(9), Token::new(5)), [1, 2, 3, 4, 0], "every node, not more");
    }

    #[test]
    fn smaller_simple_factors_are_the_first_nodes_of_larger_ones() {
        let nodes = [node(0, "dc1", "r1", &[0, 50]), node(1, "dc1", "r1", &[10]), node(2, "dc2", "r1", &[20])];
        let map = TokenMap::build(&nodes, [&simple(1), &simple(0), &simple(7)]);

        assert_eq!(map.replicas(&simple(7), Token::new(15)), [2, 0, 1]);
        assert_eq!(map.replicas(&simple(1), Token::new(15)), [2]);
        assert!(map.replicas(&simple(0), Token::new(15)).is_empty());
        assert_eq!(
            map.ring().map(|(token, node)| (token.value(), node)).collect::<Vec<_>>(),
            [(0, 0), (10, 1), (20, 2), (50, 0)]
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
        let ring = size_of_val(&*map.tokens) + size_of_val(&*map.owners) + size_of_val(&*map.buckets);
        assert!(replicas + ring < 2_300_000, "{replicas} for replicas and {ring} for the ring");
    }

    #[test]
    fn empty_ring_and_unknown_replication_have_no_replicas() {
        let map = TokenMap::build(&[], [&simple(3)]);

        assert!(map.replicas(&simple(3), Token::new(0)).is_empty());
        assert!(map.replicas(&Replication::Local, Token::new(0)).is_empty());
    }
}
