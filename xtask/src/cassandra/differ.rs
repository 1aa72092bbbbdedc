//! `cargo xtask cassandra differ`: generated scripts in both worlds, and the smallest script of what differs.

use super::record::{Real, with_cassandra};
use super::release::Release;
use sim_tests::corpus::{self, Judged, Verdict, generate, judge_blocks, run_script, simulated};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use tokio::runtime::Runtime;

/// Which seeds, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct DifferArguments {
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Shrink this many disagreements; of the other seeds the first one is printed as it is.
    #[arg(long, default_value_t = 5)]
    show: usize,
    /// A Cassandra that runs already, instead of one that is started for this. All its keyspaces are dropped.
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Option<SocketAddr>,
}

/// Runs the seeds; the error is a sentence for the user.
pub fn run(root: &Path, first: u8, arguments: &DifferArguments) -> Result<(), String> {
    with_cassandra(root, first, Release::default(), arguments.at, |address| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot start a runtime: {e}"))?;
        Worlds { runtime, address }.run(arguments)
    })
}

struct Worlds {
    runtime: Runtime,
    address: SocketAddr,
}

impl Worlds {
    fn run(&self, arguments: &DifferArguments) -> Result<(), String> {
        let (mut all, mut wrong_seeds) = (Vec::new(), Vec::new());
        for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
            let script = generate::script(seed);
            let judged = self.judged(&script)?;
            if let Some(first) = judged.iter().find(|statement| statement.verdict == Verdict::Wrong) {
                wrong_seeds.push(seed);
                if wrong_seeds.len() <= arguments.show {
                    self.show(seed, &judged, first)?;
                } else {
                    // As it stands in the script of its seed.
                    println!("{first}");
                }
            }
            all.extend(judged);
        }
        print!("{}", by_kind(&all));
        match wrong_seeds.is_empty() {
            true => Ok(()),
            false => Err(format!("the worlds differ for the seeds {wrong_seeds:?}")),
        }
    }

    fn judged(&self, script: &corpus::Script) -> Result<Vec<Judged>, String> {
        let path = script.path();
        let real =
            self.runtime.block_on(run_script(&Real(self.address), script)).map_err(|e| format!("{path}: {e}"))?;
        // The simulated world has a runtime of its own, on this thread.
        let simulated =
            simulated::run(script, corpus::RELEASES[0]).map_err(|sentence| format!("{path}: {sentence}"))?;
        Ok(judge_blocks(script, real, simulated))
    }

    /// Leaves out statement after statement before the wrong one, as long as its two answers still differ.
    fn show(&self, seed: u64, judged: &[Judged], first: &Judged) -> Result<(), String> {
        let text = |statement: &Judged| statement.statement.join("\n").trim_end_matches(';').to_string();
        let end = judged.iter().position(|statement| statement.line == first.line).unwrap_or(judged.len() - 1);
        let mut kept: Vec<String> = judged[..=end].iter().map(text).collect();
        let mut smallest = first.clone();
        let mut at = kept.len() - 1;
        while at > 0 {
            at -= 1;
            let mut fewer = kept.clone();
            fewer.remove(at);
            let judged = self.judged(&generate::from_statements(seed, &fewer))?;
            if let Some(last) = judged.last().filter(|last| last.verdict == Verdict::Wrong) {
                smallest = last.clone();
                kept = fewer;
            }
        }
        println!("-- Found by `cargo xtask cassandra differ --from {seed} --seeds 1`.");
        for statement in &kept {
            println!("{statement};");
        }
        println!("{smallest}");
        Ok(())
    }
}

/// Statements by their first word and verdict.
fn by_kind(judged: &[Judged]) -> String {
    let mut kinds: corpus::Counts = BTreeMap::new();
    for statement in judged {
        let cql = statement.statement.iter().find(|line| !line.starts_with("--@"));
        let kind = cql.and_then(|line| line.split_whitespace().next()).unwrap_or("?");
        let renamed = Judged { script: format!("{kind}/"), ..statement.clone() };
        for (kind, count) in corpus::count(&[renamed]) {
            let sum = kinds.entry(kind).or_default();
            sum.statements += count.statements;
            sum.agrees += count.agrees;
            sum.not_modelled += count.not_modelled;
            sum.follows += count.follows;
            sum.fails += count.fails;
            sum.wrong += count.wrong;
        }
    }
    corpus::table(&kinds)
}
