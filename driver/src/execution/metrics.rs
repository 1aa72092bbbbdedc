//! Counters of one session.

use std::sync::atomic::{AtomicU64, Ordering};

/// Live counters. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub retries: AtomicU64,
    pub repreparations: AtomicU64,
    pub timeouts: AtomicU64,
    pub in_flight: AtomicU64,
}

impl Metrics {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MetricsSnapshot {
            requests: read(&self.requests),
            errors: read(&self.errors),
            retries: read(&self.retries),
            repreparations: read(&self.repreparations),
            timeouts: read(&self.timeouts),
            in_flight: read(&self.in_flight),
        }
    }

    /// Counts a request as in flight until the guard is dropped, also when its future is.
    pub(crate) fn enter(&self) -> InFlightGuard<'_> {
        Self::count(&self.requests);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(self)
    }
}

/// See [`Metrics::enter`].
pub(crate) struct InFlightGuard<'a>(&'a Metrics);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters of a session at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Requests started; each page of a paged query is one.
    pub requests: u64,
    /// Requests that ended with an error.
    pub errors: u64,
    /// Attempts beyond the first of a request.
    pub retries: u64,
    /// Statements prepared again because a coordinator had forgotten them.
    pub repreparations: u64,
    /// Requests that reached their time limit.
    pub timeouts: u64,
    /// Requests not finished yet.
    pub in_flight: u64,
}
