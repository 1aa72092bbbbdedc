//! Fresh seeds pass, in any number of threads, and always in the same way.

use sim_tests::{Campaign, CampaignReport, Plan, Profile, Seed, run_plan};
use std::sync::atomic::AtomicBool;

fn run(campaign: &Campaign) -> CampaignReport {
    campaign.run(&|_| {}, &AtomicBool::new(false))
}

/// Fails with what a person needs to replay each failing run.
fn expect_no_failures(report: &CampaignReport) {
    let mut text = String::new();
    for run in &report.failures {
        text.push_str(&format!("{}: {} (replay: cargo xtask sim --seed {})\n", run.seed, run.outcome, run.seed));
        for failure in &run.failures {
            text.push_str(&format!("  {} at {} ms: {}\n", failure.checker, failure.at_ms, failure.message));
        }
        text.push_str(&run.story.join("\n"));
        text.push('\n');
    }
    assert_eq!(report.failed, 0, "{text}");
}

#[test]
fn quick_seeds_pass() {
    let report = run(&Campaign { base: 1, seeds: Some(60), jobs: 2, ..Campaign::default() });
    expect_no_failures(&report);
    assert_eq!(report.seeds, 60);
    assert!(report.calls > 1_000, "{} calls", report.calls);
    assert!(report.marks_hit > report.marks_total / 2, "marks: {:?}", report.marks);
}

#[test]
fn chaos_seeds_pass() {
    let report = run(&Campaign { profile: Profile::Chaos, base: 1, seeds: Some(12), jobs: 2, ..Campaign::default() });
    expect_no_failures(&report);
}

#[test]
fn topology_seeds_pass() {
    let campaign = Campaign { profile: Profile::Topology, base: 1, seeds: Some(6), jobs: 2, ..Campaign::default() };
    expect_no_failures(&run(&campaign));
}

#[test]
fn lwt_seeds_pass() {
    let campaign = Campaign { profile: Profile::Lwt, base: 1, seeds: Some(6), jobs: 2, ..Campaign::default() };
    expect_no_failures(&run(&campaign));
}

#[test]
fn seeds_of_hours_of_many_nodes_and_of_many_sessions_pass() {
    for (profile, seeds) in [(Profile::Soak, 2), (Profile::Wide, 2), (Profile::Fleet, 1)] {
        let report = run(&Campaign { profile, base: 1, seeds: Some(seeds), jobs: 2, ..Campaign::default() });
        expect_no_failures(&report);
        assert_eq!(report.seeds, seeds, "{profile}");
    }
}

#[test]
fn the_same_plan_has_the_same_trace_hash_every_time_and_on_every_thread() {
    for index in 0..6 {
        let profile = if index % 2 == 0 { Profile::Quick } else { Profile::Chaos };
        let plan = Plan::generate(Seed::derive(profile, 2, index)).expect("a supported profile");
        let here = run_plan(&plan);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| run_plan(&plan)).join()).expect("no panic");
        assert_eq!(here.trace_hash, elsewhere.trace_hash, "{}", plan.seed);
        assert_eq!(here.failures, elsewhere.failures, "{}", plan.seed);
    }
}

#[test]
fn different_seeds_have_different_trace_hashes() {
    let hash = |bits| run_plan(&Plan::generate(Seed::new(Profile::Quick, bits)).expect("quick")).trace_hash;
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_stop_flag_ends_a_campaign_with_the_results_so_far() {
    let stop = AtomicBool::new(false);
    let campaign = Campaign { seeds: None, ..Campaign::default() };
    let report = campaign.run(&|progress| stop.store(progress.seeds >= 2, std::sync::atomic::Ordering::Relaxed), &stop);
    assert!(report.interrupted);
    assert_eq!(report.seeds, 2);
}
