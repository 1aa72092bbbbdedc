//! One coarse timer for all deadlines of a connection.
//!
//! A timer per request would cost more than the request. This keeps only a lower bound of the
//! earliest deadline, rounded up to a tick; when it is reached, the table of requests is searched
//! once for what is due and for the next bound. Answered requests need not be removed: their
//! stale bound costs one search, and ticks limit how often one can happen.
//!
//! # Invariants
//!
//! - No deadline is missed by more than a tick, and none is met early.

use std::time::Duration;

use crate::env::Instant;

/// Distance between ticks: requests may time out this much late.
const TICK: Duration = Duration::from_millis(10);

/// The next tick at which a request may be due.
#[derive(Debug)]
pub(super) struct Deadlines {
    origin: Instant,
    next: Option<Instant>,
}

impl Deadlines {
    pub(super) fn new(now: Instant) -> Self {
        Self { origin: now, next: None }
    }

    /// A request with this deadline was made. `true` if [`Self::poll_timeout`] is earlier now.
    pub(super) fn handle_request(&mut self, deadline: Instant) -> bool {
        if self.next.is_some_and(|next| deadline >= next) {
            return false;
        }
        let tick = self.tick_after(deadline);
        let is_earlier = self.next.is_none_or(|next| tick < next);
        if is_earlier {
            self.next = Some(tick);
        }
        is_earlier
    }

    /// The table was searched; this is the earliest deadline left.
    pub(super) fn handle_search(&mut self, earliest: Option<Instant>) {
        self.next = earliest.map(|deadline| self.tick_after(deadline));
    }

    /// When to search the table.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The first tick that is not before `deadline`.
    fn tick_after(&self, deadline: Instant) -> Instant {
        let ticks = deadline.duration_since(self.origin).as_nanos().div_ceil(TICK.as_nanos());
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        let rounded = self.origin + TICK.saturating_mul(ticks);
        // Beyond a year the number of ticks overflows, and their precision is of no interest.
        rounded.max(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_are_rounded_up_to_the_next_tick() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut deadlines = Deadlines::new(start);
        assert_eq!(deadlines.poll_timeout(), None);
        assert!(deadlines.handle_request(at(25)));
        assert_eq!(deadlines.poll_timeout(), Some(at(30)));
        assert!(!deadlines.handle_request(at(28)));
        assert_eq!(deadlines.poll_timeout(), Some(at(30)), "same tick");
        assert!(deadlines.handle_request(at(20)));
        assert_eq!(deadlines.poll_timeout(), Some(at(20)), "exactly on a tick");
        deadlines.handle_search(Some(at(41)));
        assert_eq!(deadlines.poll_timeout(), Some(at(50)));
        deadlines.handle_search(None);
        assert_eq!(deadlines.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_a_century_away_is_not_met_early() {
        let start = Instant::now();
        let far = start + Duration::from_secs(100 * 365 * 24 * 3600);
        let mut deadlines = Deadlines::new(start);
        deadlines.handle_request(far);
        assert_eq!(deadlines.poll_timeout(), Some(far));
    }
}
