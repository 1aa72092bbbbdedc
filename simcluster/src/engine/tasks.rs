//! The tasks of the code under test: who is alive, who panicked, and in which order they run.
//!
//! tokio runs tasks first in, first out, so two tasks woken together always run in the same order and races between
//! them stay hidden. Every task spawned through the simulation is therefore wrapped: by a keyed draw a woken task
//! goes to the back of the run queue instead, a bounded number of times.
//!
//! # Invariants
//!
//! - The decision depends on the seed, the task's client and name, and how many of that name came before; not on other tasks.
//! - A task counts as alive until its future is dropped.

use crate::entropy::{Dice, Entropy};
use crate::kernel::{Stop, StopReason};
use crate::trace::{HASH_START, fold, hash_bytes};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// A panic in a task of the code under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPanic {
    /// The client whose task it was.
    pub client: String,
    /// The task's name.
    pub task: &'static str,
    /// The panic's message.
    pub message: String,
}

impl fmt::Display for TaskPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} of {} panicked: {}", self.task, self.client, self.message)
    }
}

/// All tasks of one simulation.
#[derive(Debug)]
pub struct Tasks {
    state: Mutex<State>,
    entropy: Entropy,
    deferral: f64,
    polls_max: u64,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct State {
    alive: BTreeMap<u64, (Arc<str>, &'static str)>,
    spawned: BTreeMap<(Arc<str>, &'static str), u64>,
    panics: Vec<TaskPanic>,
    next_number: u64,
    polls: u64,
    hash: u64,
}

impl Tasks {
    /// No tasks yet. A woken task is deferred with probability `deferral`; after `polls_max` polls the run is stopped.
    #[must_use]
    pub fn new(entropy: Entropy, deferral: f64, polls_max: u64, stop: Arc<Stop>) -> Arc<Self> {
        let state = Mutex::new(State { hash: HASH_START, ..State::default() });
        Arc::new(Self { state, entropy, deferral, polls_max, stop })
    }

    /// Wraps a future so that it is counted, ordered by the seed, and its panics are caught.
    pub fn wrap<F: Future + Unpin>(
        self: &Arc<Self>,
        client: &Arc<str>,
        name: &'static str,
        future: F,
    ) -> SeededTask<F> {
        let mut state = self.lock();
        state.next_number += 1;
        let number = state.next_number;
        let nth = state.spawned.entry((client.clone(), name)).or_insert(0);
        *nth += 1;
        let entity = fold(hash_bytes(hash_bytes(HASH_START, client.as_bytes()), name.as_bytes()), *nth);
        state.alive.insert(number, (client.clone(), name));
        drop(state);
        let dice = self.entropy.dice("task-order", entity);
        SeededTask { future: Some(future), number, deferred: 0, dice, tasks: self.clone() }
    }

    /// How many tasks of a client are alive.
    #[must_use]
    pub fn alive(&self, client: &str) -> usize {
        self.lock().alive.values().filter(|(owner, _)| &**owner == client).count()
    }

    /// Every task that is alive, as `client/task`, in the order in which they were spawned.
    #[must_use]
    pub fn alive_names(&self) -> Vec<String> {
        self.lock().alive.values().map(|(client, name)| format!("{client}/{name}")).collect()
    }

    /// The panics so far.
    #[must_use]
    pub fn panics(&self) -> Vec<TaskPanic> {
        self.lock().panics.clone()
    }

    /// A hash of the order in which tasks were polled.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_poll(&self, number: u64, is_deferred: bool) {
        let mut state = self.lock();
        state.polls += 1;
        state.hash = fold(state.hash, (number << 1) | u64::from(is_deferred));
        if state.polls == self.polls_max {
            self.stop.stop(StopReason::Polls);
        }
    }

    fn record_panic(&self, number: u64, payload: &(dyn Any + Send)) {
        let mut state = self.lock();
        let (client, task) = state.alive.get(&number).map_or(("", "?"), |(client, name)| (client, *name));
        let panic = TaskPanic { client: client.to_string(), task, message: panic_message(payload) };
        state.panics.push(panic);
    }
}

/// The message of a panic, as far as it is text.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(not text)".to_string())
}

/// A wrapped task; its output is `None` if it panicked.
#[derive(Debug)]
pub struct SeededTask<F> {
    future: Option<F>,
    number: u64,
    deferred: u32,
    dice: Dice,
    tasks: Arc<Tasks>,
}

impl<F: Future + Unpin> Future for SeededTask<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let is_deferred = this.deferred < DEFERRALS_MAX && this.dice.chance(this.tasks.deferral);
        this.tasks.count_poll(this.number, is_deferred);
        if is_deferred {
            this.deferred += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.deferred = 0;
        let Some(future) = &mut this.future else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(future).poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(payload) => {
                this.tasks.record_panic(this.number, &*payload);
                // What a panicked future left behind is not polled again; dropping it may panic once more.
                let dropped = catch_unwind(AssertUnwindSafe(|| this.future = None));
                if let Err(payload) = dropped {
                    this.tasks.record_panic(this.number, &*payload);
                }
                Poll::Ready(None)
            }
        }
    }
}

impl<F> Drop for SeededTask<F> {
    fn drop(&mut self) {
        // The future's own destructors may spawn or drop tasks: it goes first, outside the lock.
        self.future = None;
        self.tasks.lock().alive.remove(&self.number);
    }
}

/// With three, four tasks woken together reach all their 24 orders.
const DEFERRALS_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::paused_runtime;
    use std::collections::BTreeSet;

    fn tasks(seed: u64, polls_max: u64) -> Arc<Tasks> {
        Tasks::new(Entropy::new(seed), 0.4, polls_max, Arc::new(Stop::default()))
    }

    fn order_of_four(seed: u64) -> Vec<u32> {
        let tasks = tasks(seed, u64::MAX);
        let order = Arc::new(Mutex::new(Vec::new()));
        let client: Arc<str> = "app".into();
        paused_runtime().unwrap().block_on(async {
            let mut handles = Vec::new();
            for number in 0..4 {
                let order = order.clone();
                let name = ["a", "b", "c", "d"][number as usize];
                let future = Box::pin(async move { order.lock().unwrap().push(number) });
                #[expect(clippy::disallowed_methods, reason = "the wrapper is what is tested")]
                handles.push(tokio::spawn(tasks.wrap(&client, name, future)));
            }
            for handle in handles {
                handle.await.unwrap();
            }
        });
        std::mem::take(&mut *order.lock().unwrap())
    }

    #[test]
    fn seeds_reach_every_order_of_four_tasks_woken_together() {
        let orders: BTreeSet<_> = (0..1000).map(order_of_four).collect();

        assert_eq!(orders.len(), 24);
        assert_eq!(order_of_four(7), order_of_four(7), "one seed, one order");
    }

    #[test]
    fn panic_in_a_task_is_recorded_with_its_name() {
        let tasks = tasks(1, u64::MAX);
        let client: Arc<str> = "app".into();
        let future = Box::pin(async { panic!("planted {}", 1) });

        let output: Option<()> = paused_runtime().unwrap().block_on(tasks.wrap(&client, "reader", future));

        assert_eq!(output, None);
        let expected = TaskPanic { client: "app".into(), task: "reader", message: "planted 1".into() };
        assert_eq!(tasks.panics(), [expected]);
        assert_eq!(tasks.alive("app"), 0);
    }

    #[test]
    fn task_is_alive_until_its_future_is_dropped() {
        let tasks = tasks(1, u64::MAX);
        let wrapped = tasks.wrap(&"app".into(), "idle", std::future::pending::<()>());
        assert_eq!((tasks.alive("app"), tasks.alive("other")), (1, 0));
        assert_eq!(tasks.alive_names(), ["app/idle"]);

        drop(wrapped);

        assert_eq!(tasks.alive("app"), 0);
    }

    #[test]
    fn task_that_wakes_itself_for_ever_is_stopped() {
        let stop = Arc::new(Stop::default());
        let tasks = Tasks::new(Entropy::new(1), 0.0, 1000, stop.clone());
        let spin = std::future::poll_fn(|context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });

        #[expect(clippy::disallowed_methods, reason = "the wrapper is what is tested")]
        paused_runtime().unwrap().block_on(async {
            tokio::spawn(tasks.wrap(&"app".into(), "spin", spin));
            stop.stopped().await;
        });

        assert_eq!(stop.reason(), Some(StopReason::Polls));
    }
}
