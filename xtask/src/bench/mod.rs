//! `cargo xtask bench`: what a request, a row and a session cost, beside other drivers in the same run.
//!
//! The clients of `bench/`, a workspace of its own, run against a stub server that spends as little as it can, so that
//! the client is what is measured. Rounds are interleaved and the median counts: other work on the machine then hits
//! all clients alike. Client and stub have a core each; instructions and allocations are counted by valgrind, as the
//! difference of two lengths of run, so that start-up cancels out.

mod costs;
mod counts;
mod machine;
mod programs;
mod table;

use crate::exit::{Exit, refuse};
use costs::Costs;
use programs::Programs;
use std::path::Path;

/// What to compare and how thoroughly.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArguments {
    /// The drivers to compare with. `scylla` is what the ratios of the table refer to.
    #[arg(long, value_delimiter = ',', default_value = "scylla", value_parser = ["scylla", "cdrs"])]
    vs: Vec<String>,
    /// Also run `shape`, 200 lines that do only what every asynchronous driver must: the limit.
    #[arg(long)]
    limits: bool,
    /// Few short rounds: shows whether something changed much, proves nothing.
    #[arg(long)]
    quick: bool,
    /// Rounds whose median is taken. Default: 5, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Run only workloads whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Leave out what valgrind counts, which takes most of the time.
    #[arg(long)]
    no_counts: bool,
    /// Build without whole-program optimisation: fast to build, not for publishing.
    #[arg(long)]
    iterate: bool,
    /// The stub server's port on 127.0.0.1 (and 127.0.x.y when it poses as many nodes).
    #[arg(long, default_value_t = 19042, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
}

/// Something a client does that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Name in the table.
    pub title: &'static str,
    /// Word on the client's command line.
    pub word: &'static str,
    /// Requests in flight.
    pub concurrency: u32,
    /// How much to do in a full run; a quick one does a fifth of requests.
    pub count: u64,
    /// The cluster that the stub poses as.
    pub cluster: Cluster,
}

/// The cluster that the stub poses as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// One node, two tables.
    Small,
    /// 300 nodes with 256 tokens each and 502 tables; only the contact point can be reached.
    LargeOneUp,
    /// The same, and all nodes can be reached.
    LargeAllUp,
}

const fn requests(title: &'static str, word: &'static str, concurrency: u32, count: u64) -> Workload {
    Workload { title, word, concurrency, count, cluster: Cluster::Small }
}

const fn once(title: &'static str, word: &'static str, count: u64, cluster: Cluster) -> Workload {
    Workload { title, word, concurrency: 1, count, cluster }
}

const WORKLOADS: [Workload; 13] = [
    requests("INSERT, 1 in flight", "insert", 1, 30_000),
    requests("INSERT, 64 in flight", "insert", 64, 500_000),
    requests("INSERT, 1024 in flight", "insert", 1024, 500_000),
    requests("SELECT, 1 in flight", "select", 1, 30_000),
    requests("SELECT, 64 in flight", "select", 64, 500_000),
    requests("SELECT, 1024 in flight", "select", 1024, 500_000),
    once("scan, owned rows", "scan", 1, Cluster::Small),
    once("scan, borrowed rows", "scan-borrowed", 1, Cluster::Small),
    once("connect, 300 nodes, 1 up", "connect", 1, Cluster::LargeOneUp),
    once("connect, 300 nodes up", "connect", 1, Cluster::LargeAllUp),
    once("another session, 300 nodes, 1 up", "idle", 3, Cluster::LargeOneUp),
    once("another session, 300 nodes up", "idle", 3, Cluster::LargeAllUp),
    once("another session, 1 node", "idle", 20, Cluster::Small),
];

/// Builds, measures, prints the table.
pub fn run(root: &Path, arguments: &BenchArguments) -> Exit {
    match measure(root, arguments) {
        Ok(()) => Exit::Pass,
        Err(sentence) => refuse(&sentence, Exit::Failed),
    }
}

fn measure(root: &Path, arguments: &BenchArguments) -> Result<(), String> {
    let programs = Programs::build(root, arguments)?;
    let workloads = chosen(arguments)?;
    let mut costs = Costs::default();
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 });
    for round in 1..=rounds {
        for cluster in [Cluster::Small, Cluster::LargeOneUp, Cluster::LargeAllUp] {
            let here: Vec<_> = workloads.iter().filter(|workload| workload.cluster == cluster).collect();
            if here.is_empty() {
                continue;
            }
            let stub = programs.stub(cluster)?;
            for workload in here {
                eprintln!("round {round} of {rounds}: {}", workload.title);
                let count = if arguments.quick && workload.count >= 1000 { workload.count / 5 } else { workload.count };
                for client in programs.clients_for(workload) {
                    costs.add(client, workload, programs.run(client, workload, count)?);
                }
            }
            drop(stub);
        }
    }
    let counts = match arguments.no_counts {
        true => Err("not asked for".to_owned()),
        false => counts::available(),
    };
    if counts.is_ok() {
        let stub = programs.stub(Cluster::Small)?;
        for workload in workloads.iter().filter(|workload| counts::is_counted(workload, arguments.quick)) {
            for client in programs.clients_for(workload) {
                eprintln!("valgrind: {} of {client}", workload.title);
                costs.add_counts(client, workload, counts::count(&programs, client, workload)?);
            }
        }
        drop(stub);
    }
    let command = std::iter::once("cargo xtask bench".to_owned()).chain(std::env::args().skip(2));
    println!("`{}`\n", command.collect::<Vec<_>>().join(" "));
    println!("{}\n", machine::describe(&programs, rounds, counts.err().as_deref()));
    println!("{}", table::markdown(&costs, &workloads, &programs.clients()));
    Ok(())
}

fn chosen(arguments: &BenchArguments) -> Result<Vec<Workload>, String> {
    let only = arguments.only.as_deref().unwrap_or_default();
    let chosen: Vec<_> = WORKLOADS.into_iter().filter(|workload| workload.title.contains(only)).collect();
    if chosen.is_empty() {
        let titles: Vec<_> = WORKLOADS.iter().map(|workload| workload.title).collect();
        return Err(format!("no workload contains `{only}`; there are: {}", titles.join("; ")));
    }
    Ok(chosen)
}
