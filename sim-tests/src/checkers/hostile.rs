//! I40: bytes that make no sense are taken for nothing, and hurt no other connection.
//!
//! (That they cause no panic and no endless loop shows as `PANIC` and `BUDGET`.)

use super::{Class, Evidence, Failure};
use crate::history::Nonce;
use crate::wire::Wire;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Answers of one call that report no error: those that make sense, and the others.
#[derive(Default)]
struct Answers {
    sound: u32,
    broken: u32,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut answers: BTreeMap<Nonce, Answers> = BTreeMap::new();
    let mut next_is_broken: BTreeSet<u64> = BTreeSet::new();
    for fact in evidence.wire {
        match fact.what {
            Wire::Malformed { connection } => {
                next_is_broken.insert(connection);
            }
            Wire::Response { connection, error, nonce, .. } => {
                let is_broken = next_is_broken.remove(&connection);
                if let (None, Some(nonce)) = (error, nonce) {
                    let of_call = answers.entry(nonce).or_default();
                    *(if is_broken { &mut of_call.broken } else { &mut of_call.sound }) += 1;
                }
            }
            _ => {}
        }
    }
    let mut failures = Vec::new();
    for call in evidence.calls.iter().filter(|call| call.is_ok()) {
        if answers.get(&call.nonce).is_some_and(|answers| answers.broken > 0 && answers.sound == 0) {
            let text = format!("{} succeeded, and every answer to it was unreadable", call.nonce);
            failures.push(Failure::new("I40", Class::Safety, call.completed.unwrap_or(call.submitted), text));
        }
    }
    failures.extend(check_others(evidence));
    failures
}

/// Where nothing else goes wrong, no connection ends that had no unreadable answer.
fn check_others(evidence: &Evidence<'_>) -> Vec<Failure> {
    let harmless = ["force-answers", "node-clock", "client-clock", "empty-pages", "forget-prepared", "slow-schema"];
    let is_calm = evidence.plan.faults.iter().all(|fact| harmless.contains(&fact.kind().as_str()));
    if !is_calm || evidence.plan.driver.in_flight_max < 64 {
        return Vec::new();
    }
    let mut broken: BTreeSet<u64> = BTreeSet::new();
    let mut last: Option<Duration> = None;
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match fact.what {
            Wire::Malformed { connection } => {
                broken.insert(connection);
                last = Some(fact.at);
            }
            Wire::Dropped { connection } if !broken.contains(&connection) => {
                let soon = evidence.bounds.latency * 2 + evidence.bounds.slack;
                if last.is_some_and(|at| fact.at <= at + soon) {
                    let text = format!("connection {connection} ended with another one's unreadable answer");
                    failures.push(Failure::new("I40", Class::Safety, fact.at, text));
                }
            }
            _ => {}
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, fact, response, run};
    use super::*;
    use crate::history::Answer;
    use crate::plan::Action;

    #[test]
    fn a_call_does_not_succeed_by_an_answer_that_makes_no_sense() {
        let ok = || call(7, Action::Play { song: 1 }, 0, 50, Ok(Answer::Written));
        let broken = || vec![fact(5, Wire::Malformed { connection: 1 }), response(5, 1, 7, None)];
        assert_eq!(run(check, &[ok()], &broken(), None), ["I40"]);
        let retried = [broken(), vec![response(9, 2, 7, None)]].concat();
        assert!(run(check, &[ok()], &retried, None).is_empty());
        assert!(run(check, &[ok()], &[response(5, 1, 7, None)], None).is_empty());
    }

    #[test]
    fn an_unreadable_answer_ends_no_other_connection() {
        let broken = || fact(5, Wire::Malformed { connection: 1 });
        let ended = |connection| fact(6, Wire::Dropped { connection });
        assert!(run(check, &[], &[broken(), ended(1)], None).is_empty());
        assert_eq!(run(check, &[], &[broken(), ended(2)], None), ["I40"]);
        assert!(run(check, &[], &[ended(2), broken()], None).is_empty());
    }
}
