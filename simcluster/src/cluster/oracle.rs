//! Questions that only the simulator can answer: placement and stored data, past the network and its faults.

use super::SimCluster;
use crate::cql::{self, Action, Answer, BindOptions};
use crate::engine::{Member, Members};
use crate::kernel::NodeId;
use crate::node::NodeStatus;
use crate::protocol::{ResultRows, ServerError};
use crate::ring::{Ring, Token};
use crate::schema::Schema;
use crate::storage::{ReadAnswer, Store};
use std::sync::Arc;

impl SimCluster {
    /// The replicas of a partition in ring order, by the true ring and schema; empty if the keyspace does not exist.
    ///
    /// `partition_key` is serialised as for routing.
    #[must_use]
    pub fn replicas(&self, keyspace: &str, partition_key: &[u8]) -> Vec<NodeId> {
        let world = self.simulation.world();
        let Some(schema) = world.members().schema() else { return Vec::new() };
        let Some(keyspace) = schema.keyspaces.get(keyspace) else { return Vec::new() };
        true_ring(world.members()).replicas(Token::of_key(partition_key), &keyspace.replication)
    }

    /// What one node has stored, whether it runs or not: the answer to a SELECT without markers, unpaged.
    ///
    /// # Errors
    ///
    /// As a node: the statement is wrong; [`ServerError::Server`] if it reads nothing or there is no such node.
    pub fn query_node(&self, node: NodeId, select: &str) -> Result<ResultRows, ServerError> {
        self.query_stores(select, Some(node))
    }

    /// What the cluster has stored, all nodes' data merged, crashed ones' too: the answer to a SELECT without markers,
    /// unpaged.
    ///
    /// # Errors
    ///
    /// As a node: the statement is wrong; [`ServerError::Server`] if it reads nothing or there is no such node.
    pub fn query_all(&self, select: &str) -> Result<ResultRows, ServerError> {
        self.query_stores(select, None)
    }

    fn query_stores(&self, select: &str, only: Option<NodeId>) -> Result<ResultRows, ServerError> {
        let micros = self.unix_micros();
        let world = self.simulation.world();
        let members = world.members();
        let schema = members.schema().ok_or_else(no_such_node)?;
        // Who left, or died for good, took its data out of the cluster.
        let is_part = |member: &&Member| !member.is_gone() && member.status() != Some(NodeStatus::Left);
        let is_chosen = |member: &&Member| only.map_or(is_part(member), |only| member.config.id == only);
        let chosen = members.iter().filter(is_chosen);
        let stores: Vec<&Store> = chosen.filter_map(Member::store).collect();
        if stores.is_empty() {
            return Err(no_such_node());
        }
        read(schema, &stores, select, micros)
    }
}

fn true_ring(members: &Members) -> Ring {
    let mut ring = Ring::default();
    for member in members.iter().filter(|member| member.owns_tokens()) {
        let config = &member.config;
        ring.locations.insert(config.id, config.location.clone());
        ring.tokens.extend(config.tokens.iter().map(|token| (*token, config.id)));
    }
    ring
}

fn read(schema: &Schema, stores: &[&Store], select: &str, unix_micros: i64) -> Result<ResultRows, ServerError> {
    let prepared = Arc::new(cql::prepare(schema, None, select)?);
    let unix_seconds = unix_micros.div_euclid(1_000_000);
    let options = BindOptions {
        timestamp: unix_micros,
        clock: unix_micros,
        unix_seconds,
        page_size: None,
        paging_state: None,
        entropy: 0,
    };
    let mut execution = match prepared.bind(schema, &[], &options)? {
        Action::Read(execution) => execution,
        Action::Answer(Answer::Rows(rows)) => return Ok(rows),
        _ => return Err(reads_nothing()),
    };
    while let Some(command) = execution.next_command() {
        let table = schema.table_by_id(command.table).ok_or_else(reads_nothing)?;
        let answers = stores.iter().map(|store| store.read(table, &command, unix_seconds)).collect();
        let (merged, _) = ReadAnswer::merge(table, answers);
        execution.push_answer(schema, merged);
    }
    execution.finish()
}

fn no_such_node() -> ServerError {
    ServerError::Server("the oracle knows no such node, or no node runs".into())
}

fn reads_nothing() -> ServerError {
    ServerError::Server("the oracle only reads".into())
}
