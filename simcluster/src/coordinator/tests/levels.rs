//! How many must answer and how many must live: tables of literal rows.

use super::World;
use crate::protocol::{Consistency as C, ServerError};

/// Six nodes: 1-3 in dc1, 4-6 in dc2.
const TWO_DCS: [(&str, &str); 6] =
    [("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3"), ("dc2", "r1"), ("dc2", "r2"), ("dc2", "r3")];

/// Factor, dead of three nodes, level, and what is required and alive if it is unavailable.
type SimpleRow<'a> = (&'a str, &'a [u32], C, Option<(i32, i32)>);

/// Dead nodes, level, and what is required and alive, where, if it is unavailable.
type NetworkRow<'a> = (&'a [u32], C, Option<(i32, i32, Option<&'a str>)>);

fn unavailable(consistency: C, required: i32, alive: i32, datacenter: Option<&str>) -> ServerError {
    ServerError::Unavailable { consistency, required, alive, datacenter: datacenter.map(str::to_owned) }
}

/// The error of a read and of a write through node 1 while `dead` are known to be dead; `None` is success.
fn outcomes(
    places: &[(&str, &str)],
    options: &[(&str, &str)],
    dead: &[u32],
    level: C,
) -> (Option<ServerError>, Option<ServerError>) {
    let mut world = World::new(places, options);
    for node in dead {
        world.stop(*node);
    }
    let written = world.write(1, 5, 1, level).err();
    let read = world.read(1, 5, level).err();
    (read, written)
}

#[test]
fn too_few_live_replicas_are_reported_with_what_is_required_and_alive() {
    let simple = |factor| [("class", "SimpleStrategy"), ("replication_factor", factor)];
    #[rustfmt::skip]
    let rows: &[SimpleRow<'_>] = &[
        // factor, dead of three nodes, level, required and alive if unavailable
        ("3", &[],     C::All,        None),
        ("3", &[2],    C::All,        Some((3, 2))),
        ("3", &[2],    C::Quorum,     None),
        ("3", &[2, 3], C::Quorum,     Some((2, 1))),
        ("3", &[2, 3], C::LocalQuorum, Some((2, 1))),
        ("3", &[2, 3], C::EachQuorum, Some((2, 1))),
        ("3", &[2, 3], C::One,        None),
        ("3", &[2, 3], C::LocalOne,   None),
        ("3", &[2, 3], C::Two,        Some((2, 1))),
        ("3", &[2],    C::Two,        None),
        ("3", &[2],    C::Three,      Some((3, 2))),
        // Replicas that ought to exist count, not nodes that do.
        ("5", &[],     C::All,        Some((5, 3))),
        ("5", &[],     C::Quorum,     None),
        ("5", &[3],    C::Quorum,     Some((3, 2))),
        ("0", &[],     C::One,        Some((1, 0))),
    ];
    for (factor, dead, level, expected) in rows {
        let (read, written) = outcomes(&[("dc1", "r1"); 3], &simple(factor), dead, *level);
        let expected = expected.map(|(required, alive)| unavailable(*level, required, alive, None));
        assert_eq!(read, expected, "read, factor {factor}, dead {dead:?}, {level:?}");
        assert_eq!(written, expected, "write, factor {factor}, dead {dead:?}, {level:?}");
    }
}

#[test]
fn data_centres_are_counted_as_the_level_says() {
    let options = [("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "3")];
    #[rustfmt::skip]
    let rows: &[NetworkRow<'_>] = &[
        (&[4, 5, 6],       C::LocalQuorum, None),
        (&[4, 5, 6],       C::LocalOne,    None),
        (&[4, 5, 6],       C::Quorum,      Some((4, 3, None))),
        (&[5, 6],          C::Quorum,      None),
        (&[4, 5, 6],       C::All,         Some((6, 3, None))),
        (&[2, 3],          C::LocalQuorum, Some((2, 1, None))),
        (&[2, 3],          C::Quorum,      None),
        (&[6],             C::EachQuorum,  None),
        // The first data centre that is short is named; nobody is said to be alive in it, whoever is.
        (&[5, 6],          C::EachQuorum,  Some((2, 0, Some("dc2")))),
        (&[2, 3, 4, 5, 6], C::EachQuorum,  Some((2, 0, Some("dc1")))),
        (&[2, 3, 4, 5, 6], C::One,         None),
    ];
    for (dead, level, expected) in rows {
        let (read, written) = outcomes(&TWO_DCS, &options, dead, *level);
        let expected = expected.map(|(required, alive, dc)| unavailable(*level, required, alive, dc));
        assert_eq!(read, expected, "read, dead {dead:?}, {level:?}");
        assert_eq!(written, expected, "write, dead {dead:?}, {level:?}");
    }
}

#[test]
fn local_levels_need_replicas_in_the_coordinators_own_data_centre() {
    let options = [("class", "NetworkTopologyStrategy"), ("dc2", "3")];
    for (level, required) in [(C::LocalOne, 1), (C::LocalQuorum, 1)] {
        let (read, written) = outcomes(&TWO_DCS, &options, &[], level);
        assert_eq!(read, Some(unavailable(level, required, 0, None)), "read at {level:?}");
        assert_eq!(written, Some(unavailable(level, required, 0, None)), "write at {level:?}");
    }
    assert_eq!(outcomes(&TWO_DCS, &options, &[], C::Quorum), (None, None));
}

#[test]
fn every_level_blocks_for_as_many_as_its_name_says() {
    // Whoever does not answer in time leaves the count of those who did: the smallest number of silent replicas
    // that makes a level fail is exact for every level and factor.
    for (level, factor, needed) in [
        (C::One, 3, 1),
        (C::LocalOne, 3, 1),
        (C::Two, 3, 2),
        (C::Three, 3, 3),
        (C::Quorum, 1, 1),
        (C::Quorum, 2, 2),
        (C::Quorum, 3, 2),
        (C::Quorum, 4, 3),
        (C::Quorum, 5, 3),
        (C::LocalQuorum, 5, 3),
        (C::EachQuorum, 5, 3),
        (C::All, 5, 5),
    ] {
        for answering in 1..=factor {
            let text = factor.to_string();
            let options = [("class", "NetworkTopologyStrategy"), ("dc1", text.as_str())];
            let mut world = World::new(&[("dc1", "r1"); 5], &options);
            let first = world
                .ring
                .replicas(crate::ring::Token::of_key(&super::key(5)), &world.schema.keyspaces["ks"].replication);
            let silent: Vec<_> = first[answering..].to_vec();
            let coordinator = first[0].0;
            world.loses = Box::new(move |message| silent.contains(&message.to));
            let written = world.write(coordinator, 5, 1, level);
            let expected = if answering >= needed {
                None
            } else {
                Some(ServerError::WriteTimeout {
                    consistency: level,
                    received: i32::try_from(answering).unwrap(),
                    block_for: needed.try_into().unwrap(),
                    write_type: crate::protocol::WriteType::Simple,
                    contentions: None,
                })
            };
            assert_eq!(written.err(), expected, "{level:?}, factor {factor}, {answering} answer");
        }
    }
}

#[test]
fn a_joining_replica_raises_what_a_write_needs_but_not_what_a_read_needs() {
    let mut world = World::three();
    let (token, node) = world.ring.tokens.pop_first().expect("three tokens");
    world.ring.joining.insert(token, node);
    let options = [("class", "SimpleStrategy"), ("replication_factor", "2")];
    world.schema = super::schema(&options);
    world.loses = Box::new(move |message| message.to == node);
    let k = (0..).find(|k| {
        let token = crate::ring::Token::of_key(&super::key(*k));
        let simple = crate::ring::Replication::Simple { factor: 2 };
        world.ring.pending(token, &simple) == [node]
    });
    let k = k.expect("some key moves");
    let coordinator = if node.0 == 1 { 2 } else { 1 };
    let written = world.write(coordinator, k, 1, C::Quorum);
    let Err(ServerError::WriteTimeout { received, block_for, .. }) = written else { panic!("{written:?}") };
    assert_eq!((received, block_for), (2, 3), "quorum of two and one pending");
    assert_eq!(world.read(coordinator, k, C::Quorum), Ok(Some(1)));
}

#[test]
fn a_joining_node_reads_no_user_data() {
    let mut world = World::three();
    let (token, node) = world.ring.tokens.pop_first().expect("three tokens");
    world.ring.joining.insert(token, node);
    assert_eq!(world.read(node.0, 1, C::One), Err(ServerError::IsBootstrapping));
}

#[test]
fn levels_that_make_no_sense_are_invalid() {
    let mut world = World::three();
    let invalid = |text: &str| Some(ServerError::Invalid(text.to_owned()));
    assert_eq!(world.read(1, 1, C::Any).err(), invalid("ANY ConsistencyLevel is only supported for writes"));
    for level in [C::Serial, C::LocalSerial] {
        let refused = invalid("You must use conditional updates for serializable writes");
        assert_eq!(world.write(1, 1, 1, level).err(), refused);
    }
}
