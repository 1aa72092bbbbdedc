//! What only a live session shows: I16 plans, I17 placement, I19 pools, I28 control connections, I30 metadata.

use super::phases::{CLIENT, Run};
use crate::app::{self, KEYSPACE, client::App, song_id};
use crate::checkers::Class;
use crate::history::Nonce;
use crate::plan::PlannedFault;
use simcluster::NodeTruth;
use simcluster::engine::LedgerFact;
use simcluster::kernel::NodeId;
use simcluster::node::{NodeStatus, Observation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Notices nodes that a session believes to be down.
pub(super) async fn node_states(run: Run, apps: Vec<App>) {
    let end = run.now() + Duration::from_millis(run.plan.phases.safety_ms);
    while run.now() < end {
        sleep(LOOK).await;
        for (client, app) in apps.iter().enumerate() {
            for node in app.session().node_states().iter().filter(|node| node.open_connections == 0) {
                run.notebook.lock().marks.insert("node seen down");
                if node.state == helenus::NodeState::Up {
                    let text = format!("client {client}: {} is up without a connection", node.address);
                    run.fail("I20", Class::Safety, text);
                    return;
                }
            }
        }
    }
}

/// How often sessions are looked at during the safety phase.
const LOOK: Duration = Duration::from_millis(250);

/// The id of what only the simulated cluster can be blamed for.
pub(super) const SIMULATOR: &str = "SIM";

/// What the calm phase waits for. Remembers how far the ledger was read.
#[derive(Default)]
pub(super) struct Calm {
    read: usize,
    /// Open connections: their client, and whether they registered for events.
    open: BTreeMap<u64, (String, bool, NodeId)>,
    /// Which node believes which peer alive.
    believed: BTreeSet<(NodeId, NodeId)>,
}

impl Calm {
    /// What is not as it should be, by checker; empty once everything is well.
    pub(super) fn complaints(&mut self, run: &Run, apps: &[App]) -> Vec<(&'static str, String)> {
        self.read_ledger(run);
        let mut complaints = Vec::new();
        for node in run.sim.nodes() {
            if matches!(node.status, Some(NodeStatus::Joining | NodeStatus::Leaving)) {
                complaints.push((SIMULATOR, format!("node {} is still {:?}", node.id, node.status)));
            }
        }
        let nodes: Vec<NodeId> = members(run).iter().map(|node| node.id).collect();
        for (node, peer) in nodes.iter().flat_map(|node| nodes.iter().map(move |peer| (*node, *peer))) {
            // Until the nodes have found each other again they rightly refuse what needs several of them.
            if node != peer && !self.believed.contains(&(node, peer)) {
                complaints.push((SIMULATOR, format!("node {node} does not believe that {peer} is alive")));
            }
        }
        for (client, app) in apps.iter().enumerate() {
            let mut complain = |checker, text: String| complaints.push((checker, format!("client {client}: {text}")));
            let name = format!("{CLIENT}{client}");
            if let Some(text) = lost_node(run, app).or_else(|| self.dead_connection(run, &name)) {
                complain("I19", text);
            }
            let registered = self.open.values().filter(|(owner, registered, _)| *owner == name && *registered).count();
            if registered != 1 {
                complain("I28", format!("{registered} connections are registered for events"));
            }
            if let Some(text) = divergence(run, app) {
                complain("I30", text);
            }
            let ghost = self.open.values().find(|(owner, _, node)| *owner == name && !nodes.contains(node));
            if let Some((_, _, node)) = ghost {
                complain("I21", format!("a connection to node {node} is open, which is no member any more"));
            }
            if let Some(text) = wrong_pool(run, app) {
                complain("I22", text);
            }
        }
        complaints
    }

    /// I19 as the nodes see it: what a session takes for a connection may have died without its knowledge, and until it
    /// notices, calls fail.
    fn dead_connection(&self, run: &Run, client: &str) -> Option<String> {
        let wanted = run.plan.driver.connections_per_node as usize;
        let local = members(run).into_iter().filter(|node| node.datacenter == app::client::LOCAL_DATACENTER);
        for node in local {
            let of_pool =
                |(owner, registered, at): &&(String, bool, NodeId)| owner == client && !registered && *at == node.id;
            let alive = self.open.values().filter(of_pool).count();
            if alive < wanted {
                return Some(format!("node {} knows of {alive} of {wanted} connections", node.id));
            }
        }
        None
    }

    fn read_ledger(&mut self, run: &Run) {
        let (open, believed, read) = (&mut self.open, &mut self.believed, self.read);
        self.read = run.sim.ledger(|entries| {
            for entry in entries.iter().skip(read) {
                match &entry.fact {
                    LedgerFact::ConnectionOpened { connection, client, .. } => {
                        open.insert(connection.0, (client.to_string(), false, entry.node));
                    }
                    LedgerFact::ConnectionClosed { connection } => {
                        open.remove(&connection.0);
                    }
                    LedgerFact::Node(Observation::Liveness { peer, alive: true }) => {
                        believed.insert((entry.node, *peer));
                    }
                    LedgerFact::Node(Observation::Liveness { peer, alive: false }) => {
                        believed.remove(&(entry.node, *peer));
                    }
                    // A new process has heard of nobody yet, and knows no connection of the old one.
                    LedgerFact::Crashed(_) => {
                        believed.retain(|(node, _)| *node != entry.node);
                        open.retain(|_, (_, _, node)| *node != entry.node);
                    }
                    LedgerFact::Node(Observation::Registered { client }) => {
                        if let Some((_, registered, _)) = open.get_mut(&client.0) {
                            *registered = true;
                        }
                    }
                    _ => {}
                }
            }
            entries.len()
        });
    }
}

/// The nodes that own tokens.
fn members(run: &Run) -> Vec<NodeTruth> {
    let is_member = |node: &NodeTruth| matches!(node.status, Some(NodeStatus::Normal | NodeStatus::Leaving));
    run.sim.nodes().into_iter().filter(is_member).collect()
}

/// I21 and I22: there is a pool for members only, and it dials the address where the member is.
fn wrong_pool(run: &Run, app: &App) -> Option<String> {
    let members = members(run);
    for state in app.session().node_states() {
        match members.iter().find(|node| node.host_id == state.host_id) {
            None => return Some(format!("there is a pool for {}, which is no member", state.host_id)),
            Some(node) if node.address != state.address => {
                return Some(format!(
                    "the pool of node {} dials {}, it is at {}",
                    node.id, state.address, node.address
                ));
            }
            Some(_) => {}
        }
    }
    None
}

/// I35: once a schema change is called agreed, every node has it. Only where no fault keeps nodes from their clients:
/// a node that is thought to be down is not waited for.
pub(super) fn agreement(run: &Run, nonce: Nonce) {
    let harmless = |fault: &PlannedFault| HARMLESS_TO_AGREEMENT.contains(&fault.kind().as_str());
    if !run.plan.faults.iter().all(harmless) {
        return;
    }
    let table = format!("extra_{}", app::operation_of(nonce));
    let select = format!(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{KEYSPACE}' AND table_name = '{table}'"
    );
    for node in members(run) {
        if run.sim.query_node(node.id, &select).is_ok_and(|answer| answer.rows.is_empty()) {
            run.fail("I35", Class::Safety, format!("{nonce} was called agreed, node {} has no {table}", node.id));
            return;
        }
    }
}

const HARMLESS_TO_AGREEMENT: [&str; 10] = [
    "slow-schema",
    "node-clock",
    "client-clock",
    "lose-events",
    "delay-events",
    "repeat-events",
    "false-status",
    "empty-pages",
    "forget-prepared",
    "names",
];

/// I19: every node that is not ignored has its full pool. Remote data centres are ignored by default.
fn lost_node(run: &Run, app: &App) -> Option<String> {
    let states = app.session().node_states();
    for node in members(run).into_iter().filter(|node| node.datacenter == app::client::LOCAL_DATACENTER) {
        let Some(state) = states.iter().find(|state| state.host_id == node.host_id) else {
            return Some(format!("node {} ({}) has no pool", node.id, node.address));
        };
        let (open, wanted) = (state.open_connections, run.plan.driver.connections_per_node as usize);
        if open < wanted {
            return Some(format!("node {} has {open} of {wanted} connections, state {:?}", node.id, state.state));
        }
    }
    None
}

/// I30: nodes, addresses and schema in the driver equal the truth.
fn divergence(run: &Run, app: &App) -> Option<String> {
    let snapshot = app.session().cluster();
    let truth: BTreeMap<Uuid, _> = members(run).into_iter().map(|node| (node.host_id, node.address)).collect();
    let known: BTreeMap<Uuid, _> = snapshot.nodes().iter().map(|node| (node.host_id, node.address)).collect();
    if truth != known {
        return Some(format!("the driver knows {known:?}, the nodes are {truth:?}"));
    }
    let schema = run.sim.schema();
    let versions: BTreeSet<Uuid> = run.sim.schema_versions().into_iter().map(|(_, version)| version).collect();
    if versions.len() > 1 {
        return Some("the nodes disagree about the schema".to_owned());
    }
    let tables: BTreeSet<&str> =
        schema.keyspaces.get(KEYSPACE).map(|k| k.tables.keys().map(String::as_str).collect()).unwrap_or_default();
    let known: BTreeSet<&str> =
        snapshot.keyspace(KEYSPACE).map(|k| k.tables.keys().map(|name| &**name).collect()).unwrap_or_default();
    if tables != known {
        return Some(format!("the driver knows the tables {known:?}, there are {tables:?}"));
    }
    None
}

/// I16 and I17, for a handful of keys.
pub(super) async fn plans_and_placement(run: &Run, app: &App, client: u32) {
    let snapshot = app.session().cluster();
    let nodes = members(run);
    for number in 0..KEYS {
        let id = song_id(number * 7_919);
        let truth: BTreeSet<Uuid> = run
            .sim
            .replicas(KEYSPACE, id.as_bytes())
            .into_iter()
            .filter_map(|replica| nodes.iter().find(|node| node.id == replica).map(|node| node.host_id))
            .collect();
        let known = snapshot.replicas(KEYSPACE, id.as_bytes());
        let distinct: BTreeSet<Uuid> = known.iter().copied().collect();
        if distinct != truth || distinct.len() != known.len() {
            run.fail(
                "I17",
                Class::Safety,
                format!("client {client}: the replicas of {id} are {truth:?}, the driver says {known:?}"),
            );
            return;
        }
        let plan = match app.plan_for(number * 7_919).await {
            Ok(plan) => plan,
            Err(error) => {
                run.fail("I16", Class::Safety, format!("client {client}: no plan for {id}: {error}"));
                return;
            }
        };
        let distinct: BTreeSet<Uuid> = plan.iter().copied().collect();
        let usable: BTreeSet<Uuid> = app
            .session()
            .node_states()
            .iter()
            .filter(|state| state.open_connections > 0)
            .map(|state| state.host_id)
            .collect();
        let all: BTreeSet<Uuid> = nodes.iter().map(|node| node.host_id).collect();
        let local = |host: &Uuid| {
            nodes.iter().any(|node| node.host_id == *host && node.datacenter == app::client::LOCAL_DATACENTER)
        };
        let problem = if distinct.len() != plan.len() {
            "names a node twice"
        } else if !distinct.is_subset(&all) {
            "names an unknown node"
        } else if usable.iter().filter(|host| local(host)).any(|host| !distinct.contains(host)) {
            "leaves out a usable node of the local data centre"
        } else {
            continue;
        };
        run.fail("I16", Class::Safety, format!("client {client}: the plan {plan:?} {problem}"));
        return;
    }
}

/// How many keys are compared per session.
const KEYS: u32 = 20;
