//! The command line of Helenus: `cargo xtask sim | serve | cassandra | clients | bench | tidy | ci`.
//!
//! Exit codes are those of [`exit`]; every refusal is one sentence on standard error that says what to do.

mod bench;
mod cassandra;
mod ci;
mod clients;
mod exit;
mod serve;
mod sim;
mod tidy;

use clap::{Parser, Subcommand};
use exit::Exit;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A simulated run is mostly small short-lived allocations: a fifth of its time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deterministic simulation of Cassandra clusters, and what is built with it.
#[derive(Parser)]
#[command(name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the driver against simulated clusters under faults, from seeds; replay and shrink what fails.
    Sim(sim::arguments::SimArguments),
    /// Serve a simulated cluster on loopback TCP (127.0.0.1, .2, .3 …) for any Cassandra client.
    Serve(serve::ServeArguments),
    /// Start, stop and break a real Cassandra (needs a JDK 17 and Maven).
    Cassandra(cassandra::Arguments),
    /// Run programs of other drivers on the simulated and on a real cluster, and compare what they see.
    Clients(clients::ClientsArguments),
    /// Measure what requests, rows and sessions cost, beside other drivers.
    Bench(bench::BenchArguments),
    /// Check the house rules: floors, headers, lengths, reasons for dependencies.
    Tidy,
    /// Everything that must hold before a change lands.
    Ci,
}

fn main() -> ExitCode {
    let root = workspace_root();
    let exit = match Cli::parse().command {
        Command::Sim(arguments) => sim::run(&root, &arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Cassandra(arguments) => Exit::of(cassandra::run(&root, &arguments)),
        Command::Clients(arguments) => clients::run(&root, &arguments),
        Command::Bench(arguments) => bench::run(&root, &arguments),
        Command::Tidy => tidy(&root),
        Command::Ci => Exit::of(ci::run(&root)),
    };
    ExitCode::from(exit.code())
}

fn tidy(root: &Path) -> Exit {
    match tidy::check(root) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: nothing to mend");
            Exit::Pass
        }
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            exit::refuse(&format!("tidy: {} to mend", findings.len()), Exit::Failed)
        }
        Err(sentence) => exit::refuse(&sentence, Exit::Failed),
    }
}

fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
