//! Counters of one session.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::env::mutants::is_planted;
use crate::observe::LatencyHistogram;

/// Live counters. Relaxed: they order nothing.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub retries: AtomicU64,
    pub repreparations: AtomicU64,
    pub timeouts: AtomicU64,
    pub speculations: AtomicU64,
    pub refused_speculations: AtomicU64,
    pub latencies: LatencyHistogram,
    /// Requests that ended, or were given up.
    ended: AtomicU64,
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
            speculations: read(&self.speculations),
            refused_speculations: read(&self.refused_speculations),
            in_flight: self.in_flight(),
            retries_saved: 0,
            speculations_saved: 0,
        }
    }

    /// Counts a request as in flight until the guard is dropped, also when its future is.
    pub(crate) fn enter(&self) -> InFlightGuard<'_> {
        Self::count(&self.requests);
        InFlightGuard(self)
    }

    /// Leaves a request out of those in flight, for a planted bug.
    pub(super) fn forget_one(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// Requests not finished yet.
    pub(crate) fn in_flight(&self) -> u64 {
        // Read in this order: a request that ends in between must not make the difference negative.
        let ended = self.ended.load(Ordering::Acquire);
        self.requests.load(Ordering::Acquire).saturating_sub(ended)
    }
}

/// See [`Metrics::enter`].
pub(crate) struct InFlightGuard<'a>(&'a Metrics);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        if !is_planted("A20-dropped-call-stays-counted") {
            self.0.ended.fetch_add(1, Ordering::Release);
        }
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
    /// Parallel executions started beside slow ones.
    pub speculations: u64,
    /// Parallel executions not started because their budget was spent.
    pub refused_speculations: u64,
    /// Requests not finished yet.
    pub in_flight: u64,
    /// Retries that the retry budget allows at the moment.
    pub retries_saved: u64,
    /// Parallel executions that their budget allows at the moment.
    pub speculations_saved: u64,
}
