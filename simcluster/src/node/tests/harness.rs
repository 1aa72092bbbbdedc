//! A cluster in memory: delivers outputs to inputs in order of time, with a fixed latency between nodes.

use super::*;
use bytes::{Buf, Bytes};
use std::collections::{BTreeMap, BTreeSet};

/// One way between nodes, in milliseconds.
const LATENCY: u64 = 1;

/// An answer as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Void,
    /// Cells, row by row.
    Rows(Vec<Vec<Option<Bytes>>>),
    Keyspace(String),
    /// The statement's id.
    Prepared(Bytes),
    Schema(String),
    Error(i32, String),
    Ready,
}

/// What waits for its moment: by (milliseconds, sequence).
enum Due {
    Wake(NodeId),
    Message(NodeId, NodeId, PeerMessage),
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    queue: BTreeMap<(u64, u64), Due>,
    sequence: u64,
    pub(super) millis: u64,
    /// Links that lose everything, both ways.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    answers: BTreeMap<(ClientId, i16), Bytes>,
    pub(super) events: Vec<(NodeId, String)>,
    next_stream: i16,
}

impl Cluster {
    pub(super) fn start(nodes: u32) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            millis: 0,
            cut: BTreeSet::new(),
            answers: BTreeMap::new(),
            events: Vec::new(),
            next_stream: 0,
        };
        for id in 1..=nodes {
            cluster.boot(id, config(id, nodes), None);
        }
        cluster.run_for(2_000);
        for id in 1..=nodes {
            cluster.connect(id);
        }
        cluster
    }

    /// Starts a node, or starts it again.
    pub(super) fn boot(&mut self, id: u32, config: NodeConfig, durable: Option<Durable>) {
        let mut outputs = Vec::new();
        let node = Node::start(config, durable, at(self.millis), &mut outputs);
        self.nodes.insert(NodeId(id), node);
        self.take(NodeId(id), outputs);
    }

    /// Lets a new node join.
    pub(super) fn join(&mut self, id: u32, config: NodeConfig) {
        let mut outputs = Vec::new();
        let node = Node::bootstrap(config, at(self.millis), &mut outputs);
        self.nodes.insert(NodeId(id), node);
        self.take(NodeId(id), outputs);
    }

    pub(super) fn crash(&mut self, id: u32) -> Durable {
        self.nodes.remove(&NodeId(id)).expect("running").crash()
    }

    pub(super) fn node(&self, id: u32) -> &Node {
        &self.nodes[&NodeId(id)]
    }

    /// Opens the client connection of a node, ready and registered for all events.
    pub(super) fn connect(&mut self, id: u32) {
        let client = ClientId(u64::from(id));
        self.input(id, Input::ClientOpened { client, from: address(99) });
        assert_eq!(self.call(id, opcode::STARTUP, &startup(&[CQL])), Seen::Ready);
        let mut body = vec![0, 3];
        for name in ["TOPOLOGY_CHANGE", "STATUS_CHANGE", "SCHEMA_CHANGE"] {
            body.extend(string(name));
        }
        assert_eq!(self.call(id, opcode::REGISTER, &body), Seen::Ready);
    }

    pub(super) fn query(&mut self, id: u32, text: &str) -> Seen {
        self.call(id, opcode::QUERY, &query(text))
    }

    /// A query at another consistency level than ONE.
    pub(super) fn query_at(&mut self, id: u32, text: &str, consistency: u8) -> Seen {
        let mut body = query(text);
        let place = body.len() - 2;
        body[place] = consistency;
        self.call(id, opcode::QUERY, &body)
    }

    /// Sends a request to a node and waits for its answer, at most 15 s.
    pub(super) fn call(&mut self, id: u32, code: u8, body: &[u8]) -> Seen {
        let client = ClientId(u64::from(id));
        self.next_stream = (self.next_stream + 1) % i16::MAX;
        let stream = self.next_stream;
        let bytes = Bytes::from(envelope(4, stream, code, body));
        self.input(id, Input::ClientBytes { client, bytes });
        for _ in 0..15_000 {
            if let Some(answer) = self.answers.remove(&(client, stream)) {
                return see(&answer);
            }
            self.run_for(1);
        }
        panic!("no answer from node {id}");
    }

    pub(super) fn input(&mut self, id: u32, input: Input) {
        let mut outputs = Vec::new();
        let node = self.nodes.get_mut(&NodeId(id)).expect("running");
        node.handle(at(self.millis), input, &mut outputs);
        self.take(NodeId(id), outputs);
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, millis: u64) {
        let end = self.millis + millis;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((moment, _), due) = entry.remove_entry();
            self.millis = self.millis.max(moment);
            match due {
                Due::Wake(node) if self.nodes.contains_key(&node) => self.input(node.0, Input::Wake),
                Due::Message(from, to, message) if self.nodes.contains_key(&to) && !self.is_cut(from, to) => {
                    self.input(to.0, Input::Peer { from, message });
                }
                Due::Wake(_) | Due::Message(..) => {}
            }
        }
        self.millis = end;
    }

    fn is_cut(&self, a: NodeId, b: NodeId) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    fn take(&mut self, node: NodeId, outputs: Vec<Output>) {
        for output in outputs {
            self.sequence += 1;
            match output {
                Output::ToClient { client, kind: ClientOutput::Response { stream }, bytes } => {
                    self.answers.insert((client, stream), bytes);
                }
                Output::ToPeer { to, message } => {
                    assert!(message.size() > 0);
                    let due = Due::Message(node, to, message);
                    self.queue.insert((self.millis + LATENCY, self.sequence), due);
                }
                Output::WakeAt(moment) => {
                    let millis = moment.as_nanos().div_ceil(1_000_000).max(self.millis);
                    self.queue.insert((millis, self.sequence), Due::Wake(node));
                }
                Output::Observed(Observation::EventSent { event, .. }) => self.events.push((node, event)),
                Output::Observed(Observation::ProtocolViolation { reason, .. }) => panic!("violation: {reason}"),
                Output::ToClient { kind: ClientOutput::Event, .. }
                | Output::CloseClient { .. }
                | Output::Observed(_) => {}
            }
        }
    }
}

/// Reads an answer with the eyes of a v4 client.
fn see(answer: &Bytes) -> Seen {
    let mut body = answer.slice(9..);
    let text = |body: &mut Bytes| {
        let len = usize::from(body.get_u16());
        String::from_utf8(body.split_to(len).to_vec()).expect("utf-8")
    };
    if answer[1] & crate::protocol::flag::TRACING != 0 {
        body.advance(16);
    }
    if answer[1] & crate::protocol::flag::WARNING != 0 {
        for _ in 0..body.get_u16() {
            text(&mut body);
        }
    }
    match answer[4] {
        opcode::ERROR => {
            let code = body.get_i32();
            Seen::Error(code, text(&mut body))
        }
        opcode::READY => Seen::Ready,
        opcode::RESULT => match body.get_i32() {
            1 => Seen::Void,
            2 => rows(body),
            3 => Seen::Keyspace(text(&mut body)),
            4 => {
                let len = usize::from(body.get_u16());
                Seen::Prepared(body.split_to(len))
            }
            _ => {
                let words = [text(&mut body), text(&mut body), text(&mut body)];
                Seen::Schema(words.join(" "))
            }
        },
        other => panic!("opcode {other}"),
    }
}

fn rows(mut body: Bytes) -> Seen {
    let skip = |body: &mut Bytes| {
        let len = usize::from(body.get_u16());
        body.advance(len);
    };
    let flags = body.get_i32();
    let columns = body.get_i32();
    if flags & 2 != 0 {
        let len = usize::try_from(body.get_i32()).expect("positive");
        body.advance(len);
    }
    if flags & 1 != 0 {
        skip(&mut body);
        skip(&mut body);
    }
    for _ in 0..columns {
        assert_eq!(flags & 5, 1, "tests read columns of one table only");
        skip(&mut body);
        skip_type(&mut body);
    }
    let count = body.get_i32();
    let rows = (0..count).map(|_| {
        let cells = (0..columns).map(|_| usize::try_from(body.get_i32()).ok().map(|len| body.split_to(len)));
        cells.collect()
    });
    Seen::Rows(rows.collect())
}

fn skip_type(body: &mut Bytes) {
    match body.get_u16() {
        0 => {
            let len = usize::from(body.get_u16());
            body.advance(len);
        }
        0x20 | 0x22 => skip_type(body),
        0x21 => {
            skip_type(body);
            skip_type(body);
        }
        _ => {}
    }
}
