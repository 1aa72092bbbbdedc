//! The invariants, one file each; every failure carries the invariant's id.
//!
//! Checkers are pure: they get the plan, the application's history, the cluster's ledger and its final data, and
//! answer failures. Liveness and shutdown are watched while the run is alive and reported through the same type.

mod acks;
mod at_most_once;
mod attempts;
mod attribution;
mod capacity;
mod certainty;
mod completion;
mod control;
mod dead_peers;
mod dials;
mod hostile;
mod isolation;
mod keyspace;
mod limits;
mod lwt;
mod reader;
mod scan;
mod schema;
mod streams;

use crate::bounds::Bounds;
use crate::history::{Call, Nonce};
use crate::plan::Plan;
use crate::truth::Truth;
use crate::wire::Fact;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything a finished run leaves behind for its checkers.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its bounds.
    pub bounds: Bounds,
    /// Every call of the application, in order of submission.
    pub calls: &'a [Call],
    /// Every fact of the cluster, in order of time.
    pub wire: &'a [Fact],
    /// The cluster's data at the end; `None` if the run ended before it could be read.
    pub truth: Option<&'a Truth>,
}

impl Evidence<'_> {
    /// The positions in `wire` of the facts that carry each nonce.
    fn facts_by_nonce(&self) -> BTreeMap<Nonce, Vec<&Fact>> {
        use crate::wire::Wire;
        let mut facts: BTreeMap<Nonce, Vec<&Fact>> = BTreeMap::new();
        for fact in self.wire {
            if let Wire::Request { nonce: Some(nonce), .. } | Wire::Response { nonce: Some(nonce), .. } = &fact.what {
                facts.entry(*nonce).or_default().push(fact);
            }
        }
        facts
    }
}

/// What a failure means, and the exit code of a campaign that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen within its bound.
    Liveness,
    /// A task panicked.
    Panic,
    /// Something outlived its session.
    Leak,
    /// The laboratory itself is at fault; never blamed on the driver.
    Simulator,
}

impl Class {
    /// The process exit code of `cargo xtask sim`.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Safety => 10,
            Self::Liveness => 11,
            Self::Panic => 12,
            Self::Leak => 13,
            Self::Simulator => 16,
        }
    }

    /// Its name in summaries and expectations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Panic => "panic",
            Self::Leak => "leak",
            Self::Simulator => "simulator",
        }
    }
}

/// One violated invariant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The invariant's id: `I1` … `I50`, or `PANIC`, `BUDGET`, `BOOT`, `CANARY`.
    pub checker: String,
    /// What it means.
    pub class: Class,
    /// What happened, in one or two sentences.
    pub message: String,
    /// When, in milliseconds of simulated time.
    pub at_ms: u64,
}

impl Failure {
    /// A failure found at `at`.
    #[must_use]
    pub fn new(checker: &str, class: Class, at: Duration, message: String) -> Self {
        Self { checker: checker.to_owned(), class, message, at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A checker that runs when a run has ended.
pub type Checker = fn(&Evidence<'_>) -> Vec<Failure>;

/// The ids and functions of all checkers over finished runs.
pub const FINISHED: [(&str, Checker); 28] = [
    ("I1", attribution::check),
    ("I2", completion::check),
    ("I3", streams::check_reuse),
    ("I5", streams::check_foreign_answers),
    ("I6", capacity::check),
    ("I8", at_most_once::check),
    ("I9", attempts::check_bounded),
    ("I11", attempts::check_deadline),
    ("I12", attempts::check_consistency),
    ("I14", attempts::check_timestamps),
    ("I15", attempts::check_speculation),
    ("I23", dials::check_known),
    ("I24", dials::check_pool_bound),
    ("I25", dials::check_back_off),
    ("I26", dead_peers::check),
    ("I27", isolation::check),
    ("I29", control::check_register_first),
    ("I31", control::check_economy),
    ("I33", limits::check),
    ("I34", reader::check),
    ("I35", schema::check_agreement),
    ("I36", attempts::check_repreparation),
    ("I37", schema::check_decoding),
    ("I38", keyspace::check),
    ("I39", scan::check),
    ("I40", hostile::check),
    ("I41", streams::check_violations),
    ("I48", acks::check),
];

/// The ids of the invariants that are watched while a run is alive (in `run`).
pub const WATCHED: [&str; 15] =
    ["I4", "I7", "I32", "I16", "I17", "I19", "I20", "I21", "I22", "I28", "I30", "I43", "I44", "I46", "I47"];

/// The ids of all checkers, in order.
#[must_use]
pub fn ids() -> Vec<String> {
    let mut ids: Vec<&str> = FINISHED.iter().map(|(id, _)| *id).chain(WATCHED).collect();
    ids.sort_by_key(|id| id[1..].parse::<u32>().unwrap_or(u32::MAX));
    ids.into_iter().map(str::to_owned).collect()
}

/// Runs every checker. Of each checker at most [`FAILURES_PER_CHECKER`] failures are kept.
#[must_use]
pub fn check_all(evidence: &Evidence<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (_, checker) in FINISHED {
        failures.extend(checker(evidence).into_iter().take(FAILURES_PER_CHECKER));
    }
    failures.extend(certainty::check(evidence).into_iter().take(FAILURES_PER_CHECKER));
    failures.extend(lwt::check(evidence).into_iter().take(FAILURES_PER_CHECKER));
    failures
}

/// One broken rule often breaks for many calls; the first few say it all.
pub const FAILURES_PER_CHECKER: usize = 3;

#[cfg(test)]
pub(crate) mod samples {
    //! Small pieces of evidence for the checkers' own tests.

    use super::*;
    use crate::history::{Answer, Certainty, Failed};
    use crate::plan::{Action, Level};
    use crate::seed::{Profile, Seed};
    use crate::wire::Wire;

    pub(crate) fn plan() -> Plan {
        let mut plan = Plan::generate(Seed::new(Profile::Quick, 1)).expect("quick");
        plan.faults.clear();
        plan.driver.request_timeout_ms = 2_000;
        plan.driver.attempt_timeout_ms = 0;
        plan.cluster.datacenters = vec![3];
        plan.cluster.replication_factor = 3;
        plan.workload.static_entries = 7;
        plan
    }

    /// A call that was submitted and completed at these milliseconds.
    pub(crate) fn call(nonce: u64, action: Action, from: u64, to: u64, outcome: Result<Answer, Failed>) -> Call {
        Call {
            nonce: Nonce(nonce),
            client: 0,
            action,
            level: Level::Quorum,
            submitted: Duration::from_millis(from),
            completed: Some(Duration::from_millis(to)),
            completions: 1,
            longest_wait: Duration::from_millis(to - from),
            mirrored: Vec::new(),
            pages: Vec::new(),
            outcome: Some(outcome),
        }
    }

    pub(crate) fn failed(certainty: Certainty, kind: &str) -> Failed {
        Failed { certainty, kind: kind.to_owned(), message: String::new(), attempts: 1 }
    }

    pub(crate) fn fact(at: u64, what: Wire) -> Fact {
        Fact { at: Duration::from_millis(at), caused_at: Duration::from_millis(at), node: 0, what }
    }

    pub(crate) fn request(at: u64, connection: u64, nonce: u64) -> Fact {
        let nonce = Some(Nonce(nonce));
        fact(at, Wire::Request { connection, stream: 1, opcode: crate::wire::opcode::EXECUTE, nonce, asked: None })
    }

    /// A request for a statement at a level (as in the protocol), with a write time.
    pub(crate) fn asking(at: u64, node: u32, nonce: u64, consistency: u16, timestamp: i64) -> Fact {
        let asked = Some(crate::wire::Asked { consistency, timestamp: Some(timestamp) });
        let mut fact = request(at, u64::from(node), nonce);
        fact.node = node;
        if let Wire::Request { asked: what, .. } = &mut fact.what {
            *what = asked;
        }
        fact
    }

    pub(crate) fn response(at: u64, connection: u64, nonce: u64, error: Option<i32>) -> Fact {
        let opcode = if error.is_some() { 0x00 } else { 0x08 };
        fact(at, Wire::Response { connection, stream: 1, opcode, error, nonce: Some(Nonce(nonce)) })
    }

    /// The ids of the failures that `checker` finds.
    pub(crate) fn run(checker: Checker, calls: &[Call], wire: &[Fact], truth: Option<&Truth>) -> Vec<String> {
        let plan = plan();
        let evidence = Evidence { plan: &plan, bounds: Bounds::of(&plan), calls, wire, truth };
        checker(&evidence).into_iter().map(|failure| failure.checker).collect()
    }
}
