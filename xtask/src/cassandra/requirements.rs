//! Whether this machine can run a ring, checked before anything is started.

use super::release::Release;
use super::ring::Ring;
use super::{DEFAULT_FIRST, output_of, processes};
use std::net::TcpListener;
use std::path::Path;

/// What a node takes: half a gigabyte of heap and as much beside it.
const MEMORY_PER_NODE_KB: u64 = 1_000_000;

/// The Java that would be used, or a sentence that says what is missing to run any ring of this release.
pub fn check(shared: &Path, release: Release) -> Result<String, String> {
    let (_, line) = release.java(shared)?;
    output_of("mvn", &["-version"]).ok_or("no `mvn` found: install Maven, which downloads Cassandra's jars")?;
    Ok(line)
}

/// Refuses to start a ring for which this machine has no room.
pub fn check_ring(ring: &Ring) -> Result<(), String> {
    check(&ring.shared, ring.settings.release)?;
    for node in &ring.settings.nodes {
        for port in [9042, 7000, 7001] {
            if !processes::is_alive(ring, node.number) && TcpListener::bind((node.address(), port)).is_err() {
                return Err(format!(
                    "{}:{port} is in use by another program: end it, choose other addresses with --loopback-from \
                     (the default is {DEFAULT_FIRST}), or use a network namespace",
                    node.address()
                ));
            }
        }
    }
    let starting = ring.settings.nodes.iter().filter(|node| !processes::is_alive(ring, node.number)).count() as u64;
    let wanted = starting * MEMORY_PER_NODE_KB;
    match available_kb() {
        Some(available) if available < wanted => Err(format!(
            "{starting} nodes need about {} MB of memory and {} MB are available: start fewer with --nodes",
            wanted / 1_000,
            available / 1_000
        )),
        _ => Ok(()),
    }
}

/// The memory that programs can still get; `None` where the system does not say.
fn available_kb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
