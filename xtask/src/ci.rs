//! `cargo xtask ci`: everything that must hold before a change lands, in the order in which it fails fastest.

use crate::cassandra;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// One step: a title and a cargo command line.
struct Step {
    title: &'static str,
    arguments: &'static [&'static str],
    /// Set for the documentation: broken links are errors.
    rustdocflags: Option<&'static str>,
}

const fn step(title: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { title, arguments, rustdocflags: None }
}

const STEPS: &[Step] = &[
    step("formatting", &["fmt", "--all", "--check"]),
    step("house rules", &["xtask", "tidy"]),
    step("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    step("lints with planted bugs", &["clippy", "-p", "xtask", "--features", "mutants", "--", "-D", "warnings"]),
    step("fuzz targets compile", &["check", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--bins"]),
    step("tests", &["test", "--workspace"]),
    Step {
        title: "documentation",
        arguments: &["doc", "--workspace", "--no-deps", "--document-private-items"],
        rustdocflags: Some("-D warnings -A rustdoc::private_intra_doc_links"),
    },
    step("chaos", &["xtask", "sim", "--seeds", "400", "--profile", "quick"]),
    step("more chaos", &["xtask", "sim", "--seeds", "150", "--profile", "chaos"]),
    step("hours", &["xtask", "sim", "--seeds", "20", "--profile", "soak"]),
    step("many nodes", &["xtask", "sim", "--seeds", "20", "--profile", "wide"]),
    step("many sessions", &["xtask", "sim", "--seeds", "10", "--profile", "fleet"]),
    step("determinism", &["xtask", "sim", "--check-determinism", "--seeds", "40"]),
    step("the canary", &["xtask", "sim", "--mutant", "canary", "--seeds", "3", "--expect-failure"]),
];

/// Runs all steps; stops at the first that fails.
#[expect(clippy::disallowed_methods, reason = "the durations of real commands are shown to a person")]
pub fn run(root: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for step in STEPS {
        println!("\n==> {}: cargo {}", step.title, step.arguments.join(" "));
        let started = Instant::now();
        let mut command = Command::new(&cargo);
        command.current_dir(root).args(step.arguments);
        if let Some(flags) = step.rustdocflags {
            command.env("RUSTDOCFLAGS", flags);
        }
        let status = command.status().map_err(|e| format!("cannot run cargo: {e}"))?;
        if !status.success() {
            return Err(format!("{} failed ({status}): cargo {}", step.title, step.arguments.join(" ")));
        }
        println!("==> {} took {:.0} s", step.title, started.elapsed().as_secs_f64());
    }
    real_cassandra(root)
}

/// The driver against a real ring, where one can run.
fn real_cassandra(root: &Path) -> Result<(), String> {
    println!("\n==> a real Cassandra {}", cassandra::RELEASE);
    match cassandra::requirements() {
        Ok(java) => {
            println!("{java}");
            cassandra::run_suite(root)
        }
        Err(missing) => {
            println!("{} tests on a real Cassandra skipped: {missing}", cassandra::suite_len());
            Ok(())
        }
    }
}
