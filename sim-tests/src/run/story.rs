//! The few lines that lead to a failure: what happened to the call it names, and the faults around it.

use crate::checkers::Failure;
use crate::history::Call;
use crate::wire::{Fact, Wire};
use std::time::Duration;

/// The longest story.
const LINES_MAX: usize = 40;

/// Tells it.
pub(super) fn tell(failure: &Failure, calls: &[Call], wire: &[Fact]) -> Vec<String> {
    let call = calls.iter().find(|call| {
        let name = call.nonce.to_string();
        // `operation 1` is not meant by `operation 12`.
        failure
            .message
            .match_indices(&name)
            .any(|(at, _)| !failure.message[at + name.len()..].starts_with(|next: char| next.is_ascii_digit()))
    });
    let until = Duration::from_millis(failure.at_ms.saturating_add(1));
    let connections: Vec<u64> = wire
        .iter()
        .filter_map(|fact| match fact.what {
            Wire::Request { connection, nonce, .. } if call.is_some_and(|call| nonce == Some(call.nonce)) => {
                Some(connection)
            }
            _ => None,
        })
        .collect();
    let concerns = |fact: &Fact| match &fact.what {
        Wire::Request { nonce, .. } | Wire::Response { nonce, .. } => {
            call.is_some_and(|call| *nonce == Some(call.nonce))
        }
        Wire::Closed { connection, .. } | Wire::Opened { connection, .. } => {
            call.is_none() || connections.contains(connection)
        }
        Wire::Fault { .. } | Wire::Note(_) | Wire::ForeignAnswer | Wire::Violation { .. } => true,
        Wire::Registered { .. } => call.is_none(),
        Wire::Spoiled { .. } => true,
        Wire::Malformed { .. }
        | Wire::Event { .. }
        | Wire::AnswerRead { .. }
        | Wire::Dropped { .. }
        | Wire::Dialled { .. } => false,
    };
    let from = call.map_or(Duration::ZERO, |call| call.submitted.saturating_sub(BEFORE));
    let mut lines: Vec<(Duration, String)> = wire
        .iter()
        .filter(|fact| fact.at >= from && fact.at <= until && concerns(fact))
        .map(|fact| (fact.at, format!("node {}: {}", fact.node, say(&fact.what))))
        .collect();
    if let Some(call) = call {
        lines.push((
            call.submitted,
            format!("client {} submits {}: {:?} at {:?}", call.client, call.nonce, call.action, call.level),
        ));
        if let (Some(completed), Some(outcome)) = (call.completed, &call.outcome) {
            lines.push((completed, format!("client {} is told: {outcome:?}", call.client)));
        }
    }
    lines.push((Duration::from_millis(failure.at_ms), format!("{} fails: {}", failure.checker, failure.message)));
    lines.sort_by_key(|(at, _)| *at);
    let skip = lines.len().saturating_sub(LINES_MAX);
    lines.into_iter().skip(skip).map(|(at, line)| format!("{:>10.3} ms  {line}", at.as_secs_f64() * 1_000.0)).collect()
}

/// How much of the past belongs to a call's story.
const BEFORE: Duration = Duration::from_secs(2);

fn say(what: &Wire) -> String {
    match what {
        Wire::Opened { connection, client } => format!("{client} opens connection {connection}"),
        Wire::Closed { connection, by_client } => {
            format!("connection {connection} ends{}", if *by_client { " by its client" } else { "" })
        }
        Wire::Dialled { client, address, .. } => format!("{client} dials {address}"),
        Wire::Malformed { connection } => format!("the next answer on connection {connection} makes no sense"),
        Wire::Spoiled { connection } => format!("spoils an answer on connection {connection}"),
        Wire::Request { connection, stream, opcode, .. } => {
            format!("request {opcode:#04x} on stream {stream} of connection {connection}")
        }
        Wire::Response { connection, stream, error: Some(code), .. } => {
            format!("answers error {code:#06x} on stream {stream} of connection {connection}")
        }
        Wire::Response { connection, stream, .. } => format!("answers on stream {stream} of connection {connection}"),
        Wire::AnswerRead { connection, stream } => format!("stream {stream} of connection {connection} was read"),
        Wire::Registered { connection } => format!("connection {connection} registers for events"),
        Wire::Event { connection, event } => format!("event {event} to connection {connection}"),
        Wire::Violation { connection, reason } => format!("connection {connection} breaks the protocol: {reason}"),
        Wire::ForeignAnswer => "sends every client an answer that nobody asked for".to_owned(),
        Wire::Dropped { connection } => format!("the client lets go of connection {connection}"),
        Wire::Fault { begins, fault } => format!("fault {}: {fault}", if *begins { "begins" } else { "ends" }),
        Wire::Note(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::Class;
    use crate::checkers::samples::{call, fact, request, response};
    use crate::history::Answer;
    use crate::plan::Action;

    #[test]
    fn a_story_is_about_the_call_that_failed_and_the_faults_around_it() {
        let calls = [
            call(1, Action::Play { song: 1 }, 10, 60, Ok(Answer::Written)),
            call(12, Action::Play { song: 2 }, 10, 60, Ok(Answer::Written)),
        ];
        let wire = [
            fact(5, Wire::Note("fault begins: pause n1".to_owned())),
            request(20, 1, 12),
            request(21, 1, 1),
            response(30, 1, 12, None),
        ];
        let failure =
            Failure::new("I8", Class::Safety, Duration::from_millis(60), "operation 12 was sent twice".into());
        let story = tell(&failure, &calls, &wire);
        let text = story.join("\n");
        assert!(
            text.contains("pause n1") && text.contains("submits operation 12") && text.contains("I8 fails"),
            "{text}"
        );
        assert_eq!(story.len(), 6, "{text}");
    }

    #[test]
    fn stories_are_short() {
        let wire: Vec<Fact> = (0..500).map(|at| fact(at, Wire::Note("noise".to_owned()))).collect();
        let failure = Failure::new("I19", Class::Liveness, Duration::from_secs(10), "lost".into());
        assert_eq!(tell(&failure, &[], &wire).len(), LINES_MAX);
    }
}
