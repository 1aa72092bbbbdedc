//! The control connection: where it goes when its node goes, and how the session's picture is kept true.

use super::{APP, are_all_up, builder, connect, create_table, eventually, run, seconds, state_of, use_table};
use helenus::policy::TokenAware;
use helenus::{NodeState, Session};
use simcluster::fault::CrashKind;
use simcluster::{ClusterConfig, Fault, NodeId};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn requests_go_on_while_the_control_connection_moves_to_another_node() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim).attempt_timeout(Duration::from_secs(2)).connect().await.expect("healthy");
        create_table(&session).await;
        for round in 0..6_i32 {
            let host_id = session.control_connection_node().expect("a control connection");
            let node = sim.nodes().into_iter().find(|node| node.host_id == host_id).expect("a node").id;
            let how = [CrashKind::Rst, CrashKind::Fin, CrashKind::Silence][round as usize % 3];
            sim.crash(node, how);
            for k in 0..10 {
                use_table(&session, round * 10 + k, "going on").await;
            }
            eventually("the control connection has moved", || {
                session.control_connection_node().is_some_and(|now| now != host_id)
            })
            .await;
            sim.heal_all();
            eventually("all nodes are up", || are_all_up(&session, 3)).await;
        }
        session
    });
}

#[test]
fn the_control_connection_stays_in_the_local_data_centre_while_it_has_a_node() {
    let config = ClusterConfig::default().datacenter("dc1", 2).datacenter("dc2", 3);
    run(config, |sim| async move {
        let session = builder(&sim).local_datacenter("dc1").connect().await.expect("a healthy cluster");
        for number in [1, 2, 1] {
            sim.crash(NodeId(number), CrashKind::Rst);
            let host_id = sim.nodes()[number as usize - 1].host_id;
            eventually("a control connection in dc1", || {
                session.control_connection_node().is_some_and(|now| now != host_id)
            })
            .await;
            let now = session.control_connection_node().expect("just seen");
            assert_eq!(&*session.cluster().node(now).expect("a node").datacenter, "dc1");
            sim.heal_all();
            let node = NodeId(number);
            eventually("the node is up", || state_of(&session, &sim, node) == Some(NodeState::Up)).await;
        }
        session
    });
}

#[test]
fn a_control_connection_whose_node_hangs_is_given_up() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        let host_id = session.control_connection_node().expect("a control connection");
        let node = sim.nodes().into_iter().find(|node| node.host_id == host_id).expect("a node").id;
        sim.inject(&Fault::Pause { node });
        eventually("the control connection has moved", || {
            session.control_connection_node().is_some_and(|now| now != host_id)
        })
        .await;
        sim.heal_all();
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        session
    });
}

#[test]
fn a_cluster_without_peers_v2_is_read_through_peers() {
    run(ClusterConfig::default().release("3.11.19"), |sim| async move {
        let session = connect(&sim).await;
        assert_eq!(session.cluster().nodes().len(), 3);
        assert!(are_all_up(&session, 3), "{:?}", session.node_states());
        session
    });
}

#[test]
fn a_forced_refresh_of_the_nodes_finds_what_lost_events_hid() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        for number in 1..=3 {
            sim.inject(&Fault::LoseEvents { node: NodeId(number) });
        }
        let new = sim.add_node("dc1");
        seconds(15).await;
        assert_eq!(session.cluster().nodes().len(), 3, "nobody said anything");
        session.refresh_nodes().await.expect("a healthy cluster");
        assert_eq!(session.cluster().nodes().len(), 4);
        eventually("the new node is up", || state_of(&session, &sim, new) == Some(NodeState::Up)).await;
        session
    });
}

#[test]
fn a_node_that_joins_is_found_by_its_event_within_the_topology_window() {
    run(ClusterConfig::default(), |sim| async move {
        let window = Some(Duration::from_secs(1));
        let session = builder(&sim).topology_event_refresh_window(window).connect().await.expect("healthy");
        let new = sim.add_node("dc1");
        eventually("the new node is up", || state_of(&session, &sim, new) == Some(NodeState::Up)).await;
        session
    });
}

#[test]
fn disabled_schema_events_leave_the_picture_until_a_refresh_is_forced() {
    run(ClusterConfig::default(), |sim| async move {
        let session = builder(&sim)
            .schema_event_refresh_window(None)
            .metadata_refresh_interval(Duration::from_secs(3600))
            .connect()
            .await
            .expect("a healthy cluster");
        let other = Session::builder()
            .environment(sim.environment("other"))
            .contact_point(sim.contact_points()[1].to_string())
            .connect()
            .await
            .expect("a healthy cluster");
        create_table(&other).await;
        seconds(10).await;
        assert!(session.cluster().keyspace("ks").is_none(), "events are disabled");
        session.refresh_keyspace("ks").await.expect("a healthy cluster");
        assert!(session.cluster().keyspace("ks").is_some_and(|keyspace| keyspace.tables.contains_key("t")));
        other.query("DROP KEYSPACE ks").execute().await.expect("it exists");
        other.close(Duration::from_secs(5)).await;
        assert!(session.cluster().keyspace("ks").is_some());
        session.refresh_keyspace("ks").await.expect("a healthy cluster");
        assert!(session.cluster().keyspace("ks").is_none(), "a refresh of what is gone removes it");
        session
    });
}

#[test]
fn a_schema_change_elsewhere_is_seen_within_the_schema_window() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        let other = Session::builder()
            .environment(sim.environment("other"))
            .contact_point(sim.contact_points()[1].to_string())
            .connect()
            .await
            .expect("a healthy cluster");
        create_table(&other).await;
        let is_seen = || session.cluster().keyspace("ks").is_some_and(|keyspace| keyspace.tables.contains_key("t"));
        seconds(4).await;
        assert!(is_seen(), "later than a window of 2 s and the time to read");
        other.close(Duration::from_secs(5)).await;
        assert_eq!(sim.open_client_connections("other"), 0);
        assert!(sim.open_client_connections(APP) > 0);
        session
    });
}

#[test]
fn a_cluster_that_is_wholly_away_for_half_an_hour_is_found_again() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        create_table(&session).await;
        for number in 1..=3 {
            sim.crash(NodeId(number), CrashKind::Rst);
        }
        seconds(1800).await;
        assert_eq!(session.control_connection_node(), None);
        assert_eq!(session.cluster().nodes().len(), 3, "the last picture stays");
        sim.heal_all();
        eventually("all nodes are up", || are_all_up(&session, 3)).await;
        eventually("a control connection", || session.control_connection_node().is_some()).await;
        use_table(&session, 1, "back").await;
        session
    });
}

#[test]
fn a_control_connection_that_began_at_an_ignored_node_moves_to_one_in_use() {
    let config = ClusterConfig::default().datacenter("dc1", 1).datacenter("dc2", 2);
    run(config, |sim| async move {
        let session = builder(&sim)
            .local_datacenter("dc2")
            .load_balancing(Arc::new(TokenAware::in_datacenter("dc2")))
            .metadata_refresh_interval(Duration::from_secs(5))
            .connect()
            .await
            .expect("a healthy cluster");
        let datacenter = || {
            let host_id = session.control_connection_node()?;
            session.cluster().node(host_id).map(|node| node.datacenter.to_string())
        };
        assert_eq!(datacenter().as_deref(), Some("dc1"), "the contact point");
        eventually("the control connection is in dc2", || datacenter().as_deref() == Some("dc2")).await;
        session
    });
}

#[test]
fn a_refresh_outlives_the_connection_it_began_on() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        for _ in 0..5 {
            let host_id = session.control_connection_node().expect("a control connection");
            let node = sim.nodes().into_iter().find(|node| node.host_id == host_id).expect("a node").id;
            let (refreshed, ()) = tokio::join!(session.refresh_schema(), async {
                tokio::time::sleep(Duration::from_millis(2)).await;
                sim.inject(&Fault::ResetConnections { node });
            });
            refreshed.expect("two nodes can be asked");
            eventually("all nodes are up", || are_all_up(&session, 3)).await;
            eventually("a control connection", || session.control_connection_node().is_some()).await;
        }
        session.refresh_schema().await.expect("no refresh waits for ever");
        session
    });
}

#[test]
fn the_ring_follows_the_nodes() {
    run(ClusterConfig::default(), |sim| async move {
        let session = connect(&sim).await;
        create_table(&session).await;
        session
            .query("ALTER KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}")
            .execute()
            .await
            .expect("an altered keyspace");
        let is_true = || {
            (0..100_i32).all(|key| {
                let nodes = sim.nodes();
                let host_id = |id| nodes.iter().find(|node| node.id == id).map(|node| node.host_id);
                let truth: Vec<_> = sim.replicas("ks", &key.to_be_bytes()).into_iter().filter_map(host_id).collect();
                session.cluster().replicas("ks", &key.to_be_bytes()) == truth
            })
        };
        assert!(is_true());
        let new = sim.add_node("dc1");
        eventually("the new node is up", || state_of(&session, &sim, new) == Some(NodeState::Up)).await;
        eventually("the new node owns its part", is_true).await;
        sim.decommission(new);
        eventually("the node has left", || session.cluster().nodes().len() == 3).await;
        eventually("the others own all", is_true).await;
        session
    });
}

#[test]
fn a_schema_change_is_agreed_once_nodes_of_ignored_data_centres_have_it_too() {
    let config = ClusterConfig::default().datacenter("dc1", 2).datacenter("dc2", 2);
    run(config, |sim| async move {
        let session = builder(&sim).local_datacenter("dc1").connect().await.expect("a healthy cluster");
        create_table(&session).await;
        sim.inject(&Fault::SlowSchema { node: NodeId(4), by_ms: 3_000 });

        let before = sim.now();
        let changed = session.query("ALTER TABLE ks.t ADD note text").execute().await.expect("a healthy cluster");
        assert!(changed.is_schema_agreed());
        assert!(sim.now().since(before) >= Duration::from_secs(3), "node 4 has it only now");
        let versions = sim.schema_versions();
        assert!(versions.iter().all(|(_, version)| *version == versions[0].1), "{versions:?}");

        sim.crash(NodeId(4), CrashKind::Rst);
        // The others notice, and say so.
        seconds(60).await;
        let before = sim.now();
        let changed = session.query("ALTER TABLE ks.t ADD more text").execute().await.expect("a healthy cluster");
        assert!(changed.is_schema_agreed(), "a node that is down is not waited for");
        assert!(sim.now().since(before) < Duration::from_secs(5));
        sim.heal_all();
        session
    });
}
