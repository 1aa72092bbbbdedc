//! I6: a call is refused for lack of capacity only where there is none.

use super::{Class, Evidence, Failure};
use crate::history::Nonce;
use crate::plan::RetryChoice;
use crate::wire::{Wire, opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// A connection of a pool: when it took requests, and how many it carried from when on.
struct Load {
    client: String,
    from: Duration,
    until: Duration,
    /// Moments at which a request was written (+1) or its answer read (-1).
    changes: Vec<(Duration, i64)>,
    /// When a caller first gave up a request on it: with too many of those it takes no more.
    orphaned: Duration,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    // What was written and never arrived is known to nobody but the driver.
    let stalls =
        ["pause", "cut-client", "partition", "slow-link", "crash", "replace", "change-address", "swap-addresses"];
    // Without retries the first node of the plan decides alone.
    let tries_one = evidence.plan.driver.retry == RetryChoice::Fallthrough;
    if tries_one || evidence.plan.faults.iter().any(|fault| stalls.contains(&fault.kind().as_str())) {
        return Vec::new();
    }
    let most = i64::from(evidence.plan.driver.in_flight_max);
    let mut loads: Option<Vec<Load>> = None;
    let mut failures = Vec::new();
    for call in evidence.calls {
        let (Some(told), Some(Err(failed))) = (call.completed, &call.outcome) else { continue };
        // One that waited for something else first may have found capacity then.
        if failed.kind != "Busy" || told > call.submitted {
            continue;
        }
        let name = format!("client-{}", call.client);
        let loads = loads.get_or_insert_with(|| loads_of(evidence));
        let carried = |load: &&Load| load.changes.iter().filter(|(at, _)| *at <= told).map(|(_, by)| by).sum::<i64>();
        let mut open =
            loads.iter().filter(|load| load.client == name && load.from < told && told < load.until.min(load.orphaned));
        if let Some(load) = open.find(|load| carried(load) < most) {
            let text = format!("{} was refused, and a connection carried {} of {most}", call.nonce, carried(&load));
            failures.push(Failure::new("I6", Class::Safety, told, text));
        }
    }
    failures
}

/// The connections that carried statements of the application.
fn loads_of(evidence: &Evidence<'_>) -> Vec<Load> {
    let mut loads: BTreeMap<u64, Load> = BTreeMap::new();
    let mut clients: BTreeMap<u64, String> = BTreeMap::new();
    let ended: BTreeMap<Nonce, Duration> =
        evidence.calls.iter().filter_map(|call| Some((call.nonce, call.completed?))).collect();
    let mut owed: BTreeMap<(u64, i16), Option<Nonce>> = BTreeMap::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Opened { connection, client } => {
                clients.insert(*connection, client.clone());
            }
            Wire::Request { connection, stream, opcode, nonce, .. } => {
                if nonce.is_some() && opcode::runs_statement(*opcode) && !loads.contains_key(connection) {
                    let client = clients.get(connection).cloned().unwrap_or_default();
                    let load = Load {
                        client,
                        from: fact.at,
                        until: Duration::MAX,
                        changes: Vec::new(),
                        orphaned: Duration::MAX,
                    };
                    loads.insert(*connection, load);
                }
                if let Some(load) = loads.get_mut(connection)
                    && *stream != HEARTBEAT
                {
                    owed.insert((*connection, *stream), *nonce);
                    load.changes.push((fact.caused_at, 1));
                }
            }
            Wire::AnswerRead { connection, stream } => {
                let answered = owed.remove(&(*connection, *stream));
                if let (Some(load), Some(nonce)) = (loads.get_mut(connection), answered) {
                    load.changes.push((fact.at, -1));
                    load.give_up(nonce.and_then(|nonce| ended.get(&nonce).copied()), fact.at);
                }
            }
            Wire::Dropped { connection } | Wire::Closed { connection, .. } => {
                if let Some(load) = loads.get_mut(connection) {
                    load.until = load.until.min(fact.at.min(fact.caused_at));
                }
            }
            _ => {}
        }
    }
    for ((connection, _), nonce) in owed {
        if let Some(load) = loads.get_mut(&connection) {
            load.give_up(nonce.and_then(|nonce| ended.get(&nonce).copied()), Duration::MAX);
        }
    }
    loads.into_values().collect()
}

impl Load {
    /// Notes that the call of a request had ended before the answer was read.
    fn give_up(&mut self, ended: Option<Duration>, read: Duration) {
        if let Some(ended) = ended.filter(|ended| *ended < read) {
            self.orphaned = self.orphaned.min(ended);
        }
    }
}

/// The stream of heartbeats, which take no capacity.
const HEARTBEAT: i16 = 0;

#[cfg(test)]
mod tests {
    use super::super::samples::{call, fact, failed, plan, request};
    use super::*;
    use crate::bounds::Bounds;
    use crate::history::Certainty;
    use crate::plan::Action;
    use crate::wire::Fact;

    fn failures(in_flight_max: u32, answered_at: u64) -> usize {
        let mut plan = plan();
        plan.driver.in_flight_max = in_flight_max;
        plan.driver.retry = RetryChoice::Default;
        let calls = [call(7, Action::Play { song: 1 }, 20, 20, Err(failed(Certainty::NotSent, "Busy")))];
        let wire: [Fact; 3] = [
            fact(0, Wire::Opened { connection: 1, client: "client-0".to_owned() }),
            request(5, 1, 3),
            fact(answered_at, Wire::AnswerRead { connection: 1, stream: 1 }),
        ];
        let bounds = Bounds::of(&plan);
        check(&Evidence { plan: &plan, bounds, calls: &calls, wire: &wire, truth: None }).len()
    }

    #[test]
    fn a_full_connection_may_refuse_and_one_with_room_may_not() {
        assert_eq!(failures(1, 21), 0, "full");
        assert_eq!(failures(1, 20), 1, "answered just then");
        assert_eq!(failures(2, 21), 1, "half full");
    }
}
