//! The connections to each node: one pool per node, owned by one task.

mod factory;
mod node_pool;
mod plan;
mod signal;
mod task;

pub(crate) use factory::{ConnectionFactory, use_keyspace};
pub use node_pool::NodeState;
pub(crate) use node_pool::{NodePool, PoolObserver, PoolSettings, WarmUp};
pub(crate) use signal::Signal;
