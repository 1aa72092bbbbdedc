//! The only task that opens and retires the connections of a node.
//!
//! # Invariants
//!
//! - The state of the node follows its own connections: it is up exactly while one is usable.
//! - When the task has ended, its connections are closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tracing::{debug, warn};

use super::factory::Opened;
use super::node_pool::{CLOSED_WITH_POOL, HINT, NodeState, PoolConnection, RENEW, STOP, Shared, encode};
use super::plan::PoolPlan;
use crate::connection::{CloseReason, ConnectError, Connection};
use crate::env::{BoxFuture, Instant, Timer};

/// A connection the task watches.
struct Watched {
    number: u64,
    connection: Connection,
    opened_at: Instant,
    /// Of a newer protocol version than the session's: in use until its replacement is there, and not counted.
    is_outdated: bool,
    /// Resolves when the connection takes no new calls.
    retired: BoxFuture<'static, CloseReason>,
}

pub(super) struct PoolTask {
    shared: Arc<Shared>,
    plan: PoolPlan,
    watched: Vec<Watched>,
    /// Connections that take no new calls, until they have ended.
    draining: Vec<(Connection, BoxFuture<'static, ()>)>,
    opened: u64,
    dials: Vec<BoxFuture<'static, Result<Opened, ConnectError>>>,
    timer: Timer,
}

enum Wake {
    Stop,
    Signal(u8),
    Dialled(Result<Opened, ConnectError>),
    /// The connection at this position takes no new calls.
    Lost(usize, CloseReason),
    Timer,
}

impl PoolTask {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let plan = PoolPlan::new(now, shared.settings.size, shared.settings.stable_after);
        Self {
            shared,
            plan,
            watched: Vec::new(),
            draining: Vec::new(),
            opened: 0,
            dials: Vec::new(),
            timer: Timer::new(now),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            for _ in 0..self.plan.handle_timeout(Instant::now()) {
                self.dials.push(Box::pin(dial(Arc::clone(&self.shared))));
            }
            match std::future::poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::Stop => break,
                Wake::Signal(raised) => self.on_signal(raised),
                Wake::Timer => {}
                Wake::Dialled(Ok(opened)) => self.on_opened(opened),
                Wake::Dialled(Err(error)) => self.on_dial_failed(&error),
                Wake::Lost(position, reason) => self.on_lost(position, &reason),
            }
        }
        self.dials.clear();
        self.shared.close_all();
        let watched = self.watched.drain(..).map(|watched| watched.connection);
        let open: Vec<_> = watched.chain(self.draining.drain(..).map(|(connection, _)| connection)).collect();
        for connection in open {
            connection.close(CLOSED_WITH_POOL);
            connection.closed().await;
        }
        // Nobody is told: the node is not down, it is no longer looked at.
        self.shared.state.store(encode(NodeState::Down), Ordering::Relaxed);
        self.shared.tried.notify_waiters();
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Polls in a fixed order, so that equal runs decide equally.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(raised) = self.shared.signal.poll_take(cx) {
            return Poll::Ready(if raised & STOP != 0 { Wake::Stop } else { Wake::Signal(raised) });
        }
        for (position, watched) in self.watched.iter_mut().enumerate() {
            if let Poll::Ready(reason) = watched.retired.as_mut().poll(cx) {
                return Poll::Ready(Wake::Lost(position, reason));
            }
        }
        let ended_stats = &self.shared.ended_stats;
        self.draining.retain_mut(|(connection, closed)| {
            let is_open = closed.as_mut().poll(cx).is_pending();
            if !is_open {
                ended_stats.lock().unwrap_or_else(PoisonError::into_inner).add(&connection.stats());
            }
            is_open
        });
        for (position, dial) in self.dials.iter_mut().enumerate() {
            if let Poll::Ready(result) = dial.as_mut().poll(cx) {
                drop(self.dials.remove(position));
                self.shared.activity.handle_dial(result.is_err());
                return Poll::Ready(Wake::Dialled(result));
            }
        }
        if let Some(due) = self.plan.poll_timeout() {
            self.timer.set(due);
            if self.timer.poll(cx).is_ready() {
                return Poll::Ready(Wake::Timer);
            }
        }
        Poll::Pending
    }

    fn on_signal(&mut self, raised: u8) {
        if raised & RENEW != 0 {
            self.mark_outdated();
        }
        if raised & HINT != 0 {
            self.plan.handle_hint(Instant::now());
        }
    }

    /// Has connections of a newer protocol version than the session's replaced.
    fn mark_outdated(&mut self) {
        let version = self.shared.settings.factory.version();
        let mut count = 0;
        for watched in &mut self.watched {
            if !watched.is_outdated && watched.connection.version() > version {
                watched.is_outdated = true;
                count += 1;
            }
        }
        if count > 0 {
            self.plan.handle_outdated(Instant::now(), count);
        }
    }

    fn on_opened(&mut self, opened: Opened) {
        let shared = self.shared.clone();
        let mut connections = shared.connections.write().unwrap_or_else(PoisonError::into_inner);
        // A change of the keyspace goes to all connections of the pool after it is known to the factory: whoever comes
        // second sees the other.
        if !shared.settings.factory.is_in_keyspace(&opened) {
            self.dials.push(Box::pin(follow(shared.clone(), opened)));
            return;
        }
        debug!(host_id = %self.shared.host_id, address = %self.shared.address, "connection opened");
        let Opened { connection, is_version_lowered, .. } = opened;
        self.opened += 1;
        let watched = connection.clone();
        let predecessor = self.watched.iter().position(|watched| watched.is_outdated);
        self.watched.push(Watched {
            number: self.opened,
            connection: connection.clone(),
            opened_at: Instant::now(),
            is_outdated: false,
            retired: Box::pin(async move { watched.retired().await }),
        });
        connections.push(PoolConnection { number: self.opened, connection });
        drop(connections);
        let settings = &self.shared.settings;
        let random = settings.environment.entropy.draw("reconnection jitter");
        self.plan.handle_opened(Instant::now(), &*settings.reconnection, random);
        self.shared.is_missed.store(false, Ordering::Relaxed);
        self.shared.set_state(NodeState::Up);
        if let Some(position) = predecessor {
            self.watched[position].connection.retire("replaced by one of the session's protocol version");
        }
        if is_version_lowered {
            self.shared.settings.observer.on_version_lowered();
        }
        // The session may have lowered its version while this one was being opened.
        self.mark_outdated();
    }

    fn on_dial_failed(&mut self, error: &ConnectError) {
        warn!(host_id = %self.shared.host_id, address = %self.shared.address, %error, "cannot connect");
        let settings = &self.shared.settings;
        let now = Instant::now();
        let state = match error {
            ConnectError::AuthenticationFailed(_) | ConnectError::CredentialsRequired { .. } => {
                self.plan.handle_dial_refused(now, &*settings.reconnection);
                NodeState::CredentialsRefused
            }
            ConnectError::WrongCluster { .. } | ConnectError::UnsupportedVersion { .. } => {
                self.plan.handle_dial_refused(now, &*settings.reconnection);
                NodeState::Unusable
            }
            ConnectError::WrongNode { .. } => {
                let random = settings.environment.entropy.draw("reconnection jitter");
                self.plan.handle_dial_failed(now, &*settings.reconnection, random);
                settings.observer.on_stranger();
                NodeState::Unusable
            }
            _ => {
                let random = settings.environment.entropy.draw("reconnection jitter");
                self.plan.handle_dial_failed(now, &*settings.reconnection, random);
                NodeState::Down
            }
        };
        if self.watched.is_empty() {
            self.shared.is_missed.store(true, Ordering::Relaxed);
            self.shared.set_state(state);
        }
    }

    fn on_lost(&mut self, position: usize, reason: &CloseReason) {
        let lost = self.watched.remove(position);
        debug!(host_id = %self.shared.host_id, address = %self.shared.address, %reason, "connection lost");
        let mut connections = self.shared.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|open| open.number != lost.number);
        drop(connections);
        let draining = lost.connection.clone();
        let closed = Box::pin(async move {
            draining.closed().await;
        });
        self.draining.push((lost.connection, closed));
        let settings = &self.shared.settings;
        let now = Instant::now();
        if lost.is_outdated {
            // Its replacement is planned already.
        } else if *reason == CloseReason::TooManyOrphans {
            self.plan.handle_outdated(now, 1);
        } else {
            let random = settings.environment.entropy.draw("reconnection jitter");
            self.plan.handle_closed(now, now.duration_since(lost.opened_at), &*settings.reconnection, random);
        }
        if self.watched.is_empty() {
            let is_missed =
                matches!(reason, CloseReason::PeerClosed | CloseReason::Io(_) | CloseReason::HeartbeatTimeout);
            self.shared.is_missed.store(is_missed, Ordering::Relaxed);
            self.shared.set_state(NodeState::Down);
        }
    }
}

async fn dial(shared: Arc<Shared>) -> Result<Opened, ConnectError> {
    let settings = &shared.settings;
    // The semaphore is never closed, so an error cannot happen; dialling without a permit would be harmless.
    let permit = settings.dial_permits.acquire().await;
    let mut opened = settings.factory.open(&settings.environment, shared.host_id, shared.address).await?;
    drop(permit);
    let is_first = shared.connections.read().unwrap_or_else(PoisonError::into_inner).is_empty();
    if is_first && let Some(warm_up) = settings.warm_up.warm_up(opened.connection.clone()) {
        warm_up.await;
    }
    settings.factory.follow_keyspace(&mut opened).await?;
    Ok(opened)
}

/// Goes on with a connection that was open before the application changed the keyspace.
async fn follow(shared: Arc<Shared>, mut opened: Opened) -> Result<Opened, ConnectError> {
    shared.settings.factory.follow_keyspace(&mut opened).await?;
    Ok(opened)
}
