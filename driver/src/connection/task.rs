//! The I/O of a connection: the handshake, then one task for its whole life.
//!
//! Each turn of the task flushes what is queued, reads once, wakes the callers whose answers came
//! and looks at its one timer. Before flushing it yields, so that callers it woke, and those behind
//! the one who woke it, can queue their requests: batches form under load and nobody waits without it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{debug, trace};

use super::config::ConnectionConfig;
use super::handshake::{ConnectionInfo, Handshake, Step};
use super::heartbeat::{Heartbeat, HeartbeatAction};
use super::in_flight::{Delivery, StreamId};
use super::inbound::{Inbound, Received};
use super::outbound::Outbound;
use super::shared::{EventSink, Shared, State};
use super::wire::Wire;
use super::{Answered, CloseReason, ConnectError};
use crate::env::mutants::is_planted;
use crate::env::{ByteStream, Environment, Instant, Timer, timeout};
use crate::protocol::frame::write_segments;
use crate::protocol::request::Options;
use crate::protocol::response::{Event, Message};
use crate::protocol::{DecodeError, Opcode};

/// Connects, performs the handshake and starts the task.
pub(super) async fn open(
    environment: &Environment,
    config: ConnectionConfig,
) -> Result<(Arc<Shared>, ConnectionInfo), ConnectError> {
    let limit = config.connect_timeout;
    let (task, info) = match timeout(limit, connect(environment, &config)).await {
        Ok(connected) => connected?,
        Err(_) => return Err(ConnectError::Timeout),
    };
    let shared = task.shared.clone();
    // The handle is not needed: the task ends when the connection closes, which `closed` reports.
    drop(environment.spawner.spawn("connection", Box::pin(task.run())));
    Ok((shared, info))
}

async fn connect(
    environment: &Environment,
    config: &ConnectionConfig,
) -> Result<(IoTask, ConnectionInfo), ConnectError> {
    let unreachable = |error: io::Error| ConnectError::Unreachable(error.into());
    let connected = environment.transport.connect(config.address).await;
    let mut stream = connected.map_err(unreachable)?;
    let mut inbound = Inbound::new(config.protocol_version, config.body_len_max);
    let mut handshake = Handshake::new(config);
    let mut request = handshake.first_request()?;
    loop {
        let segmented = handshake.segment_format().filter(|_| handshake.is_started());
        if let Some(format) = segmented {
            let envelope = std::mem::take(&mut request);
            write_segments(&envelope, format, &mut request, |_, _| {});
        }
        stream.write_all(&request).await.map_err(unreachable)?;
        stream.flush().await.map_err(unreachable)?;
        let received = read_one(&mut *stream, &mut inbound).await.map_err(|error| handshake.explained(error))?;
        match handshake.handle_answer(&received)? {
            Step::Send(next) => request = next,
            Step::Done(info) => {
                let wire = Wire::new(stream, Outbound::new(handshake.segment_format()));
                let shared = Arc::new(Shared::new(config, info.compression, wire));
                return Ok((IoTask::new(shared, inbound, config), info));
            }
        }
        // The answer to STARTUP itself is compressed already before v5; segments begin behind it.
        let format = handshake.segment_format().filter(|_| handshake.is_started());
        inbound.switch_on(handshake.compression(), format);
    }
}

async fn read_one(stream: &mut dyn ByteStream, inbound: &mut Inbound) -> Result<Received, ConnectError> {
    loop {
        if let Some(received) = inbound.next()? {
            return Ok(received);
        }
        let read = stream.read_buf(inbound.buffer()).await;
        if read.map_err(|error| ConnectError::Unreachable(error.into()))? == 0 {
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection");
            return Err(ConnectError::Unreachable(error.into()));
        }
    }
}

/// Callers woken at a time. A worker of the runtime queues 256 tasks; those beyond wait in a queue that it looks at
/// only now and then, and would wait for as long as answers keep coming.
const WAKE_MAX: usize = 128;

/// How often callers are let go first: enough for all that were woken, and an end if one of them is busy.
const YIELDS_MAX: u32 = 8;

/// The task of one connection.
struct IoTask {
    shared: Arc<Shared>,
    inbound: Inbound,
    heartbeat: Heartbeat,
    timer: Timer,
    /// Answers of one read, until they are delivered under one lock.
    received: Vec<Received>,
    /// Callers to wake, in the order of their answers.
    wake: Vec<Waker>,
    /// How often callers had their chance to queue requests since this task has last written.
    yields: u32,
}

/// What a turn of the task ended with.
enum Turn {
    /// Callers are about to queue requests: let them run before flushing.
    Yield,
    /// Something was done, look again.
    Again,
    Close(CloseReason),
}

impl IoTask {
    fn new(shared: Arc<Shared>, inbound: Inbound, config: &ConnectionConfig) -> Self {
        let now = Instant::now();
        Self {
            shared,
            inbound,
            heartbeat: Heartbeat::new(config.heartbeat_interval, config.heartbeat_timeout, now),
            timer: Timer::new(now),
            received: Vec::new(),
            wake: Vec::new(),
            yields: 0,
        }
    }

    async fn run(mut self) {
        // The last read of the handshake may have brought more than its answer, and nothing else may follow for long.
        let mut turn = self.handle_bytes(0);
        let reason = loop {
            match turn {
                Turn::Yield => {
                    if is_planted("D15-reader-waits-for-its-callers") {
                        crate::env::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    tokio::task::yield_now().await;
                    self.yields += 1;
                }
                Turn::Again => {}
                Turn::Close(reason) => break reason,
            }
            turn = poll_fn(|cx| self.poll_turn(cx)).await;
        };
        debug!(address = %self.shared.address, %reason, "connection closed");
        self.finish(reason);
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        {
            let mut state = self.shared.lock();
            if let Some(reason) = state.must_close() {
                return Poll::Ready(Turn::Close(reason));
            }
            match &mut state.io_task {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            if std::mem::take(&mut state.is_probe_requested) && self.heartbeat.handle_probe_request(Instant::now()) {
                self.send_probe(&mut state);
            }
            // A caller that finds nobody flushing wakes this task, which a scheduler may run before the next caller:
            // without letting them go first there would be one write for each.
            let is_first = self.yields == 0 && state.is_flush_due && !state.queue.is_empty();
            // A runtime may come back to this task before it has run all that were woken: tokio does after 61 others.
            let is_early = state.in_flight.untaken() > self.wake.len();
            if (is_first || is_early) && self.yields < YIELDS_MAX {
                return Poll::Ready(Turn::Yield);
            }
        }
        self.yields = 0;
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(Turn::Close(CloseReason::Io(error.into())));
        }
        if !self.wake.is_empty() {
            // They need not wake this task in turn.
            self.shared.lock().is_flush_due = true;
            self.wake_some();
            return Poll::Ready(Turn::Yield);
        }
        if let Poll::Ready(turn) = self.poll_read(cx) {
            return Poll::Ready(turn);
        }
        self.poll_timer(cx)
    }

    /// Writes until nothing is queued or the transport takes no more. Ready means it failed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.shared.lock_wire();
        loop {
            if wire.outbound.is_empty() {
                let mut state = self.shared.lock();
                // False lets callers wake this task. While bytes are left it wakes by itself, as
                // soon as the transport takes more.
                state.is_flush_due = !state.queue.is_empty();
                if !state.is_flush_due {
                    break;
                }
                wire.outbound.load(&mut state.queue);
            }
            match wire.poll_write(cx) {
                Poll::Ready(Ok(len)) => self.shared.lock().stats.bytes_written += len as u64,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        match wire.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// Reads once and handles what came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let read = self.shared.lock_wire().poll_read(cx, self.inbound.buffer());
        let len = match read {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(0)) => return Poll::Ready(Turn::Close(CloseReason::PeerClosed)),
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Close(CloseReason::Io(error.into()))),
            Poll::Ready(Ok(len)) => len,
        };
        Poll::Ready(self.handle_bytes(len))
    }

    /// Delivers the whole answers among the bytes read, of which the last `len` are new.
    fn handle_bytes(&mut self, len: usize) -> Turn {
        let malformed = loop {
            match self.inbound.next() {
                Ok(Some(received)) => self.received.push(received),
                Ok(None) => break None,
                Err(error) => break Some(CloseReason::Protocol(error)),
            }
        };
        // What came before malformed bytes was whole, and its callers deserve it.
        match self.deliver(len).err().or(malformed) {
            Some(reason) => Turn::Close(reason),
            None if self.wake.is_empty() => Turn::Again,
            None => {
                self.wake_some();
                Turn::Yield
            }
        }
    }

    /// Wakes callers whose answers are there. The others follow once these had their turn.
    fn wake_some(&mut self) {
        let count = self.wake.len().min(WAKE_MAX);
        self.wake.drain(..count).for_each(Waker::wake);
    }

    /// Files the answers that were read and passes events on. `wake` holds whom to wake.
    fn deliver(&mut self, len: usize) -> Result<(), CloseReason> {
        let mut events = Vec::new();
        let mut outcome = Ok(());
        let sink: Option<EventSink>;
        {
            let shared = self.shared.clone();
            let mut state = shared.lock();
            state.stats.bytes_read += len as u64;
            let answers_before = state.stats.answers;
            // One look at the clock for all that came in this read.
            let now = Instant::now();
            // Taken out and put back: its capacity is used again.
            let mut all = std::mem::take(&mut self.received);
            for received in all.drain(..) {
                outcome = self.handle_received(received, now, &mut state, &mut events);
                if outcome.is_err() {
                    break;
                }
            }
            self.received = all;
            if state.stats.answers > answers_before {
                self.heartbeat.handle_response(now);
            }
            state.gauges.is_suspect.set(self.heartbeat.is_suspect());
            state.stats.events += events.len() as u64;
            // Those who are about to be woken need not wake this task in turn.
            state.is_flush_due |= !self.wake.is_empty();
            sink = if events.is_empty() { None } else { state.sink.clone() };
        }
        if let Some(sink) = sink {
            events.into_iter().for_each(|event| sink(event));
        }
        outcome
    }

    fn handle_received(
        &mut self,
        received: Received,
        now: Instant,
        state: &mut State,
        events: &mut Vec<Event>,
    ) -> Result<(), CloseReason> {
        let Received { header, response } = received;
        if header.version != self.shared.version.number() {
            return Err(CloseReason::Protocol(DecodeError::UnexpectedVersion(header.version)));
        }
        let Some(id) = StreamId::from_wire(header.stream) else {
            if header.opcode != Opcode::Event {
                return Err(CloseReason::ForeignStream(header.stream));
            }
            match response.decode().map(|decoded| decoded.message) {
                Ok(Message::Event(event)) => events.push(*event),
                // One event this driver cannot read is no reason to lose the connection.
                unreadable => debug!(?unreadable, "event ignored"),
            }
            return Ok(());
        };
        state.stats.answers += 1;
        if id == StreamId::HEARTBEAT {
            let is_probe = self.heartbeat.handle_answer();
            return match response.decode().map(|decoded| decoded.message) {
                // Errors that concern no request are sent with this id.
                Ok(Message::Error(error)) if !is_probe => Err(CloseReason::Server(error)),
                _ if !is_probe => Err(CloseReason::ForeignStream(header.stream)),
                _ => Ok(()),
            };
        }
        match state.in_flight.handle_answer(id, Answered { response, at: now }) {
            Delivery::Caller(waker) => self.wake.push(waker),
            Delivery::Orphan => {
                state.stats.late_answers += 1;
                trace!(stream_id = header.stream, "late response for an orphaned stream");
            }
            Delivery::Foreign if is_planted("A17-foreign-answer-ignored") => {}
            Delivery::Foreign => return Err(CloseReason::ForeignStream(header.stream)),
        }
        Ok(())
    }

    /// Waits for the earliest of all deadlines and of the heartbeat.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let requests_due = self.shared.lock().deadlines.poll_timeout();
        let due = match (requests_due, self.heartbeat.poll_timeout()) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => match one.or(other) {
                Some(due) => due,
                None => return Poll::Pending,
            },
        };
        // Every read postpones the heartbeat; firing once too early costs less than following it.
        self.timer.set_at_most(due);
        if self.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        {
            let mut state = self.shared.lock();
            if requests_due.is_some_and(|due| due <= now) {
                let earliest = state.in_flight.handle_timeout(now, &mut self.wake);
                state.deadlines.handle_search(earliest);
                state.stats.timeouts += self.wake.len() as u64;
                self.heartbeat.handle_request_timeouts(self.wake.len());
                state.gauges.is_suspect.set(self.heartbeat.is_suspect());
                self.shared.retire_if_orphaned(&mut state);
            }
            match self.heartbeat.handle_timeout(now) {
                Some(HeartbeatAction::Close) => return Poll::Ready(Turn::Close(CloseReason::HeartbeatTimeout)),
                Some(HeartbeatAction::SendProbe) => self.send_probe(&mut state),
                None => {}
            }
        }
        self.wake.drain(..).for_each(Waker::wake);
        Poll::Ready(Turn::Again)
    }

    fn send_probe(&self, state: &mut State) {
        state.stats.heartbeats += 1;
        // A request without a body always can be encoded.
        let _ = self.shared.enqueue(state, &Options, StreamId::HEARTBEAT);
    }

    /// Closes the socket, then fails every caller and tells every watcher.
    fn finish(&mut self, reason: CloseReason) {
        let Some(handed) = self.shared.lock_wire().close() else { return };
        self.shared.lock().handle_close(reason, handed, &mut self.wake);
        self.wake.drain(..).for_each(Waker::wake);
    }
}

/// An aborted task must not leave its callers waiting.
impl Drop for IoTask {
    fn drop(&mut self) {
        self.finish(CloseReason::TaskStopped);
    }
}
