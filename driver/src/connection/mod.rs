//! One connection to one node: a byte stream shared by many callers.
//!
//! Callers encode their requests straight into the connection's write buffer, under a short lock,
//! and wait in a slot of a table indexed by stream id. One task per connection does the I/O: it
//! wakes the callers whose answers it read, yields once, and flushes together what they queued.
//!
//! Everything that decides is pure and in a file of its own: `handshake`, `in_flight`,
//! `deadlines`, `heartbeat`, `inbound`, `outbound`. `task` is the only file that awaits.
//!
//! # Invariants
//!
//! - Every call has exactly one outcome, and says whether the node may have acted on it.
//! - Buffers, ids and waiters are bounded.
//! - No byte of a peer causes a panic; a stream that cannot be trusted is closed.
//! - Once [`Connection::closed`] resolves, the socket is closed and the task is gone.

mod authenticator;
mod call;
mod config;
mod deadlines;
mod error;
mod gauges;
mod handshake;
mod heartbeat;
mod in_flight;
mod inbound;
mod outbound;
mod shared;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;

pub use authenticator::{AuthExchange, Authenticator, PlainAuthenticator};
pub use call::Call;
pub use config::ConnectionConfig;
pub use error::{CallError, CloseReason, ConnectError, IoFailure};
pub use handshake::ConnectionInfo;
pub use in_flight::StreamId;
pub use shared::EventSink;

use crate::env::{Environment, Instant};
use crate::observe::ConnectionStats;
use crate::protocol::request::{EncodeRequest, Register};
use crate::protocol::response::Response;
use crate::protocol::{EventKind, ProtocolVersion};
use shared::Shared;

/// A usable connection. Clones share it; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Connection {
    handle: Arc<Handle>,
}

/// How a connection is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLoad {
    /// Whether new calls are taken.
    pub is_usable: bool,
    /// See [`Connection::is_suspect`].
    pub is_suspect: bool,
    /// Answers the node owes, those to given-up requests included.
    pub in_flight: usize,
}

/// An answer and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What the node sent.
    pub response: Response,
    /// When the connection's task read it; its caller may have been scheduled later.
    pub at: Instant,
}

impl Deref for Answered {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.response
    }
}

/// Closes the connection when the last clone is gone.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.request_close(CloseReason::Requested("no longer used"));
    }
}

impl Connection {
    /// Connects and performs the handshake, then starts the connection's task.
    ///
    /// # Errors
    ///
    /// The socket is closed and no task is left after any. On
    /// [`ConnectError::UnsupportedVersion`] the caller may try again with an older version.
    pub async fn open(
        environment: &Environment,
        config: ConnectionConfig,
    ) -> Result<(Self, ConnectionInfo), ConnectError> {
        let (shared, info) = task::open(environment, config).await?;
        Ok((Self { handle: Arc::new(Handle { shared }) }, info))
    }

    /// Sends a request and waits for its answer, at the latest until `deadline`.
    ///
    /// Nothing is sent before the first poll. Dropping the future gives the request up: the node
    /// may still act on it, and its stream id stays taken until the node has answered.
    ///
    /// An error of the server is an answer: decode the [`Response`] to see it.
    pub fn call<'a, R: EncodeRequest + ?Sized>(&'a self, request: &'a R, deadline: Option<Instant>) -> Call<'a, R> {
        Call::new(&self.handle.shared, request, deadline)
    }

    /// Subscribes to events, which `sink` receives from the moment the node agrees.
    ///
    /// `sink` is called by the connection's task: it must return at once and never wait. It
    /// replaces an earlier one. The subscription exists if the answer's opcode is READY.
    ///
    /// # Errors
    ///
    /// Those of [`Self::call`].
    pub async fn register_events(
        &self,
        kinds: &[EventKind],
        sink: EventSink,
        deadline: Option<Instant>,
    ) -> Result<Answered, CallError> {
        // Before the request: events may follow the answer in the same read.
        self.handle.shared.lock().sink = Some(sink);
        self.call(&Register { kinds }, deadline).await
    }

    /// Whether new calls are taken, as last known: a call finds out for certain.
    pub fn is_usable(&self) -> bool {
        !self.handle.shared.gauges.is_refusing.is_set()
    }

    /// Whether recent requests got no answer at all: prefer other nodes until that is settled.
    pub fn is_suspect(&self) -> bool {
        self.handle.shared.gauges.is_suspect.is_set()
    }

    /// What load balancing asks, without a lock.
    pub(crate) fn load(&self) -> ConnectionLoad {
        let gauges = &self.handle.shared.gauges;
        ConnectionLoad {
            is_usable: !gauges.is_refusing.is_set(),
            is_suspect: gauges.is_suspect.is_set(),
            in_flight: gauges.waiting.get() + gauges.orphaned.get(),
        }
    }

    /// Requests whose callers wait.
    pub fn in_flight(&self) -> usize {
        self.handle.shared.gauges.waiting.get()
    }

    /// Requests given up whose answers are still owed. They are load on the node all the same.
    pub fn orphaned(&self) -> usize {
        self.handle.shared.gauges.orphaned.get()
    }

    /// Bytes of requests ever queued.
    pub(crate) fn queued(&self) -> u64 {
        self.handle.shared.lock().queued
    }

    /// Of all bytes ever queued, those of requests that the transport has taken.
    pub(crate) fn handed(&self) -> u64 {
        self.handle.shared.lock_wire().outbound.handed()
    }

    /// Protocol version spoken.
    pub fn version(&self) -> ProtocolVersion {
        self.handle.shared.version
    }

    /// What the connection did so far.
    pub fn stats(&self) -> ConnectionStats {
        self.handle.shared.lock().stats
    }

    /// Asks the node for a sign of life now, unless it is being asked: one that does not answer in time is given up.
    pub fn probe(&self) {
        self.handle.shared.request_probe();
    }

    /// Closes the connection at once; calls in flight fail.
    pub fn close(&self, why: &'static str) {
        self.handle.shared.request_close(CloseReason::Requested(why));
    }

    /// Takes no new calls, and closes once those in flight have their outcome.
    pub fn retire(&self, why: &'static str) {
        self.handle.shared.retire(CloseReason::Requested(why));
    }

    /// Resolves with the reason once new calls are refused: a replacement is needed.
    pub async fn retired(&self) -> CloseReason {
        poll_fn(|cx| self.handle.shared.lock().poll_retired(cx)).await
    }

    /// Resolves with the reason once the connection is closed and its task is done.
    pub async fn closed(&self) -> CloseReason {
        poll_fn(|cx| self.handle.shared.lock().poll_closed(cx)).await
    }

    /// Whether both are the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.handle.shared.address).finish_non_exhaustive()
    }
}
