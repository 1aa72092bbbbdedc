//! `cargo xtask cassandra`: a real Apache Cassandra ring from its published jars, on 127.0.0.1, .2, .3 …
//!
//! Needs a JDK 17 and Maven, nothing else (4.x a JRE 11, which is fetched). The state lives under `target/cassandra`;
//! only processes started from there are ever signalled.

mod compare;
mod configuration;
mod differ;
mod partition;
mod processes;
mod record;
mod release;
mod requirements;
mod ring;
mod suite;

pub use release::Release;

use ring::{NODES_MAX, Partitioner, Ring, Settings};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A real ring, or what to do with one.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The last number of the first node's address: rings from different numbers can stand side by side.
    #[arg(long, global = true, default_value_t = DEFAULT_FIRST, value_name = "N",
          value_parser = clap::value_parser!(u8).range(1..=200))]
    loopback_from: u8,
    #[command(subcommand)]
    action: Action,
}

/// What to do with the ring.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Download the jars (about 70 MB, once) and start the nodes one after the other.
    Up(Shape),
    /// Start a node that was killed, with the data it had.
    #[command(alias = "start")]
    Restart {
        /// Its number, from 1.
        node: u8,
    },
    /// End a node at once (SIGKILL); its data stay.
    Kill {
        /// Its number, from 1.
        node: u8,
    },
    /// End a node in good order (SIGTERM): it tells the others and its clients; its data stay.
    Stop {
        /// Its number, from 1.
        node: u8,
    },
    /// Freeze a node (SIGSTOP): its sockets stay open, it answers nothing.
    Pause {
        /// Its number, from 1.
        node: u8,
    },
    /// Let a frozen node go on (SIGCONT).
    Resume {
        /// Its number, from 1.
        node: u8,
    },
    /// Start one more node, which takes over its part of the data.
    Add {
        /// The data centre it joins.
        #[arg(long, default_value = "datacenter1")]
        dc: String,
    },
    /// Have a node hand over its data and leave for good.
    Decommission {
        /// Its number, from 1.
        node: u8,
    },
    /// Run Cassandra's nodetool against a node, such as `nodetool 1 status`.
    Nodetool {
        /// Its number, from 1.
        node: u8,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Print the path of a node's log.
    Log {
        /// Its number, from 1.
        node: u8,
    },
    /// End every node and delete their data (the jars stay).
    Down,
    /// Run the suite of integration tests on rings that are started and ended for it.
    Test(suite::Options),
    /// Run the corpus on a real Cassandra and write its answers beside the scripts.
    Record(record::RecordArguments),
    /// Run generated scripts on a real Cassandra and on the simulated cluster; shrink and print what differs.
    Differ(differ::DifferArguments),
    /// Measure what a coordinator answers at every level while replicas are dead or silent, and add it to what is
    /// recorded.
    Distributed {
        /// How often: where the coordinator may choose among replicas, more rounds see more of the right outcomes.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Hold the ring to what is recorded instead of adding to it.
        #[arg(long)]
        check: bool,
    },
    /// Record which events clients of each node receive when nodes and schema change, and add them to what is recorded.
    /// Needs the rights to filter packets.
    Events {
        /// How often: where nodes race, more rounds see more of the right orders.
        #[arg(long, default_value_t = 2)]
        rounds: u32,
        /// Hold the ring to what is recorded instead of adding to it.
        #[arg(long)]
        check: bool,
    },
    /// Hold the simulated cluster to the recorded answers; needs no Cassandra.
    Compare(compare::CompareArguments),
    /// Say whether this machine can run Cassandra, and if not, what is missing.
    Check {
        /// Which release.
        #[arg(long, value_enum, default_value_t)]
        release: Release,
    },
}

/// The shape of a new ring.
#[derive(Clone, Debug, clap::Args)]
pub struct Shape {
    /// What the nodes run.
    #[arg(long, value_enum, default_value_t)]
    release: Release,
    /// How many nodes, 1 to 6, in all data centres together.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
    nodes: u8,
    /// How many data centres: datacenter1, datacenter2, …
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    dcs: u8,
    /// Demand a password; the user cassandra with the password cassandra may do everything.
    #[arg(long)]
    auth: bool,
    /// Tokens of each node: 1 (an even ring), or more, drawn by the nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    vnodes: u16,
    /// How partition keys become tokens.
    #[arg(long, value_enum, default_value_t)]
    partitioner: Partitioner,
    /// Demand TLS of clients; the certificate to trust is written beside the nodes.
    #[arg(long)]
    tls: bool,
    /// Have custom payloads sent back, by Cassandra's own query handler for tests.
    #[arg(long)]
    mirror_payload: bool,
}

/// The release that is run by default.
pub const RELEASE: &str = "5.0.8";

/// Rings begin at 127.0.0.1 unless told otherwise.
const DEFAULT_FIRST: u8 = 1;

/// Carries out one action; the error is a sentence for the user.
pub fn run(root: &Path, arguments: &Arguments) -> Result<(), String> {
    let first = arguments.loopback_from;
    let open = || Ring::open(root, first);
    match &arguments.action {
        Action::Check { release } => requirements::check(&shared(root), *release)
            .map(|java| println!("Cassandra {} can run here ({java})", release.version())),
        Action::Up(shape) => up(root, first, shape),
        Action::Restart { node } => processes::start(&open()?, *node),
        Action::Kill { node } => processes::kill(&open()?, *node),
        Action::Stop { node } => processes::stop(&open()?, *node),
        Action::Pause { node } => processes::pause(&open()?, *node),
        Action::Resume { node } => processes::signal(&open()?, *node, "CONT"),
        Action::Add { dc } => processes::add(&mut open()?, dc).map(|_| ()),
        Action::Decommission { node } => processes::decommission(&mut open()?, *node),
        Action::Nodetool { node, arguments } => {
            processes::nodetool(&open()?, *node, arguments).map(|said| print!("{said}"))
        }
        Action::Log { node } => {
            let ring = open()?;
            println!("{}", ring.log(ring.settings.node(*node)?.number).display());
            Ok(())
        }
        Action::Down => Ring::new(root, first, Settings::new(Release::default(), 1, 1, first)).end(),
        Action::Test(options) => suite::run(root, first, options),
        Action::Record(arguments) => record::run(root, first, arguments),
        Action::Differ(arguments) => differ::run(root, first, arguments),
        Action::Distributed { rounds, check } => suite::distributed(root, first, *rounds, *check),
        Action::Events { rounds, check } => suite::events(root, first, *rounds, *check),
        Action::Compare(arguments) => compare::run(arguments),
    }
}

/// The tests of the suite that leave the nodes alone, on the default release, as `ci` runs them.
pub fn run_suite(root: &Path) -> Result<(), String> {
    suite::run(root, DEFAULT_FIRST, &suite::Options::undisturbed())
}

/// How many tests the suite has: what is skipped where no Cassandra can run.
pub fn suite_len() -> usize {
    sim_tests::suite::all().len()
}

/// The JDK's version line, or a sentence that says what is missing.
pub fn requirements() -> Result<String, String> {
    // No JRE is fetched for the default release, so the folder is not used.
    requirements::check(Path::new(""), Release::default())
}

fn up(root: &Path, first: u8, shape: &Shape) -> Result<(), String> {
    let mut settings = Settings::new(shape.release, shape.nodes, shape.dcs, first);
    settings.auth = shape.auth;
    settings.vnodes = shape.vnodes;
    settings.partitioner = shape.partitioner;
    settings.tls = shape.tls;
    settings.mirror_payload = shape.mirror_payload;
    let (ring, guard) = stand_up(root, first, settings)?;
    guard.keep();
    if ring.settings.tls {
        println!("clients trust {}", ring.folder.join(configuration::CERTIFICATE).display());
    }
    Ok(())
}

/// Starts a ring, which ends with its guard.
fn stand_up(root: &Path, first: u8, settings: Settings) -> Result<(Ring, Guard), String> {
    let ring = Ring::new(root, first, settings);
    if let Some(present) = ring.reread()? {
        if present.settings.nodes.iter().any(|node| processes::is_alive(&present, node.number)) {
            return Err(
                "a ring stands at these addresses: end it with `cargo xtask cassandra down`, or choose others \
                        with --loopback-from"
                    .to_owned(),
            );
        }
        processes::down(&present)?;
    }
    // A start that was cut short may have left data without a description: no new node may begin with it.
    processes::clear(&ring)?;
    let guard = Guard::watch(&ring);
    processes::up(&ring)?;
    Ok((ring, guard))
}

impl Ring {
    /// Ends the nodes that the ring has now, if it still stands.
    fn end(&self) -> Result<(), String> {
        self.reread()?.map_or(Ok(()), |present| processes::down(&present))
    }
}

/// Every ring that a guard of this process has watched over: Ctrl-C ends those that stand.
static WATCHED: Mutex<Vec<Ring>> = Mutex::new(Vec::new());

fn watched() -> MutexGuard<'static, Vec<Ring>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Set by Ctrl-C: nodes end because they are told to.
static IS_INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Held from the decision to start a process until its pid is written down: Ctrl-C ends what is written down.
static STARTING: Mutex<()> = Mutex::new(());

/// Waits for the right to start a process, for ever if Ctrl-C is ending them all.
fn permit_to_start() -> MutexGuard<'static, ()> {
    loop {
        let permit = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if !IS_INTERRUPTED.load(Ordering::Relaxed) {
            return permit;
        }
        drop(permit);
        yield_to_interruption();
    }
}

/// Lets the handler of Ctrl-C end the program, if it is at work: the nodes that it ends are no failure to tell of.
fn yield_to_interruption() {
    while IS_INTERRUPTED.load(Ordering::Relaxed) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Ends a ring when it is dropped, also by a panic, and at Ctrl-C.
pub(crate) struct Guard {
    ring: Option<Ring>,
}

impl Guard {
    /// Watches over a ring that is about to be started.
    fn watch(ring: &Ring) -> Self {
        let mut rings = watched();
        if rings.iter().all(|other| other.folder != ring.folder) {
            rings.push(ring.clone());
        }
        drop(rings);
        // It can be set once per process; whoever set it before ends the process, and then the nodes have to go by
        // `down`.
        let _ = ctrlc::set_handler(|| {
            IS_INTERRUPTED.store(true, Ordering::Relaxed);
            // Tests in other threads may be about to restart a node.
            drop(STARTING.lock());
            for ring in watched().iter() {
                if let Err(sentence) = ring.end() {
                    eprintln!("{sentence}: `cargo xtask cassandra down` ends the nodes");
                }
            }
            std::process::exit(130);
        });
        Self { ring: Some(ring.clone()) }
    }

    /// Lets the ring stand.
    fn keep(mut self) {
        self.ring = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(ring) = self.ring.take() else { return };
        if let Err(sentence) = ring.end() {
            eprintln!("{sentence}: `cargo xtask cassandra down` ends the nodes");
        }
    }
}

/// Where all rings keep what they share.
fn shared(root: &Path) -> PathBuf {
    root.join("target").join("cassandra")
}

/// What a program prints, on whichever stream; `None` if it fails or is missing.
pub fn output_of(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Where a child of this module keeps its files.
fn ensure_folder(path: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
    Ok(path.to_path_buf())
}
