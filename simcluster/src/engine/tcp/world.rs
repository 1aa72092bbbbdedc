//! The members of a served cluster, their timers and messages, and the connections' shared state.

use super::super::members::{Member, Members};
use super::{TcpConfig, UNREAD_MAX};
use crate::entropy::Dice;
use crate::fault::{ActiveFaults, CrashKind, Fault, NodeFaults};
use crate::kernel::{Clock, EventQueue, EventWorld, NodeId, Now, SimInstant};
use crate::network::Endpoint;
use crate::node::{ClientId, ClientOutput, Input, Misbehaviour, Output, PeerMessage};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

/// A served cluster, for whoever steers it. Cheap to clone.
#[derive(Clone)]
pub struct TcpCluster {
    shared: Arc<Shared>,
}

impl TcpCluster {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads the members; they stand still meanwhile.
    pub fn members<R>(&self, read: impl FnOnce(&Members) -> R) -> R {
        read(&self.shared.world().members)
    }

    /// The nodes' addresses, in the order of their numbers.
    #[must_use]
    pub fn contact_points(&self) -> Vec<SocketAddr> {
        self.members(|members| members.iter().map(|member| member.config.address).collect())
    }

    /// Begins a fault, or lets it happen if it is instantaneous. Nodes that would need an address of their own
    /// (join, replace, change of address) are not served: such faults do nothing.
    pub fn inject(&self, fault: &Fault) {
        self.shared.enter().begin_fault(fault);
    }

    /// Ends a fault; does nothing if it is not active.
    pub fn heal(&self, fault: &Fault) {
        self.shared.enter().end_fault(fault);
    }

    /// Ends all faults.
    pub fn heal_all(&self) {
        let mut world = self.shared.enter();
        for fault in world.faults.active().to_vec() {
            world.end_fault(&fault);
        }
    }

    /// The faults that are active, oldest first.
    #[must_use]
    pub fn active_faults(&self) -> Vec<Fault> {
        self.shared.world().faults.active().to_vec()
    }
}

/// What a connection's writer is to do.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Send this.
    Bytes(Bytes),
    /// Send nothing more, after everything before.
    Close,
    /// End the connection with RST.
    Reset,
}

/// A direction between clients and a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToNode,
    ToClient,
}

/// How a node's address answers to new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Clients are accepted.
    Open,
    /// Clients are refused.
    Shut,
    /// Clients get no answer.
    Silent,
}

/// Everything, behind its lock.
pub(super) struct Shared {
    world: Arc<Mutex<World>>,
    clock: Clock,
    wake: Arc<Notify>,
    doors: BTreeMap<NodeId, Arc<Notify>>,
}

impl Shared {
    pub fn start(config: TcpConfig, clock: Clock) -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        let doors = config.nodes.iter().map(|node| (node.id, Arc::new(Notify::new()))).collect();
        let mut world = World::new(config, wake.clone(), BTreeMap::clone(&doors));
        for node in world.members.ids() {
            world.start(node);
        }
        Arc::new(Self { world: Arc::new(Mutex::new(world)), clock, wake, doors })
    }

    pub fn driven(&self) -> (Arc<Mutex<World>>, Arc<Notify>) {
        (self.world.clone(), self.wake.clone())
    }

    pub fn door_signal(&self, node: NodeId) -> Arc<Notify> {
        self.doors.get(&node).cloned().unwrap_or_default()
    }

    pub fn door(&self, node: NodeId) -> Door {
        let world = self.world();
        let faults = world.faults.node(node);
        match faults.map(|faults| (faults.crashed, faults.refuses)) {
            Some((Some(CrashKind::Silence), _)) => Door::Silent,
            Some((Some(CrashKind::Fin | CrashKind::Rst | CrashKind::Drain), _) | (None, true)) => Door::Shut,
            _ if world.cuts.contains(&(Endpoint::Clients, Endpoint::Node(node))) => Door::Silent,
            _ => Door::Open,
        }
    }

    pub fn next_client(&self) -> ClientId {
        let mut world = self.world();
        world.last_client += 1;
        ClientId(world.last_client)
    }

    pub fn open(&self, node: NodeId, client: ClientId, from: SocketAddr, sender: UnboundedSender<Outgoing>) {
        let mut world = self.enter();
        world.links.insert(client, Link { node, sender, tasks: None, unread: 0 });
        world.handle(node, Input::ClientOpened { client, from });
    }

    /// Tells which tasks serve a connection; they are ended at once if the node has closed it already.
    pub fn attach(&self, client: ClientId, tasks: [AbortHandle; 2]) {
        match self.world().links.get_mut(&client) {
            Some(link) => link.tasks = Some(tasks),
            None => tasks.iter().for_each(AbortHandle::abort),
        }
    }

    pub fn receive(&self, node: NodeId, client: ClientId, bytes: Bytes) {
        let mut world = self.enter();
        if world.links.contains_key(&client) {
            world.handle(node, Input::ClientBytes { client, bytes });
        }
    }

    pub fn client_closed(&self, node: NodeId, client: ClientId) {
        let mut world = self.enter();
        if world.unlink(client) {
            world.handle(node, Input::ClientClosed { client });
        }
    }

    pub fn written(&self, client: ClientId, len: usize) {
        if let Some(link) = self.world().links.get_mut(&client) {
            link.unread = link.unread.saturating_sub(len);
        }
    }

    pub fn is_held(&self, node: NodeId, way: Way) -> bool {
        let world = self.world();
        let faults = world.faults.node(node);
        let is_still = faults.is_some_and(|faults| faults.is_paused || faults.crashed.is_some());
        let node = Endpoint::Node(node);
        match way {
            Way::ToNode => is_still || world.cuts.contains(&(Endpoint::Clients, node)),
            Way::ToClient => world.cuts.contains(&(node, Endpoint::Clients)),
        }
    }

    pub fn close_all(&self) {
        let mut world = self.world();
        let clients: Vec<_> = world.links.keys().copied().collect();
        for client in clients {
            world.unlink(client);
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the world at the present moment.
    fn enter(&self) -> MutexGuard<'_, World> {
        let mut world = self.world();
        world.now = world.now.max(self.clock.now());
        world
    }
}

/// A connection as the members see it.
struct Link {
    node: NodeId,
    sender: UnboundedSender<Outgoing>,
    /// The reader and the writer, once they run.
    tasks: Option<[AbortHandle; 2]>,
    unread: usize,
}

/// Something that is due at a moment.
enum Event {
    Wake { node: NodeId, incarnation: u32 },
    Peer { from: NodeId, to: NodeId, message: Box<PeerMessage> },
    LateSend { client: ClientId, bytes: Bytes },
}

/// The members and everything between them.
pub(super) struct World {
    now: SimInstant,
    wall_clock_start: i64,
    members: Members,
    faults: ActiveFaults,
    cuts: BTreeSet<(Endpoint, Endpoint)>,
    queue: EventQueue<Event>,
    links: BTreeMap<ClientId, Link>,
    last_client: u64,
    dice: Dice,
    wake: Arc<Notify>,
    doors: BTreeMap<NodeId, Arc<Notify>>,
}

impl EventWorld for World {
    fn apply_due(&mut self, now: SimInstant, most: u64) -> u64 {
        self.now = self.now.max(now);
        let mut applied = 0;
        while applied < most
            && let Some((_, event)) = self.queue.pop_due(now)
        {
            self.apply(event);
            applied += 1;
        }
        applied
    }

    fn sleep_until(&mut self, latest: SimInstant) -> SimInstant {
        self.queue.next_due().unwrap_or(latest).min(latest)
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the tcp engine shows the real time of day")]
    fn new(config: TcpConfig, wake: Arc<Notify>, doors: BTreeMap<NodeId, Arc<Notify>>) -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            now: SimInstant::START,
            wall_clock_start: i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX),
            members: Members::new(config.nodes),
            faults: ActiveFaults::default(),
            cuts: BTreeSet::new(),
            queue: EventQueue::new(),
            links: BTreeMap::new(),
            last_client: 0,
            dice: config.entropy.dice("tcp-engine", 0),
            wake,
            doors,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Wake { node, incarnation } => {
                if self.members.get(node).is_some_and(|member| member.incarnation == incarnation) {
                    self.handle(node, Input::Wake);
                }
            }
            Event::Peer { from, to, message } => {
                if !self.cuts.contains(&(Endpoint::Node(from), Endpoint::Node(to))) {
                    self.handle(to, Input::Peer { from, message: *message });
                }
            }
            Event::LateSend { client, bytes } => self.send(client, bytes),
        }
    }

    fn handle(&mut self, node: NodeId, input: Input) {
        let now = self.node_clock();
        let mut outputs = Vec::new();
        if let Some(member) = self.members.get_mut(node) {
            member.handle(now, input, now.at, &mut outputs);
        }
        self.carry_out(node, outputs);
    }

    fn carry_out(&mut self, node: NodeId, outputs: Vec<Output>) {
        let extra = self.faults.node(node).map_or(Duration::ZERO, |faults| faults.extra_latency);
        for output in outputs {
            match output {
                Output::ToClient { client, kind, bytes } => self.send_treated(node, client, kind, &bytes, extra),
                Output::CloseClient { client } => {
                    if let Some(link) = self.links.get(&client) {
                        // The writer may have ended by itself.
                        let _outcome = link.sender.send(Outgoing::Close);
                    }
                }
                Output::ToPeer { to, message } => {
                    let event = Event::Peer { from: node, to, message: Box::new(message) };
                    self.schedule(self.now + PEER_LATENCY + extra, event);
                }
                Output::WakeAt(at) => {
                    let incarnation = self.members.get(node).map_or(0, |member| member.incarnation);
                    self.schedule(at, Event::Wake { node, incarnation });
                }
                // A served cluster keeps no ledger.
                Output::Observed(_) => {}
            }
        }
    }

    fn send_treated(&mut self, node: NodeId, client: ClientId, kind: ClientOutput, bytes: &Bytes, extra: Duration) {
        let treatment = self.faults.treat(node, kind, &mut self.dice);
        let delay = treatment.delay + extra;
        for _ in 0..treatment.copies {
            if delay.is_zero() {
                self.send(client, bytes.clone());
            } else {
                self.schedule(self.now + delay, Event::LateSend { client, bytes: bytes.clone() });
            }
        }
    }

    fn send(&mut self, client: ClientId, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&client) else { return };
        link.unread += bytes.len();
        let (node, is_stuck) = (link.node, link.unread > UNREAD_MAX);
        // The writer may have ended by itself.
        let _outcome = link.sender.send(Outgoing::Bytes(bytes));
        if is_stuck && self.unlink(client) {
            self.handle(node, Input::ClientClosed { client });
        }
    }

    /// Ends a connection's tasks, which closes its socket; returns false if it was not open.
    fn unlink(&mut self, client: ClientId) -> bool {
        let Some(link) = self.links.remove(&client) else { return false };
        link.tasks.iter().flatten().for_each(AbortHandle::abort);
        true
    }

    fn begin_fault(&mut self, fault: &Fault) {
        self.faults.begin(fault);
        self.apply_faults();
        match fault {
            Fault::ResetConnections { node } => {
                for client in self.close_clients(*node, true) {
                    self.handle(*node, Input::ClientClosed { client });
                }
            }
            Fault::ForeignAnswer { node } => self.handle(*node, Input::Misbehave(Misbehaviour::ForeignAnswer)),
            Fault::ForgetPrepared { node } => self.handle(*node, Input::Misbehave(Misbehaviour::ForgetPrepared)),
            Fault::EmptyPages { node, pages } => {
                self.handle(*node, Input::Misbehave(Misbehaviour::EmptyPages { pages: *pages }));
            }
            Fault::FalseStatus { node, about, up } => {
                let misbehaviour = Misbehaviour::FalseStatus { about: *about, up: *up };
                self.handle(*node, Input::Misbehave(misbehaviour));
            }
            Fault::ForceAnswers { node, answer, statements } => {
                let misbehaviour = Misbehaviour::ForceAnswers { answer: *answer, statements: *statements };
                self.handle(*node, Input::Misbehave(misbehaviour));
            }
            Fault::MisdirectAnswer { node } => self.handle(*node, Input::Misbehave(Misbehaviour::MisdirectAnswer)),
            Fault::CorruptAnswer { node } => self.handle(*node, Input::Misbehave(Misbehaviour::CorruptAnswer)),
            Fault::RejectLogins { node } => self.handle(*node, Input::Misbehave(Misbehaviour::RejectLogins(true))),
            Fault::Decommission { node } => self.handle(*node, Input::Decommission),
            _ => {}
        }
    }

    fn end_fault(&mut self, fault: &Fault) {
        if self.faults.end(fault) {
            self.apply_faults();
            if let Fault::RejectLogins { node } = fault {
                self.handle(*node, Input::Misbehave(Misbehaviour::RejectLogins(false)));
            }
        }
    }

    /// Brings the members to the state that the active faults demand.
    fn apply_faults(&mut self) {
        let ids = self.members.ids();
        self.cuts = self.faults.cuts(&ids);
        let ordinary = NodeFaults::default();
        for node in ids {
            let faults = self.faults.node(node).unwrap_or(&ordinary);
            let (crashed, is_paused) = (faults.crashed, faults.is_paused);
            let Some(member) = self.members.get(node) else { continue };
            let (was_running, was_paused) = (member.is_running(), member.is_paused());
            match crashed {
                Some(how) if was_running => {
                    let mut farewell = Vec::new();
                    if let Some(member) = self.members.get_mut(node) {
                        match how {
                            CrashKind::Drain => member.shut_down(&mut farewell),
                            CrashKind::Fin | CrashKind::Rst | CrashKind::Silence => member.crash(),
                        }
                    }
                    self.carry_out(node, farewell);
                    if how != CrashKind::Silence {
                        self.close_clients(node, how == CrashKind::Rst);
                    }
                }
                None if !was_running => {
                    // Connections that survived a vanished machine mean nothing to the new process.
                    self.close_clients(node, true);
                    self.start(node);
                }
                _ => {}
            }
            if is_paused != was_paused
                && let Some(member) = self.members.get_mut(node)
            {
                for (input, _) in member.set_paused(is_paused) {
                    self.handle(node, input);
                }
            }
        }
        for door in self.doors.values() {
            door.notify_one();
        }
    }

    /// Ends all client connections of a node, with FIN or RST, without telling the node; returns which.
    fn close_clients(&mut self, node: NodeId, with_reset: bool) -> Vec<ClientId> {
        let open = self.links.iter().filter(|(_, link)| link.node == node);
        let clients: Vec<_> = open.map(|(client, _)| *client).collect();
        for client in &clients {
            if with_reset && let Some(Link { sender, tasks: Some([reader, _]), .. }) = self.links.remove(client) {
                reader.abort();
                // The writer may have ended by itself.
                let _outcome = sender.send(Outgoing::Reset);
            }
            self.unlink(*client);
        }
        clients
    }

    fn start(&mut self, node: NodeId) {
        let now = self.node_clock();
        let mut outputs = Vec::new();
        if let Some(member) = self.members.get_mut(node) {
            Member::start(member, now, &mut outputs);
        }
        self.carry_out(node, outputs);
    }

    fn schedule(&mut self, at: SimInstant, event: Event) {
        self.queue.push(at, event);
        self.wake.notify_one();
    }

    fn node_clock(&self) -> Now {
        let unix_micros = self.wall_clock_start.saturating_add_unsigned(self.now.as_nanos() / 1_000);
        Now { at: self.now, unix_micros }
    }
}

/// What a message between two nodes takes.
const PEER_LATENCY: Duration = Duration::from_micros(200);
