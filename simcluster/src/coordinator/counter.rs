//! Counter updates: a leader applies the increments to its own shard, then the resulting shards go to the others.
//!
//! # Invariants
//!
//! An increment is sent once, to the leader, and never hinted: repeating it would count twice. The shards that come
//! out of it are ordinary writes, hinted and repeatable.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.3.

use super::consistency::{Placement, block_for, is_local, unavailable};
use super::io::Io;
use super::write::{Acks, Verdict, validate_counter};
use super::{Operation, Outcome, Step};
use crate::cql::{Answer, WritePlan};
use crate::kernel::{NodeId, SimInstant};
use crate::protocol::{Consistency, ServerError, WriteType};
use crate::replica::{Question, QuestionId, Reply};
use crate::storage::Mutation;

#[derive(Debug)]
pub(super) struct CounterWrite {
    plan: WritePlan,
    consistency: Consistency,
    counters: Vec<Counter>,
    deadline: SimInstant,
}

/// The update of one partition.
#[derive(Debug)]
struct Counter {
    leader: NodeId,
    stage: Stage,
    acks: Acks,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for the leader.
    Forwarded(QuestionId),
    /// The leader could not do it, and why.
    Refused(u16),
    /// Waiting for the other replicas.
    Replicating,
}

impl CounterWrite {
    pub(super) fn new(plan: WritePlan, consistency: Consistency) -> Self {
        Self { plan, consistency, counters: Vec::new(), deadline: SimInstant::START }
    }

    fn begin(&mut self, io: &mut Io<'_>) -> Result<(), ServerError> {
        let mut planned = Vec::new();
        for mutation in &self.plan.mutations {
            let table = io.table(&mutation.keyspace, mutation.table)?;
            validate_counter(self.consistency, &table.name)?;
            let leader = choose_leader(io, mutation, self.consistency)?;
            planned.push((leader, Acks::plan(io, mutation, self.consistency, WriteType::Counter)?));
        }
        for ((leader, acks), mutation) in planned.into_iter().zip(&self.plan.mutations) {
            let id = io.ask(leader, Question::CounterWrite(mutation.clone()));
            self.counters.push(Counter { leader, stage: Stage::Forwarded(id), acks });
        }
        self.deadline = io.wake_after(io.config.counter_timeout);
        Ok(())
    }

    fn conclude(&mut self, io: &Io<'_>) -> Step {
        let is_late = io.now() >= self.deadline;
        for counter in &self.counters {
            match counter.verdict(io) {
                Verdict::Met => {}
                Verdict::Pending if is_late => return Some(Outcome::failed(counter.timeout(io))),
                Verdict::Pending => return None,
                Verdict::Failed(error) => return Some(Outcome::failed(error)),
            }
        }
        Some(Outcome { result: Ok(Answer::Void), warnings: std::mem::take(&mut self.plan.warnings) })
    }
}

impl Counter {
    fn verdict(&self, io: &Io<'_>) -> Verdict {
        match &self.stage {
            Stage::Forwarded(_) => Verdict::Pending,
            Stage::Refused(code) => Verdict::Failed(ServerError::WriteFailure {
                consistency: Consistency::One,
                received: 0,
                block_for: 1,
                reasons: vec![(io.context.ring.address(self.leader), *code)],
                write_type: WriteType::Counter,
            }),
            Stage::Replicating => self.acks.verdict(io),
        }
    }

    fn timeout(&self, io: &Io<'_>) -> ServerError {
        match &self.stage {
            // Forwarding is a write to one node, whatever the client's level is.
            Stage::Forwarded(_) | Stage::Refused(_) if self.leader != io.context.me => ServerError::WriteTimeout {
                consistency: Consistency::One,
                received: 0,
                block_for: 1,
                write_type: WriteType::Counter,
                contentions: None,
            },
            _ => self.acks.timeout(io),
        }
    }
}

impl Operation for CounterWrite {
    fn start(&mut self, io: &mut Io<'_>) -> Step {
        self.begin(io).err().map(Outcome::failed)
    }

    fn handle_reply(&mut self, io: &mut Io<'_>, _from: NodeId, id: QuestionId, reply: Reply) -> Step {
        let is_leaders = |counter: &&mut Counter| matches!(counter.stage, Stage::Forwarded(asked) if asked == id);
        if let Some(counter) = self.counters.iter_mut().find(is_leaders) {
            match reply {
                Reply::CounterShards(shards) => {
                    counter.stage = Stage::Replicating;
                    counter.acks.acknowledge(counter.leader);
                    let question = Question::Write(shards.clone());
                    let timeout = io.config.counter_timeout;
                    counter.acks.send(io, &shards, &question, Some(counter.leader), timeout);
                    // The shards may come late: their hints expire after the request, not with it.
                    io.wake_after(timeout);
                }
                Reply::Failed(code) => counter.stage = Stage::Refused(code),
                _ => counter.stage = Stage::Refused(crate::replica::reason::UNKNOWN),
            }
        } else {
            self.counters.iter_mut().any(|counter| counter.acks.handle_reply(id, &reply));
        }
        self.conclude(io)
    }

    fn handle_timeout(&mut self, io: &mut Io<'_>) -> Step {
        if io.now() >= self.deadline { self.conclude(io) } else { None }
    }
}

/// A random live replica of the coordinator's data centre; without one the first elsewhere, unless the level is local.
fn choose_leader(io: &mut Io<'_>, mutation: &Mutation, consistency: Consistency) -> Result<NodeId, ServerError> {
    let placement = Placement::of(io.context, &mutation.keyspace, mutation.token())?;
    let ring = io.context.ring;
    let local = ring.datacenter(io.context.me);
    let live: Vec<NodeId> = placement.natural.iter().copied().filter(|node| io.is_alive(*node)).collect();
    let near: Vec<NodeId> = live.iter().copied().filter(|node| ring.datacenter(*node) == local).collect();
    let candidates = if near.is_empty() && !is_local(consistency) { live } else { near };
    if candidates.is_empty() {
        let required = block_for(consistency, &placement.replication, ring, local);
        return Err(unavailable(consistency, required, 0, None));
    }
    Ok(candidates[io.draw_below("counter leader", candidates.len())])
}
