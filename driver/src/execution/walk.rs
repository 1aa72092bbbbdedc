//! What all executions of one request share: the nodes that are left, and what came of the attempts.
//!
//! Made when the first attempt has failed, or for requests with speculative executions.
//!
//! # Invariants
//!
//! - No node is handed out twice, to whichever execution.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::debug;

use super::attempt::Failed;
use super::error::{Attempt, AttemptKind, AttemptOutcome, Certainty};
use super::query_plan::plan;
use super::runner::{Executor, Job};
use crate::connection::Connection;
use crate::env::Instant;
use crate::protocol::Consistency;
use crate::topology::NodeIndex;

pub(super) struct Walk<'a> {
    pub executor: &'a Executor,
    pub job: &'a Job<'a>,
    replicas: &'a [NodeIndex],
    state: Mutex<State>,
}

struct State {
    /// Handed out before the plan was made.
    first: Option<NodeIndex>,
    /// Made when it is first needed.
    rest: Option<std::vec::IntoIter<NodeIndex>>,
    attempts: Vec<Attempt>,
    running: Vec<Running>,
}

/// The attempt an execution waits for.
struct Running {
    execution: u32,
    index: NodeIndex,
    consistency: Consistency,
    connection: Connection,
    started: Instant,
    /// How much the connection had queued when the request was in its queue.
    queued: Option<u64>,
}

impl<'a> Walk<'a> {
    /// `first` is a node that was or will be tried without asking the walk for it.
    pub(super) fn new(
        executor: &'a Executor,
        job: &'a Job<'a>,
        replicas: &'a [NodeIndex],
        first: Option<NodeIndex>,
    ) -> Self {
        let state = State { first, rest: None, attempts: Vec::new(), running: Vec::new() };
        Self { executor, job, replicas, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_rest<T>(&self, take: impl FnOnce(&mut std::vec::IntoIter<NodeIndex>) -> T) -> T {
        let mut state = self.lock();
        let first = state.first;
        let rest = state.rest.get_or_insert_with(|| {
            let nodes = match self.job.pinned {
                Some(pinned) => vec![pinned],
                None => plan(self.executor, self.job, self.replicas),
            };
            let rest: Vec<_> = nodes.into_iter().filter(|index| Some(*index) != first).collect();
            rest.into_iter()
        });
        take(rest)
    }

    /// The next node of the plan.
    pub(super) fn next(&self) -> Option<NodeIndex> {
        self.with_rest(Iterator::next)
    }

    /// Nodes that were not handed out yet.
    pub(super) fn nodes_left(&self) -> usize {
        self.with_rest(|rest| rest.len())
    }

    /// Notes which attempt `execution` waits for now.
    pub(super) fn handle_start(
        &self,
        execution: u32,
        index: NodeIndex,
        connection: &Connection,
        consistency: Consistency,
    ) {
        let mut state = self.lock();
        state.running.retain(|running| running.execution != execution);
        state.running.push(Running {
            execution,
            index,
            consistency,
            connection: connection.clone(),
            started: Instant::now(),
            queued: None,
        });
    }

    /// Notes that `execution` waits for nothing any more.
    pub(super) fn handle_end(&self, execution: u32) {
        self.lock().running.retain(|running| running.execution != execution);
    }

    /// The request of `execution` is in the queue of its connection, behind what was queued before.
    pub(super) fn handle_queued(&self, execution: u32) {
        let mut state = self.lock();
        let running = state.running.iter_mut().find(|running| running.execution == execution);
        if let Some(running) = running {
            running.queued.get_or_insert_with(|| running.connection.queued());
        }
    }

    /// Whether the transport has taken the request of `execution`.
    pub(super) fn is_written(&self, execution: u32) -> bool {
        let waiting = {
            let state = self.lock();
            let running = state.running.iter().find(|running| running.execution == execution);
            running.map(|running| (running.connection.clone(), running.queued))
        };
        // An execution that waits for nothing is pausing before a retry: it has sent something earlier.
        waiting.is_none_or(|(connection, queued)| queued.is_some_and(|queued| connection.handed() >= queued))
    }

    pub(super) fn record_failure(&self, failed: &Failed, execution: u32, certainty: Certainty) {
        let node = self.job.node(failed.index);
        let elapsed = failed.started.elapsed();
        debug!(host_id = %node.host_id, kind = %failed.kind, ?elapsed, "attempt failed");
        let attempt = Attempt {
            node: node.host_id,
            address: node.address,
            what: failed.what,
            execution,
            consistency: failed.consistency,
            outcome: AttemptOutcome::Failed(failed.kind.clone()),
            certainty,
            elapsed,
        };
        self.lock().attempts.push(attempt);
    }

    pub(super) fn record_without_connection(&self, index: NodeIndex, execution: u32, consistency: Consistency) {
        let node = self.job.node(index);
        let attempt = Attempt {
            node: node.host_id,
            address: node.address,
            what: AttemptKind::Request,
            execution,
            consistency,
            outcome: AttemptOutcome::NoConnection,
            certainty: Certainty::NotSent,
            elapsed: Duration::ZERO,
        };
        self.lock().attempts.push(attempt);
    }

    /// All attempts so far but the one of `winner`; those still running count as given up.
    pub(super) fn take_attempts(&self, winner: Option<u32>) -> Vec<Attempt> {
        let mut state = self.lock();
        let running = std::mem::take(&mut state.running);
        let mut attempts = std::mem::take(&mut state.attempts);
        drop(state);
        attempts.extend(running.into_iter().filter(|running| Some(running.execution) != winner).map(|running| {
            let node = self.job.node(running.index);
            Attempt {
                node: node.host_id,
                address: node.address,
                what: AttemptKind::Request,
                execution: running.execution,
                consistency: running.consistency,
                outcome: AttemptOutcome::Superseded,
                certainty: Certainty::MaybeApplied,
                elapsed: running.started.elapsed(),
            }
        }));
        attempts
    }
}
