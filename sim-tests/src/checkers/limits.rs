//! I33: what the driver does for itself has limits too: handshakes, and the questions of the control connection.

use super::{Class, Evidence, Failure};
use crate::wire::{Wire, opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// The driver's limit of a refresh.
const CONTROL: Duration = Duration::from_secs(5);

/// One connection of a session.
#[derive(Default)]
struct Life {
    opened: Duration,
    /// The stream of the question that ends the handshake.
    last_step: Option<i16>,
    /// When it was answered.
    ready: Option<Duration>,
    is_control: bool,
    /// Own questions without an answer: their streams, and when they were written.
    owed: BTreeMap<i16, Duration>,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let connect = Duration::from_millis(evidence.plan.driver.connect_timeout_ms);
    let end = evidence.wire.last().map_or(Duration::ZERO, |fact| fact.at);
    let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut judge = |connection: u64, life: &Life, until: Duration| {
        let mut fail = |at, what: &str| {
            let text = format!("connection {connection} was kept beyond the limit of {what}");
            failures.push(Failure::new("I33", Class::Liveness, at, text));
        };
        let handshake = life.opened + connect + evidence.bounds.slack;
        if life.ready.is_none_or(|ready| ready > handshake) && until > handshake {
            fail(handshake, "its handshake");
        }
        let oldest = life.owed.values().min().filter(|_| life.is_control);
        if let Some(due) = oldest.map(|asked| *asked + CONTROL + evidence.bounds.slack).filter(|due| *due < until) {
            fail(due, "a question of the control connection");
        }
    };
    for fact in evidence.wire {
        match &fact.what {
            Wire::Opened { connection, client } if client.starts_with("client-") => {
                lives.insert(*connection, Life { opened: fact.at, ..Life::default() });
            }
            Wire::Registered { connection } => {
                if let Some(life) = lives.get_mut(connection) {
                    life.is_control = true;
                }
            }
            Wire::Request { connection, stream, opcode: opcode::QUERY | opcode::REGISTER, nonce: None, .. } => {
                if let Some(life) = lives.get_mut(connection) {
                    life.last_step.get_or_insert(*stream);
                    life.owed.insert(*stream, fact.caused_at);
                }
            }
            Wire::AnswerRead { connection, stream } => {
                let Some(life) = lives.get_mut(connection) else { continue };
                if let Some(asked) = life.owed.remove(stream)
                    && life.is_control
                    && fact.at > asked + CONTROL + evidence.bounds.slack
                {
                    let late = Life {
                        owed: BTreeMap::from([(*stream, asked)]),
                        is_control: true,
                        ready: Some(asked),
                        ..Life::default()
                    };
                    judge(*connection, &late, fact.at);
                }
                if life.last_step == Some(*stream) {
                    life.ready.get_or_insert(fact.at);
                }
            }
            Wire::Dropped { connection } | Wire::Closed { connection, .. } => {
                if let Some(life) = lives.remove(connection) {
                    judge(*connection, &life, fact.at.min(fact.caused_at));
                }
            }
            _ => {}
        }
    }
    for (connection, life) in &lives {
        judge(*connection, life, end);
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, run};
    use super::*;
    use crate::wire::Fact;

    fn opened() -> Fact {
        fact(0, Wire::Opened { connection: 1, client: "client-0".to_owned() })
    }

    fn query(at: u64, stream: i16) -> Fact {
        fact(at, Wire::Request { connection: 1, stream, opcode: opcode::QUERY, nonce: None, asked: None })
    }

    fn read(at: u64, stream: i16) -> Fact {
        fact(at, Wire::AnswerRead { connection: 1, stream })
    }

    fn dropped(at: u64) -> Fact {
        fact(at, Wire::Dropped { connection: 1 })
    }

    // The limit of a dial in the sample is 5 s, and so is that of a refresh; the slack is 100 ms.
    #[test]
    fn a_handshake_without_end_is_given_up_in_time() {
        assert!(run(check, &[], &[opened(), query(1, 0), dropped(5_100)], None).is_empty());
        assert_eq!(run(check, &[], &[opened(), query(1, 0), dropped(5_101)], None), ["I33"]);
        assert!(run(check, &[], &[opened(), query(1, 0), read(5_100, 0), dropped(9_000)], None).is_empty());
    }

    #[test]
    fn a_question_of_the_control_connection_is_not_waited_for_for_ever() {
        let begun =
            || vec![opened(), query(1, 0), read(2, 0), fact(3, Wire::Registered { connection: 1 }), query(10, 4)];
        let with = |more: Fact| run(check, &[], &[begun(), vec![more]].concat(), None);
        assert!(with(dropped(5_110)).is_empty());
        assert_eq!(with(dropped(5_111)), ["I33"]);
        assert!(with(read(5_110, 4)).is_empty());
        assert_eq!(with(read(5_111, 4)), ["I33"], "answered, and waited for too long");
    }
}
