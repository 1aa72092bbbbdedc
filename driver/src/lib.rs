//! A production Apache Cassandra driver.
//!
//! ```no_run
//! # async fn example() -> helenus::Result<()> {
//! use std::time::Duration;
//!
//! let session = helenus::Session::builder().contact_points(["127.0.0.1"]).connect().await?;
//! let songs = session.prepare("SELECT title FROM music.songs WHERE artist = ?").await?;
//! let titles: Vec<(String,)> = session.query(&songs).bind(("Joséphine Baker",)).all().await?;
//! println!("{} songs", titles.len());
//! session.close(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Session`] and [`SessionBuilder`]: connect, prepare, query, batch, close.
//! - [`Query`]: options of one call and the methods that end it: `execute`, `all`, `one`, `optional`, `pages`,
//!   `stream`, `apply`.
//! - [`Error`]: what went wrong, what was tried, and what the request may have left behind ([`Certainty`]).
//! - [`policy`]: load balancing, retries, speculation, reconnection, timestamps, address translation, all replaceable.
//! - [`value`]: CQL types and the Rust types that become them.
//! - [`ClusterSnapshot`]: nodes, token ring and schema.
//! - [`mod@env`]: where sockets, time, randomness and tasks come from; a simulation passes its own.
//!
//! The driver repeats a request only when that cannot apply it twice: after an attempt that may have been executed,
//! only calls declared [`Query::idempotent`] are sent again.

pub mod connection;
pub mod control;
pub mod env;
pub mod error;
pub mod execution;
pub mod observe;
pub mod policy;
pub mod pool;
pub mod protocol;
pub mod session;
pub mod statement;
pub mod topology;
pub mod value;

pub use env::Environment;
#[cfg(feature = "mutants")]
pub use env::mutants;
pub use error::{Attempt, AttemptKind, AttemptOutcome, Certainty, Error, ErrorKind, Result};
pub use execution::{Explanation, MetricsSnapshot, PlannedNode, RequestKind, RequestTracker, TrackedRequest};
pub use pool::NodeState;
pub use protocol::{BatchType, Consistency, ProtocolVersion, SerialConsistency};
pub use session::{
    Applied, BatchQuery, CloseReport, NodeMetrics, NodeStatus, Page, Pages, PagingState, PrepareOptions, Query,
    QueryResult, QueryTrace, RowStream, Session, SessionBuilder, TraceEvent,
};
pub use statement::{PreparedStatement, Profile, Statement};
pub use topology::ClusterSnapshot;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
