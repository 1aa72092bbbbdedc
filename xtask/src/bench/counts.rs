//! Instructions and allocations per operation, counted by valgrind.

use super::Workload;
use super::costs::Counts;
use super::programs::Programs;
use std::process::{Command, Stdio};

/// The two lengths of run whose difference is taken.
const SHORT: u64 = 4_000;
const LONG: u64 = 24_000;

/// Whether valgrind is there; if not, why the columns stay empty.
pub fn available() -> Result<(), String> {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err("valgrind is not installed".to_owned()),
    }
}

/// Requests are counted at 64 in flight, unless in a hurry for INSERT only.
pub fn is_counted(workload: &Workload, is_quick: bool) -> bool {
    workload.concurrency == 64 && (workload.word == "insert" || !is_quick)
}

/// Counts what one more operation costs.
pub fn count(programs: &Programs, client: &str, workload: &Workload) -> Result<Counts, String> {
    let callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let memcheck = ["valgrind", "--tool=memcheck", "--leak-check=no"];
    let per_operation = |wrapper: &[&str], label: &str| {
        let total = |count| {
            let mut command = programs.client(client, workload, count, wrapper);
            let output = command.arg("--no-warm").output().map_err(|e| format!("cannot run valgrind: {e}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            number_after(&said, label).ok_or_else(|| format!("valgrind did not count {client}: {said}"))
        };
        Ok::<f64, String>((total(LONG)? - total(SHORT)?) / (LONG - SHORT) as f64)
    };
    Ok(Counts {
        instructions: per_operation(&callgrind, "Collected :")?,
        allocations: per_operation(&memcheck, "total heap usage:")?,
    })
}

/// The number behind `label`, written with or without thousands separators.
fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.split_once(label)?.1;
    let digits: String =
        rest.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found_in_what_valgrind_says() {
        assert_eq!(number_after("==1== Collected : 123456\n", "Collected :"), Some(123_456.0));
        let heap = "==1==   total heap usage: 1,402,118 allocs, 1,401,995 frees, 3 bytes allocated";
        assert_eq!(number_after(heap, "total heap usage:"), Some(1_402_118.0));
        assert_eq!(number_after("nothing", "Collected :"), None);
    }
}
