//! The control connection as nodes see it: I29 it registers before it reads, I31 it reads no more than it must.

use super::{Class, Evidence, Failure};
use crate::wire::{Wire, opcode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// I29: on a connection that registers for events nothing is read before the registration was acknowledged, but for the
/// one question who is there.
pub(super) fn check_register_first(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut reads: BTreeMap<u64, u32> = BTreeMap::new();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Request { connection, opcode: opcode::QUERY, .. } => {
                *reads.entry(*connection).or_default() += 1;
            }
            Wire::Registered { connection } => {
                if let Some(read) = reads.get(connection).filter(|read| **read > 1) {
                    let text =
                        format!("connection {connection} to node {} read {read} times and registered later", fact.node);
                    failures.push(Failure::new("I29", Class::Safety, fact.at, text));
                }
            }
            _ => {}
        }
    }
    failures
}

/// I31: with refresh windows, no storm of events makes a control connection read more than once per window.
///
/// The application's own schema changes ask for reads of their own, so plans with many of them prove nothing.
pub(super) fn check_economy(evidence: &Evidence<'_>) -> Vec<Failure> {
    let driver = &evidence.plan.driver;
    let shortest = driver.schema_window_ms.min(driver.topology_window_ms).min(driver.status_window_ms);
    if shortest == 0 {
        return Vec::new();
    }
    // A window's start is drawn uniformly, so two refreshes may follow each other closely: once, not always.
    let per_window = 10_000 / shortest as usize + 2;
    let own = evidence.calls.iter().filter(|call| changes_schema(&call.action)).count();
    let most = (3 * per_window + own * 4) * QUERIES_PER_REFRESH;
    let mut control: BTreeSet<u64> = BTreeSet::new();
    let mut reads: BTreeMap<u64, VecDeque<Duration>> = BTreeMap::new();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Registered { connection } => {
                control.insert(*connection);
            }
            Wire::Request { connection, opcode: opcode::QUERY, .. } if control.contains(connection) => {
                let here = reads.entry(*connection).or_default();
                here.push_back(fact.at);
                while here.front().is_some_and(|at| *at + SPAN < fact.at) {
                    here.pop_front();
                }
                if here.len() > most {
                    let text =
                        format!("connection {connection} read {} times in {SPAN:?}, {most} are explained", here.len());
                    failures.push(Failure::new("I31", Class::Safety, fact.at, text));
                    here.clear();
                }
            }
            _ => {}
        }
    }
    failures
}

const fn changes_schema(action: &crate::plan::Action) -> bool {
    use crate::plan::Action;
    matches!(action, Action::CreateTable | Action::AddColumn | Action::DropColumn { .. })
}

const SPAN: Duration = Duration::from_secs(10);

/// Nodes: the node's own row and its peers. Schema: a table of the schema keyspace each.
const QUERIES_PER_REFRESH: usize = 12;

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, plan};
    use super::*;
    use crate::bounds::Bounds;
    use crate::wire::Fact;

    fn query(at: u64) -> Fact {
        fact(at, Wire::Request { connection: 1, stream: 1, opcode: opcode::QUERY, nonce: None, asked: None })
    }

    fn check(checker: super::super::Checker, windows: u64, wire: &[Fact]) -> usize {
        let mut plan = plan();
        (plan.driver.schema_window_ms, plan.driver.topology_window_ms, plan.driver.status_window_ms) =
            (windows, windows, windows);
        checker(&Evidence { plan: &plan, bounds: Bounds::of(&plan), calls: &[], wire, truth: None }).len()
    }

    #[test]
    fn reading_before_registering_fails() {
        let registered = || fact(5, Wire::Registered { connection: 1 });
        assert_eq!(check(check_register_first, 0, &[query(4), registered(), query(6), query(7)]), 0);
        assert_eq!(check(check_register_first, 0, &[query(3), query(4), registered()]), 1);
    }

    #[test]
    fn reading_all_the_time_fails_where_there_are_windows() {
        let storm: Vec<Fact> =
            std::iter::once(fact(0, Wire::Registered { connection: 1 })).chain((0..9_000).map(query)).collect();
        assert!(check(check_economy, 2_000, &storm) > 0);
        assert_eq!(check(check_economy, 0, &storm), 0);
        assert_eq!(check(check_economy, 2_000, &storm[..200]), 0);
    }
}
