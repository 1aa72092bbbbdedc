//! The suite in the simulated world: every test a test of its own, as `cargo test` lists and filters them.

use libtest_mimic::{Arguments, Trial};
use sim_tests::suite::simulated::{Verdict, run};
use sim_tests::suite::{self, Test};
use std::process::ExitCode;

fn main() -> ExitCode {
    let trials = suite::all().into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(test: Test) -> Trial {
    Trial::test(test.path(), move || match run(&test) {
        Verdict::Passed => Ok(()),
        Verdict::Skipped(reason) => {
            println!("{} is skipped: {reason}", test.path());
            Ok(())
        }
        Verdict::Failed(text) => Err(text.into()),
    })
}
