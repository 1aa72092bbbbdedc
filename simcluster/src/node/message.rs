//! What goes into a node and what comes out of it.

use crate::kernel::{NodeId, SimInstant};
use crate::protocol::Consistency;
use crate::replica::{Question, QuestionId, Reply};
use crate::ring::{Location, Token};
use crate::storage::Mutation;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use uuid::Uuid;

/// A client connection accepted by a node. Unique in the whole simulation, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What happens to a node.
#[derive(Debug)]
pub enum Input {
    /// A client's connection was accepted.
    ClientOpened {
        /// The connection.
        client: ClientId,
        /// Where the client sits.
        from: SocketAddr,
    },
    /// Bytes of a client, in any chunking.
    ClientBytes {
        /// The connection.
        client: ClientId,
        /// What arrived.
        bytes: Bytes,
    },
    /// The client closed or reset its connection.
    ClientClosed {
        /// The connection.
        client: ClientId,
    },
    /// A message of another node.
    Peer {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: PeerMessage,
    },
    /// A moment asked for with [`Output::WakeAt`] has come.
    Wake,
    /// An operator tells the node to leave the ring for good (`nodetool decommission`). It hands its data over, tells
    /// the other nodes, and from then on is no part of the ring.
    Decommission,
    /// A forced misbehaviour: what real nodes and middle boxes have been seen to do.
    Misbehave(Misbehaviour),
}

/// Deviations that a plan can force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Send each ready client a RESULT Void on a stream id that has no request.
    ForeignAnswer,
    /// Send the next answer of each ready client on a stream id that has no request.
    MisdirectAnswer,
    /// Flip a bit of the next answer of each ready client whose framing has checksums.
    CorruptAnswer,
    /// Keep wrong rows of the peers from now on, or right ones again.
    DirtyPeers(Option<Dirt>),
    /// Refuse every login from now on, or no longer.
    RejectLogins(bool),
    /// No more of what was forced and has not happened yet: answers, spoiled answers, empty pages.
    Behave,
    /// Forget all prepared statements, as after a cache eviction.
    ForgetPrepared,
    /// Tell registered clients that this node went DOWN, or UP, though nothing happened.
    FalseStatus {
        /// The node named in the event.
        about: NodeId,
        /// UP or DOWN.
        up: bool,
    },
    /// Answer the next continued pages without rows and with the paging state they came with: an empty page that
    /// says there are more is legal.
    EmptyPages {
        /// How many pages.
        pages: u32,
    },
    /// Answer the next statements that would be coordinated with this instead of carrying them out. Reads of the
    /// node's own tables go on as usual.
    ForceAnswers {
        /// With what.
        answer: ForcedAnswer,
        /// How many statements.
        statements: u32,
    },
}

/// What is wrong with the rows that a node keeps of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dirt {
    /// The row of its first peer has no host id.
    NoHostId,
    /// The row of its first peer has no tokens.
    NoTokens,
    /// The row of its first peer says that clients reach it at 0.0.0.0.
    AnyAddress,
    /// The row of its first peer is missing.
    NoRow,
    /// All rows are missing.
    NoRows,
    /// There is a row about the node itself.
    OwnRow,
}

/// An answer that was not earned. No statement answered so has been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedAnswer {
    /// ERROR 0x1001.
    Overloaded,
    /// ERROR 0x0000.
    ServerError,
    /// ERROR 0x1002.
    IsBootstrapping,
    /// RESULT Rows that ends in the middle of its metadata.
    Malformed,
    /// RESULT Rows that claims two thousand million columns in a few bytes.
    HugeCount,
    /// RESULT of a kind that does not exist.
    UnknownKind,
    /// RESULT Rows with a keyspace name that is no UTF-8.
    BrokenText,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Output {
    /// Send bytes to a client: one whole response or event (a v5 segment may carry it).
    ToClient {
        /// The connection.
        client: ClientId,
        /// What the bytes are, for faults that delay or lose one kind.
        kind: ClientOutput,
        /// The bytes.
        bytes: Bytes,
    },
    /// Close a client's connection after what was sent before.
    CloseClient {
        /// The connection.
        client: ClientId,
    },
    /// Send a message to another node.
    ToPeer {
        /// The receiver.
        to: NodeId,
        /// What to say.
        message: PeerMessage,
    },
    /// Call `handle` with [`Input::Wake`] at this moment; several may be outstanding.
    WakeAt(SimInstant),
    /// A fact for the ledger and the trace.
    Observed(Observation),
}

/// What kind of bytes go to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// The answer to the request on this stream.
    Response {
        /// The stream id.
        stream: i16,
    },
    /// A pushed event.
    Event,
}

/// A message between nodes.
#[derive(Clone, Debug)]
pub enum PeerMessage {
    /// "I am alive", with what a peer's row says about the sender; or what the sender has learned about a third node.
    /// Shared, because one round sends the same to every peer.
    Gossip(Arc<GossipState>),
    /// A coordinator asks.
    Question {
        /// To be echoed.
        id: QuestionId,
        /// What to do.
        question: Box<Question>,
    },
    /// A replica answers.
    Reply {
        /// Which question.
        id: QuestionId,
        /// The answer.
        reply: Box<Reply>,
    },
    /// Schema rows that have changed.
    SchemaPush(Vec<Mutation>),
    /// "Send me your schema rows": the sender saw a version other than its own.
    SchemaPull,
    /// "I am joining: send me what I shall own."
    StreamPull,
    /// Data whose owner changes.
    Stream {
        /// To be echoed by [`PeerMessage::StreamDone`].
        session: u64,
        /// The data.
        mutations: Vec<Mutation>,
    },
    /// Streamed data have been applied.
    StreamDone {
        /// Which.
        session: u64,
    },
}

impl PeerMessage {
    /// Roughly its size in bytes, for bandwidth.
    #[must_use]
    pub fn size(&self) -> usize {
        const HEADER: usize = 32;
        let all = |mutations: &[Mutation]| mutations.iter().map(Mutation::size).sum::<usize>();
        HEADER
            + match self {
                Self::Gossip(state) => 96 + 8 * state.tokens.len(),
                Self::Question { question, .. } => question.size(),
                // An answer's size is known here, where its data are.
                Self::Reply { reply, .. } => match &**reply {
                    Reply::Data(answer) => {
                        answer.partitions.iter().map(|(key, partition)| key.len() + partition.size()).sum()
                    }
                    reply => reply.size(),
                },
                Self::SchemaPush(mutations) | Self::Stream { mutations, .. } => all(mutations),
                Self::SchemaPull | Self::StreamPull | Self::StreamDone { .. } => 0,
            }
    }
}

/// What a node tells its peers about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipState {
    /// Whom it is about.
    pub node: NodeId,
    /// Grows with each restart.
    pub generation: u32,
    /// Grows with each round.
    pub version: u64,
    /// Its identity.
    pub host_id: Uuid,
    /// Its client address.
    pub address: SocketAddr,
    /// Its place.
    pub location: Location,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its release.
    pub release: String,
    /// The version of its schema.
    pub schema_version: Uuid,
    /// Whose tokens it takes over.
    pub replaces: Option<NodeId>,
    /// Joining, normal, leaving, left, shutting down.
    pub status: NodeStatus,
}

/// A node's standing in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are Cassandra's own names")]
pub enum NodeStatus {
    Joining,
    Normal,
    Leaving,
    Left,
    Shutdown,
}

/// What a request asks for beside its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The consistency level.
    pub consistency: Consistency,
    /// The serial consistency level, if it is given.
    pub serial_consistency: Option<Consistency>,
    /// The write time, in microseconds, if it is given.
    pub timestamp: Option<i64>,
}

/// A fact about what a node saw or did; the engine adds node and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A request envelope was decoded.
    Request {
        /// The connection.
        client: ClientId,
        /// Its stream id.
        stream: i16,
        /// Its opcode.
        opcode: u8,
        /// The `nonce` of its custom payload.
        nonce: Option<Bytes>,
        /// Whether the node still owed an answer on this stream.
        stream_was_busy: bool,
        /// What QUERY, EXECUTE and BATCH say beside the statement.
        asked: Option<Asked>,
    },
    /// A response envelope was encoded.
    Response {
        /// The connection.
        client: ClientId,
        /// Its stream id.
        stream: i16,
        /// Its opcode.
        opcode: u8,
        /// The code of an ERROR.
        error: Option<i32>,
        /// The `nonce` of the request.
        nonce: Option<Bytes>,
    },
    /// An answer was sent on another stream, or with a flipped bit, on purpose: the connection must not outlive it.
    Spoiled {
        /// The connection.
        client: ClientId,
    },
    /// The answer that follows cannot be understood, on purpose: no call may take it for one.
    Malformed {
        /// The connection.
        client: ClientId,
    },
    /// A client registered for events.
    Registered {
        /// The connection.
        client: ClientId,
    },
    /// An event was sent to a client.
    EventSent {
        /// The connection.
        client: ClientId,
        /// `UP 10.0.0.2:9042`, `NEW_NODE …`, `CREATED TABLE ks.t`.
        event: String,
    },
    /// A client broke the protocol.
    ProtocolViolation {
        /// The connection.
        client: ClientId,
        /// What was wrong.
        reason: String,
    },
    /// The node's failure detector changed its mind about a peer.
    Liveness {
        /// The peer.
        peer: NodeId,
        /// Alive or not.
        alive: bool,
    },
}
