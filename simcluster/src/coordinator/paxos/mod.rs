//! Lightweight transactions and SERIAL reads.
//!
//! [`Cas`] and [`SerialRead`] say what is read and proposed; [`rounds::Rounds`] gets it decided.
//!
//! # Invariants
//!
//! - Nothing of an earlier round is lost: a value that some replica has accepted is completed before anything new is
//!   proposed, and the last commit is known to a quorum before that.
//! - Conditions that do not hold, and SERIAL reads, propose an empty update, so that they too are decided in order.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.5 (paxos v1). Measured on 5.0.8: whether the commit's consistency level has
//! enough live replicas is looked at after the decision, so a transaction that is answered Unavailable may have been
//! decided, and the next SERIAL operation completes it.

mod rounds;

use super::consistency::{Placement, WriteTargets, block_for, name};
use super::io::Io;
use super::read::{Fetch, Fetched};
use super::select::make_page;
use super::write::{Acks, Verdict};
use super::{Operation, Outcome, Step};
use crate::cql::{Answer, ConditionalPlan, Decision, ReadExecution};
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ResultRows, ServerError, WriteType};
use crate::replica::{Proposal, Question, QuestionId, Register, Reply};
use crate::ring::{Replication, Token};
use crate::schema::Schema;
use crate::storage::{ReadAnswer, ReadCommand, ReadTarget};
use rounds::{Event, Rounds};
use std::fmt;

/// What makes a conditional update conditional.
pub(super) trait Conditions: fmt::Debug + Send {
    /// Whether they hold on what was read, and what then is to be written and answered.
    ///
    /// # Errors
    ///
    /// For conditions that the data make invalid.
    fn decide(&self, schema: &Schema, read: &ReadAnswer) -> Result<Decision, ServerError>;
}

impl Conditions for ConditionalPlan {
    fn decide(&self, schema: &Schema, read: &ReadAnswer) -> Result<Decision, ServerError> {
        ConditionalPlan::decide(self, schema, read)
    }
}

/// A conditional update.
#[derive(Debug)]
pub(super) struct Cas {
    /// What the conditions are about; its partition is the register.
    read: ReadCommand,
    register: Register,
    conditions: Box<dyn Conditions>,
    /// Of the commit.
    consistency: Consistency,
    serial_consistency: Consistency,
    rounds: Option<Rounds>,
    stage: CasStage,
}

#[derive(Debug)]
enum CasStage {
    /// Before the proposal: the rounds are at work.
    Preparing,
    /// Reading what the conditions are about.
    Reading(Fetch),
    /// The rounds try to get the proposal accepted.
    Proposing {
        rows: ResultRows,
    },
    /// Decided; waiting until it is visible at the client's level.
    Committing {
        rows: ResultRows,
        acks: Acks,
        deadline: SimInstant,
    },
    Over,
}

impl Cas {
    /// `consistency` is the commit's.
    pub(super) fn new(
        read: ReadCommand,
        register: Register,
        conditions: Box<dyn Conditions>,
        consistency: Consistency,
        serial_consistency: Consistency,
    ) -> Self {
        Self { read, register, conditions, consistency, serial_consistency, rounds: None, stage: CasStage::Preparing }
    }

    fn begin(&mut self, io: &mut Io<'_>) -> Result<Option<Event>, ServerError> {
        validate_serial(self.serial_consistency)?;
        let placement = Placement::of(io.context, &self.read.keyspace, Token::of_key(&self.register.key))?;
        validate_commit(self.consistency, &placement.replication)?;
        io.table(&self.read.keyspace, self.register.table)?;
        let mut rounds = Rounds::new(io, self.register.clone(), &self.read.keyspace, self.serial_consistency);
        let event = rounds.begin(io);
        self.rounds = Some(rounds);
        event
    }

    fn take(&mut self, io: &mut Io<'_>, event: Result<Option<Event>, ServerError>) -> Step {
        match event {
            Err(error) => Some(Outcome::failed(error)),
            Ok(None) => None,
            Ok(Some(Event::Ready)) => {
                let consistency = read_level(self.serial_consistency);
                match Fetch::start(io, self.read.clone(), consistency) {
                    Ok(fetch) => self.stage = CasStage::Reading(fetch),
                    Err(error) => return Some(Outcome::failed(error)),
                }
                None
            }
            Ok(Some(Event::Contended)) => {
                // Somebody else was faster: what was read may be out of date.
                self.stage = CasStage::Preparing;
                None
            }
            Ok(Some(Event::Accepted(proposal))) => self.commit(io, &proposal),
        }
    }

    fn take_read(&mut self, io: &mut Io<'_>, fetched: Fetched) -> Step {
        let decision = match fetched? {
            Ok(answer) => self.conditions.decide(io.context.schema, &answer),
            Err(error) => Err(error),
        };
        match decision {
            Ok(decision) => {
                self.stage = CasStage::Proposing { rows: decision.rows };
                let event = self.rounds.as_mut()?.propose(io, decision.mutation);
                self.take(io, event)
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    fn commit(&mut self, io: &mut Io<'_>, proposal: &Proposal) -> Step {
        let CasStage::Proposing { rows } = std::mem::replace(&mut self.stage, CasStage::Over) else { return None };
        let Some(update) = &proposal.update else { return Some(applied(rows)) };
        let placement = match Placement::of(io.context, &update.keyspace, update.token()) {
            Ok(placement) => placement,
            Err(error) => return Some(Outcome::failed(error)),
        };
        let targets = match WriteTargets::of(io.context, &placement, self.consistency) {
            Ok(targets) => targets,
            Err(error) => return Some(Outcome::failed(error)),
        };
        let mut acks = Acks::new(self.consistency, WriteType::Simple, targets);
        acks.contentions = self.rounds.as_ref().map(Rounds::contentions);
        let timeout = io.config.write_timeout;
        acks.send(io, update, &Question::Commit(proposal.clone()), None, timeout);
        let deadline = io.wake_after(timeout);
        self.stage = CasStage::Committing { rows, acks, deadline };
        self.conclude(io)
    }

    fn conclude(&mut self, io: &Io<'_>) -> Step {
        let CasStage::Committing { rows, acks, deadline } = &self.stage else { return None };
        match acks.verdict(io) {
            // A commit at ANY is not awaited.
            _ if self.consistency == Consistency::Any => Some(applied(rows.clone())),
            Verdict::Met => Some(applied(rows.clone())),
            Verdict::Failed(error) => Some(Outcome::failed(error)),
            Verdict::Pending if io.now() >= *deadline => Some(Outcome::failed(acks.timeout(io))),
            Verdict::Pending => None,
        }
    }
}

impl Operation for Cas {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        let event = self.begin(io);
        self.take(io, event)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        match &mut self.stage {
            CasStage::Reading(fetch) => {
                let fetched = fetch.handle_reply(io, from, id, reply);
                self.take_read(io, fetched)
            }
            CasStage::Committing { acks, .. } => {
                acks.handle_reply(id, &reply);
                self.conclude(io)
            }
            CasStage::Preparing | CasStage::Proposing { .. } => {
                let event = self.rounds.as_mut()?.handle_reply(io, from, id, reply);
                self.take(io, event)
            }
            CasStage::Over => None,
        }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        match &mut self.stage {
            CasStage::Reading(fetch) => {
                let fetched = fetch.handle_timeout(io);
                self.take_read(io, fetched)
            }
            CasStage::Committing { .. } => self.conclude(io),
            CasStage::Preparing | CasStage::Proposing { .. } => {
                let event = self.rounds.as_mut()?.handle_timeout(io);
                self.take(io, event)
            }
            CasStage::Over => None,
        }
    }
}

/// A SELECT at SERIAL or LOCAL_SERIAL: an empty round, then a read at quorum.
#[derive(Debug)]
pub(super) struct SerialRead {
    /// Taken when the page is made.
    execution: Option<ReadExecution>,
    consistency: Consistency,
    command: Option<ReadCommand>,
    rounds: Option<Rounds>,
    fetch: Option<Fetch>,
    /// Of the current command, for timeouts.
    block_for: usize,
}

impl SerialRead {
    pub(super) fn new(execution: ReadExecution, consistency: Consistency) -> Self {
        Self { execution: Some(execution), consistency, command: None, rounds: None, fetch: None, block_for: 1 }
    }

    fn next(&mut self, io: &mut Io<'_>) -> Step {
        if self.execution.as_ref()?.commands_left() > 1 {
            return Some(Outcome::failed(ServerError::Invalid(
                "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time".to_owned(),
            )));
        }
        let Some(command) = self.execution.as_mut()?.next_command() else {
            return self.execution.take().map(make_page);
        };
        let ReadTarget::Partition(key) = &command.target else { return None };
        let placement = match Placement::of(io.context, &command.keyspace, Token::of_key(key)) {
            Ok(placement) => placement,
            Err(error) => return Some(Outcome::failed(error)),
        };
        let local = io.context.ring.datacenter(io.context.me);
        self.block_for = block_for(self.consistency, &placement.replication, io.context.ring, local);
        let register = Register { table: command.table, key: key.clone() };
        let mut rounds = Rounds::new(io, register, &command.keyspace, self.consistency);
        let event = rounds.begin(io);
        self.command = Some(command);
        self.rounds = Some(rounds);
        self.fetch = None;
        self.take(io, event)
    }

    fn take(&mut self, io: &mut Io<'_>, event: Result<Option<Event>, ServerError>) -> Step {
        match event {
            Err(error) => Some(Outcome::failed(self.as_read_error(error))),
            Ok(Some(Event::Ready)) => {
                let event = self.rounds.as_mut()?.propose(io, None);
                self.take(io, event)
            }
            Ok(None | Some(Event::Contended)) => None,
            Ok(Some(Event::Accepted(_))) => {
                let command = self.command.take()?;
                match Fetch::start(io, command, read_level(self.consistency)) {
                    Ok(fetch) => {
                        self.fetch = Some(fetch);
                        None
                    }
                    Err(error) => Some(Outcome::failed(error)),
                }
            }
        }
    }

    fn take_read(&mut self, io: &mut Io<'_>, fetched: Fetched) -> Step {
        match fetched? {
            Ok(answer) => {
                self.execution.as_mut()?.push_answer(io.context.schema, answer);
                self.next(io)
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    /// A client that reads is told of reads.
    fn as_read_error(&self, error: ServerError) -> ServerError {
        match error {
            ServerError::WriteTimeout { .. } | ServerError::CasWriteUnknown { .. } => ServerError::ReadTimeout {
                consistency: self.consistency,
                received: 0,
                block_for: super::consistency::count(self.block_for),
                data_present: false,
            },
            error => error,
        }
    }
}

impl Operation for SerialRead {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        self.next(io)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        if let Some(fetch) = &mut self.fetch {
            let fetched = fetch.handle_reply(io, from, id, reply);
            return self.take_read(io, fetched);
        }
        let event = self.rounds.as_mut()?.handle_reply(io, from, id, reply);
        self.take(io, event)
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        if let Some(fetch) = &mut self.fetch {
            let fetched = fetch.handle_timeout(io);
            return self.take_read(io, fetched);
        }
        let event = self.rounds.as_mut()?.handle_timeout(io);
        self.take(io, event)
    }
}

fn applied(rows: ResultRows) -> Outcome {
    Outcome { result: Ok(Answer::Rows(rows)), warnings: Vec::new() }
}

/// The level of the reads inside a transaction.
fn read_level(serial: Consistency) -> Consistency {
    if serial == Consistency::LocalSerial { Consistency::LocalQuorum } else { Consistency::Quorum }
}

fn validate_serial(serial: Consistency) -> Result<(), ServerError> {
    match serial {
        Consistency::Serial | Consistency::LocalSerial => Ok(()),
        _ => Err(ServerError::Invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL".to_owned(),
        )),
    }
}

fn validate_commit(consistency: Consistency, replication: &Replication) -> Result<(), ServerError> {
    match consistency {
        Consistency::EachQuorum if !matches!(replication, Replication::NetworkTopology { .. }) => {
            Err(ServerError::Invalid(format!(
                "consistency level {} not compatible with replication strategy ({})",
                name(consistency),
                match replication {
                    Replication::Local => "org.apache.cassandra.locator.LocalStrategy",
                    Replication::Everywhere => "org.apache.cassandra.locator.EverywhereStrategy",
                    _ => "org.apache.cassandra.locator.SimpleStrategy",
                }
            )))
        }
        Consistency::Serial | Consistency::LocalSerial => Err(ServerError::Invalid(format!(
            "{} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is \
             accepted but I don't care how many replicas commit it for non-SERIAL reads\"",
            name(consistency)
        ))),
        _ => Ok(()),
    }
}
