//! Parallel executions of slow requests.

use super::*;
use crate::execution::AttemptOutcome;
use crate::policy::{ConstantSpeculation, PercentileSpeculation, SpeculativeExecution};
use crate::protocol::BatchType;

fn speculating(max_extra: u32, millis: u64) -> StatementOptions {
    with_policy(ConstantSpeculation { max_extra, delay: Duration::from_millis(millis) })
}

fn with_policy(policy: impl SpeculativeExecution + 'static) -> StatementOptions {
    let mut options = idempotent();
    options.overrides_mut().set_speculation(Arc::new(policy));
    options
}

/// The node and the time in milliseconds of each request.
fn sent(cluster: &Cluster) -> Vec<(usize, u128)> {
    cluster.log().iter().map(|received| (received.node, received.at.as_millis())).collect()
}

#[tokio::test(start_paused = true)]
async fn slow_request_is_sent_to_the_next_nodes_of_one_plan() {
    let cluster = Cluster::start(|received| if received.node == 2 { void() } else { Reply::Silence }).await;

    let answer = cluster.write(&speculating(5, 20)).await.unwrap();

    assert_eq!(sent(&cluster), [(0, 0), (1, 20), (2, 40)]);
    assert_eq!(answer.address.to_string(), "127.0.0.3:9042");
    assert_eq!(cluster.executor.metrics.snapshot().speculations, 2);
}

#[tokio::test(start_paused = true)]
async fn fast_request_is_sent_once() {
    let cluster = Cluster::start(|_| after(19, void())).await;

    let answer = cluster.write(&speculating(5, 20)).await.unwrap();

    assert_eq!(sent(&cluster), [(0, 0)]);
    assert!(answer.attempts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_policys_executions_are_started() {
    let cluster = Cluster::start(|_| after(500, void())).await;

    cluster.write(&speculating(1, 20)).await.unwrap();

    assert_eq!(sent(&cluster), [(0, 0), (1, 20)]);
}

#[tokio::test(start_paused = true)]
async fn losers_are_given_up_and_listed_in_the_report() {
    let cluster = Cluster::start(|received| if received.node == 0 { Reply::Silence } else { after(5, void()) }).await;

    let answer = cluster.write(&speculating(1, 20)).await.unwrap();

    let [loser] = &*answer.attempts else { panic!("one loser: {:?}", answer.attempts) };
    assert_eq!((&loser.outcome, loser.execution), (&AttemptOutcome::Superseded, 0));
    assert_eq!((loser.elapsed.as_millis(), loser.certainty), (25, Certainty::MaybeApplied));
    let connection = cluster.pool(0).pick().unwrap();
    assert_eq!((connection.in_flight(), connection.orphaned()), (0, 1), "its stream id waits for the late answer");
}

#[tokio::test(start_paused = true)]
async fn requests_that_may_not_be_applied_twice_have_no_parallel_executions() {
    let cluster = Cluster::start(|_| after(100, void())).await;
    let options = speculating(2, 10);
    let not_idempotent = StatementOptions { is_idempotent: Some(false), ..options.clone() };
    let counter = prepared("UPDATE t SET c = c + 1 WHERE k = 1");
    counter.set_state(PreparedState { is_counter: true, ..PreparedState::clone(&counter.state()) });
    let counter_batch = Work::Batch { batch_type: BatchType::Counter, entries: &[] };

    cluster.write(&not_idempotent).await.unwrap();
    cluster.query("UPDATE t SET v = 1 WHERE k = 1 IF v = 2", &options).await.unwrap();
    cluster.execute(&counter, &options).await.unwrap();
    cluster.executor.run(&counter_batch, &options).await.unwrap();

    assert_eq!(cluster.asked(), [0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn error_that_another_execution_may_cure_does_not_end_the_call() {
    let cluster = Cluster::start(|received| match received.node {
        0 => after(30, write_timeout(1, "SIMPLE")),
        _ => after(50, void()),
    })
    .await;

    let answer = cluster.write(&speculating(1, 20)).await.unwrap();

    assert_eq!(sent(&cluster), [(0, 0), (1, 20)]);
    assert!(matches!(answer.attempts[0].outcome, AttemptOutcome::Failed(ErrorKind::WriteTimeout { .. })));
}

#[tokio::test(start_paused = true)]
async fn error_of_the_request_itself_ends_the_call_and_the_others_may_have_run() {
    let cluster = Cluster::start(|received| if received.node == 0 { Reply::Silence } else { error(0x2200) }).await;

    let error = failed(cluster.write(&speculating(1, 20)).await);

    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    assert_eq!(error.certainty(), Certainty::MaybeApplied, "the silent node may have applied it");
    assert_eq!(error.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn call_fails_once_all_executions_have_failed() {
    let cluster = Cluster::start(|received| after(30 + 20 * received.node as u64, write_timeout(1, "SIMPLE"))).await;
    let started = Instant::now();

    let error = failed(cluster.write(&speculating(1, 20)).await);

    assert!(matches!(error.kind(), ErrorKind::WriteTimeout { .. }), "{error}");
    assert_eq!((error.attempts().len(), started.elapsed().as_millis()), (2, 70));
}

#[tokio::test(start_paused = true)]
async fn failure_before_the_first_parallel_execution_ends_the_call() {
    let cluster = Cluster::start(|_| write_timeout(1, "SIMPLE")).await;

    assert!(cluster.write(&speculating(2, 20)).await.is_err());

    assert_eq!(cluster.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn retries_of_an_execution_arm_no_further_ones_and_take_other_nodes() {
    let cluster = Cluster::start(|received| match received.earlier {
        0 => after(5, unavailable()),
        _ => after(100, void()),
    })
    .await;

    cluster.write(&speculating(1, 20)).await.unwrap();

    assert_eq!(sent(&cluster), [(0, 0), (1, 5), (2, 20)]);
}

#[tokio::test(start_paused = true)]
async fn budget_bounds_the_parallel_executions() {
    let mut cluster = Cluster::start(|_| after(50, void())).await;
    cluster.executor.speculation_budget = Budget::new(BudgetSettings { percent: 10, burst: 2 });

    for _ in 0..21 {
        cluster.write(&speculating(1, 20)).await.unwrap();
    }

    let extra = cluster.asked().iter().filter(|node| **node == 1).count();
    assert_eq!(extra, 4, "two saved, and one for every ten requests after the first");
    assert_eq!(cluster.executor.metrics.snapshot().refused_speculations, 17);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_armed_before_the_request_was_handed_to_the_transport() {
    let shape = Shape { capacity: 64, is_reading: false, ..Shape::default() };
    let cluster = Cluster::with(shape, |_| void()).await;
    let text = format!("INSERT INTO app.t (k) VALUES ('{}')", "x".repeat(500));
    let options = StatementOptions { timeout: Some(Duration::from_secs(1)), ..speculating(2, 20) };

    let error = failed(cluster.query(&text, &options).await);

    assert!(matches!(error.kind(), ErrorKind::Timeout { .. }), "{error}");
    assert_eq!((cluster.executor.metrics.snapshot().speculations, error.attempts().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn total_time_limit_ends_all_executions() {
    let cluster = Cluster::start(|_| Reply::Silence).await;
    let options = StatementOptions { timeout: Some(Duration::from_millis(100)), ..speculating(2, 20) };
    let started = Instant::now();

    let error = failed(cluster.write(&options).await);

    assert_eq!(*error.kind(), ErrorKind::Timeout { limit: Duration::from_millis(100) });
    assert!(started.elapsed() < Duration::from_millis(130), "{:?}", started.elapsed());
    assert_eq!((error.attempts().len(), error.certainty()), (3, Certainty::MaybeApplied));
    for node in 0..3 {
        assert_eq!(cluster.pool(node).pick().unwrap().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_gives_up_all_its_executions() {
    let cluster = Cluster::start(|_| Reply::Silence).await;
    let options = speculating(2, 20);

    let outcome = crate::env::timeout(Duration::from_millis(50), cluster.write(&options)).await;

    assert!(outcome.is_err());
    let orphaned: Vec<_> = (0..3).map(|node| cluster.pool(node).pick().unwrap().orphaned()).collect();
    assert_eq!(orphaned, [1, 1, 1]);
    assert_eq!(cluster.executor.metrics.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn percentile_of_the_sessions_own_latencies_starts_the_execution() {
    let cluster = Cluster::start(|received| match received.earlier {
        100 => Reply::Silence,
        _ => after(10, void()),
    })
    .await;
    for _ in 0..100 {
        cluster.write(&idempotent()).await.unwrap();
    }

    let policy = PercentileSpeculation { max_extra: 1, percentile: 99.0 };
    cluster.write(&with_policy(policy)).await.unwrap();

    let times = sent(&cluster);
    let delay = times[101].1 - times[100].1;
    assert!((10..=13).contains(&delay), "{delay} ms");
}
