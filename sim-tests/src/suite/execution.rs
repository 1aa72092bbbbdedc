//! How requests are routed, prepared, repeated, paged and observed.

use super::{Needs, Outcome, Stage, subject};
use helenus::env::Instant;
use helenus::policy::{ConstantSpeculation, RankReason};
use helenus::{Consistency, ErrorKind, PagingState, Profile, ProtocolVersion, Session};
use std::sync::Arc;
use std::time::Duration;

subject! { "execution";
    a_plan_begins_with_the_replicas_and_gives_its_reasons,
    a_request_can_be_sent_to_one_node,
    a_statement_is_prepared_on_every_node,
    callers_of_the_same_statement_prepare_it_once,
    a_restarted_node_knows_the_statements: Needs::BREAKING,
    a_statement_follows_the_columns_of_its_table,
    a_paging_state_goes_on_in_another_session,
    a_profile_gives_the_options_that_its_calls_leave_open,
    a_parallel_execution_overtakes_a_silent_node: Needs::BREAKING,
    a_read_that_was_retried_lists_the_attempt_before: Needs::BREAKING,
    the_session_measures_itself_and_its_nodes,
    the_trace_of_a_request_can_be_read,
    a_trace_that_does_not_exist_is_told_in_time,
}

/// A table `t` of this many rows, all in one partition.
async fn filled(stage: &Stage, rows: i32) -> Result<Session, Box<dyn std::error::Error + Send + Sync>> {
    let session = stage.session().await?;
    session.query("CREATE TABLE t (k int, c int, v text, PRIMARY KEY (k, c))").execute().await?;
    let insert = session.prepare("INSERT INTO t (k, c, v) VALUES (1, ?, ?)").await?;
    for row in 0..rows {
        session.query(&insert).bind((row, format!("row {row}"))).idempotent(true).execute().await?;
    }
    Ok(session)
}

async fn a_plan_begins_with_the_replicas_and_gives_its_reasons(stage: Stage) -> Outcome {
    let session = stage.session_with(2, |builder| builder).await?;
    session.query("CREATE TABLE t (k int PRIMARY KEY)").execute().await?;
    for key in 0..10 {
        let explanation = session.explain("SELECT k FROM t WHERE k = ?", (key,)).await?;
        assert!(explanation.token.is_some());
        assert_eq!(explanation.replicas.len(), 2, "{explanation}");
        assert_eq!(explanation.plan.len(), 3, "{explanation}");
        for (position, node) in explanation.plan.iter().enumerate() {
            assert_eq!(node.is_replica, position < 2, "{explanation}");
            let has_reason = node.reasons.iter().any(|reason| matches!(reason, RankReason::Replica(_)));
            assert_eq!(has_reason, node.is_replica, "{explanation}");
        }
    }
    Ok(())
}

async fn a_request_can_be_sent_to_one_node(stage: Stage) -> Outcome {
    let session = filled(&stage, 1).await?;
    for node in session.node_states() {
        for _ in 0..3 {
            let result = session.query("SELECT v FROM t WHERE k = ?").bind((1,)).node(node.host_id).execute().await?;
            assert_eq!(result.coordinator(), node.host_id);
        }
    }
    Ok(())
}

async fn a_statement_is_prepared_on_every_node(stage: Stage) -> Outcome {
    let session = filled(&stage, 1).await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ?").await?;
    for node in session.node_states() {
        session.query(&select).bind((1,)).node(node.host_id).execute().await?;
    }
    assert_eq!(session.metrics().repreparations, 0);
    Ok(())
}

async fn callers_of_the_same_statement_prepare_it_once(stage: Stage) -> Outcome {
    let session = filled(&stage, 1).await?;
    let before = session.metrics().requests;
    let text = "SELECT c FROM t WHERE k = ?";
    let (first, second, third) = tokio::join!(session.prepare(text), session.prepare(text), session.prepare(text));
    assert_eq!((first?.text(), second?.text(), third?.text()), (text, text, text));
    session.prepare(text).await?;
    assert_eq!(session.metrics().requests - before, 1);
    Ok(())
}

async fn a_restarted_node_knows_the_statements(stage: Stage) -> Outcome {
    let session = filled(&stage, 1).await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ?").await?;
    let address = stage.address(2);
    let node = session.node_states().into_iter().find(|node| node.address == address).ok_or("node 2 is unknown")?;
    let is_up = || session.node_states().iter().any(|seen| seen.host_id == node.host_id && seen.open_connections > 0);
    stage.cluster().kill(2).await?;
    stage.eventually(Duration::from_secs(60), "the session has noticed the death", async || !is_up()).await?;
    stage.cluster().restart(2).await?;
    stage.eventually(Duration::from_secs(120), "the session is connected again", async || is_up()).await?;
    session.query(&select).bind((1,)).node(node.host_id).consistency(Consistency::One).execute().await?;
    assert_eq!(session.metrics().repreparations, 0);
    Ok(())
}

async fn a_statement_follows_the_columns_of_its_table(stage: Stage) -> Outcome {
    for version in [ProtocolVersion::V5, ProtocolVersion::V4] {
        let session = stage.session_with(3, |builder| builder.protocol_version(version)).await?;
        let table = format!("t{}", version.number());
        session.query(format!("CREATE TABLE {table} (k int PRIMARY KEY, a int)")).execute().await?;
        session.query(format!("INSERT INTO {table} (k, a) VALUES (1, 2)")).execute().await?;
        let select = session.prepare(format!("SELECT * FROM {table}")).await?;
        assert_eq!(session.query(&select).one::<(i32, i32)>().await?, (1, 2));
        // Another session makes the change: this one is told by the answers only.
        let other = stage.session().await?;
        other.query(format!("ALTER TABLE {table} ADD b text")).execute().await?;
        for node in session.node_states() {
            let row = session.query(&select).node(node.host_id).one::<(i32, i32, Option<String>)>().await?;
            assert_eq!(row, (1, 2, None));
        }
    }
    Ok(())
}

async fn a_paging_state_goes_on_in_another_session(stage: Stage) -> Outcome {
    let session = filled(&stage, 10).await?;
    let text = "SELECT c FROM t WHERE k = ?";
    let first = session.query(text).bind((1,)).page_size(4).execute().await?;
    assert_eq!(first.row_count(), 4);
    let kept = first.paging_state().ok_or("there are more pages")?.to_bytes();

    let other = stage.session().await?;
    let state = PagingState::from_bytes(&kept)?;
    let rest: Vec<(i32,)> = other.query(text).bind((1,)).paging_state(state.clone()).page_size(4).all().await?;
    assert_eq!(rest, [(4,), (5,), (6,), (7,), (8,), (9,)]);
    let foreign = other.query(text).bind((2,)).paging_state(state).execute().await.err().ok_or("it was accepted")?;
    assert_eq!(*foreign.kind(), ErrorKind::PagingStateForeign);
    Ok(())
}

async fn a_profile_gives_the_options_that_its_calls_leave_open(stage: Stage) -> Outcome {
    let loader = filled(&stage, 10).await?;
    let small = Profile::new().page_size(3).consistency(Consistency::One);
    let session = stage.session_with(3, |builder| builder.profile("small", small)).await?;
    let text = "SELECT c FROM t WHERE k = 1";
    let rows = session.query(text).execute().await?.row_count();
    let of_profile = session.query(text).profile("small").execute().await?.row_count();
    let of_call = session.query(text).profile("small").page_size(5).execute().await?.row_count();
    assert_eq!((rows, of_profile, of_call), (10, 3, 5));
    let unknown = loader.query(text).profile("small").execute().await.err().ok_or("it was accepted")?;
    assert!(matches!(unknown.kind(), ErrorKind::Configuration(message) if message.contains("small")), "{unknown}");
    Ok(())
}

async fn a_parallel_execution_overtakes_a_silent_node(stage: Stage) -> Outcome {
    filled(&stage, 1).await?;
    let policy = ConstantSpeculation { max_extra: 2, delay: Duration::from_millis(100) };
    let session = stage.session_with(3, |builder| builder.speculative_execution(Arc::new(policy))).await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ? AND c = 0").await?;
    let silent = stage.address(1);
    stage.cluster().pause(1).await?;
    let mut overtaken = None;
    for _ in 0..20 {
        let began = Instant::now();
        let result = session.query(&select).bind((1,)).consistency(Consistency::One).idempotent(true).execute().await?;
        // Another node may read from the silent one, and be overtaken too.
        if result.attempts().iter().any(|attempt| attempt.address == silent) {
            overtaken = Some(began.elapsed());
            break;
        }
    }
    stage.cluster().resume(1).await?;
    let elapsed = overtaken.ok_or("the silent node was never asked")?;
    assert!(elapsed < Duration::from_secs(10), "long before its limit: {elapsed:?}");
    assert!(session.metrics().speculations > 0);
    Ok(())
}

async fn a_read_that_was_retried_lists_the_attempt_before(stage: Stage) -> Outcome {
    let session = filled(&stage, 1).await?;
    let select = session.prepare("SELECT v FROM t WHERE k = ? AND c = 0").await?;
    stage.cluster().pause(1).await?;
    let limit = Duration::from_secs(2);
    let mut retried = None;
    for _ in 0..20 {
        let query = session.query(&select).bind((1,)).consistency(Consistency::One).idempotent(true);
        // The others may read from the silent node, and be late as well: then no attempt succeeds.
        let Ok(result) = query.attempt_timeout(limit).execute().await else { continue };
        if result.attempts().iter().any(|attempt| attempt.address == stage.address(1)) {
            retried = Some(result);
            break;
        }
    }
    stage.cluster().resume(1).await?;
    let result = retried.ok_or("the silent node was never asked")?;
    for attempt in result.attempts() {
        // On a busy machine one of the others may have been late, too.
        assert!(attempt.elapsed >= limit, "{attempt}");
        assert_ne!(result.coordinator(), attempt.node);
    }
    Ok(())
}

async fn the_session_measures_itself_and_its_nodes(stage: Stage) -> Outcome {
    let session = filled(&stage, 5).await?;
    let metrics = session.metrics();
    let nodes = session.node_metrics();
    assert!(metrics.requests >= 7, "{metrics:?}");
    assert_eq!((metrics.errors, metrics.timeouts, metrics.in_flight), (0, 0, 0));
    assert_eq!(nodes.len(), 3);
    let answered: u64 = nodes.iter().map(|node| node.latencies.count()).sum();
    assert_eq!(answered, session.latencies().count());
    assert!(nodes.iter().all(|node| node.counters.dials >= 1 && node.connections.bytes_read > 0), "{nodes:?}");
    assert!(session.latencies().percentile(99.0).is_some());
    Ok(())
}

async fn the_trace_of_a_request_can_be_read(stage: Stage) -> Outcome {
    let session = filled(&stage, 2).await?;
    let untraced = session.query("SELECT v FROM t WHERE k = 1").execute().await?;
    assert_eq!(untraced.tracing_id(), None);
    let result = session.query("SELECT v FROM t WHERE k = 1").tracing(true).execute().await?;
    let id = result.tracing_id().ok_or("no trace was made")?;
    let trace = session.query_trace(id).await?;
    assert_eq!((trace.id, trace.coordinator), (id, Some(result.coordinator_address().ip())));
    assert!(trace.parameters.values().any(|value| value.contains("SELECT v FROM t")), "{trace:?}");
    assert!(!trace.request.is_empty() && !trace.events.is_empty(), "{trace:?}");
    Ok(())
}

async fn a_trace_that_does_not_exist_is_told_in_time(stage: Stage) -> Outcome {
    let session = stage.session().await?;
    let began = Instant::now();
    let id = uuid::Uuid::from_u128(7);
    let error = session.query_trace(id).await.err().ok_or("it was found")?;
    assert_eq!(*error.kind(), ErrorKind::TraceIncomplete(id));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}
