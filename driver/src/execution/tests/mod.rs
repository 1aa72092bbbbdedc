//! Whole requests against scripted nodes, over in-memory streams and in virtual time.

mod limits;
mod observation;
mod prepared;
mod retries;
mod speculation;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::metrics::Metrics;
use super::runner::{Answer, Defaults, Executor};
use super::work::Work;
use super::{Certainty, Error, ErrorKind};
use crate::connection::{Connection, ConnectionConfig};
use crate::control::{ClusterState, ClusterView};
use crate::env::{BoxFuture, ByteStream, Calendar, Entropy, Environment, Instant, Transport, WallClock, sleep};
use crate::policy::{
    Budget, BudgetSettings, ConstantReconnection, DefaultRetry, Distance, LoadBalancing, MonotonicTimestamps,
    RoutingFacts,
};
use crate::pool::{ConnectionFactory, NodePool, NodeState, PoolObserver, PoolSettings, WarmUp};
use crate::protocol::frame::{SegmentFormat, split_segment, write_segment};
use crate::protocol::{Consistency, Opcode, ProtocolVersion, SerialConsistency};
use crate::statement::{Preparation, PreparedState, PreparedStatement, StatementOptions};
use crate::topology::{ClusterSnapshot, Node, NodeIndex, Partitioner, Schema, test_node};

/// A request as a node received it.
#[derive(Clone, Debug)]
struct Received {
    node: usize,
    opcode: Opcode,
    body: Vec<u8>,
    /// Since the start of the test.
    at: Duration,
    /// How many requests the cluster had received before.
    earlier: usize,
}

impl Received {
    /// The text of a QUERY or PREPARE.
    fn text(&self) -> &str {
        let len = u32::from_be_bytes(self.body[..4].try_into().unwrap()) as usize;
        std::str::from_utf8(&self.body[4..4 + len]).unwrap()
    }

    /// The consistency level of a QUERY.
    fn consistency(&self) -> Consistency {
        let at = 4 + self.text().len();
        Consistency::from_wire(u16::from_be_bytes([self.body[at], self.body[at + 1]])).unwrap()
    }
}

/// What a node does with a request.
#[derive(Clone, Debug)]
enum Reply {
    /// RESULT with this body.
    Result(Vec<u8>),
    /// ERROR with this code and the bytes after the message.
    Error(i32, Vec<u8>),
    /// This opcode with this body.
    Raw(Opcode, Vec<u8>),
    Silence,
    /// Hangs up.
    Close,
    After(Duration, Box<Self>),
}

fn void() -> Reply {
    Reply::Result(vec![0, 0, 0, 1])
}

fn after(millis: u64, reply: Reply) -> Reply {
    Reply::After(Duration::from_millis(millis), Box::new(reply))
}

fn error(code: i32) -> Reply {
    Reply::Error(code, Vec::new())
}

fn unavailable() -> Reply {
    Reply::Error(0x1000, [&[0, 6][..], &2_i32.to_be_bytes(), &1_i32.to_be_bytes()].concat())
}

fn read_timeout(received: i32, block_for: i32, data_present: u8) -> Reply {
    let numbers = [received.to_be_bytes(), block_for.to_be_bytes()].concat();
    Reply::Error(0x1200, [&[0, 6][..], &numbers, &[data_present]].concat())
}

fn write_timeout(received: i32, write_type: &str) -> Reply {
    let numbers = [received.to_be_bytes(), 2_i32.to_be_bytes()].concat();
    let len = u8::try_from(write_type.len()).unwrap();
    Reply::Error(0x1100, [&[0, 6][..], &numbers, &[0, len], write_type.as_bytes()].concat())
}

fn unprepared(id: &[u8]) -> Reply {
    Reply::Error(0x2500, short_bytes(id))
}

fn short_bytes(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

type Script = Box<dyn FnMut(&Received) -> Reply + Send>;

/// Nodes that answer by a script, and a driver that asks them in the order of their numbers.
struct Cluster {
    world: Arc<World>,
    executor: Executor,
    retired: Vec<Arc<NodePool>>,
}

struct World {
    version: ProtocolVersion,
    started: Instant,
    script: Mutex<Script>,
    log: Mutex<Vec<Received>>,
    /// Nodes that refuse connections.
    down: BTreeSet<usize>,
    environment: Environment,
    /// Bytes a connection takes while its node does not read.
    capacity: usize,
}

struct Shape {
    nodes: u8,
    down: BTreeSet<usize>,
    version: ProtocolVersion,
    connection: ConnectionConfig,
    /// Bytes a connection takes while its node does not read.
    capacity: usize,
    is_reading: bool,
    warm_up: Option<Arc<dyn WarmUp>>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 3,
            down: BTreeSet::new(),
            version: ProtocolVersion::V4,
            connection: ConnectionConfig::new(SocketAddr::from(([127, 0, 0, 1], 9042))),
            capacity: 1 << 20,
            is_reading: true,
            warm_up: None,
        }
    }
}

impl Cluster {
    /// Three nodes.
    async fn start(script: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self::with(Shape::default(), script).await
    }

    async fn with(shape: Shape, script: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        let environment = Environment {
            entropy: Arc::new(Counting::default()),
            wall_clock: Arc::new(Clock(AtomicI64::new(1_000_000))),
            ..Environment::tokio()
        };
        let world = Arc::new(World {
            version: shape.version,
            started: Instant::now(),
            script: Mutex::new(Box::new(script)),
            log: Mutex::default(),
            down: shape.down,
            environment: environment.clone(),
            capacity: shape.capacity,
        });
        let transport = Arc::new(FakeTransport { world: Arc::clone(&world), is_reading: shape.is_reading });
        let environment = Environment { transport, ..environment };
        let config = ConnectionConfig { protocol_version: shape.version, heartbeat_interval: None, ..shape.connection };
        let nodes: Vec<Node> =
            (0..shape.nodes).map(|number| test_node(number, "dc1", "r1", &[number.into()])).collect();
        let snapshot = ClusterSnapshot::build("Troy", Partitioner::Murmur3, nodes, Schema::default(), None);
        let settings = Arc::new(PoolSettings {
            environment: environment.clone(),
            factory: Arc::new(ConnectionFactory::new(config, None)),
            size: 1,
            reconnection: Arc::new(ConstantReconnection::new(Duration::from_secs(3600))),
            stable_after: Duration::from_secs(30),
            dial_permits: Semaphore::new(32),
            observer: Arc::new(Unobserved),
            warm_up: shape.warm_up.unwrap_or_else(|| Arc::new(NoWarmUp)),
        });
        let start = |node: &Node| NodePool::start(Arc::clone(&settings), node.host_id, node.address);
        let pools: Vec<_> = snapshot.nodes().iter().map(start).collect();
        for pool in &pools {
            pool.wait_until_tried().await;
        }
        let view = ClusterView {
            distances: vec![Distance::Local; pools.len()],
            pools: pools.iter().cloned().map(Some).collect(),
            snapshot: Arc::new(snapshot),
        };
        let executor = Executor {
            state: Arc::new(ClusterState::new(view)),
            load_balancing: Arc::new(InOrder),
            retry: Arc::new(DefaultRetry),
            speculation: None,
            timestamps: Arc::new(MonotonicTimestamps::default()),
            calendar: Calendar::new(Arc::clone(&environment.wall_clock)),
            defaults: Defaults {
                consistency: Consistency::LocalQuorum,
                serial_consistency: SerialConsistency::LocalSerial,
                timeout: Duration::from_secs(10),
                attempt_timeout: None,
                page_size: 5000,
                is_idempotent: false,
            },
            retry_budget: Budget::new(BudgetSettings { percent: 10, burst: 100 }),
            speculation_budget: Budget::new(BudgetSettings { percent: 10, burst: 10 }),
            metrics: Metrics::default(),
            tracker: None,
            is_closed: AtomicBool::new(false),
            environment,
        };
        Self { world, executor, retired: pools }
    }

    /// Runs a plain write.
    async fn write(&self, options: &StatementOptions) -> Result<Answer, Error> {
        self.query("INSERT INTO app.t (k) VALUES (1)", options).await
    }

    async fn query(&self, text: &str, options: &StatementOptions) -> Result<Answer, Error> {
        self.executor.run(&Work::Query { text }, options).await
    }

    async fn execute(&self, statement: &PreparedStatement, options: &StatementOptions) -> Result<Answer, Error> {
        self.executor.run(&Work::Execute { statement, state: &statement.state(), values: &[] }, options).await
    }

    /// The requests received so far.
    fn log(&self) -> Vec<Received> {
        self.world.log.lock().unwrap().clone()
    }

    /// The nodes that received requests, in order.
    fn asked(&self) -> Vec<usize> {
        self.log().iter().map(|received| received.node).collect()
    }

    fn pool(&self, node: usize) -> &NodePool {
        &self.retired[node]
    }
}

fn idempotent() -> StatementOptions {
    StatementOptions { is_idempotent: Some(true), ..StatementOptions::default() }
}

fn plain() -> StatementOptions {
    StatementOptions::default()
}

/// A statement without variables, whose id is its text.
fn prepared(text: &str) -> PreparedStatement {
    let state = PreparedState {
        id: Bytes::copy_from_slice(text.as_bytes()),
        result_metadata_id: None,
        variables: [].into(),
        result_columns: None,
        known_columns: None,
        routing: None,
        is_counter: false,
    };
    PreparedStatement::new(Preparation::new(text.into(), None), state)
}

fn failed(result: Result<Answer, Error>) -> Error {
    match result {
        Ok(_) => panic!("the request succeeded"),
        Err(error) => error,
    }
}

struct Unobserved;

impl PoolObserver for Unobserved {
    fn on_state_changed(&self, _host_id: Uuid, _from: NodeState, _to: NodeState) {}

    fn on_stranger(&self) {}

    fn on_version_lowered(&self) {}
}

struct NoWarmUp;

impl WarmUp for NoWarmUp {
    fn warm_up(&self, _connection: Connection) -> Option<BoxFuture<'static, ()>> {
        None
    }
}

/// Nodes in the order of their numbers.
struct InOrder;

impl LoadBalancing for InOrder {
    fn distance(&self, _node: &Node, _contact_datacenter: &str) -> Distance {
        Distance::Local
    }

    fn plan(&self, facts: &RoutingFacts<'_>, _distances: &[Distance], plan: &mut Vec<NodeIndex>) {
        plan.extend((0..).take(facts.snapshot.nodes().len()));
    }

    fn first(&self, _facts: &RoutingFacts<'_>, _distances: &[Distance]) -> Option<NodeIndex> {
        Some(0)
    }
}

#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn draw(&self, _purpose: &'static str) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Ticks with every look.
struct Clock(AtomicI64);

impl WallClock for Clock {
    fn unix_micros(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

struct FakeTransport {
    world: Arc<World>,
    is_reading: bool,
}

impl Transport for FakeTransport {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let SocketAddr::V4(v4) = address else { panic!("not a fake node: {address}") };
        let node = usize::from(v4.ip().octets()[3]) - 1;
        let world = Arc::clone(&self.world);
        let is_reading = self.is_reading;
        Box::pin(async move {
            if world.down.contains(&node) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(world.capacity);
            let spawner = Arc::clone(&world.environment.spawner);
            spawner.spawn("fake node", Box::pin(serve(world, node, far, is_reading)));
            Ok(Box::new(near) as Box<dyn ByteStream>)
        })
    }

    fn resolve(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

const SUPPORTED: &[u8] = b"\0\0";
const CLUSTER_NAME: &[u8] = b"\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x06system\0\x05local\0\x0Ccluster_name\0\x0D\
    \0\0\0\x01\0\0\0\x04Troy";

/// One connection of a node.
async fn serve(world: Arc<World>, node: usize, stream: DuplexStream, is_reading: bool) {
    let (mut reader, writer) = tokio::io::split(stream);
    let (answers, queue) = mpsc::unbounded_channel();
    world.environment.spawner.spawn("fake node writer", Box::pin(write_answers(writer, queue)));
    let mut inbound = Inbound::default();
    let mut is_framed = false;
    while let Some((stream, opcode, body)) = inbound.request(&mut reader).await {
        let frame = |opcode: Opcode, body: &[u8], is_framed| envelope(world.version, stream, opcode, body, is_framed);
        let is_handshake = opcode == Opcode::Query && body.windows(12).any(|part| part == b"cluster_name");
        match opcode {
            Opcode::Options => drop(answers.send(Some(frame(Opcode::Supported, SUPPORTED, is_framed)))),
            Opcode::Startup => {
                let _ = answers.send(Some(frame(Opcode::Ready, &[], false)));
                is_framed = world.version >= ProtocolVersion::V5;
                inbound.is_framed = is_framed;
            }
            _ if is_handshake => {
                let _ = answers.send(Some(frame(Opcode::Result, CLUSTER_NAME, is_framed)));
                if !is_reading {
                    std::future::pending::<()>().await;
                }
            }
            _ => {
                let mut log = world.log.lock().unwrap();
                let received = Received { node, opcode, body, at: world.started.elapsed(), earlier: log.len() };
                log.push(received.clone());
                drop(log);
                let mut reply = (world.script.lock().unwrap())(&received);
                let mut delay = Duration::ZERO;
                while let Reply::After(more, then) = reply {
                    delay += more;
                    reply = *then;
                }
                let answer = match reply {
                    Reply::Silence => continue,
                    Reply::Close => None,
                    Reply::Result(body) => Some(frame(Opcode::Result, &body, is_framed)),
                    Reply::Raw(opcode, body) => Some(frame(opcode, &body, is_framed)),
                    Reply::Error(code, extra) => {
                        let body = [&code.to_be_bytes()[..], b"\0\x05wrong", &extra].concat();
                        Some(frame(Opcode::Error, &body, is_framed))
                    }
                    Reply::After(..) => unreachable!("unwrapped above"),
                };
                let answers = answers.clone();
                let send = async move {
                    sleep(delay).await;
                    let _ = answers.send(answer);
                };
                world.environment.spawner.spawn("fake answer", Box::pin(send));
            }
        }
    }
}

/// Writes until told to hang up.
async fn write_answers(mut writer: WriteHalf<DuplexStream>, mut queue: mpsc::UnboundedReceiver<Option<Vec<u8>>>) {
    while let Some(Some(bytes)) = queue.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

fn envelope(version: ProtocolVersion, stream: i16, opcode: Opcode, body: &[u8], is_framed: bool) -> Vec<u8> {
    let [s0, s1] = stream.to_be_bytes();
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    let envelope = [&[0x80 | version.number(), 0, s0, s1, opcode.to_wire()], &len[..], body].concat();
    if !is_framed {
        return envelope;
    }
    let mut framed = Vec::new();
    write_segment(&envelope, true, SegmentFormat::Plain, &mut framed);
    framed
}

#[derive(Default)]
struct Inbound {
    is_framed: bool,
    raw: BytesMut,
    plain: BytesMut,
}

impl Inbound {
    async fn request(&mut self, reader: &mut ReadHalf<DuplexStream>) -> Option<(i16, Opcode, Vec<u8>)> {
        loop {
            if let Some(header) = self.plain.get(..9) {
                let len = 9 + u32::from_be_bytes(header[5..9].try_into().unwrap()) as usize;
                if self.plain.len() >= len {
                    let envelope = self.plain.split_to(len);
                    let stream = i16::from_be_bytes([envelope[2], envelope[3]]);
                    return Some((stream, Opcode::from_wire(envelope[4]), envelope[9..].to_vec()));
                }
            }
            if reader.read_buf(&mut self.raw).await.ok()? == 0 {
                return None;
            }
            if !self.is_framed {
                self.plain.extend_from_slice(&self.raw.split());
                continue;
            }
            while let Some(segment) = split_segment(&mut self.raw, SegmentFormat::Plain).unwrap() {
                self.plain.extend_from_slice(&segment.payload);
            }
        }
    }
}
