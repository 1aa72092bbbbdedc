//! Coalesces bursts of cluster events into few refreshes, spread over time.
//!
//! The first event of a kind draws a moment uniformly from its window, so that many clients told at once do not ask
//! at once; later events of the kind merge into that refresh and never postpone it.
//!
//! # Invariants
//!
//! - Nothing is dropped: an event is either merged into a refresh that has not started or opens a new one.
//! - A refresh is due less than one window, and at most [`DELAY_MAX`], after the first event it covers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::schema_scope::SchemaScope;
use crate::env::Instant;

/// How long refreshes may wait for more events; `None` ignores events of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshWindows {
    /// Schema changes.
    pub schema: Option<Duration>,
    /// Nodes added, moved or removed.
    pub topology: Option<Duration>,
    /// Nodes reported up or down.
    pub status: Option<Duration>,
}

impl Default for RefreshWindows {
    fn default() -> Self {
        Self {
            schema: Some(Duration::from_secs(2)),
            topology: Some(Duration::from_secs(10)),
            status: Some(Duration::from_secs(2)),
        }
    }
}

/// What one event asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RefreshRequest {
    /// Read these parts of the schema again.
    Schema(SchemaScope),
    /// Read the list of nodes again.
    Topology,
    /// A node was reported up or down.
    Status { address: SocketAddr, is_up: bool },
}

/// What is due at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DueRefresh {
    pub schema: Option<SchemaScope>,
    pub topology: bool,
    /// Last report by address.
    pub status: BTreeMap<SocketAddr, bool>,
}

/// The pending refreshes.
#[derive(Debug)]
pub(crate) struct RefreshWindow {
    windows: RefreshWindows,
    schema: Option<(Instant, SchemaScope)>,
    topology: Option<Instant>,
    status: Option<(Instant, BTreeMap<SocketAddr, bool>)>,
}

impl RefreshWindow {
    pub(crate) fn new(windows: RefreshWindows) -> Self {
        Self { windows, schema: None, topology: None, status: None }
    }

    /// Takes one event; `random` is 64 uniformly distributed bits.
    pub(crate) fn handle_event(&mut self, now: Instant, request: RefreshRequest, random: u64) {
        match request {
            RefreshRequest::Schema(scope) => {
                let Some(window) = self.windows.schema else { return };
                match &mut self.schema {
                    Some((_, pending)) => pending.merge(scope),
                    None => self.schema = Some((now + offset(window, random), scope)),
                }
            }
            RefreshRequest::Topology => {
                let Some(window) = self.windows.topology else { return };
                self.topology.get_or_insert_with(|| now + offset(window, random));
            }
            RefreshRequest::Status { address, is_up } => {
                let Some(window) = self.windows.status else { return };
                let (_, reports) = self.status.get_or_insert_with(|| (now + offset(window, random), BTreeMap::new()));
                if reports.len() >= REPORTS_MAX && !reports.contains_key(&address) {
                    // The topology refresh probes every node, so the report is covered.
                    self.topology.get_or_insert(now);
                } else {
                    reports.insert(address, is_up);
                }
            }
        }
    }

    /// When the next refresh is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let schema = self.schema.as_ref().map(|(due, _)| *due);
        let status = self.status.as_ref().map(|(due, _)| *due);
        [schema, self.topology, status].into_iter().flatten().min()
    }

    /// Takes what is due; an event that arrives later opens a new window.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> DueRefresh {
        DueRefresh {
            schema: self.schema.take_if(|(due, _)| *due <= now).map(|(_, scope)| scope),
            topology: self.topology.take_if(|due| *due <= now).is_some(),
            status: self.status.take_if(|(due, _)| *due <= now).map(|(_, reports)| reports).unwrap_or_default(),
        }
    }
}

/// A uniform moment in `[0, window)`, never later than [`DELAY_MAX`].
fn offset(window: Duration, random: u64) -> Duration {
    let window = window.min(DELAY_MAX);
    let scaled = (window.as_nanos() * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// Hard limit on the delay of a refresh, whatever window is configured.
const DELAY_MAX: Duration = Duration::from_secs(60);
const REPORTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::response::SchemaTarget;

    fn window() -> RefreshWindow {
        RefreshWindow::new(RefreshWindows::default())
    }

    fn keyspace(name: &str) -> SchemaScope {
        SchemaScope::object(name, SchemaTarget::Keyspace)
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    const HALF: u64 = 1 << 63;

    #[tokio::test(start_paused = true)]
    async fn events_of_one_kind_merge_into_the_first_and_do_not_postpone_it() {
        let start = Instant::now();
        let mut window = window();

        for millis in [0, 300, 900] {
            window.handle_event(at(start, millis), RefreshRequest::Schema(keyspace(&format!("k{millis}"))), HALF);
        }

        assert_eq!(window.poll_timeout(), Some(at(start, 1000)), "half of two seconds after the first event");
        assert_eq!(window.handle_timeout(at(start, 999)), DueRefresh::default(), "fired early");
        let due = window.handle_timeout(at(start, 1000));
        let mut all = keyspace("k0");
        all.merge(keyspace("k300"));
        all.merge(keyspace("k900"));
        assert_eq!(due.schema, Some(all));
        assert_eq!(window.poll_timeout(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn event_after_the_refresh_started_opens_a_new_window() {
        let start = Instant::now();
        let mut window = window();
        window.handle_event(start, RefreshRequest::Topology, 0);
        assert!(window.handle_timeout(start).topology);

        window.handle_event(start, RefreshRequest::Topology, u64::MAX);

        let due = window.poll_timeout().unwrap();
        assert!(due > at(start, 9_999) && due < at(start, 10_000), "less than the whole window");
    }

    #[tokio::test(start_paused = true)]
    async fn last_status_report_of_an_address_wins_and_addresses_do_not_disturb_each_other() {
        let start = Instant::now();
        let (a, b) = (([10, 0, 0, 1], 9042).into(), ([10, 0, 0, 2], 9042).into());
        let mut window = window();

        for (address, is_up) in [(a, false), (b, true), (a, true), (b, false)] {
            window.handle_event(start, RefreshRequest::Status { address, is_up }, 0);
        }

        assert_eq!(window.handle_timeout(start).status, [(a, true), (b, false)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn zero_window_is_immediate_and_disabled_window_ignores_events() {
        let start = Instant::now();
        let windows =
            RefreshWindows { schema: None, topology: Some(Duration::ZERO), status: Some(Duration::from_secs(1)) };
        let mut window = RefreshWindow::new(windows);

        window.handle_event(start, RefreshRequest::Schema(keyspace("k")), HALF);
        assert_eq!(window.poll_timeout(), None);
        window.handle_event(start, RefreshRequest::Topology, HALF);

        assert_eq!(window.poll_timeout(), Some(start));
    }

    #[tokio::test(start_paused = true)]
    async fn no_window_delays_a_refresh_beyond_the_hard_limit() {
        let start = Instant::now();
        let hour = Some(Duration::from_secs(3600));
        let mut window = RefreshWindow::new(RefreshWindows { schema: hour, topology: hour, status: hour });

        window.handle_event(start, RefreshRequest::Topology, u64::MAX);
        window.handle_event(start, RefreshRequest::Schema(keyspace("k")), u64::MAX);

        assert!(window.poll_timeout().unwrap() <= start + DELAY_MAX);
        window.handle_timeout(window.poll_timeout().unwrap());
        assert!(window.poll_timeout().is_none_or(|due| due <= start + DELAY_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn storm_of_status_reports_is_bounded_and_becomes_a_topology_refresh() {
        let start = Instant::now();
        let mut window = window();

        for number in 0..REPORTS_MAX as u32 + 10 {
            let address = (std::net::Ipv4Addr::from(number), 9042).into();
            window.handle_event(start, RefreshRequest::Status { address, is_up: false }, 0);
        }

        let due = window.handle_timeout(start);
        assert_eq!((due.status.len(), due.topology), (REPORTS_MAX, true));
    }

    #[tokio::test(start_paused = true)]
    async fn storm_of_keyspaces_becomes_a_full_schema_refresh() {
        let start = Instant::now();
        let mut window = window();

        for number in 0..100 {
            window.handle_event(start, RefreshRequest::Schema(keyspace(&number.to_string())), 0);
        }

        assert_eq!(window.handle_timeout(start).schema, Some(SchemaScope::All));
    }
}
