//! Rare states that a campaign must reach: a mark that is never hit means that the tests are weak there.

use crate::checkers::Evidence;
use crate::history::{Answer, Certainty};
use crate::plan::Action;
use crate::wire::{Wire, error_code, opcode};
use simcluster::fault::Fault;
use std::collections::{BTreeMap, BTreeSet};

/// Every mark, in alphabetical order.
pub const MARKS: [&str; 34] = [
    "batch acknowledged",
    "call refused for lack of capacity",
    "client timeout",
    "connection closed by the client",
    "connection lost",
    "control connection moved",
    "counter incremented",
    "empty page",
    "error labelled maybe applied",
    "error labelled not sent",
    "error labelled rejected",
    "event repeated",
    "foreign answer sent",
    "keyspace chosen",
    "late answer",
    "lightweight transaction lost",
    "lightweight transaction won",
    "maybe applied: it did not happen",
    "maybe applied: it happened",
    "mistyped value refused",
    "more than three pages",
    "node seen down",
    "non-idempotent call failed without retry",
    "peers read while they were wrong",
    "read timeout from a coordinator",
    "reconnected",
    "repeated after UNPREPARED",
    "retry reached another node",
    "retry succeeded",
    "schema changed",
    "tag removed",
    "unavailable",
    "unreadable answer",
    "write timeout from a coordinator",
];

/// The marks that a finished run hit. What only the live run sees (`node seen down`) is added there.
#[must_use]
pub fn of(evidence: &Evidence<'_>) -> BTreeSet<&'static str> {
    let mut marks = BTreeSet::new();
    mark_wire(evidence, &mut marks);
    mark_calls(evidence, &mut marks);
    marks
}

fn mark_wire(evidence: &Evidence<'_>, marks: &mut BTreeSet<&'static str>) {
    let mut registered: BTreeSet<u64> = BTreeSet::new();
    let mut opened: BTreeMap<(&str, u32), u32> = BTreeMap::new();
    let mut lost: BTreeSet<u32> = BTreeSet::new();
    let mut dirty: BTreeSet<u32> = BTreeSet::new();
    let mut attempts: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    let mut unprepared = BTreeSet::new();
    let mut completed: BTreeMap<_, _> = BTreeMap::new();
    let mut events: BTreeSet<(u64, &str)> = BTreeSet::new();
    for call in evidence.calls {
        completed.insert(call.nonce, call.completed);
    }
    for fact in evidence.wire {
        match &fact.what {
            Wire::Registered { connection } => {
                registered.insert(*connection);
            }
            Wire::Opened { client, .. } => {
                *opened.entry((client, fact.node)).or_default() += 1;
                if lost.contains(&fact.node) {
                    marks.insert("reconnected");
                }
            }
            Wire::Closed { by_client: true, .. } => {
                marks.insert("connection closed by the client");
            }
            Wire::Closed { .. } => {
                lost.insert(fact.node);
                marks.insert("connection lost");
            }
            Wire::Request { nonce: Some(nonce), opcode, .. } if opcode::runs_statement(*opcode) => {
                if unprepared.contains(nonce) {
                    marks.insert("repeated after UNPREPARED");
                }
                attempts.entry(*nonce).or_default().push(fact.node);
            }
            Wire::Response { nonce: Some(nonce), error, .. } => {
                match error {
                    Some(error_code::UNPREPARED) => {
                        unprepared.insert(*nonce);
                    }
                    Some(error_code::UNAVAILABLE) => {
                        marks.insert("unavailable");
                    }
                    Some(error_code::WRITE_TIMEOUT) => {
                        marks.insert("write timeout from a coordinator");
                    }
                    Some(error_code::READ_TIMEOUT) => {
                        marks.insert("read timeout from a coordinator");
                    }
                    _ => {}
                }
                if completed.get(nonce).is_some_and(|end| end.is_some_and(|end| end < fact.at)) {
                    marks.insert("late answer");
                }
            }
            Wire::ForeignAnswer => {
                marks.insert("foreign answer sent");
            }
            Wire::Malformed { .. } => {
                marks.insert("unreadable answer");
            }
            Wire::Fault { begins, fault: Fault::DirtyPeers { node, .. } } => {
                if *begins {
                    dirty.insert(node.0)
                } else {
                    dirty.remove(&node.0)
                };
            }
            Wire::Request { connection, opcode: opcode::QUERY, .. }
                if dirty.contains(&fact.node) && registered.contains(connection) =>
            {
                marks.insert("peers read while they were wrong");
            }
            Wire::Event { connection, event } if !events.insert((*connection, event)) => {
                marks.insert("event repeated");
            }
            _ => {}
        }
    }
    if registered.len() > evidence.plan.clients as usize {
        marks.insert("control connection moved");
    }
    for call in evidence.calls {
        let nodes = attempts.get(&call.nonce).map_or(&[][..], Vec::as_slice);
        let paged = !call.pages.is_empty();
        if !paged && nodes.windows(2).any(|pair| pair[0] != pair[1]) {
            marks.insert("retry reached another node");
            if call.is_ok() && !unprepared.contains(&call.nonce) {
                marks.insert("retry succeeded");
            }
        }
        if !call.action.is_idempotent() && nodes.len() == 1 && matches!(call.outcome, Some(Err(_))) {
            marks.insert("non-idempotent call failed without retry");
        }
    }
}

fn mark_calls(evidence: &Evidence<'_>, marks: &mut BTreeSet<&'static str>) {
    for call in evidence.calls {
        if call.pages.len() > 3 {
            marks.insert("more than three pages");
        }
        if call.pages.contains(&0) {
            marks.insert("empty page");
        }
        match (&call.action, &call.outcome) {
            (Action::AppendToPlaylist { entries: 2.., .. }, Some(Ok(_))) => {
                marks.insert("batch acknowledged");
            }
            (Action::Play { .. }, Some(Ok(_))) => {
                marks.insert("counter incremented");
            }
            (Action::RemoveTag { .. }, Some(Ok(_))) => {
                marks.insert("tag removed");
            }
            (Action::CreateTable, Some(Ok(_))) => {
                marks.insert("schema changed");
            }
            (Action::Register { .. }, Some(Ok(Answer::Registered { applied, .. }))) => {
                marks.insert(if *applied { "lightweight transaction won" } else { "lightweight transaction lost" });
            }
            (Action::UseKeyspace { .. }, Some(Ok(_))) => {
                marks.insert("keyspace chosen");
            }
            (Action::Mistype { .. }, Some(Err(_))) => {
                marks.insert("mistyped value refused");
            }
            (action, Some(Err(failed))) => {
                if failed.is_client_timeout() {
                    marks.insert("client timeout");
                }
                if failed.kind == "Busy" {
                    marks.insert("call refused for lack of capacity");
                }
                match failed.certainty {
                    Certainty::NotSent => {
                        marks.insert("error labelled not sent");
                    }
                    Certainty::Rejected => {
                        marks.insert("error labelled rejected");
                    }
                    Certainty::MaybeApplied => {
                        marks.insert("error labelled maybe applied");
                        mark_uncertain(evidence, call.nonce, action, marks);
                    }
                    Certainty::Applied => {}
                }
            }
            _ => {}
        }
    }
}

/// An uncertain write whose entry is, or is not, in the final data.
fn mark_uncertain(
    evidence: &Evidence<'_>,
    nonce: crate::history::Nonce,
    action: &Action,
    marks: &mut BTreeSet<&'static str>,
) {
    let (Action::AppendToPlaylist { playlist, entries }, Some(truth)) = (action, evidence.truth) else { return };
    let there = truth.entries.get(playlist);
    let happened = crate::app::entry_orders(nonce, *entries).any(|order| there.is_some_and(|t| t.contains(&order)));
    marks.insert(if happened { "maybe applied: it happened" } else { "maybe applied: it did not happen" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Bounds;
    use crate::checkers::samples::{call, fact, failed, plan, request};

    #[test]
    fn the_list_is_sorted_and_without_repetition() {
        assert!(MARKS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn marks_are_hit_by_what_they_name() {
        let plan = plan();
        let calls = [
            call(1, Action::AddSong { song: 1 }, 0, 9, Ok(Answer::Written)),
            call(2, Action::Play { song: 1 }, 0, 9, Err(failed(Certainty::MaybeApplied, "WriteTimeout"))),
        ];
        let mut elsewhere = request(2, 2, 1);
        elsewhere.node = 1;
        let wire = [
            request(1, 1, 1),
            elsewhere,
            request(1, 1, 2),
            fact(3, Wire::Closed { connection: 1, by_client: false }),
            fact(4, Wire::Opened { connection: 3, client: "client-0".to_owned() }),
        ];
        let evidence = Evidence { plan: &plan, bounds: Bounds::of(&plan), calls: &calls, wire: &wire, truth: None };
        let marks = of(&evidence);
        for expected in [
            "retry reached another node",
            "retry succeeded",
            "error labelled maybe applied",
            "non-idempotent call failed without retry",
            "connection lost",
            "reconnected",
        ] {
            assert!(marks.contains(expected), "{expected}: {marks:?}");
        }
        assert!(!marks.contains("client timeout") && !marks.contains("late answer"), "{marks:?}");
        assert!(marks.iter().all(|mark| MARKS.contains(mark)));
    }
}
