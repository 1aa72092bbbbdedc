//! All data of one node, by table, in token order.
//!
//! Tables and their partitions are shared until they are written: a cloned store costs a reference per table, and the
//! first write to a table a reference per partition, which makes it cheap to start every node from the same system tables.

use super::cell::{Cell, ColumnData, Complex, NO_DELETION};
use super::{ColumnId, Mutation, Partition, PartitionKey, Position, ReadAnswer, ReadCommand, ReadTarget, Row, Slice};
use crate::ring::{Token, TokenRange};
use crate::schema::Table;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

type Place = (Token, PartitionKey);
type TableData = BTreeMap<Place, Arc<Partition>>;

/// All data of one node.
#[derive(Clone, Debug, Default)]
pub struct Store {
    tables: BTreeMap<Uuid, Arc<TableData>>,
}

impl Store {
    /// Merges a mutation into the stored data.
    pub fn apply(&mut self, _table: &Table, mutation: &Mutation) {
        let data = Arc::make_mut(self.tables.entry(mutation.table).or_default());
        let partition = data.entry((mutation.token(), mutation.key.clone())).or_default();
        Arc::make_mut(partition).merge(mutation.changes.clone());
    }

    /// Applies counter increments to this node's own shard; answers the resulting shards, to be applied elsewhere
    /// with [`Store::apply`].
    ///
    /// An increment is a column of one element whose path is empty. A counter is the sum of its shards, and a shard
    /// is an element that only its own node writes, with rising timestamps: the statements' own, which deletions are
    /// compared with.
    pub fn apply_counter(&mut self, table: &Table, increments: &Mutation, shard: Uuid) -> Mutation {
        let path = Bytes::copy_from_slice(shard.as_bytes());
        let place = (increments.token(), increments.key.clone());
        let present = self.tables.get(&increments.table).and_then(|data| data.get(&place));
        let mut shards = increments.clone();
        let sum = |column: &mut ColumnData, old: Option<&ColumnData>| {
            let ColumnData::Complex(complex) = column else { return };
            let Some((_, increment)) = complex.cells.remove(&Bytes::new()) else { return };
            let own = match old {
                Some(ColumnData::Complex(old)) => old.cells.get(&path).map(|(_, cell)| cell),
                _ => None,
            };
            let number = |cell: &Cell| cell.value.as_ref().map_or(0, |v| crate::types::text::integer(v));
            let total = own.map_or(0, number).wrapping_add(number(&increment));
            let timestamp = own.map_or(increment.timestamp, |cell| increment.timestamp.max(cell.timestamp + 1));
            let cell = Cell::live(timestamp, Bytes::copy_from_slice(&total.to_be_bytes()));
            let mut cells = BTreeMap::new();
            cells.insert(path.clone(), (path.clone(), cell));
            *complex = Complex { deletion: NO_DELETION, cells };
        };
        for (id, column) in shards.changes.static_row.columns.iter_mut() {
            sum(column, present.and_then(|p| p.static_row.columns.get(id)));
        }
        for (key, row) in &mut shards.changes.rows {
            for (id, column) in row.columns.iter_mut() {
                sum(column, present.and_then(|p| p.rows.get(key)).and_then(|r| r.columns.get(id)));
            }
        }
        self.apply(table, &shards);
        shards
    }

    /// Reads what the command asks for, as of `unix_seconds` (for TTLs).
    #[must_use]
    pub fn read(&self, table: &Table, command: &ReadCommand, unix_seconds: i64) -> ReadAnswer {
        let mut answer = ReadAnswer { reversed: command.reversed, ..ReadAnswer::default() };
        let Some(data) = self.tables.get(&command.table) else { return answer };
        let mut room = command.row_limit;
        let mut take = |key: &PartitionKey, partition: &Partition| {
            if room == 0 {
                return false;
            }
            let after = command.after.as_ref().filter(|position| position.key == *key);
            if after.is_some_and(|position| position.clustering.is_none()) {
                return true;
            }
            let after = after.and_then(|position| position.clustering.as_ref());
            let partition = without_dropped(partition, table);
            let (part, end) = select(&partition, command, after, &mut room, unix_seconds);
            if !part.is_empty() {
                answer.partitions.push((key.clone(), part));
            }
            if let Some(clustering) = end {
                answer.truncated_at = Some(Position { key: key.clone(), clustering });
            }
            room > 0
        };
        match &command.target {
            ReadTarget::Partition(key) => {
                if let Some(partition) = data.get(&(Token::of_key(key), key.clone())) {
                    take(key, partition);
                }
            }
            ReadTarget::Range(range) => {
                for (low, high) in bounds(*range) {
                    let low = match &command.after {
                        Some(position) => {
                            let place = (Token::of_key(&position.key), position.key.clone());
                            match low {
                                Bound::Included(ref start) if place > *start => Bound::Included(place),
                                Bound::Unbounded => Bound::Included(place),
                                low => low,
                            }
                        }
                        None => low,
                    };
                    if is_empty_range(&low, &high) {
                        continue;
                    }
                    for ((_, key), partition) in data.range((low, high)) {
                        if !take(key, partition) {
                            return answer;
                        }
                    }
                }
            }
        }
        answer
    }

    /// All partitions of a table, in token order, borrowed: for a node that looks into its own tables.
    pub fn partitions(&self, table: Uuid) -> impl Iterator<Item = (&PartitionKey, &Partition)> {
        self.tables
            .get(&table)
            .into_iter()
            .flat_map(|data| data.iter())
            .map(|((_, key), partition)| (key, &**partition))
    }

    /// Forgets all data of a table.
    pub fn truncate(&mut self, table: Uuid) {
        self.tables.remove(&table);
    }
}

/// A partition without what was written of dropped columns until they were dropped.
fn without_dropped<'a>(partition: &'a Partition, table: &Table) -> Cow<'a, Partition> {
    let mut partition = Cow::Borrowed(partition);
    for (name, column) in &table.dropped {
        let id = ColumnId::of(name);
        let has_it = |row: &Row| row.columns.contains_key(&id);
        if !has_it(&partition.static_row) && !partition.rows.values().any(has_it) {
            continue;
        }
        let partition = partition.to_mut();
        for row in partition.rows.values_mut().chain([&mut partition.static_row]).filter(|row| has_it(row)) {
            row.columns.retain(|found, data| *found != id || data.purge(column.micros));
        }
    }
    partition
}

/// The part of a partition that a command wants, and where it ended if the limit was reached.
#[expect(clippy::option_option, reason = "the outer one is whether it ended early, the inner one is part of Position")]
fn select(
    partition: &Partition,
    command: &ReadCommand,
    after: Option<&Bytes>,
    room: &mut usize,
    unix_seconds: i64,
) -> (Partition, Option<Option<Bytes>>) {
    let mut part = Partition {
        deletion: partition.deletion,
        static_row: partition.static_row.clone(),
        rows: BTreeMap::new(),
        range_tombstones: partition.range_tombstones.clone(),
    };
    let whole = [Slice { start: Bytes::new(), end: Bytes::from_static(&[0xff]) }];
    let mut slices: Vec<&Slice> = command.slices.as_deref().unwrap_or(&whole).iter().collect();
    if command.reversed {
        slices.reverse();
    }
    let mut live = 0;
    for slice in slices {
        let (mut low, mut high) = (Bound::Included(&slice.start), Bound::Excluded(&slice.end));
        match after {
            Some(last) if command.reversed && *last < slice.end => high = Bound::Excluded(last),
            Some(_) if command.reversed => {}
            Some(last) if *last >= slice.start => low = Bound::Excluded(last),
            _ => {}
        }
        if is_empty_range(&low, &high) {
            continue;
        }
        let mut range = partition.rows.range::<Bytes, _>((low, high));
        while let Some((key, row)) = if command.reversed { range.next_back() } else { range.next() } {
            part.rows.insert(key.clone(), row.clone());
            if row.is_live(unix_seconds) {
                live += 1;
                *room -= 1;
                if *room == 0 {
                    return (part, Some(Some(key.clone())));
                }
            }
        }
    }
    if live == 0 && after.is_none() && part.static_row.is_live(unix_seconds) {
        *room -= 1;
        if *room == 0 {
            return (part, Some(None));
        }
    }
    (part, None)
}

/// The arc as ranges of map keys: an arc across the end of the ring is two.
fn bounds(range: TokenRange) -> Vec<(Bound<Place>, Bound<Place>)> {
    // The first key behind all keys of a token is the empty key of the next token.
    let behind = |token: Token| token.0.checked_add(1).map(|next| (Token(next), Bytes::new()));
    let low = behind(range.after).map(Bound::Included);
    let high = behind(range.up_to).map_or(Bound::Unbounded, Bound::Excluded);
    if range.after < range.up_to {
        return low.map(|low| (low, high)).into_iter().collect();
    }
    let mut both = vec![];
    if range.after == range.up_to {
        return vec![(Bound::Unbounded, Bound::Unbounded)];
    }
    both.push((Bound::Unbounded, high));
    both.extend(low.map(|low| (low, Bound::Unbounded)));
    both
}

/// `BTreeMap::range` refuses ranges that end before they start.
fn is_empty_range<T: Ord>(low: &Bound<T>, high: &Bound<T>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high) | Bound::Included(high)) => low >= high,
        _ => false,
    }
}
