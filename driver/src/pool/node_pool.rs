//! The pool of one node, as requests and the session see it.
//!
//! # Invariants
//!
//! - Requests read the connections under a short lock and never wait for the task.
//! - After [`NodePool::stop`] returned, the task has ended and its connections are closed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tracing::info;
use uuid::Uuid;

use super::task::PoolTask;
use super::{ConnectionFactory, Signal};
use crate::connection::Connection;
use crate::env::{BoxFuture, Environment, Instant, TaskHandle};
use crate::observe::{ConnectionStats, NodeActivity};
use crate::policy::{NodeHealth, RecentLatency, Reconnection};

/// What all pools of a session share.
pub(crate) struct PoolSettings {
    pub environment: Environment,
    pub factory: Arc<ConnectionFactory>,
    pub size: usize,
    pub reconnection: Arc<dyn Reconnection>,
    /// Age at which a connection counts as stable.
    pub stable_after: Duration,
    /// Bounds the dials of the session at any time.
    pub dial_permits: Semaphore,
    pub observer: Arc<dyn PoolObserver>,
    pub warm_up: Arc<dyn WarmUp>,
}

/// Makes a node ready before requests are sent to it.
pub(crate) trait WarmUp: Send + Sync {
    /// What to do on the first connection to a node before the pool hands it out, if anything. It must end within a
    /// limit of its own; nothing it meets is a reason not to use the node.
    fn warm_up(&self, connection: Connection) -> Option<BoxFuture<'static, ()>>;
}

/// Learns what pools find out. Called by their tasks: it must return at once.
pub(crate) trait PoolObserver: Send + Sync {
    /// The reachability of a node changed.
    fn on_state_changed(&self, host_id: Uuid, from: NodeState, to: NodeState);

    /// Another node answers at the address of this one: the list of nodes is out of date.
    fn on_stranger(&self);

    /// A node made the session lower its protocol version.
    fn on_version_lowered(&self);
}

/// What a session knows about the reachability of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// No connection was attempted yet, or the node is ignored by the load-balancing policy.
    Unknown,
    /// At least one connection is usable.
    Up,
    /// No connection is usable; the driver keeps trying.
    Down,
    /// The node refused the credentials; the driver keeps trying at its longest interval.
    CredentialsRefused,
    /// The node belongs to another cluster, another node answers at its address, or it speaks no protocol version of the
    /// driver; the driver keeps trying, at its longest interval unless the list of nodes may cure it.
    Unusable,
}

/// The connections to one node.
pub(crate) struct NodePool {
    shared: Arc<Shared>,
    task: Mutex<Option<TaskHandle>>,
}

pub(super) struct Shared {
    pub(super) host_id: Uuid,
    pub(super) address: SocketAddr,
    pub(super) settings: Arc<PoolSettings>,
    pub(super) connections: RwLock<Vec<PoolConnection>>,
    pub(super) state: AtomicU8,
    pub(super) next: AtomicUsize,
    pub(super) signal: Signal,
    /// Notified when the first attempt has ended, however it ended.
    pub(super) tried: Notify,
    pub(super) is_stopped: AtomicBool,
    pub(super) activity: NodeActivity,
    pub(super) created: Instant,
    /// Microseconds after `created` at which the node came up.
    pub(super) up_since: AtomicU64,
    /// Whether the node may still count as just up.
    pub(super) is_fresh: AtomicBool,
    /// Whether the node itself seems to be gone, and not only a connection that the driver has given up.
    pub(super) is_missed: AtomicBool,
    /// What the connections did that have ended.
    pub(super) ended_stats: Mutex<ConnectionStats>,
}

/// Answers owed from which on a node that gives few is slow, and the time in which it must give two.
const SLOW_IN_FLIGHT: usize = 10;
const SLOW_PERIOD: Duration = Duration::from_millis(200);
/// Time after coming up during which caches are cold.
const JUST_UP_PERIOD: Duration = Duration::from_secs(60);

pub(super) const STOP: u8 = 1;
pub(super) const HINT: u8 = 2;
pub(super) const RENEW: u8 = 4;

impl NodePool {
    /// Starts the pool of the node `host_id` at `address`.
    pub(crate) fn start(settings: Arc<PoolSettings>, host_id: Uuid, address: SocketAddr) -> Arc<Self> {
        let shared = Arc::new(Shared {
            host_id,
            address,
            settings,
            connections: RwLock::new(Vec::new()),
            state: AtomicU8::new(encode(NodeState::Unknown)),
            next: AtomicUsize::new(0),
            signal: Signal::default(),
            tried: Notify::new(),
            is_stopped: AtomicBool::new(false),
            activity: NodeActivity::default(),
            created: Instant::now(),
            up_since: AtomicU64::new(0),
            is_fresh: AtomicBool::new(false),
            is_missed: AtomicBool::new(false),
            ended_stats: Mutex::default(),
        });
        let task = PoolTask::new(Arc::clone(&shared));
        let handle = shared.settings.environment.spawner.spawn("helenus pool", Box::pin(task.run()));
        Arc::new(Self { shared, task: Mutex::new(Some(handle)) })
    }

    pub(crate) fn host_id(&self) -> Uuid {
        self.shared.host_id
    }

    /// The address this pool dials; a node that moves gets a new pool.
    pub(crate) fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// A usable connection: the less busy of two neighbours, rotating over all.
    pub(crate) fn pick(&self) -> Option<Connection> {
        let connections = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
        if let [single] = connections.as_slice() {
            return single.connection.is_usable().then(|| single.connection.clone());
        }
        let usable = || connections.iter().map(|open| &open.connection).filter(|connection| connection.is_usable());
        let count = usable().count();
        if count == 0 {
            return None;
        }
        let start = self.shared.next.fetch_add(1, Ordering::Relaxed) % count;
        usable().cycle().skip(start).take(2).min_by_key(|connection| connection.in_flight()).cloned()
    }

    /// All open connections, usable or draining.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let connections = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.iter().map(|open| open.connection.clone()).collect()
    }

    pub(crate) fn open_connections(&self) -> usize {
        let connections = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.iter().filter(|open| open.connection.is_usable()).count()
    }

    pub(crate) fn health(&self) -> NodeHealth {
        self.health_at(Instant::now())
    }

    /// Whether the last connection was ended by the node or the way to it, or could not be opened, and there is none since.
    pub(crate) fn is_missed(&self) -> bool {
        self.shared.is_missed.load(Ordering::Relaxed)
    }

    /// As [`Self::health`], for callers that have looked at the clock: `now` is the present.
    pub(crate) fn health_at(&self, now: Instant) -> NodeHealth {
        let connections = self.shared.connections.read().unwrap_or_else(PoisonError::into_inner);
        // A node is suspect if all of its usable connections are.
        let mut health = NodeHealth { is_suspect: true, ..NodeHealth::default() };
        for open in connections.iter() {
            let load = open.connection.load();
            health.in_flight += load.in_flight;
            if load.is_usable {
                health.is_up = true;
                health.is_suspect &= load.is_suspect;
            }
        }
        drop(connections);
        health.is_suspect &= health.is_up;
        if health.in_flight >= SLOW_IN_FLIGHT {
            health.is_slow = self.shared.activity.is_silent(self.shared.micros_at(now), SLOW_PERIOD);
        }
        health.is_just_up =
            self.shared.is_fresh.load(Ordering::Relaxed) && self.shared.is_just_up(self.shared.micros_at(now));
        health
    }

    /// As [`Self::health`], with the latency of the node.
    pub(crate) fn health_with_latency(&self, now: Instant) -> NodeHealth {
        let latency = self.shared.activity.latency().map(|(average, samples, latest)| RecentLatency {
            average,
            samples,
            age: Duration::from_micros(self.shared.micros_at(now).saturating_sub(latest)),
        });
        NodeHealth { latency, ..self.health_at(now) }
    }

    /// An attempt was sent.
    pub(crate) fn handle_request(&self) {
        self.shared.activity.handle_request();
    }

    /// An attempt that began at `started` was answered at `now`.
    pub(crate) fn handle_answer(&self, started: Instant, now: Instant) {
        self.shared.activity.handle_answer(self.shared.micros_at(now), now - started);
    }

    /// An attempt failed.
    pub(crate) fn handle_error(&self, is_timeout: bool) {
        self.shared.activity.handle_error(is_timeout);
    }

    /// What was counted.
    pub(crate) fn activity(&self) -> &NodeActivity {
        &self.shared.activity
    }

    /// What all connections to the node did, those that have ended included.
    pub(crate) fn connection_stats(&self) -> ConnectionStats {
        let mut stats = *self.shared.ended_stats.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in self.connections() {
            stats.add(&connection.stats());
        }
        stats
    }

    pub(crate) fn state(&self) -> NodeState {
        if self.open_connections() > 0 {
            return NodeState::Up;
        }
        match decode(self.shared.state.load(Ordering::Relaxed)) {
            // The last connection has just ended and the task has not run yet.
            NodeState::Up => NodeState::Down,
            other => other,
        }
    }

    /// Waits until the first attempt to connect has ended.
    pub(crate) async fn wait_until_tried(&self) {
        loop {
            let tried = self.shared.tried.notified();
            if decode(self.shared.state.load(Ordering::Relaxed)) != NodeState::Unknown {
                return;
            }
            tried.await;
        }
    }

    /// Dials at once if a connection is missing.
    pub(crate) fn hint(&self) {
        self.shared.signal.raise(HINT);
    }

    /// Has connections of a newer protocol version than the session's replaced, none of them before its replacement is
    /// there.
    pub(crate) fn renew(&self) {
        self.shared.signal.raise(RENEW);
    }

    /// Asks the node for a sign of life on every connection, and dials at once if one is missing.
    pub(crate) fn probe(&self) {
        for connection in self.connections() {
            connection.probe();
        }
        self.hint();
    }

    /// Whether the task has ended and its connections are gone.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Ordering::Relaxed)
    }

    /// Asks the task to end without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.shared.signal.raise(STOP);
    }

    /// Ends the task and closes the connections; returns when both are done.
    pub(crate) async fn stop(&self) {
        self.begin_stop();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.await;
        }
    }

    /// Cuts the task off, for a close whose deadline has passed.
    pub(crate) fn abort(&self) {
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
        self.shared.close_all();
    }
}

impl Drop for NodePool {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

impl Shared {
    fn now_micros(&self) -> u64 {
        self.micros_at(Instant::now())
    }

    fn micros_at(&self, now: Instant) -> u64 {
        now.micros_since(self.created)
    }

    fn is_just_up(&self, now_micros: u64) -> bool {
        let up_for = Duration::from_micros(now_micros.saturating_sub(self.up_since.load(Ordering::Relaxed)));
        let is_just_up = up_for < JUST_UP_PERIOD;
        if !is_just_up {
            // Spares later requests the look at the clock.
            self.is_fresh.store(false, Ordering::Relaxed);
        }
        is_just_up
    }

    pub(super) fn set_state(&self, state: NodeState) {
        let previous = decode(self.state.swap(encode(state), Ordering::Relaxed));
        if previous != state {
            if state == NodeState::Up {
                self.up_since.store(self.now_micros(), Ordering::Relaxed);
                self.is_fresh.store(true, Ordering::Relaxed);
            }
            info!(host_id = %self.host_id, address = %self.address, ?previous, ?state, "node state");
            self.settings.observer.on_state_changed(self.host_id, previous, state);
        }
        self.tried.notify_waiters();
    }

    pub(super) fn close_all(&self) {
        let connections = std::mem::take(&mut *self.connections.write().unwrap_or_else(PoisonError::into_inner));
        for open in connections {
            open.connection.close(CLOSED_WITH_POOL);
        }
    }
}

#[derive(Clone)]
pub(super) struct PoolConnection {
    pub(super) number: u64,
    pub(super) connection: Connection,
}

pub(super) const CLOSED_WITH_POOL: &str = "the pool was closed";

pub(super) fn encode(state: NodeState) -> u8 {
    match state {
        NodeState::Unknown => 0,
        NodeState::Up => 1,
        NodeState::Down => 2,
        NodeState::CredentialsRefused => 3,
        NodeState::Unusable => 4,
    }
}

fn decode(raw: u8) -> NodeState {
    match raw {
        1 => NodeState::Up,
        2 => NodeState::Down,
        3 => NodeState::CredentialsRefused,
        4 => NodeState::Unusable,
        _ => NodeState::Unknown,
    }
}
