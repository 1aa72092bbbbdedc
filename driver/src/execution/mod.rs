//! Executes requests: which coordinators to try, what to send them, what to make of their answers.

mod attempt;
mod background;
pub(crate) mod error;
mod failure;
mod metrics;
mod preparation;
mod prepared_cache;
mod query_plan;
mod repreparation;
mod request;
mod retries;
mod runner;
mod speculation;
#[cfg(test)]
mod tests;
mod tracker;
mod walk;
mod work;

pub(crate) use background::Background;
pub use error::{Attempt, AttemptKind, AttemptOutcome, Certainty, Error, ErrorKind, Result};
pub(crate) use metrics::Metrics;
pub use metrics::MetricsSnapshot;
pub(crate) use preparation::{PreparationSettings, WarmUpStatements, prepare_on_others};
pub(crate) use prepared_cache::PreparedCache;
pub use query_plan::{Explanation, PlannedNode};
pub(crate) use repreparation::prepared_state;
pub(crate) use runner::{Answer, Defaults, Executor};
pub use tracker::{RequestKind, RequestTracker, TrackedRequest};
pub(crate) use work::Work;
