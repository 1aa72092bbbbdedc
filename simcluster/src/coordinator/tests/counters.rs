//! Counters: a leader, its shards, and no increment twice.

use super::{Body, World, write_action};
use crate::cql::WriteKind;
use crate::kernel::NodeId;
use crate::protocol::{Consistency as C, ServerError, WriteType};
use crate::replica::Question;
use crate::storage::{Cell, ColumnData, ColumnId, Complex, Mutation, ReadCommand, ReadTarget};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

impl World {
    /// `UPDATE c SET n = n + by WHERE k = 1`, as it leaves the statement.
    fn increment(&self, by: i64) -> Mutation {
        let table = self.table("c");
        let mut mutation = crate::cql::row_mutation(table, 1, &[("k", super::int(1))]);
        let cell = Cell::live(1, Bytes::copy_from_slice(&by.to_be_bytes()));
        let complex = Complex { cells: BTreeMap::from([(Bytes::new(), (Bytes::new(), cell))]), ..Complex::default() };
        for row in mutation.changes.rows.values_mut() {
            row.liveness = None;
            row.columns.insert(ColumnId::of("n"), ColumnData::Complex(complex.clone()));
        }
        mutation
    }

    fn begin_increment(&mut self, node: u32, by: i64, level: C) -> super::RequestId {
        let mutation = self.increment(by);
        self.begin(node, write_action(vec![mutation], WriteKind::Counter), level)
    }

    fn stored_count(&self, node: u32) -> i64 {
        let table = self.table("c");
        let command = ReadCommand::new(table.id, "ks", ReadTarget::Partition(super::key(1)), 10);
        let answer = self.nodes[&NodeId(node)].store.read(table, &command, 1);
        let columns = answer.partitions.iter().flat_map(|(_, p)| p.rows.values()).flat_map(|row| row.columns.values());
        let shards = columns.flat_map(|column| match column {
            ColumnData::Complex(complex) => complex.cells.values().map(|(_, cell)| cell.clone()).collect::<Vec<_>>(),
            ColumnData::Simple(_) => Vec::new(),
        });
        let value = |cell: Cell| i64::from_be_bytes(cell.value.expect("a shard").as_ref().try_into().expect("8 bytes"));
        shards.map(value).sum()
    }
}

#[test]
fn increments_through_all_nodes_add_up_on_all_nodes() {
    let mut world = World::three();
    for by in 1..=20 {
        let id = world.begin_increment(1 + (by as u32) % 3, by, C::Quorum);
        assert!(world.finish(id).is_ok());
    }
    world.settle();
    for node in 1..=3 {
        assert_eq!(world.stored_count(node), 210, "node {node}");
    }
}

#[test]
fn the_increment_goes_to_one_leader_of_the_own_data_centre() {
    let options = [("class", "NetworkTopologyStrategy"), ("dc1", "2"), ("dc2", "2")];
    let mut leaders = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut world = World::new(&[("dc1", "r1"), ("dc1", "r1"), ("dc2", "r1"), ("dc2", "r1")], &options);
        world.entropy = crate::entropy::Entropy::new(seed);
        world.begin_increment(1, 1, C::One);
        let asked: Vec<u32> = world
            .wire
            .iter()
            .filter(|m| matches!(m.body, Body::Question(Question::CounterWrite(_))))
            .map(|m| m.to.0)
            .collect();
        assert!(asked.len() <= 1);
        leaders.insert(asked.first().copied().unwrap_or(1));
    }
    assert_eq!(leaders, [1, 2].into());
}

#[test]
fn an_increment_is_never_repeated_when_the_leader_is_silent() {
    let mut world = World::new(&[("dc1", "r1"); 2], &[("class", "NetworkTopologyStrategy"), ("dc1", "1")]);
    let leader =
        world.ring.replicas(crate::ring::Token::of_key(&super::key(1)), &world.schema.keyspaces["ks"].replication)[0];
    let other = if leader.0 == 1 { 2 } else { 1 };
    world.begin_duties();
    // The increment arrives; its acknowledgement does not.
    world.loses = Box::new(|message| !message.is_question());
    let id = world.begin_increment(other, 5, C::One);
    let timeout = ServerError::WriteTimeout {
        consistency: C::One,
        received: 0,
        block_for: 1,
        write_type: WriteType::Counter,
        contentions: None,
    };
    assert_eq!(world.finish(id).err(), Some(timeout));
    assert_eq!(world.now.as_nanos() / 1_000_000_000, 5, "counter writes time out after 5 s");
    world.loses = Box::new(|_| false);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.stored_count(leader.0), 5);
}

#[test]
fn shards_reach_a_dead_replica_as_hints() {
    let mut world = World::three();
    world.stop(3);
    for _ in 0..5 {
        let id = world.begin_increment(1, 2, C::Quorum);
        assert!(world.finish(id).is_ok());
    }
    world.start(3);
    world.settle();
    assert_eq!(world.stored_count(3), 10);
}

#[test]
fn the_leaders_own_write_counts_towards_the_level() {
    let mut world = World::new(&[("dc1", "r1"); 3], &[("class", "SimpleStrategy"), ("replication_factor", "2")]);
    let token = crate::ring::Token::of_key(&super::key(1));
    let replicas = world.ring.replicas(token, &world.schema.keyspaces["ks"].replication);
    let bystander = (1..=3).find(|node| !replicas.contains(&NodeId(*node))).expect("two replicas of three nodes");
    world.loses = Box::new(|message| matches!(message.body, Body::Question(Question::Write(_))));
    let id = world.begin_increment(bystander, 1, C::All);
    let ended = world.finish(id);
    let Err(ServerError::WriteTimeout { consistency, received, block_for, write_type, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!((consistency, received, block_for, write_type), (C::All, 1, 2, WriteType::Counter));
}

#[test]
fn counters_refuse_levels_they_cannot_have() {
    let mut world = World::three();
    for (level, text) in [
        (C::Any, "Consistency level ANY is not yet supported for counter table c"),
        (C::Serial, "Counter operations are inherently non-serializable"),
    ] {
        let id = world.begin_increment(1, 1, level);
        assert_eq!(world.finish(id).err(), Some(ServerError::Invalid(text.to_owned())));
    }
}

#[test]
fn without_a_live_leader_no_replica_counts_as_alive() {
    let mut world = World::new(&[("dc1", "r1"); 2], &[("class", "SimpleStrategy"), ("replication_factor", "1")]);
    let leader =
        world.ring.replicas(crate::ring::Token::of_key(&super::key(1)), &world.schema.keyspaces["ks"].replication)[0];
    world.stop(leader.0);
    let id = world.begin_increment(if leader.0 == 1 { 2 } else { 1 }, 1, C::One);
    let expected = ServerError::Unavailable { consistency: C::One, required: 1, alive: 0, datacenter: None };
    assert_eq!(world.finish(id).err(), Some(expected));
}
