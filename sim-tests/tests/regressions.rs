//! Every plan file under `plans/` ends as it says.
//!
//! A regression is a plan, not a seed: it stays what it is when the generator changes.

use sim_tests::{Plan, run_plan};
use std::fs;
use std::path::PathBuf;

fn plans() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut plans: Vec<(String, String)> = fs::read_dir(&folder)
        .expect("the folder of plans")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a readable plan")))
        .collect();
    plans.sort();
    plans
}

#[test]
fn every_regression_plan_ends_as_it_expects() {
    let plans = plans();
    assert!(!plans.is_empty(), "no plan files found");
    let mut problems = Vec::new();
    for (path, text) in plans {
        let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(plan.expect.is_some(), "{path} does not say what it expects");
        let outcome = run_plan(&plan);
        if let Err(problem) = outcome.meets(&plan) {
            problems.push(format!(
                "{path}: {problem}\n  replay: cargo xtask sim --plan {path}\n{}",
                outcome.story.join("\n")
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
