//! What a test may ask of the cluster under the driver, whatever the cluster is.

use helenus::Environment;
use helenus::env::BoxFuture;
use std::fmt;
use std::net::SocketAddr;

/// How many bytes of requests from one address a node of any world takes in hand at once.
pub const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;

/// A cluster that tests may break. Nodes are numbered from 1 in the order of the data centres.
///
/// Changes return when the process, or its absence, is there; what other nodes think of it takes a while longer
/// ([`super::Stage::whole`] waits for that).
pub trait TestCluster: Send + Sync {
    /// The nodes that belong to the cluster, running or not.
    fn members(&self) -> Vec<Member>;

    /// The release that the nodes run.
    fn release(&self) -> Release;

    /// Whether this world can do that.
    fn can(&self, capability: Capability) -> bool;

    /// Where a client of this name lives: its sockets, tasks, time and randomness.
    fn environment(&self, client: &str) -> Environment;

    /// Ends a node's process at once. Its data stay.
    fn kill(&self, node: u8) -> Change<'_>;

    /// Stops a node in good order: it tells the others and its clients, and its process ends. Its data stay.
    fn stop(&self, node: u8) -> Change<'_>;

    /// Starts a node that was killed or stopped, with the data it had, and waits until it accepts clients.
    fn restart(&self, node: u8) -> Change<'_>;

    /// Freezes a node: its sockets stay open, it answers nothing.
    fn pause(&self, node: u8) -> Change<'_>;

    /// Lets a frozen node go on.
    fn resume(&self, node: u8) -> Change<'_>;

    /// Cuts a node off from all other nodes, and from clients too if asked for, until [`TestCluster::heal`].
    ///
    /// Needs [`Capability::Partition`].
    fn cut_off(&self, node: u8, from_clients: bool) -> Change<'_>;

    /// Ends all cuts.
    fn heal(&self) -> Change<'_>;

    /// Adds a node to a data centre and waits until it owns its part of the ring; answers its number.
    ///
    /// Needs [`Capability::Resize`].
    fn add(&self, datacenter: &str) -> Change<'_, u8>;

    /// Has a node hand over its data and leave for good, and ends its process.
    ///
    /// Needs [`Capability::Resize`].
    fn decommission(&self, node: u8) -> Change<'_>;

    /// Starts a killed node again at an address that no node had.
    ///
    /// Needs [`Capability::NewAddress`].
    fn restart_elsewhere(&self, node: u8) -> Change<'_>;
}

/// A change of the cluster that is under way.
pub type Change<'a, T = ()> = BoxFuture<'a, Result<T, WorldError>>;

/// A node as the world knows it, not as the driver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, from 1.
    pub number: u8,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Its data centre.
    pub datacenter: String,
    /// Whether its process exists (it may be paused).
    pub is_running: bool,
}

/// The first two numbers of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// 5 of 5.0.
    pub major: u8,
    /// 0 of 5.0.
    pub minor: u8,
}

impl Release {
    /// `major.minor`.
    #[must_use]
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What not every world can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Cut nodes off from each other, or from clients.
    Partition,
    /// Add nodes and decommission them.
    Resize,
    /// Start a node again at another address.
    NewAddress,
    /// Nodes send a request's custom payload back.
    MirroredPayload,
    /// Warn of reads that meet many tombstones.
    TombstoneWarnings,
    /// Create roles and grant them permissions.
    Roles,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Partition => "cutting nodes off from each other",
            Self::Resize => "adding and removing nodes",
            Self::NewAddress => "moving a node to another address",
            Self::TombstoneWarnings => "being warned of tombstones",
            Self::Roles => "creating roles",
            Self::MirroredPayload => "having custom payloads sent back",
        })
    }
}

/// Why a world could not do what was asked of it, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldError(pub String);

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WorldError {}
