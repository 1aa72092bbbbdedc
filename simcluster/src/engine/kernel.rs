//! The simulated world: members, network, faults and ledger, driven by the event queue.
//!
//! # Invariants
//!
//! - Everything that happens passes [`World::apply`] or a call of the code under test, and is recorded in the trace.
//! - Nothing is sent to a member that is crashed; nothing reaches one that stands still before it goes on.

mod faults;
mod simulation;
mod topology;

pub use simulation::Simulation;

use super::ledger::{LedgerEntry, LedgerFact};
use super::members::Members;
use super::tasks::panic_message;
use crate::entropy::{Dice, Entropy};
use crate::fault::{ActiveFaults, Fault, NameFault};
use crate::kernel::{EventQueue, EventWorld, NodeId, Now, SimInstant, Stop, StopReason};
use crate::network::{ConnectionId, Delivery, Endpoint, Event as NetworkEvent, LinkConfig, Network};
use crate::node::{ClientId, ClientOutput, Input, NodeConfig, Observation, Output, PeerMessage};
use crate::trace::{Fact, Kind, Party, Trace};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How a simulation is set up.
#[derive(Clone, Debug)]
pub struct SimulationConfig {
    /// The members, numbered from 1 in order.
    pub nodes: Vec<NodeConfig>,
    /// How links behave.
    pub link: LinkConfig,
    /// The source of all randomness.
    pub entropy: Entropy,
    /// What wall clocks show at the start, in microseconds since 1970.
    pub wall_clock_start: i64,
    /// How many trace lines to keep; 0 = none.
    pub trace_lines_max: usize,
    /// Whether the ledger is kept.
    pub is_ledger_kept: bool,
}

/// Everything simulated.
#[derive(Debug)]
pub struct World {
    now: SimInstant,
    queue: EventQueue<(u64, Event)>,
    network: Network,
    members: Members,
    faults: ActiveFaults,
    ledger: Vec<LedgerEntry>,
    trace: Trace,
    entropy: Entropy,
    wall_clock_start: i64,
    is_ledger_kept: bool,
    peer_links: BTreeMap<(NodeId, NodeId), PeerLink>,
    answer_dice: BTreeMap<NodeId, Dice>,
    deliveries: VecDeque<Delivery>,
    wake: Arc<Notify>,
    sleeps_until: SimInstant,
    stop: Arc<Stop>,
    is_over: bool,
}

/// The way of messages from one node to another.
#[derive(Debug)]
struct PeerLink {
    dice: Dice,
    last_arrival: SimInstant,
}

/// Something that is due at a moment.
#[derive(Debug)]
enum Event {
    Network(NetworkEvent),
    Wake { node: NodeId, incarnation: u32 },
    Peer { from: NodeId, to: NodeId, message: Box<PeerMessage> },
    LateSend { node: NodeId, client: ClientId, kind: ClientOutput, bytes: Bytes },
}

impl EventWorld for World {
    fn apply_due(&mut self, now: SimInstant, most: u64) -> u64 {
        // While the loop applies events it need not be woken.
        self.sleeps_until = SimInstant::START;
        let mut applied = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while applied < most
                && let Some((at, (cause, event))) = self.queue.pop_due(now)
            {
                self.now = self.now.max(at);
                self.trace.enter(cause);
                self.apply(event);
                applied += 1;
            }
        }));
        if let Err(payload) = outcome {
            self.stop.stop(StopReason::SimulatorPanic(panic_message(&*payload)));
        }
        self.now = self.now.max(now);
        applied
    }

    fn sleep_until(&mut self, latest: SimInstant) -> SimInstant {
        self.sleeps_until = self.queue.next_due().unwrap_or(latest).min(latest);
        self.sleeps_until
    }
}

impl World {
    fn new(config: SimulationConfig, wake: Arc<Notify>, stop: Arc<Stop>) -> Self {
        let mut world = Self {
            now: SimInstant::START,
            queue: EventQueue::new(),
            network: Network::new(config.link, config.entropy),
            members: Members::new(config.nodes),
            faults: ActiveFaults::default(),
            ledger: Vec::new(),
            trace: Trace::new(config.trace_lines_max),
            entropy: config.entropy,
            wall_clock_start: config.wall_clock_start,
            is_ledger_kept: config.is_ledger_kept,
            peer_links: BTreeMap::new(),
            answer_dice: BTreeMap::new(),
            deliveries: VecDeque::new(),
            wake,
            sleeps_until: SimInstant::START,
            stop,
            is_over: false,
        };
        for node in world.members.ids() {
            world.start(node);
        }
        world
    }

    /// The members.
    #[must_use]
    pub const fn members(&self) -> &Members {
        &self.members
    }

    /// Everything that happened, in order.
    #[must_use]
    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.ledger
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The connections.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The active faults, oldest first.
    #[must_use]
    pub fn active_faults(&self) -> &[Fault] {
        self.faults.active()
    }

    /// How names fail to resolve.
    #[must_use]
    pub fn name_fault(&self) -> Option<NameFault> {
        self.faults.names()
    }

    /// What the wall clocks of clients show, in microseconds since 1970.
    #[must_use]
    pub fn client_unix_micros(&self, at: SimInstant) -> i64 {
        self.unix_micros(at).saturating_add(self.faults.client_clock_micros())
    }

    /// What wall clocks show where nothing is wrong, in microseconds since 1970.
    #[must_use]
    pub fn unix_micros(&self, at: SimInstant) -> i64 {
        self.wall_clock_start.saturating_add_unsigned(at.as_nanos() / 1_000)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Network(event) => self.network.handle(self.now, event),
            Event::Wake { node, incarnation } => {
                if self.members.get(node).is_some_and(|member| member.incarnation == incarnation) {
                    self.record(Kind::Wake, Party::Node(node), Party::World, &[], String::new);
                    self.handle(node, Input::Wake, self.now);
                }
            }
            Event::Peer { from, to, message } => self.deliver_peer(from, to, *message),
            Event::LateSend { node, client, kind, bytes } => self.send(node, client, kind, bytes),
        }
        // Whatever the event was, members may have sent something to clients.
        self.settle();
    }

    /// Hands what the network has done to members, trace and queue, until nothing is left to hand on.
    fn settle(&mut self) {
        loop {
            let mut deliveries = std::mem::take(&mut self.deliveries);
            self.network.take_deliveries(&mut deliveries);
            let is_done = deliveries.is_empty();
            for delivery in deliveries.drain(..) {
                self.deliver(delivery);
            }
            self.deliveries = deliveries;
            let cause = self.trace.cause();
            for (at, event) in self.network.take_scheduled() {
                schedule(&mut self.queue, &self.wake, self.sleeps_until, at, (cause, Event::Network(event)));
            }
            if is_done {
                return;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let party = |connection: ConnectionId| Party::Connection(connection.0);
        match delivery {
            Delivery::Opened { connection, node, from, client } => {
                self.record(Kind::Accept, Party::Node(node), party(connection), &[], || {
                    format!("{client} from {from}")
                });
                let connection = ClientId(connection.0);
                self.note(node, self.now, LedgerFact::ConnectionOpened { connection, client, from });
                self.handle(node, Input::ClientOpened { client: connection, from }, self.now);
            }
            Delivery::Bytes { connection, node, bytes, sent_at } => {
                self.record(Kind::NodeReceive, Party::Node(node), party(connection), &bytes, || describe_bytes(&bytes));
                self.handle(node, Input::ClientBytes { client: ClientId(connection.0), bytes: bytes.clone() }, sent_at);
            }
            Delivery::Closed { connection, node, sent_at } => {
                self.record(Kind::Socket, Party::Node(node), party(connection), b"gone", || {
                    "closed by the client".into()
                });
                let connection = ClientId(connection.0);
                self.note(node, sent_at, LedgerFact::ConnectionClosed { connection });
                self.handle(node, Input::ClientClosed { client: connection }, sent_at);
            }
            Delivery::AtClient { connection, node, bytes } => {
                let (place, other) = (party(connection), Party::Node(node));
                self.record(Kind::ClientReceive, place, other, &bytes, || describe_bytes(&bytes));
            }
            Delivery::Socket { connection, node, what } => {
                self.record(Kind::Socket, party(connection), Party::Node(node), what.as_bytes(), || what.into());
            }
            Delivery::AnswerRead { connection, node, stream, arrived_at } => {
                let connection = ClientId(connection.0);
                self.note(node, arrived_at, LedgerFact::AnswerRead { connection, stream });
            }
        }
    }

    fn deliver_peer(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        let is_lost = self.network.is_cut(Endpoint::Node(from), Endpoint::Node(to))
            || !self.members.get(to).is_some_and(super::Member::is_running);
        let kind = if is_lost { Kind::PeerLost } else { Kind::PeerReceive };
        let name = message_name(&message);
        self.record(kind, Party::Node(to), Party::Node(from), name.as_bytes(), || name.into());
        if !is_lost {
            self.handle(to, Input::Peer { from, message }, self.now);
        }
    }

    /// Lets a member handle an input and carries out what it wants.
    fn handle(&mut self, node: NodeId, input: Input, caused_at: SimInstant) {
        let now = self.node_clock(node);
        let mut outputs = Vec::new();
        if let Some(member) = self.members.get_mut(node) {
            member.handle(now, input, caused_at, &mut outputs);
        }
        self.carry_out(node, caused_at, outputs);
    }

    fn carry_out(&mut self, node: NodeId, caused_at: SimInstant, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::ToClient { client, kind, bytes } => self.send_treated(node, client, kind, &bytes),
                Output::CloseClient { client } => {
                    let (place, other) = (Party::Node(node), Party::Connection(client.0));
                    self.record(Kind::Socket, place, other, b"close", || "closed by the node".into());
                    self.note(node, self.now, LedgerFact::ConnectionClosed { connection: client });
                    self.network.close_node_end(self.now, ConnectionId(client.0), false);
                }
                Output::ToPeer { to, message } => self.send_to_peer(node, to, message),
                Output::WakeAt(at) => {
                    let incarnation = self.members.get(node).map_or(0, |member| member.incarnation);
                    self.schedule(at, Event::Wake { node, incarnation });
                }
                Output::Observed(observation) => {
                    let text = || format!("{observation:?}");
                    let marker = [observation_code(&observation)];
                    self.record(Kind::Observed, Party::Node(node), Party::World, &marker, text);
                    self.note(node, caused_at, LedgerFact::Node(observation));
                }
            }
        }
    }

    /// Sends bytes to a client as the active faults allow.
    fn send_treated(&mut self, node: NodeId, client: ClientId, kind: ClientOutput, bytes: &Bytes) {
        let entropy = self.entropy;
        let dice = self.answer_dice.entry(node).or_insert_with(|| entropy.dice("answer-faults", u64::from(node.0)));
        let treatment = self.faults.treat(node, kind, dice);
        if treatment.copies == 0 {
            let (place, other) = (Party::Node(node), Party::Connection(client.0));
            self.record(Kind::Fault, place, other, b"lost", || format!("{kind:?} lost"));
            if let ClientOutput::Response { stream } = kind {
                self.note(node, self.now, LedgerFact::AnswerLost { connection: client, stream });
            }
        }
        for _ in 0..treatment.copies {
            if treatment.delay.is_zero() {
                self.send(node, client, kind, bytes.clone());
            } else {
                let event = Event::LateSend { node, client, kind, bytes: bytes.clone() };
                self.schedule(self.now + treatment.delay, event);
            }
        }
    }

    fn send(&mut self, node: NodeId, client: ClientId, kind: ClientOutput, bytes: Bytes) {
        let (place, other) = (Party::Node(node), Party::Connection(client.0));
        self.record(Kind::NodeSend, place, other, &bytes, || format!("{kind:?} {} bytes", bytes.len()));
        let connection = ConnectionId(client.0);
        let stream = match kind {
            ClientOutput::Response { stream } => Some(stream),
            ClientOutput::Event => None,
        };
        self.network.send_to_client(self.now, connection, bytes, stream);
        if self.network.unread(connection) > UNREAD_MAX {
            self.record(Kind::Socket, place, other, b"unread", || "reset: the client does not read".into());
            self.close_by_engine(node, connection, true);
        }
    }

    fn send_to_peer(&mut self, from: NodeId, to: NodeId, message: PeerMessage) {
        let name = message_name(&message);
        self.record(Kind::PeerSend, Party::Node(from), Party::Node(to), name.as_bytes(), || name.into());
        let entropy = self.entropy;
        let link = self.peer_links.entry((from, to)).or_insert_with(|| PeerLink {
            dice: entropy.dice("peer-link", (u64::from(from.0) << 32) | u64::from(to.0)),
            last_arrival: SimInstant::START,
        });
        let arrives_at = (self.now + self.network.peer_latency(from, to, &mut link.dice)).max(link.last_arrival);
        link.last_arrival = arrives_at;
        // A late schema change is one that its receiver is slow to take: what comes behind it overtakes it.
        let is_schema = matches!(message, PeerMessage::SchemaPush(_));
        let late = self.faults.node(to).filter(|_| is_schema).map_or(Duration::ZERO, |faults| faults.schema_delay);
        let arrives_at = arrives_at + late;
        self.schedule(arrives_at, Event::Peer { from, to, message: Box::new(message) });
    }

    /// Ends a connection at the node's end without the node having asked for it.
    fn close_by_engine(&mut self, node: NodeId, connection: ConnectionId, with_reset: bool) {
        self.network.close_node_end(self.now, connection, with_reset);
        let client = ClientId(connection.0);
        self.note(node, self.now, LedgerFact::ConnectionClosed { connection: client });
        self.handle(node, Input::ClientClosed { client }, self.now);
    }

    /// What a node's clocks show.
    fn node_clock(&self, node: NodeId) -> Now {
        let skew = self.faults.node(node).map_or(0, |faults| faults.clock_micros);
        Now { at: self.now, unix_micros: self.unix_micros(self.now).saturating_add(skew) }
    }

    fn schedule(&mut self, at: SimInstant, event: Event) {
        let cause = self.trace.cause();
        schedule(&mut self.queue, &self.wake, self.sleeps_until, at.max(self.now), (cause, event));
    }

    fn record(&mut self, kind: Kind, place: Party, other: Party, bytes: &[u8], text: impl FnOnce() -> String) {
        self.trace.record(fact(self.now, kind, place, other, bytes), text);
    }

    fn note(&mut self, node: NodeId, caused_at: SimInstant, fact: LedgerFact) {
        if self.is_ledger_kept {
            self.ledger.push(LedgerEntry { at: self.now, caused_at, node, fact });
        }
    }
}

/// Schedules an event and wakes the loop if it sleeps past it.
fn schedule(
    queue: &mut EventQueue<(u64, Event)>,
    wake: &Notify,
    sleeps_until: SimInstant,
    at: SimInstant,
    event: (u64, Event),
) {
    queue.push(at, event);
    if at < sleeps_until {
        wake.notify_one();
    }
}

const fn fact(at: SimInstant, kind: Kind, place: Party, other: Party, bytes: &[u8]) -> Fact<'_> {
    Fact { at, kind, place, other, bytes }
}

fn describe_bytes(bytes: &[u8]) -> String {
    format!("{} bytes", bytes.len())
}

/// What a message is, in a word.
const fn message_name(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::Gossip(_) => "gossip",
        PeerMessage::Question { .. } => "question",
        PeerMessage::Reply { .. } => "reply",
        PeerMessage::SchemaPush(_) => "schema push",
        PeerMessage::SchemaPull => "schema pull",
        PeerMessage::StreamPull => "stream pull",
        PeerMessage::Stream { .. } => "stream",
        PeerMessage::StreamDone { .. } => "stream done",
    }
}

/// A byte that tells kinds of observations apart in the hash.
const fn observation_code(observation: &Observation) -> u8 {
    match observation {
        Observation::Request { .. } => 1,
        Observation::Response { .. } => 2,
        Observation::Registered { .. } => 3,
        Observation::EventSent { .. } => 4,
        Observation::ProtocolViolation { .. } => 5,
        Observation::Liveness { .. } => 6,
        Observation::Spoiled { .. } => 7,
        Observation::Malformed { .. } => 8,
    }
}

/// A client that lets this many bytes wait is disconnected.
const UNREAD_MAX: usize = 256 * 1024 * 1024;
