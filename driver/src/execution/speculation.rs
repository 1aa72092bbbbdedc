//! Parallel executions of a slow request that may be applied twice.
//!
//! # Invariants
//!
//! - Executions draw from one plan, so no two of them ask the same node.
//! - The next execution is armed once the latest one's request was handed to the transport, and paid from a budget.
//! - The first answer wins, and so does an error that says that the request is wrong. Any other error counts only
//!   when no execution is left.
//! - Executions that lost are dropped: their stream ids wait for the late answers, nothing else is left.
//!
//! # Source
//!
//! The rules of the Java driver 4.x.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tracing::debug;

use super::error::{Certainty, Error, Result};
use super::metrics::Metrics;
use super::retries::{Ended, Start};
use super::runner::{Answer, Executor};
use super::walk::Walk;
use crate::env::{Instant, Timer};
use crate::policy::{SpeculationFacts, SpeculativeExecution};
use crate::topology::NodeIndex;

type Execution<'a> = Pin<Box<dyn Future<Output = std::result::Result<Answer, Ended>> + Send + 'a>>;

impl Executor {
    /// Runs the request with parallel executions, the first one at `first`.
    pub(super) async fn run_speculatively<'a>(
        &'a self,
        walk: &'a Walk<'a>,
        first: Option<NodeIndex>,
        policy: &'a dyn SpeculativeExecution,
    ) -> Result<Answer> {
        self.speculation_budget.deposit();
        let mut race = Race { executor: self, walk, policy, running: Vec::new(), started: 0, timer: None, lost: None };
        race.start(Start::Node(first));
        race.arm();
        poll_fn(|cx| race.poll(cx)).await
    }
}

/// All executions of one request.
struct Race<'a> {
    executor: &'a Executor,
    walk: &'a Walk<'a>,
    policy: &'a dyn SpeculativeExecution,
    /// By number, in the order of their start.
    running: Vec<(u32, Execution<'a>)>,
    started: u32,
    /// When the next execution starts, and how long it was waited for.
    timer: Option<(Timer, Duration)>,
    /// What is known about the executions that ended.
    lost: Option<Certainty>,
}

impl Race<'_> {
    fn start(&mut self, start: Start) {
        let number = self.started;
        self.started += 1;
        self.running.push((number, Box::pin(self.executor.execute(self.walk, number, start))));
    }

    /// Schedules the next execution, if the policy wants one and there is a node for it.
    fn arm(&mut self) {
        let facts = SpeculationFacts { started: self.started, latencies: &self.executor.metrics.latencies };
        let delay = self.policy.next_execution(facts);
        self.timer = delay.map(|delay| (Timer::new(Instant::now() + delay), delay));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        loop {
            if let Poll::Ready(result) = self.poll_executions(cx) {
                return Poll::Ready(result);
            }
            let Some((timer, delay)) = &mut self.timer else { return Poll::Pending };
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !self.walk.is_written(self.started - 1) {
                // The delay measures the node, not the wait for the transport.
                timer.set(Instant::now() + (*delay).max(REARM_MIN));
                continue;
            }
            self.timer = None;
            if self.walk.nodes_left() == 0 {
                continue;
            }
            if !self.executor.speculation_budget.withdraw() {
                Metrics::count(&self.executor.metrics.refused_speculations);
                continue;
            }
            Metrics::count(&self.executor.metrics.speculations);
            debug!(execution = self.started, "starting a speculative execution");
            self.start(Start::Node(None));
            self.arm();
        }
    }

    /// Polls in the order of the starts, so that equal runs decide equally.
    fn poll_executions(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        let mut position = 0;
        while let Some((number, execution)) = self.running.get_mut(position) {
            let number = *number;
            let polled = execution.as_mut().poll(cx);
            self.walk.handle_queued(number);
            match polled {
                Poll::Pending => position += 1,
                Poll::Ready(Ok(mut answer)) => {
                    answer.attempts = self.walk.take_attempts(Some(number)).into();
                    return Poll::Ready(Ok(answer));
                }
                Poll::Ready(Err(ended)) => {
                    drop(self.running.remove(position));
                    let certainty = self.lost.map_or(ended.certainty, |lost| lost.max(ended.certainty));
                    self.lost = Some(certainty);
                    if ended.is_final || self.running.is_empty() {
                        return Poll::Ready(Err(self.failed(ended)));
                    }
                }
            }
        }
        Poll::Pending
    }

    fn failed(&self, ended: Ended) -> Error {
        let known = self.lost.unwrap_or(ended.certainty);
        // What is still running may have been executed.
        let certainty = if self.running.is_empty() { known } else { known.max(Certainty::MaybeApplied) };
        Error::new(ended.kind, certainty, self.walk.take_attempts(None))
    }
}

/// A zero delay must not become a busy loop while the transport takes nothing.
const REARM_MIN: Duration = Duration::from_millis(1);
