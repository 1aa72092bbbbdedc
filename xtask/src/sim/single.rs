//! One run: from a seed or a plan file, told in full, shrunk if it fails.

use super::{exit_of, exit_of_seed_error, parse_seed, replay_flags};
use crate::exit::{Exit, refuse};
use crate::sim::arguments::SimArguments;
use sim_tests::run::run_plan_traced;
use sim_tests::{Plan, Profile, RunOutcome, shrink};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs that shrinking may spend.
const SHRINK_RUNS_MAX: u32 = 3_000;

/// Runs it and reports.
pub fn run(root: &Path, arguments: &SimArguments, profile: Profile) -> Exit {
    let (plan, replay) = match load(arguments, profile) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let outcome = if arguments.trace { run_plan_traced(&plan) } else { sim_tests::run_plan(&plan) };
    if arguments.json {
        println!("{}", json(&plan, &outcome));
        return exit_of(outcome.outcome);
    }
    if arguments.trace {
        for line in &outcome.trace {
            println!("{line}");
        }
    }
    summarise(&plan, &outcome);
    if outcome.failures.is_empty() {
        return Exit::Pass;
    }
    tell_failure(&outcome);
    println!("\nreplay: cargo xtask sim {replay}{}", replay_flags(arguments));
    if !arguments.no_shrink && arguments.seed.is_some() {
        println!("\n{}", shrink_to_file(root, arguments, &plan, outcome.clone()));
    }
    exit_of(outcome.outcome)
}

fn load(arguments: &SimArguments, profile: Profile) -> Result<(Plan, String), Exit> {
    if let Some(text) = &arguments.seed {
        let seed = parse_seed(text, profile).map_err(|e| exit_of_seed_error(&e))?;
        let plan = Plan::generate(seed).map_err(|e| exit_of_seed_error(&e))?;
        return Ok((plan, format!("--seed {seed}")));
    }
    let path = arguments.plan.clone().unwrap_or_default();
    let text = fs::read_to_string(&path)
        .map_err(|e| refuse(&format!("cannot read the plan {}: {e}", path.display()), Exit::Usage))?;
    let plan = Plan::parse(&text).map_err(|e| refuse(&format!("{}: {e}", path.display()), Exit::Usage))?;
    Ok((plan, format!("--plan {}", path.display())))
}

fn summarise(plan: &Plan, outcome: &RunOutcome) {
    println!(
        "{}: {}, trace {}, {} nodes, {} operations, {} faults, {:.1} s simulated",
        plan.seed,
        outcome.outcome.name(),
        outcome.trace_hash,
        plan.nodes(),
        plan.operations.len(),
        plan.faults.len(),
        outcome.simulated.as_secs_f64()
    );
}

/// Failures and story of a run.
pub fn tell_failure(outcome: &RunOutcome) {
    for failure in &outcome.failures {
        println!("{} ({}) at {} ms: {}", failure.checker, failure.class.name(), failure.at_ms, failure.message);
    }
    if !outcome.story.is_empty() {
        println!("\nwhat led to it:");
    }
    for line in &outcome.story {
        println!("  {line}");
    }
}

/// Shrinks a failing plan, writes it under the report folder, and says what it needs and how to replay it.
pub fn shrink_to_file(root: &Path, arguments: &SimArguments, plan: &Plan, outcome: RunOutcome) -> String {
    let shrunk = shrink(plan, outcome, SHRINK_RUNS_MAX, &|| false);
    let checker = shrunk.outcome.signature().unwrap_or_default();
    let file = arguments.report.join(format!("{}-{checker}.toml", plan.seed));
    let path = if file.is_absolute() { file.clone() } else { root.join(&file) };
    let needs = format!(
        "shrunk in {} runs to {} operations and {} faults on {} nodes",
        shrunk.runs,
        shrunk.plan.operations.len(),
        shrunk.plan.faults.len(),
        shrunk.plan.nodes()
    );
    match write(&path, &shrunk.plan.to_toml()) {
        Ok(()) => format!("{needs}\nreplay: cargo xtask sim --plan {}{}", file.display(), replay_flags(arguments)),
        Err(e) => format!("{needs}; it could not be kept: {e}\n\n{}", shrunk.plan.to_toml()),
    }
}

fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    let problem = |e| format!("cannot write {}: {e}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(problem)?;
    }
    fs::write(path, text).map_err(problem)
}

/// One object, with the fields of a campaign for this one run, and what only a single run has.
fn json(plan: &Plan, outcome: &RunOutcome) -> serde_json::Value {
    serde_json::json!({
        "seed": plan.seed.to_string(),
        "outcome": outcome.outcome.name(),
        "trace_hash": outcome.trace_hash,
        "seeds": 1,
        "failures": outcome.failures,
        "simulated_seconds": outcome.simulated.as_secs_f64(),
        "calls": outcome.calls,
        "faults": outcome.faults,
        "marks_hit": outcome.marks.len(),
        "marks_total": sim_tests::marks::MARKS.len(),
        "marks": outcome.marks,
        "checkers": sim_tests::checkers::ids(),
        "story": outcome.story,
    })
}
