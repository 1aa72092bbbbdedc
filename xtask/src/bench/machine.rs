//! The machine and the circumstances of a run, described for readers of the table.

use super::programs::Programs;
use std::process::Command;

/// Some sentences on processor, kernel, compiler and method.
pub fn describe(programs: &Programs, rounds: u32, uncounted: Option<&str>) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let medians = if rounds == 1 { "One round".to_owned() } else { format!("Medians of {rounds} interleaved rounds") };
    let counted = uncounted.map(|reason| format!(" Instructions and allocations are missing: {reason}."));
    format!(
        "{cores} cores of {}, Linux {}, {}. {} Loopback, one connection per node, 100-byte blobs. {medians}.{}",
        processor().unwrap_or_else(|| "an unknown processor".to_owned()),
        said("uname", &["-r"]).unwrap_or_else(|| "of unknown version".to_owned()),
        said("rustc", &["--version"]).unwrap_or_else(|| "unknown compiler".to_owned()),
        programs.isolation(),
        counted.unwrap_or_default(),
    )
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
