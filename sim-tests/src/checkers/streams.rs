//! What the server's side of a connection knows: I3 stream ids, I5 foreign answers, I41 protocol violations.

use super::{Class, Evidence, Failure};
use crate::wire::Wire;
use std::collections::{BTreeMap, BTreeSet};
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

/// I5: an answer on a stream without a request, or one whose checksum is wrong, closes that connection as soon as the
/// client has read it.
///
/// (That it closes nothing else is visible as I27 and I19 failures of the other connections' calls.)
pub(super) fn check_foreign_answers(evidence: &Evidence<'_>) -> Vec<Failure> {
    let end = evidence.wire.last().map_or(Duration::ZERO, |fact| fact.at);
    // Answers that no client may accept, on their way, and since when clients have read one.
    let mut sent: BTreeSet<(u64, i16)> = BTreeSet::new();
    let mut read: BTreeMap<u64, (Duration, u32)> = BTreeMap::new();
    let mut spoils_next: BTreeSet<u64> = BTreeSet::new();
    let mut foreign: Option<(Duration, u32)> = None;
    let mut owed: BTreeSet<(u64, i16)> = BTreeSet::new();
    let mut failures = Vec::new();
    let mut judge = |connection: u64, (at, node): (Duration, u32), until: Duration| {
        if until > at + evidence.bounds.slack {
            let text =
                format!("connection {connection} to node {node} survived an answer to no request, or a corrupt one");
            failures.push(Failure::new("I5", Class::Safety, at, text));
        }
    };
    for fact in evidence.wire {
        match &fact.what {
            Wire::ForeignAnswer => foreign = Some((fact.at, fact.node)),
            Wire::Spoiled { connection } => {
                spoils_next.insert(*connection);
            }
            Wire::Request { connection, stream, .. } => {
                owed.insert((*connection, *stream));
            }
            Wire::Response { connection, stream, nonce, .. } => {
                let is_owed = owed.remove(&(*connection, *stream));
                // The node sends them to all clients at one moment, at which it may answer others.
                let is_foreign = nonce.is_none() && !is_owed && foreign == Some((fact.at, fact.node));
                if spoils_next.remove(connection) || is_foreign {
                    sent.insert((*connection, *stream));
                }
            }
            Wire::AnswerRead { connection, stream } if sent.remove(&(*connection, *stream)) => {
                read.entry(*connection).or_insert((fact.at, fact.node));
            }
            Wire::Dropped { connection } | Wire::Closed { connection, .. } => {
                if let Some(since) = read.remove(connection) {
                    judge(*connection, since, fact.at.min(fact.caused_at));
                }
            }
            _ => {}
        }
    }
    for (connection, since) in read {
        judge(connection, since, end);
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
    use super::super::samples::{fact, request, response, run};
    use super::*;
    use crate::wire::Fact;

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
        let mut answer = response(5, 3, 9, None);
        if let Wire::Response { nonce, .. } = &mut answer.what {
            *nonce = None;
        }
        let foreign = [fact(5, Wire::ForeignAnswer), answer.clone()];
        let spoiled = [fact(5, Wire::Spoiled { connection: 3 }), response(5, 3, 9, None)];
        let read = || fact(10, Wire::AnswerRead { connection: 3, stream: 1 });
        let dropped = |at| fact(at, Wire::Dropped { connection: 3 });
        let later = || fact(10_000, Wire::Note("end".to_owned()));
        for sent in [foreign, spoiled] {
            let check = |more: Vec<Fact>| run(check_foreign_answers, &[], &[sent.to_vec(), more].concat(), None).len();
            assert_eq!(check(vec![read(), dropped(110), later()]), 0);
            assert_eq!(check(vec![read(), dropped(111), later()]), 1, "beyond the slack of 100 ms");
            assert_eq!(check(vec![read(), later()]), 1);
            assert_eq!(check(vec![later()]), 0, "never read");
        }
        let ordinary = [answer.clone(), read(), later()];
        assert!(run(check_foreign_answers, &[], &ordinary, None).is_empty());
        let at_that_moment = [fact(5, Wire::ForeignAnswer), request(5, 3, 9), answer, read(), later()];
        assert!(run(check_foreign_answers, &[], &at_that_moment, None).is_empty(), "the client asked for this one");
    }

    #[test]
    fn a_protocol_violation_fails() {
        let bad = fact(5, Wire::Violation { connection: 3, reason: "bad CRC".to_owned() });
        assert_eq!(run(check_violations, &[], &[bad], None), ["I41"]);
    }
}
