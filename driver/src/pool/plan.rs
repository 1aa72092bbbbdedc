//! When a pool dials: pure bookkeeping of open connections, failures and the next round of dials.
//!
//! A round dials everything that is missing at once and is over when every dial of it has ended. If one of them failed,
//! the next round waits as the schedule says; otherwise whatever is missing by then is dialled at once.
//!
//! # Invariants
//!
//! - Exactly one holds: the pool is full, a round is running, or a round is scheduled. It never gives up.
//! - A round counts as one failure however many of its dials failed: a bigger pool does not wait longer.
//! - A connection that dies young counts as a failure, so that a node that accepts and drops connections is not
//!   dialled in a busy loop; one that lived through a heartbeat resets the schedule.

use std::time::Duration;

use crate::env::Instant;
use crate::env::mutants::is_planted;
use crate::policy::Reconnection;

/// What the pool of one node should do next.
#[derive(Debug)]
pub(super) struct PoolPlan {
    size: usize,
    open: usize,
    dialling: usize,
    /// The worst outcome of the running round so far.
    round: Round,
    failures: u32,
    next_round: Option<Instant>,
    stable_after: Duration,
}

/// How a round of dials went so far, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Round {
    Good,
    Failed,
    /// A dial failed for a reason that only an operator can cure.
    Refused,
}

impl PoolPlan {
    /// Plans `size` connections, all dialled at once. A connection older than `stable_after` resets the schedule.
    pub(super) fn new(now: Instant, size: usize, stable_after: Duration) -> Self {
        Self {
            size: size.max(1),
            open: 0,
            dialling: 0,
            round: Round::Good,
            failures: 0,
            next_round: Some(now),
            stable_after,
        }
    }

    /// When the next round is due, if none is running.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.dialling > 0 { None } else { self.next_round }
    }

    /// Starts a round if one is due, and says how many dials it has.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> usize {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return 0;
        }
        self.next_round = None;
        self.round = Round::Good;
        self.dialling = self.size.saturating_sub(self.open);
        self.dialling
    }

    /// A dial succeeded.
    pub(super) fn handle_opened(&mut self, now: Instant, schedule: &dyn Reconnection, random: u64) {
        self.open += 1;
        self.end_dial(Round::Good, now, schedule, random);
    }

    /// A dial failed; the next round waits as the schedule says.
    pub(super) fn handle_dial_failed(&mut self, now: Instant, schedule: &dyn Reconnection, random: u64) {
        self.end_dial(Round::Failed, now, schedule, random);
    }

    /// A dial failed for a reason that only an operator can cure: the next round waits as long as the schedule allows.
    pub(super) fn handle_dial_refused(&mut self, now: Instant, schedule: &dyn Reconnection) {
        self.end_dial(Round::Refused, now, schedule, 0);
    }

    fn end_dial(&mut self, outcome: Round, now: Instant, schedule: &dyn Reconnection, random: u64) {
        self.dialling = self.dialling.saturating_sub(1);
        self.round = self.round.max(outcome);
        if self.dialling > 0 {
            return;
        }
        self.next_round = match self.round {
            Round::Good => self.is_missing().then_some(now),
            Round::Failed => {
                self.failures = self.failures.saturating_add(1);
                let waits = !is_planted("C07-back-off-does-not-grow");
                Some(if waits { now + schedule.delay(self.failures, random) } else { now })
            }
            Round::Refused => {
                self.failures = self.failures.saturating_add(1);
                Some(now + schedule.max_delay())
            }
        };
    }

    /// An open connection, `age` old, was lost.
    pub(super) fn handle_closed(&mut self, now: Instant, age: Duration, schedule: &dyn Reconnection, random: u64) {
        self.open = self.open.saturating_sub(1);
        if is_planted("C01-pool-not-refilled-after-loss") {
            return;
        }
        let due = if age >= self.stable_after {
            self.failures = 0;
            now
        } else {
            self.failures = self.failures.saturating_add(1);
            now + schedule.delay(self.failures, random)
        };
        self.schedule(due);
    }

    /// `count` open connections are to be replaced, through no fault of the node: the replacements are dialled at once.
    pub(super) fn handle_outdated(&mut self, now: Instant, count: usize) {
        self.open = self.open.saturating_sub(count);
        self.schedule(now);
    }

    /// Something suggests that the node is reachable: dial now instead of waiting.
    pub(super) fn handle_hint(&mut self, now: Instant) {
        self.schedule(now);
    }

    /// Moves the next round to `due` if that is earlier. A running round is left alone: its end schedules the next.
    fn schedule(&mut self, due: Instant) {
        if self.is_missing() && self.dialling == 0 {
            self.next_round = Some(self.next_round.map_or(due, |earlier| earlier.min(due)));
        }
    }

    fn is_missing(&self) -> bool {
        self.open < self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ConstantReconnection, ExponentialReconnection};
    use proptest::prelude::*;

    const STABLE: Duration = Duration::from_secs(30);
    const WAIT: Duration = Duration::from_secs(5);

    fn schedule() -> ConstantReconnection {
        ConstantReconnection::new(WAIT)
    }

    fn exponential() -> ExponentialReconnection {
        ExponentialReconnection::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    const NO_JITTER: u64 = 150;

    #[tokio::test(start_paused = true)]
    async fn first_round_is_immediate_opens_everything_and_a_full_pool_dials_no_more() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 3, STABLE);

        assert_eq!(plan.handle_timeout(now), 3);
        assert_eq!(plan.handle_timeout(now), 0, "one round at a time");
        for _ in 0..3 {
            plan.handle_opened(now, &schedule(), 0);
        }

        assert_eq!(plan.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_round_waits_once_and_then_dials_only_what_is_missing() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 3, STABLE);
        assert_eq!(plan.handle_timeout(now), 3);
        plan.handle_dial_failed(now, &exponential(), NO_JITTER);
        assert_eq!(plan.poll_timeout(), None, "the round is not over");
        plan.handle_opened(now, &exponential(), NO_JITTER);
        plan.handle_dial_failed(now, &exponential(), NO_JITTER);

        assert_eq!(plan.poll_timeout(), Some(now + Duration::from_secs(1)), "two failures of one round count once");
        assert_eq!(plan.handle_timeout(now + Duration::from_secs(1)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn hint_ends_the_wait_and_leaves_a_running_round_alone() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 1, STABLE);
        assert_eq!(plan.handle_timeout(now), 1);
        plan.handle_hint(now);
        assert_eq!(plan.poll_timeout(), None, "the dial is running");
        plan.handle_dial_failed(now, &schedule(), 0);
        assert_eq!(plan.poll_timeout(), Some(now + WAIT));

        plan.handle_hint(now);

        assert_eq!(plan.poll_timeout(), Some(now));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_retried_at_the_longest_delay() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 2, STABLE);
        assert_eq!(plan.handle_timeout(now), 2);
        plan.handle_dial_refused(now, &exponential());
        plan.handle_dial_failed(now, &exponential(), NO_JITTER);

        assert_eq!(plan.poll_timeout(), Some(now + Duration::from_secs(60)));
    }

    #[tokio::test(start_paused = true)]
    async fn loss_of_a_stable_connection_dials_at_once_and_of_a_young_one_waits() {
        let now = Instant::now();
        for (age, due) in [(STABLE, now), (STABLE - Duration::from_millis(1), now + WAIT)] {
            let mut plan = PoolPlan::new(now, 1, STABLE);
            assert_eq!(plan.handle_timeout(now), 1);
            plan.handle_opened(now, &schedule(), 0);

            plan.handle_closed(now, age, &schedule(), 0);

            assert_eq!(plan.poll_timeout(), Some(due), "age {age:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_that_survived_a_heartbeat_resets_the_schedule() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 1, STABLE);
        for expected in [1, 2, 4] {
            assert_eq!(plan.handle_timeout(plan.poll_timeout().unwrap()), 1);
            plan.handle_opened(now, &exponential(), NO_JITTER);
            plan.handle_closed(now, Duration::ZERO, &exponential(), NO_JITTER);
            assert_eq!(plan.poll_timeout(), Some(now + Duration::from_secs(expected)));
        }
        assert_eq!(plan.handle_timeout(plan.poll_timeout().unwrap()), 1);
        plan.handle_opened(now, &exponential(), NO_JITTER);
        plan.handle_closed(now, STABLE, &exponential(), NO_JITTER);
        assert_eq!(plan.poll_timeout(), Some(now));
        assert_eq!(plan.handle_timeout(now), 1);
        plan.handle_dial_failed(now, &exponential(), NO_JITTER);
        assert_eq!(plan.poll_timeout(), Some(now + Duration::from_secs(1)), "the schedule begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn outdated_connections_are_replaced_at_once_and_count_as_no_failure() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 2, STABLE);
        assert_eq!(plan.handle_timeout(now), 2);
        plan.handle_opened(now, &exponential(), NO_JITTER);
        plan.handle_opened(now, &exponential(), NO_JITTER);

        plan.handle_outdated(now, 2);

        assert_eq!(plan.handle_timeout(now), 2);
        plan.handle_dial_failed(now, &exponential(), NO_JITTER);
        plan.handle_opened(now, &exponential(), NO_JITTER);
        assert_eq!(plan.poll_timeout(), Some(now + Duration::from_secs(1)));
    }

    /// What may happen to a pool.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Wait,
        Opened,
        Failed,
        Refused,
        ClosedYoung,
        ClosedOld,
        Outdated,
        Hint,
    }

    proptest! {
        #[test]
        fn whatever_happens_a_pool_that_is_not_full_dials_or_will_dial(
            size in 1usize..5,
            steps in prop::collection::vec(prop::sample::select(vec![
                Step::Wait, Step::Opened, Step::Failed, Step::Refused,
                Step::ClosedYoung, Step::ClosedOld, Step::Outdated, Step::Hint,
            ]), 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let mut now = Instant::now();
                let mut plan = PoolPlan::new(now, size, STABLE);
                for step in steps {
                    match step {
                        Step::Wait => {
                            now = plan.poll_timeout().unwrap_or(now);
                            plan.handle_timeout(now);
                        }
                        Step::Opened if plan.dialling > 0 => plan.handle_opened(now, &exponential(), 7),
                        Step::Failed if plan.dialling > 0 => plan.handle_dial_failed(now, &exponential(), 7),
                        Step::Refused if plan.dialling > 0 => plan.handle_dial_refused(now, &exponential()),
                        Step::ClosedYoung if plan.open > 0 => {
                            plan.handle_closed(now, Duration::ZERO, &exponential(), 7);
                        }
                        Step::ClosedOld if plan.open > 0 => plan.handle_closed(now, STABLE, &exponential(), 7),
                        Step::Outdated if plan.open > 0 => plan.handle_outdated(now, 1),
                        Step::Hint => plan.handle_hint(now),
                        _ => {}
                    }
                    let is_full = plan.open >= size;
                    assert!(plan.open + plan.dialling <= size, "{plan:?}");
                    assert!(is_full || plan.dialling > 0 || plan.next_round.is_some(), "{plan:?}");
                }
            });
        }
    }
}
