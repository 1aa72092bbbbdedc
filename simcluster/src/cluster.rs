//! The simulated cluster as tests hold it: configure, run, inject faults, ask for the truth.
//!
//! ```no_run
//! use simcluster::{ClusterConfig, Fault, NodeId};
//!
//! let config = ClusterConfig::default().seed(42).datacenter("dc1", 3);
//! let report = simcluster::run(config, |sim| async move {
//!     sim.inject(&Fault::Pause { node: NodeId(2) });
//!     sim.nodes().len()
//! });
//! assert_eq!(report.expect_clean(), 3);
//! ```

mod config;
mod oracle;
mod report;

pub use config::ClusterConfig;
pub use report::RunReport;

use crate::engine::tcp::{self, ServeError, TcpCluster, TcpConfig};
use crate::engine::{LedgerEntry, Simulation, SimulationConfig, Tasks};
use crate::entropy::Entropy;
use crate::fault::{CrashKind, Fault, NameFault};
use crate::kernel::{First, NodeId, SimInstant, Stop, drive, paused_runtime, race};
use crate::network::SimStream;
use crate::node::NodeStatus;
use crate::ring::{Location, Token};
use crate::schema::Schema;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Runs `main` against a fresh cluster, in a runtime of its own with virtual time, on this thread.
///
/// The cluster is booted (its nodes have met) before `main` begins. Everything `main` and its tasks do with
/// `tokio::time` passes in virtual time. When `main` is done, its remaining tasks get one simulated second to end; who is
/// alive then is reported as leaked.
///
/// # Panics
///
/// If the operating system refuses a runtime, or if called inside another runtime. A panic of `main` or of a task is
/// caught and reported.
#[expect(clippy::needless_pass_by_value, reason = "a run is the end of its configuration: callers build it in place")]
pub fn run<T, F, Fut>(config: ClusterConfig, main: F) -> RunReport<T>
where
    F: FnOnce(SimCluster) -> Fut,
    Fut: Future<Output = T>,
{
    let runtime = paused_runtime().expect("a current-thread runtime needs no more than memory");
    let stop = Arc::new(Stop::default());
    let entropy = Entropy::new(config.seed);
    let tasks = Tasks::new(entropy, config.task_deferral, config.budget.polls, stop.clone());
    let budget = config.budget;
    let boot = config.boot;
    let report = runtime.block_on(async {
        let simulation = Simulation::new(config.simulation(), tasks.clone(), stop.clone());
        let sim = SimCluster { simulation: simulation.clone(), entropy };
        let (world, clock, wake) = simulation.parts();
        #[expect(clippy::disallowed_methods, reason = "the loop that drives the simulation is not a task in it")]
        let driving = tokio::spawn(drive(world, clock, wake, budget, stop.clone()));
        let story = async {
            tokio::time::sleep(boot).await;
            let future = Box::pin(main(sim.clone()));
            let value = tasks.wrap(&MAIN.into(), "main", future).await;
            let ended_at = sim.now();
            tokio::time::sleep(GRACE).await;
            (value, ended_at)
        };
        let (value, ended_at) = match race(stop.stopped(), story).await {
            First::Left(()) => (None, sim.now()),
            First::Right(outcome) => outcome,
        };
        let report = RunReport::gather(&simulation, value, ended_at, stop.reason());
        simulation.end();
        driving.abort();
        report
    });
    drop(runtime);
    report
}

/// Serves the cluster on real sockets until `shutdown` resolves: node 1 on 127.0.0.1, node 2 on 127.0.0.2, …, all on
/// `port`. `ready` is called once every node listens; it is handed what steers the cluster.
///
/// Budgets, boot time, latencies, trace and ledger of the configuration have no meaning here.
///
/// # Errors
///
/// [`ServeError`] if an address cannot be listened on.
pub async fn serve(
    config: &ClusterConfig,
    port: u16,
    ready: impl FnOnce(TcpCluster),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut nodes = config.node_configs();
    for (number, node) in (1_u32..).zip(&mut nodes) {
        node.address = SocketAddr::new(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + number).into(), port);
    }
    tcp::serve(TcpConfig { nodes, entropy: Entropy::new(config.seed) }, ready, shutdown).await
}

/// A running simulated cluster. Cheap to clone; all clones are the same cluster.
#[derive(Clone)]
pub struct SimCluster {
    simulation: Simulation,
    entropy: Entropy,
}

/// What is true about one node at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTruth {
    /// Which node.
    pub id: NodeId,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Its identity.
    pub host_id: Uuid,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// The tokens it owns.
    pub tokens: Vec<Token>,
    /// Whether its process runs (it may be paused).
    pub up: bool,
    /// Whether its process stands still.
    pub paused: bool,
    /// Its standing in the ring, by its own word; `None` if its machine died for good and another node replaces it.
    pub status: Option<NodeStatus>,
}

impl SimCluster {
    /// The addresses of the nodes that are part of the cluster or join it. Those of the first nodes are
    /// `10.0.<data centre>.<number>:9042`.
    #[must_use]
    pub fn contact_points(&self) -> Vec<SocketAddr> {
        let world = self.simulation.world();
        let address = |node| world.members().get(node).map(|member| member.config.address);
        world.members().present().into_iter().filter_map(address).collect()
    }

    /// All nodes that are or ever were part of the cluster, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeTruth> {
        let world = self.simulation.world();
        let truth = |member: &crate::engine::Member| {
            let config = &member.config;
            let Location { datacenter, rack } = config.location.clone();
            NodeTruth {
                id: config.id,
                address: config.address,
                host_id: config.host_id,
                datacenter,
                rack,
                tokens: config.tokens.clone(),
                up: member.is_running(),
                paused: member.is_paused(),
                status: member.status().filter(|_| !member.is_gone()),
            }
        };
        world.members().iter().map(truth).collect()
    }

    /// Begins a fault, or lets it happen if it is instantaneous. Nodes that do not exist are not affected.
    ///
    /// The same fault may be begun several times; it lasts until it is ended as often.
    pub fn inject(&self, fault: &Fault) {
        self.simulation.begin_fault(fault);
    }

    /// Ends a fault that was begun with equal contents; does nothing if there is none.
    pub fn heal(&self, fault: &Fault) {
        self.simulation.end_fault(fault);
    }

    /// Ends all faults; crashed nodes start again, and what was forced on a node and has not happened yet never does.
    pub fn heal_all(&self) {
        for fault in self.active_faults() {
            self.simulation.end_fault(&fault);
        }
        self.simulation.behave();
    }

    /// The faults that are active, oldest first.
    #[must_use]
    pub fn active_faults(&self) -> Vec<Fault> {
        self.simulation.world().active_faults().to_vec()
    }

    /// Crashes a node until [`SimCluster::restart`].
    pub fn crash(&self, node: NodeId, how: CrashKind) {
        self.inject(&Fault::Crash { node, how });
    }

    /// Starts a crashed node again, however often and however it was crashed.
    pub fn restart(&self, node: NodeId) {
        let crashes = self.active_faults().into_iter();
        for fault in crashes.filter(|fault| matches!(fault, Fault::Crash { node: crashed, .. } if *crashed == node)) {
            self.heal(&fault);
        }
    }

    /// A new node begins to join a data centre, which may be a new one; answers its number. It gets its data from the
    /// present owners and owns its tokens once its [`NodeTruth::status`] is Normal, some seconds later.
    pub fn add_node(&self, datacenter: &str) -> NodeId {
        let node = self.next_number();
        self.inject(&Fault::Join { node, datacenter: datacenter.to_owned() });
        node
    }

    /// Tells a running node to leave the ring for good; it has left once its [`NodeTruth::status`] is Left.
    pub fn decommission(&self, node: NodeId) {
        self.inject(&Fault::Decommission { node });
    }

    /// Lets a node's machine die for good and a new node take over its tokens; answers the new node's number.
    pub fn replace(&self, node: NodeId, same_address: bool) -> NodeId {
        let with = self.next_number();
        self.inject(&Fault::Replace { node, with, same_address });
        with
    }

    /// Lets a node end and start with another address, as a moved container does; a crashed one has it once it starts
    /// again. An address that another node has makes both unreachable by turns: give it one of its own.
    pub fn restart_at(&self, node: NodeId, address: SocketAddr) {
        self.simulation.restart_at(node, address);
    }

    fn next_number(&self) -> NodeId {
        NodeId(self.simulation.world().members().ids().last().map_or(1, |last| last.0 + 1))
    }

    /// The present moment of simulated time.
    #[must_use]
    pub fn now(&self) -> SimInstant {
        self.simulation.now()
    }

    /// Reads the ledger: everything that nodes saw and did, and what happened to them, in order.
    ///
    /// The simulation stands still while `read` runs; it must not call the cluster.
    pub fn ledger<R>(&self, read: impl FnOnce(&[LedgerEntry]) -> R) -> R {
        read(self.simulation.world().ledger())
    }

    /// The schema that most running nodes believe in, or an empty one if none runs.
    #[must_use]
    pub fn schema(&self) -> Schema {
        self.simulation.world().members().schema().cloned().unwrap_or_default()
    }

    /// The schema version of each running node.
    #[must_use]
    pub fn schema_versions(&self) -> Vec<(NodeId, Uuid)> {
        let world = self.simulation.world();
        let version = |member: &crate::engine::Member| Some((member.config.id, member.schema()?.version));
        world.members().iter().filter_map(version).collect()
    }

    /// How many connections a client holds, established or being established.
    #[must_use]
    pub fn open_client_connections(&self, client: &str) -> usize {
        self.simulation.world().network().open_at_client(client)
    }

    /// How many tasks of a client are alive: those spawned through its environment or [`SimCluster::spawn`].
    #[must_use]
    pub fn alive_tasks(&self, client: &str) -> usize {
        self.simulation.tasks().alive(client)
    }

    /// Randomness of this run, keyed by purpose.
    #[must_use]
    pub const fn entropy(&self) -> Entropy {
        self.entropy
    }

    /// The wall clock of clients, in microseconds since 1970: the nodes' too, unless a fault puts one of them wrong.
    #[must_use]
    pub fn client_unix_micros(&self) -> i64 {
        let now = self.now();
        self.simulation.world().client_unix_micros(now)
    }

    /// How names fail to resolve at this moment.
    #[must_use]
    pub fn name_fault(&self) -> Option<NameFault> {
        self.simulation.world().name_fault()
    }

    /// What wall clocks show where no fault puts them wrong, in microseconds since 1970.
    #[must_use]
    pub fn unix_micros(&self) -> i64 {
        let now = self.now();
        self.simulation.world().unix_micros(now)
    }

    /// The last `most` trace lines; empty unless [`ClusterConfig::trace`] is on.
    #[must_use]
    pub fn trace_lines(&self, most: usize) -> Vec<String> {
        let world = self.simulation.world();
        let lines: Vec<_> = world.trace().lines().collect();
        lines.iter().skip(lines.len().saturating_sub(most)).map(ToString::to_string).collect()
    }

    /// Connects a client to an address, as its operating system would.
    ///
    /// Never fails early on its own: a machine that does not answer keeps it pending for two minutes.
    ///
    /// # Errors
    ///
    /// Refused, unreachable (no node has this address), reset, timed out.
    pub async fn connect(&self, client: &str, address: SocketAddr) -> io::Result<SimStream> {
        let stream = self.simulation.connect(&client.into(), address)?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Spawns a task of a client: its turn among tasks woken together is the seed's choice, it is counted, and its panic
    /// is reported. The handle's output is `None` if it panicked.
    pub fn spawn<F>(&self, client: &str, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = self.simulation.tasks().wrap(&client.into(), name, Box::pin(future));
        #[expect(clippy::disallowed_methods, reason = "this is the simulation's spawner")]
        tokio::spawn(task)
    }
}

impl fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCluster").field("now", &self.now()).finish_non_exhaustive()
    }
}

/// The client that `main` itself belongs to.
const MAIN: &str = "main";

/// What tasks get to end after `main` is done.
const GRACE: Duration = Duration::from_secs(1);
