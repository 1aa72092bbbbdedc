//! The ring: all tokens in order, the nodes that own them, and the way from a key to its place among them.
//!
//! # Invariants
//!
//! - Tokens are strictly ascending, and `owners` is parallel to them.
//! - A key belongs to the first position whose token is not below the key's; past the last one, to the first.

use std::sync::Arc;

use super::partitioner::random_token_of;
use super::token::TokenList;
use super::{Node, NodeIndex, Token, murmur3};

/// The tokens of all nodes.
#[derive(Debug, Default)]
pub(super) struct Ring {
    tokens: RingTokens,
    owners: Box<[NodeIndex]>,
}

#[derive(Debug)]
enum RingTokens {
    Murmur3(Buckets),
    Random(Box<[u128]>),
    ByteOrdered(Box<[Arc<[u8]>]>),
}

impl Default for RingTokens {
    fn default() -> Self {
        Self::Murmur3(Buckets::default())
    }
}

impl Ring {
    /// Sorts the tokens of `nodes`, of the kind that the first node has. When two nodes claim one token the node with
    /// the lower index keeps it.
    pub(super) fn of(nodes: &[Node]) -> Self {
        let (tokens, owners) = match nodes.first().map(|node| &node.tokens.0) {
            None => return Self::default(),
            Some(TokenList::Murmur3(_)) => {
                let (tokens, owners) = Buckets::of(|| {
                    claims(nodes, |list| if let TokenList::Murmur3(tokens) = list { tokens } else { &[] })
                });
                (RingTokens::Murmur3(tokens), owners)
            }
            Some(TokenList::Random(_)) => {
                let claims = claims(nodes, |list| if let TokenList::Random(tokens) = list { tokens } else { &[] });
                let (tokens, owners) = sorted(claims.collect());
                (RingTokens::Random(tokens.into()), owners)
            }
            Some(TokenList::ByteOrdered(_)) => {
                let claims = claims(nodes, |list| if let TokenList::ByteOrdered(tokens) = list { tokens } else { &[] });
                let (tokens, owners) = sorted(claims.collect());
                (RingTokens::ByteOrdered(tokens.into()), owners)
            }
        };
        Self { tokens, owners: owners.into() }
    }

    /// Owners of the tokens, in token order.
    pub(super) fn owners(&self) -> &[NodeIndex] {
        &self.owners
    }

    /// Tokens and their owners, in token order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, NodeIndex)> {
        self.owners.iter().enumerate().map(|(position, &owner)| {
            let token = match &self.tokens {
                RingTokens::Murmur3(buckets) => Token::Murmur3(buckets.tokens[position]),
                RingTokens::Random(tokens) => Token::Random(tokens[position]),
                RingTokens::ByteOrdered(tokens) => Token::ByteOrdered(Arc::clone(&tokens[position])),
            };
            (token, owner)
        })
    }

    /// The position that owns a token; `None` if the ring is empty or has tokens of another kind.
    pub(super) fn position_of(&self, token: &Token) -> Option<usize> {
        let position = match (&self.tokens, token) {
            (RingTokens::Murmur3(buckets), Token::Murmur3(token)) => buckets.position_of(*token),
            (RingTokens::Random(tokens), Token::Random(token)) => first_not_below(tokens, token),
            (RingTokens::ByteOrdered(tokens), Token::ByteOrdered(key)) => first_not_below(tokens, key),
            _ => return None,
        };
        self.around(position)
    }

    /// The position that owns a serialized partition key; `None` if the ring is empty.
    #[inline]
    pub(super) fn position_of_key(&self, key: &[u8]) -> Option<usize> {
        let position = match &self.tokens {
            RingTokens::Murmur3(buckets) => buckets.position_of(murmur3::token_of(key)),
            RingTokens::Random(tokens) => first_not_below(tokens, &random_token_of(key)),
            RingTokens::ByteOrdered(tokens) => tokens.partition_point(|token| **token < *key),
        };
        self.around(position)
    }

    /// Past the last position the ring begins again.
    fn around(&self, position: usize) -> Option<usize> {
        match self.owners.len() {
            0 => None,
            len => Some(if position == len { 0 } else { position }),
        }
    }
}

/// Each token of a kind with its node.
fn claims<'a, T: Clone + 'a>(
    nodes: &'a [Node],
    tokens_of: impl Fn(&'a TokenList) -> &'a [T],
) -> impl Iterator<Item = (T, NodeIndex)> {
    let nodes = (0..NodeIndex::MAX).zip(nodes);
    nodes.flat_map(move |(index, node)| tokens_of(&node.tokens.0).iter().map(move |token| (token.clone(), index)))
}

/// Tokens in ascending order and their owners.
fn sorted<T: Ord>(mut claims: Vec<(T, NodeIndex)>) -> (Vec<T>, Vec<NodeIndex>) {
    claims.sort();
    // The first of them is of the node with the lower index.
    claims.dedup_by(|(later, _), (first, _)| later == first);
    claims.into_iter().unzip()
}

fn first_not_below<T: Ord>(tokens: &[T], token: &T) -> usize {
    tokens.partition_point(|known| known < token)
}

/// Tokens of 64 bits, found by the bucket they fall into: they are evenly spread as a rule.
#[derive(Debug, Default)]
struct Buckets {
    tokens: Box<[i64]>,
    /// First position at or after the start of each bucket; the ring is cut into equal buckets.
    starts: Box<[u32]>,
    shift: u32,
}

impl Buckets {
    /// Sorts by counting how many fall into each bucket; where they are not evenly spread a bucket is sorted like any
    /// list.
    fn of<I: Iterator<Item = (i64, NodeIndex)>>(claims: impl Fn() -> I) -> (Self, Vec<NodeIndex>) {
        let count = claims().count();
        let shift = bucket_shift(count);
        let mut ends = vec![0_u32; (1 << (64 - shift)) + 1];
        claims().for_each(|(token, _)| ends[bucket_of(token, shift) + 1] += 1);
        // Where each bucket starts; filling them moves that to where each ends, which is where the next one starts.
        (1..ends.len()).for_each(|bucket| ends[bucket] += ends[bucket - 1]);
        let mut tokens = vec![0; count];
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
        let is_claimed_twice = |pair: &[i64]| pair[0] == pair[1];
        if tokens.windows(2).any(is_claimed_twice) {
            // The first of them is of the node with the lower index.
            let is_first: Vec<bool> = (0..count).map(|at| at == 0 || tokens[at - 1] != tokens[at]).collect();
            let mut kept = is_first.iter();
            tokens.retain(|_| kept.next() == Some(&true));
            let mut kept = is_first.iter();
            owners.retain(|_| kept.next() == Some(&true));
        }
        let starts = bucket_starts(&tokens, shift);
        (Self { tokens: tokens.into(), starts, shift }, owners)
    }

    /// The first position whose token is not below this one; the number of tokens if there is none.
    #[inline]
    fn position_of(&self, token: i64) -> usize {
        let Some(&start) = self.starts.get(bucket_of(token, self.shift)) else { return 0 };
        let mut position = start as usize;
        while position < self.tokens.len() && self.tokens[position] < token {
            position += 1;
        }
        position
    }
}

/// How far to shift a token to get its bucket, so that there are two to four tokens per bucket.
fn bucket_shift(tokens: usize) -> u32 {
    64 - (tokens.max(8) / 4).next_power_of_two().trailing_zeros().min(24)
}

/// Sorts the tokens of a bucket and their owners; equal tokens keep their order.
fn sort_bucket(tokens: &mut [i64], owners: &mut [NodeIndex]) {
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
fn bucket_starts(tokens: &[i64], shift: u32) -> Box<[u32]> {
    let mut position = 0;
    let starts = (0..1_u64 << (64 - shift)).map(|bucket| {
        let start = unbiased(bucket << shift);
        while position < tokens.len() && tokens[position] < start {
            position += 1;
        }
        u32::try_from(position).unwrap_or(u32::MAX)
    });
    starts.collect()
}

/// Maps the signed order of tokens to the unsigned order of bucket numbers.
fn bucket_of(token: i64, shift: u32) -> usize {
    usize::try_from((token.cast_unsigned() ^ (1 << 63)) >> shift).unwrap_or(0)
}

fn unbiased(biased: u64) -> i64 {
    (biased ^ (1 << 63)).cast_signed()
}

#[cfg(test)]
impl Ring {
    pub(super) fn byte_len(&self) -> usize {
        let tokens = match &self.tokens {
            RingTokens::Murmur3(buckets) => size_of_val(&*buckets.tokens) + size_of_val(&*buckets.starts),
            RingTokens::Random(tokens) => size_of_val(&**tokens),
            RingTokens::ByteOrdered(tokens) => size_of_val(&**tokens),
        };
        tokens + size_of_val(&*self.owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::node::test_node as node;
    use crate::topology::{Partitioner, Tokens};

    fn owner(ring: &Ring, token: &Token) -> Option<NodeIndex> {
        ring.position_of(token).map(|position| ring.owners()[position])
    }

    #[test]
    fn key_belongs_to_the_first_token_not_below_it_and_wraps_past_the_last() {
        let nodes = [node(0, "dc1", "r1", &[-100]), node(1, "dc1", "r1", &[0]), node(2, "dc1", "r1", &[100])];
        let ring = Ring::of(&nodes);
        let cases = [(-101, 0), (-100, 0), (-99, 1), (0, 1), (1, 2), (100, 2), (101, 0), (i64::MAX, 0), (i64::MIN, 0)];

        for (token, expected) in cases {
            assert_eq!(owner(&ring, &Token::Murmur3(token)), Some(expected), "token {token}");
        }
    }

    #[test]
    fn tokens_are_sorted_however_they_are_spread_and_twice_claimed_ones_keep_their_first_owner() {
        let spread: Vec<i64> = (0..300_i64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())).collect();
        let dense: Vec<i64> = (0..300).rev().collect();
        for tokens in [spread, dense, vec![i64::MAX, i64::MIN, 0, -1], vec![5], vec![]] {
            let (own, other): (Vec<i64>, Vec<i64>) = tokens.iter().partition(|token| *token % 3 == 0);
            let nodes = [node(0, "dc1", "r1", &own), node(1, "dc1", "r1", &tokens), node(2, "dc1", "r1", &other)];
            let mut expected: Vec<(Token, u16)> =
                tokens.iter().map(|token| (Token::Murmur3(*token), u16::from(!own.contains(token)))).collect();
            expected.sort_unstable();
            assert_eq!(Ring::of(&nodes).iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn bucketed_lookup_agrees_with_a_binary_search() {
        let tokens: Vec<i64> = (0..500_i64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())).collect();
        let ring = Ring::of(&[node(0, "dc1", "r1", &tokens)]);
        let mut sorted = tokens.clone();
        sorted.sort_unstable();

        for probe in tokens.iter().flat_map(|token| [token.wrapping_sub(1), *token, token.wrapping_add(1)]) {
            let searched = sorted.partition_point(|token| *token < probe) % sorted.len();
            assert_eq!(ring.position_of(&Token::Murmur3(probe)), Some(searched), "token {probe}");
        }
    }

    /// Three nodes with these tokens, printed as the partitioner prints them.
    fn ring_of(partitioner: Partitioner, tokens: [&[&str]; 3]) -> Ring {
        let nodes = [0, 1, 2].map(|number| {
            let mut node = node(number, "dc1", "r1", &[]);
            node.tokens = Tokens::parse(partitioner, tokens[usize::from(number)]);
            node
        });
        Ring::of(&nodes)
    }

    #[test]
    fn keys_of_the_random_and_the_byte_ordered_partitioner_have_their_place_too() {
        let third = "56713727820156410577229101238628035242";
        let random =
            ring_of(Partitioner::Random, [&["0"], &[third, "0"], &["113427455640312821154458202477256070485"]]);
        let ordered = ring_of(Partitioner::ByteOrdered, [&["6d"], &["", "6d61"], &["ff", "6d"]]);
        for key in [&b""[..], b"k", b"m", b"ma", b"maa", b"\xff", b"\xff\0", b"0123456789abcdef"] {
            for (ring, partitioner) in [(&random, Partitioner::Random), (&ordered, Partitioner::ByteOrdered)] {
                let token = partitioner.token_of(key).unwrap();
                let position = ring.iter().position(|(other, _)| other >= token).unwrap_or(0);
                assert_eq!(ring.position_of_key(key), Some(position), "{partitioner:?} {key:?}");
                assert_eq!(ring.position_of(&token), Some(position), "{partitioner:?} {key:?}");
            }
        }
        let owners: Vec<_> = ordered.iter().map(|(token, node)| (token.to_string(), node)).collect();
        let expected = [("", 1), ("6d", 0), ("6d61", 1), ("ff", 2)].map(|(token, node)| (token.to_owned(), node));
        assert_eq!(owners, expected);
        assert_eq!(random.position_of(&Token::Murmur3(1)), None, "no token of this ring");
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        for ring in [Ring::of(&[]), ring_of(Partitioner::Other, [&["1"], &["2"], &["3"]])] {
            assert_eq!(ring.position_of_key(b"k"), None);
            assert_eq!(ring.position_of(&Token::Murmur3(0)), None);
        }
    }
}
