//! Writes kept for nodes that are away, and their delivery.
//!
//! Hints live on the coordinator that took the write and survive its crash. They are delivered when the failure
//! detector sees the node come back, and tried again periodically.
//!
//! # Source
//!
//! Research on cluster fidelity, section 3.3; the window is Cassandra's `max_hint_window` of 3 hours.

use super::Context;
use super::io::{Io, is_alive};
use crate::kernel::NodeId;
use crate::replica::{Question, QuestionId, Reply};
use crate::storage::Mutation;
use std::collections::BTreeMap;

/// Writes kept for nodes that are away: durable.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    by_node: BTreeMap<NodeId, BTreeMap<u64, Hint>>,
    last_number: u64,
}

#[derive(Clone, Debug)]
struct Hint {
    mutation: Mutation,
    /// Microseconds since 1970 by this node's clock.
    written_at: i64,
}

impl Hint {
    fn is_expired(&self, context: &Context<'_>) -> bool {
        context.now.unix_micros.saturating_sub(self.written_at) > WINDOW_MICROS
    }
}

impl Hints {
    /// How many hints are kept, for all nodes together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.values().map(BTreeMap::len).sum()
    }

    /// Whether no hint is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Keeps a write for a node of the ring; false if the node's oldest hint says that it has been away too long.
    pub(super) fn keep(&mut self, context: &Context<'_>, to: NodeId, mutation: Mutation) -> bool {
        if to == context.me || !context.ring.locations.contains_key(&to) {
            return false;
        }
        let hints = self.by_node.entry(to).or_default();
        if hints.first_key_value().is_some_and(|(_, oldest)| oldest.is_expired(context)) {
            return false;
        }
        self.last_number += 1;
        hints.insert(self.last_number, Hint { mutation, written_at: context.now.unix_micros });
        true
    }

    fn remove(&mut self, to: NodeId, number: u64) {
        if let Some(hints) = self.by_node.get_mut(&to) {
            hints.remove(&number);
            if hints.is_empty() {
                self.by_node.remove(&to);
            }
        }
    }
}

/// The delivery of hints to nodes that are alive, a few at a time and in order for each node.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    in_flight: BTreeMap<QuestionId, (NodeId, u64)>,
}

impl Delivery {
    /// Starts, or starts again what has not been acknowledged since the last time.
    pub(super) fn restart(&mut self, io: &mut Io<'_>) {
        // Nodes that have left the ring get nothing any more.
        io.shared.hints.by_node.retain(|node, _| io.context.ring.locations.contains_key(node));
        let nodes: Vec<NodeId> = io.shared.hints.by_node.keys().copied().collect();
        for node in nodes {
            self.restart_for(io, node);
        }
    }

    /// The same for one node.
    pub(super) fn restart_for(&mut self, io: &mut Io<'_>, node: NodeId) {
        self.in_flight.retain(|_, (to, _)| *to != node);
        if is_alive(io.context, node) {
            self.send_next(io, node);
        }
    }

    /// Takes an acknowledgement; a failure leaves the hint for the next time.
    pub(super) fn handle_reply(&mut self, io: &mut Io<'_>, id: QuestionId, reply: &Reply) {
        let Some((node, number)) = self.in_flight.remove(&id) else { return };
        if matches!(reply, Reply::Done) {
            io.shared.hints.remove(node, number);
            self.send_next(io, node);
        }
    }

    fn send_next(&mut self, io: &mut Io<'_>, node: NodeId) {
        let busy: Vec<u64> = self.in_flight.values().filter(|(to, _)| *to == node).map(|(_, number)| *number).collect();
        let last_sent = busy.iter().copied().max().unwrap_or(0);
        let Some(hints) = io.shared.hints.by_node.get_mut(&node) else { return };
        hints.retain(|_, hint| !hint.is_expired(io.context));
        let next: Vec<(u64, Hint)> = hints
            .range(last_sent + 1..)
            .take(IN_FLIGHT_MAX.saturating_sub(busy.len()))
            .map(|(number, hint)| (*number, hint.clone()))
            .collect();
        if hints.is_empty() {
            io.shared.hints.by_node.remove(&node);
        }
        for (number, Hint { mutation, written_at }) in next {
            let id = io.ask(node, Question::Hint { mutation, written_at });
            self.in_flight.insert(id, (node, number));
        }
    }
}

/// How long a node may be away for its writes to be kept, and how long they are kept: 3 hours.
const WINDOW_MICROS: i64 = 3 * 3600 * 1_000_000;

/// Hints on their way to one node at a time: enough to fill a slow link, few enough not to drown a node that has
/// just come back.
const IN_FLIGHT_MAX: usize = 32;
