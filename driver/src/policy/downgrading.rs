//! Retries at a lower consistency level.
//!
//! # Source
//!
//! The rules of the consistency-downgrading policy of the Java driver 4.x.

use super::{AttemptFailure, Retry, RetryDecision, RetryFacts};
use crate::protocol::{Consistency, WriteType};

/// Retries once at the level that the live replicas can satisfy, and **reports success for writes below their level**.
///
/// A read may miss the newest write, and a write that was acknowledged by one replica counts as done. Use it only
/// where an old or lost value is better than an error; never the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct DowngradingConsistency;

impl Retry for DowngradingConsistency {
    fn decide(&self, failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision {
        use AttemptFailure as F;
        let is_serial = facts.is_conditional || facts.consistency.is_serial();
        match *failure {
            F::ReadTimeout { .. } | F::WriteTimeout { .. } | F::Unavailable { .. } if facts.retries > 0 => {
                RetryDecision::GiveUp
            }
            // A weaker level would not be the linearizable read that was asked for.
            F::ReadTimeout { .. } if is_serial => RetryDecision::GiveUp,
            F::ReadTimeout { received, block_for, .. } if received < block_for => downgraded(received, facts),
            F::ReadTimeout { data_present: false, .. } => RetryDecision::SameNode,
            F::ReadTimeout { .. } => RetryDecision::GiveUp,
            F::WriteTimeout { received, ref write_type, .. } => match write_type {
                WriteType::Simple | WriteType::Batch if received > 0 => RetryDecision::Ignore,
                WriteType::UnloggedBatch => downgraded(received, facts),
                WriteType::BatchLog => RetryDecision::SameNode,
                _ => RetryDecision::GiveUp,
            },
            F::Unavailable { .. } if is_serial => RetryDecision::NextNode,
            F::Unavailable { alive, .. } => downgraded(alive, facts),
            ref other => super::DefaultRetry.decide(other, facts),
        }
    }
}

/// The strongest level that `replicas` replicas can satisfy.
fn downgraded(replicas: i32, facts: RetryFacts) -> RetryDecision {
    match replicas {
        3.. => RetryDecision::SameNodeAt(Consistency::Three),
        2 => RetryDecision::SameNodeAt(Consistency::Two),
        // The local data centre may have no replica alive while another has.
        1 => RetryDecision::SameNodeAt(Consistency::One),
        _ if facts.consistency == Consistency::EachQuorum => RetryDecision::SameNodeAt(Consistency::One),
        _ => RetryDecision::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::retry::tests::facts;
    use RetryDecision::{GiveUp, Ignore, NextNode, SameNode, SameNodeAt};

    fn decide(failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision {
        DowngradingConsistency.decide(failure, facts)
    }

    #[test]
    fn downgrading_table_is_the_one_of_the_specification() {
        let unavailable = |alive| AttemptFailure::Unavailable { required: 3, alive };
        let read = |received, data_present| AttemptFailure::ReadTimeout { received, block_for: 2, data_present };
        let write = |received, write_type| AttemptFailure::WriteTimeout { received, block_for: 2, write_type };
        for (failure, expected) in [
            (unavailable(4), SameNodeAt(Consistency::Three)),
            (unavailable(2), SameNodeAt(Consistency::Two)),
            (unavailable(1), SameNodeAt(Consistency::One)),
            (unavailable(0), GiveUp),
            (read(1, true), SameNodeAt(Consistency::One)),
            (read(0, false), GiveUp),
            (read(2, false), SameNode),
            (read(2, true), GiveUp),
            (write(1, WriteType::Simple), Ignore),
            (write(0, WriteType::Simple), GiveUp),
            (write(1, WriteType::Batch), Ignore),
            (write(2, WriteType::UnloggedBatch), SameNodeAt(Consistency::Two)),
            (write(0, WriteType::BatchLog), SameNode),
            (write(1, WriteType::Counter), GiveUp),
            (write(1, WriteType::Cas), GiveUp),
            (AttemptFailure::ConnectionLost, NextNode),
        ] {
            assert_eq!(decide(&failure, facts(true, 0)), expected, "{failure:?}");
        }
    }

    #[test]
    fn level_is_lowered_at_most_once() {
        assert_eq!(decide(&AttemptFailure::Unavailable { required: 3, alive: 1 }, facts(true, 1)), GiveUp);
    }

    #[test]
    fn linearizable_requests_are_never_downgraded() {
        let serial = RetryFacts { consistency: Consistency::Serial, ..facts(true, 0) };
        let read = AttemptFailure::ReadTimeout { received: 1, block_for: 2, data_present: false };
        let unavailable = AttemptFailure::Unavailable { required: 2, alive: 1 };

        assert_eq!(decide(&read, serial), GiveUp);
        assert_eq!(decide(&unavailable, RetryFacts { is_conditional: true, ..facts(false, 0) }), NextNode);
    }
}
