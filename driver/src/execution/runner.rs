//! Drives one request: first attempt, and only if it fails the machinery of retries.
//!
//! # Invariants
//!
//! - Every await has a deadline; the caller gets an answer or an error within the time limit.
//! - Dropping the future leaves nothing behind but an orphaned stream id.
//! - All attempts of a request carry the same timestamp.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::debug;
use uuid::Uuid;

use super::error::{Attempt, AttemptKind, Certainty, Error, ErrorKind, Result};
use super::failure::{call_failure, server_error_kind, server_failure};
use super::metrics::Metrics;
use super::query_plan::{Explanation, PlannedNode, plan, with_facts};
use super::repreparation::{REPREPARATIONS_MAX, reprepare};
use super::request::{RequestMachine, Step};
use super::work::{Settled, Work};
use crate::connection::Connection;
use crate::control::{ClusterState, ClusterView};
use crate::env::{Environment, Instant, sleep_until};
use crate::policy::{AttemptFailure, Distance, LoadBalancing, Retry, RetryBudget, TimestampGenerator};
use crate::protocol::response::{DecodedResponse, Message, ResultBody, ServerErrorKind};
use crate::protocol::{Consistency, SerialConsistency};
use crate::statement::{BatchEntry, PreparedState, PreparedStatement, StatementOptions};
use crate::topology::NodeIndex;
use crate::value::ColumnSpec;

/// What every request of a session uses.
pub(crate) struct Executor {
    pub environment: Environment,
    pub state: Arc<ClusterState>,
    pub load_balancing: Arc<dyn LoadBalancing>,
    pub retry: Arc<dyn Retry>,
    pub timestamps: Arc<dyn TimestampGenerator>,
    pub defaults: Defaults,
    pub budget: RetryBudget,
    pub metrics: Metrics,
    pub is_closed: AtomicBool,
}

/// Options of calls that do not set their own.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub consistency: Consistency,
    pub serial_consistency: SerialConsistency,
    pub timeout: Duration,
    pub attempt_timeout: Option<Duration>,
    pub page_size: i32,
    pub is_idempotent: bool,
}

/// The answer to a request and who gave it.
pub(crate) struct Answer {
    pub decoded: DecodedResponse,
    pub coordinator: Uuid,
    pub address: SocketAddr,
    /// Columns to read rows with: those of the answer, or those the statement was sent with.
    pub columns: Option<Arc<[ColumnSpec]>>,
    /// The connection that answered, for what must follow on the same node.
    pub connection: Connection,
}

/// Everything about a request that its attempts share.
struct Job<'a> {
    work: &'a Work<'a>,
    settled: Settled<'a>,
    view: Arc<ClusterView>,
    is_idempotent: bool,
    limit: Duration,
    deadline: Instant,
    attempt_timeout: Option<Duration>,
}

/// One attempt that failed.
struct Failed {
    index: NodeIndex,
    failure: AttemptFailure,
    kind: ErrorKind,
    what: AttemptKind,
    started: Instant,
}

impl Executor {
    /// Runs a request to its end.
    pub(crate) async fn run(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Answer> {
        let _in_flight = self.metrics.enter();
        self.budget.deposit();
        let result = self.run_counted(work, options).await;
        if let Err(error) = &result {
            Metrics::count(&self.metrics.errors);
            if matches!(error.kind(), ErrorKind::Timeout { .. }) {
                Metrics::count(&self.metrics.timeouts);
            }
        }
        result
    }

    async fn run_counted(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Answer> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::not_sent(ErrorKind::SessionClosed));
        }
        let job = self.job(work, options);
        let routing = work.routing();
        let replicas = match &routing {
            Some((keyspace, token)) => job.view.snapshot.replicas_of_token(keyspace, *token),
            None => &[],
        };
        let entropy = &*self.environment.entropy;
        let first = with_facts(&job.view, replicas, job.settled.consistency, entropy, |facts| {
            self.load_balancing.first(facts, &job.view.distances)
        });
        let mut failed = None;
        if let Some(index) = first
            && let Some(connection) = job.view.pool(index).and_then(|pool| pool.pick())
        {
            match self.attempt(&job, index, connection).await {
                Ok(answer) => return Ok(answer),
                Err(first_failure) => failed = Some(first_failure),
            }
        }
        // Boxed: the state of retries would make every request's future larger.
        Box::pin(self.run_plan(&job, replicas, failed)).await
    }

    fn job<'a>(&self, work: &'a Work<'a>, options: &'a StatementOptions) -> Job<'a> {
        let defaults = &self.defaults;
        let limit = options.timeout.unwrap_or(defaults.timeout);
        let is_conditional = work.facts(false).is_conditional;
        let settled = Settled {
            consistency: options.consistency.unwrap_or(defaults.consistency),
            serial_consistency: options
                .serial_consistency
                .or_else(|| is_conditional.then_some(defaults.serial_consistency)),
            page_size: Some(options.page_size.unwrap_or(defaults.page_size)),
            timestamp: options.timestamp.or_else(|| self.timestamps.next(self.environment.wall_clock.unix_micros())),
            options,
        };
        Job {
            work,
            settled,
            view: self.state.view(),
            is_idempotent: options.is_idempotent.unwrap_or(defaults.is_idempotent),
            limit,
            deadline: Instant::now() + limit,
            attempt_timeout: options.attempt_timeout.or(defaults.attempt_timeout),
        }
    }

    /// Walks the plan from the first failure on, or from its start if the first node had no connection.
    async fn run_plan(&self, job: &Job<'_>, replicas: &[NodeIndex], first: Option<Failed>) -> Result<Answer> {
        let entropy = &*self.environment.entropy;
        let mut remaining =
            plan(&*self.load_balancing, &job.view, replicas, job.settled.consistency, entropy).into_iter();
        let mut machine = RequestMachine::new(job.work.facts(job.is_idempotent));
        let mut attempts = Vec::new();
        let mut failed = first;
        let first_index = failed.as_ref().map(|failed| failed.index);
        let mut last_kind = ErrorKind::NoNodeAvailable;
        loop {
            let mut same_node = None;
            if let Some(failure) = failed.take() {
                let step =
                    machine.handle_failure(&failure.failure, &*self.retry, &self.budget, entropy.draw("back-off"));
                let certainty = machine.certainty_of(&failure.failure);
                attempts.push(self.record(job, &failure, certainty));
                if failure.failure == AttemptFailure::AttemptTimeout && Instant::now() >= job.deadline {
                    return Err(timed_out(job, &machine, attempts));
                }
                // What was sent tells more than that a later node had no connection.
                if failure.failure != AttemptFailure::NotSent || attempts.len() == 1 {
                    last_kind = failure.kind;
                }
                let after = match step {
                    Step::GiveUp => return Err(Error::new(last_kind, machine.certainty(), attempts)),
                    Step::SameNode { after } => {
                        same_node = Some(failure.index);
                        after
                    }
                    Step::NextNode { after } => after,
                };
                if !after.is_zero() {
                    if Instant::now() + after >= job.deadline {
                        return Err(Error::new(last_kind, machine.certainty(), attempts));
                    }
                    sleep_until(Instant::now() + after).await;
                }
            }
            if Instant::now() >= job.deadline {
                return Err(timed_out(job, &machine, attempts));
            }
            let index = match same_node.filter(|index| job.view.health(*index).is_up) {
                Some(index) => index,
                None => match remaining.find(|index| Some(*index) != first_index) {
                    Some(index) => index,
                    None => return Err(Error::new(last_kind, machine.certainty(), attempts)),
                },
            };
            let Some(connection) = job.view.pool(index).and_then(|pool| pool.pick()) else {
                attempts.push(self.without_connection(job, index));
                continue;
            };
            if !attempts.is_empty() {
                Metrics::count(&self.metrics.retries);
            }
            match self.attempt(job, index, connection).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failed = Some(failure),
            }
        }
    }

    /// Sends the request to one coordinator, preparing it there again if the coordinator asks for it.
    async fn attempt(&self, job: &Job<'_>, index: NodeIndex, connection: Connection) -> Result<Answer, Failed> {
        let started = Instant::now();
        let deadline = match job.attempt_timeout {
            Some(limit) => job.deadline.min(started + limit),
            None => job.deadline,
        };
        let fail = |what, (failure, kind)| Failed { index, failure, kind, what, started };
        let mut repreparations = 0;
        loop {
            let (result, sent_with) = job.work.send(&connection, &job.settled, deadline).await;
            let response = result.map_err(|error| fail(AttemptKind::Request, call_failure(error)))?;
            let decoded = response.decode().map_err(|error| {
                let kind = ErrorKind::Decode(error.to_string());
                fail(AttemptKind::Request, (AttemptFailure::UndecodableAnswer, kind))
            })?;
            let Message::Error(error) = decoded.message else {
                return Ok(self.answer(job, index, connection, decoded, sent_with));
            };
            let ServerErrorKind::Unprepared { id } = &error.kind else {
                let failure = server_failure(&error.kind);
                return Err(fail(AttemptKind::Request, (failure, server_error_kind(error))));
            };
            let Some(statement) = statement_with_id(job.work, id) else {
                return Err(fail(AttemptKind::Request, (AttemptFailure::InvalidRequest, server_error_kind(error))));
            };
            if repreparations == REPREPARATIONS_MAX {
                let failure = (AttemptFailure::IsBootstrapping, ErrorKind::RepreparationLimit);
                return Err(fail(AttemptKind::Reprepare, failure));
            }
            repreparations += 1;
            Metrics::count(&self.metrics.repreparations);
            debug!(host_id = %self.host_id(job, index), "preparing a forgotten statement again");
            Box::pin(reprepare(statement, &connection, &job.view, deadline))
                .await
                .map_err(|failure| fail(AttemptKind::Reprepare, failure))?;
        }
    }

    fn answer(
        &self,
        job: &Job<'_>,
        index: NodeIndex,
        connection: Connection,
        decoded: DecodedResponse,
        sent_with: Option<Arc<PreparedState>>,
    ) -> Answer {
        let mut columns = None;
        if let Message::Result(ResultBody::Rows(rows)) = &decoded.message {
            columns = rows.metadata.columns.clone();
            if let (Work::Execute { statement, .. }, Some(new_id), Some(known)) =
                (job.work, &rows.metadata.new_metadata_id, &sent_with)
            {
                // Id and columns change together, and this very answer is read with the new columns.
                statement.set_state(PreparedState {
                    // Copied, because the answer's buffer must not live as long as the statement.
                    result_metadata_id: Some(bytes::Bytes::copy_from_slice(new_id)),
                    result_columns: columns.clone(),
                    ..PreparedState::clone(known)
                });
            }
            columns = columns.or_else(|| sent_with.and_then(|state| state.result_columns.clone()));
        }
        let node = &job.view.snapshot.nodes()[usize::from(index)];
        Answer { decoded, coordinator: node.host_id, address: node.address, columns, connection }
    }

    /// Where a request would go, without sending it.
    pub(crate) fn explain(&self, work: &Work<'_>, options: &StatementOptions) -> Explanation {
        let view = self.state.view();
        let routing = work.routing();
        let replicas = match &routing {
            Some((keyspace, token)) => view.snapshot.replicas_of_token(keyspace, *token),
            None => &[],
        };
        let consistency = options.consistency.unwrap_or(self.defaults.consistency);
        let order = plan(&*self.load_balancing, &view, replicas, consistency, &*self.environment.entropy);
        let nodes = view.snapshot.nodes();
        Explanation {
            token: routing.as_ref().map(|(_, token)| *token),
            replicas: replicas.iter().map(|&index| nodes[usize::from(index)].host_id).collect(),
            plan: order
                .into_iter()
                .map(|index| {
                    let node = &nodes[usize::from(index)];
                    PlannedNode {
                        host_id: node.host_id,
                        address: node.address,
                        distance: view.distances.get(usize::from(index)).copied().unwrap_or(Distance::Ignored),
                        is_replica: replicas.contains(&index),
                        is_up: view.health(index).is_up,
                    }
                })
                .collect(),
        }
    }

    fn host_id(&self, job: &Job<'_>, index: NodeIndex) -> Uuid {
        job.view.snapshot.nodes()[usize::from(index)].host_id
    }

    fn record(&self, job: &Job<'_>, failed: &Failed, certainty: Certainty) -> Attempt {
        let node = &job.view.snapshot.nodes()[usize::from(failed.index)];
        let elapsed = failed.started.elapsed();
        debug!(host_id = %node.host_id, kind = %failed.kind, ?elapsed, "attempt failed");
        Attempt {
            node: node.host_id,
            address: node.address,
            what: failed.what,
            outcome: failed.kind.to_string(),
            certainty,
            elapsed,
        }
    }

    fn without_connection(&self, job: &Job<'_>, index: NodeIndex) -> Attempt {
        let node = &job.view.snapshot.nodes()[usize::from(index)];
        Attempt {
            node: node.host_id,
            address: node.address,
            what: AttemptKind::Request,
            outcome: "no usable connection".to_owned(),
            certainty: Certainty::NotSent,
            elapsed: Duration::ZERO,
        }
    }
}

fn timed_out(job: &Job<'_>, machine: &RequestMachine, attempts: Vec<Attempt>) -> Error {
    Error::new(ErrorKind::Timeout { limit: job.limit }, machine.certainty(), attempts)
}

/// The statement a coordinator means by `id`.
fn statement_with_id<'a>(work: &'a Work<'a>, id: &[u8]) -> Option<&'a PreparedStatement> {
    match work {
        Work::Execute { statement, .. } => Some(*statement),
        Work::Batch { entries, .. } => entries.iter().find_map(|entry| match entry {
            BatchEntry::Prepared { statement, .. } => (*statement.state().id == *id).then_some(statement),
            BatchEntry::Text(_) => None,
        }),
        Work::Query { .. } | Work::Prepare { .. } => None,
    }
}
