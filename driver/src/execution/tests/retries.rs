//! Which failures are followed by which attempts, and what the caller is told.

use super::*;
use crate::execution::{AttemptKind, AttemptOutcome};
use crate::policy::{AttemptFailure, DowngradingConsistency, ExponentialBackOff, Retry, RetryDecision, RetryFacts};
use crate::protocol::response::{Message, ResultBody};

/// Runs one write at a cluster whose first node replies with `first`; the others succeed.
async fn after_first(first: Reply, options: &StatementOptions) -> (Result<Answer, Error>, Vec<usize>) {
    let cluster = Cluster::start(move |received| if received.earlier == 0 { first.clone() } else { void() }).await;
    let result = cluster.write(options).await;
    (result, cluster.asked())
}

fn with_retry(policy: impl Retry + 'static, mut options: StatementOptions) -> StatementOptions {
    options.overrides_mut().set_retry(Arc::new(policy));
    options
}

#[tokio::test(start_paused = true)]
async fn node_without_connection_is_passed_over_and_listed() {
    let shape = Shape { down: [0].into(), ..Shape::default() };
    let cluster = Cluster::with(shape, |received| if received.node == 1 { unavailable() } else { void() }).await;

    let answer = cluster.write(&plain()).await.unwrap();

    assert_eq!(cluster.asked(), [1, 2], "the passed-over node used up the retry");
    assert_eq!(answer.attempts[0].outcome, AttemptOutcome::NoConnection);
    assert!(matches!(answer.attempts[1].outcome, AttemptOutcome::Failed(ErrorKind::Unavailable { .. })));
    assert_eq!(answer.attempts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_is_retried_on_the_next_node_only_if_idempotent() {
    let (result, asked) = after_first(Reply::Close, &idempotent()).await;
    assert!(result.is_ok());
    assert_eq!(asked, [0, 1]);

    let (result, asked) = after_first(Reply::Close, &plain()).await;
    let error = failed(result);
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(_)), "{error}");
    assert_eq!((error.certainty(), asked), (Certainty::MaybeApplied, vec![0]));
}

#[tokio::test(start_paused = true)]
async fn request_that_never_left_its_lost_connection_is_not_sent_and_says_why() {
    let shape = Shape { nodes: 1, capacity: 64, is_reading: false, ..Shape::default() };
    let cluster = Cluster::with(shape, |_| void()).await;
    let text = format!("INSERT INTO app.t (k) VALUES ('{}')", "x".repeat(500));
    cluster.pool(0).probe();

    let error = failed(cluster.query(&text, &plain()).await);

    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(reason) if reason.contains("heartbeat")), "{error}");
    assert_eq!((error.certainty(), error.attempts().len()), (Certainty::NotSent, 1));
}

#[tokio::test(start_paused = true)]
async fn bootstrapping_coordinator_is_left_for_the_next_node_without_using_up_the_retry() {
    let cluster = Cluster::start(|received| match received.node {
        0 => error(0x1002),
        1 => unavailable(),
        _ => void(),
    })
    .await;

    cluster.write(&plain()).await.unwrap();

    assert_eq!(cluster.asked(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_request_itself_are_reported_at_once_and_as_rejected() {
    let exists = Reply::Error(0x2400, b"\0\x01k\0\x01t".to_vec());
    let replies = [error(0x2000), error(0x2100), error(0x2200), error(0x2300), error(0x000A), exists];
    for reply in replies {
        let (result, asked) = after_first(reply.clone(), &idempotent()).await;
        let error = failed(result);
        assert_eq!((error.certainty(), asked), (Certainty::Rejected, vec![0]), "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_of_replicas_are_reported_at_once_and_as_possibly_applied() {
    let numbers = [1_i32.to_be_bytes(), 2_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    let read = Reply::Error(0x1300, [&[0, 6][..], &numbers, &[0]].concat());
    let write = Reply::Error(0x1500, [&[0, 6][..], &numbers, b"\0\x06SIMPLE"].concat());
    let function = Reply::Error(0x1400, b"\0\x01k\0\x01f\0\0".to_vec());
    for reply in [read, write, function] {
        let (result, asked) = after_first(reply.clone(), &idempotent()).await;
        assert_eq!((failed(result).certainty(), asked), (Certainty::MaybeApplied, vec![0]), "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn error_code_nobody_knows_is_reported_with_code_and_message() {
    let (result, _) = after_first(error(0x4242), &idempotent()).await;

    let expected = ErrorKind::Other { code: 0x4242, message: "wrong".to_owned() };
    assert_eq!(*failed(result).kind(), expected);
}

#[tokio::test(start_paused = true)]
async fn read_timeout_without_the_data_is_retried_once_on_the_same_node() {
    let (result, asked) = after_first(read_timeout(2, 2, 0), &plain()).await;
    assert!(result.is_ok());
    assert_eq!(asked, [0, 0]);

    for hopeless in [read_timeout(2, 2, 1), read_timeout(1, 2, 0)] {
        let (result, asked) = after_first(hopeless, &plain()).await;
        assert!(matches!(failed(result).kind(), ErrorKind::ReadTimeout { .. }));
        assert_eq!(asked, [0]);
    }

    let cluster = Cluster::start(|_| read_timeout(2, 2, 0)).await;
    assert!(cluster.write(&plain()).await.is_err());
    assert_eq!(cluster.asked(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn write_timeout_of_the_batch_log_is_retried_once_on_the_same_node_if_idempotent() {
    let (result, asked) = after_first(write_timeout(0, "BATCH_LOG"), &idempotent()).await;
    assert!(result.is_ok());
    assert_eq!(asked, [0, 0]);

    for (reply, options) in [(write_timeout(0, "BATCH_LOG"), plain()), (write_timeout(1, "SIMPLE"), idempotent())] {
        let (result, asked) = after_first(reply, &options).await;
        assert_eq!((failed(result).certainty(), asked), (Certainty::MaybeApplied, vec![0]));
    }
}

#[tokio::test(start_paused = true)]
async fn unavailable_is_retried_once_on_the_next_node() {
    let cluster = Cluster::start(|_| unavailable()).await;

    let error = failed(cluster.write(&plain()).await);

    assert_eq!(cluster.asked(), [0, 1]);
    assert_eq!(*error.kind(), ErrorKind::Unavailable { required: 2, alive: 1 });
    assert_eq!((error.certainty(), error.attempts().len()), (Certainty::Rejected, 2));
}

#[tokio::test(start_paused = true)]
async fn overload_and_server_errors_are_retried_after_a_pause_until_the_plan_ends() {
    for code in [0x0000, 0x1001] {
        let cluster = Cluster::start(move |_| error(code)).await;

        let error = failed(cluster.write(&idempotent()).await);

        assert_eq!(cluster.asked(), [0, 1, 2], "each node once");
        let times: Vec<_> = cluster.log().iter().map(|received| received.at).collect();
        assert!(times[1] - times[0] >= Duration::from_millis(5), "{times:?}");
        assert!(times[2] - times[1] >= Duration::from_millis(10), "{times:?}");
        assert_eq!(error.attempts().iter().map(|attempt| attempt.address.port()).collect::<Vec<_>>(), [9042; 3]);
    }
    let (result, asked) = after_first(error(0x1003), &idempotent()).await;
    assert!(result.is_ok(), "a failed truncation may be repeated");
    assert_eq!(asked, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn spent_retry_budget_ends_the_retries_of_overloaded_coordinators() {
    let mut cluster = Cluster::start(|_| error(0x1001)).await;
    cluster.executor.retry_budget = Budget::new(BudgetSettings { percent: 0, burst: 1 });

    assert!(cluster.write(&idempotent()).await.is_err());
    assert!(cluster.write(&idempotent()).await.is_err());

    assert_eq!(cluster.asked(), [0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn conditional_request_that_may_have_reached_a_node_is_never_sent_again() {
    let text = "INSERT INTO app.t (k) VALUES (1) IF NOT EXISTS";
    let cas_unknown = Reply::Error(0x1700, [&[0, 9][..], &[0, 0, 0, 1, 0, 0, 0, 2]].concat());
    for reply in [Reply::Close, cas_unknown, write_timeout(1, "CAS"), error(0x1001), unavailable()] {
        let given = reply.clone();
        let cluster = Cluster::start(move |_| given.clone()).await;

        let error = failed(cluster.query(text, &idempotent()).await);

        assert_eq!(cluster.asked(), [0], "{reply:?}");
        assert_eq!(error.certainty(), Certainty::MaybeApplied, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_at_a_serial_level_is_recognised_by_the_error() {
    let serial = Reply::Error(0x1200, b"\0\x08\0\0\0\x02\0\0\0\x02\0".to_vec());

    let (result, asked) = after_first(serial, &idempotent()).await;

    assert!(matches!(failed(result).kind(), ErrorKind::ReadTimeout { .. }));
    assert_eq!(asked, [0]);
}

#[tokio::test(start_paused = true)]
async fn answer_that_cannot_be_decoded_fails_only_its_request() {
    let broken = Reply::Raw(Opcode::Result, vec![0, 0, 0, 9]);
    let (result, asked) = after_first(broken.clone(), &plain()).await;
    let error = failed(result);
    assert!(matches!(error.kind(), ErrorKind::Decode(_)), "{error}");
    assert_eq!((error.certainty(), asked), (Certainty::MaybeApplied, vec![0]));

    let (result, asked) = after_first(broken, &idempotent()).await;
    assert!(result.is_ok());
    assert_eq!(asked, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn all_attempts_of_a_request_carry_the_same_timestamp() {
    let cluster = Cluster::start(|received| if received.node < 2 { error(0x1001) } else { void() }).await;

    cluster.write(&idempotent()).await.unwrap();

    let log = cluster.log();
    assert_eq!((&log[0].body, &log[1].body), (&log[1].body, &log[2].body));
}

#[tokio::test(start_paused = true)]
async fn cluster_without_connections_gives_a_typed_error_naming_every_node() {
    let shape = Shape { down: [0, 1, 2].into(), ..Shape::default() };
    let cluster = Cluster::with(shape, |_| void()).await;

    let error = failed(cluster.write(&plain()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::NoNodeAvailable, Certainty::NotSent));
    assert_eq!(error.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn last_real_failure_is_reported_when_the_rest_of_the_plan_has_no_connection() {
    let shape = Shape { down: [1, 2].into(), ..Shape::default() };
    let cluster = Cluster::with(shape, |_| unavailable()).await;

    let error = failed(cluster.write(&plain()).await);

    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
    assert_eq!(error.attempts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn attempts_tell_node_what_was_sent_what_came_back_and_how_long_it_took() {
    let cluster = Cluster::start(|received| match received.node {
        0 => after(30, unavailable()),
        _ => after(7, error(0x2200)),
    })
    .await;

    let error = failed(cluster.write(&plain()).await);

    let [first, second] = error.attempts() else { panic!("two attempts: {error:?}") };
    assert_eq!((first.address.to_string(), first.what), ("127.0.0.1:9042".to_owned(), AttemptKind::Request));
    assert_eq!(first.outcome, AttemptOutcome::Failed(ErrorKind::Unavailable { required: 2, alive: 1 }));
    assert_eq!((first.elapsed.as_millis(), first.consistency), (30, Consistency::LocalQuorum));
    assert_eq!((second.elapsed.as_millis(), second.certainty), (7, Certainty::Rejected));
}

#[tokio::test(start_paused = true)]
async fn back_off_grows_and_asks_the_last_node_again_when_the_plan_is_used_up() {
    let cluster = Cluster::start(|received| if received.earlier < 4 { unavailable() } else { void() }).await;
    let policy = ExponentialBackOff::new(5, Duration::from_millis(100), Duration::from_secs(1));

    cluster.write(&with_retry(policy, plain())).await.unwrap();

    assert_eq!(cluster.asked(), [0, 1, 2, 2, 2]);
    let times: Vec<_> = cluster.log().iter().map(|received| received.at.as_millis()).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().zip([50, 100, 200, 400]).all(|(pause, least)| *pause >= least), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn pause_that_would_pass_the_deadline_ends_the_call_at_once_with_the_failure() {
    let cluster = Cluster::start(|_| unavailable()).await;
    let policy = ExponentialBackOff::new(5, Duration::from_secs(60), Duration::from_secs(60));
    let started = Instant::now();

    let error = failed(cluster.write(&with_retry(policy, plain())).await);

    assert!(matches!(error.kind(), ErrorKind::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn downgraded_attempt_is_sent_at_the_lower_level_to_the_same_node() {
    let cluster = Cluster::start(|received| if received.earlier == 0 { unavailable() } else { void() }).await;

    let answer = cluster.write(&with_retry(DowngradingConsistency, plain())).await.unwrap();

    let levels: Vec<_> = cluster.log().iter().map(Received::consistency).collect();
    assert_eq!((cluster.asked(), levels), (vec![0, 0], vec![Consistency::LocalQuorum, Consistency::One]));
    assert_eq!(answer.attempts[0].consistency, Consistency::LocalQuorum);
}

#[tokio::test(start_paused = true)]
async fn ignored_write_timeout_is_a_success_that_carries_a_warning() {
    let cluster = Cluster::start(|_| write_timeout(1, "SIMPLE")).await;

    let answer = cluster.write(&with_retry(DowngradingConsistency, plain())).await.unwrap();

    assert!(matches!(answer.decoded.message, Message::Result(ResultBody::Void)));
    assert!(answer.decoded.annotations.unwrap().warnings[0].contains("ignored"));
    assert_eq!(answer.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pinned_request_asks_no_other_node() {
    let cluster = Cluster::start(|_| unavailable()).await;
    let mut options = plain();
    options.overrides_mut().node = Some(cluster.pool(2).host_id());

    assert!(cluster.write(&options).await.is_err());
    assert_eq!(cluster.asked(), [2]);

    options.overrides_mut().node = Some(uuid::Uuid::nil());
    let error = failed(cluster.write(&options).await);
    assert!(matches!(error.kind(), ErrorKind::Configuration(message) if message.contains("no such node")), "{error}");
}

struct Nowhere;

impl LoadBalancing for Nowhere {
    fn distance(&self, _node: &Node, _contact_datacenter: &str) -> Distance {
        Distance::Local
    }

    fn plan(&self, _facts: &RoutingFacts<'_>, _distances: &[Distance], _plan: &mut Vec<NodeIndex>) {}
}

#[tokio::test(start_paused = true)]
async fn empty_plan_is_an_error_without_attempts() {
    let mut cluster = Cluster::start(|_| void()).await;
    cluster.executor.load_balancing = Arc::new(Nowhere);

    let error = failed(cluster.write(&idempotent()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::NoNodeAvailable, Certainty::NotSent));
    assert!(error.attempts().is_empty() && cluster.log().is_empty());
}

/// Asks the same node again after a pause.
struct SameNodeLater;

impl Retry for SameNodeLater {
    fn decide(&self, _failure: &AttemptFailure, _facts: RetryFacts) -> RetryDecision {
        RetryDecision::SameNode
    }

    fn delay(&self, _failure: &AttemptFailure, _facts: RetryFacts, _random: u64) -> Duration {
        Duration::from_millis(50)
    }
}

#[tokio::test(start_paused = true)]
async fn same_node_that_has_lost_its_connection_is_left_for_the_next() {
    let cluster = Cluster::start(|received| if received.earlier == 0 { unavailable() } else { void() }).await;
    let options = with_retry(SameNodeLater, plain());
    let losing = async {
        sleep(Duration::from_millis(20)).await;
        cluster.pool(0).pick().unwrap().close("lost in this test");
    };

    let (result, ()) = tokio::join!(cluster.write(&options), losing);

    assert!(result.is_ok());
    assert_eq!(cluster.asked(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn preparing_is_repeated_whatever_became_of_it() {
    for first in [Reply::Close, error(0x1001)] {
        let cluster = Cluster::start(move |received| if received.earlier == 0 { first.clone() } else { void() }).await;

        let result = cluster.executor.run(&Work::Prepare { text: "SELECT" }, &plain()).await;

        assert!(result.is_ok());
        assert_eq!(cluster.asked(), [0, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn increments_are_repeated_on_no_ones_word_but_the_callers() {
    let counter = prepared("UPDATE t SET c = c + ? WHERE k = 1");
    counter.set_state(PreparedState { is_counter: true, ..PreparedState::clone(&counter.state()) });
    let batch = Work::Batch { batch_type: crate::protocol::BatchType::Counter, entries: &[] };
    for (options, asked) in [(plain(), vec![0]), (idempotent(), vec![0, 1])] {
        let mut cluster = Cluster::start(|received| if received.earlier == 0 { Reply::Close } else { void() }).await;
        cluster.executor.defaults.is_idempotent = true;

        let result = cluster.execute(&counter, &options).await;

        assert_eq!((result.is_ok(), cluster.asked()), (asked.len() == 2, asked));
    }
    let cluster = Cluster::start(|_| Reply::Close).await;
    assert!(cluster.executor.run(&batch, &idempotent()).await.is_err(), "a batch of counters is never repeated");
    assert_eq!(cluster.asked(), [0]);
}

#[tokio::test(start_paused = true)]
async fn serial_level_of_a_plain_write_proves_nothing() {
    let options = StatementOptions { serial_consistency: Some(SerialConsistency::Serial), ..idempotent() };

    let (result, asked) = after_first(Reply::Close, &options).await;

    assert!(result.is_ok(), "it is sent with every request of such a session");
    assert_eq!(asked, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn answer_longer_than_the_limit_costs_its_connection_only() {
    let connection =
        ConnectionConfig { body_len_max: 1000, ..ConnectionConfig::new(SocketAddr::from(([127, 0, 0, 1], 9042))) };
    let shape = Shape { connection, ..Shape::default() };
    let long = || Reply::Raw(Opcode::Result, vec![0; 1001]);
    let cluster = Cluster::with(shape, move |received| if received.node == 0 { long() } else { void() }).await;

    let error = failed(cluster.write(&plain()).await);

    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(reason) if reason.contains("1001")), "{error}");
    assert_eq!((error.certainty(), cluster.asked()), (Certainty::MaybeApplied, vec![0]));
    assert!(cluster.pool(0).pick().is_none());
    cluster.write(&plain()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn node_of_another_cluster_is_unusable_and_never_asked() {
    let connection = ConnectionConfig {
        cluster_name: Some("Sparta".to_owned()),
        ..ConnectionConfig::new(SocketAddr::from(([127, 0, 0, 1], 9042)))
    };
    let cluster = Cluster::with(Shape { connection, ..Shape::default() }, |_| void()).await;

    let error = failed(cluster.write(&idempotent()).await);

    assert_eq!(cluster.pool(0).state(), NodeState::Unusable);
    assert_eq!((error.kind(), error.attempts().len()), (&ErrorKind::NoNodeAvailable, 3));
    assert!(cluster.log().is_empty());
}
