//! The decisions an application may replace, as object-safe traits over plain facts.
//!
//! A policy never sees a connection, never waits and never reads a clock or a random generator of its own: what it
//! needs is passed in, so equal inputs give equal decisions and a recorded situation can be replayed through it.

mod address_translation;
mod load_balancing;
mod reconnection;
mod retry;
mod speculative_execution;
mod timestamp;

pub use address_translation::{AddressMap, AddressTranslation, NoTranslation};
pub use load_balancing::{Distance, LoadBalancing, NodeHealth, RoundRobin, RoutingFacts, TokenAware};
pub use reconnection::{ConstantReconnection, ExponentialReconnection, Reconnection};
pub(crate) use retry::RetryBudget;
pub use retry::{AttemptFailure, DefaultRetry, Fallthrough, Retry, RetryDecision, RetryFacts};
pub use speculative_execution::{ConstantSpeculation, NoSpeculation, SpeculativeExecution};
pub use timestamp::{MonotonicTimestamps, ServerTimestamps, TimestampGenerator};
