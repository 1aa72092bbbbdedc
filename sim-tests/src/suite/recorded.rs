//! Tables of what real rings were seen to do, kept as text: a line per cell with every outcome that was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Outcomes by cell: what is asked, of whom, and what is wrong with the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    cells: BTreeMap<String, BTreeSet<String>>,
}

impl Table {
    /// Reads what [`Table::text`] writes.
    ///
    /// # Errors
    ///
    /// A sentence with the line that is no cell.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut table = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (cell, outcomes) = line.split_once(" = ").ok_or_else(|| format!("`{line}` is no cell"))?;
            table.cells.insert(cell.to_owned(), outcomes.split(" | ").map(str::to_owned).collect());
        }
        Ok(table)
    }

    /// One line per cell, in order, after a comment.
    #[must_use]
    pub fn text(&self, heading: &str) -> String {
        let mut text = format!("# {heading}\n");
        for (cell, outcomes) in &self.cells {
            let outcomes: Vec<&str> = outcomes.iter().map(String::as_str).collect();
            let _ = writeln!(text, "{cell} = {}", outcomes.join(" | ")); // Cannot fail.
        }
        text
    }

    /// Adds an outcome of a cell.
    pub fn add(&mut self, cell: String, outcome: String) {
        self.cells.entry(cell).or_default().insert(outcome);
    }

    /// Adds what another measurement saw.
    pub fn merge(&mut self, other: Self) {
        for (cell, outcomes) in other.cells {
            self.cells.entry(cell).or_default().extend(outcomes);
        }
    }

    /// All cells with their outcomes, in order.
    pub fn cells(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.cells.iter().map(|(cell, outcomes)| (&**cell, outcomes))
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The cells of `measured` whose outcome is none of those recorded here and is not excused, and those that only one
    /// of both has.
    #[must_use]
    pub fn differences(&self, measured: &Self, is_excused: impl Fn(&str, &BTreeSet<String>) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        for (cell, outcomes) in &measured.cells {
            match self.cells.get(cell) {
                None => found.push(format!("{cell} is not recorded; measured {outcomes:?}")),
                Some(recorded) if !outcomes.is_subset(recorded) && !is_excused(cell, outcomes) => {
                    found.push(format!("{cell} is {outcomes:?}, recorded {recorded:?}"));
                }
                Some(_) => {}
            }
        }
        let missing = self.cells.keys().filter(|cell| !measured.cells.contains_key(*cell));
        found.extend(missing.map(|cell| format!("{cell} was not measured")));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let text = "whole, 1 replicas, [1], read, ONE = ReadTimeout, 0 of 1, without data | ok\n";
        let table = Table::parse(text).unwrap();
        assert_eq!(Table::parse(&table.text("heading")).unwrap(), table);
        assert_eq!(table.cells.values().next().unwrap().len(), 2);
    }

    #[test]
    fn only_outcomes_that_were_not_recorded_are_differences() {
        let recorded = Table::parse("a = ok | late\nb = ok\n").unwrap();
        let measured = Table::parse("a = late\nb = late\nc = ok\n").unwrap();
        let differences = recorded.differences(&measured, |_, _| false);
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences[0].starts_with("b is "), "{differences:?}");
        assert!(differences[1].starts_with("c is not recorded"), "{differences:?}");
        assert_eq!(recorded.differences(&measured, |cell, _| cell == "b").len(), 1);
    }
}
