//! Tokens, ring membership and replica placement. Plain values, no I/O.

mod replication;
mod token;

pub use replication::Replication;
pub use token::Token;

use crate::kernel::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The arc of the ring `(after, up_to]`. With `after == up_to` it is the whole ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRange {
    /// Excluded.
    pub after: Token,
    /// Included.
    pub up_to: Token,
}

impl TokenRange {
    /// The whole ring, cut where token order begins and ends.
    pub const FULL: Self = Self { after: Token::MIN, up_to: Token::MIN };

    /// Whether the arc has this position.
    #[must_use]
    pub fn contains(self, token: Token) -> bool {
        if self.after < self.up_to {
            self.after < token && token <= self.up_to
        } else {
            self.after < token || token <= self.up_to
        }
    }
}

/// Where a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Data centre name.
    pub datacenter: String,
    /// Rack name.
    pub rack: String,
}

/// Who owns which token, and where every owner stands.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// The owner of each token.
    pub tokens: BTreeMap<Token, NodeId>,
    /// Every token owner's place, those of joining nodes included.
    pub locations: BTreeMap<NodeId, Location>,
    /// The tokens of nodes that are joining: they get the writes of the ranges they will own, but no reads.
    pub joining: BTreeMap<Token, NodeId>,
    /// The nodes that are leaving: whoever takes over their ranges gets the writes already.
    pub leaving: BTreeSet<NodeId>,
    /// Nodes' addresses as clients see them, for the reason maps of failures.
    pub addresses: BTreeMap<NodeId, IpAddr>,
}

impl Ring {
    /// The replicas of `token` in ring order, for the replication options of a keyspace
    /// (`class` as full or short class name).
    ///
    /// Empty for `LocalStrategy`, whose replica is the node that asks.
    #[must_use]
    pub fn replicas(&self, token: Token, replication: &BTreeMap<String, String>) -> Vec<NodeId> {
        self.natural(token, &Replication::from_options(replication))
    }

    /// The replicas of `token` in ring order.
    #[must_use]
    pub fn natural(&self, token: Token, replication: &Replication) -> Vec<NodeId> {
        self.place(&self.tokens, token, replication)
    }

    /// The nodes that will be replicas of `token` once joining nodes have joined and leaving ones have left.
    #[must_use]
    pub fn pending(&self, token: Token, replication: &Replication) -> Vec<NodeId> {
        if self.joining.is_empty() && self.leaving.is_empty() {
            return Vec::new();
        }
        let mut future: BTreeMap<Token, NodeId> = self.tokens.clone();
        future.retain(|_, owner| !self.leaving.contains(owner));
        future.extend(self.joining.iter().map(|(token, node)| (*token, *node)));
        let natural = self.natural(token, replication);
        let mut replicas = self.place(&future, token, replication);
        replicas.retain(|node| !natural.contains(node));
        replicas
    }

    /// The arc cut at every token, in ring order from its start: within one piece all partitions have the same
    /// replicas, and no piece crosses the end of token order.
    #[must_use]
    pub fn arcs(&self, range: TokenRange) -> Vec<TokenRange> {
        let wraps = range.after >= range.up_to;
        let inside = |token: &&Token| range.contains(**token) && **token != range.up_to;
        let above = self.tokens.range(range.after..).map(|(token, _)| token).filter(|t| **t > range.after);
        let mut cuts: Vec<Token> = above.filter(inside).copied().collect();
        if wraps && range.up_to != Token::MIN {
            if range.after != Token::MIN {
                cuts.push(Token::MIN);
            }
            let below = self.tokens.range(..=range.after).map(|(token, _)| token);
            cuts.extend(below.filter(inside).filter(|t| **t != Token::MIN).copied());
        }
        cuts.push(range.up_to);
        let mut after = range.after;
        let mut pieces = Vec::with_capacity(cuts.len());
        for up_to in cuts {
            pieces.push(TokenRange { after, up_to });
            after = up_to;
        }
        pieces
    }

    /// The data centre of a node; empty if the node is unknown.
    #[must_use]
    pub fn datacenter(&self, node: NodeId) -> &str {
        self.locations.get(&node).map_or("", |location| location.datacenter.as_str())
    }

    /// The rack of a node; empty if the node is unknown.
    #[must_use]
    pub fn rack(&self, node: NodeId) -> &str {
        self.locations.get(&node).map_or("", |location| location.rack.as_str())
    }

    /// All nodes that own tokens.
    #[must_use]
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.tokens.values().copied().collect()
    }

    /// The address of a node; unspecified if it is unknown.
    #[must_use]
    pub fn address(&self, node: NodeId) -> IpAddr {
        self.addresses.get(&node).copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn place(&self, tokens: &BTreeMap<Token, NodeId>, token: Token, replication: &Replication) -> Vec<NodeId> {
        let clockwise = tokens.range(token..).chain(tokens.range(..token)).map(|(_, node)| *node);
        match replication {
            Replication::Local => Vec::new(),
            Replication::Everywhere => distinct(clockwise, usize::MAX),
            Replication::Simple { factor } => distinct(clockwise, *factor),
            Replication::NetworkTopology { factors, others } => {
                self.place_by_datacenter(tokens, clockwise, factors, *others)
            }
        }
    }

    /// Walks clockwise; in each data centre new racks come first, and as many repeated racks as the factor exceeds
    /// the number of racks are accepted as they are met.
    fn place_by_datacenter(
        &self,
        tokens: &BTreeMap<Token, NodeId>,
        clockwise: impl Iterator<Item = NodeId>,
        factors: &BTreeMap<String, usize>,
        others: usize,
    ) -> Vec<NodeId> {
        let owners: BTreeSet<NodeId> = tokens.values().copied().collect();
        let mut quotas: BTreeMap<&str, Quota<'_>> = BTreeMap::new();
        for owner in &owners {
            let datacenter = self.datacenter(*owner);
            let quota = quotas.entry(datacenter).or_default();
            quota.nodes += 1;
            quota.all_racks.insert(self.rack(*owner));
        }
        for (datacenter, quota) in &mut quotas {
            let factor = factors.get(*datacenter).copied().unwrap_or(others);
            quota.left = factor.min(quota.nodes);
            quota.repeats_left = factor.saturating_sub(quota.all_racks.len());
        }
        let mut replicas = Vec::new();
        for node in clockwise {
            if quotas.values().all(|quota| quota.left == 0) {
                break;
            }
            let Some(quota) = quotas.get_mut(self.datacenter(node)) else { continue };
            if quota.left == 0 || replicas.contains(&node) {
                continue;
            }
            if !quota.racks_met.insert(self.rack(node)) {
                if quota.repeats_left == 0 {
                    continue;
                }
                quota.repeats_left -= 1;
            }
            quota.left -= 1;
            replicas.push(node);
        }
        replicas
    }
}

/// What one data centre still needs.
#[derive(Default)]
struct Quota<'a> {
    nodes: usize,
    all_racks: BTreeSet<&'a str>,
    left: usize,
    repeats_left: usize,
    racks_met: BTreeSet<&'a str>,
}

/// The first `count` different nodes.
fn distinct(nodes: impl Iterator<Item = NodeId>, count: usize) -> Vec<NodeId> {
    let mut found = Vec::new();
    for node in nodes {
        if found.len() >= count {
            break;
        }
        if !found.contains(&node) {
            found.push(node);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Location, Replication, Ring, Token, TokenRange};
    use crate::kernel::NodeId;
    use std::collections::BTreeMap;

    /// Nodes 1.. with one token each (10, 20, …), placed as given.
    fn ring(places: &[(&str, &str)]) -> Ring {
        let mut ring = Ring::default();
        for (id, (datacenter, rack)) in (1u32..).zip(places) {
            ring.tokens.insert(Token(i64::from(id) * 10), NodeId(id));
            let location = Location { datacenter: (*datacenter).to_owned(), rack: (*rack).to_owned() };
            ring.locations.insert(NodeId(id), location);
        }
        ring
    }

    fn ids(nodes: &[NodeId]) -> Vec<u32> {
        nodes.iter().map(|node| node.0).collect()
    }

    fn network(factors: &[(&str, usize)]) -> Replication {
        let factors = factors.iter().map(|(name, factor)| ((*name).to_owned(), *factor)).collect();
        Replication::NetworkTopology { factors, others: 0 }
    }

    #[test]
    fn simple_strategy_takes_the_next_distinct_nodes_around_the_end_of_the_ring() {
        let mut ring = ring(&[("dc1", "r1"); 4]);
        ring.tokens.insert(Token(45), NodeId(4));
        let simple = Replication::Simple { factor: 3 };
        for (token, expected) in
            [(10, [1, 2, 3]), (11, [2, 3, 4]), (40, [4, 1, 2]), (41, [4, 1, 2]), (46, [1, 2, 3]), (i64::MIN, [1, 2, 3])]
        {
            assert_eq!(ids(&ring.natural(Token(token), &simple)), expected, "token {token}");
        }
    }

    #[test]
    fn a_factor_above_the_number_of_nodes_takes_every_node_once() {
        let ring = ring(&[("dc1", "r1"); 2]);
        assert_eq!(ids(&ring.natural(Token(15), &Replication::Simple { factor: 5 })), [2, 1]);
        assert_eq!(ids(&ring.natural(Token(15), &network(&[("dc1", 5)]))), [2, 1]);
    }

    #[test]
    fn network_topology_takes_new_racks_first() {
        let ring = ring(&[("dc1", "r1"), ("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3"), ("dc1", "r2")]);
        // Node 2 repeats the rack of node 1: three replicas for three racks leave no room for it.
        assert_eq!(ids(&ring.natural(Token(10), &network(&[("dc1", 3)]))), [1, 3, 4]);
        // Four replicas for three racks accept the first repetition that is met.
        assert_eq!(ids(&ring.natural(Token(10), &network(&[("dc1", 4)]))), [1, 2, 3, 4]);
    }

    #[test]
    fn network_topology_counts_each_data_centre_by_itself() {
        let places = [("dc1", "r1"), ("dc2", "r1"), ("dc1", "r2"), ("dc2", "r2"), ("dc3", "r1")];
        let ring = ring(&places);
        assert_eq!(ids(&ring.natural(Token(35), &network(&[("dc1", 1), ("dc2", 2)]))), [4, 1, 2]);
        assert!(ring.natural(Token(35), &network(&[("dc9", 3)])).is_empty());
    }

    #[test]
    fn replication_factor_of_network_topology_counts_for_every_data_centre_not_named() {
        let ring = ring(&[("dc1", "r1"), ("dc2", "r1"), ("dc1", "r1"), ("dc2", "r1")]);
        let options = [("class", "NetworkTopologyStrategy"), ("replication_factor", "1"), ("dc2", "2")];
        let options: BTreeMap<_, _> = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(ids(&ring.replicas(Token(5), &options)), [1, 2, 4]);
    }

    #[test]
    fn everywhere_is_every_node_and_local_is_for_the_caller_to_know() {
        let ring = ring(&[("dc1", "r1"); 3]);
        assert_eq!(ids(&ring.natural(Token(15), &Replication::Everywhere)), [2, 3, 1]);
        assert!(ring.natural(Token(15), &Replication::Local).is_empty());
    }

    #[test]
    fn a_joining_node_is_pending_where_it_will_be_a_replica() {
        let mut ring = ring(&[("dc1", "r1"); 4]);
        ring.tokens.remove(&Token(40));
        ring.joining.insert(Token(40), NodeId(4));
        let two = Replication::Simple { factor: 2 };
        assert_eq!(ids(&ring.natural(Token(35), &two)), [1, 2]);
        assert_eq!(ids(&ring.pending(Token(35), &two)), [4]);
        assert!(ring.pending(Token(15), &two).is_empty());
    }

    #[test]
    fn successors_of_a_leaving_node_are_pending() {
        let mut ring = ring(&[("dc1", "r1"); 4]);
        ring.leaving.insert(NodeId(2));
        assert_eq!(ids(&ring.pending(Token(15), &Replication::Simple { factor: 2 })), [4]);
    }

    #[test]
    fn the_whole_ring_is_cut_at_every_token_in_token_order() {
        let ring = ring(&[("dc1", "r1"); 3]);
        let bounds: Vec<(i64, i64)> =
            ring.arcs(TokenRange::FULL).iter().map(|arc| (arc.after.0, arc.up_to.0)).collect();
        assert_eq!(bounds, [(i64::MIN, 10), (10, 20), (20, 30), (30, i64::MIN)]);
    }

    #[test]
    fn arcs_cover_exactly_their_range() {
        let ring = ring(&[("dc1", "r1"); 4]);
        let ends = [i64::MIN, -5, 10, 15, 20, 39, 40, 41, i64::MAX];
        for after in ends {
            for up_to in ends {
                let range = TokenRange { after: Token(after), up_to: Token(up_to) };
                let arcs = ring.arcs(range);
                for position in (-10..50).chain([i64::MIN, i64::MAX]) {
                    let covering = arcs.iter().filter(|arc| arc.contains(Token(position))).count();
                    assert_eq!(covering, usize::from(range.contains(Token(position))), "{position} of {range:?}");
                }
                for pair in arcs.windows(2) {
                    assert_eq!(pair[0].up_to, pair[1].after);
                }
                for arc in &arcs {
                    let cut_inside = ring.tokens.keys().any(|token| arc.contains(*token) && *token != arc.up_to);
                    assert!(!cut_inside, "{arc:?} of {range:?} has a token inside");
                }
            }
        }
    }
}
