//! Writes: to all live replicas, hints for the dead ones, and the counting of acknowledgements.
//!
//! # Invariants
//!
//! - Whether enough replicas are alive is decided for all mutations before anything is sent.
//! - The numbers of a timeout or failure are counts of what came back, nothing else.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.3.

use super::consistency::{Placement, WriteTargets, count, name};
use super::io::Io;
use super::{Operation, Outcome, Step};
use crate::cql::{Answer, WriteKind, WritePlan};
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError, WriteType};
use crate::replica::{Question, QuestionId, Reply, reason};
use crate::storage::Mutation;
use std::collections::BTreeMap;
use std::time::Duration;

/// The acknowledgements of one mutation.
#[derive(Debug)]
pub(super) struct Acks {
    consistency: Consistency,
    write_type: WriteType,
    targets: WriteTargets,
    waiting: BTreeMap<QuestionId, NodeId>,
    acknowledged: Vec<NodeId>,
    /// A hint counts as an acknowledgement at ANY.
    hinted: usize,
    failures: BTreeMap<NodeId, u16>,
    /// Timeouts raised inside a lightweight transaction tell how often it met another one.
    pub(super) contentions: Option<u16>,
}

/// How far the acknowledgements are.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Pending,
    Met,
    Failed(ServerError),
}

impl Acks {
    pub(super) fn new(consistency: Consistency, write_type: WriteType, targets: WriteTargets) -> Self {
        Self {
            consistency,
            write_type,
            targets,
            waiting: BTreeMap::new(),
            acknowledged: Vec::new(),
            hinted: 0,
            failures: BTreeMap::new(),
            contentions: None,
        }
    }

    /// Plans the write of one mutation.
    ///
    /// # Errors
    ///
    /// Unavailable, or the keyspace is gone.
    pub(super) fn plan(
        io: &Io<'_>,
        mutation: &Mutation,
        consistency: Consistency,
        write_type: WriteType,
    ) -> Result<Self, ServerError> {
        let placement = Placement::of(io.context, &mutation.keyspace, mutation.token())?;
        Ok(Self::new(consistency, write_type, WriteTargets::of(io.context, &placement, consistency)?))
    }

    /// Sends the mutation to every live replica but `except`, and keeps hints for the dead ones.
    pub(super) fn send(
        &mut self,
        io: &mut Io<'_>,
        mutation: &Mutation,
        question: &Question,
        except: Option<NodeId>,
        timeout: Duration,
    ) {
        for to in self.targets.dead.clone() {
            self.hinted += usize::from(io.hint(to, mutation));
        }
        for to in self.targets.live.clone() {
            if Some(to) != except {
                let id = io.ask_to_write(to, question.clone(), mutation, timeout);
                self.waiting.insert(id, to);
            }
        }
    }

    /// Awaits the reply to a question that was asked elsewhere.
    pub(super) fn wait_for(&mut self, node: NodeId, id: QuestionId) {
        self.waiting.insert(id, node);
    }

    /// Counts a replica that is known to have the write.
    pub(super) fn acknowledge(&mut self, node: NodeId) {
        self.acknowledged.push(node);
    }

    /// Whether the reply was awaited here.
    pub(super) fn handle_reply(&mut self, id: QuestionId, reply: &Reply) -> bool {
        let Some(node) = self.waiting.remove(&id) else { return false };
        match reply {
            Reply::Done => self.acknowledged.push(node),
            Reply::Failed(reason) => {
                self.failures.insert(node, *reason);
            }
            _ => {
                self.failures.insert(node, reason::UNKNOWN);
            }
        }
        true
    }

    pub(super) fn verdict(&self, io: &Io<'_>) -> Verdict {
        if self.is_met(io) {
            return Verdict::Met;
        }
        let counts = |node: &NodeId| self.is_counted(io, *node);
        let failures = self.failures.keys().filter(|node| counts(node)).count();
        let candidates = self.targets.live.iter().chain(&self.targets.dead).filter(|node| counts(node)).count();
        if self.targets.block_for + failures <= candidates {
            return Verdict::Pending;
        }
        if self.failures.values().all(|code| *code == reason::TIMEOUT) {
            return Verdict::Failed(self.timeout(io));
        }
        Verdict::Failed(ServerError::WriteFailure {
            consistency: self.consistency,
            received: count(self.received(io)),
            block_for: count(self.targets.block_for),
            reasons: self.failures.iter().map(|(node, code)| (io.context.ring.address(*node), *code)).collect(),
            write_type: self.write_type,
        })
    }

    pub(super) fn timeout(&self, io: &Io<'_>) -> ServerError {
        // With EACH_QUORUM enough may have answered, in the wrong data centres. The client must not be told so.
        let received = self.received(io).min(self.targets.block_for.saturating_sub(1));
        ServerError::WriteTimeout {
            consistency: self.consistency,
            received: count(received),
            block_for: count(self.targets.block_for),
            write_type: self.write_type,
            contentions: self.contentions,
        }
    }

    fn is_met(&self, io: &Io<'_>) -> bool {
        if self.targets.by_datacenter.is_empty() {
            return self.received(io) >= self.targets.block_for;
        }
        self.targets.by_datacenter.iter().all(|(datacenter, required)| {
            let here = self.acknowledged.iter().filter(|node| io.context.ring.datacenter(**node) == datacenter);
            here.count() >= *required
        })
    }

    fn received(&self, io: &Io<'_>) -> usize {
        let acknowledged = self.acknowledged.iter().filter(|node| self.is_counted(io, **node)).count();
        acknowledged + if self.consistency == Consistency::Any { self.hinted } else { 0 }
    }

    fn is_counted(&self, io: &Io<'_>, node: NodeId) -> bool {
        self.targets.only_datacenter.as_deref().is_none_or(|only| io.context.ring.datacenter(node) == only)
    }
}

/// Several mutations that are awaited together; the first one in order that fails decides the error.
#[derive(Debug)]
pub(super) struct WriteGroup {
    acks: Vec<Acks>,
    deadline: SimInstant,
}

impl WriteGroup {
    /// Plans all, then sends all.
    ///
    /// # Errors
    ///
    /// Unavailable or a keyspace that is gone: nothing was sent.
    pub(super) fn start(
        io: &mut Io<'_>,
        mutations: &[Mutation],
        consistency: Consistency,
        write_type: WriteType,
    ) -> Result<Self, ServerError> {
        let planned: Result<Vec<Acks>, ServerError> =
            mutations.iter().map(|mutation| Acks::plan(io, mutation, consistency, write_type)).collect();
        let mut acks = planned?;
        let timeout = io.config.write_timeout;
        for (acks, mutation) in acks.iter_mut().zip(mutations) {
            acks.send(io, mutation, &Question::Write(mutation.clone()), None, timeout);
        }
        let deadline = io.wake_after(timeout);
        Ok(Self { acks, deadline })
    }

    /// Checks that every mutation has enough live replicas.
    ///
    /// # Errors
    ///
    /// Unavailable, or a keyspace is gone.
    pub(super) fn check(io: &Io<'_>, mutations: &[Mutation], consistency: Consistency) -> Result<(), ServerError> {
        mutations.iter().try_for_each(|m| Acks::plan(io, m, consistency, WriteType::Simple).map(drop))
    }

    pub(super) fn handle_reply(&mut self, io: &Io<'_>, id: QuestionId, reply: &Reply) -> Verdict {
        if self.acks.iter_mut().any(|acks| acks.handle_reply(id, reply)) { self.verdict(io) } else { Verdict::Pending }
    }

    pub(super) fn handle_timeout(&self, io: &Io<'_>) -> Verdict {
        match self.verdict(io) {
            Verdict::Pending if io.now() >= self.deadline => match self.acks.iter().find(|acks| !acks.is_met(io)) {
                Some(unmet) => Verdict::Failed(unmet.timeout(io)),
                None => Verdict::Met,
            },
            verdict => verdict,
        }
    }

    pub(super) fn verdict(&self, io: &Io<'_>) -> Verdict {
        self.acks.iter().map(|acks| acks.verdict(io)).find(|verdict| *verdict != Verdict::Met).unwrap_or(Verdict::Met)
    }
}

/// A plain write or an unlogged batch.
#[derive(Debug)]
pub(super) struct Write {
    plan: WritePlan,
    consistency: Consistency,
    group: Option<WriteGroup>,
}

impl Write {
    pub(super) fn new(plan: WritePlan, consistency: Consistency) -> Self {
        Self { plan, consistency, group: None }
    }

    fn conclude(&mut self, verdict: Verdict) -> Step {
        let result = match verdict {
            Verdict::Pending => return None,
            Verdict::Met => Ok(Answer::Void),
            Verdict::Failed(_) if self.consistency == Consistency::Any => {
                // What was sent and not acknowledged becomes a hint by itself; the client need not know.
                Ok(Answer::Void)
            }
            Verdict::Failed(error) => Err(error),
        };
        Some(Outcome { result, warnings: std::mem::take(&mut self.plan.warnings) })
    }
}

impl Operation for Write {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        let valid = if self.plan.is_batch { Ok(()) } else { validate_write(self.consistency) };
        let started = valid.and_then(|()| {
            let write_type = match self.plan.kind {
                WriteKind::Simple | WriteKind::LoggedBatch => WriteType::Simple,
                WriteKind::UnloggedBatch if self.plan.mutations.len() > 1 => WriteType::UnloggedBatch,
                WriteKind::UnloggedBatch => WriteType::Simple,
                WriteKind::Counter => WriteType::Counter,
            };
            WriteGroup::start(io, &self.plan.mutations, self.consistency, write_type)
        });
        match started {
            Ok(group) => {
                let verdict = group.verdict(io);
                self.group = Some(group);
                self.conclude(verdict)
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, _from: NodeId, id: QuestionId, reply: Reply) -> Step {
        let verdict = self.group.as_mut()?.handle_reply(io, id, &reply);
        self.conclude(verdict)
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        let verdict = self.group.as_ref()?.handle_timeout(io);
        self.conclude(verdict)
    }
}

/// # Errors
///
/// Invalid, for levels that only conditional updates have.
fn validate_write(consistency: Consistency) -> Result<(), ServerError> {
    match consistency {
        Consistency::Serial | Consistency::LocalSerial => {
            Err(ServerError::Invalid("You must use conditional updates for serializable writes".to_owned()))
        }
        _ => Ok(()),
    }
}

/// # Errors
///
/// Invalid, for the levels that counters cannot have.
pub(super) fn validate_counter(consistency: Consistency, table: &str) -> Result<(), ServerError> {
    match consistency {
        Consistency::Any => Err(ServerError::Invalid(format!(
            "Consistency level {} is not yet supported for counter table {table}",
            name(consistency)
        ))),
        Consistency::Serial | Consistency::LocalSerial => {
            Err(ServerError::Invalid("Counter operations are inherently non-serializable".to_owned()))
        }
        _ => Ok(()),
    }
}
