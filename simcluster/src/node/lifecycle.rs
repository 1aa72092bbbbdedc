//! Start, crash, shutdown: what a node is built from, and what survives it.

use super::config::ReleaseLine;
use super::gossip::Members;
use super::message::{GossipState, NodeStatus, Output};
use super::prepared::PreparedCache;
use super::schema_contents::SchemaContents;
use super::streaming::Streams;
use super::system_tables::{SystemTables, local_row, row, text};
use super::{Node, NodeConfig, Timestamps};
use crate::coordinator::{Coordinator, Hints};
use crate::cql;
use crate::kernel::{NodeId, Now};
use crate::replica::Replica;
use crate::storage::Store;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What survives a crash of the process: the store, the ring, paxos promises, hints, perhaps prepared statements.
#[derive(Clone, Debug)]
pub struct Durable {
    store: Store,
    schema_contents: SchemaContents,
    replica: Replica,
    hints: Hints,
    members: BTreeMap<NodeId, Arc<GossipState>>,
    generation: u32,
    status: NodeStatus,
    timestamps: Timestamps,
    prepared: Vec<(Option<String>, String)>,
}

impl Durable {
    /// The node's standing in the ring when its process ended.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        self.status
    }

    /// The stored data, for oracles.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Node {
    /// A new node with an empty store, or a restarted one from what was durable. It owns its tokens at once.
    #[must_use]
    pub fn start(config: NodeConfig, durable: Option<Durable>, now: Now, outputs: &mut Vec<Output>) -> Self {
        Self::boot(config, durable, NodeStatus::Normal, now, outputs)
    }

    /// A new node that joins a cluster with data: it gets the writes of its future ranges, takes their data from the
    /// present owners, and only then owns its tokens.
    #[must_use]
    pub fn bootstrap(config: NodeConfig, now: Now, outputs: &mut Vec<Output>) -> Self {
        Self::boot(config, None, NodeStatus::Joining, now, outputs)
    }

    fn boot(
        config: NodeConfig,
        durable: Option<Durable>,
        status: NodeStatus,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Self {
        let line = ReleaseLine::of(&config.release);
        let tables = SystemTables::of(line);
        // Generations count milliseconds of monotonic time, so that they grow even if nothing was durable.
        let millis = u32::try_from(now.at.as_nanos() / 1_000_000).unwrap_or(u32::MAX - 1);
        let is_restart = durable.is_some();
        let durable = durable.unwrap_or_else(|| Durable {
            store: tables.store.clone(),
            schema_contents: SchemaContents::of_system(line),
            replica: Replica::default(),
            hints: Hints::default(),
            members: BTreeMap::new(),
            generation: 0,
            status,
            timestamps: Timestamps::default(),
            prepared: Vec::new(),
        });
        let generation = millis.max(durable.generation).saturating_add(1);
        let status = match durable.status {
            // A restart in the middle of either begins it again, or gives it up, as in Cassandra.
            NodeStatus::Joining => NodeStatus::Joining,
            NodeStatus::Left => NodeStatus::Left,
            NodeStatus::Normal | NodeStatus::Leaving | NodeStatus::Shutdown => NodeStatus::Normal,
        };
        let schema_contents = durable.schema_contents.read_by(line);
        let schema = if is_restart {
            schema_contents.schema(|| cql::schema_from_rows(&durable.store, &tables.system, now.unix_seconds()))
        } else {
            tables.schema.clone()
        };
        let members = Members::new(&config, status, generation, durable.members, now);
        let mut node = Self {
            tables,
            store: durable.store,
            replica: durable.replica,
            coordinator: Coordinator::with_hints(config.coordinator.clone(), durable.hints),
            schema,
            schema_contents,
            streams: Streams::new(now),
            members,
            clients: BTreeMap::new(),
            requests: BTreeMap::new(),
            // Ids of earlier lives of the node are never used again.
            next_request: u64::from(generation) << 32,
            prepared: PreparedCache::default(),
            timestamps: durable.timestamps,
            forced: VecDeque::new(),
            empty_pages: 0,
            rejects_logins: false,
            dice: config.entropy.dice("node", u64::from(config.id.0) << 32 | u64::from(generation)),
            config,
        };
        node.write_own_rows(now);
        if is_restart {
            node.clean_peers(now);
        }
        node.reload_prepared(&durable.prepared);
        node.coordinate(now, outputs, Coordinator::handle_timeout);
        node.start_gossip(outputs);
        node
    }

    /// Ends the process at once; client connections are the engine's to close.
    #[must_use]
    pub fn crash(self) -> Durable {
        let prepared = if self.config.forget_prepared_on_restart { Vec::new() } else { self.prepared.texts() };
        Durable {
            store: self.store,
            schema_contents: self.schema_contents,
            replica: self.replica,
            hints: self.coordinator.crash(),
            members: self.members.saved(),
            generation: self.members.generation,
            status: self.members.status,
            timestamps: self.timestamps,
            prepared,
        }
    }

    /// Ends the process in good order (`nodetool drain`, then stop): tells the peers, who mark it down at once, and
    /// closes the clients' connections.
    #[must_use]
    pub fn shut_down(mut self, outputs: &mut Vec<Output>) -> Durable {
        let status = self.members.status;
        if status != NodeStatus::Left {
            self.members.status = NodeStatus::Shutdown;
            self.gossip_to_all(outputs);
            self.members.status = status;
        }
        outputs.extend(self.clients.keys().map(|client| Output::CloseClient { client: *client }));
        self.crash()
    }

    /// Writes `system.local`, and the roles that may log in.
    fn write_own_rows(&mut self, now: Now) {
        let timestamp = self.timestamps.next_local(now);
        let mut mutations = Vec::new();
        if let Some(table) = self.tables.table("local") {
            mutations.push(local_row(table, timestamp, &self.config, now.unix_seconds(), self.schema.version));
        }
        if let (Some(users), Some(table)) = (&self.config.users, self.tables.system.table("system_auth", "roles")) {
            for (user, _) in users {
                let yes = || Some(Bytes::from_static(&[1]));
                let cells = [("role", text(user)), ("is_superuser", yes()), ("can_login", yes())];
                // Every node writes the same rows with the same write time, whichever of them is the replica.
                mutations.push(row(table, 0, &cells));
            }
        }
        for mutation in mutations {
            self.apply_local(&mutation);
        }
    }

    /// Prepares again what was prepared before the restart and is still valid.
    fn reload_prepared(&mut self, texts: &[(Option<String>, String)]) {
        for (keyspace, text) in texts {
            if let Ok(prepared) = self.schema_contents.prepare(&self.schema, keyspace.as_deref(), text) {
                self.prepared.insert(prepared, keyspace.as_deref());
            }
        }
    }
}
