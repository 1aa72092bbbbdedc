//! The loop that applies due events and lets virtual time pass between them.
//!
//! tokio's timers have a grain of one millisecond. Order below it is kept by the event queue: the loop wakes at the
//! next whole millisecond and applies everything due by then in exact order, each at its own moment.
//!
//! # Invariants
//!
//! - The loop always sleeps until some moment, at the latest the end of the budget: a deadlock of the code under test
//!   lets virtual time jump there and the run end with a reason, instead of hanging the process.

use super::{Clock, SimInstant, race};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Bounds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Simulated time; default one hour.
    pub simulated: Duration,
    /// Events applied; default 20 million.
    pub events: u64,
    /// Polls of tasks spawned through the simulation; default 100 million.
    pub polls: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { simulated: Duration::from_secs(3600), events: 20_000_000, polls: 100_000_000 }
    }
}

/// Why a run was ended before the code under test was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The budget of simulated time is used up: a deadlock, or a run longer than allowed.
    SimulatedTime,
    /// The budget of events is used up.
    Events,
    /// The budget of task polls is used up: tasks wake each other without time passing.
    Polls,
    /// The simulator itself panicked, with this message.
    SimulatorPanic(String),
}

/// Asks the run to end, once.
#[derive(Debug, Default)]
pub struct Stop {
    reason: Mutex<Option<StopReason>>,
    signal: Notify,
}

impl Stop {
    /// Ends the run; the first reason stays.
    pub fn stop(&self, reason: StopReason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.signal.notify_one();
    }

    /// Waits until the run is to end.
    pub async fn stopped(&self) {
        self.signal.notified().await;
    }

    /// Why the run was ended, if it was.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the loop drives.
pub trait EventWorld: Send + 'static {
    /// Applies at most `most` events due at `now` or earlier, in order; returns how many.
    fn apply_due(&mut self, now: SimInstant, most: u64) -> u64;

    /// Announces that the loop sleeps until the next event (or `latest`) and returns that moment. An earlier event
    /// scheduled meanwhile must notify the loop.
    fn sleep_until(&mut self, latest: SimInstant) -> SimInstant;
}

/// Drives a world until its budget is used up.
pub async fn drive<W: EventWorld>(
    world: Arc<Mutex<W>>,
    clock: Clock,
    wake: Arc<Notify>,
    budget: Budget,
    stop: Arc<Stop>,
) {
    let end = SimInstant::START + budget.simulated;
    let mut events = 0;
    loop {
        let now = clock.now();
        let next = {
            let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
            events += world.apply_due(now, BATCH_MAX);
            world.sleep_until(end)
        };
        if events > budget.events {
            return stop.stop(StopReason::Events);
        }
        if now >= end {
            return stop.stop(StopReason::SimulatedTime);
        }
        let sleep = tokio::time::sleep_until(clock.instant(next));
        race(wake.notified(), sleep).await;
    }
}

/// The runtime of one simulation: one thread, virtual time that jumps when everything is idle.
///
/// # Errors
///
/// If the operating system refuses the runtime's resources.
pub fn paused_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// Events applied before the budget is looked at again: a world that schedules events for the same moment for ever
/// must not keep the loop from noticing.
const BATCH_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::EventQueue;

    /// Records when it applied which event.
    struct Log {
        queue: EventQueue<u32>,
        applied: Vec<(u64, u32)>,
    }

    impl EventWorld for Log {
        fn apply_due(&mut self, now: SimInstant, most: u64) -> u64 {
            let mut count = 0;
            while count < most
                && let Some((at, event)) = self.queue.pop_due(now)
            {
                self.applied.push((at.as_nanos(), event));
                count += 1;
            }
            count
        }

        fn sleep_until(&mut self, latest: SimInstant) -> SimInstant {
            self.queue.next_due().unwrap_or(latest).min(latest)
        }
    }

    fn run(budget: Budget, events: &[(u64, u32)]) -> (Vec<(u64, u32)>, Option<StopReason>, SimInstant) {
        let mut queue = EventQueue::new();
        for (nanos, event) in events {
            queue.push(SimInstant::from_nanos(*nanos), *event);
        }
        let world = Arc::new(Mutex::new(Log { queue, applied: Vec::new() }));
        let stop = Arc::new(Stop::default());
        let end = paused_runtime().unwrap().block_on(async {
            let clock = Clock::start_now();
            drive(world.clone(), clock, Arc::new(Notify::new()), budget, stop.clone()).await;
            clock.now()
        });
        let applied = std::mem::take(&mut world.lock().unwrap().applied);
        (applied, stop.reason(), end)
    }

    #[test]
    fn events_below_the_timer_grain_keep_their_order_and_moments() {
        let budget = Budget { simulated: Duration::from_secs(1), ..Budget::default() };

        let (applied, _, _) = run(budget, &[(1_700_000, 2), (1_200_000, 1), (9_000_001, 3)]);

        assert_eq!(applied, [(1_200_000, 1), (1_700_000, 2), (9_000_001, 3)]);
    }

    #[test]
    fn world_without_events_ends_at_the_time_budget() {
        let budget = Budget { simulated: Duration::from_secs(7), ..Budget::default() };

        let (_, reason, end) = run(budget, &[]);

        assert_eq!(reason, Some(StopReason::SimulatedTime));
        assert_eq!(end, SimInstant::START + Duration::from_secs(7));
    }

    #[test]
    fn event_budget_ends_the_run_early() {
        let budget = Budget { simulated: Duration::from_secs(7), events: 1, ..Budget::default() };

        let (_, reason, end) = run(budget, &[(1, 1), (2, 2)]);

        assert_eq!(reason, Some(StopReason::Events));
        assert!(end < SimInstant::START + Duration::from_secs(1));
    }
}
