//! A simulated Apache Cassandra cluster, in process, speaking the native protocol, reproducible from one seed.
//!
//! The floors, lowest first (a module imports only from lower floors; `cargo xtask tidy` checks it):
//!
//! | floor | modules |
//! |---|---|
//! | F0 | [`kernel`], [`entropy`], [`remembered`], [`types`] |
//! | F1 | [`trace`], [`schema`], [`network`], [`ring`], [`protocol`] |
//! | F2 | [`storage`] |
//! | F3 | [`cql`], [`replica`] |
//! | F4 | [`coordinator`] |
//! | F5 | [`node`] |
//! | F6 | [`fault`] |
//! | F7 | [`engine`] |
//! | F8 | [`cluster`], `helenus` |

pub mod cluster;
pub mod coordinator;
pub mod cql;
pub mod engine;
pub mod entropy;
pub mod fault;
#[cfg(feature = "helenus")]
pub mod helenus;
pub mod kernel;
pub mod network;
pub mod node;
pub mod protocol;
pub mod remembered;
pub mod replica;
pub mod ring;
pub mod schema;
pub mod storage;
pub mod trace;
pub mod types;

pub use cluster::{ClusterConfig, NodeTruth, RunReport, SimCluster, run, serve};
pub use fault::Fault;
pub use kernel::{NodeId, SimInstant};
