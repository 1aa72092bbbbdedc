//! What callers and the I/O task of a connection share, behind short locks.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use super::config::ConnectionConfig;
use super::deadlines::Deadlines;
use super::gauges::Gauges;
use super::in_flight::{InFlight, StreamId, Waiting};
use super::wire::Wire;
use super::{CallError, CloseReason};
use crate::env::Instant;
use crate::env::mutants::is_planted;
use crate::observe::ConnectionStats;
use crate::protocol::compression::{Compression, compress_request};
use crate::protocol::request::EncodeRequest;
use crate::protocol::response::Event;
use crate::protocol::{EncodeError, ProtocolVersion};

/// Receives events; called by the connection's task, so it must return at once.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

/// Ids a caller can have at once, whatever the configuration says.
const IN_FLIGHT_LIMIT: usize = 32_000;

pub(super) struct Shared {
    pub(super) address: SocketAddr,
    pub(super) version: ProtocolVersion,
    /// Compression of single envelopes, which v5 does not have.
    compression: Option<Compression>,
    in_flight_max: usize,
    orphans_max: usize,
    write_buffer_max: usize,
    pub(super) gauges: Arc<Gauges>,
    state: Mutex<State>,
    /// Whoever holds `state` may only try to lock this: the I/O task locks them the other way.
    wire: Mutex<Wire>,
}

pub(super) struct State {
    /// Whole requests, until the I/O task takes them.
    pub(super) queue: Vec<u8>,
    /// Bytes ever appended to `queue`.
    pub(super) queued: u64,
    pub(super) in_flight: InFlight,
    pub(super) deadlines: Deadlines,
    /// The I/O task will look at `queue` anyway: nobody needs to wake it.
    pub(super) is_flush_due: bool,
    pub(super) io_task: Option<Waker>,
    pub(super) sink: Option<EventSink>,
    /// The I/O task shall send a heartbeat now.
    pub(super) is_probe_requested: bool,
    pub(super) stats: ConnectionStats,
    /// `is_refusing` follows [`State::refusal`].
    pub(super) gauges: Arc<Gauges>,
    close_requested: Option<CloseReason>,
    retiring: Option<CloseReason>,
    closed: Option<CloseReason>,
    watchers: Vec<Waker>,
}

impl Shared {
    pub(super) fn new(config: &ConnectionConfig, compression: Option<Compression>, wire: Wire) -> Self {
        let version = config.protocol_version;
        let gauges = Arc::new(Gauges::default());
        Self {
            address: config.address,
            version,
            compression: compression.filter(|_| version < ProtocolVersion::V5),
            in_flight_max: config.in_flight_max.min(IN_FLIGHT_LIMIT),
            orphans_max: config.orphans_max,
            write_buffer_max: config.write_buffer_max,
            gauges: Arc::clone(&gauges),
            state: Mutex::new(State {
                queue: Vec::new(),
                queued: 0,
                in_flight: InFlight::new(Arc::clone(&gauges)),
                deadlines: Deadlines::new(Instant::now()),
                is_flush_due: false,
                io_task: None,
                sink: None,
                is_probe_requested: false,
                stats: ConnectionStats::default(),
                gauges,
                close_requested: None,
                retiring: None,
                closed: None,
                watchers: Vec::new(),
            }),
            wire: Mutex::new(wire),
        }
    }

    /// Locks the state. A panic of an encoder left it whole: what it appended was rolled back.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the byte stream. Never while the state is locked.
    pub(super) fn lock_wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request and gives it a stream id.
    pub(super) fn start<R: EncodeRequest + ?Sized>(
        &self,
        request: &R,
        deadline: Option<Instant>,
        waker: &Waker,
    ) -> Result<StreamId, CallError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(reason) = state.refusal() {
            return Err(CallError::Closed(reason.clone()));
        }
        let spare = usize::from(is_planted("A02-full-before-it-is"));
        if state.in_flight.waiting() + spare >= self.in_flight_max || state.queue.len() >= self.write_buffer_max {
            return Err(CallError::Busy);
        }
        let id = state.in_flight.next_id().ok_or(CallError::Busy)?;
        self.enqueue(state, request, id).map_err(CallError::Encode)?;
        let waiting = Waiting { waker: waker.clone(), end: state.queued, deadline };
        state.in_flight.occupy(id, waiting);
        let mut is_io_wanted = deadline.is_some_and(|deadline| state.deadlines.handle_request(deadline));
        // A lone caller writes by itself: it saves a task switch, and there is no one to batch with.
        let is_alone = state.in_flight.waiting() == 1;
        if !(state.is_flush_due || is_alone && self.try_write(state)) {
            state.is_flush_due = true;
            is_io_wanted = true;
        }
        let io_task = if is_io_wanted { state.io_task.clone() } else { None };
        drop(guard);
        if let Some(io_task) = io_task {
            io_task.wake();
        }
        Ok(id)
    }

    /// Writes what is queued without waiting; `false` if the I/O task must do it or the rest of it.
    fn try_write(&self, state: &mut State) -> bool {
        let Some(io_task) = &state.io_task else { return false };
        let mut wire = match self.wire.try_lock() {
            Ok(wire) => wire,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The I/O task is at work. It may have looked at the queue already.
            Err(TryLockError::WouldBlock) => return false,
        };
        if !wire.outbound.is_empty() {
            return false;
        }
        wire.outbound.load(&mut state.queue);
        // If the transport takes no more now, it is the I/O task that it must wake.
        let mut cx = Context::from_waker(io_task);
        match wire.poll_write(&mut cx) {
            Poll::Ready(Ok(len)) => state.stats.bytes_written += len as u64,
            // The I/O task meets the same error and closes the connection.
            Poll::Ready(Err(_)) | Poll::Pending => return false,
        }
        wire.outbound.is_empty() && matches!(wire.poll_flush(&mut cx), Poll::Ready(Ok(())))
    }

    /// Appends a request to the queue, whole or not at all.
    pub(super) fn enqueue<R: EncodeRequest + ?Sized>(
        &self,
        state: &mut State,
        request: &R,
        id: StreamId,
    ) -> Result<(), EncodeError> {
        let start = state.queue.len();
        let rollback = Rollback { queue: &mut state.queue, start, is_whole: false };
        rollback.run(|queue| request.encode(self.version, id.to_wire(), queue))?;
        if let Some(compression) = self.compression {
            compress_request(compression, start, &mut state.queue);
        }
        state.queued += (state.queue.len() - start) as u64;
        state.stats.requests += 1;
        Ok(())
    }

    /// The caller of `id` is gone and took no outcome.
    pub(super) fn give_up(&self, id: StreamId) {
        let mut state = self.lock();
        state.in_flight.give_up(id);
        state.stats.cancellations += 1;
        self.retire_if_orphaned(&mut state);
        if state.retiring.is_some() {
            // This may have been the last call the connection waited for.
            state.wake_io_task();
        }
    }

    /// Retires the connection if too many of its ids are lost to orphans.
    pub(super) fn retire_if_orphaned(&self, state: &mut State) {
        if state.in_flight.orphaned() > self.orphans_max && state.retiring.is_none() {
            state.retire(CloseReason::TooManyOrphans);
        }
    }

    pub(super) fn retire(&self, reason: CloseReason) {
        let mut state = self.lock();
        if state.retiring.is_none() {
            state.retire(reason);
        }
    }

    pub(super) fn request_probe(&self) {
        let mut state = self.lock();
        if state.refusal().is_none() {
            state.is_probe_requested = true;
            state.wake_io_task();
        }
    }

    pub(super) fn request_close(&self, reason: CloseReason) {
        let mut state = self.lock();
        if state.close_requested.is_none() {
            state.close_requested = Some(reason);
            state.gauges.is_refusing.set(true);
            state.wake_io_task();
        }
    }
}

impl State {
    /// Why no new calls are taken.
    pub(super) fn refusal(&self) -> Option<&CloseReason> {
        self.closed.as_ref().or(self.close_requested.as_ref()).or(self.retiring.as_ref())
    }

    /// Why the I/O task must end now.
    pub(super) fn must_close(&self) -> Option<CloseReason> {
        let retired = self.retiring.as_ref().filter(|_| self.in_flight.waiting() == 0);
        self.close_requested.as_ref().or(retired).cloned()
    }

    fn retire(&mut self, reason: CloseReason) {
        self.retiring = Some(reason);
        self.gauges.is_refusing.set(true);
        self.wake_io_task();
        self.watchers.drain(..).for_each(Waker::wake);
    }

    fn wake_io_task(&self) {
        if let Some(io_task) = &self.io_task {
            io_task.wake_by_ref();
        }
    }

    /// The I/O task has ended. Fails every caller; the wakers to wake are added to `wake`.
    ///
    /// `handed` is how many of the bytes ever queued went to the transport.
    pub(super) fn handle_close(&mut self, reason: CloseReason, handed: u64, wake: &mut Vec<Waker>) {
        self.in_flight.handle_close(&reason, handed, wake);
        self.queue = Vec::new();
        self.io_task = None;
        self.sink = None;
        self.closed = Some(reason);
        self.gauges.is_refusing.set(true);
        wake.append(&mut self.watchers);
    }

    pub(super) fn poll_retired(&mut self, cx: &Context<'_>) -> Poll<CloseReason> {
        match self.refusal() {
            Some(reason) => Poll::Ready(reason.clone()),
            None => self.watch(cx),
        }
    }

    pub(super) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<CloseReason> {
        match &self.closed {
            Some(reason) => Poll::Ready(reason.clone()),
            None => self.watch(cx),
        }
    }

    fn watch(&mut self, cx: &Context<'_>) -> Poll<CloseReason> {
        if !self.watchers.iter().any(|watcher| watcher.will_wake(cx.waker())) {
            self.watchers.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.address)
    }
}

/// Cuts off a partial request, also when its encoder panics: half a request in the queue would
/// corrupt the stream for everyone.
struct Rollback<'q> {
    queue: &'q mut Vec<u8>,
    start: usize,
    is_whole: bool,
}

impl Rollback<'_> {
    fn run(mut self, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
        encode(self.queue)?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.queue.truncate(self.start);
        }
    }
}
