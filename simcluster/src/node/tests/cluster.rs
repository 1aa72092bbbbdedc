//! A cluster of three in memory: what nodes tell each other, and what clients see of it.

use super::harness::{Cluster, Seen};
use super::*;
use bytes::Bytes;

const QUORUM: u8 = 4;
const ALL: u8 = 5;

fn int(value: i32) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn count(seen: &Seen) -> usize {
    match seen {
        Seen::Rows(rows) => rows.len(),
        other => panic!("not rows: {other:?}"),
    }
}

fn text(value: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(value.as_bytes()))
}

/// A cluster with table `ks.t (k int PRIMARY KEY, v text)`, replicated to every node.
fn with_table() -> Cluster {
    let mut cluster = Cluster::start(3);
    let create = "CREATE KEYSPACE ks WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 3}";
    assert_eq!(cluster.query(1, create), Seen::Schema("CREATED KEYSPACE ks".into()));
    cluster.run_for(10);
    let create = "CREATE TABLE ks.t (k int PRIMARY KEY, v text)";
    assert_eq!(cluster.query(2, create), Seen::Schema("CREATED TABLE ks".into()));
    cluster.run_for(3_000);
    cluster
}

#[test]
fn nodes_learn_of_each_other_by_gossip() {
    let cluster = Cluster::start(3);
    for id in 1..=3 {
        assert_eq!(cluster.node(id).alive().len(), 3);
        assert_eq!(cluster.node(id).members.ring.tokens.len(), 6);
    }
}

#[test]
fn silent_nodes_are_convicted_and_come_back() {
    let mut cluster = Cluster::start(3);
    let durable = cluster.crash(3);
    // It was last heard up to one round before its end, and is convicted in the round after the limit.
    cluster.run_for(3_900);
    assert_eq!(cluster.node(1).alive().len(), 3, "convicted too early");
    cluster.run_for(2_200);
    assert_eq!(cluster.node(1).alive().len(), 2);
    assert!(cluster.events.contains(&(NodeId(1), "DOWN 127.0.0.3:9042".into())));
    cluster.boot(3, config(3, 3), Some(durable));
    cluster.run_for(100);
    assert_eq!(cluster.node(1).alive().len(), 3);
    assert_eq!(cluster.node(3).alive().len(), 3);
    let told: Vec<_> =
        cluster.events.iter().filter(|(node, event)| node.0 == 1 && event.ends_with(".3:9042")).collect();
    assert_eq!(told.last().expect("told").1, "UP 127.0.0.3:9042");
}

#[test]
fn a_restart_between_two_rounds_is_told_as_down_and_up() {
    let mut cluster = Cluster::start(3);
    cluster.events.clear();
    let durable = cluster.crash(2);
    cluster.boot(2, config(2, 3), Some(durable));
    cluster.run_for(100);
    let told: Vec<_> = cluster.events.iter().filter(|(node, _)| node.0 == 1).map(|(_, event)| event.as_str()).collect();
    assert_eq!(told, ["DOWN 127.0.0.2:9042", "UP 127.0.0.2:9042"]);
}

#[test]
fn a_shutdown_is_seen_at_once() {
    let mut cluster = Cluster::start(3);
    let mut outputs = Vec::new();
    let node = cluster.nodes.remove(&NodeId(3)).expect("running");
    let _ = node.shut_down(&mut outputs);
    for output in outputs {
        if let Output::ToPeer { to, message } = output {
            cluster.input(to.0, Input::Peer { from: NodeId(3), message });
        }
    }
    assert_eq!(cluster.node(1).alive().len(), 2);
    assert!(cluster.events.contains(&(NodeId(1), "DOWN 127.0.0.3:9042".into())));
}

#[test]
fn a_node_with_a_new_address_replaces_its_row_in_peers() {
    let mut cluster = Cluster::start(3);
    let durable = cluster.crash(3);
    let moved = NodeConfig { address: address(33), ..config(3, 3) };
    cluster.boot(3, moved, Some(durable));
    cluster.run_for(1_500);
    for table in ["peers", "peers_v2"] {
        let Seen::Rows(rows) = cluster.query(1, &format!("SELECT peer FROM system.{table}")) else { panic!("no rows") };
        let mut peers: Vec<_> = rows.into_iter().map(|row| row[0].as_ref().expect("key").to_vec()).collect();
        peers.sort();
        assert_eq!(peers, [[127, 0, 0, 2], [127, 0, 0, 33]], "{table}");
    }
    let told: Vec<_> = cluster.events.iter().filter(|(node, _)| node.0 == 1).map(|(_, event)| event.as_str()).collect();
    for event in ["NEW_NODE 127.0.0.33:9042", "UP 127.0.0.33:9042"] {
        assert!(told.contains(&event), "{event} is not in {told:?}");
    }
}

#[test]
fn late_words_of_a_node_that_has_moved_do_not_take_its_address_back() {
    let mut cluster = Cluster::start(3);
    cluster.run_for(2_000);
    let said = cluster.node(1).members.state(NodeId(3)).cloned().expect("known");
    let _ = cluster.crash(3);
    let durable = cluster.crash(2);
    let host_id = "SELECT host_id FROM system.peers WHERE peer = '127.0.0.3'";
    let before = cluster.query(1, host_id);
    cluster.boot(2, NodeConfig { address: address(3), ..config(2, 3) }, Some(durable));
    cluster.run_for(1_500);
    let taken = cluster.query(1, host_id);
    assert_ne!(taken, before, "node 2 is where node 3 was");

    let late = GossipState { version: said.version + 1, schema_version: Uuid::from_u128(7), ..(*said).clone() };
    cluster.input(1, Input::Peer { from: NodeId(3), message: PeerMessage::Gossip(late.into()) });

    assert_eq!(cluster.query(1, host_id), taken);
}

#[test]
fn clients_find_the_cluster_in_the_system_tables() {
    let mut cluster = Cluster::start(3);
    let local = "SELECT cluster_name, release_version, partitioner FROM system.local WHERE key='local'";
    let partitioner = text("org.apache.cassandra.dht.Murmur3Partitioner");
    assert_eq!(cluster.query(1, local), Seen::Rows(vec![vec![text("Test Cluster"), text("5.0.8"), partitioner]]));
    assert_eq!(count(&cluster.query(1, "SELECT * FROM system.peers")), 2);
    assert_eq!(count(&cluster.query_at(2, "SELECT * FROM system.peers_v2", ALL)), 2);
    let Seen::Error(code, _) = cluster.query(1, "SELECT * FROM system_schema.scylla_tables") else { panic!("found") };
    assert_eq!(code, 0x2200);
}

#[test]
fn rows_written_at_quorum_are_read_everywhere() {
    let mut cluster = with_table();
    assert_eq!(cluster.query_at(1, "INSERT INTO ks.t (k, v) VALUES (1, 'one')", QUORUM), Seen::Void);
    for id in 1..=3 {
        let seen = cluster.query_at(id, "SELECT k, v FROM ks.t WHERE k = 1", QUORUM);
        assert_eq!(seen, Seen::Rows(vec![vec![int(1), text("one")]]), "node {id}");
    }
    assert_eq!(count(&cluster.query_at(3, "SELECT * FROM ks.t", ALL)), 1);
}

#[test]
fn quorum_is_unavailable_with_two_nodes_down() {
    let mut cluster = with_table();
    let _ = (cluster.crash(2), cluster.crash(3));
    cluster.run_for(8_000);
    let Seen::Error(code, text) = cluster.query_at(1, "SELECT * FROM ks.t WHERE k = 1", QUORUM) else {
        panic!("answered")
    };
    assert_eq!((code, text.as_str()), (0x1000, "Cannot achieve consistency level QUORUM"));
    let silent = cluster.query(1, "SELECT * FROM ks.t WHERE k = 1");
    assert_eq!(count(&silent), 0, "ONE needs only the node itself");
}

#[test]
fn schema_changes_reach_every_node_and_its_clients() {
    let mut cluster = with_table();
    for id in 1..=3 {
        assert!(cluster.node(id).schema().table("ks", "t").is_some());
        assert!(cluster.events.contains(&(NodeId(id), "CREATED KEYSPACE ks".into())));
        assert!(cluster.events.contains(&(NodeId(id), "CREATED TABLE ks.t".into())));
    }
    let Seen::Rows(local) = cluster.query(1, "SELECT schema_version FROM system.local") else { panic!("no rows") };
    let Seen::Rows(peers) = cluster.query(1, "SELECT schema_version FROM system.peers") else { panic!("no rows") };
    assert_eq!(peers, [local.clone(), local].concat());
}

#[test]
fn a_node_that_missed_a_schema_change_pulls_it() {
    let mut cluster = with_table();
    let durable = cluster.crash(3);
    cluster.run_for(8_000);
    assert_eq!(cluster.query(1, "DROP TABLE ks.t"), Seen::Schema("DROPPED TABLE ks".into()));
    cluster.boot(3, config(3, 3), Some(durable));
    assert!(cluster.node(3).schema().table("ks", "t").is_some());
    cluster.run_for(3_000);
    assert!(cluster.node(3).schema().table("ks", "t").is_none());
    assert_eq!(cluster.node(3).schema().version, cluster.node(1).schema().version);
}

#[test]
fn use_sets_the_keyspace_of_one_connection() {
    let mut cluster = with_table();
    assert_eq!(cluster.query(1, "USE ks"), Seen::Keyspace("ks".into()));
    assert_eq!(count(&cluster.query(1, "SELECT * FROM t")), 0);
    let Seen::Error(0x2200, text) = cluster.query(2, "SELECT * FROM t") else { panic!("found") };
    assert_eq!(text, "No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename");
    assert_eq!(cluster.query(1, "USE nowhere"), Seen::Error(0x2200, "Keyspace 'nowhere' does not exist".into()));
}

fn prepare(cluster: &mut Cluster, id: u32, statement: &str) -> Bytes {
    let mut body = Vec::new();
    body.put_u32(u32::try_from(statement.len()).expect("short"));
    body.put_slice(statement.as_bytes());
    match cluster.call(id, opcode::PREPARE, &body) {
        Seen::Prepared(id) => id,
        other => panic!("not prepared: {other:?}"),
    }
}

fn execute(id: &[u8], values: &[Option<Bytes>]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(16);
    body.put_slice(id);
    body.put_slice(&[0, QUORUM, 1]);
    body.put_u16(u16::try_from(values.len()).expect("few"));
    for value in values {
        let value = value.as_ref().expect("not null");
        body.put_i32(i32::try_from(value.len()).expect("short"));
        body.put_slice(value);
    }
    body
}

#[test]
fn statements_are_known_where_they_were_prepared_and_until_their_table_changes() {
    let mut cluster = with_table();
    let insert = prepare(&mut cluster, 1, "INSERT INTO ks.t (k, v) VALUES (?, ?)");
    let row = execute(&insert, &[int(7), text("seven")]);
    assert_eq!(cluster.call(1, opcode::EXECUTE, &row), Seen::Void);
    let Seen::Error(0x2500, _) = cluster.call(2, opcode::EXECUTE, &row) else { panic!("known") };
    assert_eq!(
        prepare(&mut cluster, 2, "INSERT INTO ks.t (k, v) VALUES (?, ?)"),
        insert,
        "ids are the same everywhere"
    );
    assert_eq!(cluster.call(2, opcode::EXECUTE, &row), Seen::Void);
    cluster.query(3, "ALTER TABLE ks.t ADD w int");
    cluster.run_for(100);
    let Seen::Error(0x2500, _) = cluster.call(2, opcode::EXECUTE, &row) else { panic!("still known") };
}

#[test]
fn restarted_nodes_know_their_statements_unless_they_forget() {
    for forget in [false, true] {
        let mut cluster = with_table();
        let select = prepare(&mut cluster, 2, "SELECT v FROM ks.t WHERE k = ?");
        let durable = {
            let mut node = cluster.nodes.remove(&NodeId(2)).expect("running");
            node.config.forget_prepared_on_restart = forget;
            node.crash()
        };
        cluster.boot(2, config(2, 3), Some(durable));
        cluster.run_for(1_500);
        cluster.connect(2);
        let seen = cluster.call(2, opcode::EXECUTE, &execute(&select, &[int(1)]));
        assert_eq!(matches!(seen, Seen::Error(0x2500, _)), forget, "{seen:?}");
    }
}

/// What is remembered of one cluster must not answer for another one that restarts at the same moment.
#[test]
fn restarted_nodes_answer_from_their_own_schema_whatever_other_clusters_had() {
    for name in ["first", "other"] {
        let mut cluster = Cluster::start(3);
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        cluster.query(1, &format!("CREATE KEYSPACE {name} WITH replication = {replication}"));
        cluster.run_for(1_000);
        let durable = cluster.crash(2);
        cluster.boot(2, config(2, 3), Some(durable));
        cluster.run_for(1_500);
        cluster.connect(2);
        let seen = cluster.query(2, "SELECT keyspace_name FROM system_schema.keyspaces");
        let Seen::Rows(rows) = seen else { panic!("{seen:?}") };
        assert!(rows.contains(&vec![text(name)]), "{name}: {rows:?}");
        let seen = cluster.query(2, &format!("CREATE TABLE {name}.t (k int PRIMARY KEY)"));
        assert_eq!(seen, Seen::Schema(format!("CREATED TABLE {name}")));
    }
}

#[test]
fn traces_are_rows_that_any_node_can_read() {
    let mut cluster = with_table();
    let body = query("SELECT * FROM ks.t WHERE k = 1");
    let mut traced = envelope(4, 900, opcode::QUERY, &body);
    traced[1] = crate::protocol::flag::TRACING;
    cluster.input(1, Input::ClientBytes { client: ClientId(1), bytes: traced.into() });
    cluster.run_for(100);
    let sessions = cluster.query_at(2, "SELECT coordinator, command FROM system_traces.sessions", ALL);
    assert_eq!(sessions, Seen::Rows(vec![vec![Some(Bytes::from_static(&[127, 0, 0, 1])), text("QUERY")]]));
    assert!(count(&cluster.query_at(2, "SELECT * FROM system_traces.events", ALL)) >= 3);
}

#[test]
fn joining_nodes_take_their_data_before_they_own_tokens() {
    let mut cluster = Cluster::start(3);
    let create = "CREATE KEYSPACE one WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";
    cluster.query(1, create);
    cluster.query(1, "CREATE TABLE one.t (k int PRIMARY KEY)");
    cluster.run_for(3_000);
    for k in 0..20 {
        assert_eq!(cluster.query(1, &format!("INSERT INTO one.t (k) VALUES ({k})")), Seen::Void);
    }
    cluster.join(4, config(4, 4));
    cluster.run_for(500);
    assert_eq!(cluster.node(4).status(), NodeStatus::Joining);
    cluster.run_for(15_000);
    assert_eq!(cluster.node(4).status(), NodeStatus::Normal);
    assert_eq!(cluster.node(1).members.ring.tokens.len(), 8);
    assert!(cluster.events.contains(&(NodeId(1), "NEW_NODE 127.0.0.4:9042".into())));
    assert_eq!(count(&cluster.query(2, "SELECT * FROM one.t")), 20);
    cluster.input(4, Input::Decommission);
    cluster.run_for(15_000);
    assert_eq!(cluster.node(4).status(), NodeStatus::Left);
    assert_eq!(cluster.node(1).members.ring.tokens.len(), 6);
    assert!(cluster.events.contains(&(NodeId(1), "REMOVED_NODE 127.0.0.4:9042".into())));
    assert_eq!(count(&cluster.query(2, "SELECT * FROM one.t")), 20, "the data came back");
    assert_eq!(count(&cluster.query(1, "SELECT * FROM system.peers")), 2);
}

#[test]
fn forced_answers_replace_as_many_statements_as_asked_and_no_system_reads() {
    let mut cluster = with_table();
    let answer = ForcedAnswer::Overloaded;
    cluster.input(1, Input::Misbehave(Misbehaviour::ForceAnswers { answer, statements: 2 }));
    assert_eq!(count(&cluster.query(1, "SELECT * FROM system.peers")), 2);
    let insert = "INSERT INTO ks.t (k, v) VALUES (9, 'nine')";
    for _ in 0..2 {
        assert!(matches!(cluster.query(1, insert), Seen::Error(0x1001, _)));
    }
    assert_eq!(count(&cluster.query_at(1, "SELECT * FROM ks.t WHERE k = 9", ALL)), 0, "was carried out");
    assert_eq!(cluster.query(1, insert), Seen::Void);
}
