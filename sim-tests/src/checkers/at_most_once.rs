//! I8: what is not idempotent executes at most once.
//!
//! Wire form: after an attempt that may have executed, no further attempt of the call reaches any node. An attempt is
//! harmless only if the node answered with an error that proves that nothing ran. Value form: counters lie between the
//! increments that were acknowledged and those that may have happened.

use super::{Class, Evidence, Failure};
use crate::history::Answer;
use crate::plan::Action;
use crate::wire::{Fact, Wire, error_code, opcode};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = check_wire(evidence);
    failures.extend(check_counters(evidence));
    failures
}

fn check_wire(evidence: &Evidence<'_>) -> Vec<Failure> {
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls.iter().filter(|call| !call.action.is_idempotent()) {
        // The connection, stream and node of an attempt whose harmlessness is not proven.
        let mut open: Option<(u64, i16, u32)> = None;
        for fact in facts.get(&call.nonce).into_iter().flatten() {
            match &fact.what {
                Wire::Request { connection, stream, opcode, .. } if opcode::runs_statement(*opcode) => {
                    if let Some((_, _, node)) = open {
                        failures.push(Failure::new(
                            "I8",
                            Class::Safety,
                            fact.at,
                            format!(
                                "{} ({:?}) was sent to node {} although node {node} may have executed it",
                                call.nonce, call.action, fact.node
                            ),
                        ));
                        break;
                    }
                    open = Some((*connection, *stream, fact.node));
                }
                Wire::Response { connection, stream, error: Some(code), .. }
                    if open == Some((*connection, *stream, fact.node)) && proves_not_executed(*code, &call.action) =>
                {
                    open = None;
                }
                _ => {}
            }
        }
    }
    failures
}

/// Whether an error says that the statement had no effect and will have none.
fn proves_not_executed(code: i32, action: &Action) -> bool {
    match code {
        // A lightweight transaction may have got a promise or a proposal through before.
        error_code::UNAVAILABLE => !action.is_conditional(),
        error_code::IS_BOOTSTRAPPING => true,
        code => code >= error_code::STATEMENT_ERRORS,
    }
}

fn check_counters(evidence: &Evidence<'_>) -> Vec<Failure> {
    let Some(truth) = evidence.truth else { return Vec::new() };
    let mut expected: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for call in evidence.calls {
        if let Action::Play { song } = call.action {
            let (acked, possible) = expected.entry(song).or_default();
            *acked += i64::from(call.is_ok());
            *possible += i64::from(call.may_have_happened());
        }
    }
    let end = evidence.wire.last().map_or(Duration::ZERO, |fact: &Fact| fact.at);
    let mut failures = Vec::new();
    for (song, (acked, possible)) in &expected {
        let plays = truth.plays.get(song).copied().unwrap_or(0);
        if plays < *acked || plays > *possible {
            // Too few is a lost acknowledgement, too many a repeated execution.
            let checker = if plays < *acked { "I48" } else { "I8" };
            failures.push(Failure::new(
                checker,
                Class::Safety,
                end,
                format!("song {song} has {plays} plays; {acked} were acknowledged and {possible} may have happened"),
            ));
        }
    }
    failures.extend(check_counter_reads(evidence));
    failures
}

/// What an application reads of a counter lies between what was acknowledged before and what may have happened by then.
fn check_counter_reads(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for read in evidence.calls {
        let (Action::ReadPlays { song }, Some(Ok(Answer::Plays(plays)))) = (&read.action, &read.outcome) else {
            continue;
        };
        let increments = || evidence.calls.iter().filter(|call| call.action == Action::Play { song: *song });
        let acked = increments()
            .filter(|call| call.is_ok() && call.completed_before(read.submitted))
            .filter(|call| call.level.overlaps(read.level, &evidence.plan.cluster))
            .count();
        let possible = increments()
            .filter(|call| call.may_have_happened() && read.completed.is_some_and(|end| call.submitted <= end))
            .count();
        let range = i64::try_from(acked).unwrap_or(i64::MAX)..=i64::try_from(possible).unwrap_or(i64::MAX);
        if !range.contains(plays) {
            failures.push(Failure::new(
                if plays < range.start() { "I48" } else { "I8" },
                Class::Safety,
                read.completed.unwrap_or(read.submitted),
                format!("{} read {plays} plays of song {song}, {range:?} are possible", read.nonce),
            ));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, request, response, run};
    use super::*;
    use crate::history::Certainty;
    use crate::truth::Truth;

    fn play(nonce: u64, outcome: Result<Answer, crate::history::Failed>) -> crate::history::Call {
        call(nonce, Action::Play { song: 1 }, 0, 50, outcome)
    }

    #[test]
    fn a_second_attempt_after_a_proof_of_nothing_passes() {
        for code in [error_code::UNPREPARED, error_code::UNAVAILABLE, error_code::IS_BOOTSTRAPPING] {
            let wire = [request(1, 1, 7), response(2, 1, 7, Some(code)), request(3, 2, 7), response(4, 2, 7, None)];
            assert!(run(check, &[play(7, Ok(Answer::Written))], &wire, None).is_empty(), "{code:x}");
        }
    }

    #[test]
    fn a_second_attempt_after_silence_or_a_timeout_fails() {
        let after_silence = [request(1, 1, 7), request(3, 2, 7)];
        assert_eq!(run(check, &[play(7, Ok(Answer::Written))], &after_silence, None), ["I8"]);
        for code in [error_code::WRITE_TIMEOUT, error_code::OVERLOADED, 0] {
            let wire = [request(1, 1, 7), response(2, 1, 7, Some(code)), request(3, 2, 7)];
            assert_eq!(run(check, &[play(7, Ok(Answer::Written))], &wire, None), ["I8"], "{code:x}");
        }
    }

    #[test]
    fn idempotent_calls_may_be_repeated() {
        let wire = [request(1, 1, 7), request(3, 2, 7)];
        let add = call(7, Action::AddSong { song: 1 }, 0, 50, Ok(Answer::Written));
        assert!(run(check, &[add], &wire, None).is_empty());
    }

    #[test]
    fn unavailable_proves_nothing_for_a_lightweight_transaction() {
        let register =
            call(7, Action::Register { user: 1 }, 0, 50, Ok(Answer::Registered { applied: true, owner: None }));
        let wire = [request(1, 1, 7), response(2, 1, 7, Some(error_code::UNAVAILABLE)), request(3, 2, 7)];
        assert_eq!(run(check, &[register], &wire, None), ["I8"]);
    }

    #[test]
    fn counters_lie_between_acknowledged_and_possible_increments() {
        let calls = [
            play(1, Ok(Answer::Written)),
            play(2, Err(failed(Certainty::MaybeApplied, "WriteTimeout"))),
            play(3, Err(failed(Certainty::NotSent, "NoNodeAvailable"))),
        ];
        for (plays, expected) in [(0, vec!["I48"]), (1, vec![]), (2, vec![]), (3, vec!["I8"])] {
            let truth = Truth { plays: BTreeMap::from([(1, plays)]), ..Truth::default() };
            assert_eq!(run(check, &calls, &[], Some(&truth)), expected, "{plays} plays");
        }
    }
}
