//! `cargo xtask cassandra test`: the suite of integration tests on real rings.
//!
//! Tests that leave the nodes alone run a few at a time, on one ring after the other, whose schema changes are cheap.
//! Those that break nodes mostly wait, for nodes to be missed and to come back, so they run beside them, on rings of
//! their own ([`disturbed`]).

mod disturbed;
mod report;
mod world;

use super::release::Release;
use super::ring::{Partitioner, Ring, Settings};
use super::{Guard, partition, stand_up};
use report::{Report, Verdict};
use sim_tests::suite::{self, Outcome, Stage, Table, Test, distributed, events};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use world::RealCluster;

/// Which tests to run, and on what.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// What the nodes run.
    #[arg(long, value_enum, default_value_t)]
    release: Release,
    /// How partition keys become tokens.
    #[arg(long, value_enum, default_value_t)]
    partitioner: Partitioner,
    /// Only tests whose path (`subject::name`) contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Only tests that leave the nodes alone: minutes less, since no ring has to be mended.
    #[arg(long)]
    undisturbed: bool,
    /// Decides the random values of the tests.
    #[arg(long, default_value_t)]
    seed: u64,
    /// List the tests and run none.
    #[arg(long)]
    list: bool,
}

impl Options {
    /// Only tests that leave the nodes alone.
    pub fn undisturbed() -> Self {
        Self { undisturbed: true, ..Self::default() }
    }
}

/// Runs the tests; the error says how many failed.
pub fn run(root: &Path, first: u8, options: &Options) -> Result<(), String> {
    let mut tests = suite::all();
    tests.retain(|test| !(options.undisturbed && test.needs.is_disruptive));
    tests.retain(|test| options.filter.as_ref().is_none_or(|part| test.path().contains(part)));
    if tests.is_empty() {
        return Err("no test's path contains that: `cargo xtask cassandra test --list` shows them".to_owned());
    }
    if options.list {
        tests.iter().for_each(|test| println!("{}", test.path()));
        return Ok(());
    }
    // Rings that start side by side are not to download the same jars.
    Ring::new(root, first, settings(suite::Ring::Plain, options, first)).fetch()?;
    let report = Report::default();
    let (disruptive, quiet): (Vec<Test>, Vec<Test>) = tests.into_iter().partition(|test| test.needs.is_disruptive);
    std::thread::scope(|scope| {
        let disturbed = scope.spawn(|| disturbed::run(root, first, &disruptive, options, &report));
        let undisturbed = run_undisturbed(root, first, &quiet, options, &report);
        let disturbed = disturbed.join().unwrap_or_else(|panic| Err(panic_text(&*panic)));
        undisturbed.and(disturbed)
    })?;
    report.close()
}

/// Runs tests that disturb nobody, on one ring of each kind that they need.
fn run_undisturbed(root: &Path, first: u8, tests: &[Test], options: &Options, report: &Report) -> Result<(), String> {
    let runtime = runtime()?;
    let mut kinds: Vec<suite::Ring> = tests.iter().map(|test| test.needs.ring).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let on_it: Vec<Test> = tests.iter().filter(|test| test.needs.ring == kind).copied().collect();
        let settings = Settings { is_fleeting: true, ..settings(kind, options, first) };
        let standing = Standing::start(root, first, &settings)?;
        run_together(&runtime, &standing.cluster, &on_it, options, report);
    }
    Ok(())
}

/// Measures what a coordinator answers at every level under every fault, `rounds` times, and adds it to the recorded
/// table, or checks that it is in there.
pub fn distributed(root: &Path, first: u8, rounds: u32, check: bool) -> Result<(), String> {
    let recording = Recording {
        name: "distributed",
        heading: distributed::HEADING,
        differences: distributed::differences,
        measure: |stage| Box::pin(async move { distributed::measure(&stage).await }),
    };
    recording.run(root, first, rounds, check, distributed::recorded()?)
}

/// The same for the events that clients of each node receive.
pub fn events(root: &Path, first: u8, rounds: u32, check: bool) -> Result<(), String> {
    if !partition::is_possible() {
        return Err("recording events needs root's rights and nftables, to cut nodes off from each other".to_owned());
    }
    let recording = Recording {
        name: "events",
        heading: events::HEADING,
        differences: events::differences,
        measure: |stage| Box::pin(async move { events::measure(&stage).await }),
    };
    recording.run(root, first, rounds, check, events::recorded()?)
}

/// A table that is measured on a ring of three nodes and kept in the corpus.
struct Recording {
    name: &'static str,
    heading: &'static str,
    differences: fn(&Table, &Table) -> Vec<String>,
    measure: fn(Stage) -> Measuring,
}

type Measuring = Pin<Box<dyn Future<Output = Result<Table, Box<dyn std::error::Error + Send + Sync>>>>>;

impl Recording {
    fn run(&self, root: &Path, first: u8, rounds: u32, check: bool, mut table: Table) -> Result<(), String> {
        let path = root.join(format!("sim-tests/corpus/{}.txt", self.name));
        let runtime = runtime()?;
        let settings = settings(suite::Ring::Plain, &Options::default(), first);
        let mut standing = Standing::start(root, first, &settings)?;
        for round in 1..=rounds {
            let stage = Stage::new(standing.cluster.clone(), self.name, false, u64::from(round));
            let measured = runtime.block_on((self.measure)(stage.clone())).map_err(|e| e.to_string());
            runtime.block_on(stage.close());
            let measured = measured?;
            let differences = (self.differences)(&table, &measured);
            println!("round {round}: {} cells differ from what is recorded", differences.len());
            if check && !differences.is_empty() {
                return Err(differences.join("\n"));
            }
            table.merge(measured);
            if !check {
                std::fs::write(&path, table.text(self.heading))
                    .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            }
            if round < rounds && standing.mend(&runtime).is_err() {
                drop(standing);
                standing = Standing::start(root, first, &settings)?;
            }
        }
        Ok(())
    }
}

fn runtime() -> Result<Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(|e| format!("cannot make a runtime: {e}"))
}

fn settings(kind: suite::Ring, options: &Options, first: u8) -> Settings {
    let datacenters: Vec<(String, u8)> =
        kind.datacenters().iter().map(|(name, nodes)| ((*name).to_owned(), *nodes)).collect();
    let mut settings = Settings::of_datacenters(options.release, &datacenters, first);
    settings.partitioner = options.partitioner;
    settings.auth = kind.is_authenticated();
    settings.mirror_payload = true;
    settings.can_be_cut = partition::is_possible();
    settings
}

/// A ring that stands; it ends when this is dropped.
struct Standing {
    cluster: Arc<RealCluster>,
    _guard: Guard,
}

impl Standing {
    fn start(root: &Path, first: u8, settings: &Settings) -> Result<Self, String> {
        let (ring, guard) = stand_up(root, first, settings.clone())?;
        Ok(Self { cluster: Arc::new(RealCluster::new(ring)), _guard: guard })
    }

    /// Brings the ring back to what it was; the error says why that is not possible.
    fn mend(&self, runtime: &Runtime) -> Result<(), String> {
        self.cluster.mend()?;
        let stage = Stage::new(self.cluster.clone(), "mend", self.cluster.is_authenticated(), 0);
        runtime.block_on(async {
            let whole = stage.whole().await;
            stage.close().await;
            whole
        })
    }
}

/// Runs tests that disturb nobody, a few at a time.
fn run_together(runtime: &Runtime, cluster: &Arc<RealCluster>, tests: &[Test], options: &Options, report: &Report) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !report.judge_missing(test, &**cluster) {
                        report.add(test, run_one(runtime, cluster, test, options.seed));
                    }
                }
            });
        }
    });
}

/// Runs one test on this thread; its sessions' tasks run on the runtime.
fn run_one(runtime: &Runtime, cluster: &Arc<RealCluster>, test: &Test, seed: u64) -> Verdict {
    let seed = suite::simulated::seed_of(test) ^ seed;
    let stage = Stage::new(cluster.clone(), test.subject, test.needs.ring.is_authenticated(), seed);
    let slot: Mutex<Option<Outcome>> = Mutex::new(None);
    let panicked = std::thread::scope(|scope| {
        let (slot, stage) = (&slot, stage.clone());
        let thread = scope.spawn(move || {
            let outcome = runtime.block_on(helenus::env::timeout(LIMIT, (test.run)(stage)));
            let outcome = outcome.unwrap_or_else(|_| Err(format!("it was not done after {LIMIT:?}").into()));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        thread.join().err()
    });
    runtime.block_on(async {
        stage.drop_keyspace().await;
        stage.close().await;
    });
    match (panicked, slot.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        (Some(panic), _) => Verdict::Failed(panic_text(&*panic)),
        (None, Some(Ok(()))) => Verdict::Passed,
        (None, Some(Err(error))) => Verdict::Failed(explained(&*error)),
        (None, None) => Verdict::Failed("it left no outcome".to_owned()),
    }
}

/// An error with the attempts behind it.
fn explained(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let attempts = error.downcast_ref::<helenus::Error>().map(helenus::Error::attempts).unwrap_or_default();
    let attempts: Vec<String> = attempts.iter().map(ToString::to_string).collect();
    if attempts.is_empty() { error.to_string() } else { format!("{error} (attempts: {})", attempts.join("; ")) }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Quiet tests at once: enough to keep the ring busy while others wait for schema agreement.
const AT_A_TIME: usize = 4;

/// What a test may take.
const LIMIT: Duration = Duration::from_secs(900);
