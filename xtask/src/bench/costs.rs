//! What was measured, by client and workload.

use super::Workload;
use std::collections::BTreeMap;

/// The report of one run of a client.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub struct Report {
    /// Processor time of user and kernel together, in microseconds per operation.
    pub cpu_us: f64,
    /// Operations per second.
    pub per_second: f64,
    /// Median latency, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the latency, in microseconds.
    pub p99_us: f64,
    /// Resident memory of each further session; workload `idle` only.
    pub kib_per_session: Option<f64>,
    /// Nodes known after connecting; workload `connect` only.
    pub nodes: Option<u64>,
    /// Operations done.
    pub count: u64,
}

/// What valgrind counted, per operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Instructions in user space.
    pub instructions: f64,
    /// Calls of the allocator that give memory.
    pub allocations: f64,
}

/// All reports and counts of a run.
#[derive(Debug, Default)]
pub struct Costs {
    reports: BTreeMap<(String, &'static str), Vec<Report>>,
    counts: BTreeMap<(String, &'static str), Counts>,
}

impl Costs {
    /// Adds the report of one round.
    pub fn add(&mut self, client: &str, workload: &Workload, report: Report) {
        self.reports.entry((client.to_owned(), workload.title)).or_default().push(report);
    }

    /// Adds what valgrind counted.
    pub fn add_counts(&mut self, client: &str, workload: &Workload, counts: Counts) {
        self.counts.insert((client.to_owned(), workload.title), counts);
    }

    /// Median over the rounds of what `field` picks; `None` if the client did not run or has no such figure.
    pub fn median(&self, client: &str, workload: &Workload, field: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        let reports = self.reports.get(&(client.to_owned(), workload.title))?;
        let mut values: Vec<f64> = reports.iter().filter_map(field).collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some(f64::midpoint(*lower, *upper))
    }

    /// What valgrind counted.
    pub fn counts(&self, client: &str, workload: &Workload) -> Option<Counts> {
        self.counts.get(&(client.to_owned(), workload.title)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::WORKLOADS;

    #[test]
    fn the_median_is_the_middle_round_or_the_mean_of_the_middle_two() {
        let workload = &WORKLOADS[0];
        let mut costs = Costs::default();
        let cpu = |costs: &Costs| costs.median("helenus", workload, |report| Some(report.cpu_us));
        assert_eq!(cpu(&costs), None);
        for cpu_us in [9.0, 1.0, 3.0] {
            costs.add("helenus", workload, Report { cpu_us, ..Report::default() });
        }
        assert_eq!(cpu(&costs), Some(3.0));
        costs.add("helenus", workload, Report { cpu_us: 5.0, ..Report::default() });
        assert_eq!(cpu(&costs), Some(4.0));
        assert_eq!(costs.median("helenus", workload, |report| report.kib_per_session), None);
    }
}
