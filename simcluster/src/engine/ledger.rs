//! The truth about a run: everything nodes saw and did, and everything that happened to them.

use crate::fault::{CrashKind, Fault};
use crate::kernel::{NodeId, SimInstant};
use crate::node::{ClientId, Observation};
use std::net::SocketAddr;
use std::sync::Arc;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// When it happened.
    pub at: SimInstant,
    /// When the client wrote the bytes that led to it; the same as `at` if no client did.
    pub caused_at: SimInstant,
    /// Where it happened; for a fault, the first node it names.
    pub node: NodeId,
    /// What happened.
    pub fact: LedgerFact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerFact {
    /// The node reported this.
    Node(Observation),
    /// The node accepted a connection.
    ConnectionOpened {
        /// The connection, as in observations.
        connection: ClientId,
        /// The client's name.
        client: Arc<str>,
        /// Where the client sits.
        from: SocketAddr,
    },
    /// A client began to connect to the node; the first one, if no node has the address.
    Dialled {
        /// The client's name.
        client: Arc<str>,
        /// Where to.
        address: SocketAddr,
        /// Whether any node has this address.
        is_known: bool,
    },
    /// The node's end of a connection is gone. If the client ended it, `caused_at` is earlier than `at`.
    ConnectionClosed {
        /// The connection, as in observations.
        connection: ClientId,
    },
    /// The client let go of its end, whenever the node may learn of it.
    ConnectionDropped {
        /// The connection, as in observations.
        connection: ClientId,
    },
    /// The client has read the whole answer on this stream. Answers are read in the order in which they were sent.
    AnswerRead {
        /// The connection, as in observations.
        connection: ClientId,
        /// The answered request's stream id.
        stream: i16,
    },
    /// A fault lost this answer.
    AnswerLost {
        /// The connection, as in observations.
        connection: ClientId,
        /// The answered request's stream id.
        stream: i16,
    },
    /// The process ended.
    Crashed(CrashKind),
    /// The process was started again.
    Restarted,
    /// The process stands still.
    Paused,
    /// The process goes on.
    Resumed,
    /// The node begins to join.
    Joining,
    /// The node has, or will start with, this address.
    Moved(SocketAddr),
    /// The machine died for good: another one replaces it.
    Gone,
    /// A fault began (or happened, if it is instantaneous).
    FaultBegan(Fault),
    /// A fault ended.
    FaultEnded(Fault),
}
