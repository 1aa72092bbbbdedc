//! The members of the cluster: running, paused or crashed, whatever carries their bytes.

use crate::kernel::{NodeId, Now, SimInstant};
use crate::node::{Durable, Input, Node, NodeConfig, NodeStatus, Output};
use crate::schema::Schema;
use crate::storage::Store;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One member.
#[derive(Debug)]
pub struct Member {
    /// How it is set up.
    pub config: NodeConfig,
    /// Grows with each start: timers of an earlier life are void.
    pub incarnation: u32,
    process: Process,
    is_paused: bool,
    is_gone: bool,
    waiting: VecDeque<(Input, SimInstant)>,
}

#[derive(Debug)]
enum Process {
    Running(Box<Node>),
    Crashed(Box<Durable>),
    /// Before the first start.
    Fresh,
}

impl Member {
    /// Whether its process exists (it may be paused).
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.process, Process::Running(_))
    }

    /// Whether its process stands still.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether its machine died for good: another member has replaced it.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Its standing in the ring as it tells, or told, it to others; `None` before the first start.
    #[must_use]
    pub fn status(&self) -> Option<NodeStatus> {
        match &self.process {
            Process::Running(node) => Some(node.status()),
            Process::Crashed(durable) => Some(durable.status()),
            Process::Fresh => None,
        }
    }

    /// Whether it owns its tokens: it has joined, has not left, and was not replaced.
    #[must_use]
    pub fn owns_tokens(&self) -> bool {
        !self.is_gone && matches!(self.status(), Some(NodeStatus::Normal | NodeStatus::Leaving))
    }

    /// Its stored data, also while it is crashed.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        match &self.process {
            Process::Running(node) => Some(node.store()),
            Process::Crashed(durable) => Some(durable.store()),
            Process::Fresh => None,
        }
    }

    /// The schema it believes in; `None` while it is crashed.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        match &self.process {
            Process::Running(node) => Some(node.schema()),
            Process::Crashed(_) | Process::Fresh => None,
        }
    }

    /// Starts the process of a new node, which begins to join; does nothing if it has ever been started.
    pub fn bootstrap(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if matches!(self.process, Process::Fresh) {
            self.incarnation += 1;
            self.process = Process::Running(Box::new(Node::bootstrap(self.config.clone(), now, outputs)));
        }
    }

    /// Lets the machine, whose process has ended, never start again.
    pub const fn go_for_good(&mut self) {
        self.is_gone = true;
    }

    /// Starts the process; does nothing if it runs.
    pub fn start(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let durable = match std::mem::replace(&mut self.process, Process::Fresh) {
            Process::Crashed(durable) => Some(*durable),
            Process::Fresh => None,
            running @ Process::Running(_) => {
                self.process = running;
                return;
            }
        };
        self.incarnation += 1;
        self.process = Process::Running(Box::new(Node::start(self.config.clone(), durable, now, outputs)));
    }

    /// Ends the process in good order; does nothing if there is none. One that stands still cannot say goodbye.
    pub fn shut_down(&mut self, outputs: &mut Vec<Output>) {
        if self.is_paused {
            return self.crash();
        }
        self.process = match std::mem::replace(&mut self.process, Process::Fresh) {
            Process::Running(node) => Process::Crashed(Box::new(node.shut_down(outputs))),
            other => other,
        };
    }

    /// Ends the process; does nothing if there is none.
    pub fn crash(&mut self) {
        self.process = match std::mem::replace(&mut self.process, Process::Fresh) {
            Process::Running(node) => Process::Crashed(Box::new(node.crash())),
            other => other,
        };
        self.waiting.clear();
    }

    /// Lets the process stand still or go on; returns what waited for it, with the moment each input was caused.
    pub fn set_paused(&mut self, is_paused: bool) -> VecDeque<(Input, SimInstant)> {
        self.is_paused = is_paused;
        if is_paused { VecDeque::new() } else { std::mem::take(&mut self.waiting) }
    }

    /// Handles an input, or keeps it until the process goes on. Without a process it is lost.
    pub fn handle(&mut self, now: Now, input: Input, caused_at: SimInstant, outputs: &mut Vec<Output>) {
        match &mut self.process {
            Process::Running(_) if self.is_paused => self.waiting.push_back((input, caused_at)),
            Process::Running(node) => node.handle(now, input, outputs),
            Process::Crashed(_) | Process::Fresh => {}
        }
    }
}

/// All members, by number.
#[derive(Debug)]
pub struct Members {
    members: BTreeMap<NodeId, Member>,
}

impl Members {
    /// Members that have not been started.
    #[must_use]
    pub fn new(configs: Vec<NodeConfig>) -> Self {
        let mut members = Self { members: BTreeMap::new() };
        for config in configs {
            members.add(config);
        }
        members
    }

    /// Adds a member that has not been started; returns false if there is one with its number.
    pub fn add(&mut self, config: NodeConfig) -> bool {
        let is_new = !self.members.contains_key(&config.id);
        self.members.entry(config.id).or_insert_with(|| Member {
            config,
            incarnation: 0,
            process: Process::Fresh,
            is_paused: false,
            is_gone: false,
            waiting: VecDeque::new(),
        });
        is_new
    }

    /// A member by its number.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// A member by its number.
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.members.get_mut(&node)
    }

    /// The member that a client reaches at an address: not one that is gone.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Member> {
        self.iter().find(|member| member.config.address == address && !member.is_gone)
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// All numbers in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The numbers of those that are part of the cluster or about to be: neither gone nor left.
    #[must_use]
    pub fn present(&self) -> Vec<NodeId> {
        let is_present = |member: &&Member| !member.is_gone && member.status() != Some(NodeStatus::Left);
        self.iter().filter(is_present).map(|member| member.config.id).collect()
    }

    /// The schema that most running members believe in; of equally common ones the first member's.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        let schemas: Vec<&Schema> = self.iter().filter_map(Member::schema).collect();
        let votes = |schema: &&Schema| schemas.iter().filter(|other| other.version == schema.version).count();
        // `max_by_key` takes the last of equals, so the order is reversed.
        schemas.iter().rev().copied().max_by_key(votes)
    }
}

/// The next address of a data centre that no member has had: beside those of its members, or in a subnet of its own.
#[must_use]
pub fn free_address(members: &Members, datacenter: &str) -> SocketAddr {
    let of = |member: &Member| match member.config.address.ip() {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let port = members.iter().next().map_or(9042, |member| member.config.address.port());
    let here = members.iter().filter(|member| member.config.location.datacenter == datacenter);
    let subnet = here.map(of).next().map_or_else(
        || {
            let last = members.iter().map(|member| of(member)[2]).max().unwrap_or(0);
            [10, 0, last.saturating_add(1), 0]
        },
        |first| [first[0], MOVED, first[2], 0],
    );
    let is_taken = |address: Ipv4Addr| members.iter().any(|member| member.config.address.ip() == address);
    let candidates = (1..=u8::MAX - 1).map(|last| Ipv4Addr::new(subnet[0], subnet[1], subnet[2], last));
    let address =
        candidates.into_iter().find(|address| !is_taken(*address)).unwrap_or(Ipv4Addr::new(10, 255, 255, 254));
    SocketAddr::new(address.into(), port)
}

/// The second byte of the addresses of nodes that came, or moved, after the start.
const MOVED: u8 = 100;
