//! What the server's side of a connection knows: I3 stream ids, I5 foreign answers, I41 protocol violations.

use super::{Class, Evidence, Failure};
use crate::wire::{Wire, opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// I3: a stream id is not written again before the answer to its previous use was read.
pub(super) fn check_reuse(evidence: &Evidence<'_>) -> Vec<Failure> {
    #[derive(Default)]
    struct Stream {
        owed: bool,
        read_at: Duration,
    }
    let mut streams: BTreeMap<(u64, i16), Stream> = BTreeMap::new();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::AnswerRead { connection, stream } => {
                streams.insert((*connection, *stream), Stream { owed: false, read_at: fact.at });
            }
            Wire::Request { connection, stream, nonce, .. } => {
                let state = streams.entry((*connection, *stream)).or_default();
                // A request travels: what counts is when the client wrote it.
                if state.owed || fact.caused_at < state.read_at {
                    let whose = nonce.map_or_else(|| "an internal request".to_owned(), |nonce| nonce.to_string());
                    failures.push(Failure::new(
                        "I3",
                        Class::Safety,
                        fact.at,
                        format!(
                            "{whose} used stream {stream} of connection {connection} to node {} while an answer was owed on it",
                            fact.node
                        ),
                    ));
                }
                state.owed = true;
            }
            _ => {}
        }
    }
    failures
}

/// I5: an answer on a stream without a request, or one whose checksum is wrong, closes that connection.
///
/// (That it closes nothing else is visible as I27 and I19 failures of the other connections' calls.)
pub(super) fn check_foreign_answers(evidence: &Evidence<'_>) -> Vec<Failure> {
    // Where answers can be lost the foreign one may be among them.
    if evidence.plan.faults.iter().any(|fault| fault.kind() == "swallow-answers") {
        return Vec::new();
    }
    // The bytes may be delayed by faults, so the client is given until the last fault is over and more.
    let faults_last: Duration =
        evidence.plan.faults.iter().map(|fault| Duration::from_millis(fault.for_ms)).max().unwrap_or_default();
    let patience = faults_last + evidence.bounds.detect + Duration::from_secs(10);
    let end = evidence.wire.last().map_or(Duration::ZERO, |fact| fact.at);
    // Connections that are past their handshake, with their node.
    let mut ready: BTreeMap<u64, u32> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut suspects: Vec<(Duration, u64, u32)> = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Request { connection, opcode, .. } if opcode::runs_statement(*opcode) => {
                ready.insert(*connection, fact.node);
            }
            Wire::Closed { connection, .. } => {
                ready.remove(connection);
                suspects.retain(|suspect| suspect.1 != *connection);
            }
            Wire::Spoiled { connection } => {
                if let Some(node) = ready.get(connection) {
                    suspects.push((fact.at, *connection, *node));
                }
            }
            Wire::ForeignAnswer => {
                let here = ready.iter().filter(|(_, node)| **node == fact.node);
                suspects.extend(here.map(|(connection, node)| (fact.at, *connection, *node)));
            }
            _ => {}
        }
    }
    for (at, connection, node) in suspects {
        if end > at + patience {
            failures.push(Failure::new(
                "I5",
                Class::Safety,
                at,
                format!("connection {connection} to node {node} survived an answer to no request, or a corrupt one"),
            ));
        }
    }
    failures
}

/// I41: the server's strict parser never found fault with what the driver sent.
pub(super) fn check_violations(evidence: &Evidence<'_>) -> Vec<Failure> {
    let violations = evidence.wire.iter().filter_map(|fact| match &fact.what {
        // Offering a version that the server refuses is how versions are negotiated.
        Wire::Violation { reason, .. }
            if reason.contains("version of the protocol") || reason.contains("protocol version") =>
        {
            None
        }
        Wire::Violation { connection, reason } => Some(Failure::new(
            "I41",
            Class::Safety,
            fact.at,
            format!("connection {connection} to node {}: {reason}", fact.node),
        )),
        _ => None,
    });
    violations.collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, request, run};
    use super::*;

    #[test]
    fn a_stream_is_free_again_when_its_answer_was_read() {
        let read = |at| fact(at, Wire::AnswerRead { connection: 1, stream: 1 });
        assert!(run(check_reuse, &[], &[request(5, 1, 9), read(8), request(8, 1, 10)], None).is_empty());
        assert_eq!(run(check_reuse, &[], &[request(5, 1, 9), request(8, 1, 10)], None), ["I3"], "never answered");
        let mut early = request(9, 1, 10);
        early.caused_at = Duration::from_millis(7);
        assert_eq!(run(check_reuse, &[], &[request(5, 1, 9), read(8), early], None), ["I3"], "written before the read");
        assert!(run(check_reuse, &[], &[request(5, 1, 9), request(8, 2, 10)], None).is_empty(), "other connection");
    }

    #[test]
    fn a_connection_that_survives_a_foreign_answer_fails() {
        let foreign = || vec![request(1, 3, 9), fact(5, Wire::ForeignAnswer)];
        let much_later = || fact(10_000_000, Wire::Note("end".to_owned()));
        let closed = || fact(9, Wire::Closed { connection: 3, by_client: true });
        let check = |facts: Vec<crate::wire::Fact>| {
            let mut plan = super::super::samples::plan();
            plan.faults.clear();
            let evidence = Evidence {
                plan: &plan,
                bounds: crate::bounds::Bounds::of(&plan),
                calls: &[],
                wire: &facts,
                truth: None,
            };
            check_foreign_answers(&evidence).len()
        };
        assert_eq!(check([foreign(), vec![closed(), much_later()]].concat()), 0);
        assert_eq!(check([foreign(), vec![much_later()]].concat()), 1);
        assert_eq!(check(foreign()), 0, "not enough time has passed");
    }

    #[test]
    fn a_protocol_violation_fails() {
        let bad = fact(5, Wire::Violation { connection: 3, reason: "bad CRC".to_owned() });
        assert_eq!(run(check_violations, &[], &[bad], None), ["I41"]);
    }
}
