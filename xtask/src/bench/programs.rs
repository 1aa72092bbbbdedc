//! The programs of `bench/`: built once, run on their cores.

use super::costs::Report;
use super::{BenchArguments, Cluster, Workload};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The client every run has.
pub const HELENUS: &str = "helenus";

/// Nodes of the large cluster.
const NODES: u64 = 300;

/// Rows of the table that is scanned.
const SCAN_ROWS: u64 = 1_000_000;

/// The built programs.
pub struct Programs {
    folder: PathBuf,
    clients: Vec<String>,
    port: u16,
    /// Words before a program that pin it to a core, if the system can do that.
    can_pin: bool,
    /// Whether real-time priority keeps other work off the core.
    can_prioritise: bool,
}

impl Programs {
    /// Builds the stub and the clients asked for.
    pub fn build(root: &Path, arguments: &BenchArguments) -> Result<Self, String> {
        let mut clients = vec![HELENUS.to_owned()];
        clients.extend(arguments.vs.iter().cloned());
        let mut packages = vec!["stub".to_owned()];
        packages.extend(clients.iter().map(|client| format!("{client}-client")));
        if arguments.limits {
            clients.push("shape".to_owned());
            packages.push("limits".to_owned());
        }
        let profile = if arguments.iterate { "iterate" } else { "release" };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(root.join("bench")).args(["build", "--locked", "--profile", profile]);
        for package in &packages {
            command.args(["-p", package]);
        }
        let status = command.status().map_err(|e| format!("cannot run cargo: {e}"))?;
        if !status.success() {
            return Err("the programs of bench/ cannot be built; see cargo's output above".to_owned());
        }
        let works = |words: &[&str]| {
            let result = Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status();
            result.is_ok_and(|status| status.success())
        };
        let can_pin = works(&["taskset", "-c", "1", "true"]);
        let can_prioritise = works(&["chrt", "-f", "20", "true"]);
        let folder = root.join("bench/target").join(profile);
        Ok(Self { folder, clients, port: arguments.port, can_pin, can_prioritise })
    }

    /// Names of all clients, ours first.
    pub fn clients(&self) -> Vec<&str> {
        self.clients.iter().map(String::as_str).collect()
    }

    /// The clients that can do `workload`.
    pub fn clients_for(&self, workload: &Workload) -> Vec<&str> {
        let can = |client: &str| match client {
            "shape" => matches!(workload.word, "insert" | "select"),
            "cdrs" => workload.word != "scan-borrowed",
            _ => true,
        };
        self.clients().into_iter().filter(|client| can(client)).collect()
    }

    /// How programs were kept apart, as a sentence.
    pub fn isolation(&self) -> &'static str {
        match (self.can_pin, self.can_prioritise) {
            (true, true) => "Client pinned to core 0, stub to core 1, both with real-time priority.",
            (true, false) => "Client pinned to core 0, stub to core 1, without real-time priority.",
            (false, _) => "Client and stub share all cores: `taskset` cannot pin them here.",
        }
    }

    /// Starts the stub, posing as `cluster`.
    pub fn stub(&self, cluster: Cluster) -> Result<Stub, String> {
        let mut command = self.pinned("stub", 1, &[]);
        command.args(["--port", &self.port.to_string(), "--rows", &SCAN_ROWS.to_string()]);
        if cluster != Cluster::Small {
            command.args(["--nodes", &NODES.to_string(), "--vnodes", "256", "--tables", "500"]);
        }
        if cluster == Cluster::LargeAllUp {
            command.arg("--all-nodes");
        }
        let mut process =
            command.stdout(Stdio::piped()).spawn().map_err(|e| format!("cannot start the stub server: {e}"))?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("the stub server has no output")?;
        // Owned by the stub from here on: it is stopped on every way out.
        let stub = Stub { process };
        BufReader::new(output).read_line(&mut line).map_err(|e| format!("the stub server says nothing: {e}"))?;
        if !line.starts_with("ready") {
            return Err(format!("the stub server did not start: is port {} free on 127.0.0.1?", self.port));
        }
        Ok(stub)
    }

    /// Runs a client once and returns what it reports.
    pub fn run(&self, client: &str, workload: &Workload, count: u64) -> Result<Report, String> {
        let mut command = self.client(client, workload, count, &[]);
        let output = command.output().map_err(|e| format!("cannot run {client}: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{client} failed at {}: {}", workload.title, said.lines().next().unwrap_or("no word")));
        }
        let report: Report =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("{client} reports no costs: {e}"))?;
        let is_whole = match workload.word {
            "scan" | "scan-borrowed" => report.count == SCAN_ROWS,
            "connect" => report.nodes == Some(NODES),
            _ => report.count == count,
        };
        // A client that does less than the others would look cheap.
        if !is_whole {
            return Err(format!("{client} did only a part of {}: {report:?}", workload.title));
        }
        Ok(report)
    }

    /// The command that runs `client` on its core, behind `wrapper` if that has words.
    pub fn client(&self, client: &str, workload: &Workload, count: u64, wrapper: &[&str]) -> Command {
        let name = if client == "shape" { client.to_owned() } else { format!("{client}-client") };
        let mut command = self.pinned(&name, 0, wrapper);
        command.args([workload.word, "--conc", &workload.concurrency.to_string(), "--n", &count.to_string()]);
        command.args(["--addr", &format!("127.0.0.1:{}", self.port)]);
        command
    }

    fn pinned(&self, name: &str, core: u32, wrapper: &[&str]) -> Command {
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if self.can_prioritise {
            words.extend(["chrt", "-f", "20"].map(Into::into));
        }
        if self.can_pin {
            words.extend(["taskset", "-c", &core.to_string()].map(Into::into));
        }
        words.extend(wrapper.iter().map(Into::into));
        words.push(self.folder.join(name).into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A running stub server; stopped when dropped.
pub struct Stub {
    process: Child,
}

impl Drop for Stub {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
