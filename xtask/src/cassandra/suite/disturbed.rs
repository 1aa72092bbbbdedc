//! Tests that break nodes: each has a ring for itself, which is mended after it, or started anew if it cannot be.
//!
//! They spend most of their time waiting for nodes to be missed or to come back, so some rings stand side by side and
//! take the next test as they become free.

use super::{Options, Report, Standing, panic_text, run_one, runtime, settings};
use sim_tests::suite::{self, Test};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rings side by side. A node takes about 1 GB.
const RINGS: u8 = 2;
/// So many addresses are left to each ring: its nodes, newcomers, and nodes that move.
const ADDRESSES: u8 = 10;

/// Runs the tests on rings beside the one from `127.0.0.first` on.
pub(super) fn run(root: &Path, first: u8, tests: &[Test], options: &Options, report: &Report) -> Result<(), String> {
    let mut tests = tests.to_vec();
    // A lane needs few rings if those of one kind are together.
    tests.sort_by_key(|test| test.needs.ring);
    let next = AtomicUsize::new(0);
    let lanes = u8::try_from(tests.len()).unwrap_or(u8::MAX).min(RINGS);
    let take = &|| tests.get(next.fetch_add(1, Ordering::Relaxed)).copied();
    std::thread::scope(|scope| {
        let start = |number| {
            let lane = Lane { root, first: beside(first, number), options, report };
            scope.spawn(move || lane.run(take))
        };
        let threads: Vec<_> = (1..=lanes).map(start).collect();
        let ends = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| Err(panic_text(&*panic))));
        // All of them, also after an error: each ends its own nodes.
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

/// The first address of a ring beside the one from `first` on: above it, or below if there is no room above.
fn beside(first: u8, number: u8) -> u8 {
    let distance = number.saturating_mul(ADDRESSES);
    first.checked_add(distance).filter(|last| *last < u8::MAX - ADDRESSES).unwrap_or(first.saturating_sub(distance))
}

/// One ring at a time, and the tests that it is given.
struct Lane<'a> {
    root: &'a Path,
    first: u8,
    options: &'a Options,
    report: &'a Report,
}

impl Lane<'_> {
    fn run(&self, take: impl Fn() -> Option<Test>) -> Result<(), String> {
        let runtime = runtime()?;
        let mut standing: Option<(suite::Ring, Standing)> = None;
        while let Some(test) = take() {
            let kind = test.needs.ring;
            let settings = settings(kind, self.options, self.first);
            let usable = match standing.take() {
                Some((of, ring)) if of == kind => ring.mend(&runtime).map(|()| ring).map_err(Some),
                _ => Err(None),
            };
            let ring = match usable {
                Ok(ring) => ring,
                Err(reason) => {
                    if let Some(sentence) = reason {
                        println!("the ring for {} is started anew: {sentence}", test.path());
                    }
                    Standing::start(self.root, self.first, &settings)?
                }
            };
            if !self.report.judge_missing(&test, &*ring.cluster) {
                self.report.add(&test, run_one(&runtime, &ring.cluster, &test, self.options.seed));
            }
            standing = Some((kind, ring));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_beside_each_other_share_no_address() {
        for first in 1..=u8::MAX {
            let mut firsts = [first, beside(first, 1), beside(first, 2)];
            firsts.sort_unstable();
            assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] >= ADDRESSES), "{firsts:?}");
        }
    }
}
