//! Nodes that are stopped in good order, start, or cannot be reached, while an application goes on.

use super::failures::{CONVERGENCE, converged};
use super::load::Load;
use super::{Capability, Needs, Outcome, Stage, subject};
use helenus::env::sleep;
use helenus::policy::Fallthrough;
use helenus::{Consistency, ErrorKind, PagingState, Session};
use std::sync::Arc;
use std::time::Duration;

subject! { "restarts";
    a_rolling_restart_goes_unnoticed_by_the_application: Needs::BREAKING,
    a_node_that_is_starting_is_refused_until_it_is_ready: Needs::BREAKING,
    pages_streams_and_kept_paging_states_outlive_restarts: Needs::BREAKING,
    a_node_cut_off_from_the_others_costs_timeouts_until_it_knows: Needs::BREAKING.with(&[Capability::Partition]),
    quorum_goes_on_while_a_node_is_cut_off_from_everybody: Needs::BREAKING.with(&[Capability::Partition]),
}

async fn a_rolling_restart_goes_unnoticed_by_the_application(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    for node in 1..=3 {
        sleep(Duration::from_secs(1)).await;
        stage.cluster().stop(node).await?;
        stage.cluster().restart(node).await?;
        stage.whole().await?;
        converged(&stage, load.session()).await?;
    }
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

async fn a_node_that_is_starting_is_refused_until_it_is_ready(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    stage.cluster().kill(2).await?;
    let address = stage.address(2);
    let attempt = async move |stage: &Stage| -> Result<Session, helenus::Error> {
        let session = stage.connect(stage.builder_at(&[address])).await?;
        session.query("SELECT key FROM system.local").execute().await?;
        Ok(session)
    };
    let refused = attempt(&stage).await.err().ok_or("nobody listens")?;
    assert!(matches!(refused.kind(), ErrorKind::NoContactPoint(_)), "{refused}");
    let impatient = stage.spawn({
        let stage = stage.clone();
        async move {
            let mut errors = Vec::new();
            for _ in 0..ATTEMPTS_MAX {
                match attempt(&stage).await {
                    Ok(_) => return Ok(errors),
                    Err(error) => errors.push(error),
                }
                sleep(Duration::from_millis(100)).await;
            }
            Err("the node was never ready")
        }
    });
    stage.cluster().restart(2).await?;
    for error in impatient.join().await?? {
        assert!(matches!(error.kind(), ErrorKind::NoContactPoint(_)), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    stage.whole().await?;
    converged(&stage, load.session()).await?;
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

/// Two minutes of attempts.
const ATTEMPTS_MAX: u32 = 1_200;

const ROWS: i32 = 60;

async fn pages_streams_and_kept_paging_states_outlive_restarts(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    session.query("CREATE TABLE wide (list int, n int, PRIMARY KEY (list, n))").execute().await?;
    let insert = session.prepare("INSERT INTO wide (list, n) VALUES (1, ?)").await?;
    for n in 0..ROWS {
        session.query(&insert).bind((n,)).consistency(Consistency::All).execute().await?;
    }
    let select = session.prepare("SELECT n FROM wide WHERE list = 1").await?;
    let query = || session.query(&select).page_size(5).consistency(Consistency::Quorum).idempotent(true);
    let (mut stream, mut pages) = (query().stream::<(i32,)>(), query().pages());
    let (mut streamed, mut in_pages, mut by_state, mut kept) =
        (Vec::new(), Vec::new(), Vec::new(), None::<PagingState>);
    for node in 1..=3 {
        stage.cluster().kill(node).await?;
        for _ in 0..8 {
            streamed.push(stream.next().await.ok_or("there are more rows")??.0);
        }
        for _ in 0..3 {
            let page = pages.next().await?.ok_or("there are more pages")?;
            in_pages.extend(page.rows::<(i32,)>()?.collect::<Result<Vec<_>, _>>()?);
        }
        let page = match kept.take() {
            Some(state) => query().paging_state(state).execute().await?,
            None => query().execute().await?,
        };
        by_state.extend(page.rows::<(i32,)>()?.collect::<Result<Vec<_>, _>>()?);
        // A state may be kept as bytes, here while a node starts.
        let bytes = page.paging_state().ok_or("there are more pages")?.to_bytes();
        stage.cluster().restart(node).await?;
        stage.whole().await?;
        kept = Some(PagingState::from_bytes(&bytes)?);
    }
    while let Some(row) = stream.next().await {
        streamed.push(row?.0);
    }
    while let Some(page) = pages.next().await? {
        in_pages.extend(page.rows::<(i32,)>()?.collect::<Result<Vec<_>, _>>()?);
    }
    by_state.extend(query().paging_state(kept.ok_or("a page was read")?).all::<(i32,)>().await?);
    assert_eq!(streamed, (0..ROWS).collect::<Vec<_>>());
    assert_eq!(in_pages, (0..ROWS).map(|n| (n,)).collect::<Vec<_>>());
    assert_eq!(by_state, in_pages);
    Ok(())
}

async fn a_node_cut_off_from_the_others_costs_timeouts_until_it_knows(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    stage.cluster().cut_off(3, false).await?;
    counts_alive(&stage, 1, 2).await?;
    counts_alive(&stage, 3, 1).await?;
    // From now on what it coordinates is Unavailable, and the next node is asked.
    for id in 0..50 {
        let write = load.session().query("INSERT INTO load (id, v) VALUES (?, 1)").bind((-id,));
        write.consistency(Consistency::Quorum).idempotent(true).execute().await?;
    }
    stage.cluster().heal().await?;
    stage.whole().await?;
    converged(&stage, load.session()).await?;
    let errors = load.end().await?;
    assert!(errors.iter().all(|error| error.contains("in time: 1 of 2")), "{errors:?}");
    Ok(())
}

async fn quorum_goes_on_while_a_node_is_cut_off_from_everybody(stage: Stage) -> Outcome {
    let load = Load::begin(&stage).await?;
    sleep(Duration::from_secs(1)).await;
    stage.cluster().cut_off(3, true).await?;
    counts_alive(&stage, 1, 2).await?;
    stage.cluster().heal().await?;
    stage.whole().await?;
    converged(&stage, load.session()).await?;
    let errors = load.end().await?;
    assert!(errors.is_empty(), "{errors:?}");
    Ok(())
}

/// Waits until a node counts so many of three replicas as alive.
async fn counts_alive(stage: &Stage, node: u8, expected: i32) -> Outcome {
    let session = stage.pinned(node).await?;
    let mut kind = None;
    let waited = stage.eventually(CONVERGENCE, "a node knows whom it reaches", async || {
        let write = session.query("INSERT INTO load (id, v) VALUES (-1, 1)").consistency(Consistency::All);
        kind = write.retry(Arc::new(Fallthrough)).execute().await.err().map(|error| error.kind().clone());
        kind == Some(ErrorKind::Unavailable { required: 3, alive: expected })
    });
    Ok(waited.await.map_err(|late| format!("{late}: {node} says {kind:?}"))?)
}
