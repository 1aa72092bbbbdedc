//! What the requests of one call have in common: I9 how many, I11 until when, I12 at which level, I14 with which
//! timestamp, I15 how many at once, I36 prepared again as they must be.

use super::{Class, Evidence, Failure};
use crate::history::{Call, Nonce};
use crate::plan::{Action, Level, RetryChoice};
use crate::wire::{Asked, Fact, Wire, error_code, opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// The statements that were sent for a call, with their facts.
fn statements<'a>(facts: Option<&Vec<&'a Fact>>) -> impl Iterator<Item = (&'a Fact, u64, Option<Asked>)> + use<'a> {
    let facts: Vec<&Fact> = facts.cloned().unwrap_or_default();
    facts.into_iter().filter_map(|fact| match fact.what {
        Wire::Request { connection, opcode, asked, .. } if opcode::runs_statement(opcode) => {
            Some((fact, connection, asked))
        }
        _ => None,
    })
}

/// Whether a call is answered in pages, each a request of its own.
fn is_paged(call: &Call) -> bool {
    matches!(call.action, Action::ListPlaylist { .. } | Action::ListStatic { .. })
}

fn failure(checker: &str, at: Duration, message: String) -> Failure {
    Failure::new(checker, Class::Safety, at, message)
}

/// I9: no node is asked more than twice for one unpaged call (the second time because the policy said "same node"),
/// not counting repetitions after UNPREPARED.
pub(super) fn check_bounded(evidence: &Evidence<'_>) -> Vec<Failure> {
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls.iter().filter(|call| !is_paged(call)) {
        let of_call = facts.get(&call.nonce);
        let mut asked: BTreeMap<u32, usize> = BTreeMap::new();
        for (fact, ..) in statements(of_call) {
            *asked.entry(fact.node).or_default() += 1;
        }
        for fact in of_call.into_iter().flatten() {
            if let Wire::Response { error: Some(error_code::UNPREPARED), .. } = fact.what
                && let Some(count) = asked.get_mut(&fact.node)
            {
                *count = count.saturating_sub(1);
            }
        }
        // Back-off repeats on the same node as often as its own limit says.
        let backs_off = evidence.plan.driver.retry == RetryChoice::BackOff;
        let most = if backs_off { ASKED_MAX_BACKING_OFF } else { ASKED_MAX };
        if let Some((node, count)) = asked.into_iter().find(|(_, count)| *count > most) {
            let at = call.completed.unwrap_or(call.submitted);
            failures.push(failure("I9", at, format!("{} was sent {count} times to node {node}", call.nonce)));
        }
    }
    failures
}

/// The first time, and once more if the policy repeats on the same node.
const ASKED_MAX: usize = 2;

/// As above, with the back-off policy's own limit.
const ASKED_MAX_BACKING_OFF: usize = 12;

/// I11: nothing of a call is written after it has ended.
pub(super) fn check_deadline(evidence: &Evidence<'_>) -> Vec<Failure> {
    // What a node does not read waits in buffers that nobody can take it out of.
    let stalls = ["pause", "cut-client", "partition", "slow-link", "crash", "replace"];
    if evidence.plan.faults.iter().any(|fault| stalls.contains(&fault.kind().as_str())) {
        return Vec::new();
    }
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls {
        let Some(completed) = call.completed else { continue };
        let late =
            statements(facts.get(&call.nonce)).find(|(fact, ..)| fact.caused_at > completed + evidence.bounds.slack);
        if let Some((fact, ..)) = late {
            let text = format!(
                "{} ended at {completed:?} and was sent to node {} at {:?}",
                call.nonce, fact.node, fact.caused_at
            );
            failures.push(failure("I11", fact.at, text));
        }
    }
    failures
}

/// I12: the level on the wire is the one that was asked for; no policy of these runs lowers it.
pub(super) fn check_consistency(evidence: &Evidence<'_>) -> Vec<Failure> {
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls {
        let wanted = match call.action {
            Action::ReadAccount { .. } => SERIAL,
            Action::CreateTable | Action::AddColumn | Action::DropColumn { .. } => continue,
            _ => code(call.level),
        };
        let other =
            statements(facts.get(&call.nonce)).find(|(.., asked)| asked.is_some_and(|a| a.consistency != wanted));
        if let Some((fact, _, Some(asked))) = other {
            let text =
                format!("{} at {:?} was sent with consistency {:#06x}", call.nonce, call.level, asked.consistency);
            failures.push(failure("I12", fact.at, text));
        }
    }
    failures
}

const SERIAL: u16 = 0x0008;

const fn code(level: Level) -> u16 {
    match level {
        Level::One => 0x0001,
        Level::Two => 0x0002,
        Level::Quorum => 0x0004,
        Level::All => 0x0005,
        Level::LocalQuorum => 0x0006,
    }
}

/// I14: all requests of a call carry one timestamp, and within a session later calls have greater ones. A text with
/// values is prepared first and takes its timestamp after that: it is compared with itself only.
pub(super) fn check_timestamps(evidence: &Evidence<'_>) -> Vec<Failure> {
    // There the application chooses them.
    if evidence.plan.driver.protocol_version == 3 {
        return Vec::new();
    }
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    let mut latest: BTreeMap<u32, (i64, Nonce)> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| !is_paged(call)) {
        let stamps: Vec<(&Fact, i64)> =
            statements(facts.get(&call.nonce)).filter_map(|(fact, _, asked)| Some((fact, asked?.timestamp?))).collect();
        let Some((first, stamp)) = stamps.first().copied() else { continue };
        if let Some((fact, other)) = stamps.iter().find(|(_, other)| *other != stamp) {
            let text = format!("{} was sent with timestamps {stamp} and {other}", call.nonce);
            failures.push(failure("I14", fact.at, text));
        }
        if matches!(call.action, Action::WriteNote { .. }) {
            continue;
        }
        if let Some((before, whose)) = latest.get(&call.client).filter(|(before, _)| *before >= stamp) {
            let text = format!("{} has timestamp {stamp}, {whose} of the same session had {before} before", call.nonce);
            failures.push(failure("I14", first.at, text));
        }
        let newest = latest.entry(call.client).or_insert((stamp, call.nonce));
        *newest = (*newest).max((stamp, call.nonce));
    }
    failures
}

/// I15: only idempotent calls are executed in parallel, at most as often as configured, each time on another node.
pub(super) fn check_speculation(evidence: &Evidence<'_>) -> Vec<Failure> {
    let driver = &evidence.plan.driver;
    let most = if driver.speculation_ms == 0 { 1 } else { 1 + driver.speculations_max as usize };
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls.iter().filter(|call| !is_paged(call)) {
        let allowed = if call.action.is_idempotent() { most } else { 1 };
        // Attempts that nothing has ended: by node and connection.
        let mut open: BTreeMap<(u32, u64), ()> = BTreeMap::new();
        let sent = statements(facts.get(&call.nonce)).count();
        for fact in facts.get(&call.nonce).into_iter().flatten() {
            match fact.what {
                Wire::Request { connection, opcode, .. } if opcode::runs_statement(opcode) => {
                    if open.keys().any(|(node, other)| *node == fact.node && *other != connection) && sent > 1 {
                        // A lost connection ends an attempt without a fact of the call: only what overlaps counts.
                        continue;
                    }
                    open.insert((fact.node, connection), ());
                }
                Wire::Response { connection, .. } => {
                    open.remove(&(fact.node, connection));
                }
                _ => {}
            }
        }
        // After its attempt's limit only an idempotent call is tried again.
        let ended_otherwise = (driver.attempt_timeout_ms > 0 && call.action.is_idempotent())
            || evidence.plan.faults.iter().any(|fault| ENDS_ATTEMPTS.contains(&fault.kind().as_str()));
        if !ended_otherwise && open.len() > allowed {
            let at = call.completed.unwrap_or(call.submitted);
            let text = format!("{} was executed {} times in parallel, {allowed} are allowed", call.nonce, open.len());
            failures.push(failure("I15", at, text));
        }
    }
    failures
}

/// Faults after which an attempt may end without an answer, so that the next one is a retry.
const ENDS_ATTEMPTS: [&str; 14] = [
    "crash",
    "pause",
    "partition",
    "cut-client",
    "slow-link",
    "refuse",
    "reset-connections",
    "late-answers",
    "swallow-answers",
    "foreign-answer",
    "misdirect-answer",
    "corrupt-answer",
    "replace",
    "change-address",
];

/// I36: after UNPREPARED the statement is prepared on the same node before it is executed there again (by whichever
/// call comes first), and not for ever.
pub(super) fn check_repreparation(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut prepared_at: BTreeMap<u32, Duration> = BTreeMap::new();
    let mut refused: BTreeMap<(Nonce, u64), Refusal> = BTreeMap::new();
    let mut sent_at: BTreeMap<(Nonce, u64), Duration> = BTreeMap::new();
    let mut pages = PagesRead::default();
    let mut failures = Vec::new();
    for fact in evidence.wire {
        match &fact.what {
            Wire::Request { opcode: opcode::PREPARE, .. } => {
                prepared_at.insert(fact.node, fact.at);
            }
            Wire::Response { connection, stream, error: Some(error_code::UNPREPARED), nonce: Some(nonce), .. } => {
                let refusal = refused.entry((*nonce, *connection)).or_default();
                let sent_at = sent_at.get(&(*nonce, *connection)).copied().unwrap_or_default();
                *refusal = Refusal { sent_at, at: fact.at, stream: *stream, read_at: None, count: refusal.count + 1 };
                if refusal.count > REFUSALS_MAX {
                    let text = format!("{nonce} was unprepared {} times on connection {connection}", refusal.count);
                    failures.push(failure("I36", fact.at, text));
                }
            }
            Wire::Response { connection, stream, error: None, nonce: Some(nonce), .. } => {
                pages.unread.insert((*connection, *stream), *nonce);
            }
            Wire::AnswerRead { connection, stream } => {
                pages.read(*connection, *stream, fact.at);
                for ((_, on), refusal) in &mut refused {
                    if on == connection && refusal.stream == *stream && refusal.read_at.is_none() {
                        refusal.read_at = Some(fact.at);
                    }
                }
            }
            Wire::Request { connection, opcode, nonce: Some(nonce), .. } if opcode::runs_statement(*opcode) => {
                sent_at.insert((*nonce, *connection), fact.caused_at);
                let Some(Refusal { sent_at, at, read_at, .. }) = refused.get(&(*nonce, *connection)) else { continue };
                // What was on its way already is no repetition, nor is what asks for a later page: a parallel execution
                // may be refused after its page has come from another node.
                if read_at.is_none_or(|read_at| fact.caused_at < read_at)
                    || pages.has_read_between(*nonce, *sent_at, fact.caused_at)
                {
                    continue;
                }
                if prepared_at.get(&fact.node).is_none_or(|prepared| prepared < at) {
                    let text = format!("{nonce} was executed on connection {connection} again without being prepared");
                    failures.push(failure("I36", fact.at, text));
                }
            }
            _ => {}
        }
    }
    failures
}

/// When the client had read the pages of its calls.
#[derive(Default)]
struct PagesRead {
    /// Answers on their way, by connection and stream.
    unread: BTreeMap<(u64, i16), Nonce>,
    read: BTreeMap<Nonce, Vec<Duration>>,
}

impl PagesRead {
    fn read(&mut self, connection: u64, stream: i16, at: Duration) {
        if let Some(nonce) = self.unread.remove(&(connection, stream)) {
            self.read.entry(nonce).or_default().push(at);
        }
    }

    fn has_read_between(&self, nonce: Nonce, from: Duration, until: Duration) -> bool {
        self.read.get(&nonce).is_some_and(|read| read.iter().any(|at| (from..=until).contains(at)))
    }
}

/// An answer that said UNPREPARED.
#[derive(Default)]
struct Refusal {
    /// When the refused request was sent.
    sent_at: Duration,
    at: Duration,
    stream: i16,
    /// When the client had read it.
    read_at: Option<Duration>,
    count: u32,
}

/// The driver prepares three times per attempt, and pages and statements of a batch may each need it.
const REFUSALS_MAX: u32 = 30;

#[cfg(test)]
mod tests {
    use super::super::samples::{asking, call, fact, request, response, run};
    use super::*;
    use crate::history::Answer;

    fn add(nonce: u64) -> Call {
        call(nonce, Action::AddSong { song: 1 }, 0, 50, Ok(Answer::Written))
    }

    fn play(nonce: u64) -> Call {
        call(nonce, Action::Play { song: 1 }, 0, 50, Ok(Answer::Written))
    }

    #[test]
    fn a_node_is_asked_twice_at_most() {
        let asked = |count: u64| (0..count).map(|at| asking(at, 1, 7, 4, 1)).collect::<Vec<_>>();
        assert!(run(check_bounded, &[add(7)], &asked(2), None).is_empty());
        assert_eq!(run(check_bounded, &[add(7)], &asked(3), None), ["I9"]);
        let mut unprepared = asked(3);
        let mut refusal = response(2, 1, 7, Some(error_code::UNPREPARED));
        refusal.node = 1;
        unprepared.push(refusal);
        assert!(run(check_bounded, &[add(7)], &unprepared, None).is_empty());
    }

    #[test]
    fn nothing_is_sent_after_the_end() {
        assert!(run(check_deadline, &[add(7)], &[asking(50, 1, 7, 4, 1)], None).is_empty());
        assert_eq!(run(check_deadline, &[add(7)], &[asking(500, 1, 7, 4, 1)], None), ["I11"]);
    }

    #[test]
    fn another_level_than_asked_for_fails() {
        assert!(run(check_consistency, &[add(7)], &[asking(1, 1, 7, 4, 1)], None).is_empty());
        assert_eq!(run(check_consistency, &[add(7)], &[asking(1, 1, 7, 1, 1)], None), ["I12"]);
    }

    #[test]
    fn timestamps_are_one_per_call_and_grow() {
        let good = [asking(1, 1, 7, 4, 10), asking(2, 2, 7, 4, 10), asking(3, 1, 8, 4, 11)];
        assert!(run(check_timestamps, &[add(7), add(8)], &good, None).is_empty());
        let two = [asking(1, 1, 7, 4, 10), asking(2, 2, 7, 4, 11)];
        assert_eq!(run(check_timestamps, &[add(7)], &two, None), ["I14"]);
        let back = [asking(1, 1, 7, 4, 10), asking(2, 2, 8, 4, 10)];
        assert_eq!(run(check_timestamps, &[add(7), add(8)], &back, None), ["I14"]);
    }

    #[test]
    fn parallel_executions_of_what_is_not_idempotent_fail() {
        let both = [asking(1, 1, 7, 4, 10), asking(2, 2, 7, 4, 10)];
        assert_eq!(run(check_speculation, &[play(7)], &both, None), ["I15"]);
        let mut answer = response(2, 1, 7, Some(error_code::UNAVAILABLE));
        answer.node = 1;
        let retried = [asking(1, 1, 7, 4, 10), answer, asking(3, 2, 7, 4, 10)];
        assert!(run(check_speculation, &[play(7)], &retried, None).is_empty());
    }

    #[test]
    fn an_unprepared_statement_is_prepared_before_it_is_executed_again() {
        let refusal = || response(2, 1, 7, Some(error_code::UNPREPARED));
        let mut prepare = request(3, 1, 7);
        prepare.what = Wire::Request { connection: 1, stream: 2, opcode: opcode::PREPARE, nonce: None, asked: None };
        let read = || fact(3, Wire::AnswerRead { connection: 1, stream: 1 });
        let good = [request(1, 1, 7), refusal(), read(), prepare, request(4, 1, 7)];
        assert!(run(check_repreparation, &[], &good, None).is_empty());
        let under_way = [request(1, 1, 7), refusal(), request(4, 1, 7)];
        assert!(run(check_repreparation, &[], &under_way, None).is_empty());
        let bad = [request(1, 1, 7), refusal(), read(), request(4, 1, 7)];
        assert_eq!(run(check_repreparation, &[], &bad, None), ["I36"]);
        let page_of_another = fact(2, Wire::AnswerRead { connection: 2, stream: 1 });
        let next_page =
            [request(1, 1, 7), response(1, 2, 7, None), page_of_another, refusal(), read(), request(4, 1, 7)];
        assert!(run(check_repreparation, &[], &next_page, None).is_empty(), "the refused execution had lost");
    }
}
