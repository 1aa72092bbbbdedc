//! The flags of `cargo xtask sim`.

use std::path::PathBuf;
use std::time::Duration;

/// Runs the songs-and-playlists application on the driver against simulated clusters under faults.
///
/// Without flags: about a minute of fresh seeds on all cores. Exit codes: 0 pass, 2 usage, 10 safety, 11 liveness,
/// 12 panic, 13 leak, 14 marks missing, 15 nondeterminism, 16 simulator fault, 17 seed of another generator version.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct SimArguments {
    /// How many seeds to run.
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "plan"], value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// How long to run fresh seeds: `90s`, `10m`, `2h`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, conflicts_with_all = ["seed", "plan", "seeds"])]
    pub duration: Option<Duration>,
    /// Stop at the first seed that fails; without --seeds or --for: run until one does.
    #[arg(long, conflicts_with_all = ["seed", "plan"])]
    pub until_fail: bool,
    /// The kind of cluster, load and faults.
    #[arg(long, value_name = "NAME", default_value = "quick")]
    pub profile: String,
    /// Threads; each runs one seed at a time. Default: all cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// The first seed of a campaign; the others follow from it.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub base: u64,
    /// Run one seed and tell its story: `g3-quick-00000000000004d2`, or a number with --profile.
    #[arg(long, value_name = "SEED", conflicts_with = "plan")]
    pub seed: Option<String>,
    /// Run one plan file.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Do not shrink what fails.
    #[arg(long)]
    pub no_shrink: bool,
    /// Run each seed in two processes under different conditions and compare the trace hashes.
    #[arg(long, conflicts_with = "plan")]
    pub check_determinism: bool,
    /// Plant one of the known bugs in the driver (`--mutant list` names them).
    #[arg(long, value_name = "ID")]
    pub mutant: Option<String>,
    /// Exit 0 if something failed and 1 if nothing did: for planted bugs.
    #[arg(long, requires = "mutant")]
    pub expect_failure: bool,
    /// Where plans of failures and the report go.
    #[arg(long, value_name = "DIR", default_value = "target/sim")]
    pub report: PathBuf,
    /// With --seed or --plan: print the trace, one line per event.
    #[arg(long)]
    pub trace: bool,
    /// Print one JSON object on standard output instead of text.
    #[arg(long)]
    pub json: bool,
    /// Print only `SEED TRACE_HASH` lines (what --check-determinism compares).
    #[arg(long, hide = true)]
    pub hashes: bool,
}

/// Parses `90s`, `10m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("`{text}` is no time: write 90s, 10m or 2h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(problem)?;
    let number: u64 = number.parse().map_err(|_| problem())?;
    let seconds = match unit {
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => None,
    };
    // A year bounds what a mistyped number can cost.
    let seconds = seconds.filter(|s| (1..=31_536_000).contains(s)).ok_or_else(problem)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "10", "-1s", "0s", "10x", "99999999999999999999h", "9999999h", "é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
