//! The simulated world: every test gets a fresh simulated cluster in virtual time.

use super::cluster::{Capability, Change, IN_FLIGHT_BYTES_MAX, Member, Release, TestCluster, WorldError};
use super::{Outcome, Ring, Stage, Test};
use helenus::Environment;
use helenus::env::{sleep, timeout};
use simcluster::fault::{CrashKind, Fault};
use simcluster::kernel::Budget;
use simcluster::node::NodeStatus;
use simcluster::{ClusterConfig, NodeId, SimCluster};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How one test ended in the simulated world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Passed,
    /// The world lacks what it needs; the sentence says what.
    Skipped(String),
    /// It did not hold; the text says why.
    Failed(String),
}

/// Runs one test on a fresh cluster, on this thread.
#[must_use]
pub fn run(test: &Test) -> Verdict {
    let seed = seed_of(test);
    let report = simcluster::run(config(test.needs.ring, seed), |sim| {
        let test = *test;
        async move {
            let cluster = Arc::new(SimulatedCluster { sim });
            if let Some(missing) = test.needs.missing(&*cluster) {
                return Verdict::Skipped(missing);
            }
            let stage = Stage::new(cluster, test.subject, test.needs.ring.is_authenticated(), seed);
            let outcome = timeout(LIMIT, (test.run)(stage.clone())).await;
            stage.close().await;
            judge(outcome.unwrap_or_else(|_| Err(format!("it was not done after {LIMIT:?}").into())))
        }
    });
    match &report.value {
        Some(verdict) if report.panics.is_empty() && report.leaked_tasks.is_empty() => verdict.clone(),
        Some(Verdict::Failed(text)) => Verdict::Failed(format!("{text}; {report}")),
        _ => Verdict::Failed(report.to_string()),
    }
}

fn judge(outcome: Outcome) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(error) => Verdict::Failed(error.to_string()),
    }
}

/// A number of its own for each test, the same in every process: a frozen hash of its path.
#[must_use]
pub fn seed_of(test: &Test) -> u64 {
    test.path()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn config(ring: Ring, seed: u64) -> ClusterConfig {
    let budget = Budget { simulated: LIMIT * 2, ..Budget::default() };
    let mut config = ClusterConfig::default().seed(seed).racks(1).budget(budget);
    config = config.in_flight_bytes_max(IN_FLIGHT_BYTES_MAX as u64);
    for (name, nodes) in ring.datacenters() {
        config = config.datacenter(*name, u32::from(*nodes));
    }
    if ring.is_authenticated() {
        config = config.users([("cassandra".to_owned(), "cassandra".to_owned())]);
    }
    config
}

/// The simulated cluster as tests see it.
struct SimulatedCluster {
    sim: SimCluster,
}

impl SimulatedCluster {
    fn begin(&self, fault: &Fault) -> Change<'_> {
        self.sim.inject(fault);
        Box::pin(std::future::ready(Ok(())))
    }

    fn end(&self, is_it: impl Fn(&Fault) -> bool) -> Change<'_> {
        for fault in self.sim.active_faults().iter().filter(|fault| is_it(fault)) {
            self.sim.heal(fault);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl SimulatedCluster {
    /// Waits until a node's own view of itself is the one asked for.
    async fn reaches(
        &self,
        node: NodeId,
        what: &str,
        is_it: impl Fn(Option<NodeStatus>) -> bool,
    ) -> Result<(), WorldError> {
        let began = self.sim.now();
        while !is_it(self.sim.nodes().into_iter().find(|truth| truth.id == node).and_then(|truth| truth.status)) {
            if self.sim.now().since(began) > CHANGE_LIMIT {
                return Err(WorldError(format!("{node} has not {what} within {CHANGE_LIMIT:?}")));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

impl TestCluster for SimulatedCluster {
    fn members(&self) -> Vec<Member> {
        let mut nodes = self.sim.nodes();
        nodes.retain(|node| node.status != Some(NodeStatus::Left));
        let member = |node: &simcluster::NodeTruth| Member {
            number: u8::try_from(node.id.0).unwrap_or(u8::MAX),
            address: node.address,
            datacenter: node.datacenter.clone(),
            is_running: node.up,
        };
        nodes.iter().map(member).collect()
    }

    fn release(&self) -> Release {
        Release::new(5, 0)
    }

    fn can(&self, capability: Capability) -> bool {
        match capability {
            Capability::Partition | Capability::MirroredPayload | Capability::Resize | Capability::NewAddress => true,
            Capability::Roles | Capability::TombstoneWarnings => false,
        }
    }

    fn environment(&self, client: &str) -> Environment {
        self.sim.environment(client)
    }

    fn kill(&self, node: u8) -> Change<'_> {
        self.begin(&Fault::Crash { node: id(node), how: CrashKind::Rst })
    }

    fn stop(&self, node: u8) -> Change<'_> {
        self.begin(&Fault::Crash { node: id(node), how: CrashKind::Drain })
    }

    fn restart(&self, node: u8) -> Change<'_> {
        self.sim.restart(id(node));
        Box::pin(std::future::ready(Ok(())))
    }

    fn pause(&self, node: u8) -> Change<'_> {
        self.begin(&Fault::Pause { node: id(node) })
    }

    fn resume(&self, node: u8) -> Change<'_> {
        self.end(|fault| *fault == Fault::Pause { node: id(node) })
    }

    fn cut_off(&self, node: u8, from_clients: bool) -> Change<'_> {
        self.begin(&Fault::Partition { nodes: vec![id(node)], clients: from_clients })
    }

    fn heal(&self) -> Change<'_> {
        self.end(|fault| matches!(fault, Fault::Partition { .. }))
    }

    fn add(&self, datacenter: &str) -> Change<'_, u8> {
        let node = self.sim.add_node(datacenter);
        Box::pin(async move {
            self.reaches(node, "joined", |status| status == Some(NodeStatus::Normal)).await?;
            u8::try_from(node.0).map_err(|_| WorldError("there are too many nodes".to_owned()))
        })
    }

    fn decommission(&self, node: u8) -> Change<'_> {
        self.sim.decommission(id(node));
        // A process that has left may be ended: it is no member any more.
        Box::pin(async move { self.reaches(id(node), "left", |status| status == Some(NodeStatus::Left)).await })
    }

    fn restart_elsewhere(&self, node: u8) -> Change<'_> {
        let unused = SocketAddr::from(([10, 0, 9, node], 9042));
        self.sim.restart_at(id(node), unused);
        self.sim.restart(id(node));
        Box::pin(std::future::ready(Ok(())))
    }
}

fn id(node: u8) -> NodeId {
    NodeId(u32::from(node))
}

/// What a test may take, in simulated time.
const LIMIT: Duration = Duration::from_secs(600);

/// What joining and leaving may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
