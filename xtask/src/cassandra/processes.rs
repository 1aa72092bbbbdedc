//! Starting, signalling and ending the nodes' processes, by the pid files under the ring's folder.

use super::ring::{Node, Ring};
use super::{partition, release, requirements};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(200);
/// A node opens its port after about 6 s on two cores; this is for machines that are busy.
const START_POLLS_MAX: u32 = 900;
/// A killed process is gone at once; a terminated one drains for about 4 s. One of 4.0 then waits up to a minute for the
/// tasks that it has put off (`StorageService.drain`), of which there are some soon after its start.
const END_POLLS_MAX: u32 = 450;

/// Starts all nodes of a new ring, one after the other, and waits until each has seen the others.
pub fn up(ring: &Ring) -> Result<(), String> {
    requirements::check_ring(ring)?;
    ring.fetch()?;
    if ring.settings.tls {
        ring.make_keystore()?;
    }
    ring.save()?;
    for node in &ring.settings.nodes {
        start(ring, node.number)?;
    }
    for seer in &ring.settings.nodes {
        for seen in ring.settings.nodes.iter().filter(|seen| seen.number != seer.number) {
            wait_for_log(
                ring,
                seer,
                &[
                    &format!("{}:7000 state jump to NORMAL", seen.address()),
                    &format!("{}:7000 is now UP", seen.address()),
                ],
            )?;
        }
    }
    if ring.settings.auth {
        wait_for_superuser(ring)?;
    }
    Ok(())
}

/// Starts one node and waits for its port; one that runs already is left alone.
pub fn start(ring: &Ring, n: u8) -> Result<(), String> {
    if is_alive(ring, n) {
        return Ok(());
    }
    let node = ring.settings.node(n)?;
    let permit = super::permit_to_start();
    ring.configure(node)?;
    let folder = ring.node_folder(n);
    let cannot = |e: std::io::Error| format!("cannot create node {n}'s log: {e}");
    let log = File::create(folder.join("logs/stdout.log")).map_err(cannot)?;
    let errors = log.try_clone().map_err(cannot)?;
    let (java, _) = ring.settings.release.java(&ring.shared)?;
    let mut command = Command::new(java);
    if ring.settings.can_be_cut {
        command.gid(partition::group(node));
    }
    let mut child = command
        .args(ring.jvm_arguments(node)?)
        .current_dir(&folder)
        // A Ctrl-C is meant for this program, which ends its nodes in its own way.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("cannot start java: {e}"))?;
    std::fs::write(folder.join("pid"), child.id().to_string())
        .map_err(|e| format!("cannot write node {n}'s pid: {e}"))?;
    drop(permit);
    for _ in 0..START_POLLS_MAX {
        if is_listening(node) {
            println!("node {n}: {}:9042, {}", node.address(), node.datacenter);
            return Ok(());
        }
        // Asked of the child itself: /proc shows no command line for a moment after exec.
        if child.try_wait().map_err(|e| format!("cannot watch node {n}: {e}"))?.is_some() {
            super::yield_to_interruption();
            return Err(format!("node {n} died while starting: {}", last_words(&folder)));
        }
        std::thread::sleep(POLL);
    }
    Err(format!("node {n} did not open its port in three minutes: see {}", folder.join("logs").display()))
}

/// Sends a signal to a node's process.
pub fn signal(ring: &Ring, n: u8, name: &str) -> Result<(), String> {
    ring.settings.node(n)?;
    let pid = pid(ring, n).filter(|_| is_alive(ring, n)).ok_or(format!("node {n} is not running"))?;
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot signal node {n}: {status}")),
        Err(e) => Err(format!("cannot run kill: {e}")),
    }
}

/// Freezes a node's process and waits until it stands still: the signal alone does not stop it at once.
pub fn pause(ring: &Ring, n: u8) -> Result<(), String> {
    signal(ring, n, "STOP")?;
    for _ in 0..END_POLLS_MAX {
        if pid(ring, n).is_none_or(is_stopped) {
            return Ok(());
        }
        std::thread::sleep(POLL / 10);
    }
    Err(format!("node {n} did not stand still"))
}

/// Whether every thread of a process is stopped, as the system says.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.filter_map(Result::ok).all(|thread| {
        let text = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name in parentheses; a thread that has ended meanwhile has none.
        text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

/// Ends a node's process at once and waits until it is gone.
pub fn kill(ring: &Ring, n: u8) -> Result<(), String> {
    end(ring, n, "KILL")
}

/// Has a node say goodbye to the others and to its clients, and waits until its process is gone.
pub fn stop(ring: &Ring, n: u8) -> Result<(), String> {
    end(ring, n, "TERM")
}

fn end(ring: &Ring, n: u8, how: &str) -> Result<(), String> {
    signal(ring, n, how)?;
    let node = ring.settings.node(n)?;
    for _ in 0..END_POLLS_MAX {
        // A dying process loses its command line before its sockets.
        if !is_alive(ring, n) && !is_listening(node) {
            return std::fs::remove_file(ring.node_folder(n).join("pid"))
                .map_err(|e| format!("cannot remove node {n}'s pid: {e}"));
        }
        std::thread::sleep(POLL);
    }
    Err(format!("node {n} did not end in a minute and a half"))
}

/// Ends every node and deletes its data; tries all of them and says what the first failure was.
pub fn down(ring: &Ring) -> Result<(), String> {
    let mut result = if ring.settings.can_be_cut { partition::heal(ring) } else { Ok(()) };
    for node in &ring.settings.nodes {
        let ended = if is_alive(ring, node.number) { kill(ring, node.number) } else { Ok(()) };
        result = result.and(ended);
    }
    result?;
    clear(ring)
}

/// Deletes what nodes have left behind.
pub fn clear(ring: &Ring) -> Result<(), String> {
    let folder = &ring.folder;
    if !folder.exists() {
        return Ok(());
    }
    std::fs::remove_dir_all(folder).map_err(|e| format!("cannot delete {}: {e}", folder.display()))
}

/// Starts one more node and waits until it owns its part of the ring; answers its number.
pub fn add(ring: &mut Ring, datacenter: &str) -> Result<u8, String> {
    let number = ring.settings.grow(datacenter)?;
    let started = requirements::check_ring(ring).and_then(|()| ring.save()).and_then(|()| start(ring, number));
    if started.is_err() {
        ring.settings.nodes.retain(|node| node.number != number);
        ring.save()?;
    }
    started.map(|()| number)
}

/// Has a node hand over its data, ends it, and forgets it.
pub fn decommission(ring: &mut Ring, n: u8) -> Result<(), String> {
    if !is_alive(ring, n) {
        return Err(format!("node {n} is not running: start it first, it has to hand over its data"));
    }
    let said = nodetool(ring, n, &["decommission".to_owned()])?;
    print!("{said}");
    kill(ring, n)?;
    let folder = ring.node_folder(n);
    std::fs::remove_dir_all(&folder).map_err(|e| format!("cannot delete {}: {e}", folder.display()))?;
    ring.settings.nodes.retain(|node| node.number != n);
    ring.save()
}

/// What `nodetool` prints; the error is what it complains about.
pub fn nodetool(ring: &Ring, n: u8, arguments: &[String]) -> Result<String, String> {
    let node = ring.settings.node(n)?;
    let folder = ring.node_folder(n);
    let output = Command::new(release::java_of_tools()?)
        .args(super::configuration::opened_packages())
        .arg(format!("-Dcassandra.config=file://{}", folder.join("conf/cassandra.yaml").display()))
        .arg(format!("-Dcassandra.storagedir={}", folder.display()))
        .arg(format!("-Dlogback.configurationFile={}", folder.join("conf/none.xml").display()))
        .arg("-cp")
        .arg(format!("{}/*", ring.jars().display()))
        .args(["org.apache.cassandra.tools.NodeTool", "-p", &node.jmx_port().to_string()])
        .args(arguments)
        .output()
        .map_err(|e| format!("cannot run nodetool: {e}"))?;
    let said = without_log_lines(&output.stdout);
    if output.status.success() {
        return Ok(said);
    }
    let complaint = format!("{said}{}", without_log_lines(&output.stderr));
    Err(format!("nodetool failed ({}): {}", output.status, complaint.split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn without_log_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let is_noise =
        |line: &str| [" DEBUG ", " INFO ", "WARNING: Unknown module"].iter().any(|noise| line.contains(noise));
    let kept = text.lines().filter(|line| !is_noise(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn pid(ring: &Ring, n: u8) -> Option<u32> {
    std::fs::read_to_string(ring.node_folder(n).join("pid")).ok()?.trim().parse().ok()
}

/// Whether the process of the pid file is still this node (a pid may have been used again by another program).
pub fn is_alive(ring: &Ring, n: u8) -> bool {
    let Some(pid) = pid(ring, n) else { return false };
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let folder = ring.node_folder(n);
    String::from_utf8_lossy(&command_line).contains(&*folder.to_string_lossy())
}

fn is_listening(node: &Node) -> bool {
    let address = SocketAddr::from(([127, 0, 0, node.octet], 9042));
    TcpStream::connect_timeout(&address, POLL).is_ok()
}

fn wait_for_log(ring: &Ring, node: &Node, any: &[&str]) -> Result<(), String> {
    let log = ring.log(node.number);
    for _ in 0..START_POLLS_MAX {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if any.iter().any(|wanted| text.contains(wanted)) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(format!("{:?} did not appear in {}", any.first().unwrap_or(&""), log.display()))
}

/// The role `cassandra` is made a moment after the first port opens, by whichever node comes first.
fn wait_for_superuser(ring: &Ring) -> Result<(), String> {
    for _ in 0..START_POLLS_MAX {
        let made = |node: &Node| {
            let text = std::fs::read_to_string(ring.log(node.number)).unwrap_or_default();
            text.contains("Created default superuser role")
        };
        if ring.settings.nodes.iter().any(made) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err("no node made the role cassandra in three minutes".to_owned())
}

/// The end of what a dead node printed, for the one who has to mend it.
fn last_words(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("logs/stdout.log")).unwrap_or_default();
    // Of an exception: what was thrown, not where.
    let is_telling = |line: &&str| !line.trim().is_empty() && !line.starts_with("\tat ");
    let lines: Vec<&str> = text.lines().filter(is_telling).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join(" | ");
    format!("{last} (see {})", folder.join("logs").display())
}
