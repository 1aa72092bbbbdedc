//! Refreshing the picture of the cluster on demand, all of it or parts.
//!
//! Rarely needed: events, and a look at the nodes from time to time, keep the picture up to date. All methods return
//! when the new picture is in place. They fail with [`ErrorKind::Timeout`](crate::execution::ErrorKind::Timeout) if
//! that takes longer than a request may, and with
//! [`ErrorKind::SessionClosed`](crate::execution::ErrorKind::SessionClosed) on a closed session. Something that does
//! not exist is no error: it is absent from the picture afterwards. Names are case-sensitive, without quotes.

use super::handle::Session;
use crate::control::SchemaScope;
use crate::execution::Result;
use crate::protocol::response::SchemaTarget;

impl Session {
    /// Reads the nodes and the whole schema.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_schema(&self) -> Result<()> {
        self.refresh_now(true, Some(SchemaScope::All)).await
    }

    /// Reads the nodes, and the schema if its version is not the one last seen.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_nodes(&self) -> Result<()> {
        self.refresh_now(true, None).await
    }

    /// Reads a keyspace with everything in it.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_keyspace(&self, keyspace: &str) -> Result<()> {
        self.refresh_object(keyspace, SchemaTarget::Keyspace).await
    }

    /// Reads a table with its columns and indexes, or a view.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_table(&self, keyspace: &str, table: &str) -> Result<()> {
        self.refresh_object(keyspace, SchemaTarget::Table(table.to_owned())).await
    }

    /// Reads a user-defined type; what uses it follows.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_user_type(&self, keyspace: &str, name: &str) -> Result<()> {
        self.refresh_object(keyspace, SchemaTarget::Type(name.to_owned())).await
    }

    /// Reads all functions of a name, whatever their arguments.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_function(&self, keyspace: &str, name: &str) -> Result<()> {
        let target = SchemaTarget::Function { name: name.to_owned(), argument_types: Vec::new() };
        self.refresh_object(keyspace, target).await
    }

    /// Reads all aggregates of a name, whatever their arguments.
    ///
    /// # Errors
    ///
    /// If it takes too long, or the session is closed.
    pub async fn refresh_aggregate(&self, keyspace: &str, name: &str) -> Result<()> {
        let target = SchemaTarget::Aggregate { name: name.to_owned(), argument_types: Vec::new() };
        self.refresh_object(keyspace, target).await
    }

    async fn refresh_object(&self, keyspace: &str, target: SchemaTarget) -> Result<()> {
        self.refresh_now(false, Some(SchemaScope::object(keyspace, target))).await
    }

    async fn refresh_now(&self, nodes: bool, schema: Option<SchemaScope>) -> Result<()> {
        self.check_open()?;
        self.refresh(nodes, schema, self.shared.executor.defaults.timeout).await
    }
}
