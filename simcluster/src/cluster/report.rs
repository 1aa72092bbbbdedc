//! What a run leaves behind.

use crate::engine::{Simulation, TaskPanic};
use crate::kernel::{SimInstant, StopReason};
use std::fmt;
use std::time::Duration;

/// The outcome of one run.
#[derive(Debug)]
pub struct RunReport<T> {
    /// What `main` returned; `None` if it panicked or the run was stopped.
    pub value: Option<T>,
    /// Why the run was stopped before `main` was done.
    pub stopped: Option<StopReason>,
    /// Panics in `main` and in tasks spawned through the simulation.
    pub panics: Vec<TaskPanic>,
    /// Tasks that were alive one simulated second after `main` was done, as `client/task`.
    pub leaked_tasks: Vec<String>,
    /// A hash over everything that happened: equal runs have equal hashes.
    pub trace_hash: u64,
    /// The moment `main` was done, or the run was stopped.
    pub ended_at: SimInstant,
    /// How many events the trace recorded.
    pub events: u64,
    /// The trace lines that were kept.
    pub trace: Vec<String>,
}

impl<T> RunReport<T> {
    pub(super) fn gather(
        simulation: &Simulation,
        value: Option<T>,
        ended_at: SimInstant,
        stopped: Option<StopReason>,
    ) -> Self {
        let tasks = simulation.tasks();
        let world = simulation.world();
        let trace = world.trace();
        Self {
            leaked_tasks: if stopped.is_none() { tasks.alive_names() } else { Vec::new() },
            value,
            stopped,
            panics: tasks.panics(),
            // The order of polls is part of what happened.
            trace_hash: trace.hash() ^ tasks.hash().rotate_left(1),
            ended_at,
            events: trace.events(),
            trace: trace.lines().map(ToString::to_string).collect(),
        }
    }

    /// Simulated time that passed until `main` was done, the boot included.
    #[must_use]
    pub fn simulated(&self) -> Duration {
        self.ended_at.since(SimInstant::START)
    }

    /// Whether `main` was done without panics anywhere. Leaked tasks are the caller's to judge.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.value.is_some() && self.panics.is_empty()
    }

    /// What `main` returned.
    ///
    /// # Panics
    ///
    /// If the run was stopped or anything panicked, with everything known about it.
    #[track_caller]
    pub fn expect_clean(self) -> T {
        let summary = self.to_string();
        match self.value {
            Some(value) if self.panics.is_empty() => value,
            _ => panic!("{summary}"),
        }
    }
}

impl<T> fmt::Display for RunReport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {} s, {} events, trace {:016x}", self.ended_at, self.events, self.trace_hash)?;
        if let Some(reason) = &self.stopped {
            write!(f, "; stopped: {reason:?}")?;
        }
        for panic in &self.panics {
            write!(f, "; {panic}")?;
        }
        if !self.leaked_tasks.is_empty() {
            write!(f, "; leaked: {}", self.leaked_tasks.join(", "))?;
        }
        Ok(())
    }
}
