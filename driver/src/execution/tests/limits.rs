//! Time limits: of the call, of an attempt, and what is left behind.

use super::*;

fn limited(total: u64, attempt: Option<u64>, options: StatementOptions) -> StatementOptions {
    let mut options = StatementOptions { timeout: Some(Duration::from_millis(total)), ..options };
    if let Some(millis) = attempt {
        options.overrides_mut().attempt_timeout = Some(Duration::from_millis(millis));
    }
    options
}

#[tokio::test(start_paused = true)]
async fn total_limit_covers_all_attempts_and_names_itself() {
    let cluster = Cluster::start(|received| after(60 + received.node as u64, unavailable())).await;
    let started = Instant::now();

    let error = failed(cluster.write(&limited(100, None, plain())).await);

    assert_eq!(*error.kind(), ErrorKind::Timeout { limit: Duration::from_millis(100) });
    assert_eq!((error.certainty(), error.attempts().len()), (Certainty::MaybeApplied, 2));
    assert!(started.elapsed() < Duration::from_millis(130), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn attempt_limit_leaves_the_node_for_the_next_if_idempotent() {
    let cluster = Cluster::start(|received| if received.node == 0 { Reply::Silence } else { void() }).await;

    cluster.write(&limited(1000, Some(50), idempotent())).await.unwrap();

    let log = cluster.log();
    assert_eq!(cluster.asked(), [0, 1]);
    assert!((50..=70).contains(&log[1].at.as_millis()), "{:?}", log[1].at);
}

#[tokio::test(start_paused = true)]
async fn attempt_limit_of_a_request_that_is_not_idempotent_names_itself() {
    let cluster = Cluster::start(|_| Reply::Silence).await;

    let error = failed(cluster.write(&limited(1000, Some(50), plain())).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::AttemptTimeout, Certainty::MaybeApplied));
    assert_eq!(cluster.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_sent_after_the_deadline() {
    let cluster = Cluster::start(|_| Reply::Silence).await;

    let error = failed(cluster.write(&limited(100, Some(40), idempotent())).await);
    sleep(Duration::from_secs(60)).await;

    assert_eq!(*error.kind(), ErrorKind::Timeout { limit: Duration::from_millis(100) });
    assert!(cluster.log().iter().all(|received| received.at < Duration::from_millis(100)), "{:?}", cluster.log());
}

#[tokio::test(start_paused = true)]
async fn timed_out_request_keeps_its_stream_id_until_the_late_answer() {
    let cluster = Cluster::start(|_| after(500, void())).await;

    assert!(cluster.write(&limited(100, None, plain())).await.is_err());

    let connection = cluster.pool(0).pick().unwrap();
    assert_eq!((connection.in_flight(), connection.orphaned()), (0, 1));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((connection.orphaned(), connection.stats().late_answers), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_leaves_only_the_stream_id() {
    let cluster = Cluster::start(|_| Reply::Silence).await;

    let outcome = crate::env::timeout(Duration::from_millis(10), cluster.write(&plain())).await;

    assert!(outcome.is_err());
    assert_eq!(cluster.pool(0).pick().unwrap().orphaned(), 1);
    assert_eq!(cluster.executor.metrics.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn full_connection_is_passed_over_and_says_what_to_do_when_all_are_full() {
    let mut shape = Shape { nodes: 1, ..Shape::default() };
    shape.connection.in_flight_max = 1;
    let cluster = Cluster::with(shape, |_| after(50, void())).await;

    let options = plain();
    let (first, second) = tokio::join!(cluster.write(&options), cluster.write(&options));

    assert!(first.is_ok());
    let error = failed(second);
    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::Busy, Certainty::NotSent));
    assert!(error.to_string().contains("in_flight_max"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn closed_session_sends_nothing() {
    let cluster = Cluster::start(|_| void()).await;
    cluster.executor.is_closed.store(true, Ordering::Relaxed);

    let error = failed(cluster.write(&plain()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::SessionClosed, Certainty::NotSent));
    assert!(cluster.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn page_size_below_one_is_refused() {
    let cluster = Cluster::start(|_| void()).await;

    let error = failed(cluster.write(&StatementOptions { page_size: Some(0), ..plain() }).await);

    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("page_size")), "{error}");
}

/// Lets the first connection into its pool and no other.
struct OnlyOnce(AtomicBool);

impl WarmUp for OnlyOnce {
    fn warm_up(&self, _connection: Connection) -> Option<BoxFuture<'static, ()>> {
        let is_first = !self.0.swap(true, Ordering::Relaxed);
        (!is_first).then(|| Box::pin(std::future::pending()) as BoxFuture<'static, ()>)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_missed_if_it_hung_up_and_not_if_the_driver_gave_its_connection_up() {
    for (reply, is_missed) in [(Reply::Close, true), (Reply::Silence, false)] {
        let connection = ConnectionConfig { orphans_max: 0, ..Shape::default().connection };
        let warm_up: Option<Arc<dyn WarmUp>> = Some(Arc::new(OnlyOnce(AtomicBool::new(false))));
        let shape = Shape { nodes: 1, connection, warm_up, ..Shape::default() };
        let told = reply.clone();
        let cluster = Cluster::with(shape, move |_| told.clone()).await;
        assert!(!cluster.pool(0).is_missed());

        failed(cluster.write(&limited(100, None, plain())).await);
        sleep(Duration::from_millis(1)).await;

        assert!(!cluster.pool(0).health().is_up, "the next connection is still warming up: {reply:?}");
        assert_eq!(cluster.pool(0).is_missed(), is_missed, "{reply:?}");
    }
}
