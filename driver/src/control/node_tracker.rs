//! Nodes an event announced that the system tables did not show yet.
//!
//! A node may announce a newcomer before its own row of it is complete. Each announced address is looked for again a
//! few times, so that one early refresh does not lose the node until the next event.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::env::Instant;

/// Announced addresses not seen in the tables yet.
#[derive(Debug, Default)]
pub(super) struct NodeTracker {
    looks_left: BTreeMap<SocketAddr, u32>,
    next_look: Option<Instant>,
}

impl NodeTracker {
    /// An event announced a node at `address`.
    pub(super) fn handle_announced(&mut self, address: SocketAddr) {
        if self.looks_left.len() < ADDRESSES_MAX {
            self.looks_left.insert(address, LOOKS);
        }
    }

    /// The list of nodes was read; `is_known` tells whether it has a node at an address.
    pub(super) fn handle_refreshed(&mut self, now: Instant, is_known: impl Fn(SocketAddr) -> bool) {
        self.next_look = None;
        self.looks_left.retain(|address, left| {
            *left = left.saturating_sub(1);
            !is_known(*address) && *left > 0
        });
        // The wait doubles with each look, as the newest announcement demands.
        if let Some(left) = self.looks_left.values().max() {
            self.next_look = Some(now + FIRST_WAIT * (1 << (LOOKS - 1).saturating_sub(*left)));
        }
    }

    /// When to read the list of nodes again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether a look is due; the caller then reads the list of nodes.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.next_look.take_if(|due| *due <= now).is_some()
    }
}

const LOOKS: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const ADDRESSES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn announced_node_is_looked_for_again_until_it_is_seen() {
        let now = Instant::now();
        let address = ([10, 0, 0, 9], 9042).into();
        let mut tracker = NodeTracker::default();
        tracker.handle_announced(address);

        tracker.handle_refreshed(now, |_| false);
        assert_eq!(tracker.poll_timeout(), Some(now + Duration::from_secs(1)));
        tracker.handle_refreshed(now, |_| false);
        assert_eq!(tracker.poll_timeout(), Some(now + Duration::from_secs(2)));
        tracker.handle_refreshed(now, |_| true);

        assert_eq!(tracker.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_never_appears_is_given_up() {
        let now = Instant::now();
        let mut tracker = NodeTracker::default();
        tracker.handle_announced(([10, 0, 0, 9], 9042).into());

        for _ in 0..LOOKS {
            tracker.handle_refreshed(now, |_| false);
        }

        assert_eq!(tracker.poll_timeout(), None);
    }
}
