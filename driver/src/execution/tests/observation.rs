//! What trackers and metrics learn.

use super::*;
use crate::env::Instant;
use crate::execution::{RequestKind, RequestTracker, TrackedRequest};

#[derive(Default)]
struct Recording(Mutex<Vec<String>>);

impl RequestTracker for Recording {
    fn on_success(&self, request: &TrackedRequest<'_>) {
        let line = format!(
            "{:?} {} {} failed attempts, {} ms",
            request.kind,
            request.text.unwrap_or("-"),
            request.attempts.len(),
            request.elapsed.as_millis()
        );
        self.0.lock().unwrap().push(line);
    }

    fn on_error(&self, request: &TrackedRequest<'_>, error: &Error) {
        assert_eq!((request.kind, request.coordinator), (RequestKind::Execute, None));
        self.0.lock().unwrap().push(error.kind().to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn tracker_learns_how_each_request_ended() {
    let mut cluster = Cluster::start(|received| match (received.opcode, received.node) {
        (Opcode::Execute, _) => error(0x2200),
        (_, 0) => unavailable(),
        _ => after(7, void()),
    })
    .await;
    let tracker = Arc::new(Recording::default());
    cluster.executor.tracker = Some(Arc::clone(&tracker) as Arc<dyn RequestTracker>);

    cluster.query("SELECT 1", &plain()).await.unwrap();
    assert!(cluster.execute(&prepared("SELECT 2"), &plain()).await.is_err());

    let lines = tracker.0.lock().unwrap().clone();
    assert_eq!(lines[0], "Query SELECT 1 1 failed attempts, 7 ms");
    assert!(lines[1].contains("the server refused the statement"), "{lines:?}");
    assert_eq!(lines.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_are_measured_one_by_one() {
    let cluster = Cluster::start(|received| match received.node {
        0 => unavailable(),
        1 => after(20, void()),
        _ => Reply::Silence,
    })
    .await;

    cluster.write(&plain()).await.unwrap();
    let mut lost = StatementOptions { timeout: Some(Duration::from_millis(50)), ..plain() };
    lost.overrides_mut().node = Some(cluster.pool(2).host_id());
    assert!(cluster.write(&lost).await.is_err());

    let counters = |node: usize| cluster.pool(node).activity().counters();
    assert_eq!((counters(0).requests, counters(0).errors, counters(0).timeouts), (1, 1, 0));
    assert_eq!((counters(1).requests, counters(1).errors), (1, 0));
    assert_eq!((counters(2).requests, counters(2).errors, counters(2).timeouts), (1, 1, 1));
    assert_eq!((counters(0).dials, counters(0).failed_dials), (1, 0));
    let latency = cluster.pool(1).activity().latencies().percentile(50.0).unwrap();
    assert!((20..=23).contains(&latency.as_millis()), "{latency:?}");
    assert!(cluster.pool(2).connection_stats().bytes_written > 0);
}

#[tokio::test(start_paused = true)]
async fn session_counts_requests_retries_errors_and_timeouts() {
    let cluster = Cluster::start(|received| match received.earlier {
        0 => unavailable(),
        1 => void(),
        _ => Reply::Silence,
    })
    .await;

    cluster.write(&plain()).await.unwrap();
    let lost = StatementOptions { timeout: Some(Duration::from_millis(50)), ..plain() };
    assert!(cluster.write(&lost).await.is_err());

    let metrics = cluster.executor.metrics_snapshot();
    assert_eq!((metrics.requests, metrics.retries, metrics.errors, metrics.timeouts), (2, 1, 1, 1));
    assert_eq!((metrics.in_flight, metrics.retries_saved, metrics.speculations_saved), (0, 100, 10));
}

#[tokio::test(start_paused = true)]
async fn node_that_gives_no_answers_while_it_owes_many_is_slow_until_it_answers() {
    let cluster = Cluster::start(|received| if received.node == 0 { after(500, void()) } else { void() }).await;
    let options = plain();
    let calls: Vec<_> = (0..10).map(|_| Box::pin(cluster.write(&options))).collect();
    let watch = async {
        sleep(Duration::from_millis(250)).await;
        cluster.pool(0).health()
    };

    let (health, ()) = tokio::join!(watch, async {
        for result in join_all(calls).await {
            result.unwrap();
        }
    });

    assert!(health.is_slow, "{health:?}");
    assert_eq!(health.in_flight, 10);
    assert!(!cluster.pool(0).health().is_slow);
    assert_eq!(cluster.pool(0).health_with_latency(Instant::now()).latency.unwrap().samples, 10);
}

/// Polls all in order until all are done.
async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = std::pin::Pin::new(future).poll(cx)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn node_that_came_up_counts_as_just_up_for_a_minute() {
    let cluster = Cluster::start(|_| void()).await;

    assert!(cluster.pool(0).health().is_just_up);
    sleep(Duration::from_secs(59)).await;
    assert!(cluster.pool(0).health().is_just_up);
    sleep(Duration::from_secs(1)).await;
    assert!(!cluster.pool(0).health().is_just_up);
}
