//! Nodes that join, leave, are replaced and move, as clients and the oracle see it.

use simcluster::fault::CrashKind;
use simcluster::node::NodeStatus;
use simcluster::{ClusterConfig, Fault, NodeId, SimCluster};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn request(stream: &mut simcluster::network::SimStream, opcode: u8, body: &[u8]) -> (u8, Vec<u8>) {
    let mut envelope = vec![0x04, 0, 0, 5, opcode];
    envelope.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    envelope.extend_from_slice(body);
    stream.write_all(&envelope).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    let mut answer = vec![0; u32::from_be_bytes(header[5..].try_into().unwrap()) as usize];
    stream.read_exact(&mut answer).await.unwrap();
    (header[4], answer)
}

/// Creates a table with a replication factor of 2 and fills it with a hundred rows at ALL.
async fn fill(sim: &SimCluster) {
    let mut stream = sim.connect("app", sim.nodes()[0].address).await.unwrap();
    assert_eq!(request(&mut stream, 0x01, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0").await.0, 0x02, "READY");
    let keyspace = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}";
    let mut texts = vec![keyspace.to_owned(), "CREATE TABLE ks.t (k int PRIMARY KEY, v int)".to_owned()];
    texts.extend((0..100).map(|k| format!("INSERT INTO ks.t (k, v) VALUES ({k}, {k})")));
    for text in texts {
        let mut body = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&[0, 5, 0]);
        let (opcode, body) = request(&mut stream, 0x07, &body).await;
        assert_eq!(opcode, 0x08, "{text}: {}", String::from_utf8_lossy(&body));
    }
}

/// Every row is on both of its replicas by the true ring.
fn assert_complete(sim: &SimCluster) {
    for k in 0..100_i32 {
        let replicas = sim.replicas("ks", &k.to_be_bytes());
        assert_eq!(replicas.len(), 2);
        for replica in replicas {
            let rows = sim.query_node(replica, &format!("SELECT v FROM ks.t WHERE k = {k}")).unwrap().rows;
            assert_eq!(rows.len(), 1, "row {k} is missing on {replica}");
        }
    }
}

fn status(sim: &SimCluster, node: NodeId) -> Option<NodeStatus> {
    sim.nodes().into_iter().find(|truth| truth.id == node).and_then(|truth| truth.status)
}

/// The addresses that `system.peers` of a node names, its own among them.
fn ring_seen_by(sim: &SimCluster, node: NodeId) -> BTreeSet<Vec<u8>> {
    let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
    for select in ["SELECT rpc_address FROM system.peers", "SELECT rpc_address FROM system.local"] {
        let rows = sim.query_node(node, select).unwrap().rows;
        seen.extend(rows.into_iter().filter_map(|row| row[0].as_deref().map(<[u8]>::to_vec)));
    }
    seen
}

/// What `system.peers` should name: the addresses of all that own tokens.
fn true_ring(sim: &SimCluster) -> BTreeSet<Vec<u8>> {
    let owners = sim.nodes().into_iter().filter(|node| node.status == Some(NodeStatus::Normal));
    owners.map(|node| octets(node.address)).collect()
}

fn octets(address: SocketAddr) -> Vec<u8> {
    match address.ip() {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn assert_everybody_knows(sim: &SimCluster) {
    for node in sim.nodes().into_iter().filter(|node| node.up && node.status == Some(NodeStatus::Normal)) {
        assert_eq!(ring_seen_by(sim, node.id), true_ring(sim), "as {} sees it", node.id);
    }
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[test]
fn a_node_that_joins_owns_its_tokens_once_it_has_their_data() {
    simcluster::run(ClusterConfig::default().seed(1), |sim| async move {
        fill(&sim).await;
        let before = sim.contact_points();
        let node = sim.add_node("dc1");
        assert_eq!((node, status(&sim, node)), (NodeId(4), Some(NodeStatus::Joining)));
        seconds(10).await;
        assert_eq!(status(&sim, node), Some(NodeStatus::Normal));
        assert_complete(&sim);
        assert_everybody_knows(&sim);
        let held = sim.query_node(node, "SELECT k FROM ks.t").unwrap().rows.len();
        assert!(held > 0, "four tokens of sixteen own something");
        assert!(sim.contact_points().iter().filter(|address| !before.contains(address)).count() == 1);
        let other = sim.add_node("dc9");
        seconds(10).await;
        assert_eq!(sim.nodes()[3 + 1].datacenter, "dc9");
        assert_eq!(status(&sim, other), Some(NodeStatus::Normal));
    })
    .expect_clean();
}

#[test]
fn a_node_that_is_decommissioned_hands_its_data_over_and_is_forgotten() {
    simcluster::run(ClusterConfig::default().seed(2), |sim| async move {
        fill(&sim).await;
        sim.decommission(NodeId(2));
        seconds(10).await;
        assert_eq!(status(&sim, NodeId(2)), Some(NodeStatus::Left));
        assert_complete(&sim);
        assert_everybody_knows(&sim);
        assert_eq!(sim.contact_points().len(), 2);
        sim.crash(NodeId(2), CrashKind::Fin);
        seconds(15).await;
        assert_everybody_knows(&sim);
    })
    .expect_clean();
}

#[test]
fn a_dead_node_is_replaced_with_its_tokens_at_the_same_or_another_address() {
    for same_address in [false, true] {
        simcluster::run(ClusterConfig::default().seed(3), move |sim| async move {
            fill(&sim).await;
            let old = sim.nodes()[2].clone();
            sim.crash(NodeId(3), CrashKind::Silence);
            seconds(12).await;
            let with = sim.replace(NodeId(3), same_address);
            seconds(15).await;
            sim.restart(NodeId(3));
            seconds(15).await;
            let new = sim.nodes().pop().unwrap();
            assert_eq!((new.id, new.status), (with, Some(NodeStatus::Normal)));
            assert_eq!(new.tokens, old.tokens);
            assert_ne!(new.host_id, old.host_id);
            assert_eq!(new.address == old.address, same_address);
            assert!(!sim.nodes()[2].up, "a machine that died for good does not come back");
            assert_complete(&sim);
            assert_everybody_knows(&sim);
            assert!(sim.connect("app", new.address).await.is_ok());
        })
        .expect_clean();
    }
}

#[test]
fn a_node_keeps_its_identity_when_its_address_changes_and_two_may_swap() {
    simcluster::run(ClusterConfig::default().seed(4), |sim| async move {
        fill(&sim).await;
        let before = sim.nodes();
        sim.inject(&Fault::ChangeAddress { node: NodeId(1) });
        seconds(5).await;
        let moved = sim.nodes()[0].clone();
        assert_ne!(moved.address, before[0].address);
        assert_eq!(moved.host_id, before[0].host_id);
        assert!(sim.connect("app", before[0].address).await.is_err(), "nobody is at the old address");
        assert_everybody_knows(&sim);
        sim.inject(&Fault::SwapAddresses { node: NodeId(2), with: NodeId(3) });
        seconds(5).await;
        assert_eq!(sim.nodes()[1].address, before[2].address);
        assert_eq!(sim.nodes()[2].address, before[1].address);
        assert_everybody_knows(&sim);
        assert_complete(&sim);
        sim.crash(NodeId(2), CrashKind::Fin);
        sim.restart_at(NodeId(2), "10.7.7.7:9042".parse().unwrap());
        assert!(!sim.nodes()[1].up, "it stays down until its crash ends");
        sim.restart(NodeId(2));
        seconds(5).await;
        assert_everybody_knows(&sim);
    })
    .expect_clean();
}

#[test]
fn when_nodes_swap_addresses_clients_hear_that_both_went_down_and_came_up() {
    simcluster::run(ClusterConfig::default().seed(6), |sim| async move {
        fill(&sim).await;
        let mut stream = sim.connect("app", sim.nodes()[0].address).await.unwrap();
        request(&mut stream, 0x01, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0").await;
        assert_eq!(request(&mut stream, 0x0B, b"\x00\x01\x00\x0dSTATUS_CHANGE").await.0, 0x02, "READY");
        sim.inject(&Fault::SwapAddresses { node: NodeId(2), with: NodeId(3) });
        seconds(5).await;
        let told = sim.ledger(|entries| {
            use simcluster::engine::LedgerFact;
            use simcluster::node::Observation;
            let event = |fact: &LedgerFact| match fact {
                LedgerFact::Node(Observation::EventSent { event, .. }) => Some(event.clone()),
                _ => None,
            };
            entries.iter().filter_map(|entry| event(&entry.fact)).collect::<Vec<String>>()
        });
        for node in &sim.nodes()[1..] {
            let of_it = |event: &&String| event.contains(&node.address.to_string());
            let words: Vec<&str> = told.iter().filter(of_it).filter_map(|event| event.split(' ').next()).collect();
            assert_eq!(words, ["DOWN", "UP"], "{told:?}");
        }
    })
    .expect_clean();
}

#[test]
fn a_node_that_is_stopped_in_good_order_is_known_to_be_down_at_once() {
    simcluster::run(ClusterConfig::default().seed(5), |sim| async move {
        let drain = Fault::Crash { node: NodeId(3), how: CrashKind::Drain };
        sim.inject(&drain);
        seconds(1).await;
        let convicted = sim.ledger(|entries| {
            use simcluster::engine::LedgerFact;
            use simcluster::node::Observation;
            let dead = LedgerFact::Node(Observation::Liveness { peer: NodeId(3), alive: false });
            entries.iter().filter(|entry| entry.fact == dead).count()
        });
        assert_eq!(convicted, 2, "both others, long before failure detection");
        assert!(sim.connect("app", sim.nodes()[2].address).await.is_err());
        sim.heal(&drain);
        seconds(3).await;
        assert_everybody_knows(&sim);
    })
    .expect_clean();
}
