//! What the cluster saw, as plain values: the ledger of the simulation in the form that checkers use.

use crate::history::Nonce;
use simcluster::fault::Fault;
use std::time::Duration;

/// One fact of the ledger. Times count from the start of the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When.
    pub at: Duration,
    /// When the client did what led to it; the same as `at` if no client did.
    pub caused_at: Duration,
    /// Which node.
    pub node: u32,
    /// What.
    pub what: Wire,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A client's connection was accepted.
    Opened {
        /// Which.
        connection: u64,
        /// The session's name.
        client: String,
    },
    /// A connection ended.
    Closed {
        /// Which.
        connection: u64,
        /// Whether the client ended it, at `caused_at`.
        by_client: bool,
    },
    /// The client let go of its end of a connection, whenever the node may learn of it.
    Dropped {
        /// Which.
        connection: u64,
    },
    /// A request arrived.
    Request {
        /// On which connection.
        connection: u64,
        /// On which stream.
        stream: i16,
        /// Which kind.
        opcode: u8,
        /// Of which call.
        nonce: Option<Nonce>,
        /// What it asks for, if it carries a statement.
        asked: Option<Asked>,
    },
    /// A client began to connect to a node.
    Dialled {
        /// The session's name.
        client: String,
        /// The address, as text.
        address: String,
        /// Whether any node has it.
        is_known: bool,
    },
    /// An answer was sent on another stream, or with a flipped bit, on purpose.
    Spoiled {
        /// On which connection.
        connection: u64,
    },
    /// A response left.
    Response {
        /// On which connection.
        connection: u64,
        /// On which stream.
        stream: i16,
        /// Which kind.
        opcode: u8,
        /// The error's code.
        error: Option<i32>,
        /// Of which call.
        nonce: Option<Nonce>,
    },
    /// The next answer on a connection cannot be understood, on purpose.
    Malformed {
        /// On which connection.
        connection: u64,
    },
    /// The client has read the whole answer on a stream, which had arrived at `caused_at`.
    AnswerRead {
        /// On which connection.
        connection: u64,
        /// On which stream.
        stream: i16,
    },
    /// A client registered for events.
    Registered {
        /// On which connection.
        connection: u64,
    },
    /// An event was pushed.
    Event {
        /// To which connection.
        connection: u64,
        /// Its text.
        event: String,
    },
    /// The client broke the protocol.
    Violation {
        /// On which connection.
        connection: u64,
        /// How.
        reason: String,
    },
    /// The node sent every client an answer that nobody asked for, on purpose.
    ForeignAnswer,
    /// A fault began or ended.
    Fault {
        /// Whether it began.
        begins: bool,
        /// Which.
        fault: Fault,
    },
    /// Something else worth a line in a story.
    Note(String),
}

/// What a request asks for beside its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The consistency level, as in the protocol.
    pub consistency: u16,
    /// The write time, in microseconds.
    pub timestamp: Option<i64>,
}

/// Protocol opcodes that carry statements, and the ones checkers name.
pub mod opcode {
    /// QUERY.
    pub const QUERY: u8 = 0x07;
    /// PREPARE.
    pub const PREPARE: u8 = 0x09;
    /// EXECUTE.
    pub const EXECUTE: u8 = 0x0a;
    /// REGISTER.
    pub const REGISTER: u8 = 0x0b;
    /// BATCH.
    pub const BATCH: u8 = 0x0d;

    /// Whether a request of this kind runs a statement.
    #[must_use]
    pub const fn runs_statement(opcode: u8) -> bool {
        matches!(opcode, QUERY | EXECUTE | BATCH)
    }
}

/// Protocol error codes that checkers name.
pub mod error_code {
    /// UNAVAILABLE.
    pub const UNAVAILABLE: i32 = 0x1000;
    /// OVERLOADED.
    pub const OVERLOADED: i32 = 0x1001;
    /// IS_BOOTSTRAPPING.
    pub const IS_BOOTSTRAPPING: i32 = 0x1002;
    /// WRITE_TIMEOUT.
    pub const WRITE_TIMEOUT: i32 = 0x1100;
    /// READ_TIMEOUT.
    pub const READ_TIMEOUT: i32 = 0x1200;
    /// The first code of errors about the statement itself: nothing was executed.
    pub const STATEMENT_ERRORS: i32 = 0x2000;
    /// UNPREPARED.
    pub const UNPREPARED: i32 = 0x2500;
}
