//! Reads: digests, repair, speculation, failures, ranges, limits.

use super::{Body, Message, World, clock, key, values};
use crate::kernel::NodeId;
use crate::protocol::{Consistency as C, ServerError};
use crate::replica::{Question, Reply, reason};
use crate::ring::{Token, TokenRange};
use crate::schema::Table;
use crate::storage::{Mutation, ReadTarget};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// Puts a row into the store of one node only.
    fn plant(&mut self, node: u32, mutation: &Mutation) {
        let table = Arc::clone(self.table("t"));
        self.nodes.get_mut(&NodeId(node)).expect("a node").store.apply(&table, mutation);
    }

    fn set_option(&mut self, name: &str, value: &str) {
        let keyspace = Arc::make_mut(self.schema.keyspaces.get_mut("ks").expect("keyspace"));
        let table: &mut Table = Arc::make_mut(keyspace.tables.get_mut("t").expect("table"));
        Arc::make_mut(&mut table.options).insert(name.to_owned(), value.to_owned());
    }

    fn questions(&self) -> Vec<(u32, &'static str)> {
        let kind = |message: &Message| match &message.body {
            Body::Question(Question::Read(_)) => "data",
            Body::Question(Question::ReadDigest(_)) => "digest",
            Body::Question(Question::ReadRepair(_)) => "repair",
            _ => "other",
        };
        self.wire.iter().map(|message| (message.to.0, kind(message))).collect()
    }
}

fn one_key() -> ReadTarget {
    ReadTarget::Partition(key(5))
}

#[test]
fn data_comes_from_the_nearest_replica_and_digests_from_others() {
    let options = [("class", "NetworkTopologyStrategy"), ("dc1", "2"), ("dc2", "1")];
    let mut world = World::new(&[("dc1", "r1"), ("dc1", "r2"), ("dc2", "r1"), ("dc1", "r1")], &options);
    // Find out who the replicas are, then read through node 4 or 1, whichever is none of them or first.
    world.begin_read(3, one_key(), 10, C::All);
    let asked = world.questions();
    assert_eq!(asked.iter().filter(|(_, kind)| *kind == "digest").count(), asked.len(), "node 3 has the data itself");
    assert_eq!(asked.len(), 2);
}

#[test]
fn only_as_many_replicas_are_asked_as_must_answer() {
    let mut world = World::three();
    world.begin_read(1, one_key(), 10, C::Quorum);
    let asked = world.questions();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].1, "digest");
}

#[test]
fn a_stale_replica_is_repaired_before_the_client_is_answered() {
    let mut world = World::three();
    assert!(world.write(1, 5, 1, C::All).is_ok());
    let newer = world.mutation(5, 2);
    world.plant(2, &newer);
    assert_eq!(world.read(1, 5, C::All), Ok(Some(2)));
    for node in 1..=3 {
        assert_eq!(world.stored(node, 5), Some(2), "node {node}");
    }
}

#[test]
fn a_repair_that_is_not_acknowledged_is_a_read_timeout_with_data() {
    let mut world = World::three();
    let newer = world.mutation(5, 2);
    world.plant(1, &newer);
    world.loses = Box::new(|message| matches!(message.body, Body::Question(Question::ReadRepair(_))));
    let timeout = ServerError::ReadTimeout { consistency: C::All, received: 2, block_for: 3, data_present: true };
    assert_eq!(world.read(1, 5, C::All), Err(timeout));
}

#[test]
fn tables_without_read_repair_answer_the_newest_and_leave_the_stale() {
    let mut world = World::three();
    world.set_option("read_repair", "NONE");
    let newer = world.mutation(5, 2);
    world.plant(2, &newer);
    assert_eq!(world.read(1, 5, C::All), Ok(Some(2)));
    assert_eq!((world.stored(1, 5), world.stored(3, 5)), (None, None));
}

#[test]
fn a_deletion_beats_the_older_row_of_another_replica() {
    let mut world = World::three();
    assert!(world.write(1, 5, 1, C::All).is_ok());
    let table = Arc::clone(world.table("t"));
    let deletion = crate::cql::row_deletion(&table, 2_000_000, &[("k", super::int(5))]);
    world.plant(3, &deletion);
    assert_eq!(world.read(1, 5, C::All), Ok(None));
    assert_eq!((world.stored(1, 5), world.stored(2, 5)), (None, None), "the deletion is repaired too");
}

#[test]
fn timeouts_tell_whether_data_came() {
    let mut world = World::three();
    assert!(world.write(1, 5, 1, C::All).is_ok());
    world.set_option("speculative_retry", "NEVER");
    world.loses = Box::new(|message| message.to != NodeId(1));
    let expected = ServerError::ReadTimeout { consistency: C::Quorum, received: 1, block_for: 2, data_present: true };
    assert_eq!(world.read(1, 5, C::Quorum), Err(expected));
    assert_eq!(world.now.as_nanos() / 1_000_000, 5000, "the read timeout is 5 s");

    // The node asked for the data is silent, the one asked for a digest is not.
    world.loses = Box::new(|message| matches!(message.body, Body::Question(Question::Read(_))));
    let options = [("class", "SimpleStrategy"), ("replication_factor", "2")];
    world.schema = super::schema(&options);
    world.set_option("speculative_retry", "NEVER");
    let k = (0..).find(|k| {
        let replicas = world.ring.replicas(Token::of_key(&key(*k)), &world.schema.keyspaces["ks"].replication);
        !replicas.contains(&NodeId(1))
    });
    let expected = ServerError::ReadTimeout { consistency: C::Two, received: 1, block_for: 2, data_present: false };
    assert_eq!(world.read(1, k.expect("a key of the others"), C::Two), Err(expected));
}

#[test]
fn a_slow_replica_is_stood_in_for_after_the_speculation_delay() {
    let mut world = World::three();
    assert!(world.write(1, 5, 7, C::All).is_ok());
    let id = world.begin_read(1, one_key(), 10, C::Quorum);
    let slow = world.wire.pop_front().expect("a digest request");
    assert!(slow.is_question());
    assert!(world.outcome(id).is_none());
    world.pass(Duration::from_millis(49));
    assert!(world.outcome(id).is_none(), "not yet");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.outcome(id).map(|ended| values(ended.as_ref().expect("rows"))), Some(vec![(5, 7)]));
}

#[test]
fn speculation_follows_the_table() {
    for (option, after_millis) in [("ALWAYS", Some(0)), ("10ms", Some(10)), ("99p", Some(50)), ("NEVER", None)] {
        let mut world = World::three();
        world.set_option("speculative_retry", option);
        assert!(world.write(1, 5, 7, C::All).is_ok());
        let start = world.now;
        let silent = {
            world.begin_read(1, one_key(), 10, C::Quorum);
            let silent = world.wire.front().expect("a digest request").to;
            world.settle();
            silent
        };
        let mut world_2 = World::three();
        world_2.set_option("speculative_retry", option);
        assert!(world_2.write(1, 5, 7, C::All).is_ok());
        assert_eq!(world_2.now, start);
        world_2.loses = Box::new(move |message| message.to == silent);
        let ended = world_2.read(1, 5, C::Quorum);
        match after_millis {
            Some(millis) => {
                assert_eq!(ended, Ok(Some(7)), "{option}");
                let waited = world_2.now.since(start).as_millis();
                assert_eq!(waited, millis, "{option}");
            }
            None => assert!(ended.is_err(), "{option}"),
        }
    }
}

#[test]
fn a_replica_that_fails_makes_a_failure_with_its_reason() {
    let mut world = World::three();
    let id = world.begin_read(1, one_key(), 10, C::All);
    let question = world.wire.pop_front().expect("a digest request");
    let body = Body::Reply(Reply::Failed(reason::INCOMPATIBLE_SCHEMA));
    let failed = question.to;
    world.wire.push_back(Message { from: failed, to: NodeId(1), body, ..question });
    let failure = ServerError::ReadFailure {
        consistency: C::All,
        received: 1,
        block_for: 3,
        reasons: vec![(super::address(failed.0), reason::INCOMPATIBLE_SCHEMA)],
        data_present: true,
    };
    // Node 1 has answered itself; the failure is delivered before the third answer.
    let failure_message = world.wire.pop_back().expect("the failure");
    world.deliver(failure_message);
    assert_eq!(world.outcome(id).and_then(|ended| ended.as_ref().err()), Some(&failure));
}

#[test]
fn a_scan_finds_every_row_in_token_order_wherever_it_is() {
    let places = [("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3"), ("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3")];
    for factor in ["1", "2", "3"] {
        let mut world = World::new(&places, &[("class", "SimpleStrategy"), ("replication_factor", factor)]);
        for k in 0..60 {
            assert!(world.write(1, k, k * 10, C::All).is_ok());
        }
        let mut expected: Vec<(i32, i32)> = (0..60).map(|k| (k, k * 10)).collect();
        expected.sort_by_key(|(k, _)| Token::of_key(&key(*k)));
        for limit in [1000, 61, 60, 59, 20, 7, 1] {
            let rows = world.scan(2, limit, C::One).expect("rows");
            assert_eq!(rows, expected[..limit.min(60)], "factor {factor}, limit {limit}");
        }
    }
}

#[test]
fn a_scan_can_be_continued_where_its_limit_stopped_it() {
    let places = [("dc1", "r1"); 5];
    let mut world = World::new(&places, &[("class", "SimpleStrategy"), ("replication_factor", "2")]);
    for k in 0..40 {
        assert!(world.write(1, k, k, C::All).is_ok());
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let mut command = super::ReadCommand::new(world.table("t").id, "ks", ReadTarget::Range(TokenRange::FULL), 7);
        command.after = after;
        let id = world.begin_probe(1, command, C::Quorum);
        let page = values(&world.finish(id).expect("rows"));
        let Some((last, _)) = page.last() else { break };
        after = Some(crate::storage::Position { key: key(*last), clustering: None });
        seen.extend(page);
    }
    let mut expected: Vec<(i32, i32)> = (0..40).map(|k| (k, k)).collect();
    expected.sort_by_key(|(k, _)| Token::of_key(&key(*k)));
    assert_eq!(seen, expected);
}

#[test]
fn a_scan_whose_replicas_are_gone_is_unavailable_before_anything_is_sent() {
    let places = [("dc1", "r1"); 4];
    let mut world = World::new(&places, &[("class", "SimpleStrategy"), ("replication_factor", "1")]);
    world.stop(3);
    let id = world.begin_read(1, ReadTarget::Range(TokenRange::FULL), 10, C::One);
    assert!(world.wire.is_empty());
    let expected = ServerError::Unavailable { consistency: C::One, required: 1, alive: 0, datacenter: None };
    assert_eq!(world.finish(id).err(), Some(expected));
}

#[test]
fn a_scan_times_out_after_ten_seconds() {
    let mut world = World::three();
    world.loses = Box::new(|message| message.to != NodeId(1));
    let ended = world.scan(1, 10, C::All);
    let expected = ServerError::ReadTimeout { consistency: C::All, received: 1, block_for: 3, data_present: true };
    assert_eq!(ended, Err(expected));
    assert_eq!(world.now.as_nanos() / 1_000_000_000, 10);
}

#[test]
fn deleted_rows_do_not_shorten_a_limited_scan() {
    // One replica knows that most rows are deleted, the other does not: both stop at the limit, and what they sent
    // has fewer live rows once it is merged.
    let mut world = World::new(&[("dc1", "r1"); 2], &[("class", "SimpleStrategy"), ("replication_factor", "2")]);
    for k in 0..30 {
        assert!(world.write(1, k, k, C::All).is_ok());
    }
    let mut expected: Vec<(i32, i32)> = (0..30).map(|k| (k, k)).collect();
    expected.sort_by_key(|(k, _)| Token::of_key(&key(*k)));
    let table = Arc::clone(world.table("t"));
    for (k, _) in expected.drain(..20) {
        let deletion = crate::cql::row_deletion(&table, 3_000_000, &[("k", super::int(k))]);
        world.plant(2, &deletion);
    }
    assert_eq!(world.scan(1, 6, C::All), Ok(expected[..6].to_vec()));
}

#[test]
fn reads_of_a_table_that_was_dropped_are_invalid() {
    let mut world = World::three();
    let table = world.table("t").id;
    let command = super::ReadCommand::new(table, "ks", one_key(), 10);
    world.schema.keyspaces.clear();
    let id = world.begin_probe(1, command, C::One);
    assert!(matches!(world.finish(id), Err(ServerError::Invalid(_))));
}

/// A step of a history of one row.
#[derive(Clone, Debug)]
enum Event {
    Write { node: u32, lose: u64 },
    Read { node: u32, lose: u64 },
    Pass { seconds: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    proptest::prop_oneof![
        4 => (1u32..=3, any::<u64>()).prop_map(|(node, lose)| Event::Write { node, lose }),
        4 => (1u32..=3, any::<u64>()).prop_map(|(node, lose)| Event::Read { node, lose }),
        1 => (1u64..15).prop_map(|seconds| Event::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn a_quorum_read_sees_every_acknowledged_quorum_write(history in prop::collection::vec(event(), 1..40)) {
        let mut world = World::three();
        world.begin_duties();
        let mut value = 0;
        let mut acknowledged = 0;
        for event in history {
            // One message in four is lost, by the bits of a number that is part of the case.
            let lossy = |bits: u64| {
                let mut bits = bits;
                Box::new(move |_: &Message| {
                    bits = bits.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    bits >> 62 == 0
                })
            };
            match event {
                Event::Write { node, lose } => {
                    world.loses = lossy(lose);
                    value += 1;
                    if world.write(node, 5, value, C::Quorum).is_ok() {
                        acknowledged = value;
                    }
                }
                Event::Read { node, lose } => {
                    world.loses = lossy(lose);
                    if let Ok(read) = world.read(node, 5, C::Quorum) {
                        let read = read.unwrap_or(0);
                        assert!(read >= acknowledged, "read {read} after {acknowledged} was acknowledged");
                        // Reads are monotonic too: what was read once is repaired to a quorum.
                        acknowledged = read;
                    }
                }
                Event::Pass { seconds } => world.pass(Duration::from_secs(seconds)),
            }
        }
        world.loses = Box::new(|_| false);
        let last = world.read(1, 5, C::Quorum).expect("nothing is lost any more").unwrap_or(0);
        assert!(last >= acknowledged);
        world.pass(Duration::from_secs(30));
        let stored: Vec<_> = (1..=3).map(|node| world.stored(node, 5)).collect();
        prop_assert_eq!(stored.clone(), vec![stored[0]; 3], "hints make all replicas equal");
    }
}

#[test]
fn virtual_time_is_wall_clock_time_in_these_tests() {
    assert_eq!(clock(crate::kernel::SimInstant::from_nanos(2_000_000_000)).unix_seconds(), 3);
}
