//! The two clusters a client is run on, each of three nodes in one data centre, on 127.0.0.1 to .3.

use crate::cassandra;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// `cargo xtask serve`.
    Simulated,
    /// `cargo xtask cassandra up`.
    Real,
}

/// A running cluster; it ends when this is dropped.
pub struct Cluster {
    /// Every node's port.
    pub port: u16,
    /// The name of its data centre.
    pub datacenter: &'static str,
    /// How many nodes.
    pub nodes: u8,
    running: Running,
}

enum Running {
    Served(Child),
    Ring(Command),
}

const NODES: u8 = 3;
const PORT: u16 = 9042;

impl World {
    /// Its name in messages and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Real => "real",
        }
    }

    /// Whether it can run here; the error is the sentence of what is missing.
    pub fn available(self) -> Result<(), String> {
        match self {
            Self::Simulated => Ok(()),
            Self::Real => cassandra::requirements().map(|_| ()),
        }
    }

    /// Starts it and waits until its nodes accept connections.
    pub fn start(self, root: &Path) -> Result<Cluster, String> {
        match self {
            Self::Simulated => serve(root),
            Self::Real => ring(root),
        }
    }
}

/// This program itself: the clusters are run by its own subcommands, as a user would run them.
fn xtask(root: &Path, arguments: &[&str]) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut command = Command::new(program);
    command.current_dir(root).args(arguments).stdin(Stdio::null());
    Ok(command)
}

fn serve(root: &Path) -> Result<Cluster, String> {
    let nodes = NODES.to_string();
    let mut child = xtask(root, &["serve", "--nodes", &nodes])?
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot start the simulated cluster: {e}"))?;
    let mut announced = String::new();
    if let Some(output) = child.stdout.take() {
        // It says so once it listens; an end of the stream means that it has refused, with its own sentence.
        let _ = BufReader::new(output).read_line(&mut announced);
    }
    let cluster = Cluster { port: PORT, datacenter: "dc1", nodes: NODES, running: Running::Served(child) };
    if announced.is_empty() { Err("the simulated cluster did not start".to_string()) } else { Ok(cluster) }
}

fn ring(root: &Path) -> Result<Cluster, String> {
    let down = xtask(root, &["cassandra", "down"])?;
    let cluster = Cluster { port: PORT, datacenter: "datacenter1", nodes: NODES, running: Running::Ring(down) };
    let status = xtask(root, &["cassandra", "up", "--nodes", &NODES.to_string()])?
        .status()
        .map_err(|e| format!("cannot start the real cluster: {e}"))?;
    if status.success() { Ok(cluster) } else { Err("the real cluster did not start".to_string()) }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Served(child) => {
                // Both fail only for a process that has ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Running::Ring(down) => {
                if !down.status().is_ok_and(|status| status.success()) {
                    eprintln!("the real cluster did not end: `cargo xtask cassandra down` ends it");
                }
            }
        }
    }
}
