//! What follows one failed attempt.
//!
//! The policy only advises. The request machine refuses its advice when repeating the request could apply it twice:
//! after an attempt that may have executed, only an idempotent request is sent again, and a conditional one never is.
//!
//! # Source
//!
//! The decision table of the Java driver 4.x, with one retry for timeouts and unavailability.

use std::sync::atomic::{AtomicI64, Ordering};

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
    Unavailable,
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
        /// Whether only the batch log write is in doubt.
        is_batch_log: bool,
        /// Whether the write was conditional.
        is_conditional: bool,
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
            Self::NotSent | Self::IsBootstrapping | Self::Unavailable | Self::InvalidRequest => false,
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
    /// Retries already decided for this request.
    pub retries: u32,
    /// Whether the caller declared the request idempotent.
    pub is_idempotent: bool,
}

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Send it again to the same coordinator.
    SameNode,
    /// Send it to the next coordinator of the plan.
    NextNode,
    /// Report the failure.
    GiveUp,
}

/// Decides what follows a failed attempt.
pub trait Retry: Send + Sync {
    /// Advises on `failure`; see the module about who has the last word.
    fn decide(&self, failure: &AttemptFailure, facts: RetryFacts) -> RetryDecision;
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
            F::WriteTimeout { is_batch_log: true, .. } if first_retry && facts.is_idempotent => RetryDecision::SameNode,
            // Another coordinator may know of more live replicas.
            F::Unavailable if first_retry => RetryDecision::NextNode,
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
            | F::Unavailable
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

/// Bounds the retries that an overloaded cluster would answer with more overload.
///
/// Every request deposits a tenth of a retry, up to a hundred retries saved; a retry after `Overloaded` or
/// `ServerError` withdraws one. Quiet sessions can always retry; a session whose every request fails sends at most
/// a tenth more.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    tenths: AtomicI64,
}

const BUDGET_MAX_TENTHS: i64 = 1000;

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self { tenths: AtomicI64::new(BUDGET_MAX_TENTHS) }
    }

    /// Counts one request. Relaxed on purpose: a lost deposit changes nothing that matters.
    pub(crate) fn deposit(&self) {
        if self.tenths.load(Ordering::Relaxed) < BUDGET_MAX_TENTHS {
            self.tenths.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one retry; `false` when the budget is spent.
    pub(crate) fn withdraw(&self) -> bool {
        self.tenths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tenths| (tenths >= 10).then_some(tenths - 10))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(failure: &AttemptFailure, is_idempotent: bool, retries: u32) -> RetryDecision {
        DefaultRetry.decide(failure, RetryFacts { retries, is_idempotent })
    }

    #[test]
    fn default_table_is_the_one_of_the_specification() {
        use AttemptFailure as F;
        use RetryDecision::{GiveUp, NextNode, SameNode};
        let read = |received, data_present| F::ReadTimeout { received, block_for: 2, data_present };
        let write = |is_batch_log| F::WriteTimeout { is_batch_log, is_conditional: false };
        // failure, idempotent first, idempotent second, not idempotent first
        let table = [
            (F::NotSent, NextNode, NextNode, NextNode),
            (F::IsBootstrapping, NextNode, NextNode, NextNode),
            (F::ConnectionLost, NextNode, NextNode, GiveUp),
            (read(2, false), SameNode, GiveUp, SameNode),
            (read(2, true), GiveUp, GiveUp, GiveUp),
            (read(1, false), GiveUp, GiveUp, GiveUp),
            (write(true), SameNode, GiveUp, GiveUp),
            (write(false), GiveUp, GiveUp, GiveUp),
            (F::Unavailable, NextNode, GiveUp, NextNode),
            (F::Overloaded, NextNode, NextNode, GiveUp),
            (F::ServerError, NextNode, NextNode, GiveUp),
            (F::ReadFailure, GiveUp, GiveUp, GiveUp),
            (F::WriteFailure, GiveUp, GiveUp, GiveUp),
            (F::InvalidRequest, GiveUp, GiveUp, GiveUp),
        ];

        for (failure, first, second, unsafe_first) in table {
            assert_eq!(decide(&failure, true, 0), first, "{failure:?} idempotent, first");
            assert_eq!(decide(&failure, true, 1), second, "{failure:?} idempotent, second");
            assert_eq!(decide(&failure, false, 0), unsafe_first, "{failure:?} not idempotent");
        }
    }

    #[test]
    fn spent_budget_is_refilled_by_ten_requests() {
        let budget = RetryBudget::new();
        for _ in 0..100 {
            assert!(budget.withdraw());
        }
        assert!(!budget.withdraw());

        for _ in 0..10 {
            budget.deposit();
        }

        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }
}
