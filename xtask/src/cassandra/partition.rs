//! Cutting real nodes off from each other with packet filters of the network namespace.
//!
//! All nodes of a ring live on one loopback interface, and their connections to each other come from 127.0.0.1, so
//! addresses do not tell whose they are. Each node's process therefore has a group of its own, by which the filter knows
//! its sockets. That takes root's rights and nftables; without them rings cannot be cut.

use super::ring::{Node, Ring};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Groups of nodes count from here: nobody else's.
const FIRST_GROUP: u32 = 42_000;

/// The group of a node's process, in a ring that can be cut.
pub fn group(node: &Node) -> u32 {
    FIRST_GROUP + u32::from(node.octet)
}

/// Whether this machine lets us start processes in other groups and filter packets.
pub fn is_possible() -> bool {
    let probe = "table ip helenus_probe {}\ndelete table ip helenus_probe\n";
    let may_choose_groups = || Command::new("true").gid(FIRST_GROUP).status().is_ok_and(|status| status.success());
    nft(probe).is_ok() && may_choose_groups()
}

/// Cuts a node off from all others, and from clients if asked for, besides those that are cut off already.
pub fn cut_off(ring: &Ring, n: u8, from_clients: bool) -> Result<(), String> {
    let node = ring.settings.node(n)?;
    let (table, group, address) = (table(ring), group(node), node.address());
    let mut script = format!(
        "add table ip {table}\n\
         add chain ip {table} cut {{ type filter hook output priority 0; policy accept; }}\n\
         add rule ip {table} cut meta skgid {group} ip daddr != {address} tcp dport {NODE_PORTS} drop\n\
         add rule ip {table} cut meta skgid != {group} ip daddr {address} tcp dport {NODE_PORTS} drop\n"
    );
    if from_clients {
        for way in ["daddr", "saddr"] {
            let port = if way == "daddr" { "dport" } else { "sport" };
            let _ = writeln!(script, "add rule ip {table} cut ip {way} {address} tcp {port} 9042 drop"); // Cannot fail.
        }
    }
    nft(&script)
}

/// Ends all cuts of a ring.
pub fn heal(ring: &Ring) -> Result<(), String> {
    // A table that is not there is no error once it has been added.
    nft(&format!("add table ip {0}\ndelete table ip {0}\n", table(ring)))
}

/// A table for each ring of the namespace.
fn table(ring: &Ring) -> String {
    let folder = ring.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("helenus_{}", folder.replace('-', "_"))
}

/// Plain and TLS, between nodes.
const NODE_PORTS: &str = "{ 7000, 7001 }";

fn nft(script: &str) -> Result<(), String> {
    let cannot = |e: std::io::Error| format!("cannot run nft, which is part of nftables: {e}");
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(cannot)?;
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("nft refused a filter ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
