//! `--check-determinism`: the same seeds in two processes under deliberately different conditions.
//!
//! What differs: environment (size, time zone, locale), working directory, number of threads and so the order and
//! company in which seeds run; address space layout and hash keys differ between processes by themselves.

use crate::exit::{Exit, refuse};
use crate::sim::arguments::SimArguments;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Seeds compared when the command line does not say how many.
const SEEDS_DEFAULT: u64 = 100;

/// Compares; tells the first seeds that differ.
pub fn check(root: &Path, arguments: &SimArguments) -> Exit {
    let (first, second) = match (hashes(root, arguments, false), hashes(root, arguments, true)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(sentence), _) | (_, Err(sentence)) => return refuse(&sentence, Exit::SimulatorFault),
    };
    let different: Vec<&String> = first.keys().filter(|seed| first.get(*seed) != second.get(*seed)).collect();
    if first.is_empty() || first.len() != second.len() {
        return refuse(
            &format!("the two processes ran {} and {} seeds: they must run the same", first.len(), second.len()),
            Exit::SimulatorFault,
        );
    }
    if different.is_empty() {
        println!("{} seeds ran twice in two processes: the same trace hashes", first.len());
        return Exit::Pass;
    }
    println!("{} of {} seeds gave two traces:", different.len(), first.len());
    for seed in different.iter().take(10) {
        println!("  {seed}  {}  {}", first[*seed], second.get(*seed).map_or("-", String::as_str));
    }
    println!("compare two traces of one seed: cargo xtask sim --seed {} --trace", different[0]);
    Exit::Nondeterminism
}

/// `SEED TRACE_HASH` of every run of a child process.
fn hashes(root: &Path, arguments: &SimArguments, other_conditions: bool) -> Result<BTreeMap<String, String>, String> {
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let mut command = Command::new(program);
    command.args(["sim", "--hashes", "--profile", &arguments.profile, "--base", &arguments.base.to_string()]);
    match &arguments.seed {
        Some(seed) => command.args(["--seed", seed]),
        None => command.args(["--seeds", &arguments.seeds.unwrap_or(SEEDS_DEFAULT).to_string()]),
    };
    if other_conditions {
        command.env_clear().env("TZ", "Pacific/Auckland").env("LC_ALL", "tr_TR.UTF-8");
        command.env("FILLER", "x".repeat(10_000)).current_dir(root.join("driver")).args(["--jobs", "1"]);
    } else {
        command.current_dir(root);
    }
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run this program again: {e}"))?;
    if !output.status.success() {
        return Err(format!("a run for comparison failed: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|l| l.split_once(' ')).map(|(seed, hash)| (seed.into(), hash.into())).collect())
}
