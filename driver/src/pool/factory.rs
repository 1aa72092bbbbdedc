//! Opens connections with the session's current version, keyspace and cluster name.
//!
//! # Invariants
//!
//! - The session's protocol version only ever falls: to what the first node speaks, then to what every node speaks.
//! - A connection handed to a pool uses the keyspace that is current at that moment, and belongs to the node asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{debug, info};
use uuid::Uuid;

use crate::connection::{CallError, ConnectError, Connection, ConnectionConfig, ConnectionInfo};
use crate::env::mutants::is_planted;
use crate::env::{Environment, Instant};
use crate::protocol::ProtocolVersion;
use crate::protocol::request::{EnvelopeOptions, Parameters, Query};
use crate::protocol::response::Message;

/// Opens the connections of one session.
pub(crate) struct ConnectionFactory {
    base: ConnectionConfig,
    current: Mutex<Current>,
    /// Number of the current version, which every request asks for.
    version: AtomicU8,
}

#[derive(Clone)]
struct Current {
    version: ProtocolVersion,
    keyspace: Option<String>,
    cluster_name: Option<String>,
}

/// A connection for a pool.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// The one it is in, which the session may have left since.
    pub(super) keyspace: Option<String>,
    /// The node speaks only an older version than the session did: connections of newer ones are to be replaced.
    pub(super) is_version_lowered: bool,
}

impl ConnectionFactory {
    /// Uses `base` for everything but the address, version and keyspace. The name of the cluster is learned, if `base` has
    /// none.
    pub(crate) fn new(base: ConnectionConfig, keyspace: Option<String>) -> Self {
        let cluster_name = base.cluster_name.clone();
        let current = Current { version: base.protocol_version, keyspace, cluster_name };
        let version = AtomicU8::new(current.version.number());
        Self { base, current: Mutex::new(current), version }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        ProtocolVersion::from_number(self.version.load(Ordering::Acquire)).unwrap_or(self.base.protocol_version)
    }

    pub(crate) fn keyspace(&self) -> Option<String> {
        self.lock().keyspace.clone()
    }

    pub(crate) fn set_keyspace(&self, keyspace: &str) {
        self.lock().keyspace = Some(keyspace.to_owned());
    }

    /// Makes the session speak at most `version`; `true` if it spoke a newer one.
    pub(crate) fn lower_version(&self, version: ProtocolVersion) -> bool {
        let mut current = self.lock();
        let is_lower = version < current.version;
        if is_lower {
            info!(from = %current.version, to = %version, "protocol version lowered");
            current.version = version;
            self.version.store(version.number(), Ordering::Release);
        }
        is_lower
    }

    /// Opens a connection without a keyspace to whatever node is at `address`, in the newest version both speak.
    pub(crate) async fn open_control(
        &self,
        environment: &Environment,
        address: SocketAddr,
    ) -> Result<Connection, ConnectError> {
        let mut config = ConnectionConfig { keyspace: None, ..self.config(address, &self.current()) };
        // The limit is meant for requests of the application; a refresh has its queries under way together.
        config.in_flight_max = config.in_flight_max.max(CONTROL_IN_FLIGHT_MIN);
        let (connection, info) = step_down(environment, config).await?;
        self.lower_version(connection.version());
        self.lock().cluster_name.get_or_insert(info.cluster_name);
        Ok(connection)
    }

    /// Opens a connection to a node in the current keyspace, stepping down the version for a node that speaks less.
    pub(super) async fn open(
        &self,
        environment: &Environment,
        host_id: Uuid,
        address: SocketAddr,
    ) -> Result<Opened, ConnectError> {
        let current = self.current();
        let mut config = ConnectionConfig { host_id: Some(host_id), ..self.config(address, &current) };
        if is_planted("K02-new-connections-keep-the-old-keyspace") {
            config.keyspace.clone_from(&self.base.keyspace);
        }
        let (connection, _) = step_down(environment, config).await?;
        let is_version_lowered = self.lower_version(connection.version());
        Ok(Opened { connection, keyspace: current.keyspace, is_version_lowered })
    }

    /// Whether a connection that was opened for a pool is in the session's keyspace.
    pub(super) fn is_in_keyspace(&self, opened: &Opened) -> bool {
        self.lock().keyspace == opened.keyspace || is_planted("K02-new-connections-keep-the-old-keyspace")
    }

    /// Takes a connection to the session's keyspace, if the application has changed it meanwhile.
    pub(super) async fn follow_keyspace(&self, opened: &mut Opened) -> Result<(), ConnectError> {
        while !self.is_in_keyspace(opened) {
            opened.keyspace = self.keyspace();
            if let Some(keyspace) = &opened.keyspace {
                let deadline = Instant::now() + self.base.connect_timeout;
                use_keyspace(&opened.connection, keyspace, deadline).await.map_err(|_| ConnectError::Timeout)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Current {
        self.lock().clone()
    }

    fn config(&self, address: SocketAddr, current: &Current) -> ConnectionConfig {
        ConnectionConfig {
            address,
            protocol_version: current.version,
            keyspace: current.keyspace.clone(),
            cluster_name: current.cluster_name.clone(),
            ..self.base.clone()
        }
    }
}

/// Opens a connection in the version of `config`, or the next older one the node speaks.
async fn step_down(
    environment: &Environment,
    mut config: ConnectionConfig,
) -> Result<(Connection, ConnectionInfo), ConnectError> {
    loop {
        match Connection::open(environment, config.clone()).await {
            Err(error @ ConnectError::UnsupportedVersion { .. }) => {
                let Some(older) = config.protocol_version.previous() else { return Err(error) };
                debug!(address = %config.address, refused = %config.protocol_version, "stepping down");
                config.protocol_version = older;
            }
            outcome => return outcome,
        }
    }
}

/// Switches one connection to `keyspace`. `Ok(false)` means that the server refused.
pub(crate) async fn use_keyspace(
    connection: &Connection,
    keyspace: &str,
    deadline: Instant,
) -> Result<bool, CallError> {
    let text = format!("USE \"{}\"", keyspace.replace('"', "\"\""));
    let query = Query { text: &text, parameters: Parameters::default(), options: EnvelopeOptions::default() };
    let response = connection.call(&query, Some(deadline)).await?;
    Ok(matches!(response.response.decode().map(|decoded| decoded.message), Ok(Message::Result(_))))
}

/// Requests that a control connection carries at once whatever the limit of the others: more than one refresh has.
const CONTROL_IN_FLIGHT_MIN: usize = 64;
