//! Cells and columns, and which of two versions wins.
//!
//! # Source
//!
//! Cassandra's `Cells.reconcile`: the higher timestamp; at a tie a tombstone or expiring cell beats a plain one, a
//! tombstone beats an expiring one, then the later expiry, then the larger value.

use crate::types::Value;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The expiry of a cell that does not expire.
pub const NEVER: i64 = i64::MAX;

/// The timestamp of a deletion that never happened.
pub const NO_DELETION: i64 = i64::MIN;

/// One version of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Write time in microseconds.
    pub timestamp: i64,
    /// The serialised value; `None` is a tombstone.
    pub value: Value,
    /// Time to live in seconds as it was written; zero if it does not expire.
    pub ttl: u32,
    /// When it expires, in seconds since the epoch; [`NEVER`] if it does not.
    pub expires_at: i64,
}

impl Cell {
    /// A value that does not expire.
    #[must_use]
    pub const fn live(timestamp: i64, value: Bytes) -> Self {
        Self { timestamp, value: Some(value), ttl: 0, expires_at: NEVER }
    }

    /// A tombstone.
    #[must_use]
    pub const fn tombstone(timestamp: i64) -> Self {
        Self { timestamp, value: None, ttl: 0, expires_at: NEVER }
    }

    /// The value, if it is live at this time.
    #[must_use]
    pub fn value_at(&self, unix_seconds: i64) -> Option<&Bytes> {
        self.value.as_ref().filter(|_| unix_seconds < self.expires_at)
    }

    /// Whether this version wins over the other.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        self.precedence().cmp(&other.precedence()) == Ordering::Greater
    }

    /// Keeps the winner of the two.
    pub fn merge(&mut self, other: Self) {
        if other.supersedes(self) {
            *self = other;
        }
    }

    fn precedence(&self) -> (i64, u8, i64, &[u8], u32) {
        let kind = match (&self.value, self.expires_at) {
            (None, _) => 2,
            (Some(_), NEVER) => 0,
            (Some(_), _) => 1,
        };
        let expiry = if kind == 1 { self.expires_at } else { 0 };
        (self.timestamp, kind, expiry, self.value.as_deref().unwrap_or_default(), self.ttl)
    }
}

/// All that is stored of one column of one row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ColumnData {
    /// One cell.
    Simple(Cell),
    /// A cell per element, field or counter shard.
    Complex(Complex),
}

/// A column of many cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Complex {
    /// Elements with timestamps up to this one are deleted; [`NO_DELETION`] if none are.
    pub deletion: i64,
    /// By order-preserving path: the path itself (element, map key, list position, field number, shard) and its cell.
    pub cells: BTreeMap<Bytes, (Bytes, Cell)>,
}

impl Default for Complex {
    fn default() -> Self {
        Self { deletion: NO_DELETION, cells: BTreeMap::new() }
    }
}

impl Complex {
    /// Adds a version of one element.
    pub fn insert(&mut self, order: Bytes, path: Bytes, cell: Cell) {
        if cell.timestamp <= self.deletion {
            return;
        }
        match self.cells.get_mut(&order) {
            Some((_, present)) => present.merge(cell),
            None => {
                self.cells.insert(order, (path, cell));
            }
        }
    }

    /// Deletes the elements written up to `timestamp`.
    pub fn delete(&mut self, timestamp: i64) {
        self.deletion = self.deletion.max(timestamp);
        let deletion = self.deletion;
        self.cells.retain(|_, (_, cell)| cell.timestamp > deletion);
    }

    /// The paths and values of the elements live at this time, in order.
    pub fn live(&self, unix_seconds: i64) -> impl Iterator<Item = (&Bytes, &Bytes, &Cell)> {
        self.cells.values().filter_map(move |(path, cell)| Some((path, cell.value_at(unix_seconds)?, cell)))
    }
}

impl ColumnData {
    /// Merges another version of the column.
    pub fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Simple(mine), Self::Simple(theirs)) => mine.merge(theirs),
            (Self::Complex(mine), Self::Complex(theirs)) => {
                mine.delete(theirs.deletion);
                for (order, (path, cell)) in theirs.cells {
                    mine.insert(order, path, cell);
                }
            }
            // A column dropped and created again with another kind of type: the newer kind wins.
            (mine, theirs) => {
                if theirs.newest() > mine.newest() {
                    *mine = theirs;
                }
            }
        }
    }

    /// Removes what a deletion of the enclosing row, range or partition covers; false if nothing is left.
    pub fn purge(&mut self, deletion: i64) -> bool {
        match self {
            Self::Simple(cell) => cell.timestamp > deletion,
            Self::Complex(complex) => {
                complex.cells.retain(|_, (_, cell)| cell.timestamp > deletion);
                if complex.deletion <= deletion {
                    complex.deletion = NO_DELETION;
                }
                complex.deletion != NO_DELETION || !complex.cells.is_empty()
            }
        }
    }

    /// Whether any value in it is live at this time.
    #[must_use]
    pub fn is_live(&self, unix_seconds: i64) -> bool {
        match self {
            Self::Simple(cell) => cell.value_at(unix_seconds).is_some(),
            Self::Complex(complex) => complex.live(unix_seconds).next().is_some(),
        }
    }

    /// Replaces all timestamps; deletions of whole collections stay just below the elements written with them.
    pub fn set_timestamp(&mut self, micros: i64) {
        match self {
            Self::Simple(cell) => cell.timestamp = micros,
            Self::Complex(complex) => {
                if complex.deletion != NO_DELETION {
                    complex.deletion = micros - 1;
                }
                complex.cells.values_mut().for_each(|(_, cell)| cell.timestamp = micros);
            }
        }
    }

    /// Its size in bytes, roughly.
    #[must_use]
    pub fn size(&self) -> usize {
        let cell_size = |cell: &Cell| 10 + cell.value.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Simple(cell) => cell_size(cell),
            Self::Complex(complex) => {
                10 + complex.cells.values().map(|(path, cell)| path.len() + cell_size(cell)).sum::<usize>()
            }
        }
    }

    /// What of `self` is not already in `other`.
    #[must_use]
    pub fn missing_from(&self, other: Option<&Self>) -> Option<Self> {
        match (self, other) {
            (mine, None) => Some(mine.clone()),
            (Self::Complex(mine), Some(Self::Complex(theirs))) => {
                let cells: BTreeMap<_, _> = mine
                    .cells
                    .iter()
                    .filter(|(order, cell)| theirs.cells.get(*order) != Some(cell))
                    .map(|(order, cell)| (order.clone(), cell.clone()))
                    .collect();
                let deletion = if mine.deletion == theirs.deletion { NO_DELETION } else { mine.deletion };
                (deletion != NO_DELETION || !cells.is_empty()).then_some(Self::Complex(Complex { deletion, cells }))
            }
            (mine, Some(theirs)) => (mine != theirs).then(|| mine.clone()),
        }
    }

    fn newest(&self) -> i64 {
        match self {
            Self::Simple(cell) => cell.timestamp,
            Self::Complex(complex) => {
                complex.cells.values().map(|(_, cell)| cell.timestamp).max().unwrap_or(complex.deletion)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_decided_as_cassandra_decides_them() {
        let plain = |v: &'static str| Cell::live(5, Bytes::from_static(v.as_bytes()));
        let expiring = |at| Cell { ttl: 10, expires_at: at, ..plain("a") };
        for (winner, loser) in [
            (Cell::live(6, Bytes::new()), Cell::tombstone(5)),
            (Cell::tombstone(5), plain("z")),
            (Cell::tombstone(5), expiring(100)),
            (expiring(100), plain("z")),
            (expiring(101), expiring(100)),
            (plain("b"), plain("a")),
        ] {
            assert!(winner.supersedes(&loser), "{winner:?} over {loser:?}");
            assert!(!loser.supersedes(&winner));
        }
    }

    #[test]
    fn deleted_elements_do_not_come_back() {
        let mut set = Complex::default();
        let element = |name: &'static str| Bytes::from_static(name.as_bytes());
        set.insert(element("old"), element("old"), Cell::live(1, Bytes::new()));
        set.delete(2);
        set.insert(element("old"), element("old"), Cell::live(2, Bytes::new()));
        set.insert(element("new"), element("new"), Cell::live(3, Bytes::new()));
        assert_eq!(set.live(0).map(|(path, ..)| path.clone()).collect::<Vec<_>>(), [element("new")]);
    }
}
