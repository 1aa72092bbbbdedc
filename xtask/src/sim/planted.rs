//! `--mutant ID`: planted bugs are compiled into the driver only in a build of their own.

use crate::exit::{Exit, refuse};
use std::path::Path;
use std::process::Command;

/// Runs this very command line in a build of this program that has the planted bugs.
///
/// The build has a folder of its own, so that switching back and forth compiles nothing twice.
pub fn run_in_a_build_with_planted_bugs(root: &Path) -> Exit {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "xtask", "--features", "mutants"])
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target").join("mutants"))
        .arg("--")
        .args(std::env::args_os().skip(1))
        .status();
    match status {
        Ok(status) => status.code().and_then(Exit::from_code).unwrap_or(Exit::Failed),
        Err(e) => refuse(&format!("cannot run cargo to build the planted bugs: {e}"), Exit::Failed),
    }
}
