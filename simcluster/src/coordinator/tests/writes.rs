//! Writes, hints and truncation.

use super::{Body, World, address, write_action};
use crate::cql::{Action, WriteKind};
use crate::kernel::NodeId;
use crate::protocol::{Consistency as C, ServerError, WriteType};
use crate::replica::{Question, Reply, reason};
use crate::storage::Store;
use std::time::Duration;

#[test]
fn a_write_reaches_all_replicas_whatever_the_level() {
    let mut world = World::three();
    assert!(world.write(1, 5, 42, C::One).is_ok());
    world.settle();
    for node in 1..=3 {
        assert_eq!(world.stored(node, 5), Some(42), "node {node}");
    }
}

#[test]
fn a_timeout_tells_how_many_acknowledged() {
    let mut world = World::three();
    world.loses = Box::new(|message| message.to == NodeId(2) || message.to == NodeId(3));
    let ended = world.write(1, 5, 1, C::Quorum);
    let timeout = ServerError::WriteTimeout {
        consistency: C::Quorum,
        received: 1,
        block_for: 2,
        write_type: WriteType::Simple,
        contentions: None,
    };
    assert_eq!(ended.err(), Some(timeout));
    assert_eq!(world.stored(1, 5), Some(1), "the write stays where it was applied");
    assert_eq!(world.now.as_nanos() / 1_000_000, 2000, "the write timeout is 2 s");
}

#[test]
fn a_timeout_at_each_quorum_never_claims_enough_acknowledgements() {
    let places = [("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3"), ("dc2", "r1")];
    let options = [("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "1")];
    let mut world = World::new(&places, &options);
    world.loses = Box::new(|message| message.to == NodeId(4));
    let ended = world.write(1, 5, 1, C::EachQuorum);
    let Err(ServerError::WriteTimeout { received, block_for, .. }) = ended else { panic!("{ended:?}") };
    // All three of dc1 have answered; two of dc1 and one of dc2 are needed.
    assert_eq!((received, block_for), (2, 3));
}

#[test]
fn replicas_that_cannot_write_make_a_failure_as_soon_as_the_level_is_out_of_reach() {
    let mut world = World::three();
    let id = world.begin_write(1, 5, 1, C::Quorum);
    for message in std::mem::take(&mut world.wire) {
        let Body::Question(Question::Write(_)) = message.body else { panic!("{message:?}") };
        let body = Body::Reply(Reply::Failed(reason::INCOMPATIBLE_SCHEMA));
        world.wire.push_back(super::Message { from: message.to, to: message.from, body, ..message });
    }
    world.settle();
    let failure = ServerError::WriteFailure {
        consistency: C::Quorum,
        received: 1,
        block_for: 2,
        reasons: vec![(address(2), reason::INCOMPATIBLE_SCHEMA), (address(3), reason::INCOMPATIBLE_SCHEMA)],
        write_type: WriteType::Simple,
    };
    assert_eq!(world.outcome(id).and_then(|ended| ended.as_ref().err()), Some(&failure));
}

#[test]
fn a_replica_without_the_table_fails_with_the_reason() {
    let mut world = World::three();
    let question = Question::Write(world.mutation(1, 1));
    world.schema.keyspaces.clear();
    let reply = world.answer(NodeId(1), question);
    assert!(matches!(reply, Reply::Failed(reason::INCOMPATIBLE_SCHEMA)), "{reply:?}");
}

#[test]
fn a_dead_replica_gets_its_writes_when_it_comes_back() {
    let mut world = World::three();
    world.stop(3);
    assert!(world.write(1, 5, 42, C::Quorum).is_ok());
    assert_eq!(world.nodes[&NodeId(1)].coordinator.hints().len(), 1);
    world.start(3);
    world.settle();
    assert_eq!(world.stored(3, 5), Some(42));
    assert!(world.nodes[&NodeId(1)].coordinator.hints().is_empty());
}

#[test]
fn a_silent_replica_gets_its_write_as_a_hint_after_the_timeout() {
    let mut world = World::three();
    world.begin_duties();
    world.loses = Box::new(|message| message.to == NodeId(3));
    assert!(world.write(1, 5, 42, C::Quorum).is_ok());
    world.pass(Duration::from_secs(3));
    assert_eq!(world.nodes[&NodeId(1)].coordinator.hints().len(), 1);
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.stored(3, 5), Some(42), "hints are tried again every 10 s");
    assert!(world.nodes[&NodeId(1)].coordinator.is_idle());
}

#[test]
fn many_hints_are_all_delivered_and_their_order_cannot_matter() {
    let mut world = World::three();
    world.stop(3);
    for k in 0..100 {
        assert!(world.write(1, k % 50, k, C::One).is_ok());
    }
    world.start(3);
    world.settle();
    for k in 0..50 {
        assert_eq!(world.stored(3, k), Some(k + 50));
    }
}

#[test]
fn hints_survive_a_crash_of_their_coordinator() {
    let mut world = World::three();
    world.stop(3);
    assert!(world.write(1, 5, 42, C::Quorum).is_ok());
    world.restart(1);
    world.start(3);
    world.settle();
    assert_eq!(world.stored(3, 5), Some(42));
}

#[test]
fn no_hints_are_kept_for_a_node_that_is_away_for_more_than_three_hours() {
    let mut world = World::three();
    world.stop(3);
    assert!(world.write(1, 5, 1, C::Quorum).is_ok());
    world.pass(Duration::from_secs(3 * 3600 + 1));
    assert!(world.write(1, 6, 1, C::Quorum).is_ok());
    assert_eq!(world.nodes[&NodeId(1)].coordinator.hints().len(), 1, "the second write is not kept");
    world.start(3);
    world.settle();
    assert_eq!((world.stored(3, 5), world.stored(3, 6)), (None, None), "the first one has expired");
}

#[test]
fn any_is_satisfied_by_a_hint_alone() {
    let places = [("dc1", "r1"); 3];
    let options = [("class", "SimpleStrategy"), ("replication_factor", "1")];
    let mut world = World::new(&places, &options);
    let replicas =
        world.ring.replicas(crate::ring::Token::of_key(&super::key(5)), &world.schema.keyspaces["ks"].replication);
    let [owner] = replicas.as_slice() else { panic!("one replica") };
    let other = (1..=3).find(|node| *node != owner.0).expect("another node");
    world.stop(owner.0);
    assert!(matches!(world.write(other, 5, 1, C::One), Err(ServerError::Unavailable { required: 1, alive: 0, .. })));
    assert!(world.write(other, 5, 1, C::Any).is_ok());
    world.start(owner.0);
    world.settle();
    assert_eq!(world.stored(owner.0, 5), Some(1));
}

#[test]
fn any_turns_a_timeout_into_hints_and_success() {
    let mut world = World::new(&[("dc1", "r1"); 3], &[("class", "SimpleStrategy"), ("replication_factor", "1")]);
    let k = (0..).find(|k| {
        let token = crate::ring::Token::of_key(&super::key(*k));
        world.ring.replicas(token, &world.schema.keyspaces["ks"].replication) == [NodeId(2)]
    });
    let k = k.expect("some key of node 2");
    world.loses = Box::new(|message| message.to == NodeId(2));
    assert!(world.write(1, k, 1, C::Any).is_ok());
    assert_eq!(world.nodes[&NodeId(1)].coordinator.hints().len(), 1);
}

#[test]
fn several_mutations_without_a_log_time_out_as_an_unlogged_batch() {
    let mut world = World::three();
    world.loses = Box::new(|message| message.to != NodeId(1));
    let mutations = vec![world.mutation(1, 1), world.mutation(2, 2)];
    let id = world.begin(1, write_action(mutations, WriteKind::UnloggedBatch), C::Two);
    let ended = world.finish(id);
    assert!(matches!(ended, Err(ServerError::WriteTimeout { write_type: WriteType::UnloggedBatch, .. })), "{ended:?}");
}

#[test]
fn replies_to_requests_that_have_ended_are_ignored() {
    let mut world = World::three();
    let id = world.begin_write(1, 5, 1, C::One);
    assert!(world.outcome(id).is_some(), "its own acknowledgement is enough");
    world.settle();
    assert!(world.nodes[&NodeId(1)].coordinator.is_idle());
}

#[test]
fn truncation_needs_every_node() {
    let mut world = World::three();
    assert!(world.write(1, 5, 1, C::All).is_ok());
    let truncate = |world: &World| Action::Truncate { keyspace: "ks".to_owned(), table: world.table("t").id };

    world.stop(3);
    let action = truncate(&world);
    let id = world.begin(1, action, C::One);
    let refused = "Error during truncate: Cannot achieve consistency level ALL".to_owned();
    assert_eq!(world.finish(id).err(), Some(ServerError::Truncate(refused)));
    assert_eq!(world.stored(1, 5), Some(1));

    world.start(3);
    let action = truncate(&world);
    let id = world.begin(1, action, C::One);
    assert!(world.finish(id).is_ok());
    for node in 1..=3 {
        assert_eq!(world.stored(node, 5), None, "node {node}");
    }
}

#[test]
fn truncation_times_out_after_a_minute() {
    let mut world = World::three();
    world.loses = Box::new(|message| message.to == NodeId(3));
    let action = Action::Truncate { keyspace: "ks".to_owned(), table: world.table("t").id };
    let id = world.begin(1, action, C::One);
    let text = "Error during truncate: Truncate timed out - received only 2 responses".to_owned();
    assert_eq!(world.finish(id).err(), Some(ServerError::Truncate(text)));
    assert_eq!(world.now.as_nanos() / 1_000_000_000, 60);
}

#[test]
fn a_hint_from_before_a_truncation_is_not_applied_after_it() {
    let mut world = World::three();
    let hint = Question::Hint { mutation: world.mutation(5, 1), written_at: 500_000 };
    let table = world.table("t").id;
    world.answer(NodeId(1), Question::Truncate(table));
    assert!(matches!(world.answer(NodeId(1), hint.clone()), Reply::Done));
    assert_eq!(world.stored(1, 5), None);
    world.nodes.get_mut(&NodeId(2)).expect("node 2").store = Store::default();
    world.answer(NodeId(2), hint);
    assert_eq!(world.stored(2, 5), Some(1));
}

#[test]
fn timestamps_of_one_node_never_repeat() {
    let mut coordinator = super::Coordinator::new(super::CoordinatorConfig::default());
    let now = super::clock(crate::kernel::SimInstant::from_nanos(5_000_000));
    let first = coordinator.next_timestamp(now);
    let second = coordinator.next_timestamp(now);
    let earlier = super::clock(crate::kernel::SimInstant::START);
    let third = coordinator.next_timestamp(earlier);
    assert_eq!(first, 1_005_000);
    assert!(first < second && second < third);
}
