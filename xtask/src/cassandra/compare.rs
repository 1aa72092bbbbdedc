//! `cargo xtask cassandra compare`: holds the simulated cluster to the recorded answers; needs no Cassandra.

use sim_tests::corpus::{self, Verdict};

/// Which scripts, and what to print.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArguments {
    /// Only scripts whose `category/name` contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// Print also what is not modelled, with the answers of both.
    #[arg(long)]
    verbose: bool,
    /// Keep the counts as those that must not become worse (only without a filter).
    #[arg(long, conflicts_with = "filter")]
    update: bool,
}

/// Compares; the error is a sentence for the user.
pub fn run(arguments: &CompareArguments) -> Result<(), String> {
    let entries = corpus::load_all(&corpus::folder(), &arguments.filter)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let judged = corpus::compare(&entries, threads)?;
    for statement in &judged {
        match statement.verdict {
            Verdict::Wrong => println!("WRONG {statement}"),
            Verdict::NotModelled if arguments.verbose => println!("not modelled {statement}"),
            Verdict::Follows if arguments.verbose => println!("follows from what is not modelled {statement}"),
            Verdict::Fails if arguments.verbose => println!("Cassandra fails {statement}"),
            Verdict::Agrees | Verdict::NotModelled | Verdict::Follows | Verdict::Fails => {}
        }
    }
    let counts = corpus::count(&judged);
    print!("{}", corpus::table(&counts));
    if arguments.update {
        let path = corpus::folder().join("agreement.toml");
        return std::fs::write(&path, corpus::counts_text(&counts))
            .map_err(|e| format!("cannot write {}: {e}", path.display()));
    }
    match judged.iter().filter(|statement| statement.verdict == Verdict::Wrong).count() {
        0 => Ok(()),
        wrong => Err(format!("{wrong} answers are wrong")),
    }
}
