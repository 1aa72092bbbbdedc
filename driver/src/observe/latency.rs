//! Latencies in logarithmic buckets: small, lock-free, exact to one part in eight.
//!
//! # Invariants
//!
//! - Recording is one relaxed addition and two stores; it never waits and never allocates.
//! - Counts only grow, so two snapshots give the latencies between them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling.
const STEPS: u64 = 8;
const STEP_BITS: u32 = 3;
/// From 1 µs to 2^36 µs, about 19 hours; longer ones count as that.
const DOUBLINGS: usize = 33;
const BUCKETS: usize = (DOUBLINGS + 1) * STEPS as usize;

/// Latencies of attempts, all and recent ones.
#[derive(Debug)]
pub struct LatencyHistogram {
    all: Counts,
    /// Latest full window and the one being filled, by turns.
    windows: [Counts; 2],
    recorded: AtomicU64,
}

/// How many latencies lie in each bucket.
#[derive(Debug)]
pub(super) struct Counts(Box<[AtomicU64]>);

impl Default for Counts {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Counts {
    pub(super) fn record(&self, latency: Duration) {
        self.0[bucket_of(latency)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot { counts: self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect() }
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { all: Counts::default(), windows: [Counts::default(), Counts::default()], recorded: AtomicU64::new(0) }
    }
}

impl LatencyHistogram {
    /// Latencies after which the oldest window is forgotten.
    pub const WINDOW: u64 = 4096;

    /// Counts one latency.
    pub fn record(&self, latency: Duration) {
        let bucket = bucket_of(latency);
        self.all.0[bucket].fetch_add(1, Ordering::Relaxed);
        // Of two at once the recent ones may lose one.
        let number = self.recorded.load(Ordering::Relaxed);
        self.recorded.store(number + 1, Ordering::Relaxed);
        let window = &self.windows[usize::from(number / Self::WINDOW % 2 == 1)];
        if number.is_multiple_of(Self::WINDOW) {
            window.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        let count = &window.0[bucket];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// All latencies so far.
    #[must_use]
    pub fn snapshot(&self) -> LatencySnapshot {
        self.all.snapshot()
    }

    /// The latest latencies, between one and two times [`Self::WINDOW`] of them.
    #[must_use]
    pub fn recent(&self) -> LatencySnapshot {
        let [one, other] = &self.windows;
        let sums =
            one.0.iter().zip(&other.0).map(|(one, other)| one.load(Ordering::Relaxed) + other.load(Ordering::Relaxed));
        LatencySnapshot { counts: sums.collect() }
    }
}

/// Latencies at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    counts: Vec<u64>,
}

impl LatencySnapshot {
    /// How many latencies were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latency that `percent` percent of the counted ones do not exceed, rounded up by at most an eighth; `None`
    /// if nothing was counted.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        // At most 2^53 requests are counted exactly, which no session reaches.
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((percent.clamp(0.0, 100.0) / 100.0 * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, of_bucket)| {
            seen += of_bucket;
            (*of_bucket > 0 && seen >= rank).then(|| upper_bound_of(bucket))
        })
    }

    /// Each bucket that is not empty: the longest latency it counts, and how many it counted.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let filled = self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0);
        filled.map(|(bucket, count)| (upper_bound_of(bucket), count))
    }

    /// What was counted since `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Self { counts: self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect() }
    }
}

/// Buckets 0 to 7 are single microseconds; from then on each doubling has eight.
fn bucket_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let doubling = micros.ilog2() - STEP_BITS;
    let step = (micros >> doubling) - STEPS;
    let bucket = (u64::from(doubling) + 1) * STEPS + step;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_bound_of(bucket: usize) -> Duration {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return Duration::from_micros(bucket);
    }
    let doubling = bucket / STEPS - 1;
    Duration::from_micros(((bucket % STEPS + STEPS + 1) << doubling) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_latency_lies_in_the_bucket_that_bounds_it_within_an_eighth(micros in 0_u64..1 << 36) {
            let bound = upper_bound_of(bucket_of(Duration::from_micros(micros))).as_micros() as u64;

            prop_assert!(bound >= micros);
            prop_assert!(bound - micros <= micros / 8);
        }
    }

    #[test]
    fn percentiles_come_from_the_counted_latencies() {
        let histogram = LatencyHistogram::default();
        for millis in 1..=100 {
            histogram.record(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();

        for (percent, millis) in [(0.0, 1.0), (50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            let found = snapshot.percentile(percent).unwrap().as_secs_f64() * 1000.0;
            assert!(found >= millis && found <= millis * 1.125, "{percent} %: {found} ms");
        }
        assert_eq!((snapshot.count(), LatencySnapshot::default().percentile(50.0)), (100, None));
    }

    #[test]
    fn longest_possible_latency_is_counted() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().count(), 1);
    }

    #[test]
    fn difference_of_two_snapshots_is_what_was_counted_between_them() {
        let histogram = LatencyHistogram::default();
        histogram.record(Duration::from_micros(3));
        let earlier = histogram.snapshot();
        histogram.record(Duration::from_micros(5));

        let between: Vec<_> = histogram.snapshot().since(&earlier).buckets().collect();

        assert_eq!(between, [(Duration::from_micros(5), 1)]);
    }
}
