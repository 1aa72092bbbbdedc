//! One execution of a request: attempt after attempt along the plan, until an answer or the end.

use super::attempt::{Failed, Trial};
use super::error::{Certainty, ErrorKind};
use super::metrics::Metrics;
use super::request::{Circumstances, RequestMachine, Step};
use super::runner::{Answer, Executor, Job};
use super::walk::Walk;
use crate::env::mutants::is_planted;
use crate::env::{Instant, sleep_until};
use crate::policy::AttemptFailure;
use crate::protocol::Consistency;
use crate::protocol::response::{Annotations, DecodedResponse, Message, ResultBody};
use crate::topology::NodeIndex;

/// An execution that ended without an answer.
pub(super) struct Ended {
    pub kind: ErrorKind,
    pub certainty: Certainty,
    /// The request is wrong: no other execution can end better.
    pub is_final: bool,
}

/// Where an execution begins.
pub(super) enum Start {
    /// At this node, if it has a connection, else along the plan.
    Node(Option<NodeIndex>),
    /// After this failure.
    Failed(Box<Failed>),
}

/// Where the next attempt goes.
enum Next {
    Planned,
    Same(NodeIndex),
}

impl Executor {
    /// Runs execution number `execution` of the request; zero is the first one.
    pub(super) async fn execute(&self, walk: &Walk<'_>, execution: u32, start: Start) -> Result<Answer, Ended> {
        let result = Execution::new(self, walk, execution).run(start).await;
        walk.handle_end(execution);
        result
    }
}

struct Execution<'a> {
    executor: &'a Executor,
    walk: &'a Walk<'a>,
    number: u32,
    machine: RequestMachine,
    consistency: Consistency,
    /// The latest failure that says more than that a node had no connection.
    last: ErrorKind,
}

impl<'a> Execution<'a> {
    fn new(executor: &'a Executor, walk: &'a Walk<'a>, number: u32) -> Self {
        let machine = RequestMachine::new(walk.job.facts);
        let consistency = walk.job.settled.consistency;
        Self { executor, walk, number, machine, consistency, last: ErrorKind::NoNodeAvailable }
    }

    async fn run(&mut self, start: Start) -> Result<Answer, Ended> {
        let job = self.walk.job;
        let (mut next, mut failed) = match start {
            Start::Node(Some(index)) => (Next::Same(index), None),
            Start::Node(None) => (Next::Planned, None),
            Start::Failed(failed) => (Next::Planned, Some(failed)),
        };
        loop {
            if let Some(failure) = failed.take() {
                next = match self.follow_up(&failure).await? {
                    Some(next) => next,
                    None => return Ok(ignored(job, *failure)),
                };
            }
            if Instant::now() >= job.deadline {
                return Err(self.ended(ErrorKind::Timeout { limit: job.limit }));
            }
            let same = match std::mem::replace(&mut next, Next::Planned) {
                // A node that has lost its connections meanwhile is left to the next one.
                Next::Same(index) => Some(index).filter(|index| job.view.health(*index).is_up),
                Next::Planned => None,
            };
            let Some(index) = same.or_else(|| self.walk.next()) else {
                return Err(self.ended(self.last.clone()));
            };
            let Some(connection) = job.view.pool(index).and_then(|pool| pool.pick()) else {
                self.walk.record_without_connection(index, self.number, self.consistency);
                continue;
            };
            self.walk.handle_start(self.number, index, &connection, self.consistency);
            let trial = Trial::start(job, index, connection, self.consistency, Instant::now());
            match self.executor.attempt(job, trial).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failed = Some(failure),
            }
        }
    }

    /// Decides what follows a failure, and pauses before it; `None` calls the request a success.
    async fn follow_up(&mut self, failed: &Failed) -> Result<Option<Next>, Ended> {
        let (executor, job) = (self.executor, self.walk.job);
        let circumstances = Circumstances {
            consistency: failed.consistency,
            nodes_left: self.walk.nodes_left(),
            random: executor.environment.entropy.draw("retry pause"),
        };
        if failed.failure != AttemptFailure::NotSent
            && let Some(pool) = job.view.pool(failed.index)
        {
            pool.handle_error(failed.failure == AttemptFailure::AttemptTimeout);
        }
        if failed.is_serial {
            self.machine.handle_conditional();
        }
        let certainty = self.machine.certainty_of(&failed.failure);
        let step = self.machine.handle_failure(&failed.failure, job.retry, &executor.retry_budget, circumstances);
        self.walk.record_failure(failed, self.number, certainty);
        if failed.failure != AttemptFailure::NotSent || self.last == ErrorKind::NoNodeAvailable {
            self.last = failed.kind.clone();
        }
        let (next, after) = match step {
            Step::Ignore => return Ok(None),
            Step::GiveUp => return Err(self.given_up(failed)),
            Step::SameNode { after, consistency } => {
                self.consistency = consistency.unwrap_or(self.consistency);
                if is_planted("B08-retry-at-a-weaker-level") {
                    self.consistency = Consistency::One;
                }
                (Next::Same(failed.index), after)
            }
            Step::NextNode { after } => {
                if is_planted("B08-retry-at-a-weaker-level") {
                    self.consistency = Consistency::One;
                }
                (Next::Planned, after)
            }
        };
        Metrics::count(&executor.metrics.retries);
        if !after.is_zero() {
            let until = Instant::now() + after;
            if until >= job.deadline {
                // Waiting for the deadline would only tell the caller less, later.
                return Err(self.given_up(failed));
            }
            sleep_until(until).await;
        }
        Ok(Some(next))
    }

    fn given_up(&self, failed: &Failed) -> Ended {
        let job = self.walk.job;
        if failed.failure == AttemptFailure::AttemptTimeout && Instant::now() >= job.deadline {
            return self.ended(ErrorKind::Timeout { limit: job.limit });
        }
        Ended { is_final: failed.failure == AttemptFailure::InvalidRequest, ..self.ended(self.last.clone()) }
    }

    fn ended(&self, kind: ErrorKind) -> Ended {
        Ended { kind, certainty: self.machine.certainty(), is_final: false }
    }
}

/// The answer to a write that was called a success although too few replicas acknowledged it.
fn ignored(job: &Job<'_>, failed: Failed) -> Answer {
    let node = job.node(failed.index);
    let decoded = DecodedResponse {
        annotations: Some(Box::new(Annotations {
            warnings: vec![format!("the retry policy ignored this failure: {}", failed.kind)],
            ..Annotations::default()
        })),
        message: Message::Result(ResultBody::Void),
    };
    Answer {
        decoded,
        coordinator: node.host_id,
        address: node.address,
        connection: failed.connection,
        attempts: Box::default(),
    }
}
