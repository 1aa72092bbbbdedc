//! The decisions an application may replace, as object-safe traits over plain facts.
//!
//! A policy never sees a connection, never waits and never reads a clock or a random generator of its own: what it
//! needs is passed in, so equal inputs give equal decisions and a recorded situation can be replayed through it.

mod address_translation;
mod back_off;
mod budget;
mod downgrading;
mod load_balancing;
mod reconnection;
mod retry;
mod speculative_execution;
mod timestamp;

pub use address_translation::{AddressMap, AddressTranslation, NoTranslation};
pub use back_off::ExponentialBackOff;
pub(crate) use budget::Budget;
pub use budget::BudgetSettings;
pub use downgrading::DowngradingConsistency;
pub use load_balancing::{
    Distance, HostFilter, LatencyAware, LoadBalancing, NodeHealth, RankReason, RecentLatency, RoundRobin, RoutingFacts,
    TokenAware,
};
pub use reconnection::{ConstantReconnection, ExponentialReconnection, Reconnection};
pub use retry::{AttemptFailure, DefaultRetry, Fallthrough, Retry, RetryDecision, RetryFacts};
pub use speculative_execution::{
    ConstantSpeculation, NoSpeculation, PercentileSpeculation, SpeculationFacts, SpeculativeExecution,
};
pub use timestamp::{MonotonicTimestamps, ServerTimestamps, TimestampGenerator};
