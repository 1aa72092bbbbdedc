//! What is known about a connection at any time without its lock: what load balancing asks before every request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Written by whoever holds the lock, read by anyone. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Requests whose callers wait.
    pub(super) waiting: Gauge,
    /// Requests given up whose answers are still owed.
    pub(super) orphaned: Gauge,
    /// Recent requests got no answer at all.
    pub(super) is_suspect: Flag,
    /// New calls are refused.
    pub(super) is_refusing: Flag,
}

/// A number with one writer at a time and readers at any time.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicUsize);

impl Gauge {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Cheaper than a read-modify-write, which one writer does not need.
    pub(super) fn change(&self, by: isize) {
        self.0.store(self.get().wrapping_add_signed(by), Ordering::Relaxed);
    }
}

/// A fact with one writer at a time and readers at any time.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, value: bool) {
        self.0.store(value, Ordering::Relaxed);
    }
}
