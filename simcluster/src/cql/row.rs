//! Rows of values to and from stored rows.

use crate::schema::{Column, ColumnKind, Table};
use crate::storage::{
    Cell, ColumnData, ColumnId, Complex, Liveness, Mutation, NEVER, PartitionKey, RangeTombstone, Row,
};
use crate::types::{CqlType, Value, codec, order, text};
use bytes::Bytes;
use std::sync::Arc;

/// The encoded clustering key of a row with these clustering values.
#[must_use]
pub fn clustering_key(table: &Table, values: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    for (column, value) in table.clustering().iter().zip(values) {
        order::push_component(&mut out, &column.cql_type, Some(value), column.descending);
    }
    Bytes::from(out)
}

/// The stored form of a whole multi-cell value: its elements' paths and values, by order.
///
/// List elements get the paths of `next_path`, in order.
pub fn explode(
    cql_type: &CqlType,
    bytes: &Bytes,
    mut next_path: impl FnMut() -> Bytes,
) -> Vec<(Bytes, Bytes, Option<Bytes>)> {
    match cql_type {
        CqlType::List { .. } => codec::split_collection(bytes, false)
            .unwrap_or_default()
            .into_iter()
            .map(|value| {
                let path = next_path();
                (order::encode(&CqlType::Timeuuid, &path), path, value)
            })
            .collect(),
        CqlType::Set { element, .. } => codec::split_collection(bytes, false)
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .map(|path| (order::encode(element, &path), path, Some(Bytes::new())))
            .collect(),
        CqlType::Map { key, .. } => codec::split_collection(bytes, true)
            .unwrap_or_default()
            .chunks_exact(2)
            .filter_map(|pair| {
                let path = pair[0].clone()?;
                Some((order::encode(key, &path), path, pair[1].clone()))
            })
            .collect(),
        CqlType::Udt { definition, .. } => codec::split_tuple(bytes, definition.fields.len())
            .unwrap_or_default()
            .into_iter()
            .enumerate()
            .map(|(field, value)| {
                let path = field_path(field);
                (path.clone(), path, value)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The path of a user type's field.
#[must_use]
pub fn field_path(field: usize) -> Bytes {
    Bytes::copy_from_slice(&u16::try_from(field).unwrap_or(u16::MAX).to_be_bytes())
}

/// The index of a field that is stored under a path.
#[must_use]
pub fn field_index(path: &Bytes) -> usize {
    usize::try_from(text::integer(path)).unwrap_or(usize::MAX)
}

/// The value of a stored column at this time; null if nothing in it is live.
#[must_use]
pub fn assemble(cql_type: &CqlType, data: &ColumnData, unix_seconds: i64) -> Value {
    let complex = match data {
        ColumnData::Simple(cell) => return cell.value_at(unix_seconds).cloned(),
        ColumnData::Complex(complex) => complex,
    };
    let live: Vec<_> = complex.live(unix_seconds).collect();
    if live.is_empty() {
        return None;
    }
    match cql_type {
        CqlType::Counter => {
            let sum = live.iter().fold(0_i64, |sum, (_, value, _)| sum.wrapping_add(text::integer(value)));
            Some(Bytes::copy_from_slice(&sum.to_be_bytes()))
        }
        CqlType::List { .. } => {
            let values: Vec<Value> = live.iter().map(|(_, value, _)| Some((*value).clone())).collect();
            Some(codec::join_collection(values.len(), &values))
        }
        CqlType::Set { .. } => {
            let values: Vec<Value> = live.iter().map(|(path, ..)| Some((*path).clone())).collect();
            Some(codec::join_collection(values.len(), &values))
        }
        CqlType::Map { .. } => {
            let parts: Vec<Value> =
                live.iter().flat_map(|(path, value, _)| [Some((*path).clone()), Some((*value).clone())]).collect();
            Some(codec::join_collection(live.len(), &parts))
        }
        CqlType::Udt { definition, .. } => {
            let mut fields = vec![None; definition.fields.len()];
            for (path, value, _) in live {
                if let Some(slot) = fields.get_mut(field_index(path)) {
                    *slot = Some(value.clone());
                }
            }
            Some(codec::join_tuple(&fields))
        }
        _ => None,
    }
}

/// One row as a reader sees it: its keys, its own columns and the static ones.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    /// Its table.
    pub table: &'a Table,
    /// The components of the partition key.
    pub key: &'a [Bytes],
    /// The row; `None` if only the static columns exist.
    pub row: Option<&'a Row>,
    /// The partition's static columns.
    pub static_row: &'a Row,
    /// When it is read.
    pub unix_seconds: i64,
}

impl RowView<'_> {
    /// The stored data of a column that is not part of the key.
    #[must_use]
    pub fn data(&self, column: &Column) -> Option<&ColumnData> {
        let row = if column.kind == ColumnKind::Static { self.static_row } else { self.row? };
        row.columns.get(&ColumnId::of(&column.name))
    }

    /// The value of the column with this index.
    #[must_use]
    pub fn value(&self, index: usize) -> Value {
        let column = self.table.columns.get(index)?;
        match column.kind {
            ColumnKind::PartitionKey => self.key.get(index).cloned(),
            ColumnKind::Clustering => self.row?.clustering.get(index - self.table.partition_key_len).cloned(),
            ColumnKind::Static | ColumnKind::Regular => {
                assemble(&column.cql_type, self.data(column)?, self.unix_seconds)
            }
        }
    }
}

/// The mutation that writes one row of a table, by column name: how nodes fill `system.local` and `system.peers`.
///
/// Null deletes. `cells` are serialised values, the key columns among them.
///
/// # Panics
///
/// If a column does not exist or a key column is missing: the callers name only columns of system tables.
#[must_use]
pub fn row_mutation(table: &Table, timestamp: i64, cells: &[(&str, Value)]) -> Mutation {
    let (key, clustering) = key_of(table, cells);
    let clustering = clustering.expect("every clustering column has a value");
    let mut mutation = Mutation::new(table.id, &table.keyspace, key);
    let encoded = clustering_key(table, &clustering);
    let row = mutation.changes.row_mut(encoded, &Arc::from(clustering));
    row.liveness = Some(Liveness { timestamp, expires_at: NEVER, ttl: 0 });
    let mut element = 0_u64;
    for (name, value) in cells {
        let column = table.column(name).expect("the column exists");
        if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            continue;
        }
        let data = if column.cql_type.is_multi_cell() {
            let mut complex = Complex { deletion: timestamp - 1, ..Complex::default() };
            if let Some(bytes) = value {
                let paths = || {
                    element += 1;
                    time_uuid(timestamp, element, 0)
                };
                for (order, path, value) in explode(&column.cql_type, bytes, paths) {
                    let cell = value.map_or_else(|| Cell::tombstone(timestamp), |v| Cell::live(timestamp, v));
                    complex.insert(order, path, cell);
                }
            }
            ColumnData::Complex(complex)
        } else {
            ColumnData::Simple(match value {
                Some(bytes) => Cell::live(timestamp, bytes.clone()),
                None => Cell::tombstone(timestamp),
            })
        };
        row.columns.insert(ColumnId::of(name), data);
    }
    mutation
}

/// The mutation that deletes the row (or the rows, or the whole partition) with the given key columns.
///
/// # Panics
///
/// If a column does not exist or is no key column: the callers name only columns of system tables.
#[must_use]
pub fn row_deletion(table: &Table, timestamp: i64, key: &[(&str, Value)]) -> Mutation {
    let (partition, clustering) = key_of(table, key);
    let mut mutation = Mutation::new(table.id, &table.keyspace, partition);
    let given = key.len() - table.partition_key_len;
    match clustering {
        Some(values) if given == table.clustering_len && given > 0 => {
            let encoded = clustering_key(table, &values);
            mutation.changes.row_mut(encoded, &Arc::from(values)).deletion = timestamp;
        }
        _ if given == 0 => mutation.changes.deletion = timestamp,
        _ => {
            let values: Vec<Bytes> = table.clustering()[..given].iter().map(|c| given_value(key, &c.name)).collect();
            let start = clustering_key(table, &values);
            let mut end = start.to_vec();
            end.push(order::AFTER_PREFIX);
            mutation.changes.range_tombstones.push(RangeTombstone { start, end: Bytes::from(end), timestamp });
        }
    }
    mutation
}

/// A version 1 UUID: `sequence` keeps those of one microsecond apart and in order.
#[must_use]
pub fn time_uuid(unix_micros: i64, sequence: u64, node: u64) -> Bytes {
    const GREGORIAN: i64 = 0x01b2_1dd2_1381_4000;
    const CLOCK_BITS: u32 = 13;
    // Ticks are compared first: they count what overflows the clock sequence.
    let overflow = (sequence >> CLOCK_BITS) as i64;
    let ticks = unix_micros.wrapping_mul(10).wrapping_add(GREGORIAN).wrapping_add(overflow) as u64;
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(ticks as u32).to_be_bytes());
    bytes[4..6].copy_from_slice(&((ticks >> 32) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&(((ticks >> 48) as u16 & 0x0fff) | 0x1000).to_be_bytes());
    // Timeuuids compare these bytes as signed, so the second one may not use its highest bit.
    let clock = (sequence & ((1 << CLOCK_BITS) - 1)) as u16;
    bytes[8] = 0x80 | (clock >> 7) as u8 & 0x3f;
    bytes[9] = (clock & 0x7f) as u8;
    bytes[10..].copy_from_slice(&node.to_be_bytes()[2..]);
    Bytes::copy_from_slice(&bytes)
}

fn key_of(table: &Table, cells: &[(&str, Value)]) -> (PartitionKey, Option<Vec<Bytes>>) {
    let parts: Vec<Bytes> = table.partition_key().iter().map(|c| given_value(cells, &c.name)).collect();
    let find = |name: &str| cells.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.clone());
    let clustering = table.clustering().iter().map(|c| find(&c.name)).collect();
    (codec::join_partition_key(&parts).expect("keys of system tables are short"), clustering)
}

fn given_value(cells: &[(&str, Value)], name: &str) -> Bytes {
    let found = cells.iter().find(|(n, _)| *n == name).and_then(|(_, value)| value.clone());
    found.expect("every partition key column has a value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CqlType;

    #[test]
    fn time_uuids_of_one_microsecond_sort_by_their_sequence() {
        let id = |sequence| time_uuid(1_767_225_600_000_000, sequence, 7);
        let keys: Vec<Bytes> = (0..40_000).map(|sequence| order::encode(&CqlType::Timeuuid, &id(sequence))).collect();
        assert!(keys.is_sorted_by(|left, right| left < right));
    }
}
