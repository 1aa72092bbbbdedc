//! I38: unqualified names mean the keyspace that was chosen last, on every connection.

use super::{Class, Evidence, Failure};
use crate::history::{Answer, Call};
use crate::plan::Action;
use std::collections::BTreeMap;
use std::time::Duration;

/// One choice of a keyspace.
struct Choice {
    client: u32,
    from: Duration,
    /// When it had succeeded or failed; a call that was never told has no end.
    until: Duration,
    is_ok: bool,
    other: bool,
}

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let choices: Vec<Choice> = evidence.calls.iter().filter_map(choice).collect();
    let mut failures = Vec::new();
    for call in evidence.calls {
        let Some((seen, asked, told)) = seen(call) else { continue };
        // A choice that had succeeded before this one began, and before the question was asked, rules out older ones.
        let settled = |than: Duration| {
            choices.iter().any(|c| c.client == call.client && c.is_ok && c.from >= than && c.until <= asked)
        };
        let is_possible = match seen {
            None => !settled(Duration::ZERO),
            Some(other) => choices
                .iter()
                .any(|c| c.client == call.client && c.other == other && c.from <= told && !settled(c.until)),
        };
        if !is_possible {
            let where_ = match seen {
                None => "without a keyspace",
                Some(true) => "in the other keyspace",
                Some(false) => "in the application's own keyspace",
            };
            let text = format!("{} was executed {where_}, which client {} had not chosen", call.nonce, call.client);
            failures.push(Failure::new("I38", Class::Safety, told, text));
        }
    }
    failures.extend(check_agreement(evidence, &choices));
    failures
}

/// Whatever the order of choices at the same time was, it is one order for all connections: once all of them have
/// succeeded, and until the next, every question is answered in the same keyspace.
fn check_agreement(evidence: &Evidence<'_>, choices: &[Choice]) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut settled: BTreeMap<u32, (bool, Duration)> = BTreeMap::new();
    for call in evidence.calls {
        let Some((Some(other), asked, told)) = seen(call) else { continue };
        let mut before = choices.iter().filter(|c| c.client == call.client && c.from <= told);
        let is_quiet = before.all(|c| c.is_ok && c.until <= asked);
        if !is_quiet {
            settled.remove(&call.client);
            continue;
        }
        let (first, since) = *settled.entry(call.client).or_insert((other, asked));
        let is_undisturbed = !choices.iter().any(|c| c.client == call.client && c.until > since && c.from <= told);
        if !is_undisturbed {
            settled.insert(call.client, (other, asked));
        } else if first != other {
            let text = format!("{} was executed in another keyspace than the calls before it", call.nonce);
            failures.push(Failure::new("I38", Class::Safety, told, text));
        }
    }
    failures
}

fn choice(call: &Call) -> Option<Choice> {
    let Action::UseKeyspace { other } = call.action else { return None };
    let (client, from, is_ok) = (call.client, call.submitted, call.is_ok());
    Some(Choice { client, from, until: call.completed.unwrap_or(Duration::MAX), is_ok, other })
}

/// The keyspace that a question was answered in (`None`: the node knew of none), and when it was asked and answered.
fn seen(call: &Call) -> Option<(Option<bool>, Duration, Duration)> {
    let seen = match (&call.action, call.outcome.as_ref()?) {
        (Action::Whereami, Ok(Answer::Keyspace { other })) => Some(*other),
        (Action::Whereami, Err(failed)) if failed.kind == "Invalid" => None,
        _ => return None,
    };
    Some((seen, call.submitted, call.completed?))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, run};
    use super::*;
    use crate::history::Certainty;

    fn chosen(nonce: u64, other: bool, from: u64, to: u64) -> Call {
        call(nonce, Action::UseKeyspace { other }, from, to, Ok(Answer::Written))
    }

    fn asked(other: bool, from: u64, to: u64) -> Call {
        call(9, Action::Whereami, from, to, Ok(Answer::Keyspace { other }))
    }

    #[test]
    fn the_last_choice_counts_as_soon_as_it_has_succeeded() {
        let first = || chosen(1, false, 0, 5);
        let check = |calls: &[Call]| run(check, calls, &[], None).len();
        assert_eq!(check(&[first(), asked(false, 5, 6)]), 0);
        assert_eq!(check(&[first(), asked(true, 5, 6)]), 1, "never chosen");
        assert_eq!(check(&[first(), chosen(2, true, 5, 8), asked(false, 8, 9)]), 1, "chosen before");
        assert_eq!(check(&[first(), chosen(2, true, 5, 8), asked(false, 7, 9)]), 0, "still being changed");
        assert_eq!(check(&[first(), chosen(2, true, 4, 8), asked(false, 8, 9)]), 0, "both at once: either order");
    }

    #[test]
    fn two_choices_at_once_have_one_order_for_all_connections() {
        let both = || vec![chosen(1, false, 0, 5), chosen(2, true, 1, 6)];
        let check = |more: Vec<Call>| run(check, &[both(), more].concat(), &[], None).len();
        assert_eq!(check(vec![asked(false, 6, 7), asked(false, 8, 9)]), 0);
        assert_eq!(check(vec![asked(true, 6, 7), asked(true, 8, 9)]), 0);
        assert_eq!(check(vec![asked(true, 6, 7), asked(false, 8, 9)]), 1);
        assert_eq!(check(vec![asked(true, 6, 7), chosen(3, false, 7, 8), asked(false, 8, 9)]), 0);
    }

    #[test]
    fn a_failed_choice_leaves_both_possible_and_none_only_before_the_first() {
        let lost =
            || call(2, Action::UseKeyspace { other: true }, 5, 8, Err(failed(Certainty::MaybeApplied, "Timeout")));
        let unknown = || call(9, Action::Whereami, 9, 10, Err(failed(Certainty::Rejected, "Invalid")));
        let check = |calls: &[Call]| run(check, calls, &[], None).len();
        assert_eq!(check(&[chosen(1, false, 0, 5), lost(), asked(true, 9, 10)]), 0);
        assert_eq!(check(&[chosen(1, false, 0, 5), lost(), asked(false, 9, 10)]), 0);
        assert_eq!(check(&[unknown()]), 0);
        assert_eq!(check(&[chosen(1, false, 0, 5), unknown()]), 1);
    }
}
