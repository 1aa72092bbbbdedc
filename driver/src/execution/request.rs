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
use crate::policy::{AttemptFailure, Budget, Retry, RetryDecision, RetryFacts};
use crate::protocol::{Consistency, WriteType};

/// What a request is, for the rules of repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestFacts {
    pub is_idempotent: bool,
    /// A lightweight transaction.
    pub is_conditional: bool,
    /// A logged batch may be stored in the batch log by a coordinator that then reports it unavailable.
    pub is_logged_batch: bool,
    /// Increments counters.
    pub is_counter: bool,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    SameNode {
        after: Duration,
        /// The level to use from now on, if another one.
        consistency: Option<Consistency>,
    },
    NextNode {
        after: Duration,
    },
    /// Report success although the level was not reached.
    Ignore,
    GiveUp,
}

/// Circumstances of a failure that the failure itself does not tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// Level of the attempt that failed.
    pub consistency: Consistency,
    /// Nodes of the plan that were not tried.
    pub nodes_left: usize,
    /// 64 uniformly distributed bits for pauses.
    pub random: u64,
}

/// Follows one execution of a request from its first failure on; a request that succeeds at once never makes one.
#[derive(Debug)]
pub(crate) struct RequestMachine {
    facts: RequestFacts,
    retries: u32,
    same_node_retries: u32,
    back_offs: u32,
    certainty: Certainty,
}

impl RequestMachine {
    pub(crate) fn new(facts: RequestFacts) -> Self {
        Self { facts, retries: 0, same_node_retries: 0, back_offs: 0, certainty: Certainty::NotSent }
    }

    /// The server's own words showed that the request is a lightweight transaction.
    pub(crate) fn handle_conditional(&mut self) {
        self.facts.is_conditional = true;
    }

    /// Decides what follows `failure`.
    pub(crate) fn handle_failure(
        &mut self,
        failure: &AttemptFailure,
        policy: &dyn Retry,
        budget: &Budget,
        circumstances: Circumstances,
    ) -> Step {
        if is_of_lightweight_transaction(failure) {
            self.handle_conditional();
        }
        self.certainty = self.certainty.max(self.certainty_of(failure));
        let facts = RetryFacts {
            retries: self.retries,
            is_idempotent: self.is_repeatable(),
            is_conditional: self.facts.is_conditional,
            consistency: circumstances.consistency,
            nodes_left: circumstances.nodes_left,
        };
        let decision = policy.decide(failure, facts);
        match decision {
            RetryDecision::GiveUp => return Step::GiveUp,
            // Only a write that some replica has acknowledged can be called a success.
            RetryDecision::Ignore if matches!(failure, AttemptFailure::WriteTimeout { received: 1.., .. }) => {
                return Step::Ignore;
            }
            RetryDecision::Ignore => return Step::GiveUp,
            _ if !self.may_repeat(failure) => return Step::GiveUp,
            RetryDecision::SameNode | RetryDecision::SameNodeAt(_) | RetryDecision::NextNode => {}
        }
        let is_same_node = decision != RetryDecision::NextNode;
        let mut after = policy.delay(failure, facts, circumstances.random);
        let is_busy_loop = is_same_node && self.same_node_retries > 0;
        if is_overload(failure) || is_busy_loop || after > Duration::ZERO {
            if !budget.withdraw() {
                return Step::GiveUp;
            }
            if after.is_zero() {
                after = back_off(self.back_offs, circumstances.random);
                self.back_offs += 1;
            }
        }
        // Failures that prove that nothing ran are bounded by the plan and leave the policy its one retry.
        if is_same_node || !matches!(failure, AttemptFailure::NotSent | AttemptFailure::IsBootstrapping) {
            self.retries += 1;
        }
        self.same_node_retries += u32::from(is_same_node);
        match decision {
            RetryDecision::SameNodeAt(level) => Step::SameNode { after, consistency: Some(level) },
            RetryDecision::SameNode => Step::SameNode { after, consistency: None },
            _ => Step::NextNode { after },
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
            AttemptFailure::Unavailable { .. } if self.facts.is_logged_batch || self.facts.is_conditional => {
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

/// Only the conditional path reports these.
fn is_of_lightweight_transaction(failure: &AttemptFailure) -> bool {
    match failure {
        AttemptFailure::WriteTimeout { write_type, .. } => *write_type == WriteType::Cas,
        AttemptFailure::CasWriteUnknown => true,
        _ => false,
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
    use crate::policy::{BudgetSettings, DefaultRetry, DowngradingConsistency, ExponentialBackOff};

    /// A policy that gives the same advice about anything.
    struct Always(RetryDecision);

    impl Retry for Always {
        fn decide(&self, _failure: &AttemptFailure, _facts: RetryFacts) -> RetryDecision {
            self.0
        }
    }

    const RECKLESS: Always = Always(RetryDecision::NextNode);
    const UNAVAILABLE: AttemptFailure = AttemptFailure::Unavailable { required: 2, alive: 1 };
    const NEXT: Step = Step::NextNode { after: Duration::ZERO };
    const SAME: Step = Step::SameNode { after: Duration::ZERO, consistency: None };

    fn machine(is_idempotent: bool, is_conditional: bool) -> RequestMachine {
        RequestMachine::new(RequestFacts { is_idempotent, is_conditional, ..RequestFacts::default() })
    }

    fn budget() -> Budget {
        Budget::new(BudgetSettings { percent: 10, burst: 100 })
    }

    fn step(machine: &mut RequestMachine, failure: &AttemptFailure, policy: &dyn Retry, budget: &Budget) -> Step {
        let circumstances = Circumstances { consistency: Consistency::LocalQuorum, nodes_left: 2, random: 0 };
        machine.handle_failure(failure, policy, budget, circumstances)
    }

    #[test]
    fn request_that_may_have_executed_is_not_repeated_whatever_the_policy_says() {
        let decided = step(&mut machine(false, false), &AttemptFailure::ConnectionLost, &RECKLESS, &budget());

        assert_eq!(decided, Step::GiveUp);
    }

    #[test]
    fn conditional_request_is_not_repeated_even_if_called_idempotent() {
        let timeout = AttemptFailure::ReadTimeout { received: 2, block_for: 2, data_present: false };

        for failure in [AttemptFailure::CasWriteUnknown, timeout, AttemptFailure::ConnectionLost, UNAVAILABLE] {
            assert_eq!(step(&mut machine(true, true), &failure, &RECKLESS, &budget()), Step::GiveUp, "{failure:?}");
        }
    }

    #[test]
    fn request_that_the_server_calls_conditional_is_treated_as_such() {
        let cas = AttemptFailure::WriteTimeout { received: 1, block_for: 2, write_type: WriteType::Cas };
        let mut machine = machine(true, false);

        assert_eq!(step(&mut machine, &cas, &RECKLESS, &budget()), Step::GiveUp);
        assert_eq!(step(&mut machine, &AttemptFailure::InvalidRequest, &RECKLESS, &budget()), Step::GiveUp);
    }

    #[test]
    fn doubt_is_sticky() {
        let mut machine = machine(true, false);

        let lost = step(&mut machine, &AttemptFailure::ConnectionLost, &DefaultRetry, &budget());
        let refused = step(&mut machine, &AttemptFailure::InvalidRequest, &DefaultRetry, &budget());

        assert_eq!((lost, refused), (NEXT, Step::GiveUp));
        assert_eq!(machine.certainty(), Certainty::MaybeApplied);
    }

    #[test]
    fn nodes_without_connection_do_not_use_up_the_retry() {
        let mut machine = machine(false, false);

        for _ in 0..3 {
            assert_eq!(step(&mut machine, &AttemptFailure::NotSent, &DefaultRetry, &budget()), NEXT);
        }
        assert_eq!(step(&mut machine, &UNAVAILABLE, &DefaultRetry, &budget()), NEXT);
        assert_eq!(machine.certainty(), Certainty::Rejected);
    }

    #[test]
    fn read_timeout_may_be_repeated_without_idempotence() {
        let timeout = AttemptFailure::ReadTimeout { received: 2, block_for: 2, data_present: false };

        assert_eq!(step(&mut machine(false, false), &timeout, &DefaultRetry, &budget()), SAME);
    }

    #[test]
    fn overload_is_repeated_after_a_growing_pause_until_the_budget_is_spent() {
        let (budget, mut machine) = (budget(), machine(true, false));
        let mut pauses = Vec::new();

        while let Step::NextNode { after } = step(&mut machine, &AttemptFailure::Overloaded, &DefaultRetry, &budget) {
            pauses.push(after);
        }

        assert_eq!(pauses.len(), 100);
        assert_eq!(pauses[0], Duration::from_millis(5));
        assert_eq!(pauses[99], Duration::from_millis(80));
    }

    #[test]
    fn pauses_of_a_policy_are_paid_from_the_budget() {
        let budget = Budget::new(BudgetSettings { percent: 0, burst: 1 });
        let policy = ExponentialBackOff::default();
        let mut machine = machine(false, false);

        let first = step(&mut machine, &UNAVAILABLE, &policy, &budget);
        let second = step(&mut machine, &UNAVAILABLE, &policy, &budget);

        assert_eq!(first, Step::NextNode { after: Duration::from_millis(50) });
        assert_eq!(second, Step::GiveUp);
    }

    #[test]
    fn same_node_is_not_asked_twice_without_a_pause() {
        let (budget, mut machine) = (budget(), machine(true, false));
        let policy = Always(RetryDecision::SameNode);

        assert_eq!(step(&mut machine, &UNAVAILABLE, &policy, &budget), SAME);
        let second = step(&mut machine, &UNAVAILABLE, &policy, &budget);

        assert_eq!(second, Step::SameNode { after: Duration::from_millis(5), consistency: None });
    }

    #[test]
    fn unavailable_logged_batch_counts_as_possibly_applied() {
        let facts = RequestFacts { is_logged_batch: true, ..RequestFacts::default() };
        let mut machine = RequestMachine::new(facts);

        assert_eq!(step(&mut machine, &UNAVAILABLE, &DefaultRetry, &budget()), Step::GiveUp);
        assert_eq!(machine.certainty(), Certainty::MaybeApplied);
    }

    #[test]
    fn write_is_called_a_success_only_if_a_replica_has_it() {
        let write = |received| AttemptFailure::WriteTimeout { received, block_for: 2, write_type: WriteType::Simple };
        let ignore = Always(RetryDecision::Ignore);

        assert_eq!(step(&mut machine(false, false), &write(1), &DowngradingConsistency, &budget()), Step::Ignore);
        assert_eq!(step(&mut machine(false, false), &write(0), &ignore, &budget()), Step::GiveUp);
        assert_eq!(step(&mut machine(false, false), &AttemptFailure::ConnectionLost, &ignore, &budget()), Step::GiveUp);
    }

    #[test]
    fn lowered_level_is_part_of_the_step() {
        let decided = step(&mut machine(false, false), &UNAVAILABLE, &DowngradingConsistency, &budget());

        assert_eq!(decided, Step::SameNode { after: Duration::ZERO, consistency: Some(Consistency::One) });
    }

    /// The labels of the specification: what each failure alone says about the effect of an ordinary request.
    #[test]
    fn each_failure_has_the_label_of_the_specification() {
        use AttemptFailure as F;
        use Certainty::{MaybeApplied, NotSent, Rejected};
        let write = F::WriteTimeout { received: 0, block_for: 2, write_type: WriteType::Simple };
        for (failure, label) in [
            (F::NotSent, NotSent),
            (UNAVAILABLE, Rejected),
            (F::IsBootstrapping, Rejected),
            (F::InvalidRequest, Rejected),
            (F::ConnectionLost, MaybeApplied),
            (F::AttemptTimeout, MaybeApplied),
            (F::UndecodableAnswer, MaybeApplied),
            (write, MaybeApplied),
            (F::WriteFailure, MaybeApplied),
            (F::CasWriteUnknown, MaybeApplied),
            (F::CdcWriteFailure, MaybeApplied),
            (F::ServerError, MaybeApplied),
            (F::TruncateError, MaybeApplied),
            (F::Overloaded, MaybeApplied),
            (F::Unknown { code: 0x1234 }, MaybeApplied),
        ] {
            assert_eq!(machine(false, false).certainty_of(&failure), label, "{failure:?}");
        }
    }
}
