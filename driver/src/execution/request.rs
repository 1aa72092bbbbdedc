//! One request over all its attempts: retries, idempotence and what is known about its effect. Pure.
//!
//! # Invariants
//!
//! - Once an attempt may have executed, a request that is not idempotent is not sent again, whatever any policy says.
//! - A conditional request is never sent again after it may have reached a node, idempotent or not.
//! - The certainty only grows more dangerous; a later refusal does not undo an earlier doubt.

use std::time::Duration;

use super::error::Certainty;
use crate::env::mutants::is_planted;
use crate::policy::{AttemptFailure, Retry, RetryBudget, RetryDecision, RetryFacts};

/// What a request is, for the rules of repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestFacts {
    pub is_idempotent: bool,
    /// A lightweight transaction.
    pub is_conditional: bool,
    /// A logged batch may be stored in the batch log by a coordinator that then reports it unavailable.
    pub is_logged_batch: bool,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    SameNode { after: Duration },
    NextNode { after: Duration },
    GiveUp,
}

/// Follows one request from its first failure on; a request that succeeds at once never makes one.
#[derive(Debug)]
pub(crate) struct RequestMachine {
    facts: RequestFacts,
    retries: u32,
    back_offs: u32,
    certainty: Certainty,
}

impl RequestMachine {
    pub(crate) fn new(facts: RequestFacts) -> Self {
        Self { facts, retries: 0, back_offs: 0, certainty: Certainty::NotSent }
    }

    /// Decides what follows `failure`; `random` is 64 uniformly distributed bits for the back-off.
    pub(crate) fn handle_failure(
        &mut self,
        failure: &AttemptFailure,
        policy: &dyn Retry,
        budget: &RetryBudget,
        random: u64,
    ) -> Step {
        self.certainty = self.certainty.max(self.certainty_of(failure));
        let retry = RetryFacts { retries: self.retries, is_idempotent: self.is_repeatable() };
        let decision = policy.decide(failure, retry);
        if decision == RetryDecision::GiveUp || !self.may_repeat(failure) {
            return Step::GiveUp;
        }
        let mut after = Duration::ZERO;
        if is_overload(failure) {
            if !budget.withdraw() {
                return Step::GiveUp;
            }
            after = back_off(self.back_offs, random);
            self.back_offs += 1;
        }
        // Failures that prove that nothing ran are bounded by the plan and leave the policy its one retry.
        if !matches!(failure, AttemptFailure::NotSent | AttemptFailure::IsBootstrapping) {
            self.retries += 1;
        }
        match decision {
            RetryDecision::SameNode => Step::SameNode { after },
            RetryDecision::NextNode => Step::NextNode { after },
            RetryDecision::GiveUp => Step::GiveUp,
        }
    }

    /// What is known about the effect of all attempts so far.
    pub(crate) fn certainty(&self) -> Certainty {
        if is_planted("B03-maybe-executed-forgotten") && self.certainty == Certainty::MaybeApplied {
            return Certainty::Rejected;
        }
        self.certainty
    }

    /// What `failure` alone says about the effect.
    pub(crate) fn certainty_of(&self, failure: &AttemptFailure) -> Certainty {
        match failure {
            AttemptFailure::NotSent => Certainty::NotSent,
            // A batch log replica, or an acceptor of an earlier round, may hold it although the coordinator gave up.
            AttemptFailure::Unavailable if self.facts.is_logged_batch || self.facts.is_conditional => {
                Certainty::MaybeApplied
            }
            other if other.may_have_executed() => Certainty::MaybeApplied,
            _ => Certainty::Rejected,
        }
    }

    fn is_repeatable(&self) -> bool {
        if is_planted("B01-non-idempotent-write-retried") {
            return true;
        }
        self.facts.is_idempotent && !self.facts.is_conditional
    }

    fn may_repeat(&self, failure: &AttemptFailure) -> bool {
        if self.is_repeatable() {
            return true;
        }
        let proves_a_read = !failure.needs_idempotence() && failure.may_have_executed();
        // Sticky: an earlier attempt in doubt forbids repetition even if the latest one was refused.
        self.certainty < Certainty::MaybeApplied || (proves_a_read && !self.facts.is_conditional)
    }
}

fn is_overload(failure: &AttemptFailure) -> bool {
    matches!(failure, AttemptFailure::Overloaded | AttemptFailure::ServerError)
}

/// Between half and all of 10 ms, doubled for each earlier back-off, at most 160 ms.
fn back_off(earlier: u32, random: u64) -> Duration {
    let full_micros = 10_000_u64 << earlier.min(4);
    Duration::from_micros(full_micros / 2 + random % (full_micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DefaultRetry;

    /// A policy that would repeat anything.
    struct Reckless;

    impl Retry for Reckless {
        fn decide(&self, _failure: &AttemptFailure, _facts: RetryFacts) -> RetryDecision {
            RetryDecision::NextNode
        }
    }

    fn machine(is_idempotent: bool, is_conditional: bool) -> RequestMachine {
        RequestMachine::new(RequestFacts { is_idempotent, is_conditional, is_logged_batch: false })
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn request_that_may_have_executed_is_not_repeated_whatever_the_policy_says() {
        let budget = RetryBudget::new();

        let step = machine(false, false).handle_failure(&AttemptFailure::ConnectionLost, &Reckless, &budget, 0);

        assert_eq!(step, Step::GiveUp);
    }

    #[test]
    fn conditional_request_is_not_repeated_even_if_called_idempotent() {
        let budget = RetryBudget::new();
        let timeout = AttemptFailure::ReadTimeout { received: 2, block_for: 2, data_present: false };

        assert_eq!(
            machine(true, true).handle_failure(&AttemptFailure::CasWriteUnknown, &Reckless, &budget, 0),
            Step::GiveUp
        );
        assert_eq!(machine(true, true).handle_failure(&timeout, &Reckless, &budget, 0), Step::GiveUp);
    }

    #[test]
    fn doubt_is_sticky() {
        let budget = RetryBudget::new();
        let mut machine = machine(true, false);

        let lost = machine.handle_failure(&AttemptFailure::ConnectionLost, &DefaultRetry, &budget, 0);
        let refused = machine.handle_failure(&AttemptFailure::InvalidRequest, &DefaultRetry, &budget, 0);

        assert_eq!((lost, refused), (Step::NextNode { after: NOW }, Step::GiveUp));
        assert_eq!(machine.certainty(), Certainty::MaybeApplied);
    }

    #[test]
    fn nodes_without_connection_do_not_use_up_the_retry() {
        let budget = RetryBudget::new();
        let mut machine = machine(false, false);

        for _ in 0..3 {
            let step = machine.handle_failure(&AttemptFailure::NotSent, &DefaultRetry, &budget, 0);
            assert_eq!(step, Step::NextNode { after: NOW });
        }
        let step = machine.handle_failure(&AttemptFailure::Unavailable, &DefaultRetry, &budget, 0);

        assert_eq!(step, Step::NextNode { after: NOW });
        assert_eq!(machine.certainty(), Certainty::Rejected);
    }

    #[test]
    fn read_timeout_may_be_repeated_without_idempotence() {
        let budget = RetryBudget::new();
        let timeout = AttemptFailure::ReadTimeout { received: 2, block_for: 2, data_present: false };

        let step = machine(false, false).handle_failure(&timeout, &DefaultRetry, &budget, 0);

        assert_eq!(step, Step::SameNode { after: NOW });
    }

    #[test]
    fn overload_is_repeated_after_a_growing_pause_until_the_budget_is_spent() {
        let budget = RetryBudget::new();
        let mut machine = machine(true, false);
        let mut pauses = Vec::new();

        while let Step::NextNode { after } =
            machine.handle_failure(&AttemptFailure::Overloaded, &DefaultRetry, &budget, 0)
        {
            pauses.push(after);
        }

        assert_eq!(pauses.len(), 100);
        assert_eq!(pauses[0], Duration::from_millis(5));
        assert_eq!(pauses[99], Duration::from_millis(80));
    }

    #[test]
    fn unavailable_logged_batch_counts_as_possibly_applied() {
        let budget = RetryBudget::new();
        let facts = RequestFacts { is_logged_batch: true, ..RequestFacts::default() };
        let mut machine = RequestMachine::new(facts);

        let step = machine.handle_failure(&AttemptFailure::Unavailable, &DefaultRetry, &budget, 0);

        assert_eq!(step, Step::GiveUp);
        assert_eq!(machine.certainty(), Certainty::MaybeApplied);
    }
}
