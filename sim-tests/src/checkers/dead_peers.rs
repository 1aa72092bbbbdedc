//! I26: a connection on which nothing is answered any more is given up within the heartbeat's interval and limit.
//!
//! The evidence is a fault that silences a node towards its clients for longer than that: every connection that was
//! open to it when the fault began must have been closed by the client before the fault has lasted the bound.

use super::{Class, Evidence, Failure};
use crate::wire::Wire;
use simcluster::fault::{CrashKind, Fault};
use simcluster::kernel::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let connect = Duration::from_millis(evidence.plan.driver.connect_timeout_ms) + evidence.bounds.slack;
    let mut failures = Vec::new();
    let margin = evidence.bounds.detect + evidence.bounds.latency * 2 + evidence.bounds.slack;
    for silence in silences(evidence) {
        for (connection, life) in connections(evidence, silence.node) {
            // What the node had been asked before may still be answered, where only the way to it is cut.
            let heard = life.answers.iter().rfind(|at| (silence.began..silence.ended).contains(*at));
            let bound = heard.copied().unwrap_or(silence.began) + margin;
            // The handshake has a limit of its own: what is older than that is ready or closed.
            let was_open = life.opened + connect < silence.began && life.closed >= silence.began;
            if was_open && bound < silence.ended && life.closed > bound {
                failures.push(Failure::new(
                    "I26",
                    Class::Liveness,
                    bound,
                    format!(
                        "connection {connection} to node {} was kept beyond {bound:?} though the node fell silent at {:?}",
                        silence.node, silence.began
                    ),
                ));
            }
        }
    }
    failures
}

/// A time in which no client hears anything of a node.
struct Silence {
    node: u32,
    began: Duration,
    ended: Duration,
}

/// The silences that faults made. Plans with slow or late answers are left out: what was under way keeps coming.
fn silences(evidence: &Evidence<'_>) -> Vec<Silence> {
    let lingering = ["slow-link", "late-answers", "delay-events"];
    if evidence.plan.faults.iter().any(|fault| lingering.contains(&fault.kind().as_str())) {
        return Vec::new();
    }
    let mut silences: Vec<Silence> = Vec::new();
    for fact in evidence.wire {
        let Wire::Fault { begins, fault } = &fact.what else { continue };
        for node in silenced(fault) {
            if *begins {
                silences.push(Silence { node: node.0, began: fact.at, ended: Duration::MAX });
            } else if let Some(open) = silences.iter_mut().rfind(|s| s.node == node.0 && s.ended == Duration::MAX) {
                open.ended = fact.at;
            }
        }
    }
    // One that never ended was ended by the end of the safety phase, which is no fact: it proves nothing.
    silences.retain(|silence| silence.ended != Duration::MAX);
    silences
}

/// The nodes that a fault silences towards every client.
fn silenced(fault: &Fault) -> Vec<NodeId> {
    match fault {
        Fault::Pause { node } | Fault::CutClient { node, .. } | Fault::Crash { node, how: CrashKind::Silence } => {
            vec![*node]
        }
        Fault::Partition { nodes, clients: true } => nodes.clone(),
        _ => Vec::new(),
    }
}

/// When a client began a connection, and when it ended for the client.
struct Life {
    opened: Duration,
    /// When answers were read.
    answers: Vec<Duration>,
    closed: Duration,
}

fn connections(evidence: &Evidence<'_>, node: u32) -> BTreeMap<u64, Life> {
    let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
    for fact in evidence.wire.iter().filter(|fact| fact.node == node) {
        match fact.what {
            Wire::Opened { connection, .. } => {
                lives.insert(connection, Life { opened: fact.at, answers: Vec::new(), closed: Duration::MAX });
            }
            Wire::AnswerRead { connection, .. } => {
                if let Some(life) = lives.get_mut(&connection) {
                    life.answers.push(fact.at);
                }
            }
            Wire::Closed { connection, .. } | Wire::Dropped { connection } => {
                if let Some(life) = lives.get_mut(&connection) {
                    life.closed = life.closed.min(fact.caused_at);
                }
            }
            _ => {}
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::super::samples::{fact, run};
    use super::*;
    use crate::wire::Fact;

    fn silence(began: u64, ended: u64) -> [Fact; 2] {
        let fault = Fault::Pause { node: NodeId(0) };
        [(true, began), (false, ended)].map(|(begins, at)| fact(at, Wire::Fault { begins, fault: fault.clone() }))
    }

    #[test]
    fn a_connection_kept_beyond_the_bound_of_a_silence_fails() {
        let opened = fact(0, Wire::Opened { connection: 1, client: "client-0".into() });
        let [began, ended] = silence(10_000, 110_000);
        let closed = |at| fact(at, Wire::Closed { connection: 1, by_client: true });
        let facts = |at| vec![opened.clone(), began.clone(), closed(at), ended.clone()];

        assert!(run(check, &[], &facts(11_000), None).is_empty());
        assert_eq!(run(check, &[], &facts(109_000), None), ["I26"]);
        let [began, ended] = silence(10_000, 10_200);
        assert!(run(check, &[], &[opened, began, ended], None).is_empty(), "it spoke again in time");
    }
}
