//! What a replica does with the requests of coordinators: apply, read, digest, promise, accept, commit.
//!
//! Everything here is durable: a replica answers only what it would still know after a crash.
//!
//! # Invariants
//!
//! - A replica never promises or accepts a ballot that is older than one it has promised.
//! - Writes older than the truncation of their table (hints, batches, commits) are acknowledged and not applied.
//!
//! # Source
//!
//! Research on cluster fidelity, sections 3.3, 3.5 and 3.6.

mod message;

pub use message::{Ballot, Promise, Proposal, Question, QuestionId, Register, Reply, StoredBatch, reason};

use crate::kernel::{NodeId, Now, SimInstant};
use crate::schema::{Schema, Table};
use crate::storage::{Mutation, ReadCommand, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The part of a replica that is not its store: paxos state, batch log, moments of truncation.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    paxos: BTreeMap<Register, PaxosState>,
    batchlog: BTreeMap<Uuid, KeptBatch>,
    /// By table, in microseconds since 1970 of this node's clock.
    truncated_at: BTreeMap<Uuid, i64>,
}

impl Replica {
    /// Carries out one question on the store and answers at once.
    ///
    /// `shard` is this node's counter id, which is its host id.
    pub fn handle(
        &mut self,
        now: Now,
        me: NodeId,
        shard: Uuid,
        schema: &Schema,
        store: &mut Store,
        question: Question,
    ) -> Reply {
        match question {
            Question::Write(mutation) | Question::ReadRepair(mutation) => apply(schema, store, &mutation),
            Question::Hint { mutation, written_at } => {
                // A hint for a table that is gone is done with: nobody can ever apply it.
                if self.is_valid_since(mutation.table, written_at) {
                    apply(schema, store, &mutation);
                }
                Reply::Done
            }
            Question::CounterWrite(increments) => match table(schema, &increments.keyspace, increments.table) {
                Some(table) => Reply::CounterShards(store.apply_counter(table, &increments, shard)),
                None => Reply::Failed(reason::INCOMPATIBLE_SCHEMA),
            },
            Question::Read(command) => read(now, schema, store, &command, Reply::Data),
            Question::ReadDigest(command) => {
                read(now, schema, store, &command, |answer| Reply::Digest(answer.digest()))
            }
            Question::Truncate(id) => {
                store.truncate(id);
                self.truncated_at.insert(id, now.unix_micros);
                Reply::Done
            }
            Question::Prepare { register, ballot } => Reply::Promise(Box::new(self.prepare(register, ballot, me))),
            Question::Propose(proposal) => Reply::Accepted(self.accept(proposal)),
            Question::Commit(proposal) => self.commit(schema, store, proposal),
            Question::BatchlogStore { id, written_at, mutations } => {
                self.batchlog.insert(id, KeptBatch { kept_since: now.at, written_at, mutations });
                Reply::Done
            }
            Question::BatchlogRemove(id) => {
                self.batchlog.remove(&id);
                Reply::Done
            }
            Question::BatchlogDue { older_than } => Reply::Batches(self.due_batches(now, older_than)),
        }
    }

    /// How many logged batches wait to be removed or replayed.
    #[must_use]
    pub fn kept_batches(&self) -> usize {
        self.batchlog.len()
    }

    fn prepare(&mut self, register: Register, ballot: Ballot, me: NodeId) -> Promise {
        let state = self.paxos.entry(register).or_default();
        // Strictly later by the clock part, not just greater: two rounds in the same microsecond would give two
        // decided updates the same write time, and last write wins could prefer the earlier one.
        let promised = state.promised.is_none_or(|earlier| ballot.micros > earlier.micros);
        if promised {
            state.promised = Some(ballot);
        }
        Promise {
            promised,
            ballot: state.promised.unwrap_or(Ballot { micros: i64::MIN, node: me, round: 0 }),
            accepted: state.accepted.clone(),
            committed: state.committed.clone(),
        }
    }

    fn accept(&mut self, proposal: Proposal) -> bool {
        let state = self.paxos.entry(proposal.register.clone()).or_default();
        let accepted = state.promised.is_none_or(|promised| proposal.ballot >= promised);
        if accepted {
            state.promised = Some(proposal.ballot);
            state.accepted = Some(proposal);
        }
        accepted
    }

    /// Applies a decided proposal. Commits may come in any order and repeatedly: write times sort them out.
    fn commit(&mut self, schema: &Schema, store: &mut Store, proposal: Proposal) -> Reply {
        if let Some(update) = &proposal.update
            && self.is_valid_since(update.table, proposal.ballot.micros)
            && let Reply::Failed(reason) = apply(schema, store, update)
        {
            return Reply::Failed(reason);
        }
        let state = self.paxos.entry(proposal.register.clone()).or_default();
        if state.accepted.as_ref().is_some_and(|accepted| accepted.ballot <= proposal.ballot) {
            state.accepted = None;
        }
        if state.committed.as_ref().is_none_or(|committed| committed.ballot < proposal.ballot) {
            state.committed = Some(proposal);
        }
        Reply::Done
    }

    fn due_batches(&self, now: Now, older_than: Duration) -> Vec<StoredBatch> {
        let due = self.batchlog.iter().filter(|(_, batch)| now.at.since(batch.kept_since) >= older_than);
        due.map(|(id, batch)| {
            let valid = batch.mutations.iter().filter(|m| self.is_valid_since(m.table, batch.written_at));
            StoredBatch { id: *id, written_at: batch.written_at, mutations: valid.cloned().collect() }
        })
        .collect()
    }

    /// Whether a write of that moment is later than the last truncation of its table.
    fn is_valid_since(&self, table: Uuid, written_at: i64) -> bool {
        self.truncated_at.get(&table).is_none_or(|truncated_at| written_at > *truncated_at)
    }
}

/// Looks a table up where the message says it is: a search of all keyspaces for each message would be slow.
pub(crate) fn table<'a>(schema: &'a Schema, keyspace: &str, id: Uuid) -> Option<&'a Arc<Table>> {
    schema.keyspaces.get(keyspace)?.tables.values().find(|table| table.id == id)
}

/// A replica's memory of the rounds about one register.
#[derive(Clone, Debug, Default)]
struct PaxosState {
    promised: Option<Ballot>,
    accepted: Option<Proposal>,
    committed: Option<Proposal>,
}

#[derive(Clone, Debug)]
struct KeptBatch {
    kept_since: SimInstant,
    written_at: i64,
    mutations: Vec<Mutation>,
}

fn apply(schema: &Schema, store: &mut Store, mutation: &Mutation) -> Reply {
    match table(schema, &mutation.keyspace, mutation.table) {
        Some(table) => {
            store.apply(table, mutation);
            Reply::Done
        }
        None => Reply::Failed(reason::INCOMPATIBLE_SCHEMA),
    }
}

fn read(
    now: Now,
    schema: &Schema,
    store: &Store,
    command: &ReadCommand,
    reply: impl FnOnce(crate::storage::ReadAnswer) -> Reply,
) -> Reply {
    match table(schema, &command.keyspace, command.table) {
        Some(table) => reply(store.read(table, command, now.unix_seconds())),
        None => Reply::Failed(reason::INCOMPATIBLE_SCHEMA),
    }
}
