//! I34: the reader of a connection waits for nobody: what has arrived is read at once, and what was read reaches its
//! caller at once.

use super::{Class, Evidence, Failure};
use crate::history::{Call, Nonce};
use crate::plan::Action;
use crate::wire::Wire;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    // The latest requests by stream, and the moments at which answers without an error were read, by call.
    let mut answering: BTreeMap<(u64, i16), Nonce> = BTreeMap::new();
    let mut read: BTreeMap<Nonce, Vec<Duration>> = BTreeMap::new();
    for fact in evidence.wire {
        match fact.what {
            Wire::Response { connection, stream, error: None, nonce: Some(nonce), .. } => {
                answering.insert((connection, stream), nonce);
            }
            Wire::AnswerRead { connection, stream } => {
                if fact.at > fact.caused_at + PROMPT {
                    let text = format!(
                        "an answer on stream {stream} of connection {connection} arrived at {:?} and was read later",
                        fact.caused_at
                    );
                    failures.push(Failure::new("I34", Class::Liveness, fact.at, text));
                }
                if let Some(nonce) = answering.remove(&(connection, stream)) {
                    read.entry(nonce).or_default().push(fact.at);
                }
            }
            _ => {}
        }
    }
    failures.extend(evidence.calls.iter().filter_map(|call| late(call, read.get(&call.nonce)?)));
    failures
}

/// A call that succeeded long after its answer was read. What waits for more than an answer does not count: pages,
/// and the agreement after a schema change.
fn late(call: &Call, read: &[Duration]) -> Option<Failure> {
    let waits = matches!(
        call.action,
        Action::CreateTable
            | Action::AddColumn
            | Action::DropColumn { .. }
            | Action::ListPlaylist { .. }
            | Action::ListStatic { .. }
    );
    let completed = call.completed.filter(|_| call.is_ok() && !waits)?;
    let answered = read.iter().copied().filter(|at| *at <= completed).max()?;
    (completed > answered + PROMPT).then(|| {
        let text = format!("the answer to {} was read at {answered:?}, its caller was told later", call.nonce);
        Failure::new("I34", Class::Liveness, completed, text)
    })
}

/// Timers have a grain of a millisecond; nothing else stands between an answer and its caller.
const PROMPT: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::super::samples::{call, fact, response, run};
    use super::*;
    use crate::history::Answer;
    use crate::wire::Fact;

    fn read(arrived: u64, at: u64) -> Fact {
        let mut fact = fact(at, Wire::AnswerRead { connection: 1, stream: 1 });
        fact.caused_at = Duration::from_millis(arrived);
        fact
    }

    #[test]
    fn what_has_arrived_is_read_within_the_grain_of_a_timer() {
        assert!(run(check, &[], &[read(10, 15)], None).is_empty());
        assert_eq!(run(check, &[], &[read(10, 16)], None), ["I34"]);
    }

    #[test]
    fn what_was_read_is_told_within_the_grain_of_a_timer() {
        let told = |to| call(7, Action::AddSong { song: 1 }, 0, to, Ok(Answer::Written));
        let wire = [response(8, 1, 7, None), read(10, 10)];
        assert!(run(check, &[told(15)], &wire, None).is_empty());
        assert_eq!(run(check, &[told(16)], &wire, None), ["I34"]);
        assert!(run(check, &[told(9)], &wire, None).is_empty(), "another attempt had been answered before");
    }
}
