//! One line per test while they run, the sum at the end.

use super::super::yield_to_interruption;
use sim_tests::suite::{Test, TestCluster};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How a test ended.
pub enum Verdict {
    /// It held.
    Passed,
    /// It did not; the text says why.
    Failed(String),
    /// It cannot run here; the sentence says why.
    Skipped(String),
}

/// What is known so far.
pub struct Report {
    began: Instant,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Default for Report {
    #[expect(clippy::disallowed_methods, reason = "the duration of a real run is shown to a person")]
    fn default() -> Self {
        Self { began: Instant::now(), lines: Mutex::default() }
    }
}

impl Report {
    /// Counts a test as skipped if the world lacks what it needs; answers whether.
    pub fn judge_missing(&self, test: &Test, cluster: &dyn TestCluster) -> bool {
        let missing = test.needs.missing(cluster);
        let is_missing = missing.is_some();
        if let Some(reason) = missing {
            self.add(test, Verdict::Skipped(reason));
        }
        is_missing
    }

    /// Prints and counts how a test ended.
    pub fn add(&self, test: &Test, verdict: Verdict) {
        // A test whose nodes Ctrl-C is ending has not failed.
        if matches!(verdict, Verdict::Failed(_)) {
            yield_to_interruption();
        }
        let mut lines = self.lines();
        let path = test.path();
        let at = self.began.elapsed().as_secs();
        match verdict {
            Verdict::Passed => {
                println!("{at:4} s  passed   {path}");
                lines.passed += 1;
            }
            Verdict::Failed(text) => {
                println!("{at:4} s  FAILED   {path}: {text}");
                lines.failed.push(path);
            }
            Verdict::Skipped(reason) => {
                println!("{at:4} s  skipped  {path}: {reason}");
                lines.skipped.push(reason);
            }
        }
    }

    /// Prints the sum; the error names the tests that failed.
    pub fn close(&self) -> Result<(), String> {
        let mut lines = self.lines();
        let Lines { passed, failed, skipped } = &mut *lines;
        println!("{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
        let count = skipped.len();
        skipped.sort();
        skipped.dedup();
        for reason in skipped.iter() {
            println!("  skipped: {reason}");
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {} tests failed: {}", failed.len(), *passed + failed.len() + count, failed.join(", ")))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
