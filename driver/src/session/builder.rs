//! Configures a session and opens it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Authenticator, ConnectionConfig, PlainAuthenticator};
use crate::control::{NodeListener, NodeListeners, RefreshWindows, SchemaListener, SchemaListeners};
use crate::env::Environment;
use crate::execution::{Defaults, PreparationSettings, RequestTracker};
use crate::policy::{
    AddressTranslation, BudgetSettings, DefaultRetry, ExponentialReconnection, LoadBalancing, MonotonicTimestamps,
    NoTranslation, Reconnection, Retry, SpeculativeExecution, TimestampGenerator,
};
use crate::protocol::compression::Compression;
use crate::protocol::{Consistency, ProtocolVersion, SerialConsistency};
use crate::statement::Profile;
use crate::topology::KeyspaceFilter;

/// Options of a session. Setters cannot fail; [`SessionBuilder::connect`] reports what is wrong.
#[derive(Clone)]
#[must_use = "nothing happens before connect"]
pub struct SessionBuilder {
    pub(super) contact_points: Vec<String>,
    pub(super) environment: Option<Environment>,
    pub(super) keyspace: Option<String>,
    pub(super) local_datacenter: Option<String>,
    pub(super) connection: ConnectionConfig,
    pub(super) connections_per_node: usize,
    pub(super) defaults: Defaults,
    pub(super) load_balancing: Option<Arc<dyn LoadBalancing>>,
    pub(super) retry: Arc<dyn Retry>,
    pub(super) retry_budget: BudgetSettings,
    pub(super) speculation: Option<Arc<dyn SpeculativeExecution>>,
    pub(super) speculation_budget: BudgetSettings,
    pub(super) profiles: BTreeMap<String, Arc<Profile>>,
    pub(super) tracker: Option<Arc<dyn RequestTracker>>,
    pub(super) reconnection: Arc<dyn Reconnection>,
    pub(super) timestamps: Arc<dyn TimestampGenerator>,
    pub(super) translation: Arc<dyn AddressTranslation>,
    pub(super) windows: RefreshWindows,
    pub(super) keyspace_filter: KeyspaceFilter,
    pub(super) node_listeners: NodeListeners,
    pub(super) schema_listeners: SchemaListeners,
    pub(super) refresh_interval: Duration,
    pub(super) control_timeout: Duration,
    pub(super) agreement_timeout: Duration,
    pub(super) prepared_cache_size: usize,
    pub(super) preparation: PreparationSettings,
}

impl Default for SessionBuilder {
    fn default() -> Self {
        Self {
            contact_points: Vec::new(),
            environment: None,
            keyspace: None,
            local_datacenter: None,
            // The address is replaced for each connection.
            connection: ConnectionConfig::new(SocketAddr::from(([0, 0, 0, 0], 0))),
            connections_per_node: 1,
            defaults: Defaults {
                consistency: Consistency::LocalQuorum,
                serial_consistency: SerialConsistency::LocalSerial,
                timeout: Duration::from_secs(10),
                attempt_timeout: None,
                page_size: 5000,
                is_idempotent: false,
            },
            load_balancing: None,
            retry: Arc::new(DefaultRetry),
            retry_budget: BudgetSettings { percent: 10, burst: 100 },
            speculation: None,
            speculation_budget: BudgetSettings { percent: 10, burst: 10 },
            profiles: BTreeMap::new(),
            tracker: None,
            reconnection: Arc::new(ExponentialReconnection::default()),
            timestamps: Arc::new(MonotonicTimestamps::default()),
            translation: Arc::new(NoTranslation),
            windows: RefreshWindows::default(),
            keyspace_filter: KeyspaceFilter::all(),
            node_listeners: NodeListeners::default(),
            schema_listeners: SchemaListeners::default(),
            refresh_interval: Duration::from_secs(60),
            control_timeout: Duration::from_secs(5),
            agreement_timeout: Duration::from_secs(10),
            prepared_cache_size: 1000,
            preparation: PreparationSettings {
                nodes_max: 32,
                wait_max: Duration::from_secs(1),
                warm_up_max: usize::MAX,
            },
        }
    }
}

impl SessionBuilder {
    /// Nodes to ask for the rest of the cluster: `host`, `host:port`, `address` or `[ipv6]:port`. Names are resolved
    /// again whenever all known nodes are gone. The default port is 9042.
    pub fn contact_points<S: Into<String>>(mut self, points: impl IntoIterator<Item = S>) -> Self {
        self.contact_points.extend(points.into_iter().map(Into::into));
        self
    }

    /// Adds one contact point.
    pub fn contact_point(self, point: impl Into<String>) -> Self {
        self.contact_points([point.into()])
    }

    /// Where sockets, time, randomness and tasks come from. Default: tokio and the operating system.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Uses only the nodes of this data centre. Default: prefers the one of the first contact point that answers, and
    /// uses others when it has no node left.
    pub fn local_datacenter(mut self, name: impl Into<String>) -> Self {
        self.local_datacenter = Some(name.into());
        self
    }

    /// Keyspace that unqualified names mean. Case-sensitive, without quotes. Default: none.
    pub fn keyspace(mut self, name: impl Into<String>) -> Self {
        self.keyspace = Some(name.into());
        self
    }

    /// User name and password.
    pub fn credentials(self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.authenticator(Arc::new(PlainAuthenticator::new(username, password)))
    }

    /// A custom authentication.
    pub fn authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.connection.authenticator = Some(authenticator);
        self
    }

    /// Compression to use with nodes that support it. Default: none.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.connection.compression = Some(compression);
        self
    }

    /// Newest protocol version to try. Default: v5, stepping down to what the cluster speaks.
    pub fn protocol_version(mut self, version: ProtocolVersion) -> Self {
        self.connection.protocol_version = version;
        self
    }

    /// Name of the application, reported to the nodes. Default: none.
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.connection.application_name = Some(name.into());
        self
    }

    /// Whether a node that has too many bytes of requests in hand answers more of them with
    /// [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded), on which the retry policy can go to another node. Default:
    /// no, then such a node reads no further until it has caught up, and calls wait. Cassandra 3.11.5 or newer.
    ///
    /// Calls in version 5 may wait for ever when what the node has too much of came over older versions from the same
    /// address: Cassandra 5.0.8 does not go on when it gives those bytes back. A heartbeat ends it then.
    pub fn throw_on_overload(mut self, throw: bool) -> Self {
        self.connection.throw_on_overload = throw;
        self
    }

    /// Consistency level of calls that do not set one. Default: `LOCAL_QUORUM`.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.defaults.consistency = consistency;
        self
    }

    /// Level at which conditions are decided. Default: `LOCAL_SERIAL`.
    pub fn serial_consistency(mut self, consistency: SerialConsistency) -> Self {
        self.defaults.serial_consistency = consistency;
        self
    }

    /// Limit of a call with all its attempts. Default: 10 s.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.defaults.timeout = limit;
        self
    }

    /// Limit of each attempt. Default: none.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.defaults.attempt_timeout = Some(limit);
        self
    }

    /// Rows per page. Default: 5,000.
    pub fn page_size(mut self, rows: i32) -> Self {
        self.defaults.page_size = rows;
        self
    }

    /// Whether calls that do not say are idempotent. Default: no.
    ///
    /// Counters are excepted where the driver can tell without reading CQL: counter batches, and prepared statements
    /// with variables that write to a table of counters. Other increments, appends to lists and texts that call `now()`
    /// are to say it themselves, by [`Query::idempotent`](super::Query::idempotent).
    pub fn default_idempotence(mut self, is_idempotent: bool) -> Self {
        self.defaults.is_idempotent = is_idempotent;
        self
    }

    /// Connections to each node. Default: 1, which carries 1,024 requests at once.
    pub fn connections_per_node(mut self, count: usize) -> Self {
        self.connections_per_node = count;
        self
    }

    /// Requests awaiting their answer at once on a connection. Default: 1,024, at most 32,000.
    pub fn in_flight_max(mut self, count: usize) -> Self {
        self.connection.in_flight_max = count;
        self
    }

    /// Requests given up and not answered yet, beyond which a connection is replaced. Default: 256.
    pub fn orphans_max(mut self, count: usize) -> Self {
        self.connection.orphans_max = count;
        self
    }

    /// Limit of connecting to a node, handshake included. Default: 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connection.connect_timeout = limit;
        self
    }

    /// Limit of opening the control connection at one node, and of each metadata refresh. Default: 5 s.
    pub fn control_timeout(mut self, limit: Duration) -> Self {
        self.control_timeout = limit;
        self
    }

    /// Time without a byte read after which a connection is probed, and time to answer the probe. Default: 30 s, 5 s.
    pub fn heartbeat(mut self, interval: Duration, answer_within: Duration) -> Self {
        self.connection.heartbeat_interval = Some(interval);
        self.connection.heartbeat_timeout = answer_within;
        self
    }

    /// Window in which schema events are merged; zero refreshes at once, `None` ignores them. Default: 2 s.
    pub fn schema_event_refresh_window(mut self, window: Option<Duration>) -> Self {
        self.windows.schema = window;
        self
    }

    /// Window in which topology events are merged; zero refreshes at once, `None` ignores them. Default: 10 s.
    pub fn topology_event_refresh_window(mut self, window: Option<Duration>) -> Self {
        self.windows.topology = window;
        self
    }

    /// Window in which status events are merged; zero reacts at once, `None` ignores them. Default: 2 s.
    pub fn status_event_refresh_window(mut self, window: Option<Duration>) -> Self {
        self.windows.status = window;
        self
    }

    /// Time between two reads of the node list while no event asks for one; finds what lost events hid. Default: 60 s.
    pub fn metadata_refresh_interval(mut self, interval: Duration) -> Self {
        self.refresh_interval = interval.max(Duration::from_secs(1));
        self
    }

    /// Keyspaces whose tables, types and so on are read; of the others only replication is. Default: all.
    ///
    /// Routing by token needs replication alone, so [`KeyspaceFilter::none`] costs only metadata.
    pub fn keyspace_filter(mut self, filter: KeyspaceFilter) -> Self {
        self.keyspace_filter = filter;
        self
    }

    /// Is told what is created, updated and dropped in the schema. Listeners are told in the order they were added.
    pub fn schema_listener(mut self, listener: Arc<dyn SchemaListener>) -> Self {
        self.schema_listeners.0.push(listener);
        self
    }

    /// Limit of waiting for schema agreement after a schema change, on all live nodes of all data centres. Default:
    /// 10 s.
    ///
    /// The wait is part of the call: it also ends with the call's own time limit (`request_timeout`), however long this
    /// limit is. The change has succeeded all the same, and the result tells that there was no agreement.
    pub fn schema_agreement_timeout(mut self, limit: Duration) -> Self {
        self.agreement_timeout = limit;
        self
    }

    /// Statements the session remembers, explicitly prepared ones and text with values. Default: 1,000.
    pub fn prepared_cache_size(mut self, statements: usize) -> Self {
        self.prepared_cache_size = statements;
        self
    }

    /// Prepares each statement on all nodes of the data centre while it has at most `nodes_max`, waiting up to `wait`
    /// for the others; slower ones finish in the background. With more nodes, or zero, each node prepares a statement
    /// when it first meets it: many clients that prepare everywhere would be a storm. Default: 32 nodes, 1 s.
    pub fn prepare_on_all_nodes(mut self, nodes_max: usize, wait: Duration) -> Self {
        self.preparation.nodes_max = nodes_max;
        self.preparation.wait_max = wait;
        self
    }

    /// Statements prepared on a node that comes up before requests are sent to it, the most recently used ones.
    /// Default: all that the session remembers; zero for none.
    pub fn prepare_on_up(mut self, statements_max: usize) -> Self {
        self.preparation.warm_up_max = statements_max;
        self
    }

    /// Chooses coordinators. Default: `TokenAware`.
    pub fn load_balancing(mut self, policy: Arc<dyn LoadBalancing>) -> Self {
        self.load_balancing = Some(policy);
        self
    }

    /// Decides about retries. Default: [`DefaultRetry`].
    pub fn retry(mut self, policy: Arc<dyn Retry>) -> Self {
        self.retry = policy;
        self
    }

    /// Bounds retries after a pause and retries of overloaded coordinators. Default: 10 per 100 requests, 100 saved.
    pub fn retry_budget(mut self, settings: BudgetSettings) -> Self {
        self.retry_budget = settings;
        self
    }

    /// Starts parallel executions of slow idempotent requests. Default: none.
    pub fn speculative_execution(mut self, policy: Arc<dyn SpeculativeExecution>) -> Self {
        self.speculation = Some(policy);
        self
    }

    /// Bounds parallel executions. Default: 10 per 100 requests that may have them, 10 saved.
    pub fn speculation_budget(mut self, settings: BudgetSettings) -> Self {
        self.speculation_budget = settings;
        self
    }

    /// Adds a set of options that calls choose with `Query::profile`; a second one of the same name replaces the first.
    pub fn profile(mut self, name: impl Into<String>, profile: Profile) -> Self {
        self.profiles.insert(name.into(), Arc::new(profile));
        self
    }

    /// Is told how each request ends. Default: nobody.
    pub fn request_tracker(mut self, tracker: Arc<dyn RequestTracker>) -> Self {
        self.tracker = Some(tracker);
        self
    }

    /// Schedules reconnections. Default: [`ExponentialReconnection`], 500 ms to 60 s.
    pub fn reconnection(mut self, policy: Arc<dyn Reconnection>) -> Self {
        self.reconnection = policy;
        self
    }

    /// Gives writes their timestamps. Default: [`MonotonicTimestamps`].
    pub fn timestamps(mut self, generator: Arc<dyn TimestampGenerator>) -> Self {
        self.timestamps = generator;
        self
    }

    /// Translates announced addresses. Default: [`NoTranslation`].
    pub fn address_translation(mut self, translation: Arc<dyn AddressTranslation>) -> Self {
        self.translation = translation;
        self
    }

    /// Is told when nodes come, go, move, and can or cannot be reached. Listeners are told in the order they were added.
    pub fn node_listener(mut self, listener: Arc<dyn NodeListener>) -> Self {
        self.node_listeners.0.push(listener);
        self
    }
}

impl fmt::Debug for SessionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBuilder")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("local_datacenter", &self.local_datacenter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_defaults_are_those_of_its_documentation() {
        let builder = SessionBuilder::default();
        let defaults = &builder.defaults;
        assert_eq!(defaults.consistency, Consistency::LocalQuorum);
        assert_eq!(defaults.serial_consistency, SerialConsistency::LocalSerial);
        assert_eq!((defaults.timeout, defaults.attempt_timeout), (Duration::from_secs(10), None));
        assert_eq!((defaults.page_size, defaults.is_idempotent), (5000, false));
        let connection = &builder.connection;
        assert_eq!((connection.in_flight_max, connection.orphans_max), (1024, 256));
        assert_eq!(connection.connect_timeout, Duration::from_secs(5));
        assert_eq!(connection.heartbeat_interval, Some(Duration::from_secs(30)));
        assert_eq!(connection.heartbeat_timeout, Duration::from_secs(5));
        assert_eq!(connection.protocol_version, ProtocolVersion::V5);
        assert!(connection.compression.is_none() && connection.authenticator.is_none());
        let windows = [builder.windows.schema, builder.windows.topology, builder.windows.status];
        assert_eq!(windows, [2, 10, 2].map(|seconds| Some(Duration::from_secs(seconds))));
        assert_eq!((builder.connections_per_node, builder.prepared_cache_size), (1, 1000));
        assert_eq!((builder.preparation.nodes_max, builder.preparation.wait_max), (32, Duration::from_secs(1)));
        assert_eq!(
            (builder.control_timeout, builder.agreement_timeout),
            (Duration::from_secs(5), Duration::from_secs(10))
        );
        assert!(builder.speculation.is_none() && builder.tracker.is_none());
    }
}
