//! What an operation of the coordinator may do to the world: ask replicas, be woken, keep hints.
//!
//! # Invariants
//!
//! - Question ids are never reused by a node, not even across restarts: they are at least the nanoseconds of virtual
//!   time, so that a late reply to an earlier life finds nobody.
//! - A write that was sent and is not acknowledged in time becomes a hint, whether or not its request is still there.

use super::hints::Hints;
use super::{Context, CoordinatorConfig, Effect, RequestId};
use crate::kernel::{NodeId, Now, SimInstant};
use crate::protocol::ServerError;
use crate::replica::{Ballot, Question, QuestionId, Reply, table};
use crate::schema::Table;
use crate::storage::Mutation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Whose question it is, or whose deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A client's request.
    Request(RequestId),
    /// The delivery of hints.
    Hints,
    /// The node's own duty to look after kept batches.
    Batchlog,
    /// The replay of one batch.
    Replay(Uuid),
}

/// What all operations of one coordinator share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    last_number: u64,
    last_timestamp: i64,
    owners: BTreeMap<QuestionId, Owner>,
    by_owner: BTreeSet<(Owner, QuestionId)>,
    deadlines: BTreeSet<(SimInstant, Owner)>,
    unacknowledged: BTreeMap<QuestionId, Unacknowledged>,
    expiries: BTreeSet<(SimInstant, QuestionId)>,
    pub(super) hints: Hints,
}

/// A write on its way to a replica.
#[derive(Debug)]
struct Unacknowledged {
    to: NodeId,
    mutation: Mutation,
    expires_at: SimInstant,
}

impl Shared {
    pub(super) fn with_hints(hints: Hints) -> Self {
        Self { hints, ..Self::default() }
    }

    /// A number that this node never draws again, not even after a restart.
    pub(super) fn next_number(&mut self, now: Now) -> u64 {
        self.last_number = (self.last_number + 1).max(now.at.as_nanos());
        self.last_number
    }

    /// Microseconds since 1970: later than all before, at least `at_least`, and the clock's if possible.
    pub(super) fn next_timestamp(&mut self, now: Now, at_least: i64) -> i64 {
        // Cassandra's own timestamps have the precision of a millisecond.
        let clock = now.unix_micros.div_euclid(1000).saturating_mul(1000);
        self.last_timestamp = clock.max(self.last_timestamp.saturating_add(1)).max(at_least);
        self.last_timestamp
    }

    /// Who asked this; the question is forgotten.
    pub(super) fn take_owner(&mut self, id: QuestionId) -> Option<Owner> {
        let owner = self.owners.remove(&id)?;
        self.by_owner.remove(&(owner, id));
        Some(owner)
    }

    /// Forgets all questions of an operation that has ended.
    pub(super) fn forget(&mut self, owner: Owner) {
        let asked: Vec<QuestionId> = self
            .by_owner
            .range((owner, QuestionId(0))..=(owner, QuestionId(u64::MAX)))
            .map(|(_, question)| *question)
            .collect();
        for question in asked {
            self.take_owner(question);
        }
    }

    /// The next operation whose deadline has passed; the deadline is forgotten.
    pub(super) fn pop_due(&mut self, now: SimInstant) -> Option<Owner> {
        let first = *self.deadlines.first()?;
        if first.0 > now {
            return None;
        }
        self.deadlines.remove(&first);
        Some(first.1)
    }

    /// Takes note of a reply to a write; a failed one becomes a hint.
    pub(super) fn settle_write(&mut self, context: &Context<'_>, id: QuestionId, reply: &Reply) {
        let Some(write) = self.unacknowledged.remove(&id) else { return };
        self.expiries.remove(&(write.expires_at, id));
        if matches!(reply, Reply::Failed(_)) {
            self.hints.keep(context, write.to, write.mutation);
        }
    }

    /// Makes hints of the writes that were not acknowledged in time.
    pub(super) fn expire_writes(&mut self, context: &Context<'_>) {
        while let Some((expires_at, id)) = self.expiries.first().copied() {
            if expires_at > context.now.at {
                break;
            }
            self.expiries.remove(&(expires_at, id));
            if let Some(write) = self.unacknowledged.remove(&id) {
                self.hints.keep(context, write.to, write.mutation);
            }
        }
    }

    /// How many writes are on their way and would become hints.
    pub(super) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }
}

/// The world as one operation sees it.
pub(super) struct Io<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) config: &'a CoordinatorConfig,
    pub(super) shared: &'a mut Shared,
    pub(super) owner: Owner,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Io<'_> {
    pub(super) fn now(&self) -> SimInstant {
        self.context.now.at
    }

    /// Whether the failure detector believes the node alive. A node never doubts itself.
    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        is_alive(self.context, node)
    }

    pub(super) fn ask(&mut self, to: NodeId, question: Question) -> QuestionId {
        let id = QuestionId(self.shared.next_number(self.context.now));
        self.shared.owners.insert(id, self.owner);
        self.shared.by_owner.insert((self.owner, id));
        self.effects.push(Effect::Ask { to, id, question });
        id
    }

    /// Asks for a write that becomes a hint if it is not acknowledged within `timeout`.
    pub(super) fn ask_to_write(
        &mut self,
        to: NodeId,
        question: Question,
        mutation: &Mutation,
        timeout: Duration,
    ) -> QuestionId {
        let id = self.ask(to, question);
        if self.config.hinted_handoff && to != self.context.me {
            let expires_at = self.now() + timeout;
            self.shared.expiries.insert((expires_at, id));
            let write = Unacknowledged { to, mutation: mutation.clone(), expires_at };
            self.shared.unacknowledged.insert(id, write);
        }
        id
    }

    /// Keeps a write for a node that is away; false if hints are switched off or the node has been away too long.
    pub(super) fn hint(&mut self, to: NodeId, mutation: &Mutation) -> bool {
        self.config.hinted_handoff && self.shared.hints.keep(self.context, to, mutation.clone())
    }

    /// Has `handle_timeout` of this operation called after `delay`; answers the moment.
    pub(super) fn wake_after(&mut self, delay: Duration) -> SimInstant {
        let at = self.now() + delay;
        if self.shared.deadlines.insert((at, self.owner)) {
            self.effects.push(Effect::WakeAt(at));
        }
        at
    }

    /// Random bits, the same in every run with the same history of this node.
    pub(super) fn draw(&mut self, purpose: &str) -> u64 {
        let number = self.shared.next_number(self.context.now);
        self.context.entropy.draw(purpose, u64::from(self.context.me.0), number)
    }

    /// A number in `0..bound`.
    pub(super) fn draw_below(&mut self, purpose: &str, bound: usize) -> usize {
        let drawn = u128::from(self.draw(purpose)) * bound as u128;
        usize::try_from(drawn >> 64).unwrap_or(0)
    }

    /// A ballot later than all that this node has chosen, and at least `at_least` microseconds.
    pub(super) fn ballot(&mut self, at_least: i64) -> Ballot {
        Ballot {
            micros: self.shared.next_timestamp(self.context.now, at_least),
            node: self.context.me,
            round: self.shared.next_number(self.context.now),
        }
    }

    /// Looks a table up.
    ///
    /// # Errors
    ///
    /// The table was dropped since the statement was prepared.
    pub(super) fn table(&self, keyspace: &str, id: Uuid) -> Result<Arc<Table>, ServerError> {
        table(self.context.schema, keyspace, id)
            .cloned()
            .ok_or_else(|| ServerError::Invalid(format!("table with id {id} does not exist in keyspace {keyspace}")))
    }
}

/// Whether the failure detector believes the node alive. A node never doubts itself.
pub(super) fn is_alive(context: &Context<'_>, node: NodeId) -> bool {
    node == context.me || context.alive.contains(&node)
}
