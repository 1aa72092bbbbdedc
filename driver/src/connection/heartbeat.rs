//! Finds out that a node is gone although its connection looks alive.
//!
//! A probe (OPTIONS) is sent when no response came for a while, and at once when several requests
//! in a row timed out without one, the signature of a node that accepts and never answers.
//!
//! # Invariants
//!
//! - At most one probe is outstanding.
//! - Only whole responses count as life, and extend the time a probe may take: events prove that a
//!   node can speak, not that it hears.

use std::time::Duration;

use crate::env::{Instant, mutants};

/// Timeouts in a row, without a response, that make a node suspect.
const SUSPICIOUS_TIMEOUTS: u32 = 3;

/// Time a suspect node has to answer its probe.
const SUSPECT_TIMEOUT: Duration = Duration::from_secs(1);

/// When to probe, and when to give the node up.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// `None` switches idle probes off; suspect nodes are probed nevertheless.
    interval: Option<Duration>,
    timeout: Duration,
    last_response: Instant,
    timeouts: u32,
    /// When the outstanding probe must be answered.
    probe_due: Option<Instant>,
}

/// What the connection must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeartbeatAction {
    /// Send OPTIONS.
    SendProbe,
    /// Close: the node did not answer.
    Close,
}

impl Heartbeat {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration, now: Instant) -> Self {
        Self { interval, timeout, last_response: now, timeouts: 0, probe_due: None }
    }

    /// At least one whole response came.
    pub(super) fn handle_response(&mut self, now: Instant) {
        self.last_response = now;
        self.timeouts = 0;
        if self.probe_due.is_some() {
            self.probe_due = Some(now + self.timeout);
        }
    }

    /// The probe was answered. `false` if there was none.
    pub(super) fn handle_answer(&mut self) -> bool {
        self.probe_due.take().is_some()
    }

    /// Requests timed out.
    pub(super) fn handle_request_timeouts(&mut self, count: usize) {
        self.timeouts = self.timeouts.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Somebody suspects the node: `true` if a probe must be sent now, `false` if one is outstanding.
    pub(super) fn handle_probe_request(&mut self, now: Instant) -> bool {
        if self.probe_due.is_some() {
            return false;
        }
        self.probe_due = Some(now + self.timeout);
        true
    }

    /// Whether recent requests got no answer: prefer other nodes until the probe is answered.
    pub(super) fn is_suspect(&self) -> bool {
        self.timeouts >= SUSPICIOUS_TIMEOUTS
    }

    /// When [`Self::handle_timeout`] will have something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.probe_due {
            Some(due) => Some(due),
            None if self.is_suspect() => Some(self.last_response),
            None => self.interval.map(|interval| self.last_response + interval),
        }
    }

    /// Decides what to do at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<HeartbeatAction> {
        self.poll_timeout().filter(|due| *due <= now)?;
        if self.probe_due.is_some() {
            if mutants::is_planted("D13-heartbeat-timeout-ignored") {
                self.probe_due = Some(now + self.timeout);
                return None;
            }
            return Some(HeartbeatAction::Close);
        }
        let limit = if self.is_suspect() { SUSPECT_TIMEOUT.min(self.timeout) } else { self.timeout };
        self.probe_due = Some(now + limit);
        Some(HeartbeatAction::SendProbe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HeartbeatAction::{Close, SendProbe};

    fn start() -> (Heartbeat, impl Fn(u64) -> Instant) {
        let now = Instant::now();
        let heartbeat = Heartbeat::new(Some(Duration::from_secs(30)), Duration::from_secs(5), now);
        (heartbeat, move |millis| now + Duration::from_millis(millis))
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_node_is_probed_after_30_s_and_given_up_5_s_later() {
        let (mut heartbeat, at) = start();
        assert_eq!(heartbeat.handle_timeout(at(29_999)), None);
        assert_eq!(heartbeat.handle_timeout(at(30_000)), Some(SendProbe));
        assert_eq!(heartbeat.handle_timeout(at(34_999)), None);
        assert_eq!(heartbeat.handle_timeout(at(35_000)), Some(Close));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_the_probe_and_traffic_postpones_the_next() {
        let (mut heartbeat, at) = start();
        assert_eq!(heartbeat.handle_timeout(at(30_000)), Some(SendProbe));
        heartbeat.handle_response(at(31_000));
        assert!(heartbeat.handle_answer());
        assert!(!heartbeat.handle_answer(), "there was one probe");
        assert_eq!(heartbeat.poll_timeout(), Some(at(61_000)));
        heartbeat.handle_response(at(60_000));
        assert_eq!(heartbeat.poll_timeout(), Some(at(90_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn three_timeouts_in_a_row_probe_at_once_with_1_s_to_answer() {
        let (mut heartbeat, at) = start();
        heartbeat.handle_request_timeouts(2);
        assert_eq!(heartbeat.handle_timeout(at(2_000)), None);
        heartbeat.handle_request_timeouts(1);
        assert!(heartbeat.is_suspect());
        assert_eq!(heartbeat.handle_timeout(at(2_000)), Some(SendProbe));
        assert_eq!(heartbeat.handle_timeout(at(2_999)), None);
        assert_eq!(heartbeat.handle_timeout(at(3_000)), Some(Close));
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_probe_is_sent_once_and_given_the_usual_time() {
        let (mut heartbeat, at) = start();
        assert!(heartbeat.handle_probe_request(at(1_000)));
        assert!(!heartbeat.handle_probe_request(at(2_000)), "one is outstanding");
        assert_eq!(heartbeat.handle_timeout(at(5_999)), None);
        assert_eq!(heartbeat.handle_timeout(at(6_000)), Some(Close));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_clears_the_suspicion() {
        let (mut heartbeat, at) = start();
        heartbeat.handle_request_timeouts(2);
        heartbeat.handle_response(at(1));
        heartbeat.handle_request_timeouts(2);
        assert!(!heartbeat.is_suspect());
        assert_eq!(heartbeat.handle_timeout(at(1_000)), None);
    }
}
