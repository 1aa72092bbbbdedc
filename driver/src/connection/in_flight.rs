//! Stream ids and in-flight requests of one connection.
//!
//! A connection multiplexes requests by stream id. This table alone knows which ids are free,
//! which wait for an answer, which have one, and which are orphaned (the caller gave up, the node
//! may still answer). It performs no I/O and reads no clock.
//!
//! # Invariants
//!
//! - Every id is in exactly one state.
//! - An orphaned id is not reused before its late answer arrived.
//! - Each caller gets exactly one outcome.
//!
//! # Source
//!
//! Native protocol v5, section 2.4.1.3.

use std::sync::Arc;
use std::task::{Poll, Waker};

use super::gauges::Gauges;
use super::{Answered, CallError, CloseReason};
use crate::env::{Instant, mutants};

/// One outstanding request on a connection. On the wire: a `[short]` in `0..=32767`.
///
/// Negative ids belong to the server (EVENT uses -1) and cannot be represented here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u16);

impl StreamId {
    /// The id of heartbeats, which no caller gets.
    pub const HEARTBEAT: Self = Self(0);

    /// Returns `None` for the ids the server keeps for itself.
    pub fn from_wire(raw: i16) -> Option<Self> {
        u16::try_from(raw).ok().map(Self)
    }

    /// The id on the wire.
    pub fn to_wire(self) -> i16 {
        self.0.cast_signed()
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The table. Ids are handed out from 1, lowest first while the table grows.
#[derive(Debug)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
    free: Vec<StreamId>,
    /// Counts the waiting and the orphaned. Changed only by whoever may change the table.
    gauges: Arc<Gauges>,
    /// Answers that their callers have not taken yet.
    untaken: usize,
}

#[derive(Debug)]
enum Slot {
    Free,
    Waiting(Waiting),
    /// The outcome, until the caller takes it.
    Done(Result<Answered, CallError>),
    /// The deadline passed, the caller has not noticed yet.
    TimedOut {
        answered: bool,
    },
    /// The caller gave up, the node still owes an answer.
    Orphaned,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The caller's task.
    pub(super) waker: Waker,
    /// Where the request ends in the sequence of all bytes ever queued on the connection.
    pub(super) end: u64,
    /// When the caller stops waiting.
    pub(super) deadline: Option<Instant>,
}

/// To whom an answer belongs.
#[derive(Debug)]
pub(super) enum Delivery {
    /// To this caller, who must be woken.
    Caller(Waker),
    /// To nobody any more; its id is free again.
    Orphan,
    /// To no request this connection ever made: the stream cannot be trusted.
    Foreign,
}

impl InFlight {
    pub(super) fn new(gauges: Arc<Gauges>) -> Self {
        // Slot 0 stays free for ever: its id is the heartbeat's, which is tracked elsewhere.
        Self { slots: vec![Slot::Free], free: Vec::new(), gauges, untaken: 0 }
    }

    /// Requests whose callers wait.
    pub(super) fn waiting(&self) -> usize {
        self.gauges.waiting.get()
    }

    /// Ids that cannot be used because their answer is overdue.
    pub(super) fn orphaned(&self) -> usize {
        self.gauges.orphaned.get()
    }

    /// Answers that their callers have not taken yet.
    pub(super) fn untaken(&self) -> usize {
        self.untaken
    }

    /// The id the next request will get; `None` if all 32,767 are taken.
    pub(super) fn next_id(&self) -> Option<StreamId> {
        match self.free.last() {
            Some(id) => Some(*id),
            None => i16::try_from(self.slots.len()).ok().and_then(StreamId::from_wire),
        }
    }

    /// Gives `id`, which [`Self::next_id`] just returned, to a request.
    pub(super) fn occupy(&mut self, id: StreamId, request: Waiting) {
        self.gauges.waiting.change(1);
        match self.free.pop() {
            Some(popped) => {
                debug_assert_eq!(popped, id);
                self.slots[popped.index()] = Slot::Waiting(request);
            }
            None => self.slots.push(Slot::Waiting(request)),
        }
    }

    /// Files an answer of the node.
    pub(super) fn handle_answer(&mut self, id: StreamId, answer: Answered) -> Delivery {
        let Some(slot) = self.slots.get_mut(id.index()) else { return Delivery::Foreign };
        match slot {
            Slot::Waiting(_) => {
                self.gauges.waiting.change(-1);
                self.untaken += 1;
                match std::mem::replace(slot, Slot::Done(Ok(answer))) {
                    Slot::Waiting(request) => Delivery::Caller(request.waker),
                    _ => Delivery::Orphan,
                }
            }
            Slot::TimedOut { answered: answered @ false } => {
                *answered = true;
                self.gauges.orphaned.change(-1);
                Delivery::Orphan
            }
            Slot::Orphaned => {
                if !mutants::is_planted("A09-late-answer-leaves-its-count") {
                    self.gauges.orphaned.change(-1);
                }
                self.release(id);
                Delivery::Orphan
            }
            Slot::Free | Slot::Done(_) | Slot::TimedOut { answered: true } => Delivery::Foreign,
        }
    }

    /// Takes the outcome of a request, or remembers whom to wake.
    pub(super) fn poll_take(&mut self, id: StreamId, waker: &Waker) -> Poll<Result<Answered, CallError>> {
        let slot = &mut self.slots[id.index()];
        match slot {
            Slot::Waiting(request) => {
                if !request.waker.will_wake(waker) {
                    request.waker.clone_from(waker);
                }
                return Poll::Pending;
            }
            Slot::TimedOut { .. } => {
                self.give_up(id);
                return Poll::Ready(Err(CallError::Timeout));
            }
            Slot::Done(_) => {}
            Slot::Free | Slot::Orphaned => {
                debug_assert!(false, "a caller polls an id that is not its own");
                return Poll::Ready(Err(CallError::Timeout));
            }
        }
        match std::mem::replace(slot, Slot::Free) {
            Slot::Done(outcome) => {
                self.untaken -= usize::from(outcome.is_ok());
                self.free.push(id);
                Poll::Ready(outcome)
            }
            _ => Poll::Pending,
        }
    }

    /// The caller of `id` is gone and wants no outcome.
    pub(super) fn give_up(&mut self, id: StreamId) {
        match self.slots[id.index()] {
            Slot::Waiting(_) => {
                self.gauges.waiting.change(-1);
                self.gauges.orphaned.change(1);
                self.slots[id.index()] = Slot::Orphaned;
                if mutants::is_planted("L11-cancelled-call-frees-its-stream") {
                    self.gauges.orphaned.change(-1);
                    self.release(id);
                }
            }
            Slot::TimedOut { answered: false } => {
                // The id stays taken: the node may still answer, and a new request reusing it
                // would be given the old request's rows.
                self.slots[id.index()] = Slot::Orphaned;
                if mutants::is_planted("A01-stream-id-freed-at-timeout") {
                    self.gauges.orphaned.change(-1);
                    self.release(id);
                }
            }
            Slot::Done(_) | Slot::TimedOut { answered: true } => {
                self.untaken -= usize::from(matches!(self.slots[id.index()], Slot::Done(Ok(_))));
                self.release(id);
            }
            Slot::Free | Slot::Orphaned => debug_assert!(false, "a caller gave up twice"),
        }
    }

    /// Times out what is due and returns whom to wake and the earliest deadline left.
    pub(super) fn handle_timeout(&mut self, now: Instant, wake: &mut Vec<Waker>) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        for slot in &mut self.slots {
            let Slot::Waiting(Waiting { deadline: Some(deadline), .. }) = slot else { continue };
            if *deadline > now {
                earliest = Some(earliest.map_or(*deadline, |earliest| earliest.min(*deadline)));
            } else if let Slot::Waiting(request) = std::mem::replace(slot, Slot::TimedOut { answered: false }) {
                self.gauges.waiting.change(-1);
                self.gauges.orphaned.change(1);
                wake.push(request.waker);
            }
        }
        earliest
    }

    /// The connection ended: every caller fails, with certainty about what was never sent.
    ///
    /// `handed` is how many of the bytes ever queued went to the transport.
    pub(super) fn handle_close(&mut self, reason: &CloseReason, handed: u64, wake: &mut Vec<Waker>) {
        let mut spare_one = mutants::is_planted("A12-connection-loss-forgets-waiters");
        for slot in &mut self.slots {
            let Slot::Waiting(Waiting { end, .. }) = slot else { continue };
            if std::mem::take(&mut spare_one) {
                continue;
            }
            // Nodes act on whole requests only, so one that was cut cannot have been executed.
            let error = match *end > handed {
                true => CallError::NotSent(reason.clone()),
                false => CallError::MaybeSent(reason.clone()),
            };
            if let Slot::Waiting(request) = std::mem::replace(slot, Slot::Done(Err(error))) {
                self.gauges.waiting.change(-1);
                wake.push(request.waker);
            }
        }
    }

    fn release(&mut self, id: StreamId) {
        self.slots[id.index()] = Slot::Free;
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::response::Response;
    use crate::protocol::{Opcode, ProtocolVersion};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::time::Duration;

    fn answer(mark: u8) -> Answered {
        let body = Bytes::copy_from_slice(&[mark]);
        let response = Response { version: ProtocolVersion::V4, flags: 0, opcode: Opcode::Result, body };
        Answered { response, at: Instant::now() }
    }

    fn request(table: &mut InFlight, end: u64, deadline: Option<Instant>) -> StreamId {
        let id = table.next_id().expect("free id");
        table.occupy(id, Waiting { waker: Waker::noop().clone(), end, deadline });
        id
    }

    fn take(table: &mut InFlight, id: StreamId) -> Poll<Result<Answered, CallError>> {
        table.poll_take(id, Waker::noop())
    }

    #[test]
    fn an_answer_reaches_its_caller_and_frees_the_id() {
        let mut table = InFlight::new(Arc::default());
        let (first, second) = (request(&mut table, 1, None), request(&mut table, 2, None));
        assert_ne!(first, second);
        let seven = answer(7);
        assert!(matches!(table.handle_answer(first, seven.clone()), Delivery::Caller(_)));
        assert_eq!(table.untaken(), 1);
        assert_eq!(take(&mut table, first), Poll::Ready(Ok(seven)));
        assert_eq!(table.untaken(), 0);
        assert_eq!(take(&mut table, second), Poll::Pending);
        assert_eq!(table.next_id(), Some(first));
    }

    #[test]
    fn an_orphaned_id_is_not_reused_before_its_late_answer() {
        let mut table = InFlight::new(Arc::default());
        let orphan = request(&mut table, 1, None);
        table.give_up(orphan);
        assert_eq!((table.waiting(), table.orphaned()), (0, 1));
        assert_ne!(table.next_id(), Some(orphan));
        assert!(matches!(table.handle_answer(orphan, answer(1)), Delivery::Orphan));
        assert_eq!((table.next_id(), table.orphaned()), (Some(orphan), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_times_out_at_its_deadline_and_not_before() {
        let now = Instant::now();
        let (due, mut wake) = (now + Duration::from_secs(1), Vec::new());
        let mut table = InFlight::new(Arc::default());
        let id = request(&mut table, 1, Some(due));
        let later = request(&mut table, 2, Some(due + Duration::from_secs(1)));
        assert_eq!(table.handle_timeout(now, &mut wake), Some(due));
        assert_eq!(wake.len(), 0, "too early");
        assert_eq!(table.handle_timeout(due, &mut wake), Some(due + Duration::from_secs(1)));
        assert_eq!(wake.len(), 1);
        assert_eq!(take(&mut table, id), Poll::Ready(Err(CallError::Timeout)));
        assert_eq!(take(&mut table, later), Poll::Pending);
        assert_eq!(table.orphaned(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_timeout_and_notice_frees_the_id_once() {
        let now = Instant::now();
        let mut table = InFlight::new(Arc::default());
        let id = request(&mut table, 1, Some(now));
        table.handle_timeout(now, &mut Vec::new());
        assert!(matches!(table.handle_answer(id, answer(1)), Delivery::Orphan));
        assert_ne!(table.next_id(), Some(id), "the caller still has to take its timeout");
        assert_eq!(take(&mut table, id), Poll::Ready(Err(CallError::Timeout)));
        assert_eq!((table.next_id(), table.orphaned()), (Some(id), 0));
    }

    #[test]
    fn answers_nobody_asked_for_are_foreign() {
        let mut table = InFlight::new(Arc::default());
        let id = request(&mut table, 1, None);
        assert!(matches!(table.handle_answer(id, answer(1)), Delivery::Caller(_)));
        assert!(matches!(table.handle_answer(id, answer(2)), Delivery::Foreign), "second answer");
        let never_used = StreamId::from_wire(77).unwrap();
        assert!(matches!(table.handle_answer(never_used, answer(1)), Delivery::Foreign));
        assert!(matches!(table.handle_answer(StreamId::HEARTBEAT, answer(1)), Delivery::Foreign));
        assert_eq!(StreamId::from_wire(-1), None);
    }

    #[test]
    fn a_lost_connection_fails_each_caller_by_what_was_handed_over() {
        let mut table = InFlight::new(Arc::default());
        let (sent, cut) = (request(&mut table, 10, None), request(&mut table, 20, None));
        let mut wake = Vec::new();
        table.handle_close(&CloseReason::PeerClosed, 19, &mut wake);
        assert_eq!(wake.len(), 2);
        assert_eq!(take(&mut table, sent), Poll::Ready(Err(CallError::MaybeSent(CloseReason::PeerClosed))));
        assert_eq!(take(&mut table, cut), Poll::Ready(Err(CallError::NotSent(CloseReason::PeerClosed))));
    }

    #[test]
    fn the_last_id_is_the_greatest_the_wire_can_carry() {
        let mut table = InFlight::new(Arc::default());
        let last = (1..=i16::MAX).map(|_| request(&mut table, 0, None)).last();
        assert_eq!(last, StreamId::from_wire(i16::MAX));
        assert_eq!(table.next_id(), None);
    }

    proptest! {
        /// Random histories against a plain list of what each id should be doing.
        #[test]
        fn no_history_gives_one_id_to_two_requests(steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 0..200)) {
            let mut table = InFlight::new(Arc::default());
            let (mut waiting, mut orphaned) = (Vec::new(), Vec::new());
            for (step, index) in steps {
                match step {
                    0 | 1 => {
                        let id = request(&mut table, 0, None);
                        prop_assert!(!waiting.contains(&id) && !orphaned.contains(&id));
                        waiting.push(id);
                    }
                    2 if !waiting.is_empty() => {
                        let id = waiting.swap_remove(index.index(waiting.len()));
                        if index.index(2) == 0 {
                            table.give_up(id);
                            orphaned.push(id);
                        } else {
                            table.handle_answer(id, answer(0));
                            prop_assert!(take(&mut table, id).is_ready());
                        }
                    }
                    3 if !orphaned.is_empty() => {
                        let id = orphaned.swap_remove(index.index(orphaned.len()));
                        prop_assert!(matches!(table.handle_answer(id, answer(0)), Delivery::Orphan));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.waiting(), waiting.len());
                prop_assert_eq!(table.orphaned(), orphaned.len());
            }
        }
    }
}
