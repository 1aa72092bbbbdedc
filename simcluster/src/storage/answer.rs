//! What replicas answer, and how their answers become one.

use super::{Mutation, Partition, PartitionKey, Position};
use crate::ring::Token;
use crate::schema::Table;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a replica answers: partitions with all their cells and tombstones, in token order.
#[derive(Clone, Debug, Default)]
pub struct ReadAnswer {
    /// Set if the row limit ended the answer early: rows after this position exist perhaps.
    pub truncated_at: Option<Position>,
    /// In token order.
    pub partitions: Vec<(PartitionKey, Partition)>,
    /// Whether rows within partitions were read last first.
    pub reversed: bool,
}

impl ReadAnswer {
    /// A digest: equal data have equal digests.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = Md5::new();
        let mut put = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for (key, partition) in &self.partitions {
            put(key);
            put(&partition.deletion.to_be_bytes());
            for tombstone in &partition.range_tombstones {
                put(&tombstone.start);
                put(&tombstone.end);
                put(&tombstone.timestamp.to_be_bytes());
            }
            for (row_key, row) in std::iter::once((&Bytes::new(), &partition.static_row)).chain(&partition.rows) {
                put(row_key);
                digest_row(row, &mut put);
            }
        }
        if let Some(position) = &self.truncated_at {
            put(&position.key);
            put(position.clustering.as_deref().unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// Merges the answers of several replicas by last write wins.
    ///
    /// If some were truncated, only rows up to the earliest truncation are trustworthy, so the merged answer is
    /// truncated there. The second part is what each replica lacks (read repair), by index into `answers`.
    #[must_use]
    pub fn merge(table: &Table, mut answers: Vec<Self>) -> (Self, Vec<(usize, Mutation)>) {
        let reversed = answers.iter().any(|a| a.reversed);
        let truncated_at =
            answers.iter().filter_map(|a| a.truncated_at.clone()).min_by(|a, b| compare_positions(a, b, reversed));
        if let Some(end) = &truncated_at {
            answers.iter_mut().for_each(|answer| answer.cut_after(end, reversed));
        }
        let mut merged: BTreeMap<(Token, PartitionKey), Partition> = BTreeMap::new();
        for (key, partition) in answers.iter().flat_map(|a| &a.partitions) {
            merged.entry((Token::of_key(key), key.clone())).or_default().merge(partition.clone());
        }
        let mut repairs = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            let present: BTreeMap<&PartitionKey, &Partition> = answer.partitions.iter().map(|(k, p)| (k, p)).collect();
            for ((_, key), whole) in &merged {
                if let Some(changes) = whole.missing_from(present.get(key).copied()) {
                    let mut repair = Mutation::new(table.id, &table.keyspace, key.clone());
                    repair.changes = changes;
                    repairs.push((index, repair));
                }
            }
        }
        let partitions = merged.into_iter().map(|((_, key), partition)| (key, partition)).collect();
        (Self { truncated_at, partitions, reversed }, repairs)
    }

    /// Appends the answer for the following arc of the ring.
    pub fn append(&mut self, next: Self) {
        self.partitions.extend(next.partitions);
        self.truncated_at = next.truncated_at;
        self.reversed |= next.reversed;
    }

    /// How many live rows (static-only partitions count as one) it has at `unix_seconds`.
    #[must_use]
    pub fn live_rows(&self, _table: &Table, unix_seconds: i64) -> usize {
        self.partitions.iter().map(|(_, partition)| partition.live_rows(unix_seconds)).sum()
    }

    /// Forgets what lies behind a position.
    fn cut_after(&mut self, end: &Position, reversed: bool) {
        let end_place = (Token::of_key(&end.key), &end.key);
        self.partitions.retain(|(key, _)| (Token::of_key(key), key) <= end_place);
        if let (Some(last), Some((key, partition))) = (&end.clustering, self.partitions.last_mut())
            && *key == end.key
        {
            if reversed {
                partition.rows = partition.rows.split_off(last);
            } else {
                let mut bound = last.to_vec();
                bound.push(0);
                partition.rows.split_off(&Bytes::from(bound));
            }
        }
    }
}

fn compare_positions(a: &Position, b: &Position, reversed: bool) -> Ordering {
    let place = |p: &Position| (Token::of_key(&p.key), p.key.clone());
    place(a).cmp(&place(b)).then_with(|| match (&a.clustering, &b.clustering) {
        (Some(a), Some(b)) if reversed => b.cmp(a),
        (Some(a), Some(b)) => a.cmp(b),
        // The end of the partition is behind every row of it.
        (a, b) => a.is_none().cmp(&b.is_none()),
    })
}

fn digest_row(row: &super::Row, put: &mut impl FnMut(&[u8])) {
    use super::{Cell, ColumnData};
    let digest_cell = |cell: &Cell, put: &mut dyn FnMut(&[u8])| {
        put(&cell.timestamp.to_be_bytes());
        put(&[u8::from(cell.value.is_some())]);
        put(cell.value.as_deref().unwrap_or_default());
        put(&cell.expires_at.to_be_bytes());
    };
    if let Some(liveness) = row.liveness {
        put(&liveness.timestamp.to_be_bytes());
        put(&liveness.expires_at.to_be_bytes());
    }
    put(&row.deletion.to_be_bytes());
    for (id, column) in row.columns.iter() {
        put(&id.0.to_be_bytes());
        match column {
            ColumnData::Simple(cell) => digest_cell(cell, put),
            ColumnData::Complex(complex) => {
                put(&complex.deletion.to_be_bytes());
                for (path, cell) in complex.cells.values() {
                    put(path);
                    digest_cell(cell, put);
                }
            }
        }
    }
}
