//! From a seed to a plan, by `proptest` strategies over a random stream that depends on the seed's bits alone.
//!
//! Swarm testing: each family of faults is off in half of the plans, so that the others get room; sizes come from a few
//! quantised values, so that most plans are mild and some are absurd. Any change here changes what seeds mean and needs
//! a new [`GENERATOR_VERSION`](crate::seed::GENERATOR_VERSION).

use super::{
    Action, ClusterShape, Compression, DriverSettings, Level, Operation, Phases, Plan, PlannedFault, RetryChoice,
    Workload, faults,
};
use crate::seed::{Profile, Seed};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use simcluster::entropy::Entropy;
use simcluster::fault::Fault;

/// The plan of a seed that was checked.
pub(super) fn generate(seed: Seed) -> Plan {
    let sizes = match seed.profile {
        Profile::Quick => Sizes { safety_ms: 10_000..=10_000, operations: 20..=60, faults: 0..=4, kind: seed.profile },
        Profile::Chaos => {
            Sizes { safety_ms: 20_000..=40_000, operations: 60..=200, faults: 3..=16, kind: seed.profile }
        }
        Profile::Topology => {
            Sizes { safety_ms: 40_000..=60_000, operations: 60..=160, faults: 0..=4, kind: seed.profile }
        }
        Profile::Schema => {
            Sizes { safety_ms: 15_000..=30_000, operations: 60..=160, faults: 0..=6, kind: seed.profile }
        }
        Profile::Lwt => Sizes { safety_ms: 10_000..=20_000, operations: 60..=160, faults: 0..=6, kind: seed.profile },
        Profile::Soak => {
            Sizes { safety_ms: HOUR_MS..=6 * HOUR_MS, operations: 60..=200, faults: 4..=24, kind: seed.profile }
        }
        Profile::Wide => Sizes { safety_ms: 10_000..=20_000, operations: 20..=60, faults: 0..=4, kind: seed.profile },
        Profile::Fleet => {
            Sizes { safety_ms: 10_000..=20_000, operations: 200..=400, faults: 0..=4, kind: seed.profile }
        }
    };
    // The key of the stream: four words drawn from the seed, the profile included, so that profiles do not correlate.
    let entropy = Entropy::new(seed.bits);
    let mut key = [0_u8; 32];
    for (index, word) in key.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&entropy.draw(seed.profile.name(), 0, index as u64).to_le_bytes());
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let draft = draft(&sizes).new_tree(&mut runner).map(|tree| tree.current());
    draft.expect("the strategies reject nothing, so they cannot give up").finish(seed)
}

const HOUR_MS: u64 = 3_600_000;

/// What differs between profiles.
struct Sizes {
    safety_ms: std::ops::RangeInclusive<u64>,
    operations: std::ops::RangeInclusive<usize>,
    faults: std::ops::RangeInclusive<usize>,
    kind: Profile,
}

/// A plan before ids are given out and times are sorted.
#[derive(Clone, Debug)]
struct Draft {
    cluster: ClusterShape,
    driver: DriverSettings,
    workload: Workload,
    clients: u32,
    safety_ms: u64,
    operations: Vec<(u64, u32, Level, Option<u64>, Action)>,
    faults: Vec<(u64, u64, Fault)>,
}

impl Draft {
    fn finish(mut self, seed: Seed) -> Plan {
        self.operations.sort_by_key(|operation| operation.0);
        self.faults.sort_by_key(|fault| fault.0);
        // Lost events are mended by the next periodic refresh; without any, only what is read after a reconnection
        // and what events say may bring news.
        if self.faults.iter().any(|(_, _, fault)| fault.hides_changes()) {
            self.driver.metadata_refresh_ms = 20_000;
        }
        let clients = self.clients;
        // Sessions are opened one after the other.
        let boot_ms = 60_000_u64.max(u64::from(clients) * 4_000);
        let mut operations: Vec<Operation> = (1..)
            .zip(self.operations)
            .map(|(id, (at_ms, client, level, drop_after_ms, action))| Operation {
                id,
                at_ms,
                client: client % clients,
                level,
                drop_after_ms,
                action,
            })
            .collect();
        resolve_tags(&mut operations);
        resolve_columns(&mut operations);
        let faults = (1..)
            .zip(self.faults)
            .map(|(id, (at_ms, for_ms, fault))| PlannedFault { id, at_ms, for_ms, fault })
            .collect();
        Plan {
            seed,
            clients,
            expect: None,
            cluster: self.cluster,
            driver: self.driver,
            workload: self.workload,
            phases: Phases { boot_ms, safety_ms: self.safety_ms, close_ms: 5_000 },
            operations,
            faults,
        }
    }
}

/// Lets each removal name an earlier addition to the same song; a removal without one becomes an addition.
fn resolve_tags(operations: &mut [Operation]) {
    for index in 0..operations.len() {
        if let Action::RemoveTag { song, of } = operations[index].action {
            let additions: Vec<u32> = operations[..index]
                .iter()
                .filter(|earlier| earlier.action == Action::AddTag { song })
                .map(|earlier| earlier.id)
                .collect();
            operations[index].action = match additions.get(of as usize % additions.len().max(1)) {
                Some(of) => Action::RemoveTag { song, of: *of },
                None => Action::AddTag { song },
            };
        }
    }
}

/// Lets each use of an added column name one that an earlier operation adds; without one it becomes something else.
fn resolve_columns(operations: &mut [Operation]) {
    for index in 0..operations.len() {
        let added = |of: u32| {
            let earlier = operations[..index].iter().filter(|earlier| earlier.action == Action::AddColumn);
            let added: Vec<u32> = earlier.map(|earlier| earlier.id).collect();
            added.get(of as usize % added.len().max(1)).copied()
        };
        operations[index].action = match operations[index].action.clone() {
            Action::WriteNote { song, of } => match added(of) {
                Some(of) => Action::WriteNote { song, of },
                None => Action::AddSong { song },
            },
            Action::DropColumn { of } => added(of).map_or(Action::AddColumn, |of| Action::DropColumn { of }),
            other => other,
        };
    }
}

fn draft(sizes: &Sizes) -> impl Strategy<Value = Draft> + use<> {
    let (operations, faults, kind) = (sizes.operations.clone(), sizes.faults.clone(), sizes.kind);
    let swarm = (vec(any::<bool>(), faults::FAMILIES), select(vec![1_u64, 1, 1, 1_000]));
    (cluster(kind), driver(), workload(kind), clients(kind), sizes.safety_ms.clone(), swarm)
        .prop_flat_map(move |(cluster, driver, mut workload, clients, safety_ms, (families, beat))| {
            let nodes: u32 = cluster.datacenters.iter().sum();
            // Which statement an id means depends on the keyspace before Cassandra 4.0.
            workload.keyspaces &= cluster.protocol_version_max == 5;
            // In some plans the calls come in bursts.
            let moment = (0..safety_ms).prop_map(move |at| at / beat * beat);
            let operation = (moment, 0..clients.max(3), level(), drop_after(), action(kind, &workload));
            // A family that is off yields no faults, so mild plans stay mild.
            let families: Vec<usize> =
                (0..faults::FAMILIES).filter(|family| families[*family] && faults::fits(kind, *family)).collect();
            let faults = if families.is_empty() { 0..=0 } else { faults.clone() };
            let fault = select(if families.is_empty() { vec![0] } else { families })
                .prop_flat_map(move |family| (0..safety_ms * 8 / 10, faults::hold(kind), faults::fault(family, nodes)));
            (
                Just((cluster, driver, workload, clients, safety_ms)),
                vec(operation, operations.clone()),
                vec(fault, faults),
                faults::storm(kind, nodes, safety_ms),
                any::<bool>(),
            )
        })
        .prop_map(move |((cluster, driver, workload, clients, safety_ms), operations, mut faults, storm, is_mild)| {
            faults.extend(storm);
            if kind == Profile::Schema && is_mild {
                // Only where nodes and clients reach each other does "agreed" promise something about all nodes.
                faults.retain(|(_, _, fault)| fault.leaves_contact());
            }
            Draft { cluster, driver, workload, clients, safety_ms, operations, faults }
        })
}

/// How many sessions there are.
fn clients(kind: Profile) -> BoxedStrategy<u32> {
    match kind {
        Profile::Fleet => select(vec![50_u32, 100, 200]).boxed(),
        _ => (1_u32..=3).boxed(),
    }
}

fn cluster(kind: Profile) -> BoxedStrategy<ClusterShape> {
    let datacenters = match kind {
        Profile::Soak | Profile::Fleet => Just(vec![3]).boxed(),
        Profile::Wide => select(vec![vec![30], vec![60], vec![20, 20], vec![100]]).boxed(),
        Profile::Quick | Profile::Lwt => Just(vec![3]).boxed(),
        Profile::Topology => select(vec![vec![4], vec![5], vec![4, 3]]).boxed(),
        _ => select(vec![vec![3], vec![3], vec![3], vec![3], vec![1], vec![4], vec![5], vec![6], vec![3, 3]]).boxed(),
    };
    (
        datacenters,
        select(vec![1_u32, 4, 4, 8]),
        select(vec![3_u32, 3, 3, 2]),
        select(vec![(200_u64, 400_u64), (500, 2_000), (500, 2_000), (1_000, 20_000)]),
        select(vec![2_000_u64, 5_000, 10_000]),
        select(vec![500_u64, 2_000, 5_000]),
        select(vec![4_u8, 5, 5, 5]),
        (select(vec![false, false, false, true]), any::<bool>()),
    )
        .prop_map(|(datacenters, vnodes, rf, latency, failure_detection_ms, server_timeout_ms, protocol, more)| {
            ClusterShape {
                datacenters,
                vnodes,
                replication_factor: rf,
                latency_min_us: latency.0,
                latency_max_us: latency.1,
                failure_detection_ms,
                server_timeout_ms,
                protocol_version_max: protocol,
                release: if protocol == 5 { "5.0.8" } else { "3.11.19" }.to_owned(),
                authentication: more.0,
                forget_prepared_on_restart: more.1,
            }
        })
        .boxed()
}

fn driver() -> impl Strategy<Value = DriverSettings> {
    let reconnection = select(vec![(100_u64, 1_000_u64), (500, 5_000), (1_000, 30_000)]);
    let windows = select(vec![(0_u64, 0_u64, 0_u64), (200, 500, 200), (2_000, 10_000, 2_000)]);
    let heartbeat = select(vec![(1_000_u64, 500_u64), (5_000, 2_000), (30_000, 5_000)]);
    (
        select(vec![500_u64, 2_000, 2_000, 5_000]),
        reconnection,
        windows,
        heartbeat,
        select(vec![3_i32, 20, 5_000]),
        select(vec![1_u32, 1, 2]),
        select(vec![2_u32, 4, 64, 2_048]),
        (protocol(), speculation(), retry(), any::<bool>(), attempts()),
    )
        .prop_map(
            |(request_timeout_ms, reconnect, windows, heartbeat, page_size, connections, in_flight, more)| {
                let ((protocol_version, compression), (speculation_ms, speculations_max), retry, by_name, rest) = more;
                let (attempt_timeout_ms, prepare_on_all_nodes, prepare_on_up) = rest;
                DriverSettings {
                    request_timeout_ms,
                    connect_timeout_ms: 5_000,
                    reconnect_base_ms: reconnect.0,
                    reconnect_max_ms: reconnect.1,
                    schema_window_ms: windows.0,
                    topology_window_ms: windows.1,
                    status_window_ms: windows.2,
                    heartbeat_interval_ms: heartbeat.0,
                    heartbeat_timeout_ms: heartbeat.1,
                    metadata_refresh_ms: 3_600_000,
                    page_size,
                    connections_per_node: connections,
                    in_flight_max: in_flight,
                    compression,
                    protocol_version,
                    speculation_ms,
                    speculations_max,
                    retry,
                    contact_by_name: by_name,
                    attempt_timeout_ms,
                    prepare_on_all_nodes,
                    prepare_on_up,
                }
            },
        )
}

/// The limit of an attempt, mostly none, and where statements are prepared before they are needed.
fn attempts() -> impl Strategy<Value = (u64, bool, bool)> {
    (select(vec![0_u64, 0, 0, 300, 1_000]), any::<bool>(), any::<bool>())
}

/// The highest version asked for, and the compression: v5 knows no Snappy.
fn protocol() -> impl Strategy<Value = (u8, Compression)> {
    use Compression::{Lz4, None, Snappy};
    let v5 = [(5_u8, None), (5, None), (5, None), (5, Lz4), (5, Lz4)];
    let older = [(4, None), (4, Lz4), (4, Snappy), (3, None), (3, Lz4), (3, Snappy)];
    select([v5.as_slice(), older.as_slice()].concat())
}

/// After how many milliseconds another node is asked as well, and how often; mostly never.
fn speculation() -> impl Strategy<Value = (u64, u32)> {
    select(vec![(0_u64, 0_u32), (0, 0), (50, 1), (200, 2), (1_000, 2)])
}

fn retry() -> impl Strategy<Value = RetryChoice> {
    select(vec![
        RetryChoice::Default,
        RetryChoice::Default,
        RetryChoice::Default,
        RetryChoice::Fallthrough,
        RetryChoice::BackOff,
    ])
}

/// When the application drops a call; mostly never.
fn drop_after() -> impl Strategy<Value = Option<u64>> {
    select(vec![None, None, None, None, None, None, None, Some(0_u64), Some(3), Some(100)])
}

fn workload(kind: Profile) -> impl Strategy<Value = Workload> + use<> {
    let accounts = if kind == Profile::Lwt { 3 } else { 0 };
    let keyspaces = select(vec![false, false, false, true]);
    (1_u32..=3, select(vec![0_u32, 1, 7, 23, 23]), keyspaces).prop_map(
        move |(static_playlists, static_entries, keyspaces)| Workload {
            static_playlists,
            static_entries,
            accounts,
            keyspaces,
        },
    )
}

fn level() -> impl Strategy<Value = Level> {
    select(vec![
        Level::Quorum,
        Level::Quorum,
        Level::Quorum,
        Level::Quorum,
        Level::LocalQuorum,
        Level::One,
        Level::Two,
        Level::All,
    ])
}

/// The operations of a profile: those of every application, and those that the profile is about.
fn action(kind: Profile, workload: &Workload) -> BoxedStrategy<Action> {
    let mut ordinary = ordinary_action(workload).boxed();
    if workload.keyspaces {
        let switch = any::<bool>().prop_map(|other| Action::UseKeyspace { other });
        ordinary = prop_oneof![5 => ordinary, 1 => switch, 3 => Just(Action::Whereami)].boxed();
    }
    let accounts = workload.accounts.max(1);
    match kind {
        Profile::Lwt => prop_oneof![
            1 => ordinary,
            1 => (0_u32..6).prop_map(|user| Action::Register { user }),
            4 => (0..accounts).prop_map(|account| Action::Swap { account }),
            2 => (0..accounts).prop_map(|account| Action::ReadAccount { account }),
        ]
        .boxed(),
        Profile::Schema => prop_oneof![
            5 => ordinary,
            2 => Just(Action::CreateTable),
            2 => Just(Action::AddColumn),
            1 => (0_u32..8).prop_map(|of| Action::DropColumn { of }),
            3 => (0_u32..4, 0_u32..8).prop_map(|(song, of)| Action::WriteNote { song, of }),
            5 => (0_u32..4).prop_map(|song| Action::ReadAll { song }),
        ]
        .boxed(),
        _ => ordinary,
    }
}

fn ordinary_action(workload: &Workload) -> impl Strategy<Value = Action> + use<> {
    let (song, playlist) = (0_u32..12, 0_u32..4);
    let page_size = select(vec![1_i32, 2, 3, 5, 10]);
    prop_oneof![
        4 => song.clone().prop_map(|song| Action::AddSong { song }),
        4 => song.clone().prop_map(|song| Action::ReadSong { song }),
        2 => song.clone().prop_map(|song| Action::AddTag { song }),
        1 => (song.clone(), 0_u32..8).prop_map(|(song, of)| Action::RemoveTag { song, of }),
        3 => (playlist.clone(), select(vec![1_u32, 1, 3, 8]))
            .prop_map(|(playlist, entries)| Action::AppendToPlaylist { playlist, entries }),
        2 => (playlist, page_size.clone()).prop_map(|(playlist, page_size)| Action::ListPlaylist { playlist, page_size }),
        2 => (0..workload.static_playlists, page_size)
            .prop_map(|(playlist, page_size)| Action::ListStatic { playlist, page_size }),
        4 => song.clone().prop_map(|song| Action::Play { song }),
        1 => song.clone().prop_map(|song| Action::ReadPlays { song }),
        1 => (0_u32..6).prop_map(|user| Action::Register { user }),
        1 => song.prop_map(|song| Action::Mistype { song }),
        2 => Just(Action::CreateTable),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn quick(bits: u64) -> Plan {
        Plan::generate(Seed::new(Profile::Quick, bits)).expect("supported profile")
    }

    #[test]
    fn equal_seeds_give_equal_plans_and_others_differ() {
        for bits in 0..20 {
            assert_eq!(quick(bits), quick(bits));
            assert_ne!(quick(bits).operations, quick(bits + 1).operations);
        }
    }

    /// The meaning of a seed is a promise; when this fails on purpose, raise the generator version.
    #[test]
    fn the_meaning_of_a_seed_is_frozen() {
        let text = quick(42).to_toml() + &Plan::generate(Seed::new(Profile::Chaos, 42)).expect("chaos").to_toml();
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        assert_eq!(hash, FROZEN, "{text}");
    }

    /// FNV-1a of the two plans above.
    const FROZEN: u64 = 9_900_015_172_126_571_103;

    #[test]
    fn generated_plans_pass_the_checks_of_plan_files() {
        for bits in 0..100 {
            let plan = quick(bits);
            assert_eq!(Plan::parse(&plan.to_toml()), Ok(plan));
        }
        for profile in Profile::ALL {
            let plan = Plan::generate(Seed::new(profile, 7)).expect("a seed of this generator");
            assert_eq!(Plan::parse(&plan.to_toml()), Ok(plan), "{profile}");
        }
    }

    #[test]
    fn soaks_are_long_wide_clusters_have_many_nodes_and_fleets_many_sessions() {
        let plan = |profile, bits| Plan::generate(Seed::new(profile, bits)).expect("a seed of this generator");
        for bits in 0..20 {
            assert!(plan(Profile::Soak, bits).phases.safety_ms >= HOUR_MS);
            assert!(plan(Profile::Wide, bits).nodes() >= 30);
            let fleet = plan(Profile::Fleet, bits);
            assert!(fleet.clients >= 50);
            assert!(
                fleet.operations.iter().any(|operation| operation.client >= 10),
                "all of them have something to do"
            );
        }
    }

    #[test]
    fn every_kind_of_fault_and_operation_is_generated() {
        let (mut faults, mut actions) = (BTreeSet::new(), BTreeSet::new());
        for bits in 0..300 {
            let plan = quick(bits);
            faults.extend(plan.faults.iter().map(PlannedFault::kind));
            actions.extend(plan.operations.iter().map(|o| std::mem::discriminant(&o.action)).map(|d| format!("{d:?}")));
        }
        assert_eq!(faults.len(), 25, "{faults:?}");
        assert_eq!(actions.len(), 14, "{actions:?}");
    }

    #[test]
    fn removed_tags_were_added_by_an_earlier_operation_on_the_same_song() {
        for bits in 0..50 {
            let plan = quick(bits);
            for operation in &plan.operations {
                if let Action::RemoveTag { song, of } = operation.action {
                    let addition = plan.operations.iter().find(|o| o.id == of).expect("the addition exists");
                    assert_eq!(addition.action, Action::AddTag { song });
                    assert!(addition.id < operation.id);
                }
            }
        }
    }
}
