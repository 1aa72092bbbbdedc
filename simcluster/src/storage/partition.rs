//! Rows and partitions: liveness, deletions of rows, ranges and whole partitions.
//!
//! # Invariants
//!
//! - Nothing in a partition is covered by a deletion above it: merging purges at once.
//! - Rows are ordered by the order-preserving encoding of their clustering key, descending columns inverted.

use super::cell::{ColumnData, NEVER, NO_DELETION};
use super::{Cell, ColumnId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

/// That a row was inserted, so it exists even if all its columns are null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Liveness {
    /// Write time in microseconds.
    pub timestamp: i64,
    /// When it expires, in seconds since the epoch; [`NEVER`] if it does not.
    pub expires_at: i64,
    /// Time to live in seconds; zero if it does not expire.
    pub ttl: u32,
}

/// One row: what is stored under one clustering key, or the static columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// The clustering values; empty for the static row and for tables without clustering columns.
    pub clustering: Arc<[Bytes]>,
    /// Set by INSERT.
    pub liveness: Option<Liveness>,
    /// Everything up to this timestamp is deleted; [`NO_DELETION`] if nothing is.
    pub deletion: i64,
    /// The columns that were written.
    pub columns: Columns,
}

/// The written columns of a row, shared until somebody writes: a read takes whole rows along.
#[derive(Clone, Debug, Default)]
pub struct Columns(Option<Arc<ColumnMap>>);

type ColumnMap = BTreeMap<ColumnId, ColumnData>;

static NO_COLUMNS: ColumnMap = BTreeMap::new();

impl Deref for Columns {
    type Target = ColumnMap;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&NO_COLUMNS)
    }
}

impl DerefMut for Columns {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Columns {}

impl Hash for Columns {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl FromIterator<(ColumnId, ColumnData)> for Columns {
    fn from_iter<T: IntoIterator<Item = (ColumnId, ColumnData)>>(columns: T) -> Self {
        Self(Some(Arc::new(columns.into_iter().collect())))
    }
}

impl IntoIterator for Columns {
    type Item = (ColumnId, ColumnData);
    type IntoIter = std::collections::btree_map::IntoIter<ColumnId, ColumnData>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default().into_iter()
    }
}

impl Default for Row {
    fn default() -> Self {
        static NO_CLUSTERING: LazyLock<Arc<[Bytes]>> = LazyLock::new(|| Arc::from([]));
        Self::new(NO_CLUSTERING.clone())
    }
}

impl Row {
    /// A row in which nothing is written.
    #[must_use]
    pub fn new(clustering: Arc<[Bytes]>) -> Self {
        Self { clustering, liveness: None, deletion: NO_DELETION, columns: Columns::default() }
    }

    /// Whether nothing is stored, not even a tombstone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.liveness.is_none() && self.deletion == NO_DELETION && self.columns.is_empty()
    }

    /// Whether the row exists at this time.
    #[must_use]
    pub fn is_live(&self, unix_seconds: i64) -> bool {
        self.liveness.is_some_and(|l| unix_seconds < l.expires_at)
            || self.columns.values().any(|column| column.is_live(unix_seconds))
    }

    /// Merges another version of the row.
    pub fn merge(&mut self, other: Self) {
        self.deletion = self.deletion.max(other.deletion);
        // An expiring marker beats a plain one of the same time, like cells.
        let rank = |l: Option<Liveness>| l.map(|l| (l.timestamp, l.expires_at != NEVER, l.expires_at, l.ttl));
        if rank(other.liveness) > rank(self.liveness) {
            self.liveness = other.liveness;
        }
        if self.columns.is_empty() {
            self.columns = other.columns;
        } else {
            for (id, data) in other.columns {
                match self.columns.get_mut(&id) {
                    Some(mine) => mine.merge(data),
                    None => {
                        self.columns.insert(id, data);
                    }
                }
            }
        }
        self.purge(NO_DELETION);
    }

    /// Removes what the row's own deletion, or one above it, covers.
    pub fn purge(&mut self, above: i64) {
        if self.deletion <= above {
            self.deletion = NO_DELETION;
        }
        let deletion = self.deletion.max(above);
        if deletion == NO_DELETION {
            return;
        }
        self.liveness = self.liveness.filter(|l| l.timestamp > deletion);
        self.columns.retain(|_, column| column.purge(deletion));
    }

    /// A column of one cell.
    #[must_use]
    pub fn cell(&self, id: ColumnId) -> Option<&Cell> {
        match self.columns.get(&id)? {
            ColumnData::Simple(cell) => Some(cell),
            ColumnData::Complex(_) => None,
        }
    }

    /// Its size in bytes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let marker = if self.liveness.is_some() { 8 } else { 0 };
        let deletion = if self.deletion == NO_DELETION { 0 } else { 12 };
        marker
            + deletion
            + self.clustering.iter().map(|c| c.len() + 2).sum::<usize>()
            + self.columns.values().map(ColumnData::size).sum::<usize>()
    }

    /// What of `self` is not already in `other`; `None` if all is.
    #[must_use]
    pub fn missing_from(&self, other: Option<&Self>) -> Option<Self> {
        let Some(other) = other else { return (!self.is_empty()).then(|| self.clone()) };
        let missing = Self {
            clustering: self.clustering.clone(),
            liveness: self.liveness.filter(|l| other.liveness != Some(*l)),
            deletion: if self.deletion == other.deletion { NO_DELETION } else { self.deletion },
            columns: self
                .columns
                .iter()
                .filter_map(|(id, data)| Some((*id, data.missing_from(other.columns.get(id))?)))
                .collect(),
        };
        (!missing.is_empty()).then_some(missing)
    }

    fn set_timestamp(&mut self, micros: i64) {
        if let Some(liveness) = &mut self.liveness {
            liveness.timestamp = micros;
        }
        if self.deletion != NO_DELETION {
            self.deletion = micros - 1;
        }
        self.columns.values_mut().for_each(|column| column.set_timestamp(micros));
    }
}

/// A deletion of a range of rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeTombstone {
    /// The first encoded clustering key it covers.
    pub start: Bytes,
    /// The first encoded clustering key above it that it does not cover.
    pub end: Bytes,
    /// Rows and cells up to this timestamp are deleted.
    pub timestamp: i64,
}

impl RangeTombstone {
    fn covers(&self, key: &Bytes) -> bool {
        self.start <= *key && *key < self.end
    }
}

/// One partition, or changes to one: the two are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Everything up to this timestamp is deleted; [`NO_DELETION`] if nothing is.
    pub deletion: i64,
    /// The static columns.
    pub static_row: Row,
    /// By encoded clustering key.
    pub rows: BTreeMap<Bytes, Row>,
    /// Sorted, without duplicates.
    pub range_tombstones: Vec<RangeTombstone>,
}

impl Default for Partition {
    fn default() -> Self {
        Self { deletion: NO_DELETION, static_row: Row::default(), rows: BTreeMap::new(), range_tombstones: Vec::new() }
    }
}

impl Partition {
    /// Whether nothing is stored, not even a tombstone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deletion == NO_DELETION
            && self.static_row.is_empty()
            && self.rows.is_empty()
            && self.range_tombstones.is_empty()
    }

    /// The row with this encoded clustering key, made if need be.
    pub fn row_mut(&mut self, key: Bytes, clustering: &Arc<[Bytes]>) -> &mut Row {
        self.rows.entry(key).or_insert_with(|| Row::new(clustering.clone()))
    }

    /// Merges another version of the partition.
    pub fn merge(&mut self, other: Self) {
        let deletes = other.deletion != NO_DELETION || !other.range_tombstones.is_empty();
        self.deletion = self.deletion.max(other.deletion);
        if !other.range_tombstones.is_empty() {
            self.range_tombstones.extend(other.range_tombstones);
            self.range_tombstones.sort();
            self.range_tombstones.dedup();
        }
        self.static_row.merge(other.static_row);
        self.static_row.purge(self.deletion);
        for (key, row) in other.rows {
            let above = self.deletion_over(&key);
            match self.rows.get_mut(&key) {
                Some(mine) => {
                    mine.merge(row);
                    mine.purge(above);
                }
                None => {
                    let mut row = row;
                    row.purge(above);
                    if !row.is_empty() {
                        self.rows.insert(key, row);
                    }
                }
            }
        }
        if deletes {
            self.purge();
        }
    }

    /// The newest deletion above the row with this key.
    #[must_use]
    pub fn deletion_over(&self, key: &Bytes) -> i64 {
        let ranges = self.range_tombstones.iter().filter(|r| r.covers(key)).map(|r| r.timestamp);
        ranges.max().unwrap_or(NO_DELETION).max(self.deletion)
    }

    /// Live rows at this time; static columns alone count as one.
    #[must_use]
    pub fn live_rows(&self, unix_seconds: i64) -> usize {
        let rows = self.rows.values().filter(|row| row.is_live(unix_seconds)).count();
        if rows == 0 { usize::from(self.static_row.is_live(unix_seconds)) } else { rows }
    }

    /// What of `self` is not already in `other`; `None` if all is.
    #[must_use]
    pub fn missing_from(&self, other: Option<&Self>) -> Option<Self> {
        let Some(other) = other else { return (!self.is_empty()).then(|| self.clone()) };
        let missing = Self {
            deletion: if self.deletion == other.deletion { NO_DELETION } else { self.deletion },
            static_row: self.static_row.missing_from(Some(&other.static_row)).unwrap_or_default(),
            rows: self
                .rows
                .iter()
                .filter_map(|(key, row)| Some((key.clone(), row.missing_from(other.rows.get(key))?)))
                .collect(),
            range_tombstones: self
                .range_tombstones
                .iter()
                .filter(|tombstone| !other.range_tombstones.contains(tombstone))
                .cloned()
                .collect(),
        };
        (!missing.is_empty()).then_some(missing)
    }

    /// Replaces all timestamps: deletions get one below the others', so that what is decided together with an
    /// insertion does not cover it.
    pub fn set_timestamp(&mut self, micros: i64) {
        if self.deletion != NO_DELETION {
            self.deletion = micros - 1;
        }
        self.range_tombstones.iter_mut().for_each(|tombstone| tombstone.timestamp = micros - 1);
        self.static_row.set_timestamp(micros);
        self.rows.values_mut().for_each(|row| row.set_timestamp(micros));
    }

    /// Its size in bytes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.static_row.size()
            + self.rows.values().map(Row::size).sum::<usize>()
            + self.range_tombstones.iter().map(|r| r.start.len() + r.end.len() + 8).sum::<usize>()
    }

    fn purge(&mut self) {
        let deletion = self.deletion;
        self.range_tombstones.retain(|tombstone| tombstone.timestamp > deletion);
        self.static_row.purge(deletion);
        let mut rows = std::mem::take(&mut self.rows);
        rows.retain(|key, row| {
            row.purge(self.deletion_over(key));
            !row.is_empty()
        });
        self.rows = rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(value: Option<(i64, u8)>, liveness: Option<i64>, deletion: Option<i64>) -> Row {
        let mut row = Row::default();
        if let Some((timestamp, byte)) = value {
            row.columns.insert(ColumnId(1), ColumnData::Simple(Cell::live(timestamp, Bytes::copy_from_slice(&[byte]))));
        }
        row.liveness = liveness.map(|timestamp| Liveness { timestamp, expires_at: NEVER, ttl: 0 });
        row.deletion = deletion.unwrap_or(NO_DELETION);
        row.purge(NO_DELETION);
        row
    }

    fn partitions() -> impl Strategy<Value = Partition> {
        let rows = prop::collection::btree_map(
            0_u8..4,
            (prop::option::of((0_i64..6, 0_u8..3)), prop::option::of(0_i64..6), prop::option::of(0_i64..6)),
            0..4,
        );
        let ranges = prop::collection::vec((0_u8..4, 1_u8..3, 0_i64..6), 0..3);
        (rows, ranges, prop::option::of(0_i64..6)).prop_map(|(rows, ranges, deletion)| {
            let mut changes = Partition {
                deletion: deletion.unwrap_or(NO_DELETION),
                range_tombstones: ranges
                    .into_iter()
                    .map(|(start, length, timestamp)| RangeTombstone {
                        start: Bytes::copy_from_slice(&[start]),
                        end: Bytes::copy_from_slice(&[start + length]),
                        timestamp,
                    })
                    .collect(),
                ..Partition::default()
            };
            for (key, (value, liveness, deletion)) in rows {
                changes.rows.insert(Bytes::copy_from_slice(&[key]), row(value, liveness, deletion));
            }
            let mut whole = Partition::default();
            whole.merge(changes);
            whole
        })
    }

    fn merged(parts: &[&Partition]) -> Partition {
        let mut whole = Partition::default();
        for part in parts {
            whole.merge((*part).clone());
        }
        whole
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_idempotent(a in partitions(), b in partitions(), c in partitions()) {
            let reference = merged(&[&a, &b, &c]);
            prop_assert_eq!(&merged(&[&c, &a, &b]), &reference);
            prop_assert_eq!(&merged(&[&a, &merged(&[&b, &c])]), &reference);
            prop_assert_eq!(&merged(&[&a, &b, &b, &c, &a]), &reference);
        }

        #[test]
        fn repairing_a_replica_with_what_it_misses_makes_it_equal(a in partitions(), b in partitions()) {
            let whole = merged(&[&a, &b]);
            let mut repaired = a.clone();
            if let Some(missing) = whole.missing_from(Some(&a)) {
                repaired.merge(missing);
            }
            prop_assert_eq!(repaired, whole);
        }
    }

    #[test]
    fn row_vanishes_with_its_last_cell_unless_it_was_inserted() {
        let mut updated = row(Some((1, 7)), None, None);
        let mut inserted = row(Some((1, 7)), Some(1), None);
        let mut deletion = Row::default();
        deletion.columns.insert(ColumnId(1), ColumnData::Simple(Cell::tombstone(2)));
        updated.merge(deletion.clone());
        inserted.merge(deletion);
        assert!(!updated.is_live(0));
        assert!(inserted.is_live(0));
    }
}
