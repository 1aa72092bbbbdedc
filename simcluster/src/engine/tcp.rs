//! The same nodes on real sockets: every node listens on its own loopback address, time is real.
//!
//! Messages among nodes stay inside the process. Faults act as under the simulated network as far as sockets allow: a
//! vanished machine is one whose listener accepts and never answers.
//!
//! # Invariants
//!
//! - All nodes share one lock, which is never held across an await.
//! - A client that does not read is disconnected once [`UNREAD_MAX`] bytes wait for it.

mod connection;
mod world;

pub use world::TcpCluster;

use crate::entropy::Entropy;
use crate::kernel::{Budget, Clock, First, NodeId, Stop, drive, race};
use crate::node::NodeConfig;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use world::{Door, Shared};

/// How a served cluster is set up.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// The members, numbered from 1 in order; each listens on its own address.
    pub nodes: Vec<NodeConfig>,
    /// The source of all randomness.
    pub entropy: Entropy,
}

/// Why a cluster cannot be served.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// Something else listens on a node's address.
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse { address } => {
                write!(f, "{address} is already in use: end what listens there, or choose another port")
            }
            Self::Bind { address, .. } => {
                write!(f, "cannot listen on {address}; if the system lacks this loopback address, add it (macOS: ")?;
                write!(f, "sudo ifconfig lo0 alias {})", address.ip())
            }
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::AddressInUse { .. } => None,
            Self::Bind { source, .. } => Some(source),
        }
    }
}

/// Serves a cluster until `shutdown` resolves. `ready` is called once every node listens.
///
/// # Errors
///
/// [`ServeError`] if a node's address cannot be listened on; then no node has been started.
pub async fn serve(
    config: TcpConfig,
    ready: impl FnOnce(TcpCluster),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut listeners = Vec::new();
    for node in &config.nodes {
        listeners.push((node.id, node.address, listen(node.address)?));
    }
    let clock = Clock::start_now();
    let shared = Shared::start(config, clock);
    // Ending this set ends every task of the cluster.
    let mut tasks = JoinSet::new();
    let stop = Arc::new(Stop::default());
    let (world, wake) = shared.driven();
    spawn(&mut tasks, drive(world, clock, wake, UNBOUNDED, stop));
    for (node, address, listener) in listeners {
        spawn(&mut tasks, attend(shared.clone(), node, address, Some(listener)));
    }
    ready(TcpCluster::new(shared.clone()));
    shutdown.await;
    tasks.shutdown().await;
    shared.close_all();
    Ok(())
}

fn spawn(tasks: &mut JoinSet<()>, future: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(future);
}

/// Accepts a node's clients while its door is open, and closes the listener while it is shut.
async fn attend(shared: Arc<Shared>, node: NodeId, address: SocketAddr, mut listener: Option<TcpListener>) {
    let door_changed = shared.door_signal(node);
    loop {
        match shared.door(node) {
            Door::Shut => listener = None,
            Door::Open | Door::Silent if listener.is_none() => listener = listen(address).ok(),
            Door::Open | Door::Silent => {}
        }
        let is_open = shared.door(node) == Door::Open;
        let accepting = async {
            match &listener {
                Some(listener) if is_open => listener.accept().await.ok(),
                // The address may still be taken by someone who came while the node was down: try again.
                None if is_open => {
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    None
                }
                _ => std::future::pending().await,
            }
        };
        match race(door_changed.notified(), accepting).await {
            First::Left(()) => {}
            First::Right(Some((stream, from))) => connection::begin(&shared, node, stream, from),
            // Out of file descriptors or the like: do not spin.
            First::Right(None) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let attempt = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted node must not wait for its old connections to leave TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    attempt().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::AddressInUse { address },
        _ => ServeError::Bind { address, source },
    })
}

/// A served cluster ends when its owner says so.
const UNBOUNDED: Budget =
    Budget { simulated: Duration::from_secs(86_400 * 365 * 100), events: u64::MAX, polls: u64::MAX };

const BACKLOG: u32 = 1024;
const LISTEN_AGAIN: Duration = Duration::from_millis(200);
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// A client that lets this many bytes wait is disconnected.
pub const UNREAD_MAX: usize = 64 * 1024 * 1024;
