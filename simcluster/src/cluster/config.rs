//! The builder of a simulated cluster.

use super::SimulationConfig;
use crate::coordinator::CoordinatorConfig;
use crate::entropy::Entropy;
use crate::kernel::{Budget, NodeId};
use crate::network::LinkConfig;
use crate::node::NodeConfig;
use crate::ring::Location;
use crate::trace::LINES_DEFAULT;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The shape and habits of a simulated cluster; the default is three nodes in `dc1`.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterConfig {
    pub(super) seed: u64,
    datacenters: Vec<(String, u32)>,
    racks: u32,
    vnodes: u32,
    cluster_name: String,
    release: String,
    /// Releases of single nodes, by number.
    releases: BTreeMap<u32, String>,
    protocol_version_max: u8,
    /// Highest protocol versions of single nodes, by number.
    protocol_versions_max: BTreeMap<u32, u8>,
    pub(super) link: LinkConfig,
    coordinator: CoordinatorConfig,
    failure_detection: Duration,
    gossip_interval: Duration,
    in_flight_bytes_max: u64,
    mirror_custom_payload: bool,
    forget_prepared_on_restart: bool,
    users: Option<Vec<(String, String)>>,
    pub(super) budget: Budget,
    pub(super) boot: Duration,
    pub(super) task_deferral: f64,
    trace_lines_max: usize,
    is_ledger_kept: bool,
    wall_clock_start: i64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            datacenters: Vec::new(),
            racks: 3,
            vnodes: 4,
            cluster_name: "Simulated Cluster".into(),
            release: "5.0.8".into(),
            releases: BTreeMap::new(),
            protocol_version_max: 5,
            protocol_versions_max: BTreeMap::new(),
            link: LinkConfig::default(),
            coordinator: CoordinatorConfig::default(),
            failure_detection: Duration::from_secs(8),
            gossip_interval: Duration::from_secs(1),
            in_flight_bytes_max: 200 << 20,
            mirror_custom_payload: true,
            forget_prepared_on_restart: false,
            users: None,
            budget: Budget::default(),
            boot: Duration::from_secs(3),
            task_deferral: 0.25,
            trace_lines_max: 0,
            is_ledger_kept: true,
            wall_clock_start: WALL_CLOCK_START,
        }
    }
}

impl ClusterConfig {
    /// The seed of everything random; default 0.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Adds a data centre with `nodes` nodes. Without any call there is `dc1` with three.
    pub fn datacenter(mut self, name: impl Into<String>, nodes: u32) -> Self {
        self.datacenters.push((name.into(), nodes));
        self
    }

    /// How many racks each data centre has (`rack1`, `rack2`, …), filled in turn; default 3, at least 1.
    pub const fn racks(mut self, racks: u32) -> Self {
        self.racks = if racks == 0 { 1 } else { racks };
        self
    }

    /// How many tokens each node owns, drawn from the seed; default 4, at least 1.
    pub const fn vnodes(mut self, vnodes: u32) -> Self {
        self.vnodes = if vnodes == 0 { 1 } else { vnodes };
        self
    }

    /// `cluster_name` in `system.local`; default `Simulated Cluster`.
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.cluster_name = name.into();
        self
    }

    /// The release of Cassandra to pose as, such as `4.1.10`; default `5.0.8`.
    pub fn release(mut self, release: impl Into<String>) -> Self {
        self.release = release.into();
        self
    }

    /// The release of one node, counted from 1, as during an upgrade; default [`ClusterConfig::release`].
    pub fn release_of(mut self, node: u32, release: impl Into<String>) -> Self {
        self.releases.insert(node, release.into());
        self
    }

    /// The highest native protocol version that nodes speak: 3, 4 or 5 (the default), and never above that of their
    /// release.
    pub const fn protocol_version_max(mut self, version: u8) -> Self {
        self.protocol_version_max = version;
        self
    }

    /// The highest native protocol version of one node, counted from 1: nodes cap it while an upgrade is under way.
    /// Default [`ClusterConfig::protocol_version_max`].
    pub fn protocol_version_max_of(mut self, node: u32, version: u8) -> Self {
        self.protocol_versions_max.insert(node, version);
        self
    }

    /// How all links behave when nothing is wrong.
    pub const fn link(mut self, link: LinkConfig) -> Self {
        self.link = link;
        self
    }

    /// One-way latency of every link, drawn uniformly per segment; default 0.5 to 2 ms.
    pub const fn latency(mut self, min: Duration, max: Duration) -> Self {
        self.link.latency_min = min;
        self.link.latency_max = max;
        self
    }

    /// Timeouts of coordination; the default is Cassandra's.
    pub const fn coordinator(mut self, coordinator: CoordinatorConfig) -> Self {
        self.coordinator = coordinator;
        self
    }

    /// How long after a peer's last gossip it is convicted as down; default 8 s.
    pub const fn failure_detection(mut self, after: Duration) -> Self {
        self.failure_detection = after;
        self
    }

    /// How often nodes gossip; default 1 s.
    pub const fn gossip_interval(mut self, interval: Duration) -> Self {
        self.gossip_interval = interval;
        self
    }

    /// How many bytes of requests from one address a node takes in hand at once before it refuses more to clients that
    /// asked for that with `THROW_ON_OVERLOAD`; default 200 MiB, a fortieth of a heap of 8 GiB.
    pub const fn in_flight_bytes_max(mut self, bytes: u64) -> Self {
        self.in_flight_bytes_max = bytes;
        self
    }

    /// Whether nodes send a request's custom payload back with the answer; default on. It is how tests attribute
    /// answers to questions; a plain Cassandra does not do it.
    pub const fn mirror_custom_payload(mut self, mirror: bool) -> Self {
        self.mirror_custom_payload = mirror;
        self
    }

    /// Whether a restarted node has forgotten its prepared statements; default off.
    pub const fn forget_prepared_on_restart(mut self, forget: bool) -> Self {
        self.forget_prepared_on_restart = forget;
        self
    }

    /// Demands authentication and accepts these users with their passwords.
    pub fn users(mut self, users: impl IntoIterator<Item = (String, String)>) -> Self {
        self.users = Some(users.into_iter().collect());
        self
    }

    /// Bounds of the run; default one simulated hour, 20 million events.
    pub const fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// How long the cluster runs before `main` begins, so that its nodes have met; default 3 s.
    pub const fn boot(mut self, boot: Duration) -> Self {
        self.boot = boot;
        self
    }

    /// Probability that a woken task lets others run first; default 0.25. With 0 tasks run first in, first out.
    pub const fn task_deferral(mut self, probability: f64) -> Self {
        self.task_deferral = probability;
        self
    }

    /// Whether trace lines are kept (the last 200,000); default off. The trace hash is kept always.
    pub const fn trace(mut self, keep: bool) -> Self {
        self.trace_lines_max = if keep { LINES_DEFAULT } else { 0 };
        self
    }

    /// Keeps the last `lines_max` trace lines.
    pub const fn trace_lines(mut self, lines_max: usize) -> Self {
        self.trace_lines_max = lines_max;
        self
    }

    /// Whether the ledger is kept; default on. Long runs that ask it nothing save memory without.
    pub const fn ledger(mut self, keep: bool) -> Self {
        self.is_ledger_kept = keep;
        self
    }

    /// The nodes' configurations: addresses `10.0.<data centre>.<number>:9042`.
    #[must_use]
    pub fn node_configs(&self) -> Vec<NodeConfig> {
        let three = [("dc1".to_string(), 3)];
        let datacenters = if self.datacenters.is_empty() { &three[..] } else { &self.datacenters[..] };
        let total: u32 = datacenters.iter().map(|(_, nodes)| *nodes).sum();
        let mut configs = Vec::new();
        for (datacenter_number, (datacenter, nodes)) in datacenters.iter().enumerate() {
            for number in 0..*nodes {
                let id = NodeId(u32::try_from(configs.len()).unwrap_or(u32::MAX).saturating_add(1));
                let rack = format!("rack{}", number % self.racks + 1);
                let location = Location { datacenter: datacenter.clone(), rack };
                configs.push(self.node_config(id, simulated_address(datacenter_number, number), location, total));
            }
        }
        configs
    }

    fn node_config(&self, id: NodeId, address: SocketAddr, location: Location, total: u32) -> NodeConfig {
        let entropy = Entropy::new(self.seed);
        let release = self.releases.get(&id.0).unwrap_or(&self.release);
        let version_max = self.protocol_versions_max.get(&id.0).copied().unwrap_or(self.protocol_version_max);
        NodeConfig {
            id,
            address,
            host_id: NodeConfig::draw_host_id(&entropy, id),
            location,
            tokens: NodeConfig::draw_tokens(&entropy, id, self.vnodes),
            cluster_name: self.cluster_name.clone(),
            release: release.clone(),
            protocol_version_max: version_max.min(NodeConfig::protocol_version_max_of_release(release)),
            peers: (1..=total).map(NodeId).filter(|peer| *peer != id).collect(),
            coordinator: self.coordinator.clone(),
            failure_detection: self.failure_detection,
            gossip_interval: self.gossip_interval,
            in_flight_bytes_max: self.in_flight_bytes_max,
            mirror_custom_payload: self.mirror_custom_payload,
            forget_prepared_on_restart: self.forget_prepared_on_restart,
            replaces: None,
            users: self.users.clone(),
            entropy,
        }
    }

    pub(super) fn simulation(&self) -> SimulationConfig {
        SimulationConfig {
            nodes: self.node_configs(),
            link: self.link.clone(),
            entropy: Entropy::new(self.seed),
            wall_clock_start: self.wall_clock_start,
            trace_lines_max: self.trace_lines_max,
            is_ledger_kept: self.is_ledger_kept,
        }
    }
}

/// `10.0.<data centre>.<number>:9042`; beyond 250 nodes per data centre the second byte counts on.
fn simulated_address(datacenter: usize, number: u32) -> SocketAddr {
    let second = u8::try_from(number / 250).unwrap_or(u8::MAX);
    let third = u8::try_from(datacenter).unwrap_or(u8::MAX);
    let fourth = u8::try_from(number % 250 + 1).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, second, third, fourth)), 9042)
}

/// 2026-01-01T00:00:00Z in microseconds.
const WALL_CLOCK_START: i64 = 1_767_225_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nodes_have_distinct_addresses_identities_and_tokens() {
        let configs = ClusterConfig::default().seed(7).datacenter("a", 300).datacenter("b", 3).node_configs();

        let addresses: BTreeSet<_> = configs.iter().map(|config| config.address).collect();
        let hosts: BTreeSet<_> = configs.iter().map(|config| config.host_id).collect();
        let tokens: BTreeSet<_> = configs.iter().flat_map(|config| config.tokens.clone()).collect();
        assert_eq!((addresses.len(), hosts.len(), tokens.len()), (303, 303, 4 * 303));
        assert_eq!(configs[300].address.to_string(), "10.0.1.1:9042");
        assert_eq!(configs[300].id, NodeId(301));
        assert_eq!(configs[0].peers.len(), 302);
    }

    #[test]
    fn nodes_of_older_releases_speak_older_versions() {
        let configs = ClusterConfig::default().release_of(2, "3.11.19").protocol_version_max_of(3, 3).node_configs();

        let versions: Vec<_> =
            configs.iter().map(|config| (config.release.as_str(), config.protocol_version_max)).collect();
        assert_eq!(versions, [("5.0.8", 5), ("3.11.19", 4), ("5.0.8", 3)]);
    }
}
