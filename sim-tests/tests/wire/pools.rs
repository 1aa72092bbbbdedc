//! The connections to each node: how many, to whom, and what happens when a node goes, moves or turns into another.

use super::{APP, are_all_up, builder, connect, create_table, eventually, run, seconds, state_of, use_table};
use helenus::connection::{AuthExchange, Authenticator, PlainAuthenticator};
use helenus::control::NodeEvent;
use helenus::policy::ConstantReconnection;
use helenus::{ErrorKind, NodeState, Session};
use simcluster::engine::{LedgerEntry, LedgerFact};
use simcluster::fault::CrashKind;
use simcluster::{ClusterConfig, Fault, NodeId, SimCluster};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn as_many_connections_are_opened_to_each_node_as_configured() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim).connections_per_node(3).connect().await.expect("a healthy cluster");
        eventually("three connections to each", || {
            session.node_states().iter().all(|status| status.open_connections == 3)
        })
        .await;
        assert_eq!(sim.open_client_connections(APP), 10, "and the control connection");
        session
    });
}

#[test]
fn a_cluster_that_accepts_and_never_answers_is_not_dialled_more_than_32_times_at_once() {
    run(ClusterConfig::default().datacenter("dc1", 40), |sim| async move {
        for number in 2..=40 {
            sim.inject(&Fault::Pause { node: NodeId(number) });
        }
        let connecting = builder(&sim).connections_per_node(2).connect();
        let counting = async {
            let mut most = 0;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                most = most.max(sim.open_client_connections(APP));
            }
            most
        };
        let (session, most) = tokio::join!(connecting, counting);
        // The control connection and two to the node that answers are open beside the dials.
        assert!((30..=35).contains(&most), "{most} sockets at once");
        for number in 2..=40 {
            sim.heal(&Fault::Pause { node: NodeId(number) });
        }
        let session = session.expect("one node answers");
        eventually("all nodes are up", || are_all_up(&session, 40)).await;
        session
    });
}

#[test]
fn a_report_that_a_node_is_up_ends_the_wait_for_the_next_dial() {
    run(ClusterConfig::default(), |sim| async move {
        let hour = Arc::new(ConstantReconnection::new(Duration::from_secs(3600)));
        let session = builder(&sim).reconnection(hour).connect().await.expect("a healthy cluster");
        sim.crash(NodeId(3), CrashKind::Rst);
        eventually("the node is down", || state_of(&session, &sim, NodeId(3)) == Some(NodeState::Down)).await;
        seconds(15).await;
        sim.restart(NodeId(3));
        eventually("the node is up", || state_of(&session, &sim, NodeId(3)) == Some(NodeState::Up)).await;
        session
    });
}

#[test]
fn a_node_that_comes_back_without_any_event_is_found_by_the_schedule_alone() {
    run(ClusterConfig::default(), |sim| async move {
        let every_5_s = Arc::new(ConstantReconnection::new(Duration::from_secs(5)));
        let session =
            builder(&sim).reconnection(every_5_s).status_event_refresh_window(None).connect().await.expect("healthy");
        sim.crash(NodeId(2), CrashKind::Silence);
        seconds(600).await;
        assert_eq!(state_of(&session, &sim, NodeId(2)), Some(NodeState::Down));
        sim.restart(NodeId(2));
        eventually("the node is up", || state_of(&session, &sim, NodeId(2)) == Some(NodeState::Up)).await;
        session
    });
}

#[test]
fn a_false_report_that_a_node_is_down_closes_nothing() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        let before: Vec<_> = session.node_states();
        for node in [NodeId(1), NodeId(2), NodeId(3)] {
            for about in [NodeId(1), NodeId(2), NodeId(3)] {
                sim.inject(&Fault::FalseStatus { node, about, up: false });
            }
        }
        for _ in 0..80 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(session.node_states(), before);
        }
        session
    });
}

#[test]
fn a_report_that_a_node_is_down_unmasks_one_that_accepts_and_never_answers() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        sim.inject(&Fault::Pause { node: NodeId(3) });
        let told = helenus::env::Instant::now();
        for node in [NodeId(1), NodeId(2)] {
            sim.inject(&Fault::FalseStatus { node, about: NodeId(3), up: false });
        }
        eventually("the node is down", || state_of(&session, &sim, NodeId(3)) == Some(NodeState::Down)).await;
        // The status window of 2 s and 5 s to answer; the idle heartbeat alone would have taken 35 s.
        assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
        sim.heal(&Fault::Pause { node: NodeId(3) });
        eventually("the node is up", || are_all_up(&session, 3)).await;
        session
    });
}

#[test]
fn a_node_that_starts_at_another_address_is_followed() {
    run(ClusterConfig::default(), |sim| async move {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heard);
        let listener = Arc::new(move |event: &NodeEvent| keep.lock().unwrap().push(event.clone()));
        let session = builder(&sim).node_listener(listener).connect().await.expect("a healthy cluster");
        create_table(&session).await;
        let (from, to): (SocketAddr, SocketAddr) = (sim.nodes()[2].address, "10.9.9.9:9042".parse().unwrap());
        sim.restart_at(NodeId(3), to);
        eventually("the new address", || session.node_states().iter().any(|status| status.address == to)).await;
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        assert_eq!(session.node_states().len(), 3, "the same node, not a fourth");
        let is_move = |event: &NodeEvent| matches!(event, NodeEvent::Moved { node, from: old } if *old == from && node.address == to);
        assert!(heard.lock().unwrap().iter().any(is_move), "{:?}", heard.lock().unwrap());
        for k in 0..20 {
            use_table(&session, k, "moved").await;
        }
        session
    });
}

#[test]
fn a_new_node_at_an_old_address_is_another_node() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        create_table(&session).await;
        let old = sim.nodes()[2].clone();
        let new = sim.replace(NodeId(3), true);
        eventually("the new node is up", || state_of(&session, &sim, new) == Some(NodeState::Up)).await;
        assert!(session.cluster().node(old.host_id).is_none(), "the old one is forgotten");
        assert_eq!(session.cluster().nodes().len(), 3);
        for k in 0..20 {
            use_table(&session, k, "replaced").await;
        }
        session
    });
}

#[test]
fn two_nodes_that_swap_addresses_are_told_apart_by_their_host_ids() {
    run(ClusterConfig::default(), |sim| async move {
        // Without events and before the next look at the list of nodes, only the host id can tell.
        let session = builder(&sim)
            .status_event_refresh_window(None)
            .topology_event_refresh_window(None)
            .metadata_refresh_interval(Duration::from_secs(3600))
            .connect()
            .await
            .expect("a healthy cluster");
        create_table(&session).await;
        let (second, third) = (sim.nodes()[1].clone(), sim.nodes()[2].clone());
        sim.crash(NodeId(2), CrashKind::Rst);
        sim.crash(NodeId(3), CrashKind::Rst);
        sim.restart_at(NodeId(2), third.address);
        sim.restart_at(NodeId(3), second.address);
        sim.restart(NodeId(2));
        sim.restart(NodeId(3));
        eventually("both are known at their new addresses", || {
            let cluster = session.cluster();
            let address = |host_id| cluster.node(host_id).map(|node| node.address);
            address(second.host_id) == Some(third.address) && address(third.host_id) == Some(second.address)
        })
        .await;
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        for k in 0..20 {
            use_table(&session, k, "swapped").await;
        }
        session
    });
}

/// How many connections a node has accepted.
fn dials(sim: &SimCluster, node: NodeId) -> usize {
    let is_opening =
        |entry: &&LedgerEntry| entry.node == node && matches!(entry.fact, LedgerFact::ConnectionOpened { .. });
    sim.ledger(|ledger| ledger.iter().filter(is_opening).count())
}

/// Right credentials, except for one address while the flag is set.
struct Credentials {
    address: SocketAddr,
    are_wrong: Arc<AtomicBool>,
}

impl Authenticator for Credentials {
    fn start(&self, server_class: &str, address: SocketAddr) -> Result<Box<dyn AuthExchange>, String> {
        let is_wrong = address == self.address && self.are_wrong.load(Ordering::Relaxed);
        PlainAuthenticator::new("app", if is_wrong { "guess" } else { "secret" }).start(server_class, address)
    }
}

fn with_users() -> ClusterConfig {
    ClusterConfig::default().users([("app".to_owned(), "secret".to_owned())])
}

#[test]
fn refused_credentials_show_as_a_state_and_are_tried_again_at_the_longest_delay() {
    run(with_users(), |sim| async move {
        let are_wrong = Arc::new(AtomicBool::new(true));
        let credentials = Credentials { address: sim.nodes()[1].address, are_wrong: Arc::clone(&are_wrong) };
        let session = builder(&sim).authenticator(Arc::new(credentials)).connect().await.expect("two nodes accept");
        assert_eq!(state_of(&session, &sim, NodeId(2)), Some(NodeState::CredentialsRefused));
        let before = dials(&sim, NodeId(2));
        seconds(50).await;
        assert_eq!(dials(&sim, NodeId(2)), before, "tried again before a minute was over");
        are_wrong.store(false, Ordering::Relaxed);
        eventually("the node is up", || state_of(&session, &sim, NodeId(2)) == Some(NodeState::Up)).await;
        session
    });
}

#[test]
fn missing_and_wrong_credentials_are_errors_that_say_so() {
    let config = with_users().seed(7);
    simcluster::run(config, |sim| async move {
        for builder in [builder(&sim), builder(&sim).credentials("app", "guess")] {
            let error = builder.connect().await.expect_err("the password is missing or wrong");
            assert!(matches!(error.kind(), ErrorKind::Authentication(_)), "{error}");
        }
        let session = builder(&sim).credentials("app", "secret").connect().await.expect("the right password");
        session.close(Duration::from_secs(5)).await;
    })
    .expect_clean();
}

#[test]
fn a_name_with_many_addresses_is_tried_until_one_works() {
    run(ClusterConfig::default().datacenter("dc1", 6), |sim| async move {
        for number in 1..=5 {
            sim.crash(NodeId(number), if number % 2 == 0 { CrashKind::Rst } else { CrashKind::Silence });
        }
        let session = Session::builder()
            .environment(sim.environment(APP))
            .contact_points(["cluster.sim:9042"])
            .connect()
            .await
            .expect("the sixth node answers");
        assert_eq!(state_of(&session, &sim, NodeId(6)), Some(NodeState::Up));
        sim.heal_all();
        eventually("all nodes are up", || are_all_up(&session, 6)).await;
        session
    });
}

#[test]
fn a_name_is_resolved_again_when_every_known_address_is_gone() {
    run(ClusterConfig::default(), |sim| async move {
        let session = Session::builder()
            .environment(sim.environment(APP))
            .contact_point("cluster.sim")
            .connect()
            .await
            .expect("a healthy cluster");
        create_table(&session).await;
        for number in 1..=3 {
            sim.crash(NodeId(number), CrashKind::Silence);
        }
        for number in 1..=3_u8 {
            sim.restart_at(NodeId(number.into()), SocketAddr::from(([10, 7, 7, number], 9042)));
        }
        eventually("nothing works", || session.node_states().iter().all(|status| status.state == NodeState::Down))
            .await;
        sim.heal_all();
        eventually("all nodes are up", || {
            are_all_up(&session, 3)
                && session.node_states().iter().all(|status| status.address.ip().to_string().starts_with("10.7.7."))
        })
        .await;
        for k in 0..20 {
            use_table(&session, k, "everything moved").await;
        }
        session
    });
}

#[test]
fn listeners_hear_of_nodes_that_come_go_and_change_their_state() {
    run(ClusterConfig::default(), |sim| async move {
        let heard: Arc<Mutex<Vec<NodeEvent>>> = Arc::default();
        let keep = Arc::clone(&heard);
        let listener = Arc::new(move |event: &NodeEvent| keep.lock().unwrap().push(event.clone()));
        let session = builder(&sim).node_listener(listener).connect().await.expect("a healthy cluster");
        let has = |wanted: &dyn Fn(&NodeEvent) -> bool| heard.lock().unwrap().iter().any(wanted);
        let host_id = |number: usize| sim.nodes()[number - 1].host_id;
        for number in 1..=3 {
            let id = host_id(number);
            assert!(has(&|event| matches!(event, NodeEvent::Added(node) if node.host_id == id)));
            assert!(has(
                &|event| matches!(event, NodeEvent::StateChanged { host_id, to: NodeState::Up, .. } if *host_id == id)
            ));
        }
        let new = sim.add_node("dc1");
        let id = host_id(4);
        eventually("the fourth is added", || {
            has(&|event| matches!(event, NodeEvent::Added(node) if node.host_id == id))
        })
        .await;
        eventually("the fourth is up", || state_of(&session, &sim, new) == Some(NodeState::Up)).await;
        sim.decommission(new);
        eventually("the fourth is removed", || {
            has(&|event| matches!(event, NodeEvent::Removed(node) if node.host_id == id))
        })
        .await;
        let second = host_id(2);
        sim.crash(NodeId(2), CrashKind::Fin);
        eventually("the second is down", || {
            has(&|event| matches!(event, NodeEvent::StateChanged { host_id, to: NodeState::Down, .. } if *host_id == second))
        })
        .await;
        sim.heal_all();
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        session
    });
}

#[test]
fn two_nodes_reported_up_at_the_same_time_are_both_dialled() {
    run(ClusterConfig::default().datacenter("dc1", 5), |sim| async move {
        let hour = Arc::new(ConstantReconnection::new(Duration::from_secs(3600)));
        let session = builder(&sim).reconnection(hour).connect().await.expect("a healthy cluster");
        for number in [3, 4, 5] {
            sim.crash(NodeId(number), CrashKind::Rst);
        }
        seconds(20).await;
        for number in [3, 4, 5] {
            sim.restart(NodeId(number));
        }
        eventually("all nodes are up", || are_all_up(&session, 5)).await;
        session
    });
}

#[test]
fn a_node_that_accepts_and_hangs_up_is_dialled_by_the_schedule_and_not_in_a_loop() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        let before = dials(&sim, NodeId(3));
        // Connections live half a second each, for two minutes.
        for _ in 0..240 {
            sim.inject(&Fault::ResetConnections { node: NodeId(3) });
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let count = dials(&sim, NodeId(3)) - before;
        // Doubling from 500 ms there is room for about eight; the control connection may have called as well.
        assert!((3..=16).contains(&count), "{count} dials");
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        session
    });
}

#[test]
fn a_connection_with_too_many_unanswered_requests_is_replaced_and_leaves_no_socket_behind() {
    run(ClusterConfig::default().datacenter("dc1", 1), |sim| async move {
        let session = builder(&sim)
            .orphans_max(8)
            .request_timeout(Duration::from_millis(200))
            .connect()
            .await
            .expect("a healthy cluster");
        let ask = || session.query("SELECT key FROM system.local").all::<(String,)>();
        let before = dials(&sim, NodeId(1));
        let fault = Fault::SwallowAnswers { node: NodeId(1), percent: 30 };
        sim.inject(&fault);
        let (mut answered, mut failed) = (0, 0);
        while answered < 60 {
            if ask().await.is_ok() {
                answered += 1;
            } else {
                failed += 1;
                assert!(failed < 600, "{answered} answered");
                // The replacement may have to wait for its turn.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert!(failed > 8, "{failed} failed");
        sim.heal(&fault);
        assert!(dials(&sim, NodeId(1)) > before, "a replacement was dialled");
        seconds(70).await;
        ask().await.expect("nothing is wrong any more");
        assert_eq!(sim.open_client_connections(APP), 2, "one to the node and the control connection");
        session
    });
}

#[test]
fn an_answer_to_nobody_costs_its_connection_only() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim).default_idempotence(true).connect().await.expect("a healthy cluster");
        create_table(&session).await;
        for k in 0..30 {
            if k % 10 == 5 {
                sim.inject(&Fault::ForeignAnswer { node: NodeId(2) });
            }
            use_table(&session, k, "unimpressed").await;
        }
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        session
    });
}
