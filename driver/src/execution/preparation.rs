//! Preparing statements on nodes that were not asked by their caller: the others of the data centre, and nodes that
//! come up.
//!
//! # Invariants
//!
//! - Nothing here fails a call: a node that does not prepare now prepares when it first meets the statement.
//! - Every wait has a deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};
use uuid::Uuid;

use super::background::Background;
use super::prepared_cache::PreparedCache;
use crate::connection::Connection;
use crate::control::ClusterView;
use crate::env::{BoxFuture, Instant, timeout};
use crate::policy::Distance;
use crate::pool::{ConnectionFactory, WarmUp};
use crate::protocol::ProtocolVersion;
use crate::protocol::request::{EnvelopeOptions, Prepare};
use crate::protocol::response::{Message, ResultBody};
use crate::statement::PreparedStatement;

/// How statements get to nodes that have not met them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PreparationSettings {
    /// Nodes of the data centre up to which each statement is prepared on all of them; zero for never.
    pub nodes_max: usize,
    /// How long a call waits for the other nodes.
    pub wait_max: Duration,
    /// Statements prepared on a node that comes up, before it is used.
    pub warm_up_max: usize,
}

/// Limit of preparing on one node beyond what the caller waits for, and of warming a node up.
const LAGGARD_LIMIT: Duration = Duration::from_secs(5);
/// PREPAREs sent to a node that comes up before its first answer.
const WARM_UP_PARALLEL: usize = 100;

/// Prepares a statement on the other nodes of the data centre. Waits for them up to the limit; those that need longer
/// finish in the background.
pub(crate) async fn prepare_on_others(
    view: &ClusterView,
    settings: PreparationSettings,
    statement: &PreparedStatement,
    prepared_on: Uuid,
    background: &Background,
) {
    let local = || view.distances.iter().filter(|distance| **distance == Distance::Local);
    if local().count() > settings.nodes_max {
        return;
    }
    let deadline = Instant::now() + LAGGARD_LIMIT;
    let nodes = view.snapshot.nodes().iter().zip(&view.distances).zip(&view.pools);
    let others = nodes
        .filter(|((node, distance), _)| node.host_id != prepared_on && **distance == Distance::Local)
        .filter_map(|((node, _), pool)| Some((node.host_id, pool.as_ref()?.pick()?)));
    let mut all = All(others
        .map(|(host_id, connection)| -> BoxFuture<'static, ()> {
            let statement = statement.clone();
            Box::pin(async move {
                let keyspace = statement.preparation().named_keyspace();
                let prepared = prepare_on(&connection, &statement, keyspace, deadline).await;
                if prepared.is_some_and(|prepared| prepared != statement.first_state().id) {
                    warn!(%host_id, "another id for a prepared statement: is the keyspace being changed with USE?");
                }
            })
        })
        .collect());
    if timeout(settings.wait_max, &mut all).await.is_err() {
        debug!(nodes = all.0.len(), "nodes that are slow to prepare finish in the background");
        background.spawn("helenus prepare", Box::pin(all));
    }
}

/// Prepares a statement on one node; the id if it worked.
async fn prepare_on(
    connection: &Connection,
    statement: &PreparedStatement,
    keyspace: Option<&str>,
    deadline: Instant,
) -> Option<Bytes> {
    let prepare = prepare_again(statement, keyspace);
    let response = connection.call(&prepare, Some(deadline)).await.ok()?;
    match response.response.decode().ok()?.message {
        Message::Result(ResultBody::Prepared(prepared)) => Some(prepared.id),
        _ => None,
    }
}

/// The PREPARE of a statement that was prepared before.
pub(super) fn prepare_again<'a>(statement: &'a PreparedStatement, keyspace: Option<&'a str>) -> Prepare<'a> {
    let custom_payload = statement.preparation().custom_payload.as_deref();
    Prepare {
        text: statement.text(),
        keyspace,
        options: EnvelopeOptions { custom_payload, ..EnvelopeOptions::default() },
    }
}

/// Prepares the session's statements on nodes that come up, so that the first requests need not.
pub(crate) struct WarmUpStatements {
    pub cache: Arc<PreparedCache>,
    pub factory: Arc<ConnectionFactory>,
    pub settings: PreparationSettings,
}

impl WarmUp for WarmUpStatements {
    fn warm_up(&self, connection: Connection) -> Option<BoxFuture<'static, ()>> {
        let mut statements = self.cache.statements();
        statements.truncate(self.settings.warm_up_max);
        let has_keyspaces = connection.version() >= ProtocolVersion::V5;
        let current: Option<Arc<str>> = self.factory.keyspace().map(Arc::from);
        // Before v5 a connection prepares in its own keyspace only: in another one the id would be another.
        statements.retain(|statement| has_keyspaces || statement.preparation().keyspace == current);
        if statements.is_empty() {
            return None;
        }
        Some(Box::pin(async move {
            let deadline = Instant::now() + LAGGARD_LIMIT;
            for group in statements.chunks(WARM_UP_PARALLEL) {
                let prepare = |statement: &PreparedStatement| -> BoxFuture<'static, ()> {
                    let (connection, statement) = (connection.clone(), statement.clone());
                    Box::pin(async move {
                        let keyspace = statement.preparation().keyspace.as_deref().filter(|_| has_keyspaces);
                        prepare_on(&connection, &statement, keyspace, deadline).await;
                    })
                };
                All(group.iter().map(prepare).collect()).await;
                if Instant::now() >= deadline || !connection.is_usable() {
                    return;
                }
            }
        }))
    }
}

/// Waits for all, polling in order; what is left can go on elsewhere.
struct All(Vec<BoxFuture<'static, ()>>);

impl Future for All {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if self.0.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }
}
