//! A `helenus` session's world inside the simulation: its transport, entropy, wall clock and spawner.
//!
//! The only file that names the driver: otherwise the two meet on the wire.

use crate::cluster::SimCluster;
use crate::entropy::Entropy as KeyedEntropy;
use crate::fault::NameFault;
use crate::node::NodeStatus;
use helenus::env::{BoxFuture, ByteStream, Entropy, Spawner, TaskHandle, Transport, WallClock};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

impl SimCluster {
    /// The world of one client: what it connects, draws and spawns is accounted to its name.
    ///
    /// Several environments with one name are one client; give each simulated application its own.
    #[must_use]
    pub fn environment(&self, client: &str) -> helenus::Environment {
        let client: Arc<str> = client.into();
        let world = Arc::new(ClientWorld {
            sim: self.clone(),
            entropy: self.entropy(),
            entity: client.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            }),
            client,
            draws: Mutex::new(BTreeMap::new()),
        });
        helenus::Environment {
            transport: world.clone(),
            entropy: world.clone(),
            wall_clock: world.clone(),
            spawner: world,
        }
    }
}

/// One client's world.
struct ClientWorld {
    sim: SimCluster,
    client: Arc<str>,
    entropy: KeyedEntropy,
    /// The client's name as a number: a frozen hash.
    entity: u64,
    /// How often was drawn for each purpose.
    draws: Mutex<BTreeMap<&'static str, u64>>,
}

impl Transport for ClientWorld {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let (sim, client) = (self.sim.clone(), self.client.clone());
        Box::pin(async move {
            let stream = sim.connect(&client, address).await?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }

    /// Resolves literal addresses, `cluster.sim` (all nodes) and `n1.sim`, `n2.sim`, … (one node each).
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let mut found = resolve(&self.sim, host, port);
        let mut takes = RESOLUTION;
        // Literal addresses need no resolver.
        match self.sim.name_fault().filter(|_| host.parse::<IpAddr>().is_err()) {
            None => {}
            Some(NameFault::Fail) => found = Err(io::ErrorKind::NotFound.into()),
            Some(NameFault::Hang) => {
                found = Err(io::ErrorKind::TimedOut.into());
                takes = RESOLUTION_MAX;
            }
            Some(NameFault::Dead) => {
                found = found.map(|right| [SocketAddr::new(NOBODY.into(), port)].into_iter().chain(right).collect());
            }
        }
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            found
        })
    }
}

fn resolve(sim: &SimCluster, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let Some(name) = host.strip_suffix(".sim") else { return Err(io::ErrorKind::NotFound.into()) };
    let nodes = sim.nodes();
    let members = nodes.iter().filter(|node| !matches!(node.status, None | Some(NodeStatus::Left)));
    let named = members.filter(|node| name == "cluster" || name == node.id.to_string());
    let found: Vec<_> = named.map(|node| SocketAddr::new(node.address.ip(), port)).collect();
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

impl Entropy for ClientWorld {
    fn draw(&self, purpose: &'static str) -> u64 {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = draws.entry(purpose).or_insert(0);
        *counter += 1;
        self.entropy.draw(purpose, self.entity, *counter)
    }
}

impl WallClock for ClientWorld {
    fn unix_micros(&self) -> i64 {
        self.sim.client_unix_micros()
    }
}

impl Spawner for ClientWorld {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let handle = self.sim.spawn(&self.client, name, task);
        let aborter = handle.abort_handle();
        let ended = Box::pin(async move {
            // An aborted task has ended, too; a panic has been recorded.
            let _outcome = handle.await;
        });
        TaskHandle::new(ended, move || aborter.abort())
    }
}

/// What a look-up of a name takes.
const RESOLUTION: Duration = Duration::from_millis(1);

/// What a look-up takes that nobody answers.
const RESOLUTION_MAX: Duration = Duration::from_secs(60);

/// An address that no node has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 250, 250, 250);
