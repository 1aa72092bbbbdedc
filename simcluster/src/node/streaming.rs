//! Data that changes hands: when a node joins, and when one leaves.
//!
//! A joining node waits until every peer knows it (from then on it gets the writes of its future ranges), waits for
//! writes begun before that, then pulls what it will own from all owners. A leaving node pushes what it owns to
//! those who will. What is lost on the way is asked for, or sent, again each round.
//!
//! # Invariants
//!
//! - A node becomes Normal only with the data of every owner that was alive, and Left only when every new owner
//!   that is alive has acknowledged its part.

use super::Node;
use super::message::{GossipState, NodeStatus, Output, PeerMessage};
use super::requests::is_local;
use crate::kernel::{NodeId, Now, SimInstant};
use crate::ring::{Replication, TokenRange};
use crate::storage::{Mutation, ReadCommand, ReadTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Time for writes that were begun with the old ring to end: the write timeout.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a joining node waits for peers that do not answer; Cassandra's ring delay.
const RING_DELAY: Duration = Duration::from_secs(30);

/// Transfers in progress.
#[derive(Debug)]
pub(super) struct Streams {
    /// Since when the node has been joining or leaving.
    since: SimInstant,
    /// Since when every peer knows of it.
    known_since: Option<SimInstant>,
    /// Owners whose data a joining node has.
    received: BTreeSet<NodeId>,
    /// What a leaving node has sent and nobody has acknowledged.
    unacknowledged: BTreeMap<u64, (NodeId, Vec<Mutation>)>,
    has_sent: bool,
    next_session: u64,
}

impl Streams {
    /// No transfers; a node that starts as joining begins to count from here.
    pub(super) fn new(now: Now) -> Self {
        Self {
            since: now.at,
            known_since: None,
            received: BTreeSet::new(),
            unacknowledged: BTreeMap::new(),
            has_sent: false,
            next_session: 0,
        }
    }
}

impl Node {
    /// Goes on with joining or leaving, once a round.
    pub(super) fn continue_streams(&mut self, now: Now, outputs: &mut Vec<Output>) {
        match self.members.status {
            NodeStatus::Joining => self.continue_joining(now, outputs),
            NodeStatus::Leaving => self.continue_leaving(now, outputs),
            NodeStatus::Normal | NodeStatus::Left | NodeStatus::Shutdown => {}
        }
    }

    fn continue_joining(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let has_waited = now.at.since(self.streams.since) > RING_DELAY;
        // Existing nodes speak to a new one only once they have heard of it.
        let dead = self.config.replaces;
        let all_know = self.members.peers().iter().all(|peer| Some(*peer) == dead || self.members.has_heard(*peer));
        if !all_know && !has_waited {
            return;
        }
        let known_since = *self.streams.known_since.get_or_insert(now.at);
        if now.at.since(known_since) < SETTLE {
            return;
        }
        let alive = &self.members.alive;
        let owners: Vec<NodeId> = self.members.owners().map(|(node, _)| node).filter(|n| alive.contains(n)).collect();
        let is_current = |(node, state): (NodeId, &Arc<GossipState>)| {
            Some(node) == dead || state.schema_version == self.schema.version
        };
        let has_schema = self.members.owners().all(is_current);
        if !has_schema && !has_waited {
            return;
        }
        let missing: Vec<NodeId> = owners.into_iter().filter(|owner| !self.streams.received.contains(owner)).collect();
        if missing.is_empty() {
            if let Some(dead) = self.config.replaces {
                self.forget_replaced(now, dead, self.config.address, outputs);
            }
            self.change_status(NodeStatus::Normal, outputs);
        }
        for to in missing {
            outputs.push(Output::ToPeer { to, message: PeerMessage::StreamPull });
        }
    }

    /// Sends a joining node what it will own.
    pub(super) fn handle_stream_pull(&mut self, now: Now, to: NodeId, outputs: &mut Vec<Output>) {
        if !self.members.ring.joining.values().any(|node| *node == to) {
            return;
        }
        let mut mutations = self.moving_data(now);
        let mutations = mutations.remove(&to).unwrap_or_default();
        self.streams.next_session += 1;
        let message = PeerMessage::Stream { session: self.streams.next_session, mutations };
        outputs.push(Output::ToPeer { to, message });
    }

    /// Takes data that this node owns or will own.
    pub(super) fn handle_stream(
        &mut self,
        now: Now,
        from: NodeId,
        session: u64,
        mutations: &[Mutation],
        outputs: &mut Vec<Output>,
    ) {
        for mutation in mutations {
            if let Some(table) = self.schema.table_by_id(mutation.table) {
                self.store.apply(table, mutation);
            }
        }
        outputs.push(Output::ToPeer { to: from, message: PeerMessage::StreamDone { session } });
        if self.members.status == NodeStatus::Joining {
            self.streams.received.insert(from);
            self.continue_joining(now, outputs);
        }
    }

    /// Begins to leave the ring for good.
    pub(super) fn handle_decommission(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if self.members.status == NodeStatus::Normal {
            self.streams = Streams::new(now);
            self.change_status(NodeStatus::Leaving, outputs);
        }
    }

    fn continue_leaving(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if now.at.since(self.streams.since) < SETTLE {
            return;
        }
        if !self.streams.has_sent {
            self.streams.has_sent = true;
            for (to, mutations) in self.moving_data(now) {
                self.streams.next_session += 1;
                self.streams.unacknowledged.insert(self.streams.next_session, (to, mutations));
            }
        }
        let alive = self.members.alive.clone();
        self.streams.unacknowledged.retain(|_, (to, _)| alive.contains(to));
        for (session, (to, mutations)) in &self.streams.unacknowledged {
            let message = PeerMessage::Stream { session: *session, mutations: mutations.clone() };
            outputs.push(Output::ToPeer { to: *to, message });
        }
        self.leave_if_done(outputs);
    }

    /// Notes that a new owner has its part.
    pub(super) fn handle_stream_done(&mut self, from: NodeId, session: u64, outputs: &mut Vec<Output>) {
        if self.streams.unacknowledged.get(&session).is_some_and(|(to, _)| *to == from) {
            self.streams.unacknowledged.remove(&session);
            self.leave_if_done(outputs);
        }
    }

    fn leave_if_done(&mut self, outputs: &mut Vec<Output>) {
        if self.members.status == NodeStatus::Leaving && self.streams.has_sent && self.streams.unacknowledged.is_empty()
        {
            self.change_status(NodeStatus::Left, outputs);
            // A node that has left stops its native transport.
            outputs.extend(self.clients.keys().map(|client| Output::CloseClient { client: *client }));
            self.clients.clear();
        }
    }

    /// The data of this node that pending owners need, by owner.
    fn moving_data(&self, now: Now) -> BTreeMap<NodeId, Vec<Mutation>> {
        let mut moving: BTreeMap<NodeId, Vec<Mutation>> = BTreeMap::new();
        let replicated = self.schema.keyspaces.values().filter(|keyspace| !is_local(&self.schema, &keyspace.name));
        for keyspace in replicated {
            let replication = Replication::from_options(&keyspace.replication);
            for table in keyspace.tables.values() {
                let target = ReadTarget::Range(TokenRange::FULL);
                let command = ReadCommand::new(table.id, &table.keyspace, target, usize::MAX);
                for (key, changes) in self.store.read(table, &command, now.unix_seconds()).partitions {
                    let mutation = Mutation { changes, ..Mutation::new(table.id, &table.keyspace, key) };
                    for owner in self.members.ring.pending(mutation.token(), &replication) {
                        if owner != self.config.id {
                            moving.entry(owner).or_default().push(mutation.clone());
                        }
                    }
                }
            }
        }
        moving
    }

    /// Takes another standing in the ring and tells everybody.
    fn change_status(&mut self, status: NodeStatus, outputs: &mut Vec<Output>) {
        self.members.set_status(&self.config, status);
        self.gossip_to_all(outputs);
    }
}
