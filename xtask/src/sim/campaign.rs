//! Many seeds: progress while they run, a summary at the end, and for a failure the command that replays it.

use super::{exit_of, replay_flags, single};
use crate::exit::{Exit, refuse};
use crate::sim::arguments::SimArguments;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sim_tests::{Campaign, CampaignReport, Plan, Profile, Progress, Seed, run_plan};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a campaign runs when no flag says otherwise.
const TIME_DEFAULT: Duration = Duration::from_secs(60);
/// How often progress is told where there is no terminal to redraw a line on.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// From this many seeds on a rare state that was never reached is a failure of the campaign. The rarest one is reached
/// in about one of 600 quick runs, so that chance misses it once in 4,000 such campaigns.
const MARKS_NEED_SEEDS: u64 = 5_000;
/// Failures that are told; the report holds the rest.
const FAILURES_TOLD: usize = 5;

/// Runs a campaign and reports.
pub fn run(root: &Path, arguments: &SimArguments, profile: Profile) -> Exit {
    let campaign = campaign(arguments, profile);
    let stop = Arc::new(AtomicBool::new(false));
    let stop_on_interrupt = stop.clone();
    let handled = ctrlc::set_handler(move || {
        // A second Ctrl-C means it.
        if stop_on_interrupt.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    if let Err(e) = handled {
        eprintln!("Ctrl-C will lose the results: {e}");
    }
    let display = Display::new(&campaign, arguments.json);
    let report = campaign.run(&|progress| display.show(progress), &stop);
    display.clear();
    if arguments.json {
        return match serde_json::to_string(&report) {
            Ok(text) => {
                println!("{text}");
                exit_of_report(&report)
            }
            Err(e) => refuse(&format!("cannot write the report: {e}"), Exit::SimulatorFault),
        };
    }
    summarise(&report, profile);
    tell_failures(root, arguments, &report);
    exit_of_report(&report)
}

/// `SEED TRACE_HASH` of every seed, in order of seeds.
pub fn print_hashes(arguments: &SimArguments, profile: Profile) -> Exit {
    if let Some(text) = &arguments.seed {
        return match super::parse_seed(text, profile).and_then(Plan::generate) {
            Ok(plan) => {
                println!("{} {}", plan.seed, run_plan(&plan).trace_hash);
                Exit::Pass
            }
            Err(e) => super::exit_of_seed_error(&e),
        };
    }
    let campaign = campaign(arguments, profile);
    let count = campaign.seeds.unwrap_or(1);
    let next = AtomicU64::new(0);
    let hashes: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let seed = Seed::derive(profile, campaign.base, index);
            let Ok(plan) = Plan::generate(seed) else { return };
            let line = format!("{seed} {}", run_plan(&plan).trace_hash);
            hashes.lock().unwrap_or_else(PoisonError::into_inner).push((index, line));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..campaign.jobs {
            scope.spawn(work);
        }
        work();
    });
    let mut hashes = hashes.into_inner().unwrap_or_else(PoisonError::into_inner);
    hashes.sort();
    for (_, line) in hashes {
        println!("{line}");
    }
    Exit::Pass
}

fn campaign(arguments: &SimArguments, profile: Profile) -> Campaign {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_bounded = arguments.seeds.is_some() || arguments.until_fail || arguments.hashes;
    Campaign {
        profile,
        base: arguments.base,
        seeds: arguments.seeds,
        time: arguments.duration.or((!is_bounded).then_some(TIME_DEFAULT)),
        until_fail: arguments.until_fail,
        jobs: arguments.jobs.map_or(cores, usize::from),
        ..Campaign::default()
    }
}

fn exit_of_report(report: &CampaignReport) -> Exit {
    let is_long = report.seeds >= MARKS_NEED_SEEDS && !report.interrupted;
    if report.failed == 0 && is_long && report.marks_hit < report.marks_total {
        return Exit::MarksMissing;
    }
    u8::try_from(report.exit_code()).ok().and_then(|code| Exit::from_code(code.into())).unwrap_or(Exit::SimulatorFault)
}

fn summarise(report: &CampaignReport, profile: Profile) {
    let rate = |amount: f64| amount / report.wall_seconds.max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "shown to one decimal")]
    let seeds = report.seeds as f64;
    println!(
        "{} {profile} seeds in {:.1} s ({:.0} seeds/s, {:.0} simulated seconds per second){}",
        report.seeds,
        report.wall_seconds,
        rate(seeds),
        rate(report.simulated_seconds),
        if report.interrupted { ", interrupted" } else { "" }
    );
    println!("{} calls of the application; faults: {}", report.calls, counts(&report.faults));
    let missing: Vec<&str> =
        report.marks.iter().filter(|(_, hits)| **hits == 0).map(|(mark, _)| mark.as_str()).collect();
    println!(
        "{} of {} rare states reached{}",
        report.marks_hit,
        report.marks_total,
        if missing.is_empty() { String::new() } else { format!("; not: {}", missing.join(", ")) }
    );
    println!("checkers: {}", report.checkers.join(" "));
    println!("failures: {}", report.failed);
}

fn counts(map: &std::collections::BTreeMap<String, u64>) -> String {
    if map.is_empty() {
        return "none".into();
    }
    map.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

fn tell_failures(root: &Path, arguments: &SimArguments, report: &CampaignReport) {
    if report.failed == 0 {
        return;
    }
    println!("by checker: {}", counts(&report.failures_by_checker));
    for failed in report.failures.iter().take(FAILURES_TOLD) {
        let Some(first) = failed.failures.first() else { continue };
        println!("\n{} {} ({}): {}", failed.seed, first.checker, failed.outcome, first.message);
        println!("replay: cargo xtask sim --seed {}{}", failed.seed, replay_flags(arguments));
    }
    // The first failure is told in full and shrunk; the others have their commands.
    let Some(plan) = report.failures.first().and_then(|f| f.seed.parse().ok()).and_then(|s| Plan::generate(s).ok())
    else {
        return;
    };
    println!();
    let outcome = run_plan(&plan);
    if exit_of(outcome.outcome) == Exit::Pass {
        println!("{} failed in the campaign and passes alone: it is not deterministic", plan.seed);
        println!("compare: cargo xtask sim --seed {} --check-determinism{}", plan.seed, replay_flags(arguments));
        return;
    }
    single::tell_failure(&outcome);
    if !arguments.no_shrink {
        println!("\n{}", single::shrink_to_file(root, arguments, &plan, outcome));
    }
}

/// A redrawn line on a terminal, a line now and then elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
    started: Instant,
    is_silent: bool,
}

impl Display {
    #[expect(clippy::disallowed_methods, reason = "progress is shown in real time")]
    fn new(campaign: &Campaign, is_silent: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && !is_silent;
        let bar = is_terminal.then(|| {
            let bar = match campaign.seeds {
                Some(seeds) => ProgressBar::new(seeds),
                None => ProgressBar::new_spinner(),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let template = if campaign.seeds.is_some() { "{bar:30} {msg}" } else { "{spinner} {msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Self { bar, last_line: Mutex::new(now), started: now, is_silent }
    }

    #[expect(clippy::disallowed_methods, reason = "progress is shown in real time")]
    fn show(&self, progress: Progress) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.seeds);
            bar.set_message(self.line(progress));
            return;
        }
        let mut last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_silent && last_line.elapsed() >= LINE_EVERY {
            *last_line = Instant::now();
            eprintln!("{}", self.line(progress));
        }
    }

    fn line(&self, progress: Progress) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
        let rate = progress.seeds as f64 / seconds.max(0.001);
        format!(
            "{} seeds  {:.1} simulated hours  {rate:.0} seeds/s  {}/{} marks  {} failures  {:02}:{:02}",
            progress.seeds,
            progress.simulated_seconds / 3600.0,
            progress.marks_hit,
            sim_tests::marks::MARKS.len(),
            progress.failures,
            self.started.elapsed().as_secs() / 60,
            self.started.elapsed().as_secs() % 60
        )
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
