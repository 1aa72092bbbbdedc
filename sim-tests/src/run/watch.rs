//! What only a live session shows: I4 counts, I7 tasks, I16 plans, I17 placement, I19 pools, I21 ghosts, I28 control
//! connections, I30 metadata, I32 what a bad list of nodes does.

use super::phases::{CLIENT, Run};
use crate::app::{self, KEYSPACE, client::App, song_id};
use crate::checkers::Class;
use crate::history::Nonce;
use crate::plan::PlannedFault;
use simcluster::NodeTruth;
use simcluster::engine::LedgerFact;
use simcluster::fault::Fault;
use simcluster::kernel::NodeId;
use simcluster::node::{NodeStatus, Observation};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Notices nodes that a session believes to be down, and those that it forgets.
pub(super) async fn node_states(run: Run, apps: Vec<App>) {
    let began = run.now();
    let end = began + Duration::from_millis(run.plan.phases.safety_ms);
    let mut connected: Vec<BTreeSet<Uuid>> = vec![BTreeSet::new(); apps.len()];
    while run.now() < end {
        sleep(LOOK).await;
        for (client, app) in apps.iter().enumerate() {
            let before = std::mem::replace(&mut connected[client], connected_nodes(app));
            if let Some(host_id) = forgotten(&run, app, &before, run.now() - began) {
                let text = format!("client {client} forgot node {host_id}, to which it was connected");
                run.fail("I32", Class::Safety, text);
                return;
            }
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

fn connected_nodes(app: &App) -> BTreeSet<Uuid> {
    let states = app.session().node_states();
    states.iter().filter(|node| node.open_connections > 0).map(|node| node.host_id).collect()
}

/// I32: a member that a session was connected to and has forgotten, without a node having left it out for long enough to
/// say so twice. Only where nothing ends connections at that time, and members stay members.
fn forgotten(run: &Run, app: &App, before: &BTreeSet<Uuid>, now: Duration) -> Option<Uuid> {
    let faults = &run.plan.faults;
    let recently = now.saturating_sub(LOOK * 2 + run.bounds.detect);
    let ends_connections = |planned: &&PlannedFault| {
        !planned.fault.leaves_contact() && Duration::from_millis(planned.at_ms) <= now && planned.until() >= recently
    };
    if faults.iter().any(|planned| planned.fault.changes_topology()) || faults.iter().any(|p| ends_connections(&p)) {
        return None;
    }
    if faults.iter().any(|planned| is_told_twice(faults, planned, now)) {
        return None;
    }
    let snapshot = app.session().cluster();
    before.iter().copied().find(|host_id| snapshot.node(*host_id).is_none())
}

/// Whether the node of this fault may have given the same wrong list at two moments a confirmation apart.
fn is_told_twice(faults: &[PlannedFault], planned: &PlannedFault, now: Duration) -> bool {
    let Fault::DirtyPeers { node, .. } = planned.fault else { return false };
    let dirty = faults.iter().filter(|other| matches!(other.fault, Fault::DirtyPeers { node: of, .. } if of == node));
    let last = dirty.map(PlannedFault::until).max().unwrap_or_default();
    let first = Duration::from_millis(planned.at_ms);
    first <= now && last >= first + CONFIRMATION
}

/// How long the driver waits before it reads a list again that leaves out a node to which it is connected.
const CONFIRMATION: Duration = Duration::from_secs(1);

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
    /// Streams of open connections on which an answer is owed.
    owed: BTreeMap<u64, BTreeSet<i16>>,
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
            if let Some(text) = self.miscounted(run, app, &name) {
                complain("I4", text);
            }
            if let Some(text) = left_over(run, app, &name) {
                complain("I7", text);
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
        let local = members(run).into_iter().filter(|node| node.datacenter == app::connect::LOCAL_DATACENTER);
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

    /// I4: the answers that a session believes to be owed are those that nodes have not given, or it has not read.
    fn miscounted(&self, run: &Run, app: &App, client: &str) -> Option<String> {
        let metrics = app.session().node_metrics();
        for node in members(run) {
            let Some(counted) = metrics.iter().find(|metrics| metrics.host_id == node.host_id) else { continue };
            let of_pool = self
                .open
                .iter()
                .filter(|(_, (owner, registered, at))| owner == client && !registered && *at == node.id);
            let owed: usize = of_pool.filter_map(|(connection, _)| self.owed.get(connection)).map(BTreeSet::len).sum();
            if counted.in_flight != owed {
                return Some(format!("node {} owes {owed} answers, {} are counted", node.id, counted.in_flight));
            }
        }
        None
    }

    fn read_ledger(&mut self, run: &Run) {
        let (open, believed, owed, read) = (&mut self.open, &mut self.believed, &mut self.owed, self.read);
        self.read = run.sim.ledger(|entries| {
            for entry in entries.iter().skip(read) {
                match &entry.fact {
                    LedgerFact::ConnectionOpened { connection, client, .. } => {
                        open.insert(connection.0, (client.to_string(), false, entry.node));
                    }
                    LedgerFact::ConnectionClosed { connection } => {
                        open.remove(&connection.0);
                        owed.remove(&connection.0);
                    }
                    // Heartbeats have a stream of their own and are counted apart.
                    LedgerFact::Node(Observation::Request { client, stream, .. }) if *stream != 0 => {
                        owed.entry(client.0).or_default().insert(*stream);
                    }
                    LedgerFact::AnswerRead { connection, stream } => {
                        if let Some(streams) = owed.get_mut(&connection.0) {
                            streams.remove(stream);
                        }
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

/// I7: a session at rest runs what it ran when it began: no call is counted, and no task is left of those that were
/// dropped.
fn left_over(run: &Run, app: &App, client: &str) -> Option<String> {
    let calls = app.session().metrics().in_flight;
    if calls > 0 {
        return Some(format!("{calls} calls are counted as running, and none is"));
    }
    let before = run.notebook.lock().tasks.get(client).copied()?;
    let now = tasks(run, app, client);
    (now > before).then(|| format!("{now} tasks serve no connection and no pool, {before} did when the session began"))
}

/// The tasks of a session beside one for each connection and one for each pool.
pub(super) fn tasks(run: &Run, app: &App, client: &str) -> usize {
    let local = |node: &&helenus::NodeStatus| node.datacenter == app::connect::LOCAL_DATACENTER;
    let pools = app.session().node_states().iter().filter(local).count();
    let connections = run.sim.open_client_connections(client);
    run.sim.alive_tasks(client).saturating_sub(connections + pools)
}

/// Waits until every pool is full, for as long as that may take a healthy cluster.
pub(super) async fn full_pools(run: &Run, app: &App) {
    let limit = run.now() + run.bounds.reconnect;
    while lost_node(run, app).is_some() && run.now() < limit {
        sleep(Duration::from_millis(50)).await;
    }
}

/// I21: once a session knows the members, nothing in it dials an address that none of them has.
pub(super) async fn ghosts(run: &Run) {
    if !run.plan.faults.iter().any(|planned| planned.fault.changes_topology()) {
        return;
    }
    let read = run.sim.ledger(<[_]>::len);
    sleep(run.bounds.reconnect).await;
    let addresses: BTreeSet<_> = members(run).into_iter().map(|node| node.address).collect();
    let ghost = run.sim.ledger(|entries| {
        entries.iter().skip(read).find_map(|entry| match &entry.fact {
            LedgerFact::Dialled { client, address, .. } if !addresses.contains(address) => {
                Some(format!("{client} dials {address}, where no member is"))
            }
            _ => None,
        })
    });
    if let Some(text) = ghost {
        run.fail("I21", Class::Safety, text);
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
    // Who is missing from the list that the coordinator keeps is not asked either.
    let spoils = |fault: &Fault| !fault.leaves_contact() || matches!(fault, Fault::DirtyPeers { .. });
    if run.plan.faults.iter().any(|planned| spoils(&planned.fault)) {
        return;
    }
    let table = format!("extra_{}", app::operation_of(nonce));
    let select = format!(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{KEYSPACE}' AND table_name = '{table}'"
    );
    for node in members(run).into_iter().filter(|node| !is_said_to_be_down(run, node)) {
        if run.sim.query_node(node.id, &select).is_ok_and(|answer| answer.rows.is_empty()) {
            run.fail("I35", Class::Safety, format!("{nonce} was called agreed, node {} has no {table}", node.id));
            return;
        }
    }
}

/// Whether a false report may have told that a node is down that no session is connected to and could know better of.
fn is_said_to_be_down(run: &Run, node: &NodeTruth) -> bool {
    let now = run.now().saturating_sub(run.notebook.lock().safety_began);
    node.datacenter != app::connect::LOCAL_DATACENTER
        && run.plan.faults.iter().any(|planned| {
            matches!(planned.fault, Fault::FalseStatus { about, up: false, .. } if about == node.id)
                && Duration::from_millis(planned.at_ms) <= now
        })
}

/// I19: every node that is not ignored has its full pool. Remote data centres are ignored by default.
fn lost_node(run: &Run, app: &App) -> Option<String> {
    let states = app.session().node_states();
    for node in members(run).into_iter().filter(|node| node.datacenter == app::connect::LOCAL_DATACENTER) {
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
            nodes.iter().any(|node| node.host_id == *host && node.datacenter == app::connect::LOCAL_DATACENTER)
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

#[cfg(test)]
mod tests {
    use super::*;
    use simcluster::node::Dirt;

    fn dirty(node: u32, at_ms: u64, for_ms: u64) -> PlannedFault {
        PlannedFault { id: 1, at_ms, for_ms, fault: Fault::DirtyPeers { node: NodeId(node), how: Dirt::NoRow } }
    }

    #[test]
    fn a_wrong_list_is_told_twice_if_it_lasts_for_a_confirmation() {
        let now = Duration::from_millis(5_000);
        let check = |faults: &[PlannedFault]| faults.iter().any(|fault| is_told_twice(faults, fault, now));
        assert!(check(&[dirty(1, 4_000, 1_000)]));
        assert!(!check(&[dirty(1, 4_000, 999)]));
        assert!(!check(&[dirty(1, 5_001, 8_000)]), "it has not begun");
        assert!(check(&[dirty(1, 4_000, 100), dirty(1, 4_900, 100)]), "wrong at both moments");
        assert!(!check(&[dirty(1, 4_000, 100), dirty(2, 4_900, 100)]), "another node");
    }
}
