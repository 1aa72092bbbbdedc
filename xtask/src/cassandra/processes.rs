//! Starting, signalling and ending the nodes' processes, by the pid files under the ring's folder.

use super::configuration::Ring;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);
/// A node opens its port after about 6 s on two cores; this is for machines that are busy.
const START_POLLS_MAX: u32 = 600;
/// A killed process is gone at once; a terminated one drains for about 4 s.
const END_POLLS_MAX: u32 = 150;

/// Starts `total` nodes and waits until each has seen the others.
pub fn up(ring: &Ring, total: u8) -> Result<(), String> {
    for n in 1..=total {
        if listening(n) && !alive(ring, n) {
            return Err(format!("127.0.0.{n}:9042 is in use by another program: end it first"));
        }
    }
    std::fs::write(ring.folder.join("total"), total.to_string())
        .map_err(|e| format!("cannot write the ring's size: {e}"))?;
    for n in 1..=total {
        start(ring, n)?;
    }
    for seer in 1..=total {
        for seen in (1..=total).filter(|seen| *seen != seer) {
            wait_until_seen(ring, seer, seen)?;
        }
    }
    Ok(())
}

/// Starts one node and waits for its port; one that runs already is left alone.
pub fn start(ring: &Ring, n: u8) -> Result<(), String> {
    if alive(ring, n) {
        return Ok(());
    }
    let total = std::fs::read_to_string(ring.folder.join("total"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or("there is no ring yet: `cargo xtask cassandra up` starts one")?;
    ring.configure(n, total)?;
    let node = ring.node(n);
    let log = File::create(node.join("logs/stdout.log")).map_err(|e| format!("cannot create node {n}'s log: {e}"))?;
    let errors = log.try_clone().map_err(|e| format!("cannot create node {n}'s log: {e}"))?;
    let mut child = Command::new("java")
        .args(ring.jvm_arguments(n)?)
        .current_dir(&node)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("cannot start java: {e}"))?;
    std::fs::write(node.join("pid"), child.id().to_string())
        .map_err(|e| format!("cannot write node {n}'s pid: {e}"))?;
    for _ in 0..START_POLLS_MAX {
        if listening(n) {
            println!("node {n}: 127.0.0.{n}:9042");
            return Ok(());
        }
        // Asked of the child itself: /proc shows no command line for a moment after exec.
        if child.try_wait().map_err(|e| format!("cannot watch node {n}: {e}"))?.is_some() {
            return Err(format!("node {n} died while starting: see {}", node.join("logs").display()));
        }
        std::thread::sleep(POLL);
    }
    Err(format!("node {n} did not open its port in two minutes: see {}", node.join("logs").display()))
}

/// Sends a signal to a node's process.
pub fn signal(ring: &Ring, n: u8, name: &str) -> Result<(), String> {
    let pid = pid(ring, n).filter(|_| alive(ring, n)).ok_or(format!("node {n} is not running"))?;
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot signal node {n}: {status}")),
        Err(e) => Err(format!("cannot run kill: {e}")),
    }
}

/// Sends a signal that ends the process, and waits until it is gone.
pub fn signal_and_wait(ring: &Ring, n: u8, name: &str) -> Result<(), String> {
    signal(ring, n, name)?;
    for _ in 0..END_POLLS_MAX {
        // A dying process loses its command line before its sockets.
        if !alive(ring, n) && !listening(n) {
            return std::fs::remove_file(ring.node(n).join("pid"))
                .map_err(|e| format!("cannot remove node {n}'s pid: {e}"));
        }
        std::thread::sleep(POLL);
    }
    Err(format!("node {n} did not end in half a minute"))
}

/// Ends every node and deletes its data.
pub fn down(ring: &Ring) -> Result<(), String> {
    for n in 1..=6 {
        if alive(ring, n) {
            signal_and_wait(ring, n, "KILL")?;
        }
        let node = ring.node(n);
        if node.exists() {
            std::fs::remove_dir_all(&node).map_err(|e| format!("cannot delete {}: {e}", node.display()))?;
        }
    }
    Ok(())
}

fn pid(ring: &Ring, n: u8) -> Option<u32> {
    std::fs::read_to_string(ring.node(n).join("pid")).ok()?.trim().parse().ok()
}

/// Whether the process of the pid file is still this node (a pid may have been used again by another program).
fn alive(ring: &Ring, n: u8) -> bool {
    let Some(pid) = pid(ring, n) else { return false };
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let folder = ring.node(n);
    String::from_utf8_lossy(&command_line).contains(&*folder.to_string_lossy())
}

fn listening(n: u8) -> bool {
    let address = SocketAddr::from(([127, 0, 0, n], 9042));
    TcpStream::connect_timeout(&address, POLL).is_ok()
}

fn wait_until_seen(ring: &Ring, seer: u8, seen: u8) -> Result<(), String> {
    let log = ring.node(seer).join("logs/system.log");
    for _ in 0..START_POLLS_MAX {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let peer = format!("127.0.0.{seen}:7000");
        if text.contains(&format!("{peer} state jump to NORMAL")) || text.contains(&format!("{peer} is now UP")) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(format!("node {seer} has not seen node {seen}: see {}", log.display()))
}
