//! What others leave for the control task: events of the control connection and refreshes somebody waits for.
//!
//! Here and not in the task itself, because whoever leaves something must never wait for the task: everything is
//! merged under a short lock and the task is signalled.
//!
//! # Invariants
//!
//! - What is pending is bounded by the keyspaces and nodes there are, not by the number of events.
//! - Whatever was added is followed by a signal, so the task never sleeps past it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::control_connection::ControlSettings;
use super::listener::{NodeEvent, NodeListeners};
use super::node_tracker::NodeTracker;
use super::refresh_window::{RefreshRequest, RefreshWindow};
use super::schema_scope::SchemaScope;
use crate::connection::EventSink;
use crate::env::mutants::is_planted;
use crate::env::{Environment, Instant};
use crate::pool::{NodeState, PoolObserver, Signal};
use crate::protocol::response::Event;

/// What others leave for the task: events and requests, merged.
pub(crate) struct Inbox {
    pub(super) signal: Signal,
    pub(super) listeners: NodeListeners,
    environment: Environment,
    pub(super) pending: Mutex<Pending>,
}

pub(super) struct Pending {
    pub(super) window: RefreshWindow,
    pub(super) tracker: NodeTracker,
    pub(super) urgent: Option<Urgent>,
}

/// A refresh somebody waits for.
#[derive(Default)]
pub(super) struct Urgent {
    pub(super) nodes: bool,
    pub(super) schema: Option<SchemaScope>,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// Signal: the task shall end.
pub(super) const STOP: u8 = 1;
/// Signal: something is pending.
pub(super) const WORK: u8 = 2;
/// Signal: the session speaks an older protocol version from now on.
pub(super) const VERSION_LOWERED: u8 = 4;

impl Inbox {
    pub(crate) fn new(settings: &ControlSettings) -> Arc<Self> {
        Arc::new(Self {
            signal: Signal::default(),
            listeners: settings.node_listeners.clone(),
            environment: settings.environment.clone(),
            pending: Mutex::new(Pending {
                window: RefreshWindow::new(settings.windows),
                tracker: NodeTracker::default(),
                urgent: None,
            }),
        })
    }

    /// The callback the control connection hands its events to.
    pub(crate) fn sink(self: &Arc<Self>) -> EventSink {
        let inbox = Arc::clone(self);
        Arc::new(move |event| inbox.handle_event(event))
    }

    fn handle_event(&self, event: Event) {
        let random = self.environment.entropy.draw("refresh window");
        let now = Instant::now();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::NodeAdded(address) => {
                pending.tracker.handle_announced(address);
                pending.window.handle_event(now, RefreshRequest::Topology, random);
            }
            Event::NodeRemoved(_) | Event::NodeMoved(_) => {
                pending.window.handle_event(now, RefreshRequest::Topology, random);
            }
            Event::NodeUp(address) => {
                pending.window.handle_event(now, RefreshRequest::Status { address, is_up: true }, random);
            }
            Event::NodeDown(address) => {
                pending.window.handle_event(now, RefreshRequest::Status { address, is_up: false }, random);
            }
            Event::SchemaChange(_) if is_planted("E19-schema-events-ignored") => {}
            Event::SchemaChange(change) => {
                pending.window.handle_event(now, RefreshRequest::Schema(SchemaScope::from(&change)), random);
            }
            _ => {}
        }
        drop(pending);
        self.signal.raise(WORK);
    }

    /// Asks for the list of nodes, some of the schema, or both to be read at once.
    pub(super) fn request_now(&self, nodes: bool, schema: Option<SchemaScope>) -> oneshot::Receiver<()> {
        let (done, waiter) = oneshot::channel();
        self.add_urgent(nodes, schema, Some(done));
        waiter
    }

    fn add_urgent(&self, nodes: bool, schema: Option<SchemaScope>, waiter: Option<oneshot::Sender<()>>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let urgent = pending.urgent.get_or_insert_default();
        urgent.nodes |= nodes;
        urgent.schema = SchemaScope::joined(urgent.schema.take(), schema);
        urgent.waiters.extend(waiter);
        drop(pending);
        self.signal.raise(WORK);
    }
}

impl PoolObserver for Inbox {
    fn on_state_changed(&self, host_id: Uuid, from: NodeState, to: NodeState) {
        self.listeners.tell(&NodeEvent::StateChanged { host_id, from, to });
    }

    fn on_stranger(&self) {
        self.add_urgent(true, None, None);
    }

    fn on_version_lowered(&self) {
        self.signal.raise(VERSION_LOWERED);
    }
}
