//! I48 for lightweight transactions: the history of every account is linearizable.
//!
//! Each swap moves an account from one version to the next and leaves its operation's number, so the order in which
//! swaps took effect is written in the versions. What is left to check is exact: every version has one operation, only
//! operations that may have happened have versions, and nobody who asked after an answer sees an older version.

use super::{Class, Evidence, Failure};
use crate::app;
use crate::history::{AccountRead, Answer, Call};
use crate::plan::Action;
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for account in 0..evidence.plan.workload.accounts {
        failures.extend(check_account(evidence, account));
    }
    failures
}

/// What a call saw, at the latest when it took effect.
struct Sight<'a> {
    call: &'a Call,
    seen: AccountRead,
}

fn check_account(evidence: &Evidence<'_>, account: u32) -> Vec<Failure> {
    let fail =
        |at: Duration, text: String| Failure::new("I48", Class::Safety, at, format!("account {account}: {text}"));
    let mut failures = Vec::new();
    let swaps: BTreeMap<u32, &Call> = evidence
        .calls
        .iter()
        .filter(|call| call.action == Action::Swap { account })
        .map(|call| (app::operation_of(call.nonce), call))
        .collect();
    let mut sights: Vec<Sight<'_>> = Vec::new();
    for call in evidence.calls {
        match (&call.action, &call.outcome) {
            (Action::Swap { account: of }, Some(Ok(Answer::Swapped { now, .. }))) if *of == account => {
                sights.push(Sight { call, seen: *now });
            }
            (Action::ReadAccount { account: of }, Some(Ok(Answer::Account(seen)))) if *of == account => {
                sights.push(Sight { call, seen: *seen });
            }
            _ => {}
        }
    }
    let mut owners: BTreeMap<i32, u32> = BTreeMap::from([(0, 0)]);
    for Sight { call, seen } in &sights {
        let at = call.completed.unwrap_or(call.submitted);
        let owner = *owners.entry(seen.version).or_insert(seen.operation);
        if owner != seen.operation {
            failures
                .push(fail(at, format!("version {} is of operations {owner} and {}", seen.version, seen.operation)));
        }
        let Some(swap) = swaps.get(&seen.operation) else {
            if seen.version != 0 {
                failures.push(fail(at, format!("{} saw operation {}, which never was", call.nonce, seen.operation)));
            }
            continue;
        };
        if !swap.may_have_happened() {
            failures.push(fail(at, format!("{} saw {}, which was reported as not applied", call.nonce, swap.nonce)));
        } else if swap.submitted > at {
            failures.push(fail(at, format!("{} saw {} before it was submitted", call.nonce, swap.nonce)));
        }
    }
    for (index, later) in sights.iter().enumerate() {
        let older = sights.iter().take(index).chain(sights.iter().skip(index + 1)).find(|earlier| {
            earlier.call.completed_before(later.call.submitted) && earlier.seen.version > later.seen.version
        });
        if let Some(earlier) = older {
            let text = format!(
                "{} saw version {} after {} had seen version {}",
                later.call.nonce, later.seen.version, earlier.call.nonce, earlier.seen.version
            );
            failures.push(fail(later.call.completed.unwrap_or(later.call.submitted), text));
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, failed, plan};
    use super::*;
    use crate::bounds::Bounds;
    use crate::history::{Certainty, Failed};

    fn swap(operation: u64, from: u64, to: u64, expected: i32, applied: bool, now: (i32, u32)) -> Call {
        let now = AccountRead { version: now.0, operation: now.1 };
        call(operation, Action::Swap { account: 0 }, from, to, Ok(Answer::Swapped { applied, expected, now }))
    }

    fn failing(operation: u64, outcome: Failed) -> Call {
        call(operation, Action::Swap { account: 0 }, 0, 9, Err(outcome))
    }

    fn read(from: u64, to: u64, version: i32, operation: u32) -> Call {
        let seen = AccountRead { version, operation };
        call(99, Action::ReadAccount { account: 0 }, from, to, Ok(Answer::Account(seen)))
    }

    fn problems(calls: &[Call]) -> usize {
        let mut plan = plan();
        plan.workload.accounts = 1;
        check(&Evidence { plan: &plan, bounds: Bounds::of(&plan), calls, wire: &[], truth: None }).len()
    }

    #[test]
    fn a_chain_of_versions_is_linearizable() {
        let calls =
            [swap(1, 0, 9, 0, true, (1, 1)), swap(2, 10, 19, 0, false, (1, 1)), swap(3, 20, 29, 1, true, (2, 3))];
        assert_eq!(problems(&calls), 0);
    }

    #[test]
    fn two_operations_with_one_version_fail() {
        assert_eq!(problems(&[swap(1, 0, 9, 0, true, (1, 1)), swap(2, 0, 9, 0, true, (1, 2))]), 1);
    }

    #[test]
    fn an_older_version_after_a_newer_one_fails() {
        let calls = |from| [swap(1, 0, 9, 0, true, (1, 1)), read(from, from + 9, 0, 0)];
        assert_eq!(problems(&calls(10)), 1);
        assert_eq!(problems(&calls(5)), 0, "concurrent");
    }

    #[test]
    fn what_was_reported_as_not_applied_is_not_seen() {
        let seen = read(20, 29, 1, 1);
        assert_eq!(problems(&[failing(1, failed(Certainty::Rejected, "Unavailable")), seen.clone()]), 1);
        assert_eq!(problems(&[failing(1, failed(Certainty::MaybeApplied, "WriteTimeout")), seen]), 0);
        assert_eq!(problems(&[read(0, 9, 4, 77)]), 1, "invented");
    }
}
