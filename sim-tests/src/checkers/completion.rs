//! I2: every call completes exactly once, at the latest at its deadline (each page of a paged call at its own).

use super::{Class, Evidence, Failure};
use crate::plan::Action;
use std::time::Duration;

/// The driver's default limit of the wait for schema agreement, and its last query.
const SCHEMA_AGREEMENT: Duration = Duration::from_secs(15);

pub(super) fn check(evidence: &Evidence<'_>) -> Vec<Failure> {
    let request_timeout = Duration::from_millis(evidence.plan.driver.request_timeout_ms);
    let mut failures = Vec::new();
    for call in evidence.calls {
        // A schema change is followed by a wait for agreement, which has its own limit.
        let is_schema_change = matches!(call.action, Action::CreateTable);
        let limit = request_timeout + if is_schema_change { SCHEMA_AGREEMENT } else { Duration::ZERO };
        let mut fail = |class, message| failures.push(Failure::new("I2", class, call.submitted + limit, message));
        match (call.completed, call.completions) {
            (None, _) => fail(Class::Safety, format!("{} never completed", call.nonce)),
            (Some(_), 2..) => fail(Class::Safety, format!("{} completed {} times", call.nonce, call.completions)),
            (Some(_), _) if call.longest_wait > limit + evidence.bounds.slack => {
                fail(Class::Safety, format!("{} took {:?}, its limit is {limit:?}", call.nonce, call.longest_wait));
            }
            _ => {}
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, run};
    use super::*;
    use crate::history::Answer;

    #[test]
    fn calls_must_complete_once_and_in_time() {
        let good = call(1, Action::Play { song: 1 }, 100, 2_100, Ok(Answer::Written));
        assert!(run(check, std::slice::from_ref(&good), &[], None).is_empty(), "exactly at the deadline");

        let late = call(1, Action::Play { song: 1 }, 100, 2_500, Ok(Answer::Written));
        assert_eq!(run(check, &[late], &[], None), ["I2"]);

        let mut never = good.clone();
        never.completed = None;
        assert_eq!(run(check, &[never], &[], None), ["I2"]);

        let mut twice = good;
        twice.completions = 2;
        assert_eq!(run(check, &[twice], &[], None), ["I2"]);
    }
}
