//! `cargo xtask cassandra record`: runs the corpus on a real Cassandra and writes its answers beside the scripts.

use super::release::Release;
use super::ring::Settings;
use super::stand_up;
use sim_tests::corpus::client::Stream;
use sim_tests::corpus::{self, Connecting, Entry, World, frames, golden, run_script, tokens};
use std::net::SocketAddr;
use std::path::Path;

/// Which scripts, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct RecordArguments {
    /// Only scripts whose `category/name` contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// The release to record: the whole corpus from 5.0, from others what differs by release.
    #[arg(long, value_enum, default_value = "5.0")]
    release: Release,
    /// A Cassandra of that release that runs already, instead of one that is started for this. All its keyspaces are
    /// dropped.
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Option<SocketAddr>,
    /// Change nothing; fail if an answer differs from the recorded one.
    #[arg(long)]
    check: bool,
}

/// A real node.
pub struct Real(pub SocketAddr);

impl World for Real {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move { Ok(Box::new(tokio::net::TcpStream::connect(self.0).await?) as Box<dyn Stream>) })
    }
}

/// Does something with a Cassandra that runs already, or with one node that is started for it and ended afterwards.
pub fn with_cassandra(
    root: &Path,
    first: u8,
    release: Release,
    at: Option<SocketAddr>,
    work: impl FnOnce(SocketAddr) -> Result<(), String>,
) -> Result<(), String> {
    let Some(address) = at else {
        super::requirements()?;
        let _ring = stand_up(root, first, Settings::new(release, 1, 1, first))?;
        return work(SocketAddr::from(([127, 0, 0, first], 9042)));
    };
    work(address)
}

/// Records; the error is a sentence for the user.
pub fn run(root: &Path, first: u8, arguments: &RecordArguments) -> Result<(), String> {
    let release = arguments.release;
    let entries = corpus::load(&corpus::folder(), &arguments.filter, release.version())?;
    with_cassandra(root, first, release, arguments.at, |address| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start a runtime: {e}"))?;
        let recorded_from = format!("Apache Cassandra {}", release.version());
        let (world, changed, is_check) = (Real(address), Vec::new(), arguments.check);
        let mut recording = Recording { runtime, world, recorded_from, changed, is_check };
        recording.scripts(&entries)?;
        let is_newest = release == Release::default();
        if is_newest && "tokens".contains(&arguments.filter) {
            recording.tokens()?;
        }
        if is_newest && "frames".contains(&arguments.filter) {
            recording.frames()?;
        }
        recording.verdict()
    })
}

struct Recording {
    runtime: tokio::runtime::Runtime,
    world: Real,
    recorded_from: String,
    changed: Vec<String>,
    is_check: bool,
}

impl Recording {
    fn scripts(&mut self, entries: &[Entry]) -> Result<(), String> {
        let mut statements = 0;
        for entry in entries {
            let path = entry.script.path();
            let blocks = self.runtime.block_on(run_script(&self.world, &entry.script));
            let blocks = blocks.map_err(|e| format!("{path}: {e}"))?;
            statements += blocks.len();
            self.keep(&entry.golden, path, &golden::to_text(&self.recorded_from, &blocks))?;
        }
        println!("{} scripts, {statements} statements", entries.len());
        Ok(())
    }

    fn tokens(&mut self) -> Result<(), String> {
        let mut lines = Vec::new();
        for shape in tokens::shapes() {
            let placed = self.runtime.block_on(tokens::ask(&self.world, &shape, tokens::KEYS));
            lines.push(tokens::line(&shape, &placed.map_err(|e| format!("tokens of {}: {e}", shape.name))?));
        }
        println!("tokens of {} shapes of partition keys", lines.len());
        self.keep(&tokens::file(), "tokens".into(), &tokens::text(&self.recorded_from, &lines))
    }

    fn frames(&mut self) -> Result<(), String> {
        let entries = corpus::load(&corpus::folder(), "", corpus::RELEASES[0])?;
        let is_kept = |entry: &&Entry| frames::SCRIPTS.contains(&entry.script.path().as_str());
        for version in frames::VERSIONS {
            let mut conversations = Vec::new();
            for Entry { script, .. } in entries.iter().filter(is_kept) {
                let recorded = self.runtime.block_on(frames::record(&self.world, script, version));
                conversations.extend(recorded.map_err(|e| format!("frames of {}: {e}", script.path()))?);
            }
            let count: usize = conversations.iter().map(|conversation| conversation.frames.len()).sum();
            println!("{count} frames of protocol v{version}");
            let known = std::fs::read_to_string(frames::file(version)).unwrap_or_default();
            let Some(difference) = frames::difference(&frames::parse(&known)?, &conversations) else { continue };
            println!("v{version}: {difference}");
            let text = frames::text(&self.recorded_from, version, &conversations);
            self.keep(&frames::file(version), format!("frames of v{version}"), &text)?;
        }
        Ok(())
    }

    /// Writes a file if it is to be written and has changed.
    fn keep(&mut self, file: &Path, name: String, text: &str) -> Result<(), String> {
        let known = std::fs::read_to_string(file).unwrap_or_default();
        if known == text {
            return Ok(());
        }
        let first = known.lines().zip(text.lines()).find(|(known, line)| known != line);
        if let Some((known, line)) = first {
            println!("{name}:\n  - {known:.300}\n  + {line:.300}");
        }
        self.changed.push(name);
        match self.is_check {
            true => Ok(()),
            false => std::fs::write(file, text).map_err(|e| format!("cannot write {}: {e}", file.display())),
        }
    }

    fn verdict(self) -> Result<(), String> {
        println!("{} recorded files differ", self.changed.len());
        match self.is_check && !self.changed.is_empty() {
            true => Err(format!("these were answered differently: {}", self.changed.join(", "))),
            false => Ok(()),
        }
    }
}
