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

use super::control_connection::ControlSettings;
use super::node_tracker::NodeTracker;
use super::refresh_window::{RefreshRequest, RefreshWindow, SchemaScope};
use crate::connection::EventSink;
use crate::env::{Environment, Instant};
use crate::pool::Signal;
use crate::protocol::response::Event;

/// What others leave for the task: events and requests, merged.
pub(crate) struct Inbox {
    pub(super) signal: Signal,
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
    pub(super) scope: Option<SchemaScope>,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// Signal: the task shall end.
pub(super) const STOP: u8 = 1;
/// Signal: something is pending.
pub(super) const WORK: u8 = 2;

impl Inbox {
    pub(crate) fn new(settings: &ControlSettings) -> Arc<Self> {
        Arc::new(Self {
            signal: Signal::default(),
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
            Event::SchemaChange(change) => {
                pending.window.handle_event(now, RefreshRequest::Keyspace(change.keyspace), random);
            }
            _ => {}
        }
        drop(pending);
        self.signal.raise(WORK);
    }

    pub(super) fn request_now(&self, scope: SchemaScope) -> oneshot::Receiver<()> {
        let (done, waiter) = oneshot::channel();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let urgent = pending.urgent.get_or_insert_default();
        urgent.scope = Some(match (urgent.scope.take(), scope) {
            (Some(SchemaScope::Keyspaces(mut names)), SchemaScope::Keyspaces(more)) => {
                names.extend(more);
                SchemaScope::Keyspaces(names)
            }
            (None, scope) => scope,
            _ => SchemaScope::All,
        });
        urgent.waiters.push(done);
        drop(pending);
        self.signal.raise(WORK);
        waiter
    }
}
