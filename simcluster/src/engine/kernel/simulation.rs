//! The simulation as the code under test and the test hold it: a handle on the world that can be cloned.
//!
//! Every call from outside enters the world here: it locks it, brings its time up to the present, and hands on what
//! the call set off before it returns.
//!
//! # Invariants
//!
//! - The lock on the world is never held across an await.
//! - After [`Simulation::end`] connections that are dropped touch nothing.

use super::{SimulationConfig, World, fact};
use crate::engine::ledger::LedgerFact;
use crate::engine::tasks::Tasks;
use crate::fault::Fault;
use crate::kernel::{Clock, NodeId, SimInstant, Stop};
use crate::network::{ConnectionId, SimStream, Wire};
use crate::node::ClientId;
use crate::trace::{Kind, Party};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::sync::Notify;

/// The simulation as everyone holds it: the world behind a lock, and what surrounds it.
#[derive(Clone)]
pub struct Simulation {
    world: Arc<Mutex<World>>,
    clock: Clock,
    wake: Arc<Notify>,
    tasks: Arc<Tasks>,
}

impl Simulation {
    /// Builds the world and starts its members. Must be called inside the runtime that will drive it.
    #[must_use]
    pub fn new(config: SimulationConfig, tasks: Arc<Tasks>, stop: Arc<Stop>) -> Self {
        let wake = Arc::new(Notify::new());
        let world = World::new(config, wake.clone(), stop);
        Self { world: Arc::new(Mutex::new(world)), clock: Clock::start_now(), wake, tasks }
    }

    /// The world, the clock and the signal, for [`crate::kernel::drive`].
    #[must_use]
    pub fn parts(&self) -> (Arc<Mutex<World>>, Clock, Arc<Notify>) {
        (self.world.clone(), self.clock, self.wake.clone())
    }

    /// The tasks of the code under test.
    #[must_use]
    pub const fn tasks(&self) -> &Arc<Tasks> {
        &self.tasks
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> SimInstant {
        self.clock.now()
    }

    /// The world at this moment, locked: do not hold it across an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to connect a client to whatever listens on an address.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NetworkUnreachable`] if no member has that address.
    pub fn connect(&self, client: &Arc<str>, address: SocketAddr) -> io::Result<SimStream> {
        let mut world = self.enter();
        let found = world.members.at(address);
        let node = found.map(|member| member.config.id);
        let now = world.now;
        let dialled = LedgerFact::Dialled { client: client.clone(), address, is_known: node.is_some() };
        world.note(node.unwrap_or(NodeId(1)), now, dialled);
        let node = node.ok_or(io::ErrorKind::NetworkUnreachable)?;
        let connection = world.network.connect(now, client, node);
        let fact = fact(now, Kind::Connect, Party::Connection(connection.0), Party::Node(node), &[]);
        world.trace.record(fact, || format!("{client} dials {address}"));
        world.settle();
        drop(world);
        Ok(SimStream::new(Arc::new(self.clone()), connection))
    }

    /// Begins a fault, or lets it happen if it is instantaneous.
    pub fn begin_fault(&self, fault: &Fault) {
        self.enter().begin_fault(fault);
    }

    /// Ends a fault; does nothing if it is not active.
    pub fn end_fault(&self, fault: &Fault) {
        self.enter().end_fault(fault);
    }

    /// Lets nodes forget what was forced on them and has not happened yet.
    pub fn behave(&self) {
        self.enter().behave();
    }

    /// Lets a node end and start with another address; a crashed one has it once it starts again.
    pub fn restart_at(&self, node: NodeId, address: SocketAddr) {
        let mut world = self.enter();
        world.restart_at(&[(node, address)]);
        world.settle();
    }

    /// Ends the simulation: connections that are dropped later touch nothing.
    pub fn end(&self) {
        self.world().is_over = true;
    }

    /// Locks the world on behalf of the code under test, whose time may be later than the last event's.
    fn enter(&self) -> MutexGuard<'_, World> {
        let mut world = self.world();
        if !world.is_over {
            world.now = world.now.max(self.clock.now());
        }
        world.trace.enter(0);
        world
    }
}

impl Wire for Simulation {
    fn poll_connected(&self, connection: ConnectionId, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.enter().network.poll_connected(connection, context)
    }

    fn poll_read(
        &self,
        connection: ConnectionId,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut world = self.enter();
        let now = world.now;
        let poll = world.network.poll_read(now, connection, context, buffer);
        world.settle();
        poll
    }

    fn poll_write(&self, connection: ConnectionId, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut world = self.enter();
        let now = world.now;
        let poll = world.network.poll_write(now, connection, context, bytes);
        if let Poll::Ready(Ok(written)) = &poll {
            let fact = fact(now, Kind::ClientSend, Party::Connection(connection.0), Party::World, &bytes[..*written]);
            world.trace.record(fact, || format!("{written} bytes"));
        }
        world.settle();
        poll
    }

    fn shutdown(&self, connection: ConnectionId) {
        let mut world = self.enter();
        let now = world.now;
        world.network.shutdown(now, connection);
        world.settle();
    }

    fn close(&self, connection: ConnectionId) {
        let mut world = self.enter();
        if world.is_over {
            return;
        }
        let now = world.now;
        let fact = fact(now, Kind::Socket, Party::Connection(connection.0), Party::World, b"drop");
        world.trace.record(fact, || "dropped by the client".into());
        if let Some(node) = world.network.node_of(connection) {
            world.note(node, now, LedgerFact::ConnectionDropped { connection: ClientId(connection.0) });
        }
        world.network.close(now, connection);
        world.settle();
    }
}
