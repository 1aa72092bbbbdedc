//! I27: when a connection dies, its unanswered calls are retried or failed at once.
//!
//! Seen from outside: a call that ends in a client timeout although the client knew that the connection of its last
//! attempt was gone was forgotten by the driver.

use super::{Class, Evidence, Failure};
use crate::plan::PlannedFault;
use crate::wire::{Fact, Wire, error_code, opcode};
use simcluster::fault::{CrashKind, Fault};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    // What a node or fault ends becomes known to the client when the bytes arrive, which a cut may delay.
    let cuts = ["cut-client", "partition", "slow-link", "pause", "replace"];
    let arrives = !evidence.plan.faults.iter().any(|fault| cuts.contains(&fault.kind().as_str()) || is_silent(fault));
    let mut closed: BTreeMap<u64, Duration> = BTreeMap::new();
    for fact in evidence.wire {
        if let Wire::Closed { connection, by_client } = fact.what {
            if by_client {
                closed.entry(connection).or_insert(fact.caused_at);
            } else if arrives {
                closed.entry(connection).or_insert(fact.at + evidence.bounds.latency);
            }
        }
    }
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls {
        let (Some(completed), Some(Err(failed))) = (call.completed, &call.outcome) else { continue };
        if !failed.is_client_timeout() {
            continue;
        }
        let mut attempts: Vec<&&Fact> = facts
            .get(&call.nonce)
            .into_iter()
            .flatten()
            .filter(|f| matches!(f.what, Wire::Request { opcode, .. } if opcode::runs_statement(opcode)))
            .collect();
        // Attempts to slow nodes arrive after later ones to others: the order of writing counts.
        attempts.sort_by_key(|fact| fact.caused_at);
        // UNPREPARED is answered by repeating the same attempt.
        let repeated = facts
            .get(&call.nonce)
            .into_iter()
            .flatten()
            .filter(|fact| matches!(fact.what, Wire::Response { error: Some(error_code::UNPREPARED), .. }));
        // An attempt that no node saw may be the one that was waited for.
        if attempts.len() != failed.attempts + repeated.count() {
            continue;
        }
        let Some(Fact { what: Wire::Request { connection, .. }, node, .. }) = attempts.last() else { continue };
        // What is older than the limit belongs to an earlier page of the call.
        let limit = Duration::from_millis(evidence.plan.driver.request_timeout_ms) + evidence.bounds.slack;
        let is_of_last_page = attempts.last().is_some_and(|last| last.caused_at + limit >= completed);
        if !is_of_last_page || !closed.contains_key(connection) {
            continue;
        }
        // Of attempts at the same time, one that may still be answered is worth waiting for.
        let ends: Option<Vec<End>> = attempts.iter().map(|fact| ended(fact, &closed, evidence.wire)).collect();
        let Some(End { at: died, by_answer }) = ends.and_then(|ends| ends.into_iter().max()) else { continue };
        // After an error a call may pause before it tries again; after a page it may wait a whole limit for the next.
        let driver = &evidence.plan.driver;
        let shortest_limit =
            [driver.request_timeout_ms, driver.attempt_timeout_ms].into_iter().filter(|ms| *ms > 0).min();
        let may_be_next_page = died + Duration::from_millis(shortest_limit.unwrap_or(0)) <= completed;
        if by_answer && (may_be_next_page || !is_successful(facts.get(&call.nonce), died)) {
            continue;
        }
        // An attempt with a limit of its own is waited for no longer, and a pause may follow.
        let attempt_limit = Duration::from_millis(evidence.plan.driver.attempt_timeout_ms);
        let attempt_over = attempts.last().map(|last| last.caused_at + attempt_limit);
        let waited_until = attempt_over.filter(|_| !attempt_limit.is_zero()).map_or(completed, |at| at.min(completed));
        if died + evidence.bounds.slack * 2 < waited_until {
            failures.push(Failure::new(
                "I27",
                Class::Safety,
                completed,
                format!(
                    "{} waited for its timeout at {completed:?} though its connection {connection} to node {node} was closed at {died:?}",
                    call.nonce
                ),
            ));
        }
    }
    failures
}

/// When the client could stop waiting for an attempt, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: Duration,
    by_answer: bool,
}

/// When nothing could come of an attempt any more: its answer was read, or its connection had died.
fn ended(attempt: &Fact, closed: &BTreeMap<u64, Duration>, wire: &[Fact]) -> Option<End> {
    let Wire::Request { connection: of, stream: on, .. } = attempt.what else { return None };
    let is_read = |fact: &&Fact| {
        matches!(fact.what, Wire::AnswerRead { connection, stream } if connection == of && stream == on)
            && fact.at >= attempt.at
    };
    let read = wire.iter().find(is_read).map(|fact| End { at: fact.at, by_answer: true });
    let closed = closed.get(&of).map(|at| End { at: *at, by_answer: false });
    [read, closed].into_iter().flatten().min()
}

/// Whether the last answer to a call that was sent before `read` has no error.
fn is_successful(facts: Option<&Vec<&Fact>>, read: Duration) -> bool {
    let answers = facts.into_iter().flatten().filter(|fact| fact.at <= read);
    let mut errors = answers.filter_map(|fact| match fact.what {
        Wire::Response { error, .. } => Some(error),
        _ => None,
    });
    errors.next_back().is_some_and(|error| error.is_none())
}

fn is_silent(fault: &PlannedFault) -> bool {
    matches!(fault.fault, Fault::Crash { how: CrashKind::Silence, .. })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, fact, failed, request, response, run};
    use super::*;
    use crate::history::Certainty;
    use crate::plan::Action;

    #[test]
    fn a_call_that_outlives_its_closed_connection_fails() {
        let timed_out = failed(Certainty::MaybeApplied, "Timeout");
        let call = call(7, Action::Play { song: 1 }, 0, 2_000, Err(timed_out));
        let close = |at| fact(at, Wire::Closed { connection: 1, by_client: true });
        assert_eq!(run(check, std::slice::from_ref(&call), &[request(1, 1, 7), close(500)], None), ["I27"]);
        assert!(run(check, std::slice::from_ref(&call), &[request(1, 1, 7), close(1_990)], None).is_empty());
        assert!(run(check, std::slice::from_ref(&call), &[request(1, 1, 7)], None).is_empty());
        let read = |at| fact(at, Wire::AnswerRead { connection: 1, stream: 1 });
        let answered = |error| [request(1, 1, 7), response(400, 1, 7, error), read(500), close(9_000)];
        assert_eq!(run(check, std::slice::from_ref(&call), &answered(None), None), ["I27"]);
        let unavailable = Some(error_code::UNAVAILABLE);
        assert!(run(check, &[call], &answered(unavailable), None).is_empty(), "it pauses before it tries again");
    }
}
