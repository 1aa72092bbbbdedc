//! The keyspace that unqualified names mean.
//!
//! # Invariants
//!
//! - After a change has succeeded every connection has the new keyspace; one that may not have it is closed.
//! - Changes come one after the other, so that they have one order for all connections.

use super::handle::Session;
use crate::env::{Instant, timeout};
use crate::execution::{Certainty, Error, ErrorKind, Result};
use crate::pool::use_keyspace;

impl Session {
    /// Makes `keyspace` the one that unqualified names mean, on all connections. Case-sensitive, without quotes.
    ///
    /// Statements prepared before keep meaning the keyspace they were prepared in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::KeyspaceMissing`] if the cluster has no such keyspace; nothing changes.
    pub async fn use_keyspace(&self, keyspace: &str) -> Result<()> {
        self.check_open()?;
        let shared = &self.shared;
        let view = shared.executor.state.view();
        let limit = shared.executor.defaults.timeout;
        let deadline = Instant::now() + limit;
        let Ok(_turn) = timeout(limit, shared.keyspace_change.lock()).await else {
            return Err(Error::not_sent(ErrorKind::Timeout { limit }));
        };
        let Some(probe) = view.pools.iter().flatten().find_map(|pool| pool.pick()) else {
            return Err(Error::not_sent(ErrorKind::NoNodeAvailable));
        };
        match use_keyspace(&probe, keyspace, deadline).await {
            Ok(true) => {}
            Ok(false) => {
                let kind = ErrorKind::KeyspaceMissing(keyspace.to_owned());
                return Err(Error::new(kind, Certainty::Rejected, Vec::new()));
            }
            Err(error) => {
                // In doubt about this connection: the pool replaces it with one in the session's keyspace.
                probe.close("the keyspace could not be set");
                return Err(Error::not_sent(ErrorKind::ConnectionLost(error.to_string())));
            }
        }
        shared.factory.set_keyspace(keyspace);
        for connection in view.pools.iter().flatten().flat_map(|pool| pool.connections()) {
            if !matches!(use_keyspace(&connection, keyspace, deadline).await, Ok(true)) {
                connection.close("the keyspace could not be set");
            }
        }
        Ok(())
    }
}
