//! Which faults a generated plan has: families drawn one by one, and patterns that independent draws would hardly make.

use crate::seed::Profile;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use simcluster::fault::{CrashKind, Direction, Fault, NameFault};
use simcluster::kernel::NodeId;
use simcluster::node::{Dirt, ForcedAnswer};

/// Whether a family of faults belongs into plans of a profile. While nodes come and go no replica may be down: data
/// that only it has would rightly be lost.
pub(super) const fn fits(kind: Profile, family: usize) -> bool {
    !matches!((kind, family), (Profile::Topology, 0..=2))
}

/// How long a fault holds: quantised, mostly short.
pub(super) fn hold(kind: Profile) -> impl Strategy<Value = u64> + use<> {
    select(match kind {
        Profile::Soak => vec![1_000_u64, 8_000, 60_000, 600_000],
        _ => vec![100, 500, 1_000, 2_000, 4_000, 8_000],
    })
}

/// The number of families that [`fault`] knows.
pub(super) const FAMILIES: usize = 19;

pub(super) fn fault(family: usize, nodes: u32) -> BoxedStrategy<Fault> {
    let node = || (1..=nodes).prop_map(NodeId);
    let percent = || select(vec![5_u8, 30, 100]);
    match family {
        0 => (node(), select(vec![CrashKind::Fin, CrashKind::Rst, CrashKind::Silence, CrashKind::Drain]))
            .prop_map(|(node, how)| Fault::Crash { node, how })
            .boxed(),
        1 => node().prop_map(|node| Fault::Pause { node }).boxed(),
        2 => {
            (node(), any::<bool>()).prop_map(|(node, clients)| Fault::Partition { nodes: vec![node], clients }).boxed()
        }
        3 => (node(), select(vec![Direction::Both, Direction::ToNode, Direction::ToClient]))
            .prop_map(|(node, direction)| Fault::CutClient { node, direction })
            .boxed(),
        4 => (node(), select(vec![5_u64, 50, 500, 3_000]))
            .prop_map(|(node, extra_ms)| Fault::SlowLink { node, extra_ms })
            .boxed(),
        5 => (node(), any::<bool>())
            .prop_map(|(node, refuse)| if refuse { Fault::Refuse { node } } else { Fault::ResetConnections { node } })
            .boxed(),
        6 => node().prop_map(|node| Fault::ResetConnections { node }).boxed(),
        7 => (node(), 0_u8..3, select(vec![100_u64, 3_000]), 1_u32..=20)
            .prop_map(|(node, kind, by_ms, times)| match kind {
                0 => Fault::LoseEvents { node },
                1 => Fault::DelayEvents { node, by_ms },
                _ => Fault::RepeatEvents { node, times },
            })
            .boxed(),
        8 => (node(), select(vec![50_u64, 600, 2_500, 6_000]), percent())
            .prop_map(|(node, by_ms, percent)| Fault::LateAnswers { node, by_ms, percent })
            .boxed(),
        9 => (node(), percent()).prop_map(|(node, percent)| Fault::SwallowAnswers { node, percent }).boxed(),
        10 => (node(), any::<bool>())
            .prop_map(
                |(node, forget)| {
                    if forget { Fault::ForgetPrepared { node } } else { Fault::ForeignAnswer { node } }
                },
            )
            .boxed(),
        11 => (node(), 1_u32..=3).prop_map(|(node, pages)| Fault::EmptyPages { node, pages }).boxed(),
        13 => (node(), select(ANSWERS.to_vec()), 1_u32..=4)
            .prop_map(|(node, answer, statements)| Fault::ForceAnswers { node, answer, statements })
            .boxed(),
        14 => (node(), any::<bool>())
            .prop_map(
                |(node, corrupt)| {
                    if corrupt { Fault::CorruptAnswer { node } } else { Fault::MisdirectAnswer { node } }
                },
            )
            .boxed(),
        15 => (node(), any::<bool>(), select(vec![-60_000_i64, -3_000, -1, 5, 3_000, 60_000]))
            .prop_map(
                |(node, clients, by_ms)| {
                    if clients { Fault::ClientClock { by_ms } } else { Fault::NodeClock { node, by_ms } }
                },
            )
            .boxed(),
        16 => (node(), select(vec![200_u64, 1_500, 6_000]))
            .prop_map(|(node, by_ms)| Fault::SlowSchema { node, by_ms })
            .boxed(),
        17 => (node(), select(vec![None, Some(NameFault::Fail), Some(NameFault::Hang), Some(NameFault::Dead)]))
            .prop_map(|(node, names)| names.map_or(Fault::RejectLogins { node }, |how| Fault::Names { how }))
            .boxed(),
        18 => (node(), select(DIRT.to_vec())).prop_map(|(node, how)| Fault::DirtyPeers { node, how }).boxed(),
        _ => (node(), 1..=nodes, any::<bool>())
            .prop_map(|(node, about, up)| Fault::FalseStatus { node, about: NodeId(about), up })
            .boxed(),
    }
}

/// Patterns of faults that independent draws would hardly ever make; in every third chaotic plan.
pub(super) fn storm(kind: Profile, nodes: u32, safety_ms: u64) -> BoxedStrategy<Vec<(u64, u64, Fault)>> {
    match kind {
        Profile::Chaos => {}
        Profile::Topology => return moves(nodes, safety_ms),
        Profile::Schema => return slow_schema(nodes, safety_ms),
        _ => return Just(Vec::new()).boxed(),
    }
    let step = select(vec![200_u64, 1_000, 2_500]);
    (0_u8..15, 0..safety_ms / 2, step, 1..=nodes)
        .prop_map(move |(kind, from, step, node)| {
            let ends = safety_ms * 9 / 10;
            let node = NodeId(node);
            let beats = (0..).map(|beat: u64| from + beat * step).take_while(|at| *at < ends).take(12);
            match kind {
                // Rolling restart: one node after the other.
                0 => (1..=nodes)
                    .zip((0..).map(|number: u64| from + number * step * 2))
                    .map(|(node, at)| (at, step, Fault::Crash { node: NodeId(node), how: CrashKind::Fin }))
                    .collect(),
                // Flapping: one node comes and goes.
                1 => beats.step_by(2).map(|at| (at, step, Fault::Crash { node, how: CrashKind::Rst })).collect(),
                // Contradictory rumours about one node from all the others.
                2 => beats
                    .zip(0_u32..)
                    .map(|(at, number)| {
                        let teller = NodeId(number % nodes + 1);
                        (at, 0, Fault::FalseStatus { node: teller, about: node, up: number % 2 == 0 })
                    })
                    .collect(),
                // Every connection at once: a thundering herd of reconnections.
                3 => (1..=nodes).map(|node| (from, 0, Fault::ResetConnections { node: NodeId(node) })).collect(),
                // Late answers everywhere: the enemy of stream ids.
                4 => (1..=nodes)
                    .map(|node| (from, step * 4, Fault::LateAnswers { node: NodeId(node), by_ms: 2_500, percent: 50 }))
                    .collect(),
                _ => Vec::new(),
            }
        })
        .boxed()
}

/// Nodes that hear of schema changes late, in every other plan and for long.
fn slow_schema(nodes: u32, safety_ms: u64) -> BoxedStrategy<Vec<(u64, u64, Fault)>> {
    let slow = (1..=nodes, select(vec![200_u64, 1_500, 6_000]))
        .prop_map(|(node, by_ms)| Fault::SlowSchema { node: NodeId(node), by_ms });
    vec((0..safety_ms / 2, Just(safety_ms / 2), slow), 0..=2).boxed()
}

/// Changes of the ring, one after the other: one that moves data, and before or after it others that do not.
fn moves(nodes: u32, safety_ms: u64) -> BoxedStrategy<Vec<(u64, u64, Fault)>> {
    let node = || (1..=nodes).prop_map(NodeId);
    let newcomer = NodeId(nodes + 1);
    let data = (node(), any::<bool>(), 0_u8..4).prop_map(move |(node, same_address, kind)| match kind {
        0 => Fault::Decommission { node },
        1 => Fault::Replace { node, with: newcomer, same_address },
        _ => Fault::Join { node: newcomer, datacenter: "dc1".to_owned() },
    });
    let address = (node(), 1..nodes, any::<bool>()).prop_map(move |(node, other, swap)| {
        let with = NodeId((node.0 - 1 + other) % nodes + 1);
        if swap { Fault::SwapAddresses { node, with } } else { Fault::ChangeAddress { node } }
    });
    // What moves data comes first: a node that restarts in the midst of it may be the only one that has a row.
    let address = (safety_ms * 6 / 10..safety_ms * 8 / 10, Just(0_u64), address);
    ((0..safety_ms / 10, Just(0_u64), data), vec(address, 0..=2))
        .prop_map(|(first, more)| std::iter::once(first).chain(more).collect())
        .boxed()
}

/// Every answer that can be forced.
const ANSWERS: [ForcedAnswer; 7] = [
    ForcedAnswer::Overloaded,
    ForcedAnswer::ServerError,
    ForcedAnswer::IsBootstrapping,
    ForcedAnswer::Malformed,
    ForcedAnswer::HugeCount,
    ForcedAnswer::UnknownKind,
    ForcedAnswer::BrokenText,
];

/// Everything that can be wrong with the rows of the peers.
const DIRT: [Dirt; 6] = [Dirt::NoHostId, Dirt::NoTokens, Dirt::AnyAddress, Dirt::NoRow, Dirt::NoRows, Dirt::OwnRow];
