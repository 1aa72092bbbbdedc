//! `cargo xtask cassandra record`: runs the corpus on a real Cassandra and writes its answers beside the scripts.

use super::release::Release;
use super::ring::Settings;
use super::stand_up;
use sim_tests::corpus::client::Stream;
use sim_tests::corpus::{self, Connecting, Entry, World, golden, run_script};
use std::net::SocketAddr;
use std::path::Path;

/// Which scripts, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct RecordArguments {
    /// Only scripts whose `category/name` contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// A Cassandra that runs already, instead of one that is started for this. All its keyspaces are dropped.
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
    at: Option<SocketAddr>,
    work: impl FnOnce(SocketAddr) -> Result<(), String>,
) -> Result<(), String> {
    let Some(address) = at else {
        super::requirements()?;
        let _ring = stand_up(root, first, Settings::new(Release::default(), 1, 1, first))?;
        return work(SocketAddr::from(([127, 0, 0, first], 9042)));
    };
    work(address)
}

/// Records; the error is a sentence for the user.
pub fn run(root: &Path, first: u8, arguments: &RecordArguments) -> Result<(), String> {
    let entries = corpus::load(&corpus::folder(), &arguments.filter)?;
    with_cassandra(root, first, arguments.at, |address| record_all(address, &entries, arguments.check))
}

fn record_all(address: SocketAddr, entries: &[Entry], is_check: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start a runtime: {e}"))?;
    let (mut statements, mut changed) = (0, Vec::new());
    for entry in entries {
        let path = entry.script.path();
        let blocks = runtime.block_on(run_script(&Real(address), &entry.script)).map_err(|e| format!("{path}: {e}"))?;
        statements += blocks.len();
        let text = golden::to_text(&format!("Apache Cassandra {}", super::RELEASE), &blocks);
        if std::fs::read_to_string(&entry.golden).is_ok_and(|known| known == text) {
            continue;
        }
        changed.push(path);
        if !is_check {
            write(&entry.golden, &text)?;
        }
    }
    println!("{} scripts, {statements} statements, {} golden files differ", entries.len(), changed.len());
    match is_check && !changed.is_empty() {
        true => Err(format!("these scripts were answered differently: {}", changed.join(", "))),
        false => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
