//! What a set of faults that are active at the same time amounts to.
//!
//! The effect is a function of the multiset of active faults alone: overlapping faults need no rules of their own, and
//! the order in which they began and end does not matter (only how a node's crash looks is decided by the oldest one).
//!
//! # Invariants
//!
//! - With no active fault, every node's effect is the default and nothing is cut.

use super::{CrashKind, Direction, Fault, NameFault};
use crate::entropy::Dice;
use crate::kernel::NodeId;
use crate::network::Endpoint;
use crate::node::{ClientOutput, Dirt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the active faults do to one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFaults {
    /// Whether and how it is crashed.
    pub crashed: Option<CrashKind>,
    /// Whether it stands still.
    pub is_paused: bool,
    /// Whether it refuses connections.
    pub refuses: bool,
    /// Added to each latency: the sum over all faults.
    pub extra_latency: Duration,
    /// Whether its events are lost.
    pub loses_events: bool,
    /// How late its events are: the sum over all faults.
    pub events_delay: Duration,
    /// How many more times its events are sent: the sum over all faults.
    pub events_repeated: u32,
    /// Percentages of answers to delay, and by how much.
    pub late_answers: Vec<(u8, Duration)>,
    /// Percentages of answers to lose.
    pub swallowed_answers: Vec<u8>,
    /// How far its wall clock is ahead, in microseconds: the sum over all faults.
    pub clock_micros: i64,
    /// How late schema changes of others reach it: the sum over all faults.
    pub schema_delay: Duration,
    /// Whether it refuses every login.
    pub rejects_logins: bool,
    /// What is wrong with its rows about its peers, by the latest such fault.
    pub dirt: Option<Dirt>,
}

/// What is to be done with bytes for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// How many times to send them; 0 = not at all.
    pub copies: u32,
    /// How much later.
    pub delay: Duration,
}

/// The faults that are active at one moment.
#[derive(Clone, Debug, Default)]
pub struct ActiveFaults {
    active: Vec<Fault>,
    nodes: BTreeMap<NodeId, NodeFaults>,
}

impl ActiveFaults {
    /// Begins a fault. The same fault may be active several times.
    pub fn begin(&mut self, fault: &Fault) {
        if !fault.is_instant() {
            self.active.push(fault.clone());
            self.derive();
        }
    }

    /// Ends a fault that was begun; returns false if it is not active.
    pub fn end(&mut self, fault: &Fault) -> bool {
        let Some(position) = self.active.iter().position(|active| active == fault) else { return false };
        self.active.remove(position);
        self.derive();
        true
    }

    /// The active faults, oldest first.
    #[must_use]
    pub fn active(&self) -> &[Fault] {
        &self.active
    }

    /// What they do to a node; `None` if nothing.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeFaults> {
        self.nodes.get(&node)
    }

    /// Ordered pairs of which the first cannot reach the second. `members` are all nodes.
    #[must_use]
    pub fn cuts(&self, members: &[NodeId]) -> BTreeSet<(Endpoint, Endpoint)> {
        let mut cuts = BTreeSet::new();
        for fault in &self.active {
            match fault {
                Fault::Partition { nodes, clients } => {
                    for inside in nodes.iter().filter(|node| members.contains(node)) {
                        let inside = Endpoint::Node(*inside);
                        let outside =
                            members.iter().filter(|node| !nodes.contains(node)).map(|node| Endpoint::Node(*node));
                        for outside in outside.chain(clients.then_some(Endpoint::Clients)) {
                            cuts.insert((inside, outside));
                            cuts.insert((outside, inside));
                        }
                    }
                }
                Fault::CutClient { node, direction } => {
                    let node = Endpoint::Node(*node);
                    if *direction != Direction::ToClient {
                        cuts.insert((Endpoint::Clients, node));
                    }
                    if *direction != Direction::ToNode {
                        cuts.insert((node, Endpoint::Clients));
                    }
                }
                _ => {}
            }
        }
        cuts
    }

    /// How far the wall clocks of clients are ahead, in microseconds.
    #[must_use]
    pub fn client_clock_micros(&self) -> i64 {
        let skew =
            |fault: &Fault| if let Fault::ClientClock { by_ms } = fault { by_ms.saturating_mul(1_000) } else { 0 };
        self.active.iter().map(skew).fold(0, i64::saturating_add)
    }

    /// How names fail to resolve, by the oldest such fault.
    #[must_use]
    pub fn names(&self) -> Option<NameFault> {
        self.active.iter().find_map(|fault| if let Fault::Names { how } = fault { Some(*how) } else { None })
    }

    /// Decides what happens to bytes that a node sends to a client.
    pub fn treat(&self, node: NodeId, kind: ClientOutput, dice: &mut Dice) -> Treatment {
        let mut treatment = Treatment { copies: 1, delay: Duration::ZERO };
        let Some(faults) = self.nodes.get(&node) else { return treatment };
        match kind {
            ClientOutput::Event => {
                treatment.delay = faults.events_delay;
                treatment.copies = if faults.loses_events { 0 } else { 1 + faults.events_repeated };
            }
            ClientOutput::Response { .. } => {
                for (percent, delay) in &faults.late_answers {
                    if dice.below(100) < u64::from(*percent) {
                        treatment.delay += *delay;
                    }
                }
                for percent in &faults.swallowed_answers {
                    if dice.below(100) < u64::from(*percent) {
                        treatment.copies = 0;
                    }
                }
            }
        }
        treatment
    }

    fn derive(&mut self) {
        self.nodes.clear();
        for fault in &self.active {
            let Some(node) = fault.nodes().first().copied() else { continue };
            let of = self.nodes.entry(node).or_default();
            match fault {
                Fault::Crash { how, .. } => {
                    of.crashed.get_or_insert(*how);
                }
                Fault::Pause { .. } => of.is_paused = true,
                Fault::SlowLink { extra_ms, .. } => of.extra_latency += Duration::from_millis(*extra_ms),
                Fault::Refuse { .. } => of.refuses = true,
                Fault::LoseEvents { .. } => of.loses_events = true,
                Fault::DelayEvents { by_ms, .. } => of.events_delay += Duration::from_millis(*by_ms),
                Fault::RepeatEvents { times, .. } => {
                    let repeated = &mut of.events_repeated;
                    *repeated = repeated.saturating_add(*times).min(REPEATS_MAX);
                }
                Fault::LateAnswers { by_ms, percent, .. } => {
                    of.late_answers.push((*percent, Duration::from_millis(*by_ms)));
                }
                Fault::SwallowAnswers { percent, .. } => of.swallowed_answers.push(*percent),
                Fault::NodeClock { by_ms, .. } => {
                    of.clock_micros = of.clock_micros.saturating_add(by_ms.saturating_mul(1_000));
                }
                Fault::SlowSchema { by_ms, .. } => of.schema_delay += Duration::from_millis(*by_ms),
                Fault::RejectLogins { .. } => of.rejects_logins = true,
                Fault::DirtyPeers { how, .. } => of.dirt = Some(*how),
                Fault::Partition { .. }
                | Fault::ForceAnswers { .. }
                | Fault::MisdirectAnswer { .. }
                | Fault::CorruptAnswer { .. }
                | Fault::ClientClock { .. }
                | Fault::Names { .. }
                | Fault::CutClient { .. }
                | Fault::ResetConnections { .. }
                | Fault::ForeignAnswer { .. }
                | Fault::ForgetPrepared { .. }
                | Fault::EmptyPages { .. }
                | Fault::FalseStatus { .. }
                | Fault::Join { .. }
                | Fault::Decommission { .. }
                | Fault::Replace { .. }
                | Fault::ChangeAddress { .. }
                | Fault::SwapAddresses { .. } => {}
            }
        }
    }
}

/// A plan's typing error must not fill the memory.
const REPEATS_MAX: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;

    const MEMBERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    #[test]
    fn overlapping_cuts_end_with_the_last_of_them() {
        let mut faults = ActiveFaults::default();
        let cut = Fault::CutClient { node: NodeId(1), direction: Direction::ToNode };
        let partition = Fault::Partition { nodes: vec![NodeId(1)], clients: true };
        let pair = (Endpoint::Clients, Endpoint::Node(NodeId(1)));

        faults.begin(&cut);
        faults.begin(&partition);
        assert!(faults.end(&cut));
        assert!(faults.cuts(&MEMBERS).contains(&pair), "the partition still cuts");
        assert!(faults.end(&partition));

        assert!(faults.cuts(&MEMBERS).is_empty());
        assert!(!faults.end(&partition), "it is not active any more");
    }

    #[test]
    fn partition_cuts_both_ways_between_the_sides_only() {
        let mut faults = ActiveFaults::default();
        faults.begin(&Fault::Partition { nodes: vec![NodeId(1), NodeId(2)], clients: false });

        let node = |number| Endpoint::Node(NodeId(number));
        let expected = [(node(1), node(3)), (node(2), node(3)), (node(3), node(1)), (node(3), node(2))];
        assert_eq!(faults.cuts(&MEMBERS).into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn lost_events_leave_answers_alone() {
        let mut faults = ActiveFaults::default();
        faults.begin(&Fault::LoseEvents { node: NodeId(1) });
        let mut dice = Entropy::new(1).dice("t", 0);
        let mut copies = |node, kind| faults.treat(node, kind, &mut dice).copies;

        assert_eq!(copies(NodeId(1), ClientOutput::Event), 0);
        assert_eq!(copies(NodeId(1), ClientOutput::Response { stream: 0 }), 1);
        assert_eq!(copies(NodeId(2), ClientOutput::Event), 1);
    }

    #[test]
    fn all_answers_are_swallowed_at_one_hundred_percent_and_none_at_zero() {
        for (percent, expected) in [(0, 1), (100, 0)] {
            let mut faults = ActiveFaults::default();
            faults.begin(&Fault::SwallowAnswers { node: NodeId(1), percent });
            let mut dice = Entropy::new(1).dice("t", 0);
            for _ in 0..100 {
                let treatment = faults.treat(NodeId(1), ClientOutput::Response { stream: 1 }, &mut dice);
                assert_eq!(treatment.copies, expected);
            }
        }
    }
}
