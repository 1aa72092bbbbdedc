//! A run as data, made before its time zero: cluster, driver settings, operations, faults.
//!
//! Everything random about *what happens* is decided here; the seed then only decides latencies, chunking and task
//! order, each by keyed draws. Removing one operation or fault therefore leaves the rest of the run where it was, which
//! is what makes shrinking work.
//!
//! # Invariants
//!
//! - `Plan::parse(plan.to_toml()) == plan`, and printing is stable: the same plan has the same text.
//! - Operations and faults are ordered by time, then id; ids are unique in their list.

mod faults;
mod generate;
mod text;

pub use text::PlanError;

use crate::seed::{Seed, SeedError};
use serde::{Deserialize, Serialize};
use simcluster::fault::Fault;
use std::time::Duration;

/// Everything that is decided about one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The run's name; its bits also decide latencies, chunking and task order.
    pub seed: Seed,
    /// How many sessions run the operations.
    pub clients: u32,
    /// What the run must end with, for regression plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// The cluster.
    pub cluster: ClusterShape,
    /// How the driver is set up.
    pub driver: DriverSettings,
    /// What exists before the first operation.
    pub workload: Workload,
    /// How long the phases last.
    pub phases: Phases,
    /// What the application does.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<PlannedFault>,
}

impl Plan {
    /// The plan that `seed` means. Equal seeds give equal plans, on every machine.
    ///
    /// # Errors
    ///
    /// If the seed belongs to another generator.
    pub fn generate(seed: Seed) -> Result<Self, SeedError> {
        Ok(generate::generate(seed.check()?))
    }

    /// Reads a plan file.
    ///
    /// # Errors
    ///
    /// Says the line and what is wrong with it: syntax, unknown or missing keys, values out of range, references to
    /// nodes, clients or operations that do not exist.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        text::parse(text)
    }

    /// The plan as a file that a person can edit: settings as tables, operations and faults one a line.
    #[must_use]
    pub fn to_toml(&self) -> String {
        text::print(self)
    }

    /// The highest number that a node ever has: those that join come after the first ones.
    #[must_use]
    pub fn highest_node(&self) -> u32 {
        let newcomers =
            self.faults.iter().filter(|planned| matches!(planned.fault, Fault::Join { .. } | Fault::Replace { .. }));
        newcomers.flat_map(PlannedFault::nodes).max().unwrap_or(0).max(self.nodes())
    }

    /// How many nodes the cluster has at the start.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.cluster.datacenters.iter().sum()
    }

    /// Restores the order of time after an edit.
    pub fn sort(&mut self) {
        self.operations.sort_by_key(|operation| (operation.at_ms, operation.id));
        self.faults.sort_by_key(|fault| (fault.at_ms, fault.id));
    }
}

/// What a regression plan must end with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// `pass`, or the id of the checker that must fail.
    pub outcome: String,
    /// 16 hexadecimal digits; absent if the plan only promises the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_hash: Option<String>,
}

/// The simulated cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterShape {
    /// Nodes of `dc1`, `dc2`, …
    pub datacenters: Vec<u32>,
    /// Tokens per node.
    pub vnodes: u32,
    /// Copies of each row: in all with one data centre, else per data centre.
    pub replication_factor: u32,
    /// Shortest one-way delay of a link, in microseconds.
    pub latency_min_us: u64,
    /// Longest one-way delay of a link, in microseconds.
    pub latency_max_us: u64,
    /// How long after its last gossip a node is convicted as down.
    pub failure_detection_ms: u64,
    /// What Cassandra calls `write_request_timeout` and `read_request_timeout`.
    pub server_timeout_ms: u64,
    /// The highest protocol version of the nodes: 3, 4 or 5.
    pub protocol_version_max: u8,
    /// What the nodes call themselves, as in `5.0.8`.
    pub release: String,
    /// Whether clients must log in.
    #[serde(default)]
    pub authentication: bool,
    /// Whether a restarted node has forgotten its prepared statements.
    #[serde(default)]
    pub forget_prepared_on_restart: bool,
}

/// The settings of every session of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverSettings {
    /// Total deadline of a call; of each page of a paged call.
    pub request_timeout_ms: u64,
    /// Limit of dial and handshake.
    pub connect_timeout_ms: u64,
    /// First delay between two dials of a dead node.
    pub reconnect_base_ms: u64,
    /// Longest delay between two dials of a dead node.
    pub reconnect_max_ms: u64,
    /// `schema_event_refresh_window`.
    pub schema_window_ms: u64,
    /// `topology_event_refresh_window`.
    pub topology_window_ms: u64,
    /// `status_event_refresh_window`.
    pub status_window_ms: u64,
    /// Idle time before a heartbeat.
    pub heartbeat_interval_ms: u64,
    /// Limit of a heartbeat's answer.
    pub heartbeat_timeout_ms: u64,
    /// How often metadata are read again without any reason.
    pub metadata_refresh_ms: u64,
    /// Rows per page where the operation does not say.
    pub page_size: i32,
    /// Connections the pool keeps to each node.
    pub connections_per_node: u32,
    /// Requests in flight on one connection.
    pub in_flight_max: u32,
    /// `none`, `lz4` or `snappy`.
    pub compression: Compression,
    /// The highest protocol version that is asked for.
    #[serde(default = "newest_version")]
    pub protocol_version: u8,
    /// How long idempotent calls wait before another node is asked as well; 0 = never.
    #[serde(default)]
    pub speculation_ms: u64,
    /// How many executions are added at most.
    #[serde(default)]
    pub speculations_max: u32,
    /// `default`, `fallthrough` or `back-off`.
    #[serde(default)]
    pub retry: RetryChoice,
    /// Whether the contact point is the cluster's name instead of its addresses.
    #[serde(default)]
    pub contact_by_name: bool,
    /// Limit of each attempt; 0 = none.
    #[serde(default)]
    pub attempt_timeout_ms: u64,
    /// Whether statements are prepared on all nodes, or on each when it first meets them.
    #[serde(default = "yes")]
    pub prepare_on_all_nodes: bool,
    /// Whether statements are prepared on a node that comes up before it is asked.
    #[serde(default = "yes")]
    pub prepare_on_up: bool,
}

const fn yes() -> bool {
    true
}

const fn newest_version() -> u8 {
    5
}

/// Which policy repeats failed attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are the policies' own names")]
pub enum RetryChoice {
    #[default]
    Default,
    Fallthrough,
    BackOff,
}

/// What the bodies are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are the algorithms' own names")]
pub enum Compression {
    None,
    Lz4,
    Snappy,
}

/// What exists before the first operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Playlists that are filled at boot and never change: paged listings of them must be exact.
    pub static_playlists: u32,
    /// Entries of each of them.
    pub static_entries: u32,
    /// Accounts that exist, each with version 0.
    #[serde(default)]
    pub accounts: u32,
    /// Whether there are two keyspaces, each with a table that names it.
    #[serde(default)]
    pub keyspaces: bool,
}

/// How long the phases last, in simulated time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// Limit of starting the cluster, connecting every session and creating the tables.
    pub boot_ms: u64,
    /// Operations and faults.
    pub safety_ms: u64,
    /// Limit of closing a session.
    pub close_ms: u64,
}

/// One thing the application does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name in histories and failures; part of every value it writes.
    pub id: u32,
    /// When, after the start of the safety phase.
    pub at_ms: u64,
    /// Which session.
    pub client: u32,
    /// At which consistency level.
    pub level: Level,
    /// How long the application waits before it drops the call; absent if it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_after_ms: Option<u64>,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// Consistency levels that operations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the variants are Cassandra's own names")]
pub enum Level {
    One,
    Two,
    Quorum,
    LocalQuorum,
    All,
}

impl Level {
    /// How many replicas of one partition must answer.
    #[must_use]
    pub fn block_for(self, cluster: &ClusterShape) -> u32 {
        let copies = |datacenter: &u32| cluster.replication_factor.min(*datacenter);
        let total: u32 = cluster.datacenters.iter().map(copies).sum();
        let local = cluster.datacenters.first().map_or(0, copies);
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Quorum => total / 2 + 1,
            Self::LocalQuorum => local / 2 + 1,
            Self::All => total,
        }
    }

    /// Whether a read and a write at these levels always share a replica.
    #[must_use]
    pub fn overlaps(self, other: Self, cluster: &ClusterShape) -> bool {
        let total: u32 = cluster.datacenters.iter().map(|d| cluster.replication_factor.min(*d)).sum();
        self.block_for(cluster) + other.block_for(cluster) > total
    }
}

/// What an operation does, in the words of the songs-and-playlists application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Writes all columns of a song; idempotent.
    AddSong {
        /// Which.
        song: u32,
    },
    /// Reads a song by key; idempotent.
    ReadSong {
        /// Which.
        song: u32,
    },
    /// Adds a tag, named after the operation, to a song's set; idempotent.
    AddTag {
        /// Which.
        song: u32,
    },
    /// Removes the tag that another operation adds; idempotent.
    RemoveTag {
        /// Which.
        song: u32,
        /// The operation that adds it.
        of: u32,
    },
    /// Appends entries to a playlist: one by INSERT, several by a logged batch; idempotent.
    AppendToPlaylist {
        /// Which.
        playlist: u32,
        /// How many.
        entries: u32,
    },
    /// Lists a playlist page by page; idempotent.
    ListPlaylist {
        /// Which.
        playlist: u32,
        /// Rows per page.
        page_size: i32,
    },
    /// Lists one of the playlists that never change, page by page; idempotent.
    ListStatic {
        /// Which.
        playlist: u32,
        /// Rows per page.
        page_size: i32,
    },
    /// Counts one play of a song; not idempotent.
    Play {
        /// Which.
        song: u32,
    },
    /// Reads the plays of a song; idempotent.
    ReadPlays {
        /// Which.
        song: u32,
    },
    /// Registers a user name unless it is taken; a lightweight transaction, not idempotent.
    Register {
        /// Which.
        user: u32,
    },
    /// Moves an account from the version that the session knows to the next, unless it is elsewhere; a lightweight
    /// transaction, not idempotent.
    Swap {
        /// Which.
        account: u32,
    },
    /// Reads an account at SERIAL; idempotent.
    ReadAccount {
        /// Which.
        account: u32,
    },
    /// Adds a column named after the operation to the songs; not idempotent.
    AddColumn,
    /// Drops the column that another operation adds; not idempotent.
    DropColumn {
        /// The operation that adds it.
        of: u32,
    },
    /// Writes the column that another operation adds; idempotent.
    WriteNote {
        /// Which song.
        song: u32,
        /// The operation that adds the column.
        of: u32,
    },
    /// Reads all columns of a song, whatever they are by now; idempotent.
    ReadAll {
        /// Which.
        song: u32,
    },
    /// Creates a table named after the operation; not idempotent.
    CreateTable,
    /// Makes a keyspace the one that unqualified names mean.
    UseKeyspace {
        /// The application's own, or the other one.
        other: bool,
    },
    /// Reads the name of the keyspace from a table that each keyspace has, by its unqualified name; idempotent.
    Whereami,
    /// Binds a value of the wrong type: nothing may be sent.
    Mistype {
        /// Which.
        song: u32,
    },
}

impl Action {
    /// Whether the application declares the call idempotent.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        !matches!(
            self,
            Self::Play { .. }
                | Self::Register { .. }
                | Self::Swap { .. }
                | Self::AddColumn
                | Self::DropColumn { .. }
                | Self::CreateTable
                | Self::UseKeyspace { .. }
        )
    }

    /// Whether it is a lightweight transaction.
    #[must_use]
    pub const fn is_conditional(&self) -> bool {
        matches!(self, Self::Register { .. } | Self::Swap { .. })
    }
}

/// One fault and when it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Its name in stories.
    pub id: u32,
    /// When it begins, after the start of the safety phase.
    pub at_ms: u64,
    /// How long it holds; faults that are over at once ignore it.
    pub for_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

impl PlannedFault {
    /// The name of its kind, as in plan files: `crash`, `late-answers`.
    #[must_use]
    pub fn kind(&self) -> String {
        self.fault.name().to_owned()
    }

    /// The numbers of the nodes it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<u32> {
        self.fault.nodes().into_iter().map(|node| node.0).collect()
    }

    /// When it ends, after the start of the safety phase.
    #[must_use]
    pub const fn until(&self) -> Duration {
        Duration::from_millis(self.at_ms.saturating_add(self.for_ms))
    }
}
