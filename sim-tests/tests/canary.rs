//! The alarm works: with the canary planted every run fails. Alone in its process, because planting is global.

use sim_tests::{Plan, Profile, Seed, mutants, run_plan};

#[test]
fn the_canary_fails_every_run() {
    mutants::plant(Some(mutants::CANARY)).expect("the canary needs no feature");
    let plan = Plan::generate(Seed::new(Profile::Quick, 1)).expect("quick");
    let outcome = run_plan(&plan);
    assert!(outcome.failures.iter().any(|failure| failure.checker == "CANARY"), "{:?}", outcome.failures);
    assert_ne!(outcome.outcome.exit_code(), 0);
}
