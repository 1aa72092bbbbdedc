//! Bounds what a session sends beyond what it was asked for.
//!
//! # Invariants
//!
//! - Over any stretch of time the extra attempts are at most the savings plus the share of the requests.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many extra attempts a session may send.
///
/// Every request saves up `percent` hundredths of an attempt, and at most `burst` attempts are saved; an extra attempt
/// takes one. Quiet sessions always have some; a session whose every request fails sends at most `percent` more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Extra attempts per hundred requests.
    pub percent: u32,
    /// Extra attempts saved at most, and at the start.
    pub burst: u32,
}

/// The savings of one session. Relaxed on purpose: a lost deposit changes nothing that matters.
#[derive(Debug)]
pub(crate) struct Budget {
    settings: BudgetSettings,
    hundredths: AtomicU64,
}

const ATTEMPT: u64 = 100;

impl Budget {
    pub(crate) fn new(settings: BudgetSettings) -> Self {
        Self { settings, hundredths: AtomicU64::new(u64::from(settings.burst) * ATTEMPT) }
    }

    /// Counts one request.
    pub(crate) fn deposit(&self) {
        let full = u64::from(self.settings.burst) * ATTEMPT;
        let saved = self.hundredths.load(Ordering::Relaxed);
        if saved < full {
            let added = u64::from(self.settings.percent).min(full - saved);
            self.hundredths.fetch_add(added, Ordering::Relaxed);
        }
    }

    /// Takes one extra attempt; `false` when none is saved.
    pub(crate) fn withdraw(&self) -> bool {
        self.hundredths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(ATTEMPT)).is_ok()
    }

    /// Extra attempts saved at the moment.
    pub(crate) fn saved(&self) -> u64 {
        self.hundredths.load(Ordering::Relaxed) / ATTEMPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spent_budget_is_refilled_by_its_share_of_the_requests() {
        let budget = Budget::new(BudgetSettings { percent: 10, burst: 100 });
        for _ in 0..100 {
            assert!(budget.withdraw());
        }
        assert!(!budget.withdraw());

        for _ in 0..10 {
            budget.deposit();
        }

        assert_eq!(budget.saved(), 1);
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }

    #[test]
    fn quiet_sessions_save_no_more_than_the_burst() {
        let budget = Budget::new(BudgetSettings { percent: 50, burst: 2 });

        for _ in 0..1000 {
            budget.deposit();
        }

        assert_eq!(budget.saved(), 2);
    }

    #[test]
    fn empty_budget_allows_nothing() {
        let budget = Budget::new(BudgetSettings { percent: 0, burst: 0 });
        budget.deposit();
        assert!(!budget.withdraw());
    }
}
