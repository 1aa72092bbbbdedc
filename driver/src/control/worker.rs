//! The task that owns the control connection, the refreshes and the set of pools.
//!
//! It waits for the next of: a signal, an event, a lost connection, a finished job, a timer. At most one job (a
//! refresh or a reconnection) runs at a time; what arrives meanwhile is kept by the refresh window and runs next.
//!
//! # Invariants
//!
//! - The reader of the control connection is never blocked: events go into the bounded refresh window.
//! - A refresh that fails closes the control connection; the next one begins with a full refresh, so nothing is lost.
//! - After [`ControlWorker::stop`] returned, the control connection, all pools and the task are gone.

mod adoption;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};
use uuid::Uuid;

use super::cluster_state::{ClusterState, ClusterView};
use super::control_connection::{ControlConnection, ControlSettings, Established, establish_first, resolve};
use super::inbox::{Inbox, STOP, VERSION_LOWERED};
use super::metadata_queries::MetadataError;
use super::refresh::{Refreshed, refresh};
use super::refresh_window::DueRefresh;
use super::schema_scope::SchemaScope;
use crate::env::mutants::is_planted;
use crate::env::{BoxFuture, Instant, TaskHandle, Timer};
use crate::policy::Distance;
use crate::pool::{NodePool, PoolSettings};
use crate::topology::ClusterSnapshot;

/// Handle of the control task.
pub(crate) struct ControlWorker {
    inbox: Arc<Inbox>,
    state: Arc<ClusterState>,
    task: Mutex<Option<TaskHandle>>,
}

impl ControlWorker {
    /// Publishes the first picture, starts its pools, and the task that keeps both up to date.
    pub(crate) fn start(
        settings: ControlSettings,
        pool_settings: Arc<PoolSettings>,
        inbox: Arc<Inbox>,
        established: Established,
    ) -> Self {
        let contact_datacenter = established.local_datacenter();
        let environment = settings.environment.clone();
        let snapshot = Arc::new(established.snapshot_without_nodes());
        let empty = ClusterView { snapshot, distances: Vec::new(), pools: Vec::new() };
        let state = Arc::new(ClusterState::new(empty));
        let mut worker = Worker {
            settings: Arc::new(settings),
            pool_settings,
            inbox: Arc::clone(&inbox),
            state: Arc::clone(&state),
            contact_datacenter,
            control: None,
            control_lost: None,
            control_since: Instant::now(),
            last_control_address: None,
            loaded_schema_version: None,
            job: None,
            job_waiters: Vec::new(),
            reconnect_failures: 0,
            reconnect_at: None,
            refresh_at: Instant::now(),
            retired_pools: Vec::new(),
            timer: Timer::new(Instant::now()),
        };
        worker.on_established(established, None);
        let task = environment.spawner.spawn("helenus control", Box::pin(worker.run()));
        Self { inbox, state, task: Mutex::new(Some(task)) }
    }

    pub(crate) fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// Has the list of nodes, parts of the schema, or both read at once; resolves when they were.
    pub(crate) fn refresh(&self, nodes: bool, schema: Option<SchemaScope>) -> oneshot::Receiver<()> {
        self.inbox.request_now(nodes, schema)
    }

    /// Asks the task to end without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.inbox.signal.raise(STOP);
    }

    /// Ends the task, the control connection and all pools; returns when all are gone.
    pub(crate) async fn stop(&self) {
        if !is_planted("Q01-close-leaves-control-task") {
            self.begin_stop();
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                task.await;
            }
        }
    }

    /// Cuts off the task and the pools, for a close whose deadline has passed.
    pub(crate) fn abort(&self) {
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
        for pool in self.state.view().pools.iter().flatten() {
            pool.abort();
        }
    }
}

impl Drop for ControlWorker {
    fn drop(&mut self) {
        if !is_planted("Q01-close-leaves-control-task") {
            self.begin_stop();
        }
    }
}

struct Worker {
    settings: Arc<ControlSettings>,
    pool_settings: Arc<PoolSettings>,
    inbox: Arc<Inbox>,
    state: Arc<ClusterState>,
    contact_datacenter: Arc<str>,
    control: Option<Arc<ControlConnection>>,
    /// Resolves when the control connection has ended.
    control_lost: Option<BoxFuture<'static, ()>>,
    control_since: Instant,
    /// Where the control connection worked last.
    last_control_address: Option<SocketAddr>,
    /// Version the whole schema was last read at.
    loaded_schema_version: Option<Uuid>,
    job: Option<BoxFuture<'static, JobOutput>>,
    /// Those who wait for the running job.
    job_waiters: Vec<oneshot::Sender<()>>,
    reconnect_failures: u32,
    /// When to look for a new control connection; set exactly while there is none and no job looks for one.
    reconnect_at: Option<Instant>,
    /// When to read the list of nodes although no event asked for it.
    refresh_at: Instant,
    /// Pools of removed or moved nodes that may still be ending.
    retired_pools: Vec<Arc<NodePool>>,
    timer: Timer,
}

enum JobOutput {
    Reconnected(Result<Established, Vec<(SocketAddr, MetadataError)>>),
    Refreshed(Result<Refreshed, MetadataError>),
}

enum Wake {
    Stop,
    Signal(u8),
    Timer,
    ControlLost,
    JobDone(JobOutput),
}

impl Worker {
    async fn run(mut self) {
        loop {
            self.start_due_job();
            match std::future::poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::Stop => break,
                Wake::Signal(raised) if raised & VERSION_LOWERED != 0 => self.on_version_lowered(),
                Wake::Signal(_) | Wake::Timer => {}
                Wake::ControlLost => self.on_control_lost(),
                Wake::JobDone(JobOutput::Reconnected(Ok(established))) => {
                    let previous = self.state.view();
                    self.on_established(established, Some(&previous.snapshot));
                }
                Wake::JobDone(JobOutput::Reconnected(Err(failures))) => self.on_reconnect_failed(&failures),
                Wake::JobDone(JobOutput::Refreshed(Ok(refreshed))) => self.on_refreshed(refreshed),
                Wake::JobDone(JobOutput::Refreshed(Err(error))) => {
                    warn!(%error, "metadata refresh failed, moving the control connection");
                    // Not the first choice any more: it is connected and yet of no use.
                    self.last_control_address = None;
                    self.on_control_lost();
                }
            }
        }
        self.shut_down().await;
    }

    /// Polls in a fixed order, so that equal runs decide equally.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(raised) = self.inbox.signal.poll_take(cx) {
            return Poll::Ready(if raised & STOP != 0 { Wake::Stop } else { Wake::Signal(raised) });
        }
        if let Some(job) = &mut self.job
            && let Poll::Ready(output) = job.as_mut().poll(cx)
        {
            self.job = None;
            return Poll::Ready(Wake::JobDone(output));
        }
        if let Some(lost) = &mut self.control_lost
            && lost.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Wake::ControlLost);
        }
        if let Some(due) = self.poll_timeout() {
            self.timer.set(due);
            if self.timer.poll(cx).is_ready() {
                return Poll::Ready(Wake::Timer);
            }
        }
        Poll::Pending
    }

    /// When something is due; nothing is while a job runs, its end comes first.
    fn poll_timeout(&self) -> Option<Instant> {
        if self.job.is_some() {
            return None;
        }
        if self.control.is_none() {
            return self.reconnect_at;
        }
        let pending = self.inbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
        [pending.window.poll_timeout(), pending.tracker.poll_timeout(), Some(self.refresh_at)]
            .into_iter()
            .flatten()
            .min()
    }

    fn start_due_job(&mut self) {
        if self.job.is_some() {
            return;
        }
        let now = Instant::now();
        let Some(control) = self.control.clone() else {
            if self.reconnect_at.is_some_and(|due| due <= now) {
                self.reconnect_at = None;
                self.job = Some(Box::pin(self.reconnect_job()));
            }
            return;
        };
        let mut pending = self.inbox.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = pending.window.handle_timeout(now);
        due.topology |= pending.tracker.handle_timeout(now) || self.refresh_at <= now;
        let urgent = pending.urgent.take();
        drop(pending);
        self.apply_status_reports(&mut due);
        if let Some(urgent) = urgent {
            due.topology |= urgent.nodes;
            due.schema = SchemaScope::joined(due.schema.take(), urgent.schema);
            self.job_waiters.extend(urgent.waiters);
        }
        if due.topology || due.schema.is_some() {
            self.job = Some(Box::pin(self.refresh_job(control, due)));
        }
    }

    /// Reports are hints: UP makes a pool dial, DOWN makes it ask for a sign of life, an unknown address is looked for.
    /// None of them changes a state. Who is behind an address shows when it is dialled; where nobody dials, only the
    /// list of nodes tells that another node came up there.
    fn apply_status_reports(&self, due: &mut DueRefresh) {
        let view = self.state.view();
        for (&address, &is_up) in &due.status {
            let translated = self.settings.translation.translate(address);
            let known = view.snapshot.node_at(address).or_else(|| view.snapshot.node_at(translated));
            match known.and_then(|node| view.snapshot.index_of(node.host_id)) {
                Some(index) => match view.pool(index) {
                    Some(pool) if is_up => pool.hint(),
                    Some(pool) => pool.probe(),
                    None => {
                        self.state.handle_report(view.snapshot.nodes()[usize::from(index)].host_id, is_up);
                        due.topology |= is_up;
                    }
                },
                None if is_up => due.topology = true,
                None => {}
            }
        }
    }

    fn reconnect_job(&self) -> impl Future<Output = JobOutput> + Send + 'static + use<> {
        let settings = Arc::clone(&self.settings);
        let sink = self.inbox.sink();
        let known = self.known_addresses();
        let view = self.state.view();
        async move {
            let mut failures = match establish_first(&settings, &known, &sink, Some(&view)).await {
                Ok(established) => return JobOutput::Reconnected(Ok(established)),
                Err(failures) => failures,
            };
            // Every known node failed: perhaps all addresses changed.
            let mut contact_points = resolve(&settings).await;
            contact_points.retain(|address| !known.contains(address));
            match establish_first(&settings, &contact_points, &sink, Some(&view)).await {
                Ok(established) => JobOutput::Reconnected(Ok(established)),
                Err(more) => {
                    failures.extend(more);
                    JobOutput::Reconnected(Err(failures))
                }
            }
        }
    }

    /// The last good node, then nodes by: up, distance, random order. Ignored nodes are never dialled.
    fn known_addresses(&self) -> Vec<SocketAddr> {
        let view = self.state.view();
        let mut ranked: Vec<_> = (0..)
            .zip(view.snapshot.nodes())
            .filter(|(index, _)| view.distances.get(usize::from(*index)) != Some(&Distance::Ignored))
            .map(|(index, node)| {
                let is_last_good = self.last_control_address == Some(node.address);
                let distance = view.distances.get(usize::from(index)).copied();
                let shuffle = self.settings.environment.entropy.draw("control node order");
                ((!is_last_good, !view.health(index).is_up, distance, shuffle), node.address)
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, address)| address).collect()
    }

    fn refresh_job(
        &self,
        control: Arc<ControlConnection>,
        due: DueRefresh,
    ) -> impl Future<Output = JobOutput> + Send + 'static + use<> {
        let settings = Arc::clone(&self.settings);
        let view = self.state.view();
        let loaded_schema_version = self.loaded_schema_version;
        async move { JobOutput::Refreshed(refresh(&settings, &control, due, &view, loaded_schema_version).await) }
    }

    fn on_established(&mut self, established: Established, previous: Option<&ClusterSnapshot>) {
        let local = established.local_host_id();
        let dialled = established.control.dialled;
        info!(host_id = %local, address = %dialled, "control connection established");
        let is_first = previous.is_none();
        let Established { control, topology, schema } = established;
        self.state.set_control_node(Some(local));
        // What was to be said meanwhile went unheard.
        self.state.retain_reports(|_| false);
        self.last_control_address = Some(dialled);
        let control = Arc::new(control);
        let closed = control.connection.clone();
        self.control_lost = Some(Box::pin(async move {
            closed.closed().await;
        }));
        self.control = Some(control);
        self.control_since = Instant::now();
        self.reconnect_at = None;
        if !is_first && is_planted("D11-no-refresh-after-control-reconnect") {
            return;
        }
        self.loaded_schema_version = topology.schema_version;
        self.adopt(&topology, schema, previous);
        // What arrived while connecting was registered for before the rows were read; later events stay pending.
        self.finish_waiters();
    }

    fn on_refreshed(&mut self, refreshed: Refreshed) {
        let view = self.state.view();
        if let Some(version) = refreshed.loaded_schema_version {
            self.loaded_schema_version = Some(version);
        }
        let schema = refreshed.schema.unwrap_or_else(|| view.snapshot.schema().clone());
        match refreshed.topology {
            Some(topology) => self.adopt(&topology, schema, Some(&view.snapshot)),
            None => {
                let (known, nodes) = (&view.snapshot, view.snapshot.nodes().to_vec());
                let snapshot =
                    ClusterSnapshot::build(known.cluster_name(), known.partitioner(), nodes, schema, Some(known));
                self.publish(snapshot);
            }
        }
        self.finish_waiters();
        self.leave_ignored_node();
    }

    /// Moves the control connection away from a node the policy ignores, once another is known to be up. It may have
    /// begun there: the policy cannot judge a contact point before the nodes are known.
    fn leave_ignored_node(&mut self) {
        let view = self.state.view();
        let here = self.state.control_node().and_then(|host_id| view.snapshot.index_of(host_id));
        let is_ignored = here.is_some_and(|here| view.distances.get(usize::from(here)) == Some(&Distance::Ignored));
        // Ignored nodes have no pool.
        if is_ignored && view.pools.iter().flatten().any(|pool| pool.open_connections() > 0) {
            info!("the control connection is at an ignored node, moving it");
            self.last_control_address = None;
            self.on_control_lost();
        }
    }

    fn finish_waiters(&mut self) {
        for waiter in self.job_waiters.drain(..) {
            // A caller that stopped waiting has dropped its end.
            let _ = waiter.send(());
        }
    }

    /// Has every connection of a newer version than the session's replaced, this task's own included.
    fn on_version_lowered(&mut self) {
        for pool in self.state.view().pools.iter().flatten() {
            pool.renew();
        }
        let version = self.settings.factory.version();
        if self.control.as_ref().is_some_and(|control| control.connection.version() > version) {
            self.on_control_lost();
        }
    }

    /// Looks for another node at once, unless control connections die young again and again.
    fn on_control_lost(&mut self) {
        info!("control connection lost");
        // Those who wait for the job wait for the refresh that is part of the reconnection.
        self.job = None;
        self.control = None;
        self.control_lost = None;
        self.state.set_control_node(None);
        let now = Instant::now();
        if now.duration_since(self.control_since) >= self.pool_settings.stable_after {
            self.reconnect_failures = 0;
        }
        let delay = if self.reconnect_failures == 0 { Duration::ZERO } else { self.reconnect_delay() };
        self.reconnect_failures = self.reconnect_failures.saturating_add(1);
        self.reconnect_at = Some(now + delay);
    }

    fn reconnect_delay(&self) -> Duration {
        let random = self.settings.environment.entropy.draw("control reconnection jitter");
        self.settings.reconnection.delay(self.reconnect_failures, random)
    }

    fn on_reconnect_failed(&mut self, failures: &[(SocketAddr, MetadataError)]) {
        self.reconnect_failures = self.reconnect_failures.saturating_add(1);
        let delay = self.reconnect_delay();
        warn!(tried = failures.len(), ?delay, "no node accepts the control connection");
        self.reconnect_at = Some(Instant::now() + delay);
    }

    async fn shut_down(mut self) {
        self.job = None;
        self.state.set_control_node(None);
        if let Some(control) = self.control.take() {
            control.connection.close("the session was closed");
            control.connection.closed().await;
        }
        let view = self.state.view();
        for pool in view.pools.iter().flatten().chain(&self.retired_pools) {
            pool.begin_stop();
        }
        for pool in view.pools.iter().flatten().chain(&self.retired_pools) {
            pool.stop().await;
        }
    }
}
