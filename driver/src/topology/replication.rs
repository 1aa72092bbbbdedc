//! Replication strategies: which nodes own a token.
//!
//! # Source
//!
//! `SimpleStrategy` and `NetworkTopologyStrategy` of Cassandra 4.0 and later: walking the ring clockwise, a data
//! centre takes a node on a rack it has already used only as often as its factor exceeds its number of racks.

use crate::env::mutants::is_planted;
use std::collections::BTreeMap;

use super::{Node, NodeIndex};

/// How a keyspace places its replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replication {
    /// The first `factor` distinct nodes clockwise.
    Simple {
        /// Copies of each partition.
        factor: usize,
    },
    /// A factor per data centre, spread over its racks.
    NetworkTopology {
        /// Copies of each partition by data centre.
        factors: BTreeMap<String, usize>,
    },
    /// Every node holds its own data (system keyspaces); no replica is computed.
    Local,
    /// A strategy this driver does not compute, such as one in which every node is a replica; requests are routed
    /// without a token.
    Other {
        /// Class name the server announced.
        class: String,
    },
}

impl Replication {
    /// Reads the `replication` map of `system_schema.keyspaces`.
    ///
    /// Total: what cannot be understood becomes [`Replication::Other`] or a factor of zero.
    #[must_use]
    pub fn from_options(options: &BTreeMap<String, String>) -> Self {
        let class = options.get("class").map_or("", String::as_str);
        match class.rsplit('.').next().unwrap_or(class) {
            "SimpleStrategy" => {
                Self::Simple { factor: options.get("replication_factor").map_or(0, |text| parse_factor(text)) }
            }
            "NetworkTopologyStrategy" => {
                let factors = options
                    .iter()
                    .filter(|(key, _)| *key != "class" && *key != "replication_factor")
                    .map(|(datacenter, text)| (datacenter.clone(), parse_factor(text)))
                    .collect();
                Self::NetworkTopology { factors }
            }
            "LocalStrategy" => Self::Local,
            _ => Self::Other { class: class.to_owned() },
        }
    }
}

/// Reads `3` or, for transient replication, `3/1`: all copies count.
fn parse_factor(text: &str) -> usize {
    text.split('/').next().and_then(|all| all.trim().parse().ok()).unwrap_or(0)
}

/// Collects the replicas of ring positions for one replication, primary replicas first.
///
/// What does not depend on the position is found out once; marks carry the number of the walk, so that nothing has to
/// be cleared between walks.
pub(super) struct RingWalk<'a> {
    ring: &'a [NodeIndex],
    /// By node.
    places: Vec<Place>,
    datacenters: Vec<DatacenterWalk>,
    /// Last walk that took a node on a rack.
    rack_marks: Vec<u32>,
    walk: u32,
}

/// Where a node stands, in few bytes: a walk looks at many.
#[derive(Clone, Copy)]
struct Place {
    /// Number among the data centres that have replicas, or [`NOWHERE`].
    datacenter: u16,
    rack: u16,
    /// Last walk that took the node.
    mark: u32,
}

const NOWHERE: u16 = u16::MAX;

struct DatacenterWalk {
    /// Replicas: the factor, or all nodes if there are fewer.
    wanted: usize,
    /// How many nodes may be taken from racks that have one already.
    rack_repeats: usize,
    missing: usize,
    repeats_left: usize,
}

impl<'a> RingWalk<'a> {
    /// `ring` holds the owner of each token in token order. `None` if the replication has no computed replicas.
    pub(super) fn new(replication: &Replication, nodes: &[Node], ring: &'a [NodeIndex]) -> Option<Self> {
        let mut on_ring = vec![false; nodes.len()];
        ring.iter().for_each(|&index| on_ring[usize::from(index)] = true);
        let members = || nodes.iter().enumerate().filter(|(index, _)| on_ring[*index]);
        let mut places = vec![Place { datacenter: NOWHERE, rack: 0, mark: 0 }; nodes.len()];
        let mut datacenters: Vec<DatacenterWalk> = Vec::new();
        // Neither can be more than the nodes, which have 16 bits.
        let mut racks = 0_u16;
        match replication {
            Replication::Simple { factor } => {
                // One data centre in which every node stands on a rack of its own.
                for (index, _) in members() {
                    places[index] = Place { datacenter: 0, rack: racks, mark: 0 };
                    racks += 1;
                }
                datacenters.push(DatacenterWalk::new((*factor).min(racks.into()), 0));
            }
            Replication::NetworkTopology { factors } => {
                for (datacenter, (name, &factor)) in (0..NOWHERE).zip(factors) {
                    let mut own_racks: BTreeMap<&str, u16> = BTreeMap::new();
                    let mut count = 0;
                    for (index, node) in members().filter(|(_, node)| *node.datacenter == **name) {
                        let rack = *own_racks.entry(&node.rack).or_insert_with(|| {
                            racks += 1;
                            racks - 1
                        });
                        places[index] = Place { datacenter, rack, mark: 0 };
                        count += 1;
                    }
                    let repeats = if is_planted("G05-racks-ignored") {
                        usize::MAX
                    } else {
                        factor.saturating_sub(own_racks.len())
                    };
                    datacenters.push(DatacenterWalk::new(factor.min(count), repeats));
                }
            }
            Replication::Local | Replication::Other { .. } => return None,
        }
        Some(Self { ring, rack_marks: vec![0; racks.into()], places, datacenters, walk: 0 })
    }

    /// Most replicas that a position has.
    pub(super) fn width(&self) -> usize {
        self.datacenters.iter().map(|datacenter| datacenter.wanted).sum()
    }

    /// Appends the replicas of the keys that ring position `start` owns.
    pub(super) fn append(&mut self, start: usize, replicas: &mut Vec<NodeIndex>) {
        self.walk += 1;
        let mut missing = 0;
        for datacenter in &mut self.datacenters {
            datacenter.missing = datacenter.wanted;
            datacenter.repeats_left = datacenter.rack_repeats;
            missing += datacenter.wanted;
        }
        for &node in self.ring[start..].iter().chain(&self.ring[..start]) {
            if missing == 0 {
                return;
            }
            if self.takes(usize::from(node)) {
                replicas.push(node);
                missing -= 1;
            }
        }
    }

    fn takes(&mut self, node: usize) -> bool {
        let place = &mut self.places[node];
        let Some(datacenter) = self.datacenters.get_mut(usize::from(place.datacenter)) else { return false };
        if datacenter.missing == 0 || place.mark == self.walk {
            return false;
        }
        let rack_mark = &mut self.rack_marks[usize::from(place.rack)];
        if *rack_mark == self.walk {
            if datacenter.repeats_left == 0 {
                return false;
            }
            datacenter.repeats_left -= 1;
        }
        *rack_mark = self.walk;
        place.mark = self.walk;
        datacenter.missing -= 1;
        true
    }
}

impl DatacenterWalk {
    fn new(wanted: usize, rack_repeats: usize) -> Self {
        Self { wanted, rack_repeats, missing: 0, repeats_left: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn strategy_class_is_recognised_with_and_without_its_package() {
        let long = options(&[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "3")]);
        let short = options(&[("class", "NetworkTopologyStrategy"), ("dc1", "2"), ("dc2", "3/1")]);

        assert_eq!(Replication::from_options(&long), Replication::Simple { factor: 3 });
        assert_eq!(
            Replication::from_options(&short),
            Replication::NetworkTopology { factors: [("dc1".to_owned(), 2), ("dc2".to_owned(), 3)].into() }
        );
    }

    #[test]
    fn unknown_strategy_keeps_its_class_name() {
        let unknown = options(&[("class", "EverywhereStrategy")]);

        assert_eq!(Replication::from_options(&unknown), Replication::Other { class: "EverywhereStrategy".to_owned() });
    }
}
