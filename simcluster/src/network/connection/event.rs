//! What goes into the network when it is due, and what comes out of it.
//!
//! Here and not with the connections, because these are what the engine sees of them.

use super::ConnectionId;
use crate::kernel::{NodeId, SimInstant};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// Something the network wants to be told of when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request to connect reaches the node's machine; `attempt` counts from 0.
    Syn {
        /// The connection.
        connection: ConnectionId,
        /// How often it was repeated.
        attempt: u32,
    },
    /// A segment arrives at the node.
    AtNode(ConnectionId),
    /// A segment arrives at the client.
    AtClient(ConnectionId),
}

/// Something that happened, for the node or the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A connection was accepted for the node.
    Opened {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// Where the client sits.
        from: SocketAddr,
        /// The client's name.
        client: Arc<str>,
    },
    /// Bytes reached the node.
    Bytes {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// What arrived.
        bytes: Bytes,
        /// When the client wrote them.
        sent_at: SimInstant,
    },
    /// The client closed or reset the connection.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// When the client did so.
        sent_at: SimInstant,
    },
    /// Bytes reached the client.
    AtClient {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// What arrived.
        bytes: Bytes,
    },
    /// The client's end was established, refused, reset or closed by the node.
    Socket {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// What happened, in a word.
        what: &'static str,
    },
    /// The client has read the last byte of the answer on this stream.
    AnswerRead {
        /// The connection.
        connection: ConnectionId,
        /// The node.
        node: NodeId,
        /// The answered request's stream id.
        stream: i16,
        /// When that byte had arrived.
        arrived_at: SimInstant,
    },
}
