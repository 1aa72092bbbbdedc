//! All connections between clients and nodes, both ends and what is between them.
//!
//! # Invariants
//!
//! - Bytes are delayed, never lost, while contact is lost: what could not arrive stays in its pipe and arrives after
//!   contact is back and a retransmission was due.
//! - A node's end that is gone answers data with RST, as an operating system does for an unknown connection.
//! - A connection is forgotten when the client has given it up and the node's end is gone.

mod client_end;
mod event;

pub use event::{Delivery, Event};

use super::hosts::Hosts;
use super::pipe::{Payload, Pipe};
use super::{Endpoint, LinkConfig, ProcessState};
use crate::entropy::{Dice, Entropy};
use crate::kernel::{NodeId, SimInstant};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// A connection between a client and a node. Unique in the whole simulation, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// All connections, and the machines they lead to.
#[derive(Debug)]
pub struct Network {
    config: LinkConfig,
    entropy: Entropy,
    hosts: Hosts,
    connections: BTreeMap<ConnectionId, Connection>,
    clients: BTreeMap<Arc<str>, u32>,
    dialled: BTreeMap<(u32, NodeId), u64>,
    next_connection: u64,
    scheduled: Vec<(SimInstant, Event)>,
    deliveries: Vec<Delivery>,
}

/// What the client's end knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientEnd {
    /// Waiting for the node's machine.
    Connecting,
    /// Established.
    Open,
    /// Failed; every operation reports this.
    Failed(io::ErrorKind),
    /// Given up by the client.
    Dropped,
}

/// What the node's end knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeEnd {
    /// The request to connect has not arrived.
    Unknown,
    /// Accepted.
    Open,
    /// Closed by the node, the client, or the end of the process.
    Gone,
}

#[derive(Debug)]
struct Connection {
    client: u32,
    name: Arc<str>,
    node: NodeId,
    from: SocketAddr,
    client_end: ClientEnd,
    node_end: NodeEnd,
    to_node: Pipe,
    to_client: Pipe,
    is_write_shut: bool,
    is_at_end: bool,
    received: VecDeque<Bytes>,
    received_len: usize,
    read_offset: u64,
    sent_offset: u64,
    answers: VecDeque<(u64, i16)>,
    /// How many bytes have arrived at the client, after each arrival that it has not read to the end.
    arrivals: VecDeque<(u64, SimInstant)>,
    arrived_offset: u64,
    read_dice: Dice,
    waiting_read: Option<Waker>,
    waiting_write: Option<Waker>,
    /// Whether the node has left the address to which the request to connect is on its way.
    is_astray: bool,
}

impl Network {
    /// A network without connections.
    #[must_use]
    pub fn new(config: LinkConfig, entropy: Entropy) -> Self {
        Self {
            config,
            entropy,
            hosts: Hosts::default(),
            connections: BTreeMap::new(),
            clients: BTreeMap::new(),
            dialled: BTreeMap::new(),
            next_connection: 0,
            scheduled: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    /// Takes the events that are to be handed to [`Network::handle`] when they are due.
    pub fn take_scheduled(&mut self) -> std::vec::Drain<'_, (SimInstant, Event)> {
        self.scheduled.drain(..)
    }

    /// Takes what happened since the last call.
    pub fn take_deliveries(&mut self, into: &mut VecDeque<Delivery>) {
        into.extend(self.deliveries.drain(..));
    }

    /// Begins to connect a client to a node.
    pub fn connect(&mut self, now: SimInstant, client: &Arc<str>, node: NodeId) -> ConnectionId {
        let next_client = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let index = *self.clients.entry(client.clone()).or_insert(next_client);
        let dialled = self.dialled.entry((index, node)).or_insert(0);
        *dialled += 1;
        // The draws of a connection depend on who connects to whom for which time, not on all connections before it.
        let pair = (u64::from(index) << 32) | u64::from(node.0);
        let entity = self.entropy.draw("connection", pair, *dialled);
        self.next_connection += 1;
        let id = ConnectionId(self.next_connection);
        let mut to_node = Pipe::new(self.entropy.dice("to-node", entity));
        to_node.send(now, Payload::Accepted, &self.config, self.hosts.host(node).extra_latency, |at| {
            self.scheduled.push((at, Event::Syn { connection: id, attempt: 0 }));
        });
        to_node.clear();
        let connection = Connection {
            client: index,
            name: client.clone(),
            node,
            from: client_address(index, self.next_connection),
            client_end: ClientEnd::Connecting,
            node_end: NodeEnd::Unknown,
            to_node,
            to_client: Pipe::new(self.entropy.dice("to-client", entity)),
            is_write_shut: false,
            is_at_end: false,
            received: VecDeque::new(),
            received_len: 0,
            read_offset: 0,
            sent_offset: 0,
            answers: VecDeque::new(),
            arrivals: VecDeque::new(),
            arrived_offset: 0,
            read_dice: self.entropy.dice("read", entity),
            waiting_read: None,
            waiting_write: None,
            is_astray: false,
        };
        self.connections.insert(id, connection);
        id
    }

    /// Applies an event that is due.
    pub fn handle(&mut self, now: SimInstant, event: Event) {
        match event {
            Event::Syn { connection, attempt } => self.handle_syn(now, connection, attempt),
            Event::AtNode(connection) => self.arrive_at_node(now, connection),
            Event::AtClient(connection) => self.arrive_at_client(now, connection),
        }
    }

    fn handle_syn(&mut self, now: SimInstant, id: ConnectionId, attempt: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.client_end != ClientEnd::Connecting {
            self.connections.remove(&id);
            return;
        }
        let node = connection.node;
        let host = self.hosts.host(node);
        let (to, from) = (Endpoint::Node(node), Endpoint::Clients);
        let is_silent = connection.is_astray
            || host.process == ProcessState::Vanished
            || self.hosts.is_cut(from, to)
            // Without the answer the client's machine repeats its request.
            || self.hosts.is_cut(to, from);
        if is_silent {
            if attempt >= SYN_RETRIES {
                connection.fail(io::ErrorKind::TimedOut);
                self.deliveries.push(Delivery::Socket { connection: id, node, what: "timed out" });
                return;
            }
            let again = now + Duration::from_secs(1 << attempt);
            self.scheduled.push((again, Event::Syn { connection: id, attempt: attempt + 1 }));
            return;
        }
        if host.refuses || host.process == ProcessState::Dead {
            connection.node_end = NodeEnd::Gone;
            self.send_to_client_end(now, id, Payload::Refused);
            return;
        }
        connection.node_end = NodeEnd::Open;
        let (from, client) = (connection.from, connection.name.clone());
        self.deliveries.push(Delivery::Opened { connection: id, node, from, client });
        self.send_to_client_end(now, id, Payload::Accepted);
    }

    fn arrive_at_node(&mut self, now: SimInstant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let node = connection.node;
        let process = self.hosts.host(node).process;
        if process == ProcessState::Vanished || self.hosts.is_cut(Endpoint::Clients, Endpoint::Node(node)) {
            return; // What did not arrive stays in the pipe.
        }
        if process == ProcessState::Paused && connection.node_end == NodeEnd::Open {
            return; // It arrived, but nobody reads it.
        }
        let mut answer = None;
        while let Some(segment) = connection.to_node.pop(now) {
            match (connection.node_end, segment.payload) {
                (NodeEnd::Open, Payload::Data(bytes)) => {
                    let sent_at = segment.sent_at;
                    self.deliveries.push(Delivery::Bytes { connection: id, node, bytes, sent_at });
                }
                (NodeEnd::Open, end) => {
                    connection.node_end = NodeEnd::Gone;
                    self.deliveries.push(Delivery::Closed { connection: id, node, sent_at: segment.sent_at });
                    if end == Payload::Fin {
                        answer = Some(Payload::Fin);
                    }
                }
                (NodeEnd::Gone | NodeEnd::Unknown, Payload::Data(_)) => answer = Some(Payload::Reset),
                (NodeEnd::Gone | NodeEnd::Unknown, _) => {}
            }
        }
        if connection.to_node.queued() < self.config.send_buffer {
            wake(&mut connection.waiting_write);
        }
        if let Some(answer) = answer {
            self.send_to_client_end(now, id, answer);
        }
        self.forget_if_over(id);
    }

    fn arrive_at_client(&mut self, now: SimInstant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let node = connection.node;
        if self.hosts.is_cut(Endpoint::Node(node), Endpoint::Clients) {
            return; // What did not arrive stays in the pipe.
        }
        while connection.received_len < self.config.receive_window
            && let Some(segment) = connection.to_client.pop(now)
        {
            if connection.client_end == ClientEnd::Dropped {
                continue;
            }
            let what = match segment.payload {
                Payload::Data(bytes) => {
                    connection.received_len += bytes.len();
                    connection.arrived_offset += bytes.len() as u64;
                    connection.arrivals.push_back((connection.arrived_offset, now));
                    self.deliveries.push(Delivery::AtClient { connection: id, node, bytes: bytes.clone() });
                    connection.received.push_back(bytes);
                    wake(&mut connection.waiting_read);
                    continue;
                }
                Payload::Accepted => {
                    connection.client_end = ClientEnd::Open;
                    wake(&mut connection.waiting_write);
                    "established"
                }
                Payload::Refused => {
                    connection.fail(io::ErrorKind::ConnectionRefused);
                    "refused"
                }
                Payload::Fin => {
                    connection.is_at_end = true;
                    wake(&mut connection.waiting_read);
                    "closed"
                }
                Payload::Reset => {
                    connection.fail(io::ErrorKind::ConnectionReset);
                    "reset"
                }
            };
            self.deliveries.push(Delivery::Socket { connection: id, node, what });
        }
        self.forget_if_over(id);
    }

    /// Sends what a node's process wants sent; returns false if its end of the connection is gone.
    ///
    /// `answers` is the stream id if the bytes are the whole answer to a request.
    pub fn send_to_client(&mut self, now: SimInstant, id: ConnectionId, bytes: Bytes, answers: Option<i16>) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if connection.node_end != NodeEnd::Open {
            return false;
        }
        connection.sent_offset += bytes.len() as u64;
        if let Some(stream) = answers {
            connection.answers.push_back((connection.sent_offset, stream));
        }
        self.send_to_client_end(now, id, Payload::Data(bytes));
        true
    }

    /// How many bytes sent to this client have not been read by it.
    #[must_use]
    pub fn unread(&self, id: ConnectionId) -> usize {
        self.connections.get(&id).map_or(0, |connection| connection.to_client.queued() + connection.received_len)
    }

    /// Closes the node's end: with FIN after everything sent before, or with RST.
    pub fn close_node_end(&mut self, now: SimInstant, id: ConnectionId, with_reset: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if std::mem::replace(&mut connection.node_end, NodeEnd::Gone) == NodeEnd::Open {
            self.send_to_client_end(now, id, if with_reset { Payload::Reset } else { Payload::Fin });
        }
        self.forget_if_over(id);
    }

    fn send_to_client_end(&mut self, now: SimInstant, id: ConnectionId, payload: Payload) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.client_end == ClientEnd::Dropped {
            return;
        }
        let extra = self.hosts.host(connection.node).extra_latency;
        let scheduled = &mut self.scheduled;
        connection.to_client.send(now, payload, &self.config, extra, |at| scheduled.push((at, Event::AtClient(id))));
    }

    fn send_to_node_end(&mut self, now: SimInstant, id: ConnectionId, payload: Payload) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let extra = self.hosts.host(connection.node).extra_latency;
        let scheduled = &mut self.scheduled;
        connection.to_node.send(now, payload, &self.config, extra, |at| scheduled.push((at, Event::AtNode(id))));
    }

    /// The node that a connection leads to, while one of its ends is there.
    #[must_use]
    pub fn node_of(&self, id: ConnectionId) -> Option<NodeId> {
        self.connections.get(&id).map(|connection| connection.node)
    }

    /// The connections whose node's end is open, in the order in which they were begun.
    #[must_use]
    pub fn open_at_node(&self, node: NodeId) -> Vec<ConnectionId> {
        let open = self.connections.iter().filter(|(_, c)| c.node == node && c.node_end == NodeEnd::Open);
        open.map(|(id, _)| *id).collect()
    }

    /// How many connections a client holds: established, being established or failed, but not dropped.
    #[must_use]
    pub fn open_at_client(&self, client: &str) -> usize {
        let Some(index) = self.clients.get(client) else { return 0 };
        self.connections.values().filter(|c| c.client == *index && c.client_end != ClientEnd::Dropped).count()
    }

    /// Changes what runs on a node's machine. The node's ends of connections end without a sign unless they were
    /// closed before ([`Network::close_node_end`]).
    pub fn set_process(&mut self, now: SimInstant, node: NodeId, process: ProcessState) {
        let before = std::mem::replace(&mut self.hosts.host_mut(node).process, process);
        if matches!(process, ProcessState::Dead | ProcessState::Vanished) {
            for connection in self.connections.values_mut().filter(|c| c.node == node) {
                if connection.node_end == NodeEnd::Open {
                    connection.node_end = NodeEnd::Gone;
                }
            }
        }
        // A process that resumes reads at once what its machine has received; a machine that is back must wait for
        // the clients' machines to send again.
        let is_retransmitted = before == ProcessState::Vanished;
        self.deliver_delayed(now, is_retransmitted, |endpoint| endpoint == (Endpoint::Clients, Endpoint::Node(node)));
    }

    /// A node's machine leaves its address: whoever is still connecting to it there finds nobody.
    pub fn leave_address(&mut self, node: NodeId) {
        let is_on_its_way = |connection: &&mut Connection| connection.node_end == NodeEnd::Unknown;
        for connection in self.connections.values_mut().filter(|c| c.node == node).filter(is_on_its_way) {
            connection.is_astray = true;
        }
    }

    /// Sets whether a node's machine refuses connections.
    pub fn set_refuses(&mut self, node: NodeId, refuses: bool) {
        self.hosts.host_mut(node).refuses = refuses;
    }

    /// Sets what is added to every latency from and to a node.
    pub fn set_extra_latency(&mut self, node: NodeId, extra: Duration) {
        self.hosts.host_mut(node).extra_latency = extra;
    }

    /// Replaces the set of cuts: ordered pairs of which the first cannot reach the second.
    pub fn set_cuts(&mut self, now: SimInstant, cuts: BTreeSet<(Endpoint, Endpoint)>) {
        let before = std::mem::replace(&mut self.hosts.cuts, cuts);
        let healed: BTreeSet<_> = before.difference(&self.hosts.cuts).copied().collect();
        if !healed.is_empty() {
            self.deliver_delayed(now, true, |pair| healed.contains(&pair));
        }
    }

    /// Schedules the arrival of what stayed in pipes between the chosen ends.
    fn deliver_delayed(
        &mut self,
        now: SimInstant,
        is_retransmitted: bool,
        chosen: impl Fn((Endpoint, Endpoint)) -> bool,
    ) {
        for (id, connection) in &mut self.connections {
            let node = Endpoint::Node(connection.node);
            let directions = [
                ((Endpoint::Clients, node), &connection.to_node, Event::AtNode(*id)),
                ((node, Endpoint::Clients), &connection.to_client, Event::AtClient(*id)),
            ];
            for (pair, pipe, event) in directions {
                if chosen(pair) && pipe.next_arrival().is_some_and(|at| at <= now) {
                    let delay = connection.read_dice.below(RETRANSMISSION_MAX_NANOS);
                    let delay = if is_retransmitted { Duration::from_nanos(delay) } else { Duration::ZERO };
                    self.scheduled.push((now + delay, event));
                }
            }
        }
    }

    /// Draws the latency of a message between nodes.
    #[must_use]
    pub fn peer_latency(&self, from: NodeId, to: NodeId, dice: &mut Dice) -> Duration {
        self.config.latency(dice) + self.hosts.host(from).extra_latency + self.hosts.host(to).extra_latency
    }

    /// Whether one end can reach the other at this moment.
    #[must_use]
    pub fn is_cut(&self, from: Endpoint, to: Endpoint) -> bool {
        self.hosts.is_cut(from, to)
    }

    fn forget_if_over(&mut self, id: ConnectionId) {
        let is_over = self.connections.get(&id).is_some_and(|connection| {
            connection.client_end == ClientEnd::Dropped && connection.node_end == NodeEnd::Gone
        });
        if is_over {
            self.connections.remove(&id);
        }
    }
}

impl Connection {
    fn fail(&mut self, kind: io::ErrorKind) {
        self.client_end = ClientEnd::Failed(kind);
        wake(&mut self.waiting_read);
        wake(&mut self.waiting_write);
    }
}

fn wake(slot: &mut Option<Waker>) {
    if let Some(waker) = slot.take() {
        waker.wake();
    }
}

/// Clients sit in 10.200.0.0/16, one address each; ports count up within the ephemeral range.
fn client_address(client: u32, connection: u64) -> SocketAddr {
    let [_, _, high, low] = (client + 1).to_be_bytes();
    let port = 32_768 + u16::try_from(connection % 28_000).unwrap_or(0);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 200, high, low)), port)
}

/// Linux's default: after 1 + 2 + 4 + 8 + 16 + 32 + 64 seconds a connection attempt times out.
const SYN_RETRIES: u32 = 6;

/// After contact is back, the sender's retransmission timer fires within this time.
const RETRANSMISSION_MAX_NANOS: u64 = 1_500_000_000;
