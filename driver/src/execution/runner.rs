//! Drives one request: the first attempt, and only if that fails or is slow what follows it.
//!
//! # Invariants
//!
//! - Every await has a deadline; the caller gets an answer or an error within the time limit.
//! - Dropping the future leaves nothing behind but orphaned stream ids.
//! - All attempts of a request carry the same timestamp.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{Instrument, debug, debug_span, field};
use uuid::Uuid;

use super::attempt::{Setback, Trial};
use super::error::{Attempt, Error, ErrorKind, Result};
use super::metrics::{Metrics, MetricsSnapshot};
use super::query_plan::{self, Explanation};
use super::request::RequestFacts;
use super::retries::Start;
use super::tracker::{RequestTracker, TrackedRequest};
use super::walk::Walk;
use super::work::{Settled, Work};
use crate::connection::Connection;
use crate::control::{ClusterState, ClusterView};
use crate::env::mutants::is_planted;
use crate::env::{Calendar, Environment, Instant};
use crate::policy::{Budget, LoadBalancing, Retry, SpeculativeExecution, TimestampGenerator};
use crate::protocol::response::DecodedResponse;
#[cfg(test)]
use crate::protocol::response::{Message, ResultBody};
use crate::protocol::{Consistency, SerialConsistency};
use crate::statement::{Overrides, StatementOptions};
use crate::topology::{Node, NodeIndex};

/// What every request of a session uses.
pub(crate) struct Executor {
    pub environment: Environment,
    pub state: Arc<ClusterState>,
    pub load_balancing: Arc<dyn LoadBalancing>,
    pub retry: Arc<dyn Retry>,
    pub speculation: Option<Arc<dyn SpeculativeExecution>>,
    pub timestamps: Arc<dyn TimestampGenerator>,
    pub calendar: Calendar,
    pub defaults: Defaults,
    pub retry_budget: Budget,
    pub speculation_budget: Budget,
    pub metrics: Metrics,
    pub tracker: Option<Arc<dyn RequestTracker>>,
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
    /// The connection that answered, for what must follow on the same node.
    pub connection: Connection,
    /// What was tried beside the attempt that was answered.
    pub attempts: Box<[Attempt]>,
}

impl Answer {
    /// Columns to read rows with: those of the answer, or those the statement was sent with.
    #[cfg(test)]
    pub(crate) fn columns(&self) -> Option<&[crate::value::ColumnSpec]> {
        match &self.decoded.message {
            Message::Result(ResultBody::Rows(rows)) => rows.metadata.columns.as_deref(),
            _ => None,
        }
    }
}

/// Everything about a request that its attempts share.
pub(super) struct Job<'a> {
    pub work: &'a Work<'a>,
    pub settled: Settled<'a>,
    pub view: Arc<ClusterView>,
    pub facts: RequestFacts,
    pub limit: Duration,
    pub started: Instant,
    pub deadline: Instant,
    pub attempt_timeout: Option<Duration>,
    pub load_balancing: &'a dyn LoadBalancing,
    pub retry: &'a dyn Retry,
    /// The only node to ask, if the caller chose one.
    pub pinned: Option<NodeIndex>,
}

impl Job<'_> {
    pub(super) fn node(&self, index: NodeIndex) -> &Node {
        &self.view.snapshot.nodes()[usize::from(index)]
    }
}

impl Executor {
    /// Runs a request to its end.
    pub(crate) async fn run(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Answer> {
        let in_flight = self.metrics.enter();
        self.retry_budget.deposit();
        let result = if self.tracker.is_none() && !tracing::enabled!(tracing::Level::DEBUG) {
            self.run_counted(work, options).await
        } else {
            Box::pin(self.run_watched(work, options)).await
        };
        if is_planted("A20-dropped-call-stays-counted") {
            self.metrics.forget_one();
        }
        drop(in_flight);
        if let Err(error) = &result {
            Metrics::count(&self.metrics.errors);
            if matches!(error.kind(), ErrorKind::Timeout { .. }) {
                Metrics::count(&self.metrics.timeouts);
            }
        }
        result
    }

    /// Runs a request inside a span, and tells the tracker how it ended.
    async fn run_watched(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Answer> {
        let started = Instant::now();
        let span = debug_span!(
            "request",
            kind = ?work.kind(),
            statement = work.text(),
            coordinator = field::Empty,
            attempts = field::Empty,
            elapsed_micros = field::Empty,
        );
        let result = self.run_counted(work, options).instrument(span.clone()).await;
        let (coordinator, attempts) = match &result {
            Ok(answer) => (Some(answer.coordinator), &*answer.attempts),
            Err(error) => (None, error.attempts()),
        };
        let elapsed = started.elapsed();
        let request = TrackedRequest { kind: work.kind(), text: work.text(), coordinator, elapsed, attempts };
        span.record("coordinator", coordinator.map(field::display));
        span.record("attempts", attempts.len() + usize::from(result.is_ok()));
        span.record("elapsed_micros", u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
        let entered = span.enter();
        match &result {
            Ok(_) => debug!("answered"),
            Err(error) => debug!(%error, certainty = ?error.certainty(), "failed"),
        }
        drop(entered);
        match (&self.tracker, &result) {
            (Some(tracker), Ok(_)) => tracker.on_success(&request),
            (Some(tracker), Err(error)) => tracker.on_error(&request, error),
            (None, _) => {}
        }
        result
    }

    async fn run_counted(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Answer> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::not_sent(ErrorKind::SessionClosed));
        }
        let job = self.job(work, options)?;
        let replicas = work.replicas(&job.view.snapshot);
        let first = query_plan::first(self, &job, replicas);
        if let Some(policy) = self.speculation_of(&job) {
            let walk = Walk::new(self, &job, replicas, first);
            return Box::pin(self.run_speculatively(&walk, first, policy)).await;
        }
        // The first attempt is made here and not by `attempt`: each future around another moves the answer once more.
        // What follows it is boxed, because it would make every request's future larger.
        let Some((index, connection)) = first.and_then(|index| Some((index, job.view.pool(index)?.pick()?))) else {
            return Box::pin(self.run_on(&job, replicas, Start::Node(None))).await;
        };
        let trial = Trial::start(&job, index, connection, job.settled.consistency, job.started);
        let sending = self.sending(&job, trial.consistency);
        let result = trial.connection.call(&sending, Some(trial.deadline)).await;
        match self.conclude(&job, &trial, &sending, result) {
            Ok(answer) => Ok(answer),
            Err(setback) => Box::pin(self.run_after(&job, replicas, &trial, setback)).await,
        }
    }

    /// Goes on after the first attempt had a setback.
    async fn run_after(
        &self,
        job: &Job<'_>,
        replicas: &[NodeIndex],
        trial: &Trial,
        setback: Setback,
    ) -> Result<Answer> {
        match self.overcome(job, trial, setback).await {
            Ok(answer) => Ok(answer),
            Err(failed) => self.run_on(job, replicas, Start::Failed(failed)).await,
        }
    }

    /// Goes on after the first attempt failed, or could not be made.
    async fn run_on(&self, job: &Job<'_>, replicas: &[NodeIndex], start: Start) -> Result<Answer> {
        let tried = match &start {
            Start::Failed(failed) => Some(failed.index),
            Start::Node(_) => None,
        };
        let walk = Walk::new(self, job, replicas, tried);
        match self.execute(&walk, 0, start).await {
            Ok(mut answer) => {
                answer.attempts = walk.take_attempts(Some(0)).into();
                Ok(answer)
            }
            Err(ended) => Err(Error::new(ended.kind, ended.certainty, walk.take_attempts(None))),
        }
    }

    /// The policy of parallel executions, for requests that may be sent twice at once.
    fn speculation_of<'a>(&'a self, job: &Job<'a>) -> Option<&'a dyn SpeculativeExecution> {
        let facts = job.facts;
        let is_repeatable = facts.is_idempotent && !facts.is_conditional && !facts.is_counter;
        if !is_repeatable && !is_planted("O07-speculation-of-writes") {
            return None;
        }
        let overrides = job.settled.options.overrides.as_deref();
        let policy = overrides.and_then(Overrides::speculation).or(self.speculation.as_ref());
        policy.map(|policy| &**policy)
    }

    fn job<'a>(&'a self, work: &'a Work<'a>, options: &'a StatementOptions) -> Result<Job<'a>> {
        let started = Instant::now();
        let defaults = &self.defaults;
        let overrides = options.overrides.as_deref();
        let profile = match overrides {
            Some(overrides) => overrides.profile().map_err(unknown_profile)?,
            None => None,
        };
        check_keyspace(work, overrides)?;
        let limit = options.timeout.or(profile.and_then(|profile| profile.timeout)).unwrap_or(defaults.timeout);
        let is_idempotent = options.is_idempotent.or(profile.and_then(|profile| profile.is_idempotent));
        let facts = work.facts(is_idempotent, defaults.is_idempotent);
        let page_size =
            options.page_size.or(profile.and_then(|profile| profile.page_size)).unwrap_or(defaults.page_size);
        if page_size < 1 {
            let message = format!("a page has at least one row, not {page_size}: correct page_size");
            return Err(Error::not_sent(ErrorKind::Configuration(message)));
        }
        let serial_consistency = options
            .serial_consistency
            .or_else(|| facts.is_conditional.then(|| profile?.serial_consistency).flatten())
            .or_else(|| facts.is_conditional.then_some(defaults.serial_consistency));
        let settled = Settled {
            consistency: options
                .consistency
                .or(profile.and_then(|profile| profile.consistency))
                .unwrap_or(defaults.consistency),
            serial_consistency,
            page_size: Some(page_size),
            timestamp: options.timestamp.or_else(|| self.timestamps.next(self.calendar.unix_micros(started))),
            options,
        };
        let view = self.state.view();
        let pinned = match overrides.and_then(|overrides| overrides.node) {
            Some(host_id) => Some(pinned(&view, host_id)?),
            None => None,
        };
        let retry = overrides.and_then(Overrides::retry).unwrap_or(&self.retry);
        let load_balancing =
            profile.and_then(|profile| profile.load_balancing.as_ref()).unwrap_or(&self.load_balancing);
        Ok(Job {
            work,
            settled,
            view,
            facts,
            limit,
            started,
            deadline: started + limit.saturating_sub(options.spent),
            attempt_timeout: overrides
                .and_then(|overrides| overrides.attempt_timeout)
                .or(profile.and_then(|profile| profile.attempt_timeout))
                .or(defaults.attempt_timeout),
            load_balancing: &**load_balancing,
            retry: &**retry,
            pinned,
        })
    }

    /// Counters and budgets at this moment.
    pub(crate) fn metrics_snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            retries_saved: self.retry_budget.saved(),
            speculations_saved: self.speculation_budget.saved(),
            ..self.metrics.snapshot()
        }
    }

    /// Where a request would go, without sending it.
    pub(crate) fn explain(&self, work: &Work<'_>, options: &StatementOptions) -> Result<Explanation> {
        let job = self.job(work, options)?;
        Ok(query_plan::explain(self, &job))
    }
}

fn unknown_profile(name: &str) -> Error {
    let message = format!("the session has no profile {name:?}: add it with SessionBuilder::profile");
    Error::not_sent(ErrorKind::Configuration(message))
}

/// A prepared statement cannot be moved to another keyspace.
fn check_keyspace(work: &Work<'_>, overrides: Option<&Overrides>) -> Result<()> {
    let named = overrides.and_then(|overrides| overrides.keyspace.as_deref());
    let (Work::Execute { statement, .. }, Some(named)) = (work, named) else { return Ok(()) };
    let prepared_in = statement.preparation().keyspace.as_deref();
    if prepared_in == Some(named) {
        return Ok(());
    }
    let was = prepared_in.map_or("without a keyspace".to_owned(), |prepared_in| format!("in keyspace {prepared_in:?}"));
    let message = format!(
        "the statement was prepared {was}, not in {named:?}: prepare it with PrepareOptions::keyspace, or give its text"
    );
    Err(Error::not_sent(ErrorKind::Configuration(message)))
}

fn pinned(view: &ClusterView, host_id: Uuid) -> Result<NodeIndex> {
    let index = view.snapshot.index_of(host_id).filter(|index| view.pool(*index).is_some());
    index.ok_or_else(|| {
        let message = format!(
            "node {host_id} cannot be asked: the cluster has no such node, or the load-balancing policy ignores it"
        );
        Error::not_sent(ErrorKind::Configuration(message))
    })
}
