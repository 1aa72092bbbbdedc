//! The simulated cluster against the recorded table of what a coordinator answers under faults.

use sim_tests::suite::distributed::TEST;
use sim_tests::suite::simulated::{Verdict, run};

#[test]
fn every_level_answers_under_every_fault_as_a_real_ring_does() {
    assert_eq!(run(&TEST), Verdict::Passed);
}
