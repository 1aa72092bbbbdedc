//! How clients connect: I23 only to addresses that nodes have, I24 not too many at once, I25 not again and again.

use super::{Class, Evidence, Failure};
use crate::wire::Wire;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// I23: no address is dialled that no node has. Names that resolve to nobody, and addresses that a node has just left,
/// are no inventions.
pub(super) fn check_known(evidence: &Evidence<'_>) -> Vec<Failure> {
    let excuses = ["names", "change-address", "swap-addresses", "replace", "decommission"];
    if evidence.plan.faults.iter().any(|fault| excuses.contains(&fault.kind().as_str())) {
        return Vec::new();
    }
    let unknown = evidence.wire.iter().filter_map(|fact| match &fact.what {
        Wire::Dialled { client, address, is_known: false } => {
            Some(Failure::new("I23", Class::Safety, fact.at, format!("{client} dialled {address}, which no node has")))
        }
        _ => None,
    });
    unknown.collect()
}

/// I24: of one node a session has at most a pool, the pool that replaces it, and two control connections.
pub(super) fn check_pool_bound(evidence: &Evidence<'_>) -> Vec<Failure> {
    let most = 2 * evidence.plan.driver.connections_per_node as usize + 2;
    let mut open: BTreeMap<(String, u32), Vec<u64>> = BTreeMap::new();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Opened { connection, client } => {
                let here = open.entry((client.clone(), fact.node)).or_default();
                here.push(*connection);
                if here.len() > most {
                    let text =
                        format!("{client} has {} connections to node {}, {most} are allowed", here.len(), fact.node);
                    failures.push(Failure::new("I24", Class::Safety, fact.at, text));
                }
            }
            Wire::Closed { connection, .. } | Wire::Dropped { connection } => {
                for connections in open.values_mut() {
                    connections.retain(|open| open != connection);
                }
            }
            _ => {}
        }
    }
    failures
}

/// I25: in no second a session dials one address more often than its schedule and the hints of that second explain.
pub(super) fn check_back_off(evidence: &Evidence<'_>) -> Vec<Failure> {
    let driver = &evidence.plan.driver;
    let by_schedule = 2 + 1_000 / driver.reconnect_base_ms.max(1) as usize;
    let pool = driver.connections_per_node as usize + 1;
    let mut dials: BTreeMap<(&str, &str), VecDeque<Duration>> = BTreeMap::new();
    let mut events: VecDeque<Duration> = VecDeque::new();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Event { .. } => events.push_back(fact.at),
            Wire::Dialled { client, address, .. } => {
                let here = dials.entry((client, address)).or_default();
                here.push_back(fact.at);
                while here.front().is_some_and(|at| *at + WINDOW < fact.at) {
                    here.pop_front();
                }
                // Events wait for their refresh window before they become hints.
                while events.front().is_some_and(|at| *at + WINDOW * 12 < fact.at) {
                    events.pop_front();
                }
                let most = (by_schedule + events.len()) * pool;
                if here.len() > most {
                    let text = format!(
                        "{client} dialled {address} {} times within a second, {most} are explained",
                        here.len()
                    );
                    failures.push(Failure::new("I25", Class::Safety, fact.at, text));
                }
            }
            _ => {}
        }
    }
    failures
}

const WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, run};
    use super::*;

    fn dial(at: u64, is_known: bool) -> crate::wire::Fact {
        fact(at, Wire::Dialled { client: "client-0".into(), address: "10.0.0.1:9042".into(), is_known })
    }

    #[test]
    fn an_address_that_no_node_has_is_not_dialled() {
        assert!(run(check_known, &[], &[dial(1, true)], None).is_empty());
        assert_eq!(run(check_known, &[], &[dial(1, false)], None), ["I23"]);
    }

    #[test]
    fn connections_to_a_node_are_bounded() {
        let most = 2 * u64::from(super::super::samples::plan().driver.connections_per_node) + 2;
        let opened = |count: u64| -> Vec<_> {
            (0..count).map(|connection| fact(1, Wire::Opened { connection, client: "client-0".into() })).collect()
        };
        assert!(run(check_pool_bound, &[], &opened(most), None).is_empty());
        assert_eq!(run(check_pool_bound, &[], &opened(most + 1), None), ["I24"]);
        let mut closed = opened(most);
        closed.push(fact(2, Wire::Dropped { connection: 0 }));
        closed.push(fact(3, Wire::Opened { connection: 99, client: "client-0".into() }));
        assert!(run(check_pool_bound, &[], &closed, None).is_empty());
    }

    #[test]
    fn dials_without_end_within_a_second_fail() {
        let dials = |apart: u64| (0..200).map(|n| dial(n * apart, true)).collect::<Vec<_>>();
        assert!(!run(check_back_off, &[], &dials(1), None).is_empty());
        assert!(run(check_back_off, &[], &dials(1_000), None).is_empty());
    }
}
