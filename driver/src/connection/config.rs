//! How a connection is opened and guarded.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::authenticator::Authenticator;
use crate::protocol::ProtocolVersion;
use crate::protocol::compression::Compression;
use crate::protocol::envelope::BODY_LEN_MAX;

/// Options of one connection.
#[derive(Clone)]
pub struct ConnectionConfig {
    /// Where to connect to.
    pub address: SocketAddr,
    /// Version to speak. An older one is the caller's decision, see
    /// [`super::ConnectError::UnsupportedVersion`].
    pub protocol_version: ProtocolVersion,
    /// Compression to use if the node supports it. Default none.
    pub compression: Option<Compression>,
    /// Credentials. Default none.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Keyspace to use from the start, its name taken literally, without quotes. Default none.
    pub keyspace: Option<String>,
    /// Name the cluster must have. Default any.
    pub cluster_name: Option<String>,
    /// Identity the node must have. Default any.
    pub host_id: Option<Uuid>,
    /// Name of the application, reported to the node. Default none.
    pub application_name: Option<String>,
    /// Whether a node with too many requests in hand refuses more of them, rather than reading no further.
    pub throw_on_overload: bool,
    /// Limit for connecting and the whole handshake. Default 5 s.
    pub connect_timeout: Duration,
    /// Time without a byte read after which the node is probed; `None` never probes. Default 30 s.
    pub heartbeat_interval: Option<Duration>,
    /// Time the node has to answer a probe. Default 5 s.
    pub heartbeat_timeout: Duration,
    /// Requests awaiting their answer at once, at most 32,000. Default 1,024: a node that owes
    /// more is better helped by another connection.
    pub in_flight_max: usize,
    /// Requests given up and not answered yet, beyond which the connection retires. Default 256.
    pub orphans_max: usize,
    /// Bytes queued for writing beyond which calls are refused. Default 32 MiB.
    pub write_buffer_max: usize,
    /// Longest answer accepted, in bytes. Default 256 MiB, the protocol's own limit.
    pub body_len_max: usize,
}

impl ConnectionConfig {
    /// The defaults for a node.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            protocol_version: ProtocolVersion::NEWEST,
            compression: None,
            authenticator: None,
            keyspace: None,
            cluster_name: None,
            host_id: None,
            application_name: None,
            throw_on_overload: false,
            connect_timeout: Duration::from_secs(5),
            heartbeat_interval: Some(Duration::from_secs(30)),
            heartbeat_timeout: Duration::from_secs(5),
            in_flight_max: 1024,
            orphans_max: 256,
            write_buffer_max: 32 << 20,
            body_len_max: BODY_LEN_MAX,
        }
    }
}

/// Leaves the authenticator out: it holds credentials.
impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("address", &self.address)
            .field("protocol_version", &self.protocol_version)
            .field("compression", &self.compression)
            .field("keyspace", &self.keyspace)
            .finish_non_exhaustive()
    }
}
