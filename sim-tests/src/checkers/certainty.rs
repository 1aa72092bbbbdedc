//! I48, the labels: a call that the driver says was not sent was seen by no node, and a mistyped one is never sent.

use super::{Class, Evidence, Failure};
use crate::history::Certainty;
use crate::plan::Action;
use crate::wire::{Wire, opcode};

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let facts = evidence.facts_by_nonce();
    let mut failures = Vec::new();
    for call in evidence.calls {
        let mut fail = |message| {
            failures.push(Failure::new("I48", Class::Safety, call.completed.unwrap_or(call.submitted), message));
        };
        if matches!(call.action, Action::Mistype { .. }) && call.is_ok() {
            fail(format!("{} bound a value of the wrong type and succeeded", call.nonce));
        }
        let Some(Err(failed)) = &call.outcome else { continue };
        // The label of a scan is about the page that failed; pages before it were sent under the same nonce.
        if !call.pages.is_empty() {
            continue;
        }
        let seen = facts
            .get(&call.nonce)
            .into_iter()
            .flatten()
            .find(|fact| matches!(fact.what, Wire::Request { opcode, .. } if opcode::runs_statement(opcode)));
        if failed.certainty == Certainty::NotSent
            && let Some(seen) = seen
        {
            fail(format!(
                "{} is labelled as not sent ({}), node {} saw it at {:?}",
                call.nonce, failed.kind, seen.node, seen.at
            ));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, request, run};
    use super::*;
    use crate::history::Answer;

    #[test]
    fn not_sent_means_that_no_node_saw_it() {
        let not_sent = call(7, Action::Play { song: 1 }, 0, 9, Err(failed(Certainty::NotSent, "NoNodeAvailable")));
        assert!(run(check, std::slice::from_ref(&not_sent), &[], None).is_empty());
        assert_eq!(run(check, &[not_sent], &[request(3, 1, 7)], None), ["I48"]);
    }

    #[test]
    fn a_mistyped_value_must_fail() {
        let outcomes = [(Ok(Answer::Written), 1), (Err(failed(Certainty::NotSent, "Bind")), 0)];
        for (outcome, failures) in outcomes {
            let mistyped = call(7, Action::Mistype { song: 1 }, 0, 9, outcome);
            assert_eq!(run(check, &[mistyped], &[], None).len(), failures);
        }
    }
}
