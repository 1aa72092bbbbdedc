//! The session: the one object an application holds.

mod batch;
mod binding;
mod builder;
mod connect;
mod contact_points;
mod handle;
mod keyspace;
mod paging_state;
mod prepare_options;
mod query;
mod refresh;
mod result;
mod rows;
mod trace;

pub use batch::BatchQuery;
pub use builder::SessionBuilder;
pub use handle::{CloseReport, NodeMetrics, NodeStatus, Session};
pub use paging_state::PagingState;
pub use prepare_options::PrepareOptions;
pub use query::Query;
pub use result::{Applied, Page, QueryResult};
pub use rows::{Pages, RowStream};
pub use trace::{QueryTrace, TraceEvent};
