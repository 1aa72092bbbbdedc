//! `cargo xtask cassandra`: a real Apache Cassandra ring from its published jars, on 127.0.0.1, .2, .3 …
//!
//! Needs a JDK 17 and Maven, nothing else. The state lives under `target/cassandra`; only processes started from
//! there are ever signalled.

mod compare;
mod configuration;
mod processes;
mod record;

use configuration::Ring;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to do with the ring.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Download the jars (about 70 MB, once) and start the nodes one after the other.
    Up {
        /// How many nodes, 1 to 6.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=6))]
        nodes: u8,
    },
    /// Start a node that was killed, with the data it had.
    Start {
        /// Its number, from 1.
        node: u8,
    },
    /// End a node at once (SIGKILL); its data stay.
    Kill {
        /// Its number, from 1.
        node: u8,
    },
    /// Freeze a node (SIGSTOP): its sockets stay open, it answers nothing.
    Pause {
        /// Its number, from 1.
        node: u8,
    },
    /// Let a frozen node go on (SIGCONT).
    Resume {
        /// Its number, from 1.
        node: u8,
    },
    /// Print the path of a node's log.
    Log {
        /// Its number, from 1.
        node: u8,
    },
    /// End every node and delete their data (the jars stay).
    Down,
    /// Start three nodes, run the driver against them while one is killed and started again, and end them.
    Test,
    /// Run the corpus on a real Cassandra and write its answers beside the scripts.
    Record(record::RecordArguments),
    /// Hold the simulated cluster to the recorded answers; needs no Cassandra.
    Compare(compare::CompareArguments),
    /// Say whether this machine can run Cassandra, and if not, what is missing.
    Check,
}

/// The release that is run.
pub const RELEASE: &str = "5.0.8";

/// Carries out one action; the error is a sentence for the user.
pub fn run(root: &Path, action: &Action) -> Result<(), String> {
    let ring = Ring { folder: root.join("target").join("cassandra") };
    match action {
        Action::Check => requirements().map(|java| println!("Cassandra {RELEASE} can run here ({java})")),
        Action::Up { nodes } => {
            requirements()?;
            ring.fetch()?;
            processes::up(&ring, *nodes)
        }
        Action::Start { node } => processes::start(&ring, *node),
        Action::Kill { node } => processes::signal_and_wait(&ring, *node, "KILL"),
        Action::Pause { node } => processes::signal(&ring, *node, "STOP"),
        Action::Resume { node } => processes::signal(&ring, *node, "CONT"),
        Action::Log { node } => {
            println!("{}", ring.node(*node).join("logs").join("system.log").display());
            Ok(())
        }
        Action::Down => processes::down(&ring),
        Action::Test => test(root, &ring),
        Action::Record(arguments) => record::run(&ring, arguments),
        Action::Compare(arguments) => compare::run(arguments),
    }
}

/// The JDK's version line, or a sentence that says what is missing.
pub fn requirements() -> Result<String, String> {
    let version = output_of("java", &["-version"])
        .ok_or("no `java` found: install a JDK 17 (Cassandra 5.0 runs on it) or skip what needs a real Cassandra")?;
    let line = version.lines().next().unwrap_or_default().to_string();
    if !line.contains("\"17") {
        return Err(format!(
            "Cassandra {RELEASE} needs a JDK 17, but `java -version` says {line}: put a JDK 17 first in PATH"
        ));
    }
    output_of("mvn", &["-version"]).ok_or("no `mvn` found: install Maven, which downloads Cassandra's jars")?;
    Ok(line)
}

/// What a program prints, if it is here and succeeds.
pub fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// The driver against a real ring of three: the songs application runs on while one node is killed and started again.
fn test(root: &Path, ring: &Ring) -> Result<(), String> {
    requirements()?;
    ring.fetch()?;
    let result = (|| {
        processes::up(ring, 3)?;
        let mut songs = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root)
            .args([
                "run",
                "--quiet",
                "--release",
                "-p",
                "helenus",
                "--example",
                "songs",
                "--",
                "127.0.0.1",
                "--for",
                "30",
            ])
            .spawn()
            .map_err(|e| format!("cannot start the songs example: {e}"))?;
        std::thread::sleep(std::time::Duration::from_secs(8));
        processes::signal_and_wait(ring, 2, "KILL")?;
        println!("node 2 is killed");
        std::thread::sleep(std::time::Duration::from_secs(4));
        processes::start(ring, 2)?;
        let status = songs.wait().map_err(|e| format!("cannot wait for the songs example: {e}"))?;
        if status.success() { Ok(()) } else { Err(format!("the songs example failed: {status}")) }
    })();
    let ended = processes::down(ring);
    result.and(ended)
}

/// Where a child of this module keeps its files.
fn ensure_folder(path: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
    Ok(path.to_path_buf())
}
