//! What follows one failed attempt.
//!
//! The policy only advises. The request machine refuses its advice when repeating the request could apply it twice:
//! after an attempt that may have executed, only an idempotent request is sent again, and a conditional one never is.
//!
//! # Source
//!
//! The decision table of the Java driver 4.x, with one retry for timeouts and unavailability.

use std::time::Duration;

use crate::protocol::{Consistency, WriteType};

/// How one attempt failed, without the connection it failed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptFailure {
    /// Nothing was sent: no usable connection, no free stream id, or the connection closed first.
    NotSent,
    /// The connection was lost while the request was in flight.
    ConnectionLost,
    /// The time limit of this attempt passed; the request may still be executing.
    AttemptTimeout,
    /// The answer could not be understood.
    UndecodableAnswer,
    /// The coordinator is still bootstrapping.
    IsBootstrapping,
    /// The coordinator shed the request.
    Overloaded,
    /// The coordinator failed internally.
    ServerError,
    /// A truncation failed.
    TruncateError,
    /// Too few live replicas; nothing was attempted.
    Unavailable {
        /// Replicas the consistency level needs.
        required: i32,
        /// Replicas the coordinator believes alive.
        alive: i32,
    },
    /// Too few replicas answered a read in time.
    ReadTimeout {
        /// Replicas that answered.
        received: i32,
        /// Replicas the consistency level needs.
        block_for: i32,
        /// Whether the replica asked for the data was among them.
        data_present: bool,
    },
    /// Too few replicas acknowledged a write in time.
    WriteTimeout {
        /// Replicas that acknowledged.
        received: i32,
        /// Replicas the consistency level needs.
        block_for: i32,
        /// What was written.
        write_type: WriteType,
    },
    /// A replica failed a read.
    ReadFailure,
    /// A replica failed a write.
    WriteFailure,
    /// The change data capture log refused the write.
    CdcWriteFailure,
    /// A conditional write ended without an outcome.
    CasWriteUnknown,
    /// The request is wrong and would fail on any coordinator.
    InvalidRequest,
    /// An error code this driver does not know.
    Unknown {
        /// The code on the wire.
        code: i32,
    },
}

impl AttemptFailure {
    /// Whether the request may have been executed, now or later.
    #[must_use]
    #[deny(clippy::wildcard_enum_match_arm)]
    pub fn may_have_executed(&self) -> bool {
        match self {
            Self::NotSent | Self::IsBootstrapping | Self::Unavailable { .. } | Self::InvalidRequest => false,
            Self::ConnectionLost
            | Self::AttemptTimeout
            | Self::UndecodableAnswer
            | Self::Overloaded
            | Self::ServerError
            | Self::TruncateError
            | Self::ReadTimeout { .. }
            | Self::WriteTimeout { .. }
            | Self::ReadFailure
            | Self::WriteFailure
            | Self::CdcWriteFailure
            | Self::CasWriteUnknown
            | Self::Unknown { .. } => true,
        }
    }

    /// Whether repeating the request needs the caller's word that it is idempotent.
    ///
    /// A read timeout does not: the server says that the request was a read.
    #[must_use]
    pub fn needs_idempotence(&self) -> bool {
        self.may_have_executed() && !matches!(self, Self::ReadTimeout { .. } | Self::ReadFailure)
    }
}

/// What a policy may know about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryFacts {
    /// Retries already decided for this execution of the request.
    pub retries: u32,
    /// Whether the request may be applied twice: declared idempotent and not conditional.
    pub is_idempotent: bool,
    /// Whether the request is a lightweight transaction.
    pub is_conditional: bool,
    /// Level of the attempt that failed, which an earlier decision may have lowered.
    pub consistency: Consistency,
    /// Nodes of the query plan that were not tried.
    pub nodes_left: usize,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Send it again to the same coordinator.
    SameNode,
    /// Send it again to the same coordinator at this consistency level.
    SameNodeAt(Consistency),
    /// Send it to the next coordinator of the plan.
    NextNode,
    /// Report success without rows, although the consistency level was not reached.
    Ignore,
    /// Report the failure.
    GiveUp,
}

/// Decides what follows a failed attempt.
pub trait Retry: Send + Sync {
    /// Advises on `failure`; see the module about who has the last word.
    fn decide(&self, failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision;

    /// How long to wait before the attempt that [`Self::decide`] advised. Default: not at all.
    ///
    /// `random` is 64 uniformly distributed bits. A wait that would pass the deadline of the call ends it at once
    /// with the failure. Attempts after a wait are paid from the session's retry budget.
    fn delay(&self, failure: &AttemptFailure, facts: RetryFacts, random: u64) -> Duration {
        let _ = (failure, facts, random);
        Duration::ZERO
    }
}

/// Retries where another attempt has a good chance and cannot hurt. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultRetry;

impl Retry for DefaultRetry {
    #[deny(clippy::wildcard_enum_match_arm)] // A new failure must be decided here, not defaulted.
    fn decide(&self, failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision {
        use AttemptFailure as F;
        let first_retry = facts.retries == 0;
        match failure {
            // Nothing ran there; the plan bounds the attempts.
            F::NotSent | F::IsBootstrapping => RetryDecision::NextNode,
            // Enough replicas answered, but not the one asked for the data: the coordinator has learned that it is
            // dead and will ask another.
            F::ReadTimeout { received, block_for, data_present: false } if first_retry && received >= block_for => {
                RetryDecision::SameNode
            }
            // The batch itself was not attempted, yet one log replica may hold it and replay it.
            F::WriteTimeout { write_type: WriteType::BatchLog, .. } if first_retry && facts.is_idempotent => {
                RetryDecision::SameNode
            }
            // Another coordinator may know of more live replicas.
            F::Unavailable { .. } if first_retry => RetryDecision::NextNode,
            F::ConnectionLost
            | F::AttemptTimeout
            | F::UndecodableAnswer
            | F::Overloaded
            | F::ServerError
            | F::TruncateError
            | F::CdcWriteFailure
            | F::CasWriteUnknown
                if facts.is_idempotent =>
            {
                RetryDecision::NextNode
            }
            F::ReadTimeout { .. }
            | F::WriteTimeout { .. }
            | F::Unavailable { .. }
            | F::ConnectionLost
            | F::AttemptTimeout
            | F::UndecodableAnswer
            | F::Overloaded
            | F::ServerError
            | F::TruncateError
            | F::ReadFailure
            | F::WriteFailure
            | F::CdcWriteFailure
            | F::CasWriteUnknown
            | F::InvalidRequest
            | F::Unknown { .. } => RetryDecision::GiveUp,
        }
    }
}

/// Never retries: each failure reaches the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fallthrough;

impl Retry for Fallthrough {
    fn decide(&self, _failure: &AttemptFailure, _facts: RetryFacts) -> RetryDecision {
        RetryDecision::GiveUp
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::policy) fn facts(is_idempotent: bool, retries: u32) -> RetryFacts {
        RetryFacts {
            retries,
            is_idempotent,
            is_conditional: false,
            consistency: Consistency::LocalQuorum,
            nodes_left: 2,
        }
    }

    fn decide(failure: &AttemptFailure, is_idempotent: bool, retries: u32) -> RetryDecision {
        DefaultRetry.decide(failure, facts(is_idempotent, retries))
    }

    #[test]
    fn default_table_is_the_one_of_the_specification() {
        use AttemptFailure as F;
        use RetryDecision::{GiveUp, NextNode, SameNode};
        let read = |received, data_present| F::ReadTimeout { received, block_for: 2, data_present };
        let write = |write_type| F::WriteTimeout { received: 1, block_for: 2, write_type };
        // failure, idempotent first, idempotent second, not idempotent first
        let table = [
            (F::NotSent, NextNode, NextNode, NextNode),
            (F::IsBootstrapping, NextNode, NextNode, NextNode),
            (F::ConnectionLost, NextNode, NextNode, GiveUp),
            (F::AttemptTimeout, NextNode, NextNode, GiveUp),
            (F::UndecodableAnswer, NextNode, NextNode, GiveUp),
            (read(2, false), SameNode, GiveUp, SameNode),
            (read(2, true), GiveUp, GiveUp, GiveUp),
            (read(1, false), GiveUp, GiveUp, GiveUp),
            (write(WriteType::BatchLog), SameNode, GiveUp, GiveUp),
            (write(WriteType::Simple), GiveUp, GiveUp, GiveUp),
            (write(WriteType::UnloggedBatch), GiveUp, GiveUp, GiveUp),
            (F::Unavailable { required: 2, alive: 1 }, NextNode, GiveUp, NextNode),
            (F::Overloaded, NextNode, NextNode, GiveUp),
            (F::ServerError, NextNode, NextNode, GiveUp),
            (F::TruncateError, NextNode, NextNode, GiveUp),
            (F::CdcWriteFailure, NextNode, NextNode, GiveUp),
            (F::CasWriteUnknown, NextNode, NextNode, GiveUp),
            (F::ReadFailure, GiveUp, GiveUp, GiveUp),
            (F::WriteFailure, GiveUp, GiveUp, GiveUp),
            (F::InvalidRequest, GiveUp, GiveUp, GiveUp),
            (F::Unknown { code: 0x1234 }, GiveUp, GiveUp, GiveUp),
        ];

        for (failure, first, second, unsafe_first) in table {
            assert_eq!(decide(&failure, true, 0), first, "{failure:?} idempotent, first");
            assert_eq!(decide(&failure, true, 1), second, "{failure:?} idempotent, second");
            assert_eq!(decide(&failure, false, 0), unsafe_first, "{failure:?} not idempotent");
        }
    }

    #[test]
    fn fallthrough_reports_every_failure() {
        for failure in [AttemptFailure::NotSent, AttemptFailure::Unavailable { required: 1, alive: 0 }] {
            assert_eq!(Fallthrough.decide(&failure, facts(true, 0)), RetryDecision::GiveUp);
        }
    }
}
