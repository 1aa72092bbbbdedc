//! The simulated cluster against the recorded table of the events that clients receive.

use sim_tests::suite::events::TEST;
use sim_tests::suite::simulated::{Verdict, run};

#[test]
fn clients_are_told_of_nodes_and_schema_as_by_a_real_ring() {
    assert_eq!(run(&TEST), Verdict::Passed);
}
