//! Logged batches: the log, its holders, its replay.

use super::{Body, World, write_action};
use crate::cql::WriteKind;
use crate::kernel::NodeId;
use crate::protocol::{Consistency as C, ServerError, WriteType};
use crate::replica::Question;
use std::collections::BTreeSet;
use std::time::Duration;

impl World {
    fn begin_batch(&mut self, node: u32, level: C) -> super::RequestId {
        let mutations = vec![self.mutation(1, 10), self.mutation(2, 20)];
        self.begin(node, write_action(mutations, WriteKind::LoggedBatch), level)
    }

    fn kept_batches(&self) -> usize {
        self.nodes.values().map(|member| member.replica.kept_batches()).sum()
    }
}

fn is_mutation(body: &Body) -> bool {
    matches!(body, Body::Question(Question::Write(_)))
}

#[test]
fn a_batch_is_logged_on_two_other_nodes_before_anything_is_applied() {
    let mut world = World::three();
    let id = world.begin_batch(1, C::Quorum);
    let asked: BTreeSet<u32> = world.wire.iter().map(|message| message.to.0).collect();
    assert_eq!(asked, BTreeSet::from([2, 3]));
    assert!(world.wire.iter().all(|m| matches!(m.body, Body::Question(Question::BatchlogStore { .. }))));
    assert_eq!(world.stored(1, 1), None, "not even the coordinator applies it");
    assert!(world.finish(id).is_ok());
    for node in 1..=3 {
        assert_eq!((world.stored(node, 1), world.stored(node, 2)), (Some(10), Some(20)), "node {node}");
    }
    assert_eq!(world.kept_batches(), 0, "and removed from the log again");
}

#[test]
fn log_holders_stand_in_other_racks_and_in_the_same_data_centre() {
    let places = [("dc1", "r1"), ("dc1", "r1"), ("dc1", "r2"), ("dc1", "r3"), ("dc2", "r4"), ("dc2", "r5")];
    let options = [("class", "NetworkTopologyStrategy"), ("dc1", "3"), ("dc2", "2")];
    for _ in 0..10 {
        let mut world = World::new(&places, &options);
        world.begin_batch(1, C::Quorum);
        let asked: BTreeSet<u32> = world.wire.iter().map(|message| message.to.0).collect();
        assert_eq!(asked, BTreeSet::from([3, 4]));
    }
}

#[test]
fn a_log_that_is_not_written_is_a_batch_log_timeout() {
    let mut world = World::three();
    let id = world.begin_batch(1, C::One);
    world.loses = Box::new(|message| message.to == NodeId(3));
    let timeout = ServerError::WriteTimeout {
        consistency: C::Two,
        received: 1,
        block_for: 2,
        write_type: WriteType::BatchLog,
        contentions: None,
    };
    assert_eq!(world.finish(id).err(), Some(timeout));
    assert_eq!(world.stored(1, 1), None);
}

#[test]
fn with_one_other_live_node_the_log_is_written_once() {
    let mut world = World::three();
    world.stop(2);
    let id = world.begin_batch(1, C::Quorum);
    assert_eq!(world.wire.len(), 1);
    world.loses = Box::new(|message| message.to == NodeId(3));
    let ended = world.finish(id);
    assert!(
        matches!(ended, Err(ServerError::WriteTimeout { consistency: C::One, received: 0, block_for: 1, .. })),
        "{ended:?}"
    );
}

#[test]
fn without_another_live_node_there_is_no_log() {
    let mut world = World::three();
    world.stop(2);
    world.stop(3);
    let id = world.begin_batch(1, C::One);
    let expected = ServerError::Unavailable { consistency: C::Two, required: 2, alive: 0, datacenter: None };
    assert_eq!(world.finish(id).err(), Some(expected));
    let id = world.begin_batch(1, C::Any);
    let expected = ServerError::Unavailable { consistency: C::Two, required: 2, alive: 1, datacenter: None };
    assert_eq!(world.finish(id).err(), Some(expected), "at ANY the coordinator counts as one of two");
}

#[test]
fn a_data_centre_of_one_node_keeps_its_own_log() {
    let mut world = World::new(&[("dc1", "r1")], &[("class", "SimpleStrategy"), ("replication_factor", "1")]);
    let id = world.begin_batch(1, C::One);
    assert!(world.finish(id).is_ok());
    assert_eq!((world.stored(1, 1), world.kept_batches()), (Some(10), 0));
}

#[test]
fn a_batch_whose_mutations_time_out_is_replayed_from_the_log() {
    let mut world = World::three();
    world.begin_duties();
    let id = world.begin_batch(1, C::Quorum);
    world.loses = Box::new(|message| is_mutation(&message.body));
    let ended = world.finish(id);
    assert!(matches!(ended, Err(ServerError::WriteTimeout { write_type: WriteType::Batch, .. })), "{ended:?}");
    assert_eq!(world.kept_batches(), 2);
    // The coordinator is gone for good, so its hints cannot help.
    world.stop(1);
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(20));
    for node in 2..=3 {
        assert_eq!((world.stored(node, 1), world.stored(node, 2)), (Some(10), Some(20)), "node {node}");
    }
    assert_eq!(world.kept_batches(), 0);
}

#[test]
fn a_batch_whose_coordinator_crashed_after_the_log_is_replayed() {
    let mut world = World::three();
    world.begin_duties();
    world.begin_batch(1, C::Quorum);
    let stores: Vec<_> = world.wire.drain(..).collect();
    for message in stores {
        world.deliver(message);
    }
    world.stop(1);
    assert_eq!(world.kept_batches(), 2);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.stored(2, 1), None, "the coordinator has twice its write timeout");
    world.pass(Duration::from_secs(17));
    for node in 2..=3 {
        assert_eq!((world.stored(node, 1), world.stored(node, 2)), (Some(10), Some(20)), "node {node}");
    }
    world.start(1);
    world.settle();
    assert_eq!(world.stored(1, 1), Some(10), "the replay kept hints for the dead node");
}

#[test]
fn a_replay_does_not_undo_what_was_written_after_the_batch() {
    let mut world = World::three();
    world.begin_duties();
    world.begin_batch(1, C::Quorum);
    let stores: Vec<_> = world.wire.drain(..).collect();
    for message in stores {
        world.deliver(message);
    }
    world.stop(1);
    assert!(world.write(2, 1, 99, C::Quorum).is_ok());
    world.pass(Duration::from_secs(20));
    assert_eq!((world.stored(2, 1), world.stored(2, 2)), (Some(99), Some(20)));
}

#[test]
fn unavailable_mutations_are_refused_before_the_log_is_written() {
    let mut world = World::three();
    world.stop(3);
    let id = world.begin_batch(1, C::All);
    assert!(world.wire.is_empty());
    assert!(matches!(world.finish(id), Err(ServerError::Unavailable { required: 3, alive: 2, .. })));
}

#[test]
fn a_batch_of_one_mutation_needs_no_log() {
    let mut world = World::three();
    let mutation = world.mutation(1, 1);
    world.begin(1, write_action(vec![mutation], WriteKind::LoggedBatch), C::One);
    assert!(world.wire.iter().all(|message| is_mutation(&message.body)));
}
