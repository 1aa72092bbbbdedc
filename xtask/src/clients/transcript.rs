//! What a client printed, without what differs by nature, and where two of them part.

use super::toolchain::Client;
use std::path::Path;

/// A client's output, masked.
#[derive(Debug, PartialEq, Eq)]
pub struct Transcript {
    lines: Vec<String>,
}

impl Transcript {
    /// Masks what differs from run to run, by the client that printed it.
    pub fn of(client: Client, output: &str) -> Self {
        let lines = output.lines().map(str::trim_end);
        let lines = match client {
            Client::Cqlsh => masked_cqlsh(lines),
            Client::Java | Client::Python => lines.map(str::to_string).collect(),
        };
        Self { lines }
    }

    /// Keeps it for a person to look at.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        std::fs::write(path, self.lines.join("\n") + "\n").map_err(|e| format!("cannot write {}: {e}", path.display()))
    }

    /// The first line in which the other one differs.
    pub fn difference(&self, real: &Self) -> Option<String> {
        let count = self.lines.len().max(real.lines.len());
        let shown = |lines: &[String], n: usize| lines.get(n).map_or("nothing".to_string(), |line| format!("`{line}`"));
        (0..count).find(|n| self.lines.get(*n) != real.lines.get(*n)).map(|n| {
            format!(
                "line {} is {} on the simulated cluster and {} on the real one",
                n + 1,
                shown(&self.lines, n),
                shown(&real.lines, n)
            )
        })
    }
}

/// Masks trace ids, the table of trace events (which threads did what, and when) and the speed of COPY.
fn masked_cqlsh<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut masked = Vec::new();
    let mut in_trace = false;
    for line in lines {
        if line.starts_with("Tracing session: ") {
            masked.push("Tracing session: <id>".to_string());
        } else if line.trim_start().starts_with("activity ") {
            masked.push("<events of the trace>".to_string());
            in_trace = true;
        } else if in_trace && (line.contains('|') || line.starts_with("---")) {
            // Masked with the rest of the table.
        } else if line.starts_with("Processed: ") {
            masked.push("<progress of COPY>".to_string());
        } else if let Some((count, _)) = line.split_once(" files in ") {
            masked.push(format!("{count} files in <time>"));
        } else {
            in_trace = false;
            masked.push(line.to_string());
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACED: &str = "Tracing session: 350de780-e572-11f1-a805-5bbc90511d8f\n\n activity | timestamp | source\n\
        ----+----\n Execute CQL3 query | 2026 | 127.0.0.1\n\n7 rows exported to 1 files in 0.081 seconds.\n a | b\n";

    #[test]
    fn a_trace_is_masked_and_the_table_after_it_is_not() {
        let transcript = Transcript::of(Client::Cqlsh, TRACED);
        let expected = [
            "Tracing session: <id>",
            "",
            "<events of the trace>",
            "",
            "7 rows exported to 1 files in <time>",
            " a | b",
        ];
        assert_eq!(transcript.lines, expected);
    }

    #[test]
    fn the_first_different_line_is_named() {
        let one = Transcript::of(Client::Java, "same\nhere\n");
        let other = Transcript::of(Client::Java, "same\nthere\nand more\n");
        let difference = one.difference(&other).unwrap();
        assert!(difference.starts_with("line 2 is `here` on the simulated"), "{difference}");
        assert_eq!(one.difference(&one), None);
    }

    #[test]
    fn a_missing_line_is_a_difference() {
        let one = Transcript::of(Client::Python, "same");
        let other = Transcript::of(Client::Python, "same\nmore");
        assert_eq!(
            one.difference(&other).unwrap(),
            "line 2 is nothing on the simulated cluster and `more` on the real one"
        );
    }
}
