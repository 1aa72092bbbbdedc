//! Replication options of a keyspace, understood.
//!
//! # Invariants
//!
//! Options that make no sense (unknown class, a factor that is no number) mean "no replicas": the statement that
//! would have set them was refused, so they can only come from a schema written by hand.

use std::collections::BTreeMap;

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// On the next nodes of the ring, wherever they stand.
    Simple {
        /// How many.
        factor: usize,
    },
    /// Per data centre, on different racks if possible.
    NetworkTopology {
        /// How many in each data centre that is named.
        factors: BTreeMap<String, usize>,
        /// How many in each data centre that is not named (`replication_factor` before its expansion); 0 = none.
        others: usize,
    },
    /// Each node has its own.
    Local,
    /// On every node.
    Everywhere,
}

impl Replication {
    /// Reads the options; `class` may be the full Java class name or its last part.
    #[must_use]
    pub fn from_options(options: &BTreeMap<String, String>) -> Self {
        let class = options.get("class").map_or("", String::as_str);
        let factor = |text: &str| {
            // `3/1` is three replicas, one of them transient.
            text.split('/').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
        };
        let plain = options.get("replication_factor").map_or(0, |text| factor(text));
        match class.rsplit('.').next().unwrap_or(class) {
            "SimpleStrategy" => Self::Simple { factor: plain },
            "LocalStrategy" => Self::Local,
            "EverywhereStrategy" => Self::Everywhere,
            "NetworkTopologyStrategy" => Self::NetworkTopology {
                factors: options
                    .iter()
                    .filter(|(name, _)| *name != "class" && *name != "replication_factor")
                    .map(|(name, text)| (name.clone(), factor(text)))
                    .collect(),
                others: plain,
            },
            _ => Self::Simple { factor: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Replication;
    use std::collections::BTreeMap;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn full_and_short_class_names_mean_the_same() {
        let full = options(&[("class", "org.apache.cassandra.locator.SimpleStrategy"), ("replication_factor", "3")]);
        let short = options(&[("class", "SimpleStrategy"), ("replication_factor", "3")]);
        assert_eq!(Replication::from_options(&full), Replication::Simple { factor: 3 });
        assert_eq!(Replication::from_options(&short), Replication::Simple { factor: 3 });
    }

    #[test]
    fn network_topology_keeps_factors_by_data_centre() {
        let given = options(&[("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "3/1")]);
        let factors = BTreeMap::from([("dc1".to_owned(), 3), ("dc2".to_owned(), 3)]);
        assert_eq!(Replication::from_options(&given), Replication::NetworkTopology { factors, others: 0 });
    }

    #[test]
    fn senseless_options_have_no_replicas() {
        assert_eq!(Replication::from_options(&BTreeMap::new()), Replication::Simple { factor: 0 });
        let word = options(&[("class", "SimpleStrategy"), ("replication_factor", "many")]);
        assert_eq!(Replication::from_options(&word), Replication::Simple { factor: 0 });
    }
}
