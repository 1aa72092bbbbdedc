//! All restrictions of a statement together: missing keys, gaps, and what has to be filtered.

use super::Restriction;
use super::{FILTERING, Facts, Kind, Restrictions, Set, StatementKind, invalid};
use crate::cql::relations::indexes::is_storage_attached;
use crate::protocol::ServerError;
use crate::schema::Index;
use std::ops::Range;
use std::rc::Rc;

impl Restrictions<'_> {
    fn clustering_range(&self) -> Range<usize> {
        let first = self.table.partition_key_len;
        first..first + self.table.clustering_len
    }

    /// Checks everything together.
    ///
    /// # Errors
    ///
    /// As Cassandra: missing keys, what needs filtering, …
    pub fn finish(mut self) -> Result<Facts, ServerError> {
        let is_select = self.context.statement == StatementKind::Select;
        let sets = [&self.key, &self.clustering, &self.others];
        let indexed = sets.map(|set| is_select && set.values().any(|restriction| self.is_indexed(restriction)));
        let has_index = indexed.contains(&true);
        let mut facts = Facts::default();
        let mut filtered: Vec<&Set> = Vec::new();
        self.check_partition_key(has_index, &mut facts)?;
        if facts.uses_index || self.key_needs_filtering() {
            filtered.push(&self.key);
            facts.filtered.extend(self.key.keys());
        }
        self.check_statics()?;
        self.check_clustering(has_index, &mut facts)?;
        facts.uses_index |= facts.is_key_range && indexed[1];
        if facts.uses_index || self.clustering_needs_filtering() {
            filtered.push(&self.clustering);
            facts.filtered.extend(self.filtered_clustering());
            facts.filters_by_tuple = self.clustering.values().any(|r| r.is_multi && r.is_slice());
        }
        if !self.others.is_empty() {
            if !is_select {
                let mut names: Vec<&str> = self.others.keys().map(|index| self.name(*index)).collect();
                names.sort_unstable();
                return Err(invalid(format!("Non PRIMARY KEY columns found in where clause: {} ", names.join(", "))));
            }
            if has_index {
                facts.uses_index = true;
            } else if !self.context.allow_filtering {
                return Err(invalid(FILTERING));
            }
            filtered.push(&self.others);
        }
        facts.has_key = self.token.is_some() || !self.key.is_empty();
        facts.has_key_in = self.key.values().any(|r| matches!(r.kind, Kind::In));
        if facts.uses_index && facts.has_key_in {
            return Err(invalid("Select on indexed columns and with IN clause for the PRIMARY KEY are not supported"));
        }
        facts.needs_filtering = self.filters(&filtered);
        facts.has_clustering = !self.clustering.is_empty();
        facts.has_clustering_in = self.clustering.values().any(|r| matches!(r.kind, Kind::In));
        facts.names_rows = self.token.is_none()
            && self.key.len() == self.table.partition_key_len
            && self.clustering.len() == self.table.clustering_len
            && self.key.values().chain(self.clustering.values()).all(|r| r.is_equality());
        facts.others = self.others.keys().copied().collect();
        facts.filtered.extend(self.others.keys());
        let all = [std::mem::take(&mut self.key), self.clustering, self.others];
        let equal = all.into_iter().flatten().filter(|(_, r)| matches!(r.kind, Kind::Equal));
        facts.equal = equal.map(|(column, _)| column).collect();
        Ok(facts)
    }

    fn key_needs_filtering(&self) -> bool {
        !self.key.is_empty()
            && (self.key.len() < self.table.partition_key_len
                || self.key.values().any(|r| r.is_slice() || r.is_contains()))
    }

    fn check_partition_key(&self, has_index: bool, facts: &mut Facts) -> Result<(), ServerError> {
        let statement = self.context.statement;
        if statement != StatementKind::Select {
            if self.token.is_some() {
                return Err(invalid(format!(
                    "The token function cannot be used in WHERE clauses for {} statements",
                    statement.name()
                )));
            }
            let missing: Vec<&str> = (0..self.table.partition_key_len)
                .filter(|index| !self.key.contains_key(index))
                .map(|index| self.name(index))
                .collect();
            if !missing.is_empty() {
                return Err(invalid(format!("Some partition key parts are missing: {}", missing.join(", "))));
            }
            if self.key.values().any(|r| r.is_slice()) {
                return Err(invalid(format!(
                    "Only EQ and IN relation are supported on the partition key (unless you use the token() function) for {} statements",
                    statement.name()
                )));
            }
            return Ok(());
        }
        if self.token.is_some() {
            facts.is_key_range = true;
        } else if self.key.is_empty() {
            facts.is_key_range = true;
            facts.uses_index = has_index;
        }
        if self.key_needs_filtering() {
            if !self.context.allow_filtering && !has_index {
                return Err(invalid(FILTERING));
            }
            facts.is_key_range = true;
            facts.uses_index = has_index;
        }
        Ok(())
    }

    fn check_statics(&self) -> Result<(), ServerError> {
        if !self.context.only_statics || self.clustering.is_empty() {
            return Ok(());
        }
        match self.context.statement {
            StatementKind::Select => {
                Err(invalid("Cannot restrict clustering columns when selecting only static columns"))
            }
            StatementKind::Update | StatementKind::Delete => Err(invalid(format!(
                "Invalid restrictions on clustering columns since the {} statement modifies only static columns",
                self.context.statement.name()
            ))),
            StatementKind::Insert => Ok(()),
        }
    }

    fn check_clustering(&self, has_index: bool, facts: &mut Facts) -> Result<(), ServerError> {
        let statement = self.context.statement;
        if !statement.allows_ranges_of_rows() {
            if self.clustering.values().any(|r| r.is_slice()) {
                return Err(invalid(format!(
                    "Slice restrictions are not supported on the clustering columns in {} statements",
                    statement.name()
                )));
            }
            let missing: Vec<&str> = self
                .clustering_range()
                .filter(|index| !self.clustering.contains_key(index))
                .map(|index| self.name(index))
                .collect();
            if !self.context.only_statics && !missing.is_empty() {
                return Err(invalid(format!("Some clustering keys are missing: {}", missing.join(", "))));
            }
            return Ok(());
        }
        if self.clustering.values().any(|r| r.is_contains()) && !has_index && !self.context.allow_filtering {
            return Err(invalid(
                "Clustering columns can only be restricted with CONTAINS with a secondary index or filtering",
            ));
        }
        if self.clustering.is_empty() || !self.clustering_needs_filtering() {
            return Ok(());
        }
        if has_index {
            facts.uses_index = true;
        } else if !self.context.allow_filtering {
            for (restricted, expected) in self.clustering.keys().zip(self.clustering_range()) {
                if *restricted != expected {
                    return Err(invalid(format!(
                        "PRIMARY KEY column \"{}\" cannot be restricted as preceding column \"{}\" is not restricted",
                        self.name(*restricted),
                        self.name(expected)
                    )));
                }
            }
        }
        Ok(())
    }

    fn clustering_needs_filtering(&self) -> bool {
        !self.behind_a_gap().is_empty()
    }

    /// Restrictions on clustering columns that make no slices, since a column before them has no value.
    fn behind_a_gap(&self) -> Vec<&Rc<Restriction>> {
        let mut expected = self.table.partition_key_len;
        let mut found = Vec::new();
        for restriction in distinct(&self.clustering) {
            if restriction.is_contains() || restriction.columns[0] != expected {
                found.push(restriction);
            } else if !restriction.is_slice() {
                expected = restriction.columns.last().map_or(expected, |last| last + 1);
            }
        }
        found
    }

    /// The clustering columns that rows are filtered by, if they are: an index filters by bounds as well.
    fn filtered_clustering(&self) -> Vec<usize> {
        let indexed = distinct(&self.clustering).filter(|r| r.is_slice() && self.is_indexed(r));
        self.behind_a_gap().into_iter().chain(indexed).flat_map(|r| r.columns.iter().copied()).collect()
    }

    /// Whether restrictions remain that no index (of any one kind) serves.
    fn filters(&self, filtered: &[&Set]) -> bool {
        let all: Vec<&Rc<Restriction>> = filtered.iter().flat_map(|set| distinct(set)).collect();
        if filtered.is_empty() {
            return !self.clustering.is_empty();
        }
        // Storage-attached indexes work together, others alone.
        let (attached, alone): (Vec<&Index>, Vec<&Index>) =
            self.table.indexes.values().partition(|index| is_storage_attached(index));
        let mut groups: Vec<Vec<&Index>> = alone.into_iter().map(|index| vec![index]).collect();
        if !attached.is_empty() {
            groups.push(attached);
        }
        let serves_all = |group: &Vec<&Index>| {
            all.iter().all(|restriction| {
                let several = match restriction.kind {
                    Kind::Contains { values, keys, entries } => values + keys + entries > 1,
                    _ => false,
                };
                group
                    .iter()
                    .any(|index| self.is_served_by(restriction, index) && (!several || is_storage_attached(index)))
            })
        };
        !all.is_empty() && !groups.iter().any(serves_all) || all.is_empty() && !self.clustering.is_empty()
    }
}

fn distinct(set: &Set) -> impl Iterator<Item = &Rc<Restriction>> {
    let mut previous: Option<&Rc<Restriction>> = None;
    set.values().filter(move |restriction| {
        let again = previous.is_some_and(|p| Rc::ptr_eq(p, restriction));
        previous = Some(restriction);
        !again
    })
}
