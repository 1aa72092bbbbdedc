//! Opens connections with the session's current version, keyspace and cluster name.
//!
//! # Invariants
//!
//! - The protocol version steps down until the first connection succeeds and is fixed from then on.
//! - A connection handed to a pool uses the keyspace that is current at that moment.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::connection::{CallError, ConnectError, Connection, ConnectionConfig};
use crate::env::{Environment, Instant};
use crate::protocol::ProtocolVersion;
use crate::protocol::request::{EnvelopeOptions, Parameters, Query};
use crate::protocol::response::Message;

/// Opens the connections of one session.
pub(crate) struct ConnectionFactory {
    base: ConnectionConfig,
    current: Mutex<Current>,
}

#[derive(Clone)]
struct Current {
    version: ProtocolVersion,
    is_version_fixed: bool,
    keyspace: Option<String>,
    cluster_name: Option<String>,
}

impl ConnectionFactory {
    /// Uses `base` for everything but the address, version, keyspace and cluster name.
    pub(crate) fn new(base: ConnectionConfig, keyspace: Option<String>) -> Self {
        let version = base.protocol_version;
        let current = Current { version, is_version_fixed: false, keyspace, cluster_name: None };
        Self { base, current: Mutex::new(current) }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.current().version
    }

    pub(crate) fn keyspace(&self) -> Option<String> {
        self.current().keyspace
    }

    pub(crate) fn set_keyspace(&self, keyspace: &str) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).keyspace = Some(keyspace.to_owned());
    }

    /// Opens a connection without a keyspace, stepping down the version while it is not fixed.
    pub(crate) async fn open_control(
        &self,
        environment: &Environment,
        address: SocketAddr,
    ) -> Result<Connection, ConnectError> {
        let mut current = self.current();
        loop {
            let config = ConnectionConfig { keyspace: None, ..self.config(address, &current) };
            match Connection::open(environment, config).await {
                Ok((connection, info)) => {
                    let mut shared = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                    if !shared.is_version_fixed {
                        shared.version = current.version;
                        shared.is_version_fixed = true;
                        shared.cluster_name = Some(info.cluster_name);
                    }
                    return Ok(connection);
                }
                Err(error @ ConnectError::UnsupportedVersion { .. }) => match current.version.previous() {
                    Some(older) if !current.is_version_fixed => current.version = older,
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a connection in the current keyspace.
    pub(super) async fn open(
        &self,
        environment: &Environment,
        address: SocketAddr,
    ) -> Result<Connection, ConnectError> {
        let mut current = self.current();
        let (connection, _) = Connection::open(environment, self.config(address, &current)).await?;
        // The application may have changed the keyspace while the connection was being opened.
        while self.keyspace() != current.keyspace {
            current = self.current();
            if let Some(keyspace) = &current.keyspace {
                let deadline = Instant::now() + self.base.connect_timeout;
                use_keyspace(&connection, keyspace, deadline).await.map_err(|_| ConnectError::Timeout)?;
            }
        }
        Ok(connection)
    }

    fn current(&self) -> Current {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

/// Switches one connection to `keyspace`. `Ok(false)` means that the server refused.
pub(crate) async fn use_keyspace(
    connection: &Connection,
    keyspace: &str,
    deadline: Instant,
) -> Result<bool, CallError> {
    let text = format!("USE \"{}\"", keyspace.replace('"', "\"\""));
    let query = Query { text: &text, parameters: Parameters::default(), options: EnvelopeOptions::default() };
    let response = connection.call(&query, Some(deadline)).await?;
    Ok(matches!(response.decode().map(|decoded| decoded.message), Ok(Message::Result(_))))
}
