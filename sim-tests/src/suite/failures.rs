//! Nodes that end, stand still and come back, while an application goes on.

use super::load::Load;
use super::{Capability, Needs, Outcome, Stage, subject};
use helenus::env::sleep;
use helenus::{Certainty, Consistency, ErrorKind, NodeState, Session};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

subject! { "failures";
    quorum_goes_on_while_each_node_is_killed_and_restarted: Needs::BREAKING,
    quorum_goes_on_while_each_node_is_silent: Needs::BREAKING,
    the_session_survives_the_death_of_its_control_node: Needs::BREAKING,
    the_session_survives_the_silence_of_its_control_node: Needs::BREAKING,
    all_nodes_go_down_and_the_session_finds_them_again: Needs::BREAKING,
    a_contact_point_that_is_dead_is_passed_over: Needs::BREAKING,
    without_a_living_contact_point_connecting_fails: Needs::BREAKING,
    too_few_live_replicas_are_unavailable_with_their_numbers: Needs::BREAKING,
    too_few_live_replicas_are_unavailable_for_reads_and_batches: Needs::BREAKING,
    a_silent_replica_is_a_write_timeout_with_its_numbers: Needs::BREAKING,
    a_silent_replica_is_a_read_timeout_with_its_numbers: Needs::BREAKING,
    a_silent_coordinator_is_a_timeout_that_may_have_been_applied: Needs::BREAKING,
    a_node_cut_off_from_the_others_is_unavailable: Needs::BREAKING.with(&[Capability::Partition]),
    a_node_that_joins_gets_requests: Needs::BREAKING.with(&[Capability::Resize]),
    a_node_that_leaves_is_forgotten: Needs::BREAKING.with(&[Capability::Resize]),
    a_node_that_moves_to_another_address_is_found_there: Needs::BREAKING.with(&[Capability::NewAddress]),
}

/// How long sessions may take to be as the cluster is.
pub(super) const CONVERGENCE: Duration = Duration::from_secs(120);

/// Waits until the session has connections to exactly the nodes that there are.
pub(super) async fn converged(stage: &Stage, session: &Session) -> Result<(), String> {
    let members = stage.cluster().members();
    let expected: BTreeSet<SocketAddr> = members.iter().map(|member| member.address).collect();
    let is_so = async || {
        let states = session.node_states();
        let known: BTreeSet<SocketAddr> = states.iter().map(|node| node.address).collect();
        known == expected && states.iter().all(|node| node.state == NodeState::Up && node.open_connections > 0)
    };
    let waited = stage.eventually(CONVERGENCE, "the session is connected to every node and to no other", is_so).await;
    waited.map_err(|late| format!("{late}: {:?}, the nodes are {expected:?}", session.node_states()))
}

async fn quorum_goes_on_while_each_node_is_killed_and_restarted(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    for node in 1..=3 {
        sleep(Duration::from_secs(2)).await;
        stage.cluster().kill(node).await?;
        sleep(Duration::from_secs(3)).await;
        stage.cluster().restart(node).await?;
        stage.whole().await?;
        converged(&stage, load.session()).await?;
    }
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

async fn quorum_goes_on_while_each_node_is_silent(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    for node in 1..=3 {
        sleep(Duration::from_secs(2)).await;
        stage.cluster().pause(node).await?;
        sleep(Duration::from_secs(8)).await;
        stage.cluster().resume(node).await?;
        stage.whole().await?;
        converged(&stage, load.session()).await?;
    }
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

/// The number of the node that carries the control connection, once there is one.
async fn control_node(stage: &Stage, session: &Session) -> Result<u8, String> {
    let mut number = None;
    let found = stage.eventually(CONVERGENCE, "there is a control connection", async || {
        let node = session.control_connection_node();
        let address = node.and_then(|node| Some(session.cluster().node(node)?.address));
        let members = stage.cluster().members();
        number = members.iter().find(|member| Some(member.address) == address).map(|member| member.number);
        number.is_some()
    });
    found.await?;
    number.ok_or_else(|| "no node carries it".to_owned())
}

/// Another session's schema change is seen, which only a control connection that works can tell.
async fn news_arrive(stage: &Stage, session: &Session, through: u8, table: &str) -> Outcome {
    let author = stage.pinned(through).await?;
    author.query(format!("CREATE TABLE {table} (id int PRIMARY KEY)")).execute().await?;
    stage
        .eventually(CONVERGENCE, "the change is seen", async || {
            session.cluster().schema().table(stage.keyspace(), table).is_some()
        })
        .await?;
    Ok(())
}

async fn the_session_survives_the_death_of_its_control_node(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    let control = control_node(&stage, load.session()).await?;
    stage.cluster().kill(control).await?;
    let session = load.session();
    stage
        .eventually(CONVERGENCE, "the control connection has moved", async || {
            let node = session.control_connection_node();
            node.and_then(|node| Some(session.cluster().node(node)?.address))
                .is_some_and(|address| address != stage.address(control))
        })
        .await?;
    news_arrive(&stage, load.session(), control % 3 + 1, "news").await?;
    stage.cluster().restart(control).await?;
    stage.whole().await?;
    converged(&stage, load.session()).await?;
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

async fn the_session_survives_the_silence_of_its_control_node(stage: Stage) -> Outcome {
    let settings = |builder: helenus::SessionBuilder| {
        builder.heartbeat(Duration::from_secs(2), Duration::from_secs(2)).attempt_timeout(Duration::from_secs(3))
    };
    let session = stage.session_with(3, settings).await?;
    let control = control_node(&stage, &session).await?;
    stage.cluster().pause(control).await?;
    stage
        .eventually(CONVERGENCE, "the control connection has moved", async || {
            let node = session.control_connection_node();
            node.and_then(|node| Some(session.cluster().node(node)?.address))
                .is_some_and(|address| address != stage.address(control))
        })
        .await?;
    stage.cluster().resume(control).await?;
    stage.whole().await?;
    news_arrive(&stage, &session, control % 3 + 1, "news").await?;
    converged(&stage, &session).await?;
    Ok(())
}

async fn all_nodes_go_down_and_the_session_finds_them_again(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::All).execute().await?;
    for node in 1..=3 {
        stage.cluster().kill(node).await?;
    }
    let error = session.query("SELECT id FROM t").idempotent(true).execute().await.expect_err("nobody is there");
    assert_ne!(error.certainty(), Certainty::Applied, "{error}");
    for node in 1..=3 {
        stage.cluster().restart(node).await?;
    }
    stage.whole().await?;
    converged(&stage, &session).await?;
    let rows: Vec<(i32,)> = session.query("SELECT id FROM t").consistency(Consistency::All).all().await?;
    assert_eq!(rows, [(1,)]);
    Ok(())
}

async fn a_contact_point_that_is_dead_is_passed_over(stage: Stage) -> Outcome {
    stage.cluster().kill(1).await?;
    let session = stage.connect(stage.builder()).await?;
    session.query("SELECT key FROM system.local").execute().await?;
    let states = session.node_states();
    let dead = states.iter().find(|node| node.address == stage.address(1)).ok_or("the dead node is known")?;
    assert_eq!(dead.open_connections, 0);
    stage.cluster().restart(1).await?;
    stage.whole().await?;
    converged(&stage, &session).await?;
    Ok(())
}

async fn without_a_living_contact_point_connecting_fails(stage: Stage) -> Outcome {
    stage.cluster().kill(2).await?;
    let builder = stage.builder_at(&[stage.address(2)]);
    let error = builder.connect().await.expect_err("the only contact point is dead");
    assert!(matches!(error.kind(), ErrorKind::NoContactPoint(_)), "{error}");
    Ok(())
}

async fn too_few_live_replicas_are_unavailable_with_their_numbers(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    stage.cluster().kill(3).await?;
    let session = stage.pinned(1).await?;
    let mut kind = None;
    stage
        .eventually(Duration::from_secs(60), "node 1 knows that node 3 is dead", async || {
            let all = session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::All);
            kind = all.execute().await.err().map(|error| error.kind().clone());
            matches!(kind, Some(ErrorKind::Unavailable { .. }))
        })
        .await?;
    assert_eq!(kind, Some(ErrorKind::Unavailable { required: 3, alive: 2 }));
    Ok(())
}

async fn too_few_live_replicas_are_unavailable_for_reads_and_batches(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    stage.cluster().kill(2).await?;
    stage.cluster().kill(3).await?;
    let session = stage.pinned(1).await?;
    let mut kind = None;
    stage
        .eventually(Duration::from_secs(60), "node 1 knows that it is alone", async || {
            let read = session.query("SELECT id FROM t WHERE id = 1").consistency(Consistency::Quorum);
            kind = read.execute().await.err().map(|error| error.kind().clone());
            kind == Some(ErrorKind::Unavailable { required: 2, alive: 1 })
        })
        .await
        .map_err(|late| format!("{late}: {kind:?}"))?;
    let error = session
        .batch(helenus::BatchType::Logged)
        .push("INSERT INTO t (id) VALUES (1)", ())
        .push("INSERT INTO t (id) VALUES (2)", ())
        .consistency(Consistency::Quorum)
        .execute()
        .await
        .expect_err("one of three is no quorum");
    // The log of the batch comes first: it takes two other nodes, and there is none.
    assert_eq!(*error.kind(), ErrorKind::Unavailable { required: 2, alive: 0 });
    session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::One).execute().await?;
    Ok(())
}

async fn a_silent_replica_is_a_write_timeout_with_its_numbers(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let session = stage.pinned(1).await?;
    stage.cluster().pause(3).await?;
    let all = session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::All);
    let error = all.execute().await.expect_err("node 3 cannot acknowledge");
    let expected = ErrorKind::WriteTimeout { received: 2, block_for: 3, write_type: "SIMPLE".to_owned() };
    assert_eq!(*error.kind(), expected);
    assert_eq!(error.certainty(), Certainty::MaybeApplied);
    stage.cluster().resume(3).await?;
    stage.whole().await?;
    Ok(())
}

async fn a_silent_replica_is_a_read_timeout_with_its_numbers(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let session = stage.pinned(1).await?;
    stage.cluster().pause(3).await?;
    let all = session.query("SELECT id FROM t WHERE id = 1").consistency(Consistency::All);
    let error = all.execute().await.expect_err("node 3 cannot answer");
    let expected = ErrorKind::ReadTimeout { received: 2, block_for: 3, data_present: true };
    assert_eq!(*error.kind(), expected);
    stage.cluster().resume(3).await?;
    stage.whole().await?;
    Ok(())
}

async fn a_silent_coordinator_is_a_timeout_that_may_have_been_applied(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let session = stage.pinned(2).await?;
    stage.cluster().pause(2).await?;
    let write = session.query("INSERT INTO t (id) VALUES (1)").timeout(Duration::from_secs(3));
    let error = write.execute().await.expect_err("the coordinator says nothing");
    assert!(matches!(error.kind(), ErrorKind::Timeout { .. }), "{error}");
    assert_eq!(error.certainty(), Certainty::MaybeApplied);
    stage.cluster().resume(2).await?;
    stage
        .eventually(CONVERGENCE, "the session uses the node again", async || {
            session.query("SELECT id FROM t").idempotent(true).execute().await.is_ok()
        })
        .await?;
    stage.whole().await?;
    Ok(())
}

async fn a_node_cut_off_from_the_others_is_unavailable(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let session = stage.pinned(1).await?;
    stage.cluster().cut_off(1, false).await?;
    let mut kind = None;
    stage
        .eventually(Duration::from_secs(60), "node 1 believes that it is alone", async || {
            let write = session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::Quorum);
            kind = write.execute().await.err().map(|error| error.kind().clone());
            matches!(kind, Some(ErrorKind::Unavailable { .. }))
        })
        .await?;
    assert_eq!(kind, Some(ErrorKind::Unavailable { required: 2, alive: 1 }));
    stage.cluster().heal().await?;
    stage.whole().await?;
    Ok(())
}

async fn a_node_that_joins_gets_requests(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    sleep(Duration::from_secs(2)).await;
    let added = stage.cluster().add("datacenter1").await?;
    converged(&stage, load.session()).await?;
    let node = load.session().cluster().node_at(stage.address(added)).ok_or("the new node is known")?.host_id;
    let select = load.session().prepare("SELECT v FROM load WHERE id = ?").await?;
    let session = load.session().clone();
    stage
        .eventually(CONVERGENCE, "the new node coordinates requests", async || {
            for id in 0..50 {
                let query = session.query(&select).bind((id,)).consistency(Consistency::One).idempotent(true);
                if query.execute().await.is_ok_and(|result| result.coordinator() == node) {
                    return true;
                }
            }
            false
        })
        .await?;
    let errors = load.end_after_moves().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

async fn a_node_that_leaves_is_forgotten(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    let added = stage.cluster().add("datacenter1").await?;
    converged(&stage, load.session()).await?;
    stage.cluster().decommission(added).await?;
    assert_eq!(stage.cluster().members().len(), 3);
    converged(&stage, load.session()).await?;
    let errors = load.end_after_moves().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

async fn a_node_that_moves_to_another_address_is_found_there(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    let before = stage.address(3);
    let host = load.session().cluster().node_at(before).ok_or("node 3 is known")?.host_id;
    stage.cluster().kill(3).await?;
    stage.cluster().restart_elsewhere(3).await?;
    let after = stage.address(3);
    assert_ne!(after, before);
    converged(&stage, load.session()).await?;
    assert_eq!(load.session().cluster().node(host).map(|node| node.address), Some(after), "it is the same node");
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}
