//! The driver's connections in whole simulated clusters: negotiation, pools, the control connection.

mod control_connection;
mod extensions;
mod negotiation;
mod pools;
mod requests;

use helenus::{NodeState, Session, SessionBuilder};
use simcluster::engine::{LedgerEntry, LedgerFact};
use simcluster::node::Observation;
use simcluster::{ClusterConfig, NodeId, SimCluster};
use std::time::Duration;

/// The name under which the driver's tasks and sockets are counted.
const APP: &str = "app";

/// Runs a story in a cluster and checks that the driver broke no rule of the protocol and left nothing behind.
#[track_caller]
fn run<F, Fut>(config: ClusterConfig, story: F)
where
    F: FnOnce(SimCluster) -> Fut,
    Fut: Future<Output = Session>,
{
    let report = simcluster::run(config.seed(7), |sim| async move {
        let session = story(sim.clone()).await;
        let closed = session.close(Duration::from_secs(5)).await;
        assert!(closed.is_complete, "{closed:?}");
        assert_eq!(sim.open_client_connections(APP), 0, "sockets left behind");
        sim.ledger(|ledger| assert_eq!(ledger.iter().find(|entry| is_violation(entry)), None));
    });
    assert!(report.leaked_tasks.is_empty(), "{:?}", report.leaked_tasks);
    report.expect_clean();
}

/// Whether the driver broke a rule of the protocol. Asking for a version that a node lacks is how versions are found.
fn is_violation(entry: &LedgerEntry) -> bool {
    match &entry.fact {
        LedgerFact::Node(Observation::ProtocolViolation { reason, .. }) => {
            !reason.starts_with("Invalid or unsupported protocol version")
                && !reason.starts_with("Beta version of the protocol used")
        }
        _ => false,
    }
}

/// A session's options for a cluster: one contact point, time limits as in production.
fn builder(sim: &SimCluster) -> SessionBuilder {
    Session::builder().environment(sim.environment(APP)).contact_point(sim.contact_points()[0].to_string())
}

async fn connect(sim: &SimCluster) -> Session {
    builder(sim).connect().await.expect("the cluster is healthy")
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

/// Waits for what must become true, at most a simulated minute.
async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_true() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

fn state_of(session: &Session, sim: &SimCluster, node: NodeId) -> Option<NodeState> {
    let host_id = sim.nodes().into_iter().find(|truth| truth.id == node)?.host_id;
    session.node_states().into_iter().find(|status| status.host_id == host_id).map(|status| status.state)
}

fn are_all_up(session: &Session, nodes: usize) -> bool {
    let states = session.node_states();
    states.len() == nodes && states.iter().all(|status| status.state == NodeState::Up)
}

/// A table to write to, with a replica on every node of a cluster of three.
async fn create_table(session: &Session) {
    let keyspace = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}";
    session.query(keyspace).execute().await.expect("a new keyspace");
    session.query("CREATE TABLE ks.t (k int PRIMARY KEY, v text)").execute().await.expect("a new table");
}

/// Writes and reads one row through a prepared statement each; a failure says which.
async fn use_table(session: &Session, k: i32, v: &str) {
    let insert = session.query("INSERT INTO ks.t (k, v) VALUES (?, ?)").bind((k, v)).idempotent(true);
    insert.execute().await.unwrap_or_else(|error| panic!("write {k}: {error}"));
    let select = session.query("SELECT v FROM ks.t WHERE k = ?").bind((k,)).idempotent(true);
    let rows: Vec<(String,)> = select.all().await.unwrap_or_else(|error| panic!("read {k}: {error}"));
    assert_eq!(rows, [(v.to_owned(),)]);
}
