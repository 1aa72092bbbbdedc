//! The connections to each node: one pool per node, owned by one task.

mod factory;
mod plan;
mod signal;
mod task;

pub(crate) use factory::{ConnectionFactory, use_keyspace};
pub(crate) use signal::Signal;
pub use task::NodeState;
pub(crate) use task::{NodePool, PoolObserver, PoolSettings, WarmUp};
