//! Runs one plan: boot, safety (faults), calm (healed), liveness checks, shutdown checks.
//!
//! Everything happens inside one simulated cluster in one paused runtime, so a plan has one outcome. What the run
//! leaves behind is judged by the checkers over finished runs; what only a live session shows (pools, metadata, plans,
//! shutdown) is watched here.

mod ledger;
mod oracle;
mod outcome;
mod phases;
mod story;
mod watch;

pub use outcome::{Outcome, RunOutcome};

use crate::bounds::Bounds;
use crate::checkers::{self, Class, Evidence, Failure};
use crate::history::Call;
use crate::marks;
use crate::mutants;
use crate::plan::Plan;
use crate::truth::Truth;
use crate::wire::Fact;
use simcluster::ClusterConfig;
use simcluster::coordinator::CoordinatorConfig;
use simcluster::kernel::{Budget, StopReason};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Runs a plan. Never hangs on simulated time and never panics: what goes wrong is in the outcome.
///
/// The plan is run on this thread; it must not be inside a tokio runtime.
#[must_use]
pub fn run_plan(plan: &Plan) -> RunOutcome {
    run_guarded(plan, false)
}

/// Runs a plan and records its trace lines. The trace hash is the same as without.
#[must_use]
pub fn run_plan_traced(plan: &Plan) -> RunOutcome {
    run_guarded(plan, true)
}

fn run_guarded(plan: &Plan, traced: bool) -> RunOutcome {
    catch_unwind(AssertUnwindSafe(|| run(plan, traced))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        let failure = Failure::new("SIM", Class::Simulator, Duration::ZERO, format!("the laboratory panicked: {text}"));
        RunOutcome::of_failures(plan, vec![failure])
    })
}

/// What a run writes down while it is alive; it outlives a run that is stopped.
#[derive(Debug, Default)]
struct Notes {
    calls: Vec<Call>,
    failures: Vec<Failure>,
    marks: BTreeSet<&'static str>,
    wire: Vec<Fact>,
    truth: Option<Truth>,
    safety_began: Duration,
    /// How many tasks each session has at rest beside those of connections and pools.
    tasks: BTreeMap<String, usize>,
}

/// The notes of a run, shared by its tasks.
#[derive(Clone, Debug, Default)]
struct Notebook(Arc<Mutex<Notes>>);

impl Notebook {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, checker: &str, class: Class, at: Duration, message: String) {
        self.lock().failures.push(Failure::new(checker, class, at, message));
    }
}

fn run(plan: &Plan, traced: bool) -> RunOutcome {
    let notebook = Notebook::default();
    let bounds = Bounds::of(plan);
    let report = {
        let (notebook, plan) = (notebook.clone(), Arc::new(plan.clone()));
        simcluster::run(cluster(&plan, &bounds).trace(traced), move |sim| phases::all(sim, plan, bounds, notebook))
    };
    let mut notes = std::mem::take(&mut *notebook.lock());
    let end = report.simulated();
    judge_report(&report, end, &mut notes.failures);
    let evidence = Evidence { plan, bounds, calls: &notes.calls, wire: &notes.wire, truth: notes.truth.as_ref() };
    // A stopped run has calls in the air: only what it did see can be judged.
    if report.value.is_some() {
        notes.failures.extend(checkers::check_all(&evidence));
    }
    notes.marks.extend(marks::of(&evidence));
    if mutants::is_canary_planted() {
        let message = "the canary is planted: this failure is the proof that failures are seen".to_owned();
        notes.failures.push(Failure::new("CANARY", Class::Safety, end, message));
    }
    let mut outcome = RunOutcome::of_failures(plan, std::mem::take(&mut notes.failures));
    outcome.trace_hash = format!("{:016x}", report.trace_hash);
    outcome.simulated = end;
    outcome.safety_began_ms = u64::try_from(notes.safety_began.as_millis()).unwrap_or(u64::MAX);
    outcome.calls = notes.calls.len() as u64;
    outcome.trace = report.trace;
    if let Some(failure) = outcome.failures.first() {
        outcome.story = story::tell(failure, &notes.calls, &notes.wire);
    }
    outcome.marks = notes.marks;
    outcome
}

/// What the simulation itself reports.
fn judge_report(report: &simcluster::RunReport<()>, end: Duration, failures: &mut Vec<Failure>) {
    for panic in &report.panics {
        failures.push(Failure::new("PANIC", Class::Panic, end, panic.to_string()));
    }
    match &report.stopped {
        None => {}
        Some(StopReason::SimulatorPanic(text)) => {
            failures.push(Failure::new("SIM", Class::Simulator, end, format!("the simulator panicked: {text}")));
        }
        Some(reason) => {
            failures.push(Failure::new("BUDGET", Class::Liveness, end, format!("the run was stopped: {reason:?}")));
        }
    }
    let leaked: Vec<&String> = report.leaked_tasks.iter().filter(|task| task.starts_with(phases::CLIENT)).collect();
    if !leaked.is_empty() {
        failures.push(Failure::new("I43", Class::Leak, end, format!("tasks are alive at the end: {leaked:?}")));
    }
}

fn cluster(plan: &Plan, bounds: &Bounds) -> ClusterConfig {
    let shape = &plan.cluster;
    let server_timeout = Duration::from_millis(shape.server_timeout_ms);
    let coordinator = CoordinatorConfig {
        read_timeout: server_timeout,
        range_timeout: server_timeout * 2,
        write_timeout: server_timeout,
        counter_timeout: server_timeout,
        ..CoordinatorConfig::default()
    };
    let phases = Duration::from_millis(plan.phases.boot_ms + plan.phases.safety_ms + plan.phases.close_ms);
    let calls = Duration::from_millis(plan.driver.request_timeout_ms) * CALLS_IN_A_ROW;
    let mut config = ClusterConfig::default()
        .seed(plan.seed.bits)
        .vnodes(shape.vnodes)
        .release(shape.release.clone())
        .protocol_version_max(shape.protocol_version_max)
        .latency(Duration::from_micros(shape.latency_min_us), Duration::from_micros(shape.latency_max_us))
        .coordinator(coordinator)
        .failure_detection(Duration::from_millis(shape.failure_detection_ms))
        .budget(Budget { simulated: phases + bounds.settle * 2 + calls, events: EVENTS_MAX, polls: POLLS_MAX });
    config = config.forget_prepared_on_restart(shape.forget_prepared_on_restart);
    if shape.authentication {
        config = config.users([(crate::app::connect::USER.to_owned(), crate::app::connect::PASSWORD.to_owned())]);
    }
    for (number, nodes) in (1..).zip(&shape.datacenters) {
        config = config.datacenter(format!("dc{number}"), *nodes);
    }
    config
}

/// How many calls one operation may make one after the other: the pages of a scan.
const CALLS_IN_A_ROW: u32 = 120;

/// Bounds that no sane run comes near; a busy loop does.
const EVENTS_MAX: u64 = 5_000_000;

/// As above, for polls of tasks.
const POLLS_MAX: u64 = 5_000_000;
