//! Wakes one task for a set of reasons, without ever blocking or losing one.
//!
//! Repeated reasons merge, so the memory is bounded whatever the rate. Exactly one task waits.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A set of raised flags and the task that waits for them.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    raised: u8,
    waiter: Option<Waker>,
}

impl Signal {
    /// Raises `flags` and wakes the waiter.
    pub(crate) fn raise(&self, flags: u8) {
        let waiter = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.raised |= flags;
            inner.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Takes all raised flags, or registers the task until one is raised.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<u8> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut inner.raised) {
            0 => {
                inner.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
            raised => Poll::Ready(raised),
        }
    }
}
