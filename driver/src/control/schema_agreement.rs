//! Waits until all live nodes report one schema version.
//!
//! # Source
//!
//! `system.local` and `system.peers`. As in the Python driver all nodes are waited for that are not known to be down,
//! whether or not requests are sent to them: tables have replicas in data centres that a session ignores.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::metadata_queries::{MetadataError, query_rows};
use crate::connection::Connection;
use crate::env::{Instant, sleep};

/// Polls `connection`'s node until it sees one schema version, at most until `deadline`.
///
/// `is_live` tells for a peer's host id whether it is waited for.
///
/// # Errors
///
/// If the node could not be asked. Disagreement until the deadline is `Ok(false)`.
pub(crate) async fn wait_for_agreement(
    connection: &Connection,
    deadline: Instant,
    is_live: impl Fn(Uuid) -> bool,
) -> Result<bool, MetadataError> {
    loop {
        let local = query_rows(connection, "SELECT * FROM system.local WHERE key='local'", deadline).await?;
        let peers = query_rows(connection, "SELECT * FROM system.peers", deadline).await?;
        let mut versions = BTreeSet::new();
        for row in &local {
            versions.extend(row.get::<Option<Uuid>>("schema_version").ok().flatten());
        }
        for row in &peers {
            let has_address = row.get::<Option<IpAddr>>("rpc_address").ok().flatten().is_some();
            let host_id = row.get::<Option<Uuid>>("host_id").ok().flatten();
            if has_address && host_id.is_some_and(&is_live) {
                versions.extend(row.get::<Option<Uuid>>("schema_version").ok().flatten());
            }
        }
        if versions.len() <= 1 {
            return Ok(true);
        }
        if Instant::now() + POLL_INTERVAL >= deadline {
            return Ok(false);
        }
        sleep(POLL_INTERVAL).await;
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(200);
