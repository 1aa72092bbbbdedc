//! The session and its life: requests in, a clean close out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::batch::BatchQuery;
use super::binding::{Bound, work_of};
use super::builder::SessionBuilder;
use super::prepare_options::PrepareOptions;
use super::query::Query;
use super::result::{NO_PAGES, QueryResult};
use crate::control::{ControlWorker, SchemaScope, wait_for_agreement};
use crate::env::mutants::is_planted;
use crate::env::{Instant, timeout};
use crate::execution::{
    Answer, Background, Error, ErrorKind, Executor, Explanation, Metrics, MetricsSnapshot, PreparationSettings,
    PreparedCache, Result, Work,
};
use crate::observe::{ConnectionStats, LatencySnapshot, NodeCounters};
use crate::pool::{ConnectionFactory, NodeState};
use crate::protocol::response::{Message, ResultBody};
use crate::protocol::{BatchType, ProtocolVersion};
use crate::statement::{BatchEntry, Preparation, PreparedStatement, Profile, Statement, StatementOptions};
use crate::topology::ClusterSnapshot;
use crate::value::BindValues;

/// A connection to a cluster. Cheap to clone; clones share everything.
///
/// Close it with [`Session::close`]. When the last clone is dropped without that, its tasks are told to end, and
/// nobody learns when they have.
#[derive(Clone)]
pub struct Session {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub executor: Executor,
    pub control: ControlWorker,
    pub factory: Arc<ConnectionFactory>,
    pub statements: Arc<PreparedCache>,
    pub preparation: PreparationSettings,
    pub background: Background,
    pub profiles: BTreeMap<String, Arc<Profile>>,
    pub agreement_timeout: Duration,
    /// Held while connections change their keyspace: two changes at once would leave some with one and some with the
    /// other.
    pub keyspace_change: tokio::sync::Mutex<()>,
}

/// What a session did with one node, since the node has its address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeMetrics {
    /// Identity of the node.
    pub host_id: Uuid,
    /// Address the driver dials.
    pub address: SocketAddr,
    /// What happened.
    pub counters: NodeCounters,
    /// How long successful attempts took.
    pub latencies: LatencySnapshot,
    /// Bytes, answers and heartbeats of all its connections, those that have ended included.
    pub connections: ConnectionStats,
    /// Usable connections at the moment.
    pub open_connections: usize,
    /// Answers the node owes at the moment, those to given-up requests included.
    pub in_flight: usize,
    /// Bytes of requests waiting for the transport at the moment.
    pub queued_bytes: u64,
}

/// A node as the session sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Identity of the node.
    pub host_id: Uuid,
    /// Address the driver dials.
    pub address: SocketAddr,
    /// Data centre.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Whether it can be used.
    pub state: NodeState,
    /// Usable connections to it.
    pub open_connections: usize,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseReport {
    /// Whether every task and socket was gone before the deadline.
    pub is_complete: bool,
    /// Requests that finished while the session waited for them.
    pub drained: u64,
    /// Requests cut off because they had not finished in time.
    pub aborted: u64,
}

impl Session {
    /// Starts configuring a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Starts a call of CQL text or a prepared statement.
    pub fn query(&self, statement: impl Into<Statement>) -> Query {
        Query::new(self.clone(), statement.into())
    }

    /// Starts a batch.
    pub fn batch<'v>(&self, batch_type: BatchType) -> BatchQuery<'v> {
        BatchQuery::new(self.clone(), batch_type)
    }

    /// Prepares a statement, on one node and then on the others of the data centre; see
    /// [`SessionBuilder::prepare_on_all_nodes`].
    ///
    /// A statement that the session has prepared before, in the same keyspace, is returned as it is known.
    ///
    /// # Errors
    ///
    /// What the server finds wrong with the statement, or that no node answered in time.
    pub async fn prepare(&self, text: impl Into<Arc<str>>) -> Result<PreparedStatement> {
        self.prepare_with(text, PrepareOptions::new()).await
    }

    /// As [`Self::prepare`], with options.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare`].
    pub async fn prepare_with(&self, text: impl Into<Arc<str>>, options: PrepareOptions) -> Result<PreparedStatement> {
        let preparation = self.preparation(text.into(), options.keyspace);
        let preparation = Preparation { custom_payload: options.custom_payload.map(Arc::new), ..preparation };
        self.prepare_cached(preparation, self.shared.executor.defaults.timeout).await
    }

    /// The cluster as last seen.
    #[must_use]
    pub fn cluster(&self) -> Arc<ClusterSnapshot> {
        Arc::clone(&self.shared.executor.state.view().snapshot)
    }

    /// State and connections of each node, sorted by host id.
    #[must_use]
    pub fn node_states(&self) -> Vec<NodeStatus> {
        let view = self.shared.executor.state.view();
        let nodes = view.snapshot.nodes().iter().zip(&view.pools);
        nodes
            .map(|(node, pool)| NodeStatus {
                host_id: node.host_id,
                address: node.address,
                datacenter: node.datacenter.to_string(),
                rack: node.rack.to_string(),
                state: pool.as_ref().map_or(NodeState::Unknown, |pool| pool.state()),
                open_connections: pool.as_ref().map_or(0, |pool| pool.open_connections()),
            })
            .collect()
    }

    /// Where a call would be sent, without sending it. See also `Query::explain`.
    ///
    /// # Errors
    ///
    /// Those of preparing and binding.
    pub async fn explain(&self, statement: impl Into<Statement>, values: impl BindValues) -> Result<Explanation> {
        self.query(statement).bind(values).explain().await
    }

    /// What the session did with each node, sorted by host id.
    #[must_use]
    pub fn node_metrics(&self) -> Vec<NodeMetrics> {
        let view = self.shared.executor.state.view();
        let nodes = view.snapshot.nodes().iter().zip(&view.pools);
        let measured = nodes.filter_map(|(node, pool)| {
            let pool = pool.as_ref()?;
            let queued =
                |connection: &crate::connection::Connection| connection.queued().saturating_sub(connection.handed());
            Some(NodeMetrics {
                host_id: node.host_id,
                address: node.address,
                counters: pool.activity().counters(),
                latencies: pool.activity().latencies(),
                connections: pool.connection_stats(),
                open_connections: pool.open_connections(),
                in_flight: pool.health().in_flight,
                queued_bytes: pool.connections().iter().map(queued).sum(),
            })
        });
        measured.collect()
    }

    /// Latencies of all successful attempts of the session.
    #[must_use]
    pub fn latencies(&self) -> LatencySnapshot {
        self.shared.executor.metrics.latencies.snapshot()
    }

    /// Counters of the session.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.executor.metrics_snapshot()
    }

    /// Host id of the node that carries the control connection, if there is one at the moment.
    #[must_use]
    pub fn control_connection_node(&self) -> Option<Uuid> {
        self.shared.executor.state.control_node()
    }

    /// Protocol version agreed on with the cluster.
    #[must_use]
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.shared.factory.version()
    }

    /// Waits until all live nodes report one schema version, those included that the load-balancing policy ignores.
    ///
    /// Nodes are live that the session is connected to, and ignored ones that were not reported to be down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SchemaDisagreement`] if they do not within the configured limit.
    pub async fn wait_for_schema_agreement(&self) -> Result<()> {
        self.check_open()?;
        let view = self.shared.executor.state.view();
        let deadline = Instant::now() + self.shared.agreement_timeout;
        for connection in view.pools.iter().flatten().filter_map(|pool| pool.pick()) {
            match self.agree(&connection, deadline).await {
                Some(true) => return Ok(()),
                Some(false) => return Err(Error::not_sent(ErrorKind::SchemaDisagreement)),
                None => {}
            }
        }
        Err(Error::not_sent(ErrorKind::NoNodeAvailable))
    }

    /// Closes the session: refuses new calls, waits for those in flight, then ends every task, timer and socket.
    ///
    /// After `limit` whatever is left is cut off, and the report says so. Closing twice is harmless.
    pub async fn close(&self, limit: Duration) -> CloseReport {
        let deadline = Instant::now() + limit;
        let executor = &self.shared.executor;
        executor.is_closed.store(true, Ordering::Relaxed);
        let in_flight = || executor.metrics.in_flight();
        let before = in_flight();
        // Polled: a request that ends must not pay for the rare session that closes.
        while in_flight() > 0 && Instant::now() < deadline {
            crate::env::sleep(DRAIN_POLL_INTERVAL.min(deadline - Instant::now())).await;
        }
        let aborted = in_flight();
        // Ending the tasks needs a moment also when the requests have used up the limit.
        let remaining = (deadline - Instant::now()).max(TASK_END_LIMIT);
        let ended = async {
            self.shared.background.stop().await;
            self.shared.control.stop().await;
        };
        let is_complete = timeout(remaining, ended).await.is_ok();
        if !is_complete {
            self.shared.control.abort();
        }
        CloseReport { is_complete, drained: before.saturating_sub(aborted), aborted }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.shared.executor.is_closed.load(Ordering::Relaxed) {
            return Err(Error::not_sent(ErrorKind::SessionClosed));
        }
        Ok(())
    }

    pub(super) async fn execute_bound(&self, bound: &Bound, options: &StatementOptions) -> Result<QueryResult> {
        // Only text changes a schema; the others are spared the look at the clock.
        let started = matches!(bound, Bound::Text { .. }).then(Instant::now);
        let work = work_of(bound);
        let answer = self.shared.executor.run(&work, options).await?;
        if has_followup(&answer) {
            return Box::pin(self.follow_up(answer, options, started)).await;
        }
        QueryResult::new(answer, true, || bound.fingerprint())
    }

    /// Does what the answer asks the session for, and then returns it. `started` is when the call began, if it may
    /// have changed the schema.
    pub(super) async fn follow_up(
        &self,
        answer: Answer,
        options: &StatementOptions,
        started: Option<Instant>,
    ) -> Result<QueryResult> {
        if let Message::Result(ResultBody::SchemaChange(change)) = &answer.decoded.message {
            self.shared.statements.forget_keyspace(&change.keyspace);
            let scope = SchemaScope::from(&**change);
            let spent = started.map_or(Duration::ZERO, Instant::elapsed);
            let limit = self.limit_of(options).saturating_sub(spent);
            let is_agreed = self.after_schema_change(&answer.connection, scope, limit).await;
            return QueryResult::new(answer, is_agreed, || NO_PAGES);
        }
        if let Message::Result(ResultBody::SetKeyspace(keyspace)) = &answer.decoded.message {
            let keyspace = keyspace.clone();
            self.use_keyspace(&keyspace).await?;
        }
        QueryResult::new(answer, true, || NO_PAGES)
    }

    pub(super) async fn execute_batch(
        &self,
        batch_type: BatchType,
        entries: &[BatchEntry],
        options: &StatementOptions,
    ) -> Result<QueryResult> {
        if u16::try_from(entries.len()).is_err() {
            let message = format!("a batch holds at most 65535 statements, this one has {}", entries.len());
            return Err(Error::not_sent(ErrorKind::Configuration(message)));
        }
        let answer = self.shared.executor.run(&Work::Batch { batch_type, entries }, options).await?;
        QueryResult::new(answer, true, || NO_PAGES)
    }

    /// The profile `name`, or the name itself if there is none.
    pub(super) fn profile_named(&self, name: &str) -> std::result::Result<Arc<Profile>, String> {
        self.shared.profiles.get(name).cloned().ok_or_else(|| name.to_owned())
    }

    pub(super) fn explain_bound(&self, bound: &Bound, options: &StatementOptions) -> Result<Explanation> {
        self.shared.executor.explain(&work_of(bound), options)
    }

    /// Waits until the nodes agree on the schema this session has changed, then reads the changed part again.
    ///
    /// The change itself succeeded, so nothing that fails here is an error of the call.
    async fn after_schema_change(
        &self,
        connection: &crate::connection::Connection,
        scope: SchemaScope,
        limit: Duration,
    ) -> bool {
        let limit = limit.min(self.shared.agreement_timeout);
        let started = Instant::now();
        let is_agreed = is_planted("H05-agreement-not-waited-for")
            || self.agree(connection, started + limit).await.unwrap_or(false);
        let left = limit.saturating_sub(started.elapsed());
        // A failure leaves the refresh pending in the control task.
        let _ = self.refresh(false, Some(scope), left).await;
        is_agreed
    }

    /// `None` if the node could not be asked.
    async fn agree(&self, connection: &crate::connection::Connection, deadline: Instant) -> Option<bool> {
        let state = &self.shared.executor.state;
        wait_for_agreement(connection, deadline, |host_id| state.is_thought_live(host_id)).await.ok()
    }

    pub(super) async fn refresh(&self, nodes: bool, schema: Option<SchemaScope>, limit: Duration) -> Result<()> {
        let done = self.shared.control.refresh(nodes, schema);
        match timeout(limit, done).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::not_sent(ErrorKind::SessionClosed)),
            Err(_) => {
                Metrics::count(&self.shared.executor.metrics.timeouts);
                Err(Error::not_sent(ErrorKind::Timeout { limit }))
            }
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("cluster", &self.cluster().cluster_name()).finish_non_exhaustive()
    }
}

/// Whether the session has something to do before the caller gets the answer.
pub(super) fn has_followup(answer: &Answer) -> bool {
    matches!(answer.decoded.message, Message::Result(ResultBody::SchemaChange(_) | ResultBody::SetKeyspace(_)))
}

const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Tasks end at their next poll; this much is granted beyond a deadline that requests have used up.
const TASK_END_LIMIT: Duration = Duration::from_millis(100);
