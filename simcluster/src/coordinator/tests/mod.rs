//! Coordinators, replicas and stores in one process, joined by a wire that each test may cut, hold and shuffle.

mod batches;
mod counters;
mod levels;
mod paxos;
mod reads;
mod writes;

use super::read::{Fetch, Fetched};
use super::{
    Context, Coordinator, CoordinatorConfig, Effect, Operation, Outcome, Owner, Request, RequestId, Running, Step,
};
use crate::cql::{Action, Answer, WriteKind, WritePlan, row_mutation};
use crate::entropy::Entropy;
use crate::kernel::{NodeId, Now, SimInstant};
use crate::protocol::{Consistency, ResultRows, ServerError};
use crate::replica::{Question, QuestionId, Replica, Reply};
use crate::ring::{Location, Ring, Token, TokenRange};
use crate::schema::{Column, ColumnKind, Dialect, Keyspace, Schema, Table};
use crate::storage::{ColumnId, Mutation, ReadAnswer, ReadCommand, ReadTarget, Store};
use crate::types::CqlType;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What a request ended with.
pub(super) type Ended = Result<Answer, ServerError>;

/// A message between two nodes.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    id: QuestionId,
    pub(super) body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Question(Question),
    Reply(Reply),
}

impl Message {
    pub(super) fn is_question(&self) -> bool {
        matches!(self.body, Body::Question(_))
    }
}

/// A few nodes and the wire between them. Node 1 stands first in `places`.
pub(super) struct World {
    pub(super) nodes: BTreeMap<NodeId, Member>,
    pub(super) schema: Schema,
    pub(super) ring: Ring,
    pub(super) now: SimInstant,
    pub(super) wire: VecDeque<Message>,
    /// Messages for which this says true are lost.
    pub(super) loses: Box<dyn FnMut(&Message) -> bool>,
    wakes: BTreeSet<(SimInstant, NodeId)>,
    ended: BTreeMap<RequestId, Ended>,
    entropy: Entropy,
    /// How far each node's wall clock is ahead, in microseconds.
    skews: BTreeMap<NodeId, i64>,
    last_request: u64,
    last_timestamp: i64,
}

pub(super) struct Member {
    pub(super) coordinator: Coordinator,
    pub(super) replica: Replica,
    pub(super) store: Store,
    alive: BTreeSet<NodeId>,
    pub(super) is_running: bool,
}

/// What a message takes on its way.
const MESSAGE_TIME: Duration = Duration::from_micros(100);

impl World {
    /// One node per place (data centre, rack); `options` are the replication options of keyspace `ks`.
    pub(super) fn new(places: &[(&str, &str)], options: &[(&str, &str)]) -> Self {
        let mut ring = Ring::default();
        let mut nodes = BTreeMap::new();
        let all: BTreeSet<NodeId> = (1u32..).take(places.len()).map(NodeId).collect();
        let share = u64::MAX / places.len() as u64;
        for (id, (datacenter, rack)) in all.iter().zip(places) {
            let offset = share.wrapping_mul(u64::from(id.0));
            ring.tokens.insert(Token(i64::MIN.wrapping_add(offset.cast_signed())), *id);
            let location = Location { datacenter: (*datacenter).to_owned(), rack: (*rack).to_owned() };
            ring.locations.insert(*id, location);
            ring.addresses.insert(*id, address(id.0));
            nodes.insert(
                *id,
                Member {
                    coordinator: Coordinator::new(CoordinatorConfig::default()),
                    replica: Replica::default(),
                    store: Store::default(),
                    alive: all.clone(),
                    is_running: true,
                },
            );
        }
        Self {
            nodes,
            schema: schema(options),
            ring,
            now: SimInstant::from_nanos(1),
            wire: VecDeque::new(),
            loses: Box::new(|_| false),
            wakes: BTreeSet::new(),
            ended: BTreeMap::new(),
            entropy: Entropy::new(7),
            skews: BTreeMap::new(),
            last_request: 0,
            last_timestamp: 1_000_000,
        }
    }

    /// Three nodes of one data centre that all have everything.
    pub(super) fn three() -> Self {
        Self::new(&[("dc1", "r1"); 3], &[("class", "SimpleStrategy"), ("replication_factor", "3")])
    }

    pub(super) fn table(&self, name: &str) -> &Arc<Table> {
        self.schema.table("ks", name).expect("a table of the test schema")
    }

    /// A write of `v` to the row of `k`, later than all before.
    pub(super) fn mutation(&mut self, k: i32, v: i32) -> Mutation {
        self.last_timestamp += 1;
        row_mutation(self.table("t"), self.last_timestamp, &[("k", int(k)), ("v", int(v))])
    }

    pub(super) fn begin(&mut self, node: u32, action: Action, consistency: Consistency) -> RequestId {
        self.begin_serial(node, action, consistency, Consistency::Serial)
    }

    pub(super) fn begin_serial(
        &mut self,
        node: u32,
        action: Action,
        consistency: Consistency,
        serial_consistency: Consistency,
    ) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let request = Request { id, action, consistency, serial_consistency, protocol_version: 5 };
        self.step(NodeId(node), |coordinator, context, effects| coordinator.handle_request(context, request, effects));
        id
    }

    pub(super) fn begin_write(&mut self, node: u32, k: i32, v: i32, consistency: Consistency) -> RequestId {
        let mutation = self.mutation(k, v);
        self.begin(node, write_action(vec![mutation], WriteKind::Simple), consistency)
    }

    /// Writes and waits for the end, letting time pass if need be.
    pub(super) fn write(&mut self, node: u32, k: i32, v: i32, consistency: Consistency) -> Ended {
        let id = self.begin_write(node, k, v, consistency);
        self.finish(id)
    }

    pub(super) fn begin_read(&mut self, node: u32, target: ReadTarget, limit: usize, level: Consistency) -> RequestId {
        let command = ReadCommand::new(self.table("t").id, "ks", target, limit);
        self.begin_probe(node, command, level)
    }

    fn begin_probe(&mut self, node: u32, command: ReadCommand, consistency: Consistency) -> RequestId {
        self.begin_operation(node, Box::new(Probe { command, consistency, fetch: None }))
    }

    /// Begins something that no statement makes.
    fn begin_operation(&mut self, node: u32, operation: Box<dyn Operation>) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let running = Running { operation, protocol_version: 5 };
        self.step(NodeId(node), |coordinator, context, effects| {
            coordinator.run(context, Owner::Request(id), running, effects, |operation, io| operation.start(io));
        });
        id
    }

    /// The value of `v` in the row of `k`, waiting as long as need be.
    pub(super) fn read(&mut self, node: u32, k: i32, consistency: Consistency) -> Result<Option<i32>, ServerError> {
        let id = self.begin_read(node, ReadTarget::Partition(key(k)), 100, consistency);
        Ok(values(&self.finish(id)?).into_iter().next().map(|(_, v)| v))
    }

    /// Up to `limit` rows of the whole ring, as keys and values.
    pub(super) fn scan(&mut self, node: u32, limit: usize, level: Consistency) -> Result<Vec<(i32, i32)>, ServerError> {
        let id = self.begin_read(node, ReadTarget::Range(TokenRange::FULL), limit, level);
        Ok(values(&self.finish(id)?))
    }

    /// What one node has stored, seen by itself alone.
    pub(super) fn stored(&self, node: u32, k: i32) -> Option<i32> {
        let table = self.table("t");
        let command = ReadCommand::new(table.id, "ks", ReadTarget::Partition(key(k)), 100);
        let answer = self.nodes[&NodeId(node)].store.read(table, &command, 1);
        rows(&answer).into_iter().next().map(|(_, v)| v)
    }

    pub(super) fn outcome(&self, id: RequestId) -> Option<&Ended> {
        self.ended.get(&id)
    }

    /// Lets messages and time pass until the request has ended.
    pub(super) fn finish(&mut self, id: RequestId) -> Ended {
        self.settle();
        while !self.ended.contains_key(&id) {
            assert!(self.pass_to_next_wake(), "request {id:?} never ends");
        }
        self.ended.remove(&id).expect("it has ended")
    }

    /// Delivers all messages, in order, without letting time pass.
    pub(super) fn settle(&mut self) {
        while let Some(message) = self.wire.pop_front() {
            // Without it two transactions that always finish each other's proposals would do so for ever.
            self.now = self.now + MESSAGE_TIME;
            self.deliver(message);
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while self.wakes.first().is_some_and(|(at, _)| *at <= end) {
            self.pass_to_next_wake();
        }
        self.now = end;
    }

    pub(super) fn pass_to_next_wake(&mut self) -> bool {
        let woken = self.wake_next();
        self.settle();
        woken
    }

    /// Lets time pass to the next moment that some node has asked for, and delivers nothing.
    pub(super) fn wake_next(&mut self) -> bool {
        let Some((at, node)) = self.wakes.pop_first() else { return false };
        self.now = self.now.max(at);
        if self.nodes[&node].is_running {
            self.step(node, Coordinator::handle_timeout);
        }
        true
    }

    pub(super) fn deliver(&mut self, message: Message) {
        if (self.loses)(&message) || !self.nodes[&message.to].is_running {
            return;
        }
        let Message { from, to, id, body } = message;
        match body {
            Body::Question(question) => {
                let reply = self.answer(to, question);
                self.wire.push_back(Message { from: to, to: from, id, body: Body::Reply(reply) });
            }
            Body::Reply(reply) => self.take_reply(to, from, id, reply),
        }
    }

    fn take_reply(&mut self, node: NodeId, from: NodeId, id: QuestionId, reply: Reply) {
        self.step(node, |coordinator, context, effects| coordinator.handle_reply(context, from, id, reply, effects));
    }

    /// The node stops, and all others know.
    pub(super) fn stop(&mut self, node: u32) {
        self.nodes.get_mut(&NodeId(node)).expect("a node").is_running = false;
        self.convict(node);
    }

    /// All others believe the node dead.
    pub(super) fn convict(&mut self, node: u32) {
        for member in self.nodes.values_mut() {
            member.alive.remove(&NodeId(node));
        }
    }

    /// The node runs again and all others know.
    pub(super) fn start(&mut self, node: u32) {
        self.nodes.get_mut(&NodeId(node)).expect("a node").is_running = true;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.nodes.get_mut(&id).expect("a node").alive.insert(NodeId(node));
            self.step(id, |coordinator, context, effects| {
                coordinator.handle_node_up(context, NodeId(node), effects);
            });
        }
    }

    /// Begins the periodic duties of all nodes.
    pub(super) fn begin_duties(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.step(id, Coordinator::handle_timeout);
        }
    }

    /// The process of a node dies and starts again with what is on disk.
    pub(super) fn restart(&mut self, node: u32) {
        let member = self.nodes.get_mut(&NodeId(node)).expect("a node");
        let config = CoordinatorConfig::default();
        let old = std::mem::replace(&mut member.coordinator, Coordinator::new(config.clone()));
        member.coordinator = Coordinator::with_hints(config, old.crash());
    }

    fn clock_of(&self, node: NodeId) -> Now {
        let Now { at, unix_micros } = clock(self.now);
        Now { at, unix_micros: unix_micros + self.skews.get(&node).copied().unwrap_or(0) }
    }

    fn answer(&mut self, node: NodeId, question: Question) -> Reply {
        let now = self.clock_of(node);
        let member = self.nodes.get_mut(&node).expect("a node");
        let shard = Uuid::from_u128(u128::from(node.0));
        member.replica.handle(now, node, shard, &self.schema, &mut member.store, question)
    }

    fn step(&mut self, node: NodeId, act: impl FnOnce(&mut Coordinator, &Context<'_>, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let now = self.clock_of(node);
        let member = self.nodes.get_mut(&node).expect("a node");
        let context = Context {
            now,
            me: node,
            ring: &self.ring,
            schema: &self.schema,
            alive: &member.alive,
            entropy: &self.entropy,
        };
        act(&mut member.coordinator, &context, &mut effects);
        for effect in effects {
            match effect {
                Effect::Ask { to, id, question } if to == node => {
                    let reply = self.answer(node, question);
                    self.take_reply(node, node, id, reply);
                }
                Effect::Ask { to, id, question } => {
                    self.wire.push_back(Message { from: node, to, id, body: Body::Question(question) });
                }
                Effect::WakeAt(at) => {
                    self.wakes.insert((at, node));
                }
                Effect::Done { id, outcome, .. } => {
                    assert!(self.ended.insert(id, outcome).is_none(), "{id:?} ended twice");
                }
            }
        }
    }
}

/// A read whose answer the test can see.
#[derive(Debug)]
struct Probe {
    command: ReadCommand,
    consistency: Consistency,
    fetch: Option<Fetch>,
}

impl Probe {
    fn end(fetched: Fetched) -> Step {
        let result = fetched?.map(|answer| {
            let rows = rows(&answer).into_iter().map(|(k, v)| vec![int(k), int(v)]).collect();
            Answer::Rows(ResultRows { columns: Arc::from([]), rows, paging_state: None })
        });
        Some(Outcome { result, warnings: Vec::new() })
    }
}

impl Operation for Probe {
    fn start(&mut self, io: &mut super::Io<'_>) -> Step {
        match Fetch::start(io, self.command.clone(), self.consistency) {
            Ok(fetch) => {
                self.fetch = Some(fetch);
                None
            }
            Err(error) => Some(Outcome::failed(error)),
        }
    }

    fn handle_reply(&mut self, io: &mut super::Io<'_>, from: NodeId, id: QuestionId, reply: Reply) -> Step {
        Self::end(self.fetch.as_mut()?.handle_reply(io, from, id, reply))
    }

    fn handle_timeout(&mut self, io: &mut super::Io<'_>) -> Step {
        Self::end(self.fetch.as_mut()?.handle_timeout(io))
    }
}

pub(super) fn write_action(mutations: Vec<Mutation>, kind: WriteKind) -> Action {
    Action::Write(WritePlan { mutations, kind, is_batch: matches!(kind, WriteKind::LoggedBatch), warnings: Vec::new() })
}

pub(super) fn int(value: i32) -> crate::types::Value {
    Some(key(value))
}

pub(super) fn key(value: i32) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

pub(super) fn address(node: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node).expect("few nodes")))
}

/// Virtual time is wall clock time, from second 1 on.
fn clock(at: SimInstant) -> Now {
    Now { at, unix_micros: 1_000_000 + i64::try_from(at.as_nanos() / 1000).expect("short tests") }
}

fn number(bytes: &Bytes) -> i32 {
    i32::from_be_bytes(bytes.as_ref().try_into().expect("an int"))
}

/// Keys and live values, in the order of the answer.
fn rows(answer: &ReadAnswer) -> Vec<(i32, i32)> {
    let value =
        |row: &crate::storage::Row| row.cell(ColumnId::of("v")).and_then(|cell| cell.value.as_ref().map(number));
    let live = |partition: &crate::storage::Partition| partition.rows.values().filter_map(value).collect::<Vec<_>>();
    answer.partitions.iter().flat_map(|(k, p)| live(p).into_iter().map(|v| (number(k), v))).collect()
}

fn values(answer: &Answer) -> Vec<(i32, i32)> {
    let Answer::Rows(rows) = answer else { panic!("no rows: {answer:?}") };
    let cell = |value: &crate::types::Value| number(value.as_ref().expect("no null"));
    rows.rows.iter().map(|row| (cell(&row[0]), cell(&row[1]))).collect()
}

/// Keyspace `ks` with tables `t` (k int, v int) and `c` (k int, n counter).
fn schema(options: &[(&str, &str)]) -> Schema {
    let keyspace = Keyspace {
        name: "ks".to_owned(),
        replication: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        durable_writes: true,
        tables: BTreeMap::from([
            ("t".to_owned(), Arc::new(table("t", 1, "v", CqlType::Int))),
            ("c".to_owned(), Arc::new(table("c", 2, "n", CqlType::Counter))),
        ]),
        views: BTreeMap::new(),
        types: BTreeMap::new(),
        functions: BTreeMap::new(),
        aggregates: BTreeMap::new(),
        is_virtual: false,
    };
    Schema {
        keyspaces: BTreeMap::from([("ks".to_owned(), Arc::new(keyspace))]),
        version: Uuid::nil(),
        dialect: Dialect::default(),
    }
}

fn table(name: &str, id: u128, value: &str, cql_type: CqlType) -> Table {
    let column = |name: &str, cql_type, kind, position| Column {
        name: name.to_owned(),
        cql_type,
        kind,
        position,
        descending: false,
    };
    Table {
        keyspace: "ks".to_owned(),
        name: name.to_owned(),
        id: Uuid::from_u128(id),
        is_counter: cql_type == CqlType::Counter,
        columns: vec![
            column("k", CqlType::Int, ColumnKind::PartitionKey, 0),
            column(value, cql_type, ColumnKind::Regular, -1),
        ],
        partition_key_len: 1,
        clustering_len: 0,
        options: Arc::default(),
        indexes: BTreeMap::new(),
        dropped: BTreeMap::new(),
    }
}
