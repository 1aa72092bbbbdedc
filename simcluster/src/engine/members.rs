//! The members of the cluster: running, paused or crashed, whatever carries their bytes.

use crate::kernel::{NodeId, Now, SimInstant};
use crate::node::{Durable, Input, Node, NodeConfig, Output};
use crate::schema::Schema;
use crate::storage::Store;
use std::collections::VecDeque;

/// One member.
#[derive(Debug)]
pub struct Member {
    /// How it is set up.
    pub config: NodeConfig,
    /// Grows with each start: timers of an earlier life are void.
    pub incarnation: u32,
    process: Process,
    is_paused: bool,
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
    members: Vec<Member>,
}

impl Members {
    /// Members that have not been started.
    #[must_use]
    pub fn new(configs: Vec<NodeConfig>) -> Self {
        let member = |config| Member {
            config,
            incarnation: 0,
            process: Process::Fresh,
            is_paused: false,
            waiting: VecDeque::new(),
        };
        Self { members: configs.into_iter().map(member).collect() }
    }

    /// A member by its number.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.get((node.0 as usize).checked_sub(1)?)
    }

    /// A member by its number.
    pub fn get_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.members.get_mut((node.0 as usize).checked_sub(1)?)
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// All numbers in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.iter().map(|member| member.config.id).collect()
    }

    /// The schema that most running members believe in; of equally common ones the first member's.
    #[must_use]
    pub fn schema(&self) -> Option<&Schema> {
        let schemas: Vec<&Schema> = self.members.iter().filter_map(Member::schema).collect();
        let votes = |schema: &&Schema| schemas.iter().filter(|other| other.version == schema.version).count();
        // `max_by_key` takes the last of equals, so the order is reversed.
        schemas.iter().rev().copied().max_by_key(votes)
    }
}
