//! Makes a failing plan smaller while it keeps failing in the same way.
//!
//! Structure is removed, never the seed changed: keyed randomness leaves the rest of the run where it was. "The same
//! way" is the id of the checker that failed first; a smaller plan that fails differently is another bug, and refused.

use crate::plan::Plan;
use crate::run::{RunOutcome, run_plan};

/// What shrinking arrived at.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// How it fails.
    pub outcome: RunOutcome,
    /// How many runs that took.
    pub runs: u32,
}

/// Shrinks `plan`, which fails as `outcome` says, by at most `runs_max` runs; `stop` ends it early.
///
/// The answer is the best plan so far; in the worst case `plan` itself.
#[must_use]
pub fn shrink(plan: &Plan, outcome: RunOutcome, runs_max: u32, stop: &dyn Fn() -> bool) -> Shrunk {
    shrink_with(plan, outcome, runs_max, stop, &run_plan)
}

/// [`shrink`] over any runner, for tests.
fn shrink_with(
    plan: &Plan,
    outcome: RunOutcome,
    runs_max: u32,
    stop: &dyn Fn() -> bool,
    run: &dyn Fn(&Plan) -> RunOutcome,
) -> Shrunk {
    let Some(signature) = outcome.signature() else {
        return Shrunk { plan: plan.clone(), outcome, runs: 0 };
    };
    let mut search = Search { best: Shrunk { plan: plan.clone(), outcome, runs: 0 }, signature, runs_max, stop, run };
    loop {
        let before = search.best.plan.clone();
        search.cut_tail();
        search.drop_faults();
        search.drop_operations();
        search.drop_clients();
        search.drop_nodes();
        search.shorten();
        if search.is_over() || search.best.plan == before {
            return search.best;
        }
    }
}

struct Search<'a> {
    best: Shrunk,
    signature: String,
    runs_max: u32,
    stop: &'a dyn Fn() -> bool,
    run: &'a dyn Fn(&Plan) -> RunOutcome,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.best.runs >= self.runs_max || (self.stop)()
    }

    /// Runs a candidate and keeps it if it fails in the same way.
    fn accept(&mut self, candidate: Plan) -> bool {
        if candidate == self.best.plan || self.is_over() {
            return false;
        }
        self.best.runs += 1;
        let outcome = (self.run)(&candidate);
        let same = outcome.signature().as_ref() == Some(&self.signature);
        if same {
            self.best.plan = candidate;
            self.best.outcome = outcome;
        }
        same
    }

    /// Drops what was to happen after the failure.
    fn cut_tail(&mut self) {
        let mut candidate = self.best.plan.clone();
        let Some(failure) = self.best.outcome.failures.first() else { return };
        let at_ms = failure.at_ms.saturating_sub(self.best.outcome.safety_began_ms);
        if at_ms < candidate.phases.safety_ms {
            candidate.operations.retain(|operation| operation.at_ms <= at_ms);
            candidate.faults.retain(|fault| fault.at_ms <= at_ms);
            self.accept(candidate);
        }
    }

    fn drop_faults(&mut self) {
        self.delta_debug(|plan| plan.faults.len(), |plan, range| drop(plan.faults.drain(range)));
    }

    fn drop_operations(&mut self) {
        self.delta_debug(|plan| plan.operations.len(), |plan, range| drop(plan.operations.drain(range)));
    }

    /// Removes chunks of a list, halving the chunk each time nothing can be removed.
    fn delta_debug(&mut self, len: impl Fn(&Plan) -> usize, remove: impl Fn(&mut Plan, std::ops::Range<usize>)) {
        let mut chunk = len(&self.best.plan);
        while chunk > 0 && !self.is_over() {
            let mut from = 0;
            while from < len(&self.best.plan) {
                let to = (from + chunk).min(len(&self.best.plan));
                let mut candidate = self.best.plan.clone();
                remove(&mut candidate, from..to);
                if !self.accept(candidate) {
                    from = to;
                }
            }
            chunk /= 2;
        }
    }

    /// One session instead of several.
    fn drop_clients(&mut self) {
        let mut candidate = self.best.plan.clone();
        candidate.clients = 1;
        for operation in &mut candidate.operations {
            operation.client = 0;
        }
        self.accept(candidate);
    }

    /// Fewer nodes, as far as the faults allow.
    fn drop_nodes(&mut self) {
        let named = self.best.plan.faults.iter().flat_map(crate::plan::PlannedFault::nodes).max().unwrap_or(1);
        for nodes in named.max(1)..self.best.plan.nodes() {
            let mut candidate = self.best.plan.clone();
            candidate.cluster.datacenters = vec![nodes];
            if self.accept(candidate) {
                return;
            }
        }
    }

    /// Shorter faults, a shorter run, simpler settings.
    fn shorten(&mut self) {
        for index in 0..self.best.plan.faults.len() {
            for divisor in [8, 2] {
                let mut candidate = self.best.plan.clone();
                candidate.faults[index].for_ms /= divisor;
                if self.accept(candidate) {
                    break;
                }
            }
        }
        let plan = &self.best.plan;
        let operations_end = plan.operations.iter().map(|operation| operation.at_ms).max().unwrap_or(0);
        let faults_end = plan.faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
        let mut candidate = plan.clone();
        candidate.phases.safety_ms = operations_end.max(faults_end) + 1;
        if candidate.phases.safety_ms < plan.phases.safety_ms {
            self.accept(candidate);
        }
        let mut candidate = self.best.plan.clone();
        candidate.workload.static_playlists = candidate.workload.static_playlists.min(1);
        self.accept(candidate);
        let mut candidate = self.best.plan.clone();
        candidate.cluster.vnodes = 1;
        self.accept(candidate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::{Class, Failure};
    use crate::plan::Action;
    use crate::seed::{Profile, Seed};
    use std::time::Duration;

    /// "Fails" if there is a play of song 3 and at least one fault.
    fn fake(plan: &Plan) -> RunOutcome {
        let plays = plan.operations.iter().any(|o| matches!(o.action, Action::Play { song: 3 }));
        let failures = if plays && !plan.faults.is_empty() {
            vec![Failure::new("I8", Class::Safety, Duration::from_secs(1_000), "twice".to_owned())]
        } else {
            Vec::new()
        };
        RunOutcome::of_failures(plan, failures)
    }

    #[test]
    fn only_what_the_failure_needs_remains() {
        let plan = (0..)
            .map(|bits| Plan::generate(Seed::new(Profile::Chaos, bits)).expect("chaos"))
            .find(|plan| fake(plan).signature().is_some())
            .expect("some seed");
        let shrunk = shrink_with(&plan, fake(&plan), 1_000, &|| false, &fake);
        assert_eq!((shrunk.plan.operations.len(), shrunk.plan.faults.len(), shrunk.plan.clients), (1, 1, 1));
        assert_eq!(shrunk.outcome.signature().as_deref(), Some("I8"));
        assert_eq!(shrunk.plan.seed, plan.seed);
        assert_eq!(Plan::parse(&shrunk.plan.to_toml()), Ok(shrunk.plan));
    }

    #[test]
    fn the_budget_of_runs_is_kept() {
        let plan = (0..)
            .map(|bits| Plan::generate(Seed::new(Profile::Chaos, bits)).expect("chaos"))
            .find(|plan| fake(plan).signature().is_some())
            .expect("some seed");
        assert!(shrink_with(&plan, fake(&plan), 5, &|| false, &fake).runs <= 5);
        assert_eq!(shrink_with(&plan, fake(&plan), 5, &|| true, &fake).runs, 0);
    }
}
