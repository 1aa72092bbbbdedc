//! The simulated cluster from a client's side: sockets, faults, reproducibility, and the ends of runs.

use simcluster::engine::LedgerFact;
use simcluster::fault::{CrashKind, Direction};
use simcluster::kernel::{Budget, StopReason};
use simcluster::network::{LinkConfig, SimStream};
use simcluster::node::Observation;
use simcluster::{ClusterConfig, Fault, NodeId, SimCluster};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const FIRST: NodeId = NodeId(1);

/// Protocol v4, OPTIONS on stream 5, empty body.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 5, 0x05, 0, 0, 0, 0];

async fn connect(sim: &SimCluster, node: NodeId) -> std::io::Result<SimStream> {
    let address = sim.nodes()[node.0 as usize - 1].address;
    sim.connect("app", address).await
}

/// Sends OPTIONS and reads the whole answer; returns its opcode.
async fn ask(stream: &mut SimStream) -> std::io::Result<u8> {
    stream.write_all(&OPTIONS).await?;
    read_answer(stream).await
}

async fn read_answer(stream: &mut SimStream) -> std::io::Result<u8> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    assert_eq!(header[..4], [0x84, 0, 0, 5], "a v4 answer on stream 5");
    let len = u32::from_be_bytes(header[5..].try_into().unwrap());
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).await?;
    Ok(header[4])
}

const SUPPORTED: u8 = 0x06;

fn milliseconds(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn every_node_answers() {
    let report = simcluster::run(ClusterConfig::default().seed(1), |sim| async move {
        for node in sim.nodes() {
            let mut stream = connect(&sim, node.id).await.unwrap();
            assert_eq!(ask(&mut stream).await.unwrap(), SUPPORTED);
        }
        sim.contact_points().len()
    });

    assert_eq!(report.expect_clean(), 3);
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let hash = |seed, lines: bool| {
        let config = ClusterConfig::default().seed(seed).trace(lines);
        let report = simcluster::run(config, |sim| async move {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let cluster = sim.clone();
                    sim.spawn("app", "asker", async move {
                        let mut stream = connect(&cluster, FIRST).await.unwrap();
                        ask(&mut stream).await.unwrap()
                    })
                })
                .collect();
            sim.crash(NodeId(2), CrashKind::Rst);
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        });
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.trace.is_empty(), !lines);
        report.trace_hash
    };

    assert_eq!(hash(1, false), hash(1, true));
    assert_ne!(hash(1, false), hash(2, false));
}

#[test]
fn crash_shows_on_connections_as_asked_for() {
    simcluster::run(ClusterConfig::default().seed(2), |sim| async move {
        for (how, expected) in [(CrashKind::Fin, None), (CrashKind::Rst, Some(ErrorKind::ConnectionReset))] {
            let mut stream = connect(&sim, FIRST).await.unwrap();
            sim.crash(FIRST, how);
            let outcome = stream.read(&mut [0; 1]).await;
            match expected {
                None => assert_eq!(outcome.unwrap(), 0),
                Some(kind) => assert_eq!(outcome.unwrap_err().kind(), kind),
            }
            let refused = connect(&sim, FIRST).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            sim.restart(FIRST);
            let mut stream = connect(&sim, FIRST).await.unwrap();
            assert_eq!(ask(&mut stream).await.unwrap(), SUPPORTED);
        }
    })
    .expect_clean();
}

#[test]
fn vanished_machine_answers_nothing_until_it_is_back() {
    simcluster::run(ClusterConfig::default().seed(3), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        sim.crash(FIRST, CrashKind::Silence);
        stream.write_all(&OPTIONS).await.unwrap();
        assert!(timeout(milliseconds(60_000), stream.read(&mut [0; 1])).await.is_err(), "half-open");
        assert!(timeout(milliseconds(60_000), connect(&sim, FIRST)).await.is_err(), "no answer to the dial");

        sim.restart(FIRST);

        // The written bytes are sent again, and the new process knows nothing of the connection.
        let error = timeout(milliseconds(5_000), stream.read(&mut [0; 1])).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    })
    .expect_clean();
}

#[test]
fn paused_node_accepts_and_answers_when_it_goes_on() {
    simcluster::run(ClusterConfig::default().seed(4), |sim| async move {
        let pause = Fault::Pause { node: FIRST };
        sim.inject(&pause);
        let mut stream = connect(&sim, FIRST).await.unwrap();
        stream.write_all(&OPTIONS).await.unwrap();
        assert!(timeout(milliseconds(3_000), stream.read(&mut [0; 0])).await.is_ok(), "reading nothing is no wait");
        let mut early = [0; 1];
        assert!(timeout(milliseconds(3_000), stream.read(&mut early)).await.is_err());
        sim.heal(&pause);
        assert_eq!(timeout(milliseconds(100), read_answer(&mut stream)).await.unwrap().unwrap(), SUPPORTED);
    })
    .expect_clean();
}

#[test]
fn cut_delays_bytes_and_loses_none() {
    for direction in [Direction::Both, Direction::ToNode, Direction::ToClient] {
        simcluster::run(ClusterConfig::default().seed(5), |sim| async move {
            let mut stream = connect(&sim, FIRST).await.unwrap();
            let cut = Fault::CutClient { node: FIRST, direction };
            sim.inject(&cut);
            stream.write_all(&OPTIONS).await.unwrap();
            let early = timeout(milliseconds(10_000), stream.read(&mut [0; 1])).await;
            assert!(early.is_err(), "{direction:?}");
            sim.heal(&cut);
            let answer = timeout(milliseconds(4_000), read_answer(&mut stream)).await;
            assert_eq!(answer.unwrap().unwrap(), SUPPORTED, "{direction:?}");
        })
        .expect_clean();
    }
}

#[test]
fn refusing_node_keeps_its_connections() {
    simcluster::run(ClusterConfig::default().seed(6), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        let refuse = Fault::Refuse { node: FIRST };
        sim.inject(&refuse);
        assert_eq!(connect(&sim, FIRST).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(ask(&mut stream).await.unwrap(), SUPPORTED);
        sim.heal_all();
        assert!(connect(&sim, FIRST).await.is_ok());
    })
    .expect_clean();
}

#[test]
fn swallowed_and_late_answers_are_known_to_the_ledger() {
    simcluster::run(ClusterConfig::default().seed(7), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        let swallow = Fault::SwallowAnswers { node: FIRST, percent: 100 };
        sim.inject(&swallow);
        assert!(timeout(milliseconds(2_000), ask(&mut stream)).await.is_err());
        sim.heal(&swallow);
        sim.inject(&Fault::LateAnswers { node: FIRST, by_ms: 700, percent: 100 });
        let asked_at = sim.now();
        assert_eq!(ask(&mut stream).await.unwrap(), SUPPORTED);
        let took = sim.now().since(asked_at);
        assert!(took >= milliseconds(700) && took < milliseconds(710), "took {took:?}");

        let count = |wanted: fn(&LedgerFact) -> bool| {
            sim.ledger(|entries| entries.iter().filter(|entry| wanted(&entry.fact)).count())
        };
        assert_eq!(count(|fact| matches!(fact, LedgerFact::AnswerLost { stream: 5, .. })), 1);
        assert_eq!(count(|fact| matches!(fact, LedgerFact::AnswerRead { stream: 5, .. })), 1);
        assert_eq!(count(|fact| matches!(fact, LedgerFact::Node(Observation::Request { stream: 5, .. }))), 2);
    })
    .expect_clean();
}

#[test]
fn splitting_every_write_and_read_changes_no_byte() {
    let link = LinkConfig { split_chance: 1.0, ..LinkConfig::default() };
    simcluster::run(ClusterConfig::default().seed(8).link(link), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        for _ in 0..20 {
            assert_eq!(ask(&mut stream).await.unwrap(), SUPPORTED);
        }
    })
    .expect_clean();
}

#[test]
fn writer_waits_when_the_send_buffer_is_full() {
    let link = LinkConfig { send_buffer: 1_000, ..LinkConfig::default() };
    simcluster::run(ClusterConfig::default().seed(9).link(link), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        let pause = Fault::Pause { node: FIRST };
        sim.inject(&pause);
        let many = OPTIONS.repeat(200);
        let blocked = timeout(milliseconds(1_000), stream.write_all(&many)).await;
        assert!(blocked.is_err(), "1,800 bytes do not fit into 1,000");
        sim.heal(&pause);
        assert!(timeout(milliseconds(1_000), stream.write_all(&many)).await.is_ok());
    })
    .expect_clean();
}

#[test]
fn connections_and_tasks_are_accounted_to_their_client() {
    let report = simcluster::run(ClusterConfig::default().seed(10), |sim| async move {
        let stream = connect(&sim, FIRST).await.unwrap();
        let _task = sim.spawn("app", "idle", std::future::pending::<()>());
        assert_eq!((sim.open_client_connections("app"), sim.alive_tasks("app")), (1, 1));
        assert_eq!((sim.open_client_connections("other"), sim.alive_tasks("other")), (0, 0));
        drop(stream);
        assert_eq!(sim.open_client_connections("app"), 0);
    });

    assert_eq!(report.leaked_tasks, ["app/idle"]);
}

#[test]
fn deadlock_ends_the_run_with_a_reason() {
    let budget = Budget { simulated: Duration::from_secs(600), ..Budget::default() };

    let report = simcluster::run(ClusterConfig::default().budget(budget), |_| std::future::pending::<()>());

    assert_eq!(report.stopped, Some(StopReason::SimulatedTime));
    assert_eq!(report.simulated(), Duration::from_secs(600));
    assert!(!report.is_clean());
}

#[test]
fn panics_of_main_and_of_tasks_are_reported() {
    let report = simcluster::run(ClusterConfig::default(), |sim| async move {
        let task = sim.spawn("app", "victim", async { panic!("first") });
        assert!(task.await.unwrap().is_none());
        panic!("second");
    });

    let _: &Option<()> = &report.value;
    let messages: Vec<_> = report.panics.iter().map(|panic| panic.message.as_str()).collect();
    assert_eq!(messages, ["first", "second"]);
    assert!(!report.is_clean());
}

#[test]
fn fault_that_names_no_node_of_the_cluster_does_nothing() {
    simcluster::run(ClusterConfig::default(), |sim| async move {
        for number in [0, 9] {
            let node = NodeId(number);
            sim.crash(node, CrashKind::Fin);
            sim.inject(&Fault::ForeignAnswer { node });
            sim.inject(&Fault::Partition { nodes: vec![node], clients: true });
        }
        assert_eq!(ask(&mut connect(&sim, FIRST).await.unwrap()).await.unwrap(), SUPPORTED);
        sim.heal_all();
        assert!(sim.active_faults().is_empty());
    })
    .expect_clean();
}

#[test]
fn failure_detector_convicts_a_cut_off_node_and_takes_it_back() {
    simcluster::run(ClusterConfig::default().seed(11), |sim| async move {
        let liveness = |alive: bool| {
            sim.ledger(|entries| {
                let wanted = |entry: &&simcluster::engine::LedgerEntry| {
                    entry.node == FIRST
                        && entry.fact == LedgerFact::Node(Observation::Liveness { peer: NodeId(3), alive })
                };
                entries.iter().filter(wanted).count()
            })
        };
        let (up, down) = (liveness(true), liveness(false));
        let partition = Fault::Partition { nodes: vec![NodeId(3)], clients: false };
        sim.inject(&partition);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(liveness(false), down + 1);
        sim.heal(&partition);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(liveness(true), up + 1);
    })
    .expect_clean();
}

#[test]
fn ledger_tells_who_closed_a_connection() {
    simcluster::run(ClusterConfig::default().seed(12), |sim| async move {
        drop(connect(&sim, FIRST).await.unwrap());
        let _second = connect(&sim, FIRST).await.unwrap();
        tokio::time::sleep(milliseconds(100)).await;
        sim.inject(&Fault::ResetConnections { node: FIRST });

        let by_client: Vec<bool> = sim.ledger(|entries| {
            let closed = entries.iter().filter(|entry| matches!(entry.fact, LedgerFact::ConnectionClosed { .. }));
            closed.map(|entry| entry.caused_at < entry.at).collect()
        });
        assert_eq!(by_client, [true, false]);
    })
    .expect_clean();
}

/// Sends a v4 QUERY at QUORUM and reads the answer; returns its opcode and body.
async fn query(stream: &mut SimStream, text: &str) -> (u8, Vec<u8>) {
    let mut body = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(text.as_bytes());
    body.extend_from_slice(&[0, 4, 0]);
    request(stream, 0x07, &body).await
}

async fn request(stream: &mut SimStream, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
    let mut envelope = vec![0x04, 0, 0, 5, opcode];
    envelope.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    envelope.extend_from_slice(body);
    stream.write_all(&envelope).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    let mut answer = vec![0; u32::from_be_bytes(header[5..].try_into().unwrap()) as usize];
    stream.read_exact(&mut answer).await.unwrap();
    (header[4], answer)
}

const RESULT: u8 = 0x08;

#[test]
fn oracle_knows_placement_and_what_each_node_has_stored() {
    simcluster::run(ClusterConfig::default().seed(13), |sim| async move {
        let mut stream = connect(&sim, FIRST).await.unwrap();
        let startup = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0";
        assert_eq!(request(&mut stream, 0x01, startup).await.0, 0x02, "READY");
        let keyspace = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}";
        for text in [keyspace, "CREATE TABLE ks.t (k int PRIMARY KEY, v int)", "INSERT INTO ks.t (k, v) VALUES (1, 10)"]
        {
            let (opcode, body) = query(&mut stream, text).await;
            assert_eq!(opcode, RESULT, "{text}: {}", String::from_utf8_lossy(&body));
        }
        tokio::time::sleep(milliseconds(100)).await;

        let replicas = sim.replicas("ks", &1_i32.to_be_bytes());
        assert_eq!(replicas.len(), 2);
        for node in sim.nodes() {
            let rows = sim.query_node(node.id, "SELECT v FROM ks.t WHERE k = 1").unwrap().rows;
            assert_eq!(rows.len(), usize::from(replicas.contains(&node.id)), "{}", node.id);
        }
        for replica in &replicas {
            sim.crash(*replica, CrashKind::Fin);
        }
        let rows = sim.query_all("SELECT v FROM ks.t").unwrap().rows;
        assert_eq!(rows, [[Some(10_i32.to_be_bytes().to_vec().into())]], "crashed nodes' data count");
        let versions: std::collections::BTreeSet<_> = sim.schema_versions().into_iter().map(|(_, v)| v).collect();
        assert_eq!(versions.len(), 1);
        assert!(sim.schema().table("ks", "t").is_some());
        assert!(sim.query_all("INSERT INTO ks.t (k) VALUES (1)").is_err(), "the oracle only reads");
    })
    .expect_clean();
}
