//! Nodes that end, stand still and come back, while an application goes on.

use super::{Needs, Outcome, Stage, subject};
use helenus::{Consistency, ErrorKind};
use std::time::Duration;

subject! { "failures";
    quorum_goes_on_while_one_of_three_nodes_is_dead: Needs::BREAKING,
    too_few_live_replicas_are_unavailable_with_their_numbers: Needs::BREAKING,
    a_silent_replica_is_a_write_timeout_with_its_numbers: Needs::BREAKING,
}

async fn quorum_goes_on_while_one_of_three_nodes_is_dead(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE kept (id int PRIMARY KEY, v int)").execute().await?;
    let insert = session.prepare("INSERT INTO kept (id, v) VALUES (?, ?)").await?;
    let write = async |id: i32| {
        session.query(&insert).bind((id, id)).consistency(Consistency::Quorum).idempotent(true).execute().await
    };
    for node in 1..=3 {
        stage.cluster().kill(node).await?;
        for id in 0..20 {
            write(i32::from(node) * 100 + id).await?;
        }
        stage.cluster().restart(node).await?;
        stage.whole().await?;
    }
    let rows: Vec<(i32,)> =
        session.query("SELECT id FROM kept").consistency(Consistency::Quorum).idempotent(true).all().await?;
    assert_eq!(rows.len(), 60);
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

async fn a_silent_replica_is_a_write_timeout_with_its_numbers(stage: Stage) -> Outcome {
    stage.session().await?.query("CREATE TABLE t (id int PRIMARY KEY)").execute().await?;
    let session = stage.pinned(1).await?;
    stage.cluster().pause(3).await?;
    let all = session.query("INSERT INTO t (id) VALUES (1)").consistency(Consistency::All);
    let error = all.execute().await.expect_err("node 3 cannot acknowledge");
    let expected = ErrorKind::WriteTimeout { received: 2, block_for: 3, write_type: "SIMPLE".to_owned() };
    assert_eq!(*error.kind(), expected);
    stage.cluster().resume(3).await?;
    stage.whole().await?;
    Ok(())
}
