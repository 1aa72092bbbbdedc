//! The state of the machines that nodes run on, and which of them can reach which.

use crate::kernel::NodeId;
use std::collections::BTreeSet;
use std::time::Duration;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// All clients: they share one machine room.
    Clients,
    /// A node.
    Node(NodeId),
}

/// What runs on a node's machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessState {
    /// The process runs.
    #[default]
    Running,
    /// The process exists but does nothing: connections are accepted by the kernel, nothing is read.
    Paused,
    /// The process is gone, the machine is there: it answers with RST.
    Dead,
    /// The machine is gone: nothing answers.
    Vanished,
}

/// A node's machine as the network sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub process: ProcessState,
    pub refuses: bool,
    pub extra_latency: Duration,
}

/// All machines, and the cuts between them.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: Vec<Host>,
    pub cuts: BTreeSet<(Endpoint, Endpoint)>,
}

impl Hosts {
    /// The machine of a node; one that was never set up runs and is reachable.
    pub fn host(&self, node: NodeId) -> &Host {
        static ORDINARY: Host = Host { process: ProcessState::Running, refuses: false, extra_latency: Duration::ZERO };
        self.hosts.get(node.0 as usize).unwrap_or(&ORDINARY)
    }

    pub fn host_mut(&mut self, node: NodeId) -> &mut Host {
        let index = node.0 as usize;
        if index >= self.hosts.len() {
            self.hosts.resize(index + 1, Host::default());
        }
        &mut self.hosts[index]
    }

    pub fn is_cut(&self, from: Endpoint, to: Endpoint) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }
}
