//! What a run ended with.

use crate::checkers::{Class, Failure};
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How a run ended: the class of its first failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every checker was satisfied.
    Pass,
    /// At least one was not.
    Failed(Class),
}

impl Outcome {
    /// `pass`, or the class's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Failed(class) => class.name(),
        }
    }

    /// 0, or the class's exit code.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Pass => 0,
            Self::Failed(class) => class.exit_code(),
        }
    }
}

/// Everything worth knowing about a finished run.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// How it ended.
    pub outcome: Outcome,
    /// What failed, the most telling first.
    pub failures: Vec<Failure>,
    /// 16 hexadecimal digits: equal plans give equal hashes, in every process.
    pub trace_hash: String,
    /// How much simulated time passed.
    pub simulated: Duration,
    /// When the safety phase began, in milliseconds of simulated time: plan times count from here.
    pub safety_began_ms: u64,
    /// How many calls the application made.
    pub calls: u64,
    /// Injected faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// The marks it hit.
    pub marks: BTreeSet<&'static str>,
    /// What led to the first failure, at most 40 lines; empty if it passed.
    pub story: Vec<String>,
    /// The last lines of the trace, if it was recorded ([`run_plan_traced`](crate::run::run_plan_traced)).
    pub trace: Vec<String>,
}

impl RunOutcome {
    /// An outcome made of failures alone.
    #[must_use]
    pub(crate) fn of_failures(plan: &Plan, failures: Vec<Failure>) -> Self {
        let mut faults = BTreeMap::new();
        for fault in &plan.faults {
            *faults.entry(fault.kind()).or_default() += 1;
        }
        let mut outcome = Self {
            outcome: Outcome::Pass,
            failures,
            trace_hash: format!("{:016x}", 0),
            simulated: Duration::ZERO,
            safety_began_ms: 0,
            calls: 0,
            faults,
            marks: BTreeSet::new(),
            story: Vec::new(),
            trace: Vec::new(),
        };
        outcome.refresh_outcome();
        outcome
    }

    /// Sorts failures and derives [`RunOutcome::outcome`] from the first.
    ///
    /// A panic explains whatever followed it, and a violated safety rule explains a missed bound, hence the order.
    pub(crate) fn refresh_outcome(&mut self) {
        let rank = |class| match class {
            Class::Simulator => 0,
            Class::Panic => 1,
            Class::Safety => 2,
            Class::Liveness => 3,
            Class::Leak => 4,
        };
        self.failures.sort_by_key(|failure| rank(failure.class));
        self.outcome = self.failures.first().map_or(Outcome::Pass, |failure| Outcome::Failed(failure.class));
    }

    /// What makes two failures the same: the id of the first failing checker. `None` if the run passed.
    #[must_use]
    pub fn signature(&self) -> Option<String> {
        self.failures.first().map(|failure| failure.checker.clone())
    }

    /// Whether it ended as a regression plan expects: `pass` or a checker's id, and the trace hash if one is given.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what happened.
    pub fn meets(&self, plan: &Plan) -> Result<(), String> {
        let Some(expect) = &plan.expect else { return Ok(()) };
        let actual = self.signature().unwrap_or_else(|| "pass".to_owned());
        if actual != expect.outcome {
            let why = self.failures.first().map_or("", |failure| failure.message.as_str());
            return Err(format!("expected {}, got {actual}: {why}", expect.outcome));
        }
        match &expect.trace_hash {
            Some(hash) if *hash != self.trace_hash => {
                Err(format!("expected trace hash {hash}, got {}", self.trace_hash))
            }
            _ => Ok(()),
        }
    }
}
