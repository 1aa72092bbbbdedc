//! Nodes driven with bytes: handshakes of one node, and a small cluster in memory.

mod cluster;
mod handshake;
mod harness;

use super::*;
use crate::coordinator::CoordinatorConfig;
use crate::entropy::Entropy;
use crate::kernel::SimInstant;
use crate::protocol::opcode;
use crate::ring::{Location, Token};
use bytes::BufMut;
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

const CLIENT: ClientId = ClientId(1);

fn config(id: u32, nodes: u32) -> NodeConfig {
    NodeConfig {
        id: NodeId(id),
        address: address(id),
        host_id: Uuid::from_u128(u128::from(id)),
        location: Location { datacenter: "dc1".into(), rack: format!("r{id}") },
        tokens: vec![Token(i64::from(id) * (i64::MAX / 8)), Token(-i64::from(id) * (i64::MAX / 8))],
        cluster_name: "Test Cluster".into(),
        release: "5.0.8".into(),
        protocol_version_max: 5,
        peers: (1..=nodes).filter(|peer| *peer != id).map(NodeId).collect(),
        coordinator: CoordinatorConfig::default(),
        failure_detection: Duration::from_secs(5),
        gossip_interval: Duration::from_secs(1),
        in_flight_bytes_max: 1 << 20,
        mirror_custom_payload: false,
        forget_prepared_on_restart: false,
        replaces: None,
        users: None,
        entropy: Entropy::new(7),
    }
}

fn address(id: u32) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, u8::try_from(id).expect("small")], 9042))
}

fn at(millis: u64) -> Now {
    let at = SimInstant::from_nanos(millis * 1_000_000);
    Now { at, unix_micros: 1_700_000_000_000_000 + i64::try_from(millis * 1000).expect("small") }
}

/// A request envelope.
fn envelope(version: u8, stream: i16, code: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![version, 0];
    out.put_i16(stream);
    out.put_u8(code);
    out.put_u32(u32::try_from(body.len()).expect("short"));
    out.put_slice(body);
    out
}

fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(u16::try_from(text.len()).expect("short"));
    out.put_slice(text.as_bytes());
    out
}

fn startup(options: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(u16::try_from(options.len()).expect("short"));
    for (key, value) in options {
        body.extend(string(key));
        body.extend(string(value));
    }
    body
}

fn query(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u32(u32::try_from(text.len()).expect("short"));
    body.put_slice(text.as_bytes());
    body.put_slice(&[0, 1, 0]); // ONE, no flags (v3, v4)
    body
}

const CQL: (&str, &str) = ("CQL_VERSION", "3.0.0");
