//! Replication strategies: which nodes own a token.
//!
//! # Source
//!
//! `SimpleStrategy` and `NetworkTopologyStrategy` of Cassandra 4.0 and later: walking the ring clockwise, a data
//! centre takes a node on a rack it has already used only as often as its factor exceeds its number of racks.

use std::collections::{BTreeMap, BTreeSet};

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
    /// A strategy this driver does not compute; requests are routed without a token.
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

    /// Writes the CQL map that `CREATE KEYSPACE` takes.
    #[must_use]
    pub fn to_cql(&self) -> String {
        match self {
            Self::Simple { factor } => {
                format!("{{'class': 'SimpleStrategy', 'replication_factor': '{factor}'}}")
            }
            Self::NetworkTopology { factors } => {
                let mut text = String::from("{'class': 'NetworkTopologyStrategy'");
                for (datacenter, factor) in factors {
                    text.push_str(&format!(", '{}': '{factor}'", datacenter.replace('\'', "''")));
                }
                text.push('}');
                text
            }
            Self::Local => String::from("{'class': 'LocalStrategy'}"),
            Self::Other { class } => format!("{{'class': '{}'}}", class.replace('\'', "''")),
        }
    }

    /// Walks the ring clockwise from ring position `start` and collects the replicas, the primary one first.
    ///
    /// `ring` holds the owner of each token in token order. `Local` and `Other` have no replicas here.
    pub(super) fn replicas(&self, nodes: &[Node], ring: &[NodeIndex], start: usize) -> Vec<NodeIndex> {
        let clockwise = ring[start..].iter().chain(&ring[..start]).copied();
        match self {
            Self::Simple { factor } => {
                let mut replicas = Vec::with_capacity(*factor.min(&nodes.len()));
                for node in clockwise {
                    if replicas.len() >= *factor {
                        break;
                    }
                    if !replicas.contains(&node) {
                        replicas.push(node);
                    }
                }
                replicas
            }
            Self::NetworkTopology { factors } => network_topology_replicas(factors, nodes, ring, clockwise),
            Self::Local | Self::Other { .. } => Vec::new(),
        }
    }
}

/// Reads `3` or, for transient replication, `3/1`: all copies count.
fn parse_factor(text: &str) -> usize {
    text.split('/').next().and_then(|all| all.trim().parse().ok()).unwrap_or(0)
}

/// What one data centre still needs during the walk.
struct DatacenterProgress<'a> {
    missing: usize,
    rack_repeats_left: usize,
    racks_used: BTreeSet<&'a str>,
}

fn network_topology_replicas(
    factors: &BTreeMap<String, usize>,
    nodes: &[Node],
    ring: &[NodeIndex],
    clockwise: impl Iterator<Item = NodeIndex>,
) -> Vec<NodeIndex> {
    let mut members: BTreeMap<&str, (BTreeSet<NodeIndex>, BTreeSet<&str>)> = BTreeMap::new();
    for &index in ring {
        let node = &nodes[usize::from(index)];
        let (in_datacenter, racks) = members.entry(&node.datacenter).or_default();
        in_datacenter.insert(index);
        racks.insert(&node.rack);
    }
    let mut progress: BTreeMap<&str, DatacenterProgress<'_>> = BTreeMap::new();
    for (datacenter, &factor) in factors {
        if let Some((in_datacenter, racks)) = members.get(datacenter.as_str()) {
            progress.insert(
                datacenter,
                DatacenterProgress {
                    missing: factor.min(in_datacenter.len()),
                    rack_repeats_left: factor.saturating_sub(racks.len()),
                    racks_used: BTreeSet::new(),
                },
            );
        }
    }
    let mut missing: usize = progress.values().map(|datacenter| datacenter.missing).sum();
    let mut replicas = Vec::with_capacity(missing);
    for index in clockwise {
        if missing == 0 {
            break;
        }
        let node = &nodes[usize::from(index)];
        let Some(datacenter) = progress.get_mut(&*node.datacenter) else { continue };
        if datacenter.missing == 0 || replicas.contains(&index) {
            continue;
        }
        if !datacenter.racks_used.insert(&node.rack) {
            if datacenter.rack_repeats_left == 0 {
                continue;
            }
            datacenter.rack_repeats_left -= 1;
        }
        replicas.push(index);
        datacenter.missing -= 1;
        missing -= 1;
    }
    replicas
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
