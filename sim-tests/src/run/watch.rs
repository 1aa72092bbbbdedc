//! What only a live session shows: I16 plans, I17 placement, I19 pools, I28 control connections, I30 metadata.

use super::phases::{CLIENT, Run};
use crate::app::{self, KEYSPACE, client::App, song_id};
use crate::checkers::Class;
use simcluster::engine::LedgerFact;
use simcluster::kernel::NodeId;
use simcluster::node::Observation;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Notices nodes that a session believes to be down.
pub(super) async fn node_states(run: Run, apps: Vec<App>) {
    let end = run.now() + Duration::from_millis(run.plan.phases.safety_ms);
    while run.now() < end {
        sleep(LOOK).await;
        let down = |app: &App| app.session().node_states().iter().any(|node| node.open_connections == 0);
        if apps.iter().any(down) {
            run.notebook.lock().marks.insert("node seen down");
            return;
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
    open: BTreeMap<u64, (String, bool)>,
    /// Which node believes which peer alive.
    believed: BTreeSet<(NodeId, NodeId)>,
}

impl Calm {
    /// What is not as it should be, by checker; empty once everything is well.
    pub(super) fn complaints(&mut self, run: &Run, apps: &[App]) -> Vec<(&'static str, String)> {
        self.read_ledger(run);
        let mut complaints = Vec::new();
        let nodes: Vec<NodeId> = run.sim.nodes().iter().map(|node| node.id).collect();
        for (node, peer) in nodes.iter().flat_map(|node| nodes.iter().map(move |peer| (*node, *peer))) {
            // Until the nodes have found each other again they rightly refuse what needs several of them.
            if node != peer && !self.believed.contains(&(node, peer)) {
                complaints.push((SIMULATOR, format!("node {node} does not believe that {peer} is alive")));
            }
        }
        for (client, app) in apps.iter().enumerate() {
            let mut complain = |checker, text: String| complaints.push((checker, format!("client {client}: {text}")));
            if let Some(text) = lost_node(run, app) {
                complain("I19", text);
            }
            let name = format!("{CLIENT}{client}");
            let registered = self.open.values().filter(|(owner, registered)| *owner == name && *registered).count();
            if registered != 1 {
                complain("I28", format!("{registered} connections are registered for events"));
            }
            if let Some(text) = divergence(run, app) {
                complain("I30", text);
            }
        }
        complaints
    }

    fn read_ledger(&mut self, run: &Run) {
        let (open, believed, read) = (&mut self.open, &mut self.believed, self.read);
        self.read = run.sim.ledger(|entries| {
            for entry in entries.iter().skip(read) {
                match &entry.fact {
                    LedgerFact::ConnectionOpened { connection, client, .. } => {
                        open.insert(connection.0, (client.to_string(), false));
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
                    // A new process has heard of nobody yet.
                    LedgerFact::Crashed(_) => believed.retain(|(node, _)| *node != entry.node),
                    LedgerFact::Node(Observation::Registered { client }) => {
                        if let Some((_, registered)) = open.get_mut(&client.0) {
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

/// I19: every node that is not ignored has its full pool. Remote data centres are ignored by default.
fn lost_node(run: &Run, app: &App) -> Option<String> {
    let states = app.session().node_states();
    for node in run.sim.nodes().into_iter().filter(|node| node.datacenter == app::client::LOCAL_DATACENTER) {
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
    let truth: BTreeMap<Uuid, _> = run.sim.nodes().into_iter().map(|node| (node.host_id, node.address)).collect();
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
    let nodes = run.sim.nodes();
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
