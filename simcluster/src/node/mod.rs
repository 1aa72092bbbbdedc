//! One Cassandra node as a synchronous state machine: `handle(now, input, outputs)`, the same under every engine.
//!
//! A crash drops the [`Node`]; a restart builds a new one from what was [`Durable`].

mod auth;
mod client;
mod config;
mod dirty_peers;
mod effects;
mod events;
mod gossip;
mod lifecycle;
mod local_reads;
mod message;
mod misbehaviour;
mod overload;
mod prepared;
mod requests;
mod schema_answers;
mod schema_changes;
mod schema_contents;
mod schema_diff;
mod streaming;
mod system_tables;
#[cfg(test)]
mod tests;
mod tracing;

pub use config::NodeConfig;
pub use lifecycle::Durable;
pub use message::{
    Asked, ClientId, ClientOutput, Dirt, ForcedAnswer, GossipState, Input, Misbehaviour, NodeStatus, Observation,
    Output, PeerMessage,
};

use crate::coordinator::{Coordinator, RequestId};
use crate::entropy::Dice;
use crate::kernel::{NodeId, Now};
use crate::replica::Replica;
use crate::schema::Schema;
use crate::storage::{Mutation, Store};
use client::Client;
use gossip::Members;
use prepared::PreparedCache;
use requests::Pending;
use schema_contents::SchemaContents;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use streaming::Streams;
use system_tables::SystemTables;

/// One node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    tables: &'static SystemTables,
    store: Store,
    replica: Replica,
    coordinator: Coordinator,
    schema: Arc<Schema>,
    /// What the tables of `system_schema` hold.
    schema_contents: SchemaContents,
    members: Members,
    streams: Streams,
    clients: BTreeMap<ClientId, Client>,
    requests: BTreeMap<RequestId, Pending>,
    next_request: u64,
    prepared: PreparedCache,
    timestamps: Timestamps,
    dice: Dice,
    /// What the next coordinated statements are answered with, and how many of them.
    forced: VecDeque<(ForcedAnswer, u32)>,
    rejects_logins: bool,
    /// How many continued pages are still to be answered empty.
    empty_pages: u32,
}

/// Write times that only grow, whatever the wall clock does.
#[derive(Clone, Copy, Debug, Default)]
struct Timestamps {
    last_local: i64,
    last_schema: i64,
}

impl Timestamps {
    /// The next write time of a row that only this node writes.
    fn next_local(&mut self, now: Now) -> i64 {
        self.last_local = now.unix_micros.max(self.last_local + 1);
        self.last_local
    }

    /// The next write time of a schema change: above every one this node has made or seen, so that a node whose
    /// clock is behind can still drop what another has created.
    fn next_schema(&mut self, now: Now) -> i64 {
        self.last_schema = now.unix_micros.max(self.last_schema + 1);
        self.last_schema
    }

    /// Notes the write time of somebody's schema change.
    fn see_schema(&mut self, timestamp: i64) {
        self.last_schema = self.last_schema.max(timestamp);
    }
}

impl Node {
    /// Handles one input.
    pub fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::ClientOpened { client, from } => self.handle_client_opened(client, from, outputs),
            Input::ClientBytes { client, bytes } => self.handle_client_bytes(now, client, &bytes, outputs),
            Input::ClientClosed { client } => {
                self.clients.remove(&client);
            }
            Input::Peer { from, message } => self.handle_peer(now, from, message, outputs),
            Input::Wake => self.handle_wake(now, outputs),
            Input::Decommission => self.handle_decommission(now, outputs),
            Input::Misbehave(misbehaviour) => self.handle_misbehaviour(now, misbehaviour, outputs),
        }
    }

    fn handle_peer(&mut self, now: Now, from: NodeId, message: PeerMessage, outputs: &mut Vec<Output>) {
        match message {
            PeerMessage::Gossip(state) => self.handle_gossip(now, from, &state, outputs),
            PeerMessage::Question { id, question } => {
                let reply = Box::new(self.answer_question(now, *question));
                outputs.push(Output::ToPeer { to: from, message: PeerMessage::Reply { id, reply } });
            }
            PeerMessage::Reply { id, reply } => {
                self.coordinate(now, outputs, |coordinator, context, effects| {
                    coordinator.handle_reply(context, from, id, *reply, effects);
                });
            }
            PeerMessage::SchemaPush(mutations) => self.handle_schema_push(now, &mutations, outputs),
            PeerMessage::SchemaPull => {
                let rows = self.schema_rows(now);
                outputs.push(Output::ToPeer { to: from, message: PeerMessage::SchemaPush(rows) });
            }
            PeerMessage::StreamPull => self.handle_stream_pull(now, from, outputs),
            PeerMessage::Stream { session, mutations } => {
                self.handle_stream(now, from, session, &mutations, outputs);
            }
            PeerMessage::StreamDone { session } => self.handle_stream_done(from, session, outputs),
        }
    }

    fn handle_wake(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.gossip_if_due(now, outputs);
        self.coordinate(now, outputs, Coordinator::handle_timeout);
    }

    /// The node's stored data, for oracles.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The node's schema, for oracles.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The node's standing as it tells it to others.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.members.status
    }

    /// The peers that the node's failure detector believes alive, itself included.
    #[must_use]
    pub fn alive(&self) -> &std::collections::BTreeSet<NodeId> {
        &self.members.alive
    }

    /// Applies a mutation of a table that is described in the system schema to the node's own store.
    fn apply_local(&mut self, mutation: &Mutation) {
        if let Some(table) = self.tables.table_by_id(mutation.table) {
            self.store.apply(table, mutation);
            if mutation.keyspace == "system_schema" {
                self.schema_contents.apply(mutation);
            }
        }
    }
}
