//! Work that outlives the call that began it, and ends with the session.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::env::{BoxFuture, Spawner, TaskHandle};

/// The background tasks of a session. Dropping it aborts them.
pub(crate) struct Background {
    spawner: Arc<dyn Spawner>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    running: Vec<TaskHandle>,
    is_stopped: bool,
}

/// Tasks at once; more are not started, for none of them is necessary.
const TASKS_MAX: usize = 64;

impl Background {
    pub(crate) fn new(spawner: Arc<dyn Spawner>) -> Self {
        Self { spawner, tasks: Mutex::default() }
    }

    /// Starts a task, unless the session is being closed or too many run already.
    pub(crate) fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cx = Context::from_waker(Waker::noop());
        tasks.running.retain_mut(|task| Pin::new(task).poll(&mut cx).is_pending());
        if !tasks.is_stopped && tasks.running.len() < TASKS_MAX {
            let task = self.spawner.spawn(name, task);
            tasks.running.push(task);
        }
    }

    /// Ends all tasks; returns when they are gone. No new ones start.
    pub(crate) async fn stop(&self) {
        for task in self.take() {
            task.abort();
            task.await;
        }
    }

    fn take(&self) -> Vec<TaskHandle> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.is_stopped = true;
        std::mem::take(&mut tasks.running)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for task in self.take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Environment;

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_every_task_and_starts_no_more() {
        let background = Background::new(Environment::tokio().spawner);
        let alive = Arc::new(());
        for _ in 0..3 {
            let held = Arc::clone(&alive);
            background.spawn(
                "test",
                Box::pin(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                }),
            );
        }
        tokio::task::yield_now().await;

        background.stop().await;
        let held = Arc::clone(&alive);
        background.spawn("test", Box::pin(async move { drop(held) }));

        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_ended_make_room_for_others() {
        let background = Background::new(Environment::tokio().spawner);
        for _ in 0..TASKS_MAX * 2 {
            background.spawn("test", Box::pin(async {}));
            tokio::task::yield_now().await;
        }
        assert!(background.tasks.lock().unwrap().running.len() <= 1);
    }
}
