//! The session: the one object an application holds.

mod batch;
mod builder;
mod handle;
mod query;
mod result;
mod rows;

pub use batch::BatchQuery;
pub use builder::SessionBuilder;
pub use handle::{CloseReport, NodeStatus, Session};
pub use query::Query;
pub use result::{Applied, Page, QueryResult};
pub use rows::{Pages, RowStream};
