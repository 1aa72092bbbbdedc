//! Requests in whole clusters: pages, time limits, prepared statements, bytes that are not what they should be.

use super::{APP, are_all_up, builder, connect, create_table, eventually, run, seconds, use_table};
use helenus::{ErrorKind, NodeState, Session};
use simcluster::engine::{LedgerEntry, LedgerFact};
use simcluster::fault::CrashKind;
use simcluster::node::Observation;
use simcluster::{ClusterConfig, Fault, NodeId, SimCluster};
use std::time::Duration;

/// Writes rows that fill ten pages of ten.
async fn fill(session: &Session) {
    create_table(session).await;
    for k in 0..100 {
        use_table(session, k, "row").await;
    }
}

async fn scan(session: &Session) -> Vec<i32> {
    let rows: Vec<(i32,)> = session.query("SELECT k FROM ks.t").page_size(10).all().await.expect("a healthy cluster");
    let mut keys: Vec<i32> = rows.into_iter().map(|(k,)| k).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn pages_without_rows_do_not_end_a_scan() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        fill(&session).await;
        let all: Vec<i32> = (0..100).collect();
        assert_eq!(scan(&session).await, all);
        for pages in [1, 2, 5] {
            for number in 1..=3 {
                sim.inject(&Fault::EmptyPages { node: NodeId(number), pages });
            }
            assert_eq!(scan(&session).await, all, "{pages} pages without rows in a row");
        }
        session
    });
}

#[test]
fn each_page_has_the_whole_time_limit() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        fill(&session).await;
        for number in 1..=3 {
            sim.inject(&Fault::SlowLink { node: NodeId(number), extra_ms: 100 });
        }
        let started = helenus::env::Instant::now();
        let limit = Duration::from_millis(700);
        let query = session.query("SELECT k FROM ks.t").page_size(10).timeout(limit);
        let rows: Vec<(i32,)> = query.all().await.expect("no page takes as long as the limit");
        assert_eq!(rows.len(), 100);
        assert!(started.elapsed() > limit * 2, "{:?}", started.elapsed());
        session
    });
}

#[test]
fn an_answer_with_a_flipped_bit_costs_its_connection_only() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim).default_idempotence(true).connect().await.expect("a healthy cluster");
        create_table(&session).await;
        for k in 0..30 {
            if k % 10 == 5 {
                sim.inject(&Fault::CorruptAnswer { node: NodeId(2) });
            }
            use_table(&session, k, "unimpressed").await;
            let others = session.node_states().into_iter().filter(|status| status.state == NodeState::Up).count();
            assert!(others >= 2, "{:?}", session.node_states());
        }
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        session
    });
}

#[test]
fn a_batch_outlives_that_all_its_statements_are_forgotten() {
    run(ClusterConfig::default(), |sim| async move {
        // Nobody warms the nodes up: each statement must be prepared again in the middle of the batch.
        let session = builder(&sim).prepare_on_up(0).connect().await.expect("a healthy cluster");
        create_table(&session).await;
        let mut statements = Vec::new();
        for number in 0..12 {
            let text = format!("INSERT INTO ks.t (k, v) VALUES (?, 'statement {number}')");
            statements.push(session.prepare(text).await.expect("a healthy cluster"));
        }
        for number in 1..=3 {
            sim.inject(&Fault::ForgetPrepared { node: NodeId(number) });
        }
        let mut batch = session.batch(helenus::BatchType::Unlogged);
        for (k, statement) in (0..).zip(&statements) {
            batch = batch.push(statement, (k,));
        }
        batch.execute().await.expect("twelve statements are no more than one");
        let rows: Vec<(i32,)> = session.query("SELECT k FROM ks.t").all().await.expect("a healthy cluster");
        assert_eq!(rows.len(), 12);
        session
    });
}

/// The requests that the nodes have received.
fn requests(sim: &SimCluster) -> usize {
    let is_request = |entry: &&LedgerEntry| matches!(entry.fact, LedgerFact::Node(Observation::Request { .. }));
    sim.ledger(|ledger| ledger.iter().filter(is_request).count())
}

#[test]
fn refreshes_that_are_asked_for_at_once_share_their_reads() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        let before = requests(&sim);
        session.refresh_nodes().await.expect("a healthy cluster");
        let of_one = requests(&sim) - before;
        let before = requests(&sim);
        let mut running = Vec::new();
        for _ in 0..20 {
            let session = session.clone();
            running.push(sim.spawn(APP, "refresh", async move { session.refresh_nodes().await }));
        }
        for refresh in running {
            refresh.await.expect("no panic").expect("it was not aborted").expect("a healthy cluster");
        }
        let of_twenty = requests(&sim) - before;
        assert!((of_one..=2 * of_one).contains(&of_twenty), "{of_twenty} instead of {of_one}");
        session
    });
}

#[test]
fn a_false_report_that_a_node_is_up_changes_no_state() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        sim.crash(NodeId(3), CrashKind::Silence);
        let state = || super::state_of(&session, &sim, NodeId(3));
        eventually("the node is down", || state() == Some(NodeState::Down)).await;
        for _ in 0..5 {
            for node in [NodeId(1), NodeId(2)] {
                sim.inject(&Fault::FalseStatus { node, about: NodeId(3), up: true });
            }
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                assert_eq!(state(), Some(NodeState::Down));
            }
        }
        session
    });
}

#[test]
fn a_report_about_an_address_that_nobody_knows_has_the_nodes_read_again() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim)
            .topology_event_refresh_window(None)
            .metadata_refresh_interval(Duration::from_secs(3600))
            .connect()
            .await
            .expect("a healthy cluster");
        sim.add_node("dc1");
        eventually("the new node is known", || session.cluster().nodes().len() == 4).await;
        eventually("all nodes are up", || are_all_up(&session, 4)).await;
        session
    });
}

#[test]
fn a_lost_keyspace_leaves_the_connections_that_are_there() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        create_table(&session).await;
        session.use_keyspace("ks").await.expect("it exists");
        let error = session.use_keyspace("atlantis").await.expect_err("it does not exist");
        assert_eq!(*error.kind(), ErrorKind::KeyspaceMissing("atlantis".to_owned()));
        seconds(5).await;
        session
            .query("INSERT INTO t (k, v) VALUES (1, 'still ks')")
            .execute()
            .await
            .expect("the keyspace is the old one");
        assert!(are_all_up(&session, 3));
        session
    });
}
