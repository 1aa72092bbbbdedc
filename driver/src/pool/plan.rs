//! When a pool dials: pure bookkeeping of open connections, failures and the next attempt.
//!
//! # Invariants
//!
//! - Exactly one holds: the pool is full, a dial is running, or a dial is scheduled. It never gives up.
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
    failures: u32,
    next_dial: Option<Instant>,
    is_dialling: bool,
    stable_after: Duration,
}

impl PoolPlan {
    /// Plans `size` connections, the first one at once. A connection older than `stable_after` resets the schedule.
    pub(super) fn new(now: Instant, size: usize, stable_after: Duration) -> Self {
        Self { size: size.max(1), open: 0, failures: 0, next_dial: Some(now), is_dialling: false, stable_after }
    }

    /// When the next dial is due, if none is running.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_dialling { None } else { self.next_dial }
    }

    /// Starts a dial if one is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let is_due = self.poll_timeout().is_some_and(|due| due <= now);
        if is_due {
            self.is_dialling = true;
            self.next_dial = None;
        }
        is_due
    }

    /// The running dial succeeded.
    pub(super) fn handle_opened(&mut self, now: Instant) {
        self.is_dialling = false;
        self.open += 1;
        self.next_dial = self.is_missing().then_some(now);
    }

    /// The running dial failed; the next one waits as the schedule says.
    pub(super) fn handle_dial_failed(&mut self, now: Instant, schedule: &dyn Reconnection, random: u64) {
        self.is_dialling = false;
        self.failures = self.failures.saturating_add(1);
        self.next_dial = Some(now + schedule.delay(self.failures, random));
    }

    /// The running dial failed for a reason that only an operator can cure: wait as long as the schedule allows.
    pub(super) fn handle_dial_refused(&mut self, now: Instant, schedule: &dyn Reconnection) {
        self.is_dialling = false;
        self.failures = self.failures.saturating_add(1);
        self.next_dial = Some(now + schedule.max_delay());
    }

    /// An open connection, `age` old, was lost or retired.
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
        if !self.is_dialling {
            self.next_dial = Some(self.next_dial.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// Something suggests that the node is reachable: dial now instead of waiting.
    pub(super) fn handle_hint(&mut self, now: Instant) {
        if self.is_missing() && !self.is_dialling {
            self.next_dial = Some(now);
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.open < self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ConstantReconnection;

    const STABLE: Duration = Duration::from_secs(30);
    const WAIT: Duration = Duration::from_secs(5);

    fn schedule() -> ConstantReconnection {
        ConstantReconnection::new(WAIT)
    }

    #[tokio::test(start_paused = true)]
    async fn first_dial_is_immediate_and_a_full_pool_dials_no_more() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 2, STABLE);

        assert!(plan.handle_timeout(now));
        assert!(!plan.handle_timeout(now), "one dial at a time");
        plan.handle_opened(now);
        assert!(plan.handle_timeout(now), "one is missing");
        plan.handle_opened(now);

        assert_eq!(plan.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_dial_waits_and_a_hint_ends_the_wait() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 1, STABLE);
        assert!(plan.handle_timeout(now));
        plan.handle_dial_failed(now, &schedule(), 0);
        assert_eq!(plan.poll_timeout(), Some(now + WAIT));

        plan.handle_hint(now);

        assert_eq!(plan.poll_timeout(), Some(now));
    }

    #[tokio::test(start_paused = true)]
    async fn loss_of_a_stable_connection_dials_at_once_and_of_a_young_one_waits() {
        let now = Instant::now();
        for (age, due) in [(STABLE, now), (STABLE - Duration::from_millis(1), now + WAIT)] {
            let mut plan = PoolPlan::new(now, 1, STABLE);
            assert!(plan.handle_timeout(now));
            plan.handle_opened(now);

            plan.handle_closed(now, age, &schedule(), 0);

            assert_eq!(plan.poll_timeout(), Some(due), "age {age:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn loss_during_a_failing_dial_still_leaves_a_dial_scheduled() {
        let now = Instant::now();
        let mut plan = PoolPlan::new(now, 2, STABLE);
        assert!(plan.handle_timeout(now));
        plan.handle_opened(now);
        assert!(plan.handle_timeout(now));

        plan.handle_closed(now, STABLE, &schedule(), 0);
        plan.handle_dial_failed(now, &schedule(), 0);

        assert!(plan.poll_timeout().is_some());
    }
}
