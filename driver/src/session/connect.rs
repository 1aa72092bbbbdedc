//! Opens a session: over one contact point to the whole cluster.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::builder::SessionBuilder;
use super::contact_points::parse_contact_points;
use super::handle::{Session, Shared};
use crate::connection::ConnectError;
use crate::control::{ContactPoint, ControlSettings, ControlWorker, Inbox, MetadataError, establish_first, resolve};
use crate::env::{Calendar, Environment, timeout};
use crate::execution::{Background, Error, ErrorKind, Executor, Metrics, PreparedCache, Result, WarmUpStatements};
use crate::policy::{Budget, TokenAware};
use crate::pool::{ConnectionFactory, PoolObserver, PoolSettings};

impl SessionBuilder {
    /// Opens the session: finds the cluster over one contact point, reads nodes and schema, and waits until every
    /// node was tried once.
    ///
    /// Dropping the future closes whatever it had opened.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Configuration`] for contact points that are missing or malformed.
    /// - [`ErrorKind::NoContactPoint`] if none can be used, with the reason for each.
    /// - [`ErrorKind::UnsupportedProtocolVersion`], [`ErrorKind::Authentication`] if a node says so.
    /// - [`ErrorKind::KeyspaceMissing`] if the cluster does not have the keyspace.
    pub async fn connect(self) -> Result<Session> {
        let contact_points = parse_contact_points(&self.contact_points)?;
        let environment = self.environment.clone().unwrap_or_else(Environment::tokio);
        let factory = Arc::new(ConnectionFactory::new(self.connection.clone(), self.keyspace.clone()));
        let control_settings = self.control_settings(&environment, &factory, contact_points);
        let inbox = Inbox::new(&control_settings);
        let addresses = shuffled(resolve(&control_settings).await, &environment);
        let established = establish_first(&control_settings, &addresses, &inbox.sink(), None)
            .await
            .map_err(|failures| connect_error(&failures, &self.contact_points))?;
        if let Some(keyspace) = &self.keyspace
            && !established.schema.keyspaces.contains_key(keyspace.as_str())
        {
            return Err(Error::not_sent(ErrorKind::KeyspaceMissing(keyspace.clone())));
        }
        self.check_local_datacenter(&established.topology.nodes)?;
        let statements = Arc::new(PreparedCache::new(self.prepared_cache_size));
        let background = Background::new(Arc::clone(&environment.spawner));
        let pool_settings = Arc::new(PoolSettings {
            environment: environment.clone(),
            factory: Arc::clone(&factory),
            size: self.connections_per_node,
            reconnection: Arc::clone(&self.reconnection),
            stable_after: self.connection.heartbeat_interval.unwrap_or(STABLE_AFTER),
            dial_permits: Semaphore::new(DIALS_MAX),
            observer: Arc::clone(&inbox) as Arc<dyn PoolObserver>,
            warm_up: Arc::new(WarmUpStatements {
                cache: Arc::clone(&statements),
                factory: Arc::clone(&factory),
                settings: self.preparation,
            }),
        });
        let load_balancing = Arc::clone(&control_settings.load_balancing);
        let control = ControlWorker::start(control_settings, pool_settings, inbox, established);
        let executor = Executor {
            calendar: Calendar::new(Arc::clone(&environment.wall_clock)),
            environment,
            state: Arc::clone(control.state()),
            load_balancing,
            retry: self.retry,
            timestamps: self.timestamps,
            defaults: self.defaults,
            speculation: self.speculation,
            retry_budget: Budget::new(self.retry_budget),
            speculation_budget: Budget::new(self.speculation_budget),
            metrics: Metrics::default(),
            tracker: self.tracker,
            is_closed: AtomicBool::new(false),
        };
        let agreement_timeout = self.agreement_timeout;
        let shared = Shared {
            executor,
            control,
            factory,
            statements,
            preparation: self.preparation,
            background,
            profiles: self.profiles,
            agreement_timeout,
            keyspace_change: tokio::sync::Mutex::default(),
        };
        let session = Session { shared: Arc::new(shared) };
        session.wait_until_tried(self.connection.connect_timeout).await;
        Ok(session)
    }

    fn control_settings(
        &self,
        environment: &Environment,
        factory: &Arc<ConnectionFactory>,
        contact_points: Vec<ContactPoint>,
    ) -> ControlSettings {
        let load_balancing = self.load_balancing.clone().unwrap_or_else(|| match &self.local_datacenter {
            Some(name) => Arc::new(TokenAware::in_datacenter(name.as_str())),
            None => Arc::new(TokenAware::new()),
        });
        ControlSettings {
            environment: environment.clone(),
            factory: Arc::clone(factory),
            contact_points,
            reconnection: Arc::clone(&self.reconnection),
            load_balancing,
            translation: Arc::clone(&self.translation),
            windows: self.windows,
            keyspace_filter: self.keyspace_filter.clone(),
            node_listeners: self.node_listeners.clone(),
            schema_listeners: self.schema_listeners.clone(),
            refresh_interval: self.refresh_interval,
            timeout: self.control_timeout,
        }
    }

    fn check_local_datacenter(&self, nodes: &[crate::topology::Node]) -> Result<()> {
        let Some(name) = &self.local_datacenter else { return Ok(()) };
        if nodes.iter().any(|node| *node.datacenter == **name) {
            return Ok(());
        }
        let mut known: Vec<&str> = nodes.iter().map(|node| &*node.datacenter).collect();
        known.sort_unstable();
        known.dedup();
        let message = format!("the cluster has no data centre {name:?}, only {known:?}: correct local_datacenter");
        Err(Error::not_sent(ErrorKind::Configuration(message)))
    }
}

impl Session {
    async fn wait_until_tried(&self, limit: Duration) {
        let view = self.shared.executor.state.view();
        let all_tried = async {
            for pool in view.pools.iter().flatten() {
                pool.wait_until_tried().await;
            }
        };
        // A node that does not answer must not keep the session from starting.
        let _ = timeout(limit, all_tried).await;
    }
}

fn shuffled(mut addresses: Vec<SocketAddr>, environment: &Environment) -> Vec<SocketAddr> {
    for last in (1..addresses.len()).rev() {
        let pick = environment.entropy.draw("contact point order") % (last as u64 + 1);
        addresses.swap(last, usize::try_from(pick).unwrap_or(0));
    }
    addresses
}

fn connect_error(failures: &[(SocketAddr, MetadataError)], contact_points: &[String]) -> Error {
    let describe = |error: &MetadataError| -> String {
        let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(" ({source})"));
        format!("{error}{source}")
    };
    let connects = || failures.iter().filter_map(|(address, error)| Some((address, connect_failure(error)?)));
    for (address, error) in connects() {
        let kind = match error {
            ConnectError::UnsupportedVersion { .. } => {
                ErrorKind::UnsupportedProtocolVersion(format!("{address}: {error}"))
            }
            ConnectError::AuthenticationFailed(_) | ConnectError::CredentialsRequired { .. } => {
                ErrorKind::Authentication(format!("{address}: {error}"))
            }
            _ => continue,
        };
        return Error::not_sent(kind);
    }
    let mut reasons: Vec<String> =
        failures.iter().map(|(address, error)| format!("{address}: {}", describe(error))).collect();
    if reasons.is_empty() {
        reasons.push(format!("{} do not resolve to any address", contact_points.join(", ")));
    }
    Error::not_sent(ErrorKind::NoContactPoint(reasons.join("; ")))
}

fn connect_failure(error: &MetadataError) -> Option<&ConnectError> {
    match error {
        MetadataError::Connect(error) => Some(error),
        _ => None,
    }
}

/// Connections a session opens at once, so that a cluster that comes back is not met by a storm.
const DIALS_MAX: usize = 32;
/// Age at which a connection counts as stable when there are no heartbeats.
const STABLE_AFTER: Duration = Duration::from_secs(30);
