//! Many runs on several threads: each run has its own runtime, so threads share nothing but counters.
//!
//! The report does not depend on the number of threads: seeds are numbered, and failures are sorted by number.

use crate::checkers::{self, Failure};
use crate::marks::MARKS;
use crate::plan::Plan;
use crate::run::{RunOutcome, run_plan};
use crate::seed::{Profile, Seed};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Which plans.
    pub profile: Profile,
    /// Where the seeds start: run number `i` uses [`Seed::derive`]`(profile, base, i)`.
    pub base: u64,
    /// How many runs at most; `None` = until time is up, a failure, or the stop flag.
    pub seeds: Option<u64>,
    /// How long at most, in real time.
    pub time: Option<Duration>,
    /// Whether the first failure ends the campaign.
    pub until_fail: bool,
    /// How many threads; 0 counts as 1.
    pub jobs: usize,
    /// Whether every run is done twice and must give the same trace hash.
    pub check_determinism: bool,
    /// How many failing runs are kept in the report.
    pub failures_max: usize,
}

impl Default for Campaign {
    /// 1,000 quick runs from base 0 on one thread; the first 20 failing runs are kept.
    fn default() -> Self {
        Self {
            profile: Profile::Quick,
            base: 0,
            seeds: Some(1_000),
            time: None,
            until_fail: false,
            jobs: 1,
            check_determinism: false,
            failures_max: 20,
        }
    }
}

/// How far a campaign has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Finished runs.
    pub seeds: u64,
    /// Their simulated time.
    pub simulated_seconds: f64,
    /// Failed runs.
    pub failures: u64,
    /// Marks hit so far.
    pub marks_hit: usize,
}

/// A failed run.
#[derive(Clone, Debug, Serialize)]
pub struct FailedRun {
    /// Its seed.
    pub seed: String,
    /// Its number in the campaign.
    pub index: u64,
    /// `safety`, `liveness`, `panic`, `leak`, `simulator`.
    pub outcome: String,
    /// Its trace hash.
    pub trace_hash: String,
    /// What failed, the first failure first.
    pub failures: Vec<Failure>,
    /// What led to it, at most 40 lines.
    pub story: Vec<String>,
}

/// What a campaign found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CampaignReport {
    /// Finished runs.
    pub seeds: u64,
    /// Failed runs, by number of seed; at most `failures_max` of them.
    pub failures: Vec<FailedRun>,
    /// How many runs failed in all.
    pub failed: u64,
    /// Simulated time of all runs.
    pub simulated_seconds: f64,
    /// Real time.
    pub wall_seconds: f64,
    /// Calls of the application.
    pub calls: u64,
    /// Injected faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// How often each mark was hit, in runs; marks that were never hit are listed with 0.
    pub marks: BTreeMap<String, u64>,
    /// How many marks were hit.
    pub marks_hit: usize,
    /// How many marks there are.
    pub marks_total: usize,
    /// The ids of the checkers that judged every run.
    pub checkers: Vec<String>,
    /// How often each checker failed a run.
    pub failures_by_checker: BTreeMap<String, u64>,
    /// Whether the stop flag ended it early.
    pub interrupted: bool,
}

impl CampaignReport {
    /// 0, or the exit code of the first failure.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.failures.first().and_then(|run| run.failures.first()).map_or(0, |failure| match failure.checker.as_str() {
            "I46" => 15,
            _ => failure.class.exit_code(),
        })
    }
}

impl Campaign {
    /// Runs it. `progress` is called after every run, from any thread; setting `stop` ends the campaign after the runs
    /// in progress, with the results so far. Runs that fail are in the report.
    pub fn run(&self, progress: &(dyn Fn(Progress) + Sync), stop: &AtomicBool) -> CampaignReport {
        let clock = Stopwatch::start();
        let state = Mutex::new(State::default());
        let next = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        let work = || {
            loop {
                let time_is_up = self.time.is_some_and(|limit| clock.elapsed() >= limit);
                if stop.load(Ordering::Relaxed) || done.load(Ordering::Relaxed) || time_is_up {
                    return;
                }
                let index = next.fetch_add(1, Ordering::Relaxed);
                if self.seeds.is_some_and(|seeds| index >= seeds) {
                    return;
                }
                let seed = Seed::derive(self.profile, self.base, index);
                let Ok(plan) = Plan::generate(seed) else { return };
                let outcome = if self.check_determinism { run_twice(&plan) } else { run_plan(&plan) };
                if self.until_fail && !outcome.failures.is_empty() {
                    done.store(true, Ordering::Relaxed);
                }
                let now = {
                    let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    state.add(seed, index, outcome);
                    state.progress()
                };
                progress(now);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs.max(1) {
                scope.spawn(work);
            }
            work();
        });
        let state = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut report = state.into_report(self.failures_max);
        report.wall_seconds = clock.elapsed().as_secs_f64();
        report.interrupted = stop.load(Ordering::Relaxed);
        report
    }
}

/// Runs a plan twice; different trace hashes fail it with I46.
#[must_use]
pub fn run_twice(plan: &Plan) -> RunOutcome {
    let (mut first, second) = (run_plan(plan), run_plan(plan));
    if first.trace_hash != second.trace_hash {
        let message =
            format!("two runs of the same plan have trace hashes {} and {}", first.trace_hash, second.trace_hash);
        first.failures.insert(0, Failure::new("I46", checkers::Class::Safety, Duration::ZERO, message));
        first.refresh_outcome();
    }
    first
}

/// Real time, for limits and rates; no simulation sees it.
struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a campaign's duration is real time, outside of every simulation")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[derive(Default)]
struct State {
    seeds: u64,
    failed: Vec<FailedRun>,
    simulated: Duration,
    calls: u64,
    faults: BTreeMap<String, u64>,
    marks: BTreeMap<String, u64>,
}

impl State {
    fn add(&mut self, seed: Seed, index: u64, outcome: RunOutcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.calls += outcome.calls;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind.clone()).or_default() += count;
        }
        for mark in &outcome.marks {
            *self.marks.entry((*mark).to_owned()).or_default() += 1;
        }
        if !outcome.failures.is_empty() {
            self.failed.push(FailedRun {
                seed: seed.to_string(),
                index,
                outcome: outcome.outcome.name().to_owned(),
                trace_hash: outcome.trace_hash,
                failures: outcome.failures,
                story: outcome.story,
            });
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            seeds: self.seeds,
            simulated_seconds: self.simulated.as_secs_f64(),
            failures: self.failed.len() as u64,
            marks_hit: self.marks.len(),
        }
    }

    fn into_report(mut self, failures_max: usize) -> CampaignReport {
        self.failed.sort_by_key(|run| run.index);
        let mut failures_by_checker: BTreeMap<String, u64> = BTreeMap::new();
        for run in &self.failed {
            let ids: BTreeSet<&str> = run.failures.iter().map(|failure| failure.checker.as_str()).collect();
            for id in ids {
                *failures_by_checker.entry(id.to_owned()).or_default() += 1;
            }
        }
        let failed = self.failed.len() as u64;
        self.failed.truncate(failures_max);
        let marks_hit = self.marks.len();
        for mark in MARKS {
            self.marks.entry(mark.to_owned()).or_default();
        }
        CampaignReport {
            seeds: self.seeds,
            failed,
            failures: self.failed,
            simulated_seconds: self.simulated.as_secs_f64(),
            wall_seconds: 0.0,
            calls: self.calls,
            faults: self.faults,
            marks: self.marks,
            marks_hit,
            marks_total: MARKS.len(),
            checkers: checkers::ids(),
            failures_by_checker,
            interrupted: false,
        }
    }
}
