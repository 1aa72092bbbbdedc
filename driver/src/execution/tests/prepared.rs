//! Statements that coordinators have forgotten, and results whose columns have changed.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::*;
use crate::execution::{
    AttemptKind, Background, PreparationSettings, PreparedCache, WarmUpStatements, prepare_on_others,
};
use crate::protocol::BatchType;
use crate::statement::BatchEntry;

/// RESULT of kind Prepared without variables and columns.
fn prepared_as(id: &[u8]) -> Reply {
    let variables = [0_i32.to_be_bytes(), 0_i32.to_be_bytes(), 0_i32.to_be_bytes()].concat();
    let result = [4_i32.to_be_bytes(), 0_i32.to_be_bytes()].concat();
    Reply::Result([&[0, 0, 0, 4][..], &short_bytes(id), &variables, &result].concat())
}

/// The same in v5, with an id of the result columns.
fn prepared_in_version_5(id: &[u8]) -> Reply {
    let Reply::Result(body) = prepared_as(id) else { unreachable!("it is a result") };
    let (start, rest) = body.split_at(4 + 2 + id.len());
    Reply::Result([start, &short_bytes(b"columns"), rest].concat())
}

fn opcodes(cluster: &Cluster) -> Vec<(usize, Opcode)> {
    cluster.log().iter().map(|received| (received.node, received.opcode)).collect()
}

#[tokio::test(start_paused = true)]
async fn forgotten_statement_is_prepared_on_the_same_node_and_executed_again() {
    let cluster = Cluster::start(|received| match received.earlier {
        0 => unprepared(b"text"),
        1 => prepared_as(b"text"),
        _ => void(),
    })
    .await;

    let answer = cluster.execute(&prepared("text"), &plain()).await.unwrap();

    assert_eq!(opcodes(&cluster), [(0, Opcode::Execute), (0, Opcode::Prepare), (0, Opcode::Execute)]);
    assert_eq!(cluster.log()[1].text(), "text");
    assert!(answer.attempts.is_empty(), "it is one attempt");
}

#[tokio::test(start_paused = true)]
async fn statement_refused_as_unprepared_was_sent_even_if_its_connection_is_full_afterwards() {
    let connection = ConnectionConfig { in_flight_max: 1, ..Shape::default().connection };
    let shape = Shape { nodes: 1, connection, ..Shape::default() };
    let cluster = Cluster::with(shape, |received| match received.opcode {
        Opcode::Execute => unprepared(b"text"),
        Opcode::Prepare => prepared_as(b"text"),
        _ => Reply::Silence,
    })
    .await;
    let has_prepared = || opcodes(&cluster).last() == Some(&(0, Opcode::Prepare));
    let rival = async {
        poll_fn(|_| if has_prepared() { Poll::Ready(()) } else { Poll::Pending }).await;
        cluster.write(&plain()).await
    };

    let (statement, options) = (prepared("text"), plain());
    let (mut rival, mut executed) = (pin!(rival), pin!(cluster.execute(&statement, &options)));
    // The rival takes the answer's place before the statement can.
    let both = poll_fn(|cx| match rival.as_mut().poll(cx) {
        Poll::Pending => executed.as_mut().poll(cx),
        ended => ended,
    });

    let error = failed(both.await);

    assert_eq!(opcodes(&cluster), [(0, Opcode::Execute), (0, Opcode::Prepare)]);
    assert!(matches!(error.kind(), ErrorKind::Busy), "{error}");
    assert_eq!(error.certainty(), Certainty::Rejected, "it was sent once, and refused");
}

#[tokio::test(start_paused = true)]
async fn preparing_again_leaves_the_policy_its_retry() {
    let cluster = Cluster::start(|received| match (received.node, received.earlier) {
        (0, 0) => unprepared(b"text"),
        (0, 1) => prepared_as(b"text"),
        (0, _) => unavailable(),
        _ => void(),
    })
    .await;

    cluster.execute(&prepared("text"), &plain()).await.unwrap();

    assert_eq!(cluster.asked(), [0, 0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn another_id_is_an_error_that_names_use() {
    let cluster = Cluster::start(|received| match received.opcode {
        Opcode::Prepare => prepared_as(b"other"),
        _ => unprepared(b"text"),
    })
    .await;

    let error = failed(cluster.execute(&prepared("text"), &idempotent()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::PreparedIdChanged, Certainty::Rejected));
    assert!(error.to_string().contains("USE"), "{error}");
    assert_eq!(opcodes(&cluster), [(0, Opcode::Execute), (0, Opcode::Prepare)]);
}

#[tokio::test(start_paused = true)]
async fn node_that_keeps_forgetting_is_left_after_three_preparations() {
    let cluster = Cluster::start(|received| match (received.node, received.opcode) {
        (_, Opcode::Prepare) => prepared_as(b"text"),
        (0, _) => unprepared(b"text"),
        _ => void(),
    })
    .await;

    cluster.execute(&prepared("text"), &plain()).await.unwrap();

    let prepares = opcodes(&cluster).iter().filter(|request| **request == (0, Opcode::Prepare)).count();
    assert_eq!((prepares, cluster.asked().last()), (3, Some(&1)));
}

#[tokio::test(start_paused = true)]
async fn cluster_that_keeps_forgetting_ends_in_an_error_that_names_the_cache() {
    let cluster = Cluster::start(|received| match received.opcode {
        Opcode::Prepare => prepared_as(b"text"),
        _ => unprepared(b"text"),
    })
    .await;

    let error = failed(cluster.execute(&prepared("text"), &plain()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::RepreparationLimit, Certainty::Rejected));
    assert_eq!(cluster.log().len(), 3 * 7, "three preparations and four executions on each node");
}

#[tokio::test(start_paused = true)]
async fn node_that_cannot_prepare_for_its_own_reasons_is_left_for_the_next() {
    let cluster = Cluster::start(|received| match (received.node, received.opcode) {
        (0, Opcode::Prepare) => error(0x0000),
        (0, _) => unprepared(b"text"),
        _ => void(),
    })
    .await;

    let answer = cluster.execute(&prepared("text"), &plain()).await.unwrap();

    assert_eq!(cluster.asked(), [0, 0, 1]);
    assert_eq!(answer.attempts[0].what, AttemptKind::Reprepare);
}

#[tokio::test(start_paused = true)]
async fn statement_that_the_schema_no_longer_allows_is_reported_at_once() {
    let cluster = Cluster::start(|received| match received.opcode {
        Opcode::Prepare => error(0x2200),
        _ => unprepared(b"text"),
    })
    .await;

    let error = failed(cluster.execute(&prepared("text"), &idempotent()).await);

    assert!(matches!(error.kind(), ErrorKind::Invalid(_)), "{error}");
    assert_eq!(cluster.asked(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn forgotten_statements_of_a_batch_are_prepared_one_by_one() {
    let cluster = Cluster::start(|received| match received.earlier {
        0 => unprepared(b"one"),
        1 => prepared_as(b"one"),
        2 => unprepared(b"two"),
        3 => prepared_as(b"two"),
        _ => void(),
    })
    .await;
    let entry = |text| BatchEntry::Prepared { statement: prepared(text), values: Vec::new() };
    let entries = [entry("one"), entry("two")];

    let work = Work::Batch { batch_type: BatchType::Unlogged, entries: &entries };
    cluster.executor.run(&work, &plain()).await.unwrap();

    let log = cluster.log();
    assert_eq!((log[1].text(), log[3].text(), log.len()), ("one", "two", 5));
}

#[tokio::test(start_paused = true)]
async fn batch_of_more_forgotten_statements_than_one_may_be_prepared_again_succeeds() {
    let texts: Vec<String> = (0..10).map(|number| format!("statement {number}")).collect();
    let mut known = Vec::new();
    let all = texts.clone();
    let cluster = Cluster::start(move |received| match received.opcode {
        Opcode::Prepare => {
            known.push(received.text().to_owned());
            prepared_as(received.text().as_bytes())
        }
        // A server names one forgotten statement at a time.
        _ => all.iter().find(|text| !known.contains(text)).map_or_else(void, |text| unprepared(text.as_bytes())),
    })
    .await;
    let entry = |text: &String| BatchEntry::Prepared { statement: prepared(text), values: Vec::new() };
    let entries: Vec<_> = texts.iter().map(entry).collect();

    let work = Work::Batch { batch_type: BatchType::Unlogged, entries: &entries };
    let answer = cluster.executor.run(&work, &plain()).await.unwrap();

    assert!(answer.attempts.is_empty(), "one node is enough: {:?}", answer.attempts);
    let prepares = opcodes(&cluster).iter().filter(|request| **request == (0, Opcode::Prepare)).count();
    assert_eq!((prepares, cluster.log().len()), (10, 21));
}

#[tokio::test(start_paused = true)]
async fn batch_whose_statement_is_forgotten_again_and_again_ends_in_an_error() {
    let cluster = Cluster::start(|received| match received.opcode {
        Opcode::Prepare => prepared_as(b"one"),
        _ => unprepared(b"one"),
    })
    .await;
    let entry = |text| BatchEntry::Prepared { statement: prepared(text), values: Vec::new() };
    let entries = [entry("one"), entry("two")];

    let work = Work::Batch { batch_type: BatchType::Unlogged, entries: &entries };
    let error = failed(cluster.executor.run(&work, &plain()).await);

    assert_eq!((error.kind(), error.certainty()), (&ErrorKind::RepreparationLimit, Certainty::Rejected));
    assert_eq!(cluster.log().len(), 3 * 7, "three preparations and four executions on each node");
}

#[tokio::test(start_paused = true)]
async fn unprepared_for_an_id_that_was_not_sent_is_an_error() {
    let cluster = Cluster::start(|_| unprepared(b"foreign")).await;
    let entries = [BatchEntry::Prepared { statement: prepared("mine"), values: Vec::new() }];

    let work = Work::Batch { batch_type: BatchType::Logged, entries: &entries };
    let error = failed(cluster.executor.run(&work, &plain()).await);

    assert_eq!(cluster.log().len(), 1);
    assert_eq!(error.certainty(), Certainty::Rejected);
}

/// One row with one column of this name; in v5 with a new metadata id, if given.
fn rows(column: &str, new_id: Option<&[u8]>) -> Reply {
    let flags: i32 = if new_id.is_some() { 0x0009 } else { 0x0001 };
    let id = new_id.map(short_bytes).unwrap_or_default();
    let name = short_bytes(column.as_bytes());
    let metadata = [&flags.to_be_bytes()[..], &1_i32.to_be_bytes(), &id, b"\0\x03app\0\x01t", &name, &[0, 0x0D]];
    let content = [1_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    Reply::Result([&[0, 0, 0, 2][..], &metadata.concat(), &content, b"x"].concat())
}

#[tokio::test(start_paused = true)]
async fn changed_columns_and_their_id_are_taken_over_together_and_read_this_very_answer() {
    let shape = Shape { version: ProtocolVersion::V5, ..Shape::default() };
    let cluster = Cluster::with(shape, |_| rows("new", Some(b"id2"))).await;
    let statement = prepared("SELECT * FROM t");
    let before = PreparedState {
        result_metadata_id: Some(Bytes::from_static(b"id1")),
        result_columns: Some([].into()),
        ..PreparedState::clone(&statement.state())
    };
    statement.set_state(before);

    let answer = cluster.execute(&statement, &plain()).await.unwrap();

    let state = statement.state();
    assert_eq!(&*answer.columns().unwrap()[0].name, "new");
    assert_eq!(state.result_metadata_id.as_deref(), Some(&b"id2"[..]));
    assert_eq!(&*state.result_columns.as_ref().unwrap()[0].name, "new");
    cluster.execute(&statement, &plain()).await.unwrap();
    assert!(cluster.log()[1].body.windows(3).any(|part| part == b"id2"), "the next request names the new id");
}

#[tokio::test(start_paused = true)]
async fn before_version_5_every_answer_brings_its_columns() {
    const SKIP_METADATA: u8 = 0x02;
    let cluster = Cluster::start(|_| rows("fresh", None)).await;
    let statement = prepared("SELECT * FROM t");
    let known = PreparedState { result_columns: Some([].into()), ..PreparedState::clone(&statement.state()) };
    statement.set_state(known);

    let answer = cluster.execute(&statement, &plain()).await.unwrap();

    let body = &cluster.log()[0].body;
    let flags = body[2 + "SELECT * FROM t".len() + 2];
    assert_eq!(flags & SKIP_METADATA, 0, "a stale SELECT * would be read with the wrong columns");
    assert_eq!(&*answer.columns().unwrap()[0].name, "fresh");
}

const SETTINGS: PreparationSettings =
    PreparationSettings { nodes_max: 3, wait_max: Duration::from_secs(1), warm_up_max: usize::MAX };

/// Prepares on the nodes beside the first one; how long that took.
async fn prepare_beside_the_first(
    cluster: &Cluster,
    settings: PreparationSettings,
    background: &Background,
) -> Duration {
    let (view, started) = (cluster.executor.state.view(), Instant::now());
    let first = cluster.pool(0).host_id();
    prepare_on_others(&view, settings, &prepared("text"), first, background).await;
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn statement_is_prepared_on_all_nodes_at_the_same_time() {
    let cluster = Cluster::start(|received| after(10 * received.node as u64, prepared_as(b"text"))).await;
    let background = Background::new(Environment::tokio().spawner);

    let waited = prepare_beside_the_first(&cluster, SETTINGS, &background).await;

    assert_eq!(opcodes(&cluster), [(1, Opcode::Prepare), (2, Opcode::Prepare)]);
    assert_eq!(waited, Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn silent_node_holds_a_preparation_up_no_longer_than_the_limit() {
    let cluster = Cluster::start(|received| match received.node {
        1 => Reply::Silence,
        _ => prepared_as(b"text"),
    })
    .await;
    let background = Background::new(Environment::tokio().spawner);

    let waited = prepare_beside_the_first(&cluster, SETTINGS, &background).await;

    assert_eq!(waited, Duration::from_secs(1));
    let silent = cluster.pool(1).pick().unwrap();
    assert_eq!(silent.in_flight(), 1, "it goes on in the background");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(silent.in_flight(), 0, "and ends by itself");
}

#[tokio::test(start_paused = true)]
async fn stopping_the_background_ends_what_lags_behind() {
    let cluster = Cluster::start(|_| Reply::Silence).await;
    let background = Background::new(Environment::tokio().spawner);
    prepare_beside_the_first(&cluster, SETTINGS, &background).await;

    background.stop().await;

    assert_eq!(cluster.pool(1).pick().unwrap().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn large_clusters_are_not_prepared_everywhere() {
    let cluster = Cluster::start(|_| prepared_as(b"text")).await;
    let background = Background::new(Environment::tokio().spawner);

    prepare_beside_the_first(&cluster, PreparationSettings { nodes_max: 2, ..SETTINGS }, &background).await;

    assert!(cluster.log().is_empty());
}

/// A cache that knows these statements, and what warms nodes up from it.
async fn warm_up_of(texts: &[&str], settings: PreparationSettings) -> WarmUpStatements {
    let cache = Arc::new(PreparedCache::new(1000));
    for &text in texts {
        cache.get_or_prepare(&Preparation::new(text.into(), None), async || Ok(prepared(text))).await.unwrap();
    }
    let config = ConnectionConfig::new(SocketAddr::from(([127, 0, 0, 1], 9042)));
    WarmUpStatements { cache, factory: Arc::new(ConnectionFactory::new(config, None)), settings }
}

#[tokio::test(start_paused = true)]
async fn node_that_comes_up_knows_all_statements_before_it_is_used() {
    let warm_up = warm_up_of(&["a", "b"], SETTINGS).await;
    let shape = Shape { nodes: 1, warm_up: Some(Arc::new(warm_up)), ..Shape::default() };

    let cluster = Cluster::with(shape, |received| match received.opcode {
        Opcode::Prepare => after(30, prepared_as(received.text().as_bytes())),
        _ => void(),
    })
    .await;
    cluster.write(&plain()).await.unwrap();

    let log = cluster.log();
    assert_eq!((log[0].text(), log[1].text(), log.len()), ("b", "a", 3));
    assert!(log[2].at >= Duration::from_millis(30), "{:?}", log[2].at);
}

#[tokio::test(start_paused = true)]
async fn node_that_does_not_prepare_is_used_after_a_limit() {
    let warm_up = warm_up_of(&["a"], SETTINGS).await;
    let shape = Shape { nodes: 1, warm_up: Some(Arc::new(warm_up)), ..Shape::default() };

    let cluster = Cluster::with(shape, |_| Reply::Silence).await;

    assert!(cluster.pool(0).pick().is_some());
    assert!((5000..=5100).contains(&cluster.world.started.elapsed().as_millis()));
}

#[tokio::test(start_paused = true)]
async fn no_more_statements_are_prepared_on_a_node_that_comes_up_than_set() {
    let warm_up = warm_up_of(&["a", "b", "c"], PreparationSettings { warm_up_max: 2, ..SETTINGS }).await;
    let shape = Shape { nodes: 1, warm_up: Some(Arc::new(warm_up)), ..Shape::default() };

    let cluster = Cluster::with(shape, |_| prepared_as(b"id")).await;

    assert_eq!(cluster.log().iter().map(|received| received.text().to_owned()).collect::<Vec<_>>(), ["c", "b"]);
}

#[tokio::test(start_paused = true)]
async fn statements_of_another_keyspace_are_left_out_where_the_protocol_cannot_name_it() {
    let warm_up = warm_up_of(&["a"], SETTINGS).await;
    warm_up.factory.set_keyspace("elsewhere");
    let shape = Shape { nodes: 1, warm_up: Some(Arc::new(warm_up)), ..Shape::default() };

    let cluster = Cluster::with(shape, |_| prepared_as(b"id")).await;

    assert!(cluster.log().is_empty(), "the id would be another one");
}

#[tokio::test(start_paused = true)]
async fn each_statement_is_prepared_once_on_a_node_that_comes_up_however_many_there_are() {
    let texts: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    for version in [ProtocolVersion::V4, ProtocolVersion::V5] {
        let warm_up = warm_up_of(&texts.iter().map(String::as_str).collect::<Vec<_>>(), SETTINGS).await;
        let shape = Shape { nodes: 1, version, warm_up: Some(Arc::new(warm_up)), ..Shape::default() };

        let is_new = version == ProtocolVersion::V5;
        let reply = move || if is_new { prepared_in_version_5(b"id") } else { prepared_as(b"id") };
        let cluster = Cluster::with(shape, move |_| reply()).await;

        let prepared: BTreeSet<String> = cluster.log().iter().map(|received| received.text().to_owned()).collect();
        assert_eq!((cluster.log().len(), prepared.len()), (250, 250), "{version}");
    }
}

/// A statement of a keyspace that the application named, prepared with a payload.
fn prepared_in(keyspace: &str, text: &str) -> PreparedStatement {
    let preparation = Preparation {
        is_keyspace_named: true,
        custom_payload: Some(Arc::new([("key".to_owned(), Bytes::from_static(b"payload"))].into())),
        ..Preparation::new(text.into(), Some(keyspace.into()))
    };
    PreparedStatement::new(preparation, PreparedState::clone(&prepared(text).state()))
}

fn has(received: &Received, wanted: &str) -> bool {
    received.body.windows(wanted.len()).any(|part| part == wanted.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn forgotten_statement_is_prepared_again_with_its_keyspace_and_its_payload() {
    let shape = Shape { version: ProtocolVersion::V5, ..Shape::default() };
    let cluster = Cluster::with(shape, |received| match received.earlier {
        0 => unprepared(b"text"),
        1 => prepared_in_version_5(b"text"),
        _ => void(),
    })
    .await;

    let answer = cluster.execute(&prepared_in("troy", "text"), &plain()).await.unwrap();

    assert!(answer.attempts.is_empty());
    let log = cluster.log();
    assert_eq!(log[1].opcode, Opcode::Prepare);
    assert!(has(&log[1], "troy") && has(&log[1], "payload"), "{:?}", log[1]);
    assert!(!has(&log[0], "payload"), "the payload is that of the preparation");
}

#[tokio::test(start_paused = true)]
async fn statement_of_a_named_keyspace_is_prepared_with_it_on_the_other_nodes() {
    let shape = Shape { version: ProtocolVersion::V5, ..Shape::default() };
    let cluster = Cluster::with(shape, |_| prepared_in_version_5(b"text")).await;
    let background = Background::new(Environment::tokio().spawner);
    let (view, first) = (cluster.executor.state.view(), cluster.pool(0).host_id());

    prepare_on_others(&view, SETTINGS, &prepared_in("troy", "text"), first, &background).await;

    let log = cluster.log();
    assert_eq!(log.len(), 2);
    assert!(log.iter().all(|received| has(received, "troy") && has(received, "payload")), "{log:?}");
}

fn in_keyspace(name: &str) -> StatementOptions {
    let mut options = plain();
    options.overrides_mut().keyspace = Some(name.into());
    options
}

#[tokio::test(start_paused = true)]
async fn text_is_sent_with_the_keyspace_of_its_call_and_prepared_statements_without() {
    let shape = Shape { version: ProtocolVersion::V5, ..Shape::default() };
    let cluster = Cluster::with(shape, |received| match received.opcode {
        Opcode::Prepare => prepared_in_version_5(b"text"),
        _ => void(),
    })
    .await;
    let entries = [BatchEntry::Text("INSERT".into())];
    let batch = Work::Batch { batch_type: BatchType::Logged, entries: &entries };

    cluster.write(&in_keyspace("troy")).await.unwrap();
    cluster.executor.run(&batch, &in_keyspace("troy")).await.unwrap();
    cluster.executor.run(&Work::Prepare { text: "SELECT" }, &in_keyspace("troy")).await.unwrap();
    cluster.execute(&prepared_in("troy", "text"), &in_keyspace("troy")).await.unwrap();

    let named: Vec<_> = cluster.log().iter().map(|received| (received.opcode, has(received, "troy"))).collect();
    let expected = [(Opcode::Query, true), (Opcode::Batch, true), (Opcode::Prepare, true), (Opcode::Execute, false)];
    assert_eq!(named, expected);
}

#[tokio::test(start_paused = true)]
async fn keyspace_of_a_call_is_refused_where_the_protocol_cannot_name_it() {
    let cluster = Cluster::start(|_| void()).await;
    let entries = [BatchEntry::Text("INSERT".into())];
    let batch = Work::Batch { batch_type: BatchType::Logged, entries: &entries };

    for work in [Work::Query { text: "SELECT" }, Work::Prepare { text: "SELECT" }, batch] {
        let error = failed(cluster.executor.run(&work, &in_keyspace("troy")).await);

        assert!(matches!(error.kind(), ErrorKind::Encode(message) if message.contains("keyspace")), "{error}");
        assert_eq!(error.certainty(), Certainty::NotSent);
    }
    assert!(cluster.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn prepared_statement_is_not_executed_in_another_keyspace_than_its_own() {
    let shape = Shape { version: ProtocolVersion::V5, ..Shape::default() };
    let cluster = Cluster::with(shape, |_| void()).await;

    for statement in [prepared("text"), prepared_in("sparta", "text")] {
        let error = failed(cluster.execute(&statement, &in_keyspace("troy")).await);

        let ErrorKind::Configuration(message) = error.kind() else { panic!("{error}") };
        assert!(message.contains("troy") && message.contains("PrepareOptions"), "{message}");
    }
    assert!(cluster.log().is_empty());
}
