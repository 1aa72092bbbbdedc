//! Why a connection could not be opened, why it ended, why a call on it failed.

use std::fmt;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::protocol::response::ServerError;
use crate::protocol::{DecodeError, EncodeError, ProtocolVersion};

/// Why a connection could not be opened. No request of the application was involved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The node cannot be reached, or hung up.
    Unreachable(IoFailure),
    /// The node did not finish the handshake in time.
    Timeout,
    /// The node does not speak the requested protocol version: try an older one.
    UnsupportedVersion {
        /// The version asked for.
        requested: ProtocolVersion,
        /// The version number of the answer's header, often the newest that the node speaks.
        answered: u8,
        /// The server's own words, which usually list the versions it speaks.
        message: String,
    },
    /// The node wants credentials and none are configured.
    CredentialsRequired {
        /// Class of the server's authenticator.
        authenticator: String,
    },
    /// The node rejected the credentials, or the authenticator gave up.
    AuthenticationFailed(String),
    /// The node belongs to another cluster.
    WrongCluster {
        /// Name the cluster should have.
        expected: String,
        /// Name the node reports.
        got: String,
    },
    /// Another node answers at the address: read the list of nodes again.
    WrongNode {
        /// Identity the node should have.
        expected: Uuid,
        /// Identity the node reports.
        got: Uuid,
    },
    /// The keyspace cannot be used.
    Keyspace {
        /// Name of the keyspace.
        keyspace: String,
        /// The server's reason.
        error: ServerError,
    },
    /// The node refused the connection with an error.
    Refused(ServerError),
    /// The node's answers break the protocol.
    Protocol(DecodeError),
    /// The node gave an answer that does not belong to the handshake.
    UnexpectedAnswer(&'static str),
    /// The driver could not write a request of the handshake.
    Encode(EncodeError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(_) => f.write_str("the node cannot be reached"),
            Self::Timeout => f.write_str("the node did not finish the handshake in time"),
            Self::UnsupportedVersion { requested, message, .. } => {
                write!(f, "the node does not speak protocol {requested}: {message}")
            }
            Self::CredentialsRequired { authenticator } => {
                write!(f, "the node requires credentials ({authenticator}), none are configured")
            }
            Self::AuthenticationFailed(message) => write!(f, "authentication failed: {message}"),
            Self::WrongCluster { expected, got } => {
                write!(f, "the node belongs to cluster {got:?}, not to {expected:?}")
            }
            Self::WrongNode { expected, got } => {
                write!(f, "node {got} answers at the address of node {expected}")
            }
            Self::Keyspace { keyspace, .. } => write!(f, "keyspace {keyspace:?} cannot be used"),
            Self::Refused(_) => f.write_str("the node refused the connection"),
            Self::Protocol(_) => f.write_str("the node broke the protocol"),
            Self::UnexpectedAnswer(request) => write!(f, "unexpected answer to {request}"),
            Self::Encode(_) => f.write_str("a request of the handshake cannot be written"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(failure) => Some(failure),
            Self::Keyspace { error, .. } | Self::Refused(error) => Some(error),
            Self::Protocol(error) => Some(error),
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DecodeError> for ConnectError {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error)
    }
}

/// A failed operation of the transport, kept so that it can be shared and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoFailure {
    /// What kind of failure it was.
    pub kind: io::ErrorKind,
    /// The transport's own words.
    pub message: Arc<str>,
}

impl From<io::Error> for IoFailure {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string().into() }
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for IoFailure {}

/// Why a connection ended, or takes no new calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The driver closed it, for this reason.
    Requested(&'static str),
    /// The node closed it.
    PeerClosed,
    /// The transport failed.
    Io(IoFailure),
    /// The node did not answer a heartbeat in time.
    HeartbeatTimeout,
    /// The node broke the protocol.
    Protocol(DecodeError),
    /// The node answered a stream id that no request has.
    ForeignStream(i16),
    /// The node reported an error of the connection itself.
    Server(Box<ServerError>),
    /// Too many requests were given up and never answered: the connection needs a replacement.
    TooManyOrphans,
    /// The connection's task was stopped from outside.
    TaskStopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(why) => write!(f, "closed by the driver: {why}"),
            Self::PeerClosed => f.write_str("closed by the node"),
            Self::Io(failure) => write!(f, "the transport failed: {failure}"),
            Self::HeartbeatTimeout => f.write_str("the node did not answer a heartbeat"),
            Self::Protocol(error) => write!(f, "the node broke the protocol: {error}"),
            Self::ForeignStream(stream) => {
                write!(f, "the node answered stream {stream}, which no request has")
            }
            Self::Server(error) => write!(f, "the node reported an error: {error}"),
            Self::TooManyOrphans => f.write_str("too many requests were never answered"),
            Self::TaskStopped => f.write_str("the connection's task was stopped"),
        }
    }
}

/// Why a call failed without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The request cannot be written. Nothing was sent.
    Encode(EncodeError),
    /// All stream ids are taken or the write buffer is full. Nothing was sent.
    Busy,
    /// The connection takes no new calls. Nothing was sent.
    Closed(CloseReason),
    /// The connection ended before the last byte of the request was handed to the transport. The
    /// node cannot have acted on it.
    NotSent(CloseReason),
    /// The connection ended after that. The node may have acted on the request.
    MaybeSent(CloseReason),
    /// The deadline passed. The node may have acted on the request, or may still do so.
    Timeout,
}

impl CallError {
    /// Whether the node may have acted on the request.
    pub fn is_maybe_sent(&self) -> bool {
        match self {
            Self::MaybeSent(_) | Self::Timeout => true,
            Self::Encode(_) | Self::Busy | Self::Closed(_) | Self::NotSent(_) => false,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(_) => f.write_str("the request cannot be written"),
            Self::Busy => f.write_str("the connection has as many requests as it can take"),
            Self::Closed(reason) => write!(f, "the connection takes no requests ({reason})"),
            Self::NotSent(reason) => write!(f, "the connection ended before the request left ({reason})"),
            Self::MaybeSent(reason) => {
                write!(f, "the connection ended before the answer came ({reason})")
            }
            Self::Timeout => f.write_str("no answer came in time"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}
