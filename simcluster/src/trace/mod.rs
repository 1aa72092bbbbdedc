//! What happened, as one hash and (on request) one line per event.
//!
//! The hash is always kept and folds in every event's time, kind, parties and bytes: two runs with the same hash went
//! the same way. Lines cost memory and text, so they are kept only when asked for, in a bounded ring whose oldest
//! lines fall out first.
//!
//! # Invariants
//!
//! - The hash does not depend on whether lines are kept.
//! - Every line names the line that caused it (0 = the start of the run or the code under test).

use crate::kernel::{NodeId, SimInstant};
use std::collections::VecDeque;
use std::fmt;

/// How many lines are kept when tracing is on and no other number was given.
pub const LINES_DEFAULT: usize = 200_000;

/// What kind of event a trace line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A client began to connect.
    Connect = 1,
    /// A node accepted a connection.
    Accept = 2,
    /// A connection ended at the client: established, refused, reset, closed.
    Socket = 3,
    /// A client wrote bytes.
    ClientSend = 4,
    /// Bytes of a client reached a node.
    NodeReceive = 5,
    /// A node sent bytes to a client.
    NodeSend = 6,
    /// Bytes of a node reached a client.
    ClientReceive = 7,
    /// A node sent a message to another one.
    PeerSend = 8,
    /// A message of another node arrived.
    PeerReceive = 9,
    /// A message of another node was lost.
    PeerLost = 10,
    /// A node's timer fired.
    Wake = 11,
    /// A fault began or ended.
    Fault = 12,
    /// A node started, crashed, paused, resumed.
    Process = 13,
    /// A node reported a fact.
    Observed = 14,
}

impl Kind {
    /// The name shown in lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Socket => "socket",
            Self::ClientSend => "client-send",
            Self::NodeReceive => "node-recv",
            Self::NodeSend => "node-send",
            Self::ClientReceive => "client-recv",
            Self::PeerSend => "peer-send",
            Self::PeerReceive => "peer-recv",
            Self::PeerLost => "peer-lost",
            Self::Wake => "wake",
            Self::Fault => "fault",
            Self::Process => "process",
            Self::Observed => "observed",
        }
    }
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The simulation as a whole.
    World,
    /// A node.
    Node(NodeId),
    /// The client's end of a connection, by the connection's number.
    Connection(u64),
}

impl Party {
    /// A number that no other party has.
    const fn code(self) -> u64 {
        match self {
            Self::World => 0,
            Self::Node(node) => node.0 as u64,
            Self::Connection(number) => (1 << 63) | number,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.write_str("-"),
            Self::Node(node) => node.fmt(f),
            Self::Connection(number) => write!(f, "#{number}"),
        }
    }
}

/// One event as it enters the hash.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// When it happened.
    pub at: SimInstant,
    /// What kind it is.
    pub kind: Kind,
    /// Where it happened.
    pub place: Party,
    /// The other party.
    pub other: Party,
    /// The bytes that moved, or whatever else distinguishes the event.
    pub bytes: &'a [u8],
}

/// One kept line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// The number of the line that caused it; 0 = the code under test.
    pub cause: u64,
    /// When it happened.
    pub at: SimInstant,
    /// What kind it is.
    pub kind: Kind,
    /// Where it happened.
    pub place: Party,
    /// The other party.
    pub other: Party,
    /// What happened, in words.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, other) = (self.place.to_string(), self.other.to_string());
        let kind = self.kind.name();
        write!(f, "{} {:>7} {kind:<11} {place:>5} {other:>5} {}", self.at, self.number, self.text)?;
        if self.cause != 0 {
            write!(f, " <- {}", self.cause)?;
        }
        Ok(())
    }
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    cause: u64,
    is_first: bool,
    lines: VecDeque<Line>,
    lines_max: usize,
}

impl Trace {
    /// An empty trace that keeps the last `lines_max` lines; 0 keeps none.
    #[must_use]
    pub const fn new(lines_max: usize) -> Self {
        Self { hash: HASH_START, events: 0, cause: 0, is_first: true, lines: VecDeque::new(), lines_max }
    }

    /// Begins the consequences of `cause`: the next recorded event is caused by it, and causes those after itself.
    pub const fn enter(&mut self, cause: u64) {
        self.cause = cause;
        self.is_first = true;
    }

    /// The number of the event whose consequences are being recorded.
    #[must_use]
    pub const fn cause(&self) -> u64 {
        self.cause
    }

    /// Folds an event into the hash and, if lines are kept, adds a line. `text` is called only then.
    pub fn record(&mut self, fact: Fact<'_>, text: impl FnOnce() -> String) {
        self.events += 1;
        let mut hash = fold(self.hash, fact.at.as_nanos());
        hash = fold(hash, fact.kind as u64);
        hash = fold(hash, fact.place.code());
        hash = fold(hash, fact.other.code());
        self.hash = hash_bytes(hash, fact.bytes);
        if self.lines_max > 0 {
            if self.lines.len() == self.lines_max {
                self.lines.pop_front();
            }
            self.lines.push_back(Line {
                number: self.events,
                cause: self.cause,
                at: fact.at,
                kind: fact.kind,
                place: fact.place,
                other: fact.other,
                text: text(),
            });
        }
        if self.is_first {
            self.is_first = false;
            self.cause = self.events;
        }
    }

    /// The hash of everything recorded so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were recorded.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The lines that were kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }
}

/// Any constant but zero does; this one is the fraction of the golden ratio.
pub(crate) const HASH_START: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds one word into a hash. Frozen: trace hashes are stored in plan files.
pub(crate) const fn fold(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ (mixed >> 32)).rotate_left(23)
}

/// Folds bytes and their length into a hash, eight at a time.
pub(crate) fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(nanos: u64, bytes: &[u8]) -> Fact<'_> {
        Fact {
            at: SimInstant::from_nanos(nanos),
            kind: Kind::NodeReceive,
            place: Party::Node(NodeId(1)),
            other: Party::Connection(7),
            bytes,
        }
    }

    #[test]
    fn hash_depends_on_time_and_bytes_but_not_on_kept_lines() {
        let hash = |lines, nanos, bytes: &[u8]| {
            let mut trace = Trace::new(lines);
            trace.record(fact(nanos, bytes), String::new);
            trace.hash()
        };

        assert_eq!(hash(0, 5, b"abc"), hash(10, 5, b"abc"));
        assert_ne!(hash(0, 5, b"abc"), hash(0, 6, b"abc"));
        assert_ne!(hash(0, 5, b"abc"), hash(0, 5, b"abd"));
        assert_ne!(hash(0, 5, b"abc"), hash(0, 5, b"abc\0"), "a zero byte is not padding");
    }

    #[test]
    fn only_the_newest_lines_are_kept() {
        let mut trace = Trace::new(2);
        for nanos in 1..=3 {
            trace.record(fact(nanos, b""), || format!("event {nanos}"));
        }

        let texts: Vec<_> = trace.lines().map(|line| line.text.clone()).collect();
        assert_eq!(texts, ["event 2", "event 3"]);
        assert_eq!(trace.events(), 3);
    }

    #[test]
    fn consequences_name_the_first_event_of_their_scope() {
        let mut trace = Trace::new(10);
        trace.enter(0);
        trace.record(fact(1, b""), String::new);
        trace.record(fact(2, b""), String::new);

        let causes: Vec<_> = trace.lines().map(|line| line.cause).collect();
        assert_eq!(causes, [0, 1]);
        assert_eq!(trace.cause(), 1);
    }
}
