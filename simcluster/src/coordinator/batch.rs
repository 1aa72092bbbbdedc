//! Logged batches: first into the batch log of two other nodes, then the mutations, then out of the log again.
//!
//! A batch whose coordinator did not get to the last step is replayed by the nodes that keep it.
//!
//! # Invariants
//!
//! - Nothing is applied before the log is written; nothing is removed from the log before every mutation has reached
//!   the consistency level.
//! - A replay writes the original timestamps, so it may happen twice and late.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.3.

use super::consistency::{Placement, WriteTargets, unavailable};
use super::io::Io;
use super::write::{Acks, Verdict, WriteGroup};
use super::{Operation, Outcome, Step, random_uuid};
use crate::cql::{Answer, WritePlan};
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError, WriteType};
use crate::replica::{Question, QuestionId, Reply, StoredBatch};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A logged batch of several mutations.
#[derive(Debug)]
pub(super) struct LoggedBatch {
    plan: WritePlan,
    consistency: Consistency,
    log: Option<Log>,
    group: Option<WriteGroup>,
}

/// Where the batch is kept.
#[derive(Debug)]
struct Log {
    id: Uuid,
    holders: Vec<NodeId>,
    acks: Acks,
    deadline: SimInstant,
}

impl LoggedBatch {
    pub(super) fn new(plan: WritePlan, consistency: Consistency) -> Self {
        Self { plan, consistency, log: None, group: None }
    }

    fn write_log(&mut self, io: &mut Io<'_>) -> Result<(), ServerError> {
        let holders = log_holders(io, self.consistency)?;
        WriteGroup::check(io, &self.plan.mutations, self.consistency)?;
        let id = random_uuid(io, "batch id");
        let consistency = if holders.len() == 1 { Consistency::One } else { Consistency::Two };
        let targets = WriteTargets {
            live: holders.clone(),
            dead: Vec::new(),
            block_for: holders.len(),
            by_datacenter: BTreeMap::new(),
            only_datacenter: None,
        };
        let mut acks = Acks::new(consistency, WriteType::BatchLog, targets);
        let written_at = io.context.now.unix_micros;
        for node in &holders {
            let mutations = self.plan.mutations.clone();
            acks.wait_for(*node, io.ask(*node, Question::BatchlogStore { id, written_at, mutations }));
        }
        let deadline = io.wake_after(io.config.write_timeout);
        self.log = Some(Log { id, holders, acks, deadline });
        Ok(())
    }

    fn after_log(&mut self, io: &mut Io<'_>, verdict: Verdict) -> Step {
        match verdict {
            Verdict::Pending => None,
            Verdict::Failed(error) => Some(Outcome::failed(error)),
            Verdict::Met => match WriteGroup::start(io, &self.plan.mutations, self.consistency, WriteType::Batch) {
                Ok(group) => {
                    let verdict = group.verdict(io);
                    self.group = Some(group);
                    self.after_mutations(io, verdict)
                }
                Err(error) => Some(Outcome::failed(error)),
            },
        }
    }

    fn after_mutations(&mut self, io: &mut Io<'_>, verdict: Verdict) -> Step {
        let result = match verdict {
            Verdict::Pending => return None,
            Verdict::Met => {
                if let Some(log) = &self.log {
                    for node in &log.holders {
                        io.ask(*node, Question::BatchlogRemove(log.id));
                    }
                }
                Ok(Answer::Void)
            }
            Verdict::Failed(_) if self.consistency == Consistency::Any => Ok(Answer::Void),
            // The log keeps the batch: it will be replayed.
            Verdict::Failed(error) => Err(error),
        };
        Some(Outcome { result, warnings: std::mem::take(&mut self.plan.warnings) })
    }
}

impl Operation for LoggedBatch {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        self.write_log(io).err().map(Outcome::failed)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, _from: NodeId, id: QuestionId, reply: Reply) -> Step {
        if let Some(group) = &mut self.group {
            let verdict = group.handle_reply(io, id, &reply);
            return self.after_mutations(io, verdict);
        }
        let log = self.log.as_mut()?;
        log.acks.handle_reply(id, &reply);
        let verdict = log.acks.verdict(io);
        self.after_log(io, verdict)
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        if let Some(group) = &self.group {
            let verdict = group.handle_timeout(io);
            return self.after_mutations(io, verdict);
        }
        let log = self.log.as_ref()?;
        (io.now() >= log.deadline).then(|| Outcome::failed(log.acks.timeout(io)))
    }
}

/// Chooses the nodes that keep the batch: two live ones of the coordinator's data centre but itself, in other racks
/// and in different ones if there are such. The coordinator keeps it only where it is alone.
fn log_holders(io: &mut Io<'_>, consistency: Consistency) -> Result<Vec<NodeId>, ServerError> {
    let (ring, me) = (io.context.ring, io.context.me);
    let local = ring.datacenter(me);
    let members: Vec<NodeId> = ring.members().into_iter().filter(|node| ring.datacenter(*node) == local).collect();
    if members.len() <= 1 {
        return Ok(vec![me]);
    }
    let others: Vec<NodeId> = members.into_iter().filter(|node| *node != me && io.is_alive(*node)).collect();
    if others.is_empty() {
        // At ANY the coordinator itself stands in, and is one where two are wanted (measured on 5.0.8).
        let alive = usize::from(consistency == Consistency::Any);
        return Err(unavailable(Consistency::Two, 2, alive, None));
    }
    if others.len() <= 2 {
        return Ok(others);
    }
    let mut by_rack: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    for node in &others {
        by_rack.entry(ring.rack(*node)).or_default().push(*node);
    }
    let own_rack = by_rack.get(ring.rack(me)).map_or(0, Vec::len);
    if others.len() - own_rack >= 2 {
        by_rack.remove(ring.rack(me));
    }
    let mut racks: Vec<Vec<NodeId>> = by_rack.into_values().collect();
    let mut holders = Vec::new();
    while holders.len() < 2 && !racks.is_empty() {
        // A rack is drawn twice only if it is the only one.
        let rack = io.draw_below("batch log rack", racks.len());
        let node = io.draw_below("batch log node", racks[rack].len());
        holders.push(racks[rack].remove(node));
        if racks.len() > 1 || racks[rack].is_empty() {
            racks.remove(rack);
        }
    }
    Ok(holders)
}

/// The replay of a batch that this node keeps.
#[derive(Debug)]
pub(super) struct Replay {
    batch: StoredBatch,
    waiting: BTreeSet<QuestionId>,
    deadline: SimInstant,
}

impl Replay {
    pub(super) fn new(batch: StoredBatch) -> Self {
        Self { batch, waiting: BTreeSet::new(), deadline: SimInstant::START }
    }

    /// Every replica has it, or a hint for it is kept.
    fn finish(&self, io: &mut Io<'_>) -> Step {
        let me = io.context.me;
        io.ask(me, Question::BatchlogRemove(self.batch.id));
        Some(Outcome { result: Ok(Answer::Void), warnings: Vec::new() })
    }
}

impl Operation for Replay {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        let timeout = io.config.write_timeout;
        for mutation in &self.batch.mutations {
            // A keyspace that is gone needs no replay.
            let Ok(placement) = Placement::of(io.context, &mutation.keyspace, mutation.token()) else { continue };
            for node in placement.natural.into_iter().chain(placement.pending) {
                if io.is_alive(node) {
                    let question = Question::Hint { mutation: mutation.clone(), written_at: self.batch.written_at };
                    self.waiting.insert(io.ask_to_write(node, question, mutation, timeout));
                } else {
                    io.hint(node, mutation);
                }
            }
        }
        if self.waiting.is_empty() {
            return self.finish(io);
        }
        self.deadline = io.wake_after(timeout);
        None
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, _from: NodeId, id: QuestionId, _reply: Reply) -> Step {
        self.waiting.remove(&id);
        if self.waiting.is_empty() { self.finish(io) } else { None }
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        if io.now() >= self.deadline { self.finish(io) } else { None }
    }
}
