//! The results as Markdown.

use super::costs::{Costs, Report};
use super::programs::HELENUS;
use super::{Cluster, Workload};

/// The driver that ratios refer to.
const REFERENCE: &str = "scylla";

/// One line of the table: something counted for every client.
struct Line {
    label: String,
    unit: &'static str,
    /// Fraction digits.
    digits: usize,
    values: Vec<Option<f64>>,
}

/// A table with one line per figure and one column per client, and how ours compares with [`REFERENCE`].
pub fn markdown(costs: &Costs, workloads: &[Workload], clients: &[&str]) -> String {
    let ours = clients.iter().position(|client| *client == HELENUS);
    let reference = clients.iter().position(|client| *client == REFERENCE);
    let mut text = format!("| | unit | {} | helenus / {REFERENCE} |\n|---|---|", clients.join(" | "));
    text.push_str(&"---:|".repeat(clients.len() + 1));
    for line in lines(costs, workloads, clients) {
        let show = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format(value, line.digits));
        let values: Vec<String> = line.values.iter().map(show).collect();
        let of = |position: Option<usize>| position.and_then(|position| line.values[position]);
        let ratio = match (of(ours), of(reference)) {
            (Some(ours), Some(reference)) if reference > 0.0 => format!("{:.2}", ours / reference),
            _ => "–".to_owned(),
        };
        text.push_str(&format!("\n| {} | {} | {} | {ratio} |", line.label, line.unit, values.join(" | ")));
    }
    text
}

fn lines(costs: &Costs, workloads: &[Workload], clients: &[&str]) -> Vec<Line> {
    let mut lines = Vec::new();
    for workload in workloads {
        let mut add = |what: &str, unit, digits, field: &dyn Fn(&str) -> Option<f64>| {
            let values: Vec<_> = clients.iter().map(|client| field(client)).collect();
            if values.iter().any(Option::is_some) {
                lines.push(Line { label: format!("{}: {what}", workload.title), unit, digits, values });
            }
        };
        let median =
            |client: &str, field: &dyn Fn(&Report) -> f64| costs.median(client, workload, |report| Some(field(report)));
        match workload.word {
            "insert" | "select" => {
                add("CPU per request", "µs", 2, &|client| median(client, &|report| report.cpu_us));
                add("requests per second", "1/s", 0, &|client| median(client, &|report| report.per_second));
                add("latency, median", "µs", 0, &|client| median(client, &|report| report.p50_us));
                add("latency, 99th percentile", "µs", 0, &|client| median(client, &|report| report.p99_us));
                add("user instructions", "per request", 0, &|client| {
                    costs.counts(client, workload).map(|counts| counts.instructions)
                });
                add("allocations", "per request", 2, &|client| {
                    costs.counts(client, workload).map(|counts| counts.allocations)
                });
            }
            "scan" | "scan-borrowed" => {
                add("rows per CPU second", "million", 2, &|client| median(client, &|report| 1.0 / report.cpu_us));
            }
            "connect" => add("CPU", "ms", 1, &|client| median(client, &|report| report.cpu_us / 1e3)),
            _ => {
                let (unit, scale) = if workload.cluster == Cluster::Small { ("KiB", 1.0) } else { ("MiB", 1024.0) };
                add("memory", unit, 1, &|client| {
                    costs.median(client, workload, |report| report.kib_per_session.map(|kib| kib / scale))
                });
            }
        }
    }
    lines
}

/// A number with thousands separated.
fn format(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 && digit != '-' {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::WORKLOADS;
    use crate::bench::costs::Counts;

    #[test]
    fn every_figure_has_a_line_with_its_ratio() {
        let workload = WORKLOADS[1];
        let mut costs = Costs::default();
        for (client, cpu_us) in [("helenus", 1.0), ("scylla", 4.0)] {
            costs.add(client, &workload, Report { cpu_us, per_second: 1e6, ..Report::default() });
        }
        costs.add_counts("helenus", &workload, Counts { instructions: 4321.4, allocations: 2.0 });

        let text = markdown(&costs, &[workload], &["helenus", "scylla"]);

        assert!(text.contains("| INSERT, 64 in flight: CPU per request | µs | 1.00 | 4.00 | 0.25 |"), "{text}");
        assert!(text.contains("| 1,000,000 | 1,000,000 | 1.00 |"), "{text}");
        assert!(text.contains("| INSERT, 64 in flight: user instructions | per request | 4,321 | – | – |"), "{text}");
        assert_eq!(text.lines().count(), 2 + 6);
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(format(1_234_567.0, 0), "1,234,567");
        assert_eq!(format(123.456, 2), "123.46");
        assert_eq!(format(1234.5, 1), "1,234.5");
    }
}
