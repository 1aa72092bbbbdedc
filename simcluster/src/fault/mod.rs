//! The vocabulary of faults, as data that a plan file can hold, and what a set of active faults amounts to.
//!
//! Most faults last from [`begin`](crate::cluster::SimCluster::inject) to end; some happen at one moment
//! ([`Fault::is_instant`]).

mod active;

pub use active::{ActiveFaults, NodeFaults, Treatment};

use crate::kernel::NodeId;
use crate::node::{Dirt, ForcedAnswer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The process ends; when the fault ends it is started again from what was durable.
    Crash {
        /// Which node.
        node: NodeId,
        /// How clients notice.
        how: CrashKind,
    },
    /// The process stands still (a long garbage collection): its machine accepts connections, nothing is answered.
    Pause {
        /// Which node.
        node: NodeId,
    },
    /// Some nodes are cut off from all others.
    Partition {
        /// The nodes that are cut off; among themselves they keep contact.
        nodes: Vec<NodeId>,
        /// Whether clients are cut off from them too.
        clients: bool,
    },
    /// Clients and a node lose contact; what is sent arrives after the end of the fault.
    CutClient {
        /// Which node.
        node: NodeId,
        /// Which way nothing gets through.
        direction: Direction,
    },
    /// Everything from and to a node takes longer.
    SlowLink {
        /// Which node.
        node: NodeId,
        /// Added to each one-way latency, in milliseconds.
        extra_ms: u64,
    },
    /// The node's machine refuses new connections; existing ones live on.
    Refuse {
        /// Which node.
        node: NodeId,
    },
    /// All client connections of a node are reset, at one moment.
    ResetConnections {
        /// Which node.
        node: NodeId,
    },
    /// Events that a node pushes to clients are lost.
    LoseEvents {
        /// Which node.
        node: NodeId,
    },
    /// Events that a node pushes to clients come late.
    DelayEvents {
        /// Which node.
        node: NodeId,
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// Events that a node pushes to clients come several times.
    RepeatEvents {
        /// Which node.
        node: NodeId,
        /// How many extra times.
        times: u32,
    },
    /// Some answers of a node come late: later answers on other streams overtake them.
    LateAnswers {
        /// Which node.
        node: NodeId,
        /// By how many milliseconds.
        by_ms: u64,
        /// How many of a hundred answers.
        percent: u8,
    },
    /// Some answers of a node never come, though the request was carried out.
    SwallowAnswers {
        /// Which node.
        node: NodeId,
        /// How many of a hundred answers.
        percent: u8,
    },
    /// A node sends every client an answer that nobody asked for, at one moment.
    ForeignAnswer {
        /// Which node.
        node: NodeId,
    },
    /// A node forgets all prepared statements, at one moment.
    ForgetPrepared {
        /// Which node.
        node: NodeId,
    },
    /// A node answers the next continued pages without rows, though there are more, at one moment.
    EmptyPages {
        /// Which node.
        node: NodeId,
        /// How many pages.
        pages: u32,
    },
    /// A node tells its clients something untrue about another one, at one moment.
    FalseStatus {
        /// The node that tells.
        node: NodeId,
        /// The node it speaks about.
        about: NodeId,
        /// Whether it says UP or DOWN.
        up: bool,
    },
    /// A node answers the next statements that it would coordinate with something else, at one moment. None of them is
    /// carried out.
    ForceAnswers {
        /// Which node.
        node: NodeId,
        /// With what.
        answer: ForcedAnswer,
        /// How many statements.
        statements: u32,
    },
    /// A node sends its next answer on a stream that is not the question's, on each connection, at one moment.
    MisdirectAnswer {
        /// Which node.
        node: NodeId,
    },
    /// A bit of a node's next answer flips on its way, on each connection whose framing has checksums (protocol v5), at
    /// one moment.
    CorruptAnswer {
        /// Which node.
        node: NodeId,
    },
    /// A node's wall clock is ahead, or behind if negative.
    NodeClock {
        /// Which node.
        node: NodeId,
        /// By how many milliseconds.
        by_ms: i64,
    },
    /// The wall clocks of all clients are ahead, or behind if negative.
    ClientClock {
        /// By how many milliseconds.
        by_ms: i64,
    },
    /// Schema changes of others reach a node late.
    SlowSchema {
        /// Which node.
        node: NodeId,
        /// By how many milliseconds.
        by_ms: u64,
    },
    /// A node refuses every login, right or wrong (only where nodes demand one).
    RejectLogins {
        /// Which node.
        node: NodeId,
    },
    /// A node's rows about its peers are not what they should be.
    DirtyPeers {
        /// Which node.
        node: NodeId,
        /// What is wrong with them.
        how: Dirt,
    },
    /// Names do not resolve as they should.
    Names {
        /// How.
        how: NameFault,
    },
    /// A new node begins to join the ring, at one moment; it owns its tokens once it has their data.
    Join {
        /// The number of the new node; nothing happens if there is one with this number.
        node: NodeId,
        /// Its data centre, which may be a new one.
        datacenter: String,
    },
    /// An operator tells a node to leave the ring for good, at one moment; it leaves once others have its data.
    Decommission {
        /// Which node.
        node: NodeId,
    },
    /// A node's machine dies for good, and a new node begins to take over its tokens, at one moment.
    Replace {
        /// The node that dies.
        node: NodeId,
        /// The number of the new node; nothing happens if there is one with this number.
        with: NodeId,
        /// Whether the new node has the old one's address.
        same_address: bool,
    },
    /// A node restarts with an address that nobody has, at one moment; a crashed one has it once it starts again.
    ChangeAddress {
        /// Which node.
        node: NodeId,
    },
    /// Two nodes restart, each with the other's address, at one moment; crashed ones have it once they start again.
    SwapAddresses {
        /// One node.
        node: NodeId,
        /// The other node.
        with: NodeId,
    },
}

/// How a crash shows on the connections of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashKind {
    /// Connections are closed in order; new ones are refused.
    Fin,
    /// Connections are reset; new ones are refused.
    Rst,
    /// The machine vanishes: nothing is answered, not even by its operating system.
    Silence,
    /// It is stopped in good order: it tells its peers, closes its connections, and new ones are refused.
    Drain,
}

/// How names fail to resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameFault {
    /// Every look-up fails.
    Fail,
    /// No look-up is answered for a minute.
    Hang,
    /// Names give addresses at which nobody is, before the right ones.
    Dead,
}

/// Which way nothing gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Neither way.
    Both,
    /// What clients send is held up.
    ToNode,
    /// What the node sends is held up.
    ToClient,
}

impl Fault {
    /// Whether it happens at one moment and has no end.
    #[must_use]
    pub const fn is_instant(&self) -> bool {
        matches!(
            self,
            Self::ResetConnections { .. }
                | Self::ForeignAnswer { .. }
                | Self::ForgetPrepared { .. }
                | Self::EmptyPages { .. }
                | Self::FalseStatus { .. }
                | Self::ForceAnswers { .. }
                | Self::MisdirectAnswer { .. }
                | Self::CorruptAnswer { .. }
        ) || self.changes_topology()
    }

    /// Whether it changes who is a member, or where.
    #[must_use]
    pub const fn changes_topology(&self) -> bool {
        matches!(
            self,
            Self::Join { .. }
                | Self::Decommission { .. }
                | Self::Replace { .. }
                | Self::ChangeAddress { .. }
                | Self::SwapAddresses { .. }
        )
    }

    /// Whether clients may have read something untrue and hear nothing when it is put right.
    #[must_use]
    pub const fn hides_changes(&self) -> bool {
        matches!(self, Self::LoseEvents { .. } | Self::DirtyPeers { .. })
    }

    /// Whether nodes and clients reach each other all the time, and every connection lives.
    #[must_use]
    pub const fn leaves_contact(&self) -> bool {
        matches!(
            self,
            Self::SlowSchema { .. }
                | Self::NodeClock { .. }
                | Self::ClientClock { .. }
                | Self::LoseEvents { .. }
                | Self::DelayEvents { .. }
                | Self::RepeatEvents { .. }
                | Self::FalseStatus { .. }
                | Self::EmptyPages { .. }
                | Self::ForgetPrepared { .. }
                | Self::ForceAnswers { .. }
                | Self::DirtyPeers { .. }
                | Self::Names { .. }
        )
    }

    /// Its name, as plan files write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Pause { .. } => "pause",
            Self::Partition { .. } => "partition",
            Self::CutClient { .. } => "cut-client",
            Self::SlowLink { .. } => "slow-link",
            Self::Refuse { .. } => "refuse",
            Self::ResetConnections { .. } => "reset-connections",
            Self::LoseEvents { .. } => "lose-events",
            Self::DelayEvents { .. } => "delay-events",
            Self::RepeatEvents { .. } => "repeat-events",
            Self::LateAnswers { .. } => "late-answers",
            Self::SwallowAnswers { .. } => "swallow-answers",
            Self::ForeignAnswer { .. } => "foreign-answer",
            Self::ForgetPrepared { .. } => "forget-prepared",
            Self::EmptyPages { .. } => "empty-pages",
            Self::FalseStatus { .. } => "false-status",
            Self::ForceAnswers { .. } => "force-answers",
            Self::MisdirectAnswer { .. } => "misdirect-answer",
            Self::CorruptAnswer { .. } => "corrupt-answer",
            Self::NodeClock { .. } => "node-clock",
            Self::ClientClock { .. } => "client-clock",
            Self::SlowSchema { .. } => "slow-schema",
            Self::RejectLogins { .. } => "reject-logins",
            Self::DirtyPeers { .. } => "dirty-peers",
            Self::Names { .. } => "names",
            Self::Join { .. } => "join",
            Self::Decommission { .. } => "decommission",
            Self::Replace { .. } => "replace",
            Self::ChangeAddress { .. } => "change-address",
            Self::SwapAddresses { .. } => "swap-addresses",
        }
    }

    /// The nodes it names.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Partition { nodes, .. } => nodes.clone(),
            Self::ClientClock { .. } | Self::Names { .. } => Vec::new(),
            Self::FalseStatus { node, about: other, .. }
            | Self::Replace { node, with: other, .. }
            | Self::SwapAddresses { node, with: other } => vec![*node, *other],
            Self::Crash { node, .. }
            | Self::Pause { node }
            | Self::CutClient { node, .. }
            | Self::SlowLink { node, .. }
            | Self::Refuse { node }
            | Self::ResetConnections { node }
            | Self::LoseEvents { node }
            | Self::DelayEvents { node, .. }
            | Self::RepeatEvents { node, .. }
            | Self::LateAnswers { node, .. }
            | Self::SwallowAnswers { node, .. }
            | Self::ForeignAnswer { node }
            | Self::EmptyPages { node, .. }
            | Self::ForceAnswers { node, .. }
            | Self::MisdirectAnswer { node }
            | Self::CorruptAnswer { node }
            | Self::NodeClock { node, .. }
            | Self::SlowSchema { node, .. }
            | Self::RejectLogins { node }
            | Self::DirtyPeers { node, .. }
            | Self::Join { node, .. }
            | Self::Decommission { node }
            | Self::ChangeAddress { node }
            | Self::ForgetPrepared { node } => vec![*node],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for node in self.nodes() {
            write!(f, " {node}")?;
        }
        match self {
            Self::Crash { how: CrashKind::Fin, .. } => f.write_str(" (fin)"),
            Self::Crash { how: CrashKind::Rst, .. } => f.write_str(" (rst)"),
            Self::Crash { how: CrashKind::Silence, .. } => f.write_str(" (silence)"),
            Self::Crash { how: CrashKind::Drain, .. } => f.write_str(" (drain)"),
            Self::ForceAnswers { answer, statements, .. } => write!(f, " ({statements} times {answer:?})"),
            Self::NodeClock { by_ms, .. } | Self::ClientClock { by_ms } => write!(f, " ({by_ms:+} ms)"),
            Self::SlowSchema { by_ms, .. } => write!(f, " (by {by_ms} ms)"),
            Self::Names { how } => write!(f, " ({how:?})"),
            Self::DirtyPeers { how, .. } => write!(f, " ({how:?})"),
            Self::Join { datacenter, .. } => write!(f, " ({datacenter})"),
            Self::Replace { same_address: true, .. } => f.write_str(" (same address)"),
            Self::Partition { clients: true, .. } => f.write_str(" (from clients too)"),
            Self::CutClient { direction: Direction::ToNode, .. } => f.write_str(" (to node)"),
            Self::CutClient { direction: Direction::ToClient, .. } => f.write_str(" (to client)"),
            Self::SlowLink { extra_ms, .. } => write!(f, " (+{extra_ms} ms)"),
            Self::DelayEvents { by_ms, .. } => write!(f, " (by {by_ms} ms)"),
            Self::RepeatEvents { times, .. } => write!(f, " ({times} times)"),
            Self::LateAnswers { by_ms, percent, .. } => write!(f, " ({percent}% by {by_ms} ms)"),
            Self::SwallowAnswers { percent, .. } => write!(f, " ({percent}%)"),
            Self::EmptyPages { pages, .. } => write!(f, " ({pages})"),
            Self::FalseStatus { up, .. } => f.write_str(if *up { " UP" } else { " DOWN" }),
            Self::Pause { .. }
            | Self::Partition { clients: false, .. }
            | Self::CutClient { direction: Direction::Both, .. }
            | Self::Refuse { .. }
            | Self::ResetConnections { .. }
            | Self::LoseEvents { .. }
            | Self::ForeignAnswer { .. }
            | Self::MisdirectAnswer { .. }
            | Self::CorruptAnswer { .. }
            | Self::RejectLogins { .. }
            | Self::Decommission { .. }
            | Self::Replace { same_address: false, .. }
            | Self::ChangeAddress { .. }
            | Self::SwapAddresses { .. }
            | Self::ForgetPrepared { .. } => Ok(()),
        }
    }
}
