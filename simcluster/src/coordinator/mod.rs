//! What a coordinator does with a client's request: whom to ask, how many answers to wait for, what to report.
//!
//! A synchronous state machine; one per node, holding all requests in progress. The numbers in Unavailable, timeout
//! and failure errors fall out of counting.
//!
//! Each kind of request is an [`Operation`] in a file of its own; this file finds the operation an input is for.
//! Operations act on the world only through [`io::Io`].

mod batch;
mod consistency;
mod counter;
mod errors;
mod hints;
mod io;
mod paxos;
mod range;
mod read;
mod read_then_write;
mod select;
mod truncate;
mod write;

#[cfg(test)]
mod tests;

pub use hints::Hints;

use crate::cql::{Action, Answer, WriteKind};
use crate::entropy::Entropy;
use crate::kernel::{NodeId, Now, SimInstant};
use crate::protocol::{Consistency, ServerError};
use crate::replica::{Question, QuestionId, Register, Reply};
use crate::ring::Ring;
use crate::schema::Schema;
use hints::Delivery;
use io::{Io, Owner, Shared};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// Identifies a client's request on its coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request to coordinate. Schema statements never come here: the node carries them out itself.
#[derive(Debug)]
pub struct Request {
    /// Chosen by the node, never reused.
    pub id: RequestId,
    /// What to do.
    pub action: Action,
    /// How many replicas must answer.
    pub consistency: Consistency,
    /// SERIAL or LOCAL_SERIAL, for conditional statements.
    pub serial_consistency: Consistency,
    /// 3, 4 or 5: some errors are reported differently to older clients.
    pub protocol_version: u8,
}

/// What the coordinator knows of the world while it handles an input.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The node's clocks.
    pub now: Now,
    /// The node itself.
    pub me: NodeId,
    /// Token ownership as this node believes it.
    pub ring: &'a Ring,
    /// The schema as this node believes it.
    pub schema: &'a Schema,
    /// Which nodes this node's failure detector believes alive (itself included).
    pub alive: &'a BTreeSet<NodeId>,
    /// For choices among equals.
    pub entropy: &'a Entropy,
}

/// What the coordinator wants done.
#[derive(Debug)]
pub enum Effect {
    /// Ask a replica; `to` may be the node itself (the node delivers that at once, without the network).
    Ask {
        /// The replica.
        to: NodeId,
        /// To be echoed by the reply.
        id: QuestionId,
        /// What to do.
        question: Question,
    },
    /// Call [`Coordinator::handle_timeout`] at this moment (later calls may find nothing to do).
    WakeAt(SimInstant),
    /// A request has ended.
    Done {
        /// Which one.
        id: RequestId,
        /// What to tell the client.
        outcome: Result<Answer, ServerError>,
        /// Server warnings to send along.
        warnings: Vec<String>,
    },
}

/// Timeouts and switches, with Cassandra's defaults.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Single-partition reads; 5 s.
    pub read_timeout: Duration,
    /// Range reads; 10 s.
    pub range_timeout: Duration,
    /// Writes; 2 s.
    pub write_timeout: Duration,
    /// Counter writes; 5 s.
    pub counter_timeout: Duration,
    /// Paxos contention; 1 s.
    pub cas_contention_timeout: Duration,
    /// Truncation; 60 s.
    pub truncate_timeout: Duration,
    /// Whether writes for dead replicas are kept and replayed; on.
    pub hinted_handoff: bool,
    /// How long a read waits before it asks one more replica, where the table's `speculative_retry` is a percentile;
    /// 50 ms (Cassandra measures the 99th percentile; a healthy link of the simulation is well below this).
    pub speculative_retry: Duration,
    /// How often hints are tried again and kept batches looked after; 10 s.
    pub duty_interval: Duration,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(5),
            range_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(2),
            counter_timeout: Duration::from_secs(5),
            cas_contention_timeout: Duration::from_secs(1),
            truncate_timeout: Duration::from_secs(60),
            hinted_handoff: true,
            speculative_retry: Duration::from_millis(50),
            duty_interval: Duration::from_secs(10),
        }
    }
}

/// All requests in progress on one node, its hints and its batch log duties.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    running: BTreeMap<Owner, Running>,
    delivery: Delivery,
    duties_at: Option<SimInstant>,
    shared: Shared,
}

impl Coordinator {
    /// A coordinator without requests.
    #[must_use]
    pub fn new(config: CoordinatorConfig) -> Self {
        Self::with_hints(config, Hints::default())
    }

    /// A coordinator that takes up the hints of its life before a crash.
    ///
    /// Call [`Self::handle_timeout`] once after the start: it begins the periodic duties.
    #[must_use]
    pub fn with_hints(config: CoordinatorConfig, hints: Hints) -> Self {
        Self {
            config,
            running: BTreeMap::new(),
            delivery: Delivery::default(),
            duties_at: None,
            shared: Shared::with_hints(hints),
        }
    }

    /// Ends the process: what is left is on disk. Writes that were on their way are not among it.
    #[must_use]
    pub fn crash(self) -> Hints {
        self.shared.hints
    }

    /// The write time of a statement that brings none: the clock's, in microseconds since 1970, but strictly
    /// increasing on this node.
    pub fn next_timestamp(&mut self, now: Now) -> i64 {
        self.shared.next_timestamp(now, i64::MIN)
    }

    /// The hints that wait for their nodes, for oracles.
    #[must_use]
    pub fn hints(&self) -> &Hints {
        &self.shared.hints
    }

    /// Whether nothing is in progress: no request, no background write that may still become a hint.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.shared.unacknowledged() == 0
    }

    /// Begins a request.
    pub fn handle_request(&mut self, context: &Context<'_>, request: Request, effects: &mut Vec<Effect>) {
        let Request { id, action, consistency, serial_consistency, protocol_version } = request;
        let operation: Box<dyn Operation> = match action {
            Action::Answer(answer) => {
                effects.push(Effect::Done { id, outcome: Ok(answer), warnings: Vec::new() });
                return;
            }
            Action::Schema(_) | Action::DescribeCluster(_) => {
                let error = ServerError::Server("what the node does itself is not coordinated".to_owned());
                effects.push(Effect::Done { id, outcome: Err(error), warnings: Vec::new() });
                return;
            }
            // A scan at SERIAL is an ordinary one at QUORUM, measured on 5.0.8.
            Action::Read(execution)
                if matches!(consistency, Consistency::Serial | Consistency::LocalSerial) && !execution.is_scan() =>
            {
                Box::new(paxos::SerialRead::new(execution, consistency))
            }
            Action::Read(execution) => Box::new(select::Select::new(execution, consistency)),
            Action::Write(plan) => write_operation(plan, consistency),
            Action::ReadThenWrite(plan) => Box::new(read_then_write::ReadThenWriteOperation::new(plan, consistency)),
            Action::Conditional(plan) => {
                let register = Register { table: plan.table, key: plan.key.clone() };
                let read = plan.read.clone();
                Box::new(paxos::Cas::new(read, register, Box::new(plan), consistency, serial_consistency))
            }
            Action::Truncate { keyspace: _, table } => Box::new(truncate::Truncation::new(table)),
        };
        let running = Running { operation, protocol_version };
        self.run(context, Owner::Request(id), running, effects, |operation, io| operation.start(io));
    }

    /// Takes a replica's reply; one that nobody waits for any more is ignored.
    pub fn handle_reply(
        &mut self,
        context: &Context<'_>,
        from: NodeId,
        id: QuestionId,
        reply: Reply,
        effects: &mut Vec<Effect>,
    ) {
        self.shared.settle_write(context, id, &reply);
        match self.shared.take_owner(id) {
            None => {}
            Some(Owner::Hints) => self.with_delivery(context, effects, |delivery, io| {
                delivery.handle_reply(io, id, &reply);
            }),
            Some(Owner::Batchlog) => {
                if let Reply::Batches(batches) = reply {
                    for batch in batches {
                        self.replay(context, batch, effects);
                    }
                }
            }
            Some(owner) => {
                if let Some(running) = self.running.remove(&owner) {
                    self.run(context, owner, running, effects, |operation, io| {
                        operation.handle_reply(io, from, id, reply)
                    });
                }
            }
        }
    }

    /// Ends what has waited too long, and begins what is due (hint replay, batch log replay).
    pub fn handle_timeout(&mut self, context: &Context<'_>, effects: &mut Vec<Effect>) {
        self.shared.expire_writes(context);
        while let Some(owner) = self.shared.pop_due(context.now.at) {
            if let Some(running) = self.running.remove(&owner) {
                self.run(context, owner, running, effects, |operation, io| operation.handle_timeout(io));
            }
        }
        if self.duties_at.is_none_or(|at| at <= context.now.at) {
            let next = context.now.at + self.config.duty_interval;
            self.duties_at = Some(next);
            effects.push(Effect::WakeAt(next));
            self.with_delivery(context, effects, Delivery::restart);
            let older_than = self.config.write_timeout * 2;
            self.io(context, Owner::Batchlog, effects).ask(context.me, Question::BatchlogDue { older_than });
        }
    }

    /// The failure detector saw a node come back: its hints are due.
    pub fn handle_node_up(&mut self, context: &Context<'_>, node: NodeId, effects: &mut Vec<Effect>) {
        self.with_delivery(context, effects, |delivery, io| delivery.restart_for(io, node));
    }

    fn replay(&mut self, context: &Context<'_>, batch: crate::replica::StoredBatch, effects: &mut Vec<Effect>) {
        let owner = Owner::Replay(batch.id);
        if !self.running.contains_key(&owner) {
            let operation = Box::new(batch::Replay::new(batch));
            self.run(context, owner, Running { operation, protocol_version: 5 }, effects, |o, io| o.start(io));
        }
    }

    /// Lets an operation take one step and keeps it unless that was its last.
    fn run(
        &mut self,
        context: &Context<'_>,
        owner: Owner,
        mut running: Running,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut dyn Operation, &mut Io<'_>) -> Step,
    ) {
        let mut io = self.io(context, owner, effects);
        let Some(outcome) = step(running.operation.as_mut(), &mut io) else {
            self.running.insert(owner, running);
            return;
        };
        self.shared.forget(owner);
        if let Owner::Request(id) = owner {
            let Outcome { result, warnings } = outcome;
            let outcome = result.map_err(|error| errors::for_version(error, running.protocol_version));
            effects.push(Effect::Done { id, outcome, warnings });
        }
    }

    fn with_delivery(
        &mut self,
        context: &Context<'_>,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Delivery, &mut Io<'_>),
    ) {
        let mut delivery = std::mem::take(&mut self.delivery);
        step(&mut delivery, &mut self.io(context, Owner::Hints, effects));
        self.delivery = delivery;
    }

    fn io<'a>(&'a mut self, context: &'a Context<'a>, owner: Owner, effects: &'a mut Vec<Effect>) -> Io<'a> {
        Io { context, config: &self.config, shared: &mut self.shared, owner, effects }
    }
}

/// Which path a write takes.
fn write_operation(plan: crate::cql::WritePlan, consistency: Consistency) -> Box<dyn Operation> {
    match plan.kind {
        // A batch that merged into one mutation is atomic without a log.
        WriteKind::LoggedBatch if plan.mutations.len() > 1 => Box::new(batch::LoggedBatch::new(plan, consistency)),
        WriteKind::Counter => Box::new(counter::CounterWrite::new(plan, consistency)),
        _ => Box::new(write::Write::new(plan, consistency)),
    }
}

#[derive(Debug)]
struct Running {
    operation: Box<dyn Operation>,
    protocol_version: u8,
}

/// One request, or one duty of the node, as a state machine.
trait Operation: fmt::Debug + Send {
    /// Begins; may end at once.
    fn start(&mut self, io: &mut Io<'_>) -> Step;
    /// Takes the reply to a question it has asked.
    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step;
    /// Looks at its deadlines. It may be called when none has passed.
    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step;
}

/// The outcome, once there is one.
type Step = Option<Outcome>;

/// What a request ends with.
#[derive(Debug)]
struct Outcome {
    result: Result<Answer, ServerError>,
    warnings: Vec<String>,
}

impl Outcome {
    fn failed(error: ServerError) -> Self {
        Self { result: Err(error), warnings: Vec::new() }
    }
}

/// A UUID of random bits.
fn random_uuid(io: &mut Io<'_>, purpose: &str) -> Uuid {
    let (high, low) = (io.draw(purpose), io.draw(purpose));
    uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).into_uuid()
}
