//! Statements: what an application asks the cluster to do, and with which options.
//!
//! Statements are immutable and cheap to clone; options belong to a call, not to a statement.

mod batch;
mod conditional;
mod options;
mod prepared;
mod profile;

pub use batch::BatchEntry;
pub(crate) use conditional::is_conditional;
pub use options::{Overrides, StatementOptions};
pub use prepared::PreparedStatement;
pub(crate) use prepared::{KnownState, Preparation, PreparedState, Routing};
pub use profile::Profile;

use std::sync::Arc;

/// What can be given to `Session::query`: CQL text or a prepared statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// CQL text. With values it is prepared behind the scenes, without it is sent as it is.
    Text(Arc<str>),
    /// A statement prepared earlier.
    Prepared(PreparedStatement),
}

impl From<&str> for Statement {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Statement {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for Statement {
    fn from(text: &String) -> Self {
        Self::Text(text.as_str().into())
    }
}

impl From<Arc<str>> for Statement {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<PreparedStatement> for Statement {
    fn from(prepared: PreparedStatement) -> Self {
        Self::Prepared(prepared)
    }
}

impl From<&PreparedStatement> for Statement {
    fn from(prepared: &PreparedStatement) -> Self {
        Self::Prepared(prepared.clone())
    }
}
