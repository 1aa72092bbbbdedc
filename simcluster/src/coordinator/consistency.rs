//! How many replicas must answer, and whether enough of them are alive to ask.
//!
//! # Source
//!
//! Research on cluster fidelity, sections 3.1 and 3.2.

use super::Context;
use super::io::is_alive;
use crate::kernel::NodeId;
use crate::protocol::{Consistency, ServerError};
use crate::ring::{Replication, Ring, Token};
use std::collections::BTreeMap;

/// The replicas of one partition as a coordinator sees them.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    pub(super) replication: Replication,
    /// In ring order.
    pub(super) natural: Vec<NodeId>,
    /// Nodes that take the partition over.
    pub(super) pending: Vec<NodeId>,
}

impl Placement {
    /// # Errors
    ///
    /// The keyspace was dropped since the statement was prepared.
    pub(super) fn of(context: &Context<'_>, keyspace: &str, token: Token) -> Result<Self, ServerError> {
        let Some(keyspace) = context.schema.keyspaces.get(keyspace) else {
            return Err(ServerError::Invalid(format!("Keyspace '{keyspace}' does not exist")));
        };
        let replication = Replication::from_options(&keyspace.replication);
        if replication == Replication::Local || keyspace.is_virtual {
            return Ok(Self { replication: Replication::Local, natural: vec![context.me], pending: Vec::new() });
        }
        let natural = context.ring.natural(token, &replication);
        let pending = context.ring.pending(token, &replication);
        Ok(Self { replication, natural, pending })
    }
}

/// Whom a write goes to and what makes it a success.
#[derive(Clone, Debug)]
pub(super) struct WriteTargets {
    pub(super) live: Vec<NodeId>,
    pub(super) dead: Vec<NodeId>,
    pub(super) block_for: usize,
    /// For EACH_QUORUM: how many in each data centre.
    pub(super) by_datacenter: BTreeMap<String, usize>,
    /// For LOCAL_*: the only data centre whose answers count.
    pub(super) only_datacenter: Option<String>,
}

impl WriteTargets {
    /// # Errors
    ///
    /// Unavailable, if too few replicas are alive.
    pub(super) fn of(
        context: &Context<'_>,
        placement: &Placement,
        consistency: Consistency,
    ) -> Result<Self, ServerError> {
        let targets = Self::counting_only(context, placement, consistency);
        if consistency != Consistency::Any {
            check_alive(context, &placement.replication, consistency, &targets.live, targets.block_for)?;
        }
        Ok(targets)
    }

    /// The same without asking whether enough replicas are alive.
    pub(super) fn counting_only(context: &Context<'_>, placement: &Placement, consistency: Consistency) -> Self {
        let all = || placement.natural.iter().chain(&placement.pending);
        let (live, dead): (Vec<NodeId>, Vec<NodeId>) = all().partition(|node| is_alive(context, **node));
        let local = context.ring.datacenter(context.me);
        let is_pending_counted = |node: &&NodeId| match consistency {
            Consistency::Any => false,
            Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial => {
                context.ring.datacenter(**node) == local
            }
            _ => true,
        };
        let pending = placement.pending.iter().filter(is_pending_counted).count();
        let block_for = block_for(consistency, &placement.replication, context.ring, local) + pending;
        let mut by_datacenter = each_quorum(consistency, &placement.replication, context.ring);
        for (datacenter, required) in &mut by_datacenter {
            *required += placement.pending.iter().filter(|n| context.ring.datacenter(**n) == datacenter).count();
        }
        let only_datacenter = is_local(consistency).then(|| local.to_owned());
        Self { live, dead, block_for, by_datacenter, only_datacenter }
    }
}

/// Whom a read may ask, nearest first, and how many must answer.
#[derive(Clone, Debug)]
pub(super) struct ReadTargets {
    /// Asked at once.
    pub(super) contacts: Vec<NodeId>,
    /// May be asked if the others are slow.
    pub(super) spare: Vec<NodeId>,
    pub(super) block_for: usize,
}

impl ReadTargets {
    /// `tie_break` orders nodes that are equally near.
    ///
    /// # Errors
    ///
    /// Unavailable, if too few replicas are alive.
    pub(super) fn of(
        context: &Context<'_>,
        placement: &Placement,
        consistency: Consistency,
        tie_break: u64,
    ) -> Result<Self, ServerError> {
        let local = context.ring.datacenter(context.me);
        // A keyspace without replicas cannot answer, not even ALL of them.
        let block_for = block_for(consistency, &placement.replication, context.ring, local).max(1);
        let mut live: Vec<NodeId> = placement.natural.iter().copied().filter(|node| is_alive(context, *node)).collect();
        check_alive(context, &placement.replication, consistency, &live, block_for)?;
        if is_local(consistency) {
            live.retain(|node| context.ring.datacenter(*node) == local);
        }
        live.sort_by_key(|node| (distance(context, *node), tie(tie_break, *node)));
        let mut quorums = each_quorum(consistency, &placement.replication, context.ring);
        if quorums.is_empty() {
            let spare = live.split_off(block_for.min(live.len()));
            return Ok(Self { contacts: live, spare, block_for });
        }
        live.retain(|node| match quorums.get_mut(context.ring.datacenter(*node)) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        });
        // With EACH_QUORUM nobody else is asked, however slow the others are.
        Ok(Self { contacts: live, spare: Vec::new(), block_for })
    }
}

/// How many replicas must answer, pending ones not counted.
pub(super) fn block_for(consistency: Consistency, replication: &Replication, ring: &Ring, local: &str) -> usize {
    match consistency {
        Consistency::Any | Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::Quorum | Consistency::Serial => quorum(total_factor(replication, ring)),
        Consistency::All => total_factor(replication, ring),
        Consistency::LocalQuorum | Consistency::LocalSerial => match replication {
            Replication::NetworkTopology { factors, others } => quorum(factors.get(local).copied().unwrap_or(*others)),
            _ => quorum(total_factor(replication, ring)),
        },
        Consistency::EachQuorum => match each_quorum(consistency, replication, ring) {
            quorums if quorums.is_empty() => quorum(total_factor(replication, ring)),
            quorums => quorums.values().sum(),
        },
    }
}

/// Whether only replicas in the coordinator's data centre count.
pub(super) fn is_local(consistency: Consistency) -> bool {
    matches!(consistency, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial)
}

/// More than half.
pub(super) fn quorum(factor: usize) -> usize {
    factor / 2 + 1
}

/// The name as Cassandra writes it in messages.
pub(super) fn name(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Any => "ANY",
        Consistency::One => "ONE",
        Consistency::Two => "TWO",
        Consistency::Three => "THREE",
        Consistency::Quorum => "QUORUM",
        Consistency::All => "ALL",
        Consistency::LocalQuorum => "LOCAL_QUORUM",
        Consistency::EachQuorum => "EACH_QUORUM",
        Consistency::Serial => "SERIAL",
        Consistency::LocalSerial => "LOCAL_SERIAL",
        Consistency::LocalOne => "LOCAL_ONE",
    }
}

/// An Unavailable error with the numbers of a count.
pub(super) fn unavailable(
    consistency: Consistency,
    required: usize,
    alive: usize,
    datacenter: Option<&str>,
) -> ServerError {
    ServerError::Unavailable {
        consistency,
        required: count(required),
        alive: count(alive),
        datacenter: datacenter.map(str::to_owned),
    }
}

/// A count as the protocol has it.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn check_alive(
    context: &Context<'_>,
    replication: &Replication,
    consistency: Consistency,
    live: &[NodeId],
    block_for: usize,
) -> Result<(), ServerError> {
    let in_datacenter = |name: &str| live.iter().filter(|node| context.ring.datacenter(**node) == name).count();
    if is_local(consistency) {
        let alive = in_datacenter(context.ring.datacenter(context.me));
        let required = if consistency == Consistency::LocalOne { 1 } else { block_for };
        // The node's own tables are local wherever the node believes to be.
        let alive = if *replication == Replication::Local { live.len() } else { alive };
        return if alive < required { Err(unavailable(consistency, required, alive, None)) } else { Ok(()) };
    }
    for (datacenter, required) in each_quorum(consistency, replication, context.ring) {
        let alive = in_datacenter(&datacenter);
        if alive < required {
            // Cassandra says 0 whoever is alive (measured on 5.0.8).
            return Err(unavailable(consistency, required, 0, Some(&datacenter)));
        }
    }
    if live.len() < block_for && consistency != Consistency::EachQuorum {
        return Err(unavailable(consistency, block_for, live.len(), None));
    }
    if consistency == Consistency::EachQuorum
        && !matches!(replication, Replication::NetworkTopology { .. })
        && live.len() < block_for
    {
        return Err(unavailable(consistency, block_for, live.len(), None));
    }
    Ok(())
}

/// The quorum of each data centre with replicas; empty unless the level is EACH_QUORUM and the strategy knows
/// data centres.
fn each_quorum(consistency: Consistency, replication: &Replication, ring: &Ring) -> BTreeMap<String, usize> {
    match replication {
        Replication::NetworkTopology { .. } if consistency == Consistency::EachQuorum => {
            factors_by_datacenter(replication, ring).into_iter().map(|(name, factor)| (name, quorum(factor))).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// The replicas a partition should have: the options count, not the nodes that happen to exist.
fn total_factor(replication: &Replication, ring: &Ring) -> usize {
    match replication {
        Replication::Simple { factor } => *factor,
        Replication::NetworkTopology { .. } => factors_by_datacenter(replication, ring).values().sum(),
        Replication::Local => 1,
        Replication::Everywhere => ring.members().len(),
    }
}

fn factors_by_datacenter(replication: &Replication, ring: &Ring) -> BTreeMap<String, usize> {
    let Replication::NetworkTopology { factors, others } = replication else { return BTreeMap::new() };
    let mut all = factors.clone();
    if *others > 0 {
        for location in ring.locations.values() {
            all.entry(location.datacenter.clone()).or_insert(*others);
        }
    }
    all.retain(|_, factor| *factor > 0);
    all
}

/// As the snitch orders nodes: itself, its rack, its data centre, the others.
fn distance(context: &Context<'_>, node: NodeId) -> u8 {
    let ring = context.ring;
    if node == context.me {
        0
    } else if ring.datacenter(node) != ring.datacenter(context.me) {
        3
    } else {
        1 + u8::from(ring.rack(node) != ring.rack(context.me))
    }
}

/// An order among equals that differs from read to read.
fn tie(tie_break: u64, node: NodeId) -> u64 {
    (tie_break ^ u64::from(node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
}
