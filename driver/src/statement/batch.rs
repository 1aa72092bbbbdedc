//! The statements of a batch, with their values already encoded.

use std::sync::Arc;

use super::PreparedStatement;

/// One statement of a batch.
#[derive(Debug, Clone)]
pub enum BatchEntry {
    /// CQL text without values.
    Text(Arc<str>),
    /// A prepared statement and its encoded values.
    Prepared {
        /// The statement.
        statement: PreparedStatement,
        /// One `[value]` per variable.
        values: Vec<u8>,
    },
}
