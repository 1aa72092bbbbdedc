//! Retries with growing pauses.

use std::time::Duration;

use super::{AttemptFailure, DefaultRetry, Retry, RetryDecision, RetryFacts};

/// Retries what may pass with time, each attempt after a longer pause; never blocks anything but the call itself.
///
/// Beyond the default rules it repeats `Unavailable`, timeouts and overload up to `retries_max` times: on the nodes of
/// the plan that are left, then on the last one. What only an idempotent request may repeat stays so. The pause before
/// retry *n* is drawn between half and all of `base` · 2ⁿ, at most `max`.
#[derive(Debug, Clone, Copy)]
pub struct ExponentialBackOff {
    retries_max: u32,
    base: Duration,
    max: Duration,
}

impl ExponentialBackOff {
    /// Retries up to `retries_max` times, pausing from `base` to `max`.
    ///
    /// A zero `base` would retry in a busy loop: it is raised to 1 ms. A `max` below `base` is raised to it.
    #[must_use]
    pub fn new(retries_max: u32, base: Duration, max: Duration) -> Self {
        let base = base.max(Duration::from_millis(1));
        Self { retries_max, base, max: max.max(base) }
    }
}

/// Five retries, 100 ms to 10 s.
impl Default for ExponentialBackOff {
    fn default() -> Self {
        Self::new(5, Duration::from_millis(100), Duration::from_secs(10))
    }
}

impl Retry for ExponentialBackOff {
    fn decide(&self, failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision {
        if proves_nothing_ran(failure) {
            return DefaultRetry.decide(failure, facts);
        }
        if facts.retries >= self.retries_max
            || !may_pass(failure)
            || (failure.needs_idempotence() && !facts.is_idempotent)
        {
            return RetryDecision::GiveUp;
        }
        if facts.nodes_left > 0 { RetryDecision::NextNode } else { RetryDecision::SameNode }
    }

    fn delay(&self, failure: &AttemptFailure, facts: RetryFacts, random: u64) -> Duration {
        if proves_nothing_ran(failure) {
            return Duration::ZERO;
        }
        let factor = 1_u32 << facts.retries.min(31);
        let full = self.base.saturating_mul(factor).min(self.max);
        let half = full / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        full - half + Duration::from_nanos(random % spread)
    }
}

/// Another node can be asked at once, and the plan bounds how many.
fn proves_nothing_ran(failure: &AttemptFailure) -> bool {
    matches!(failure, AttemptFailure::NotSent | AttemptFailure::IsBootstrapping)
}

#[deny(clippy::wildcard_enum_match_arm)] // A new failure must be decided here, not defaulted.
fn may_pass(failure: &AttemptFailure) -> bool {
    use AttemptFailure as F;
    match failure {
        F::NotSent
        | F::IsBootstrapping
        | F::ConnectionLost
        | F::AttemptTimeout
        | F::Overloaded
        | F::ServerError
        | F::TruncateError
        | F::Unavailable { .. }
        | F::ReadTimeout { .. }
        | F::WriteTimeout { .. }
        | F::CdcWriteFailure => true,
        F::UndecodableAnswer
        | F::ReadFailure
        | F::WriteFailure
        | F::CasWriteUnknown
        | F::InvalidRequest
        | F::Unknown { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::retry::tests::facts;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> ExponentialBackOff {
        ExponentialBackOff::new(3, 100 * MS, 300 * MS)
    }

    #[test]
    fn pauses_double_up_to_the_maximum_and_are_jittered() {
        let pause = |retries, random| policy().delay(&AttemptFailure::Overloaded, facts(true, retries), random);

        assert_eq!([pause(0, 0), pause(1, 0), pause(2, 0), pause(40, 0)], [50 * MS, 100 * MS, 150 * MS, 150 * MS]);
        for random in [1, u64::MAX / 3, u64::MAX] {
            assert!((50 * MS..100 * MS).contains(&pause(0, random)));
        }
    }

    #[test]
    fn retries_end_at_their_maximum() {
        let unavailable = AttemptFailure::Unavailable { required: 2, alive: 1 };

        assert_eq!(policy().decide(&unavailable, facts(false, 2)), RetryDecision::NextNode);
        assert_eq!(policy().decide(&unavailable, facts(false, 3)), RetryDecision::GiveUp);
    }

    #[test]
    fn last_node_is_asked_again_when_the_plan_is_used_up() {
        let facts = RetryFacts { nodes_left: 0, ..facts(true, 1) };
        assert_eq!(policy().decide(&AttemptFailure::Overloaded, facts), RetryDecision::SameNode);
    }

    #[test]
    fn what_may_have_run_is_repeated_only_if_idempotent() {
        for failure in [AttemptFailure::Overloaded, AttemptFailure::ConnectionLost] {
            assert_eq!(policy().decide(&failure, facts(false, 0)), RetryDecision::GiveUp, "{failure:?}");
            assert_eq!(policy().decide(&failure, facts(true, 0)), RetryDecision::NextNode, "{failure:?}");
        }
    }

    #[test]
    fn another_node_is_asked_at_once_when_nothing_was_sent() {
        assert_eq!(policy().delay(&AttemptFailure::NotSent, facts(false, 0), 7), Duration::ZERO);
    }
}
