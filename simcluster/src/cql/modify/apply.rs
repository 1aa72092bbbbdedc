//! The mutations that a bound write makes.

use super::bind::Effects;
use super::operations::BoundOperation;
use super::{BoundWrite, Operation, Target, invalid};
use crate::cql::relations::{self, StatementKind};
use crate::cql::row::{explode, field_path, time_uuid};
use crate::protocol::ServerError;
use crate::schema::ColumnKind;
use crate::storage::{
    Cell, ColumnData, ColumnId, Complex, Liveness, Mutation, NEVER, Partition, RangeTombstone, Row, Slice,
};
use crate::types::{CqlType, Value, codec, order, text};
use bytes::Bytes;

/// Prepended list elements get times mirrored around this moment (2010-01-01), as Cassandra does it.
const PREPEND_REFERENCE_MICROS: i64 = 1_262_304_000_000_000;

/// How many places of list elements there are in a microsecond.
const PLACES: u64 = 80_000;

impl BoundWrite {
    /// Whether it depends on what is stored: list elements by index or value.
    #[must_use]
    pub fn needs_read(&self) -> bool {
        self.columns_to_read().next().is_some()
    }

    /// The columns that it writes, by index.
    pub fn written_columns(&self) -> impl Iterator<Item = usize> {
        let table = &self.plan.table;
        let of_json =
            self.plan.json.is_some().then(|| table.partition_key_len + table.clustering_len..table.columns.len());
        self.plan.operations.iter().map(Operation::column).chain(of_json.into_iter().flatten())
    }

    /// The columns that it has to know before it can write.
    pub fn columns_to_read(&self) -> impl Iterator<Item = usize> {
        self.plan.operations.iter().filter(|operation| self.reads(operation)).map(Operation::column)
    }

    fn reads(&self, operation: &Operation) -> bool {
        match operation {
            Operation::SetElement(i, ..) | Operation::DeleteElement(i, _) | Operation::Remove(i, _) => {
                matches!(self.plan.table.columns[*i].cql_type, CqlType::List { .. })
            }
            _ => false,
        }
    }

    /// The slices that hold the rows it concerns.
    #[must_use]
    pub fn slices(&self) -> Vec<Slice> {
        match &self.target {
            Target::Static => Vec::new(),
            Target::Rows(rows) => {
                rows.iter().map(|(key, _)| Slice { start: key.clone(), end: relations::after(key) }).collect()
            }
            Target::Ranges(slices) => slices.clone(),
            Target::Partition => vec![Slice { start: Bytes::new(), end: relations::after(&[]) }],
        }
    }

    /// Adds what it changes to a mutation. `current` is what is stored, if it was read.
    ///
    /// # Errors
    ///
    /// As Cassandra: list index out of bounds.
    pub fn write(&self, mutation: &mut Mutation, current: Option<&Partition>) -> Result<(), ServerError> {
        let table = &self.plan.table;
        let changes = &mut mutation.changes;
        let effects = self.effects.as_ref().map_err(Clone::clone)?;
        let mut addition = Partition::default();
        match &self.target {
            Target::Static => {
                self.write_row(effects, &mut addition.static_row, current.map(|p| &p.static_row), true)?;
            }
            Target::Rows(rows) => {
                for (key, clustering) in rows {
                    let row = addition.row_mut(key.clone(), clustering);
                    self.write_row(effects, row, current.and_then(|p| p.rows.get(key)), false)?;
                }
                self.write_row(effects, &mut addition.static_row, current.map(|p| &p.static_row), true)?;
            }
            Target::Ranges(slices) => {
                addition.range_tombstones = slices
                    .iter()
                    .map(|s| RangeTombstone {
                        start: s.start.clone(),
                        end: s.end.clone(),
                        timestamp: effects.timestamp,
                    })
                    .collect();
            }
            Target::Partition => addition.deletion = effects.timestamp,
        }
        addition.rows.retain(|_, row| !row.is_empty());
        debug_assert_eq!(mutation.table, table.id, "a mutation is of one table");
        changes.merge(addition);
        Ok(())
    }

    fn expires_at(&self, effects: &Effects) -> i64 {
        if effects.ttl == 0 { NEVER } else { self.unix_seconds + i64::from(effects.ttl) }
    }

    fn write_row(
        &self,
        effects: &Effects,
        row: &mut Row,
        current: Option<&Row>,
        statics: bool,
    ) -> Result<(), ServerError> {
        let table = &self.plan.table;
        let Effects { operations, timestamp, ttl } = effects;
        if !statics {
            if self.plan.verb == StatementKind::Insert {
                let expires_at = self.expires_at(effects);
                row.liveness = Some(Liveness { timestamp: *timestamp, expires_at, ttl: *ttl });
            }
            if self.plan.verb == StatementKind::Delete && self.plan.operations.is_empty() {
                row.deletion = *timestamp;
            }
        }
        let mut sequence = self.sequence;
        for operation in operations {
            let index = operation.column();
            let column = &table.columns[index];
            if (column.kind == ColumnKind::Static) != statics {
                continue;
            }
            let id = ColumnId::of(&column.name);
            // What the operations before this one do to the row counts as well.
            let present = merged(current.and_then(|row| row.columns.get(&id)), row.columns.get(&id));
            let data = self.operate(effects, operation, &column.cql_type, present.as_ref(), &mut sequence)?;
            match row.columns.get_mut(&id) {
                Some(earlier) => earlier.merge(data),
                None => {
                    row.columns.insert(id, data);
                }
            }
        }
        Ok(())
    }

    fn cell(&self, effects: &Effects, value: Value) -> Cell {
        let Effects { timestamp, ttl, .. } = *effects;
        match value {
            None => Cell::tombstone(timestamp),
            Some(bytes) => Cell { timestamp, value: Some(bytes), ttl, expires_at: self.expires_at(effects) },
        }
    }

    /// The place of one more element at the end of a list: the present, and in it their order.
    fn appended(&self, sequence: &mut u64) -> Bytes {
        *sequence += 1;
        time_uuid(self.clock, *sequence, self.entropy)
    }

    /// The places of so many elements at the beginning of a list: as far before a moment as the present is after it.
    /// What is prepended later comes before all that was prepended earlier.
    fn prepended(&self, count: usize, sequence: &mut u64) -> impl FnMut() -> Bytes + use<> {
        let mirrored = PREPEND_REFERENCE_MICROS - (self.clock - PREPEND_REFERENCE_MICROS);
        let entropy = self.entropy;
        *sequence += count as u64;
        let mut back = *sequence;
        move || {
            let path = time_uuid(mirrored - (back / PLACES) as i64, PLACES - 1 - back % PLACES, entropy);
            back -= 1;
            path
        }
    }

    fn operate(
        &self,
        effects: &Effects,
        operation: &BoundOperation,
        cql_type: &CqlType,
        present: Option<&Complex>,
        sequence: &mut u64,
    ) -> Result<ColumnData, ServerError> {
        let mut complex = Complex::default();
        let timestamp = effects.timestamp;
        let cell = |value: Value| self.cell(effects, value);
        match operation {
            BoundOperation::Set(_, value) if !cql_type.is_multi_cell() && *cql_type != CqlType::Counter => {
                return Ok(ColumnData::Simple(cell(value.clone())));
            }
            BoundOperation::Set(_, value) => {
                // Deletes what was there, just below the new elements; null is a value without elements, DELETE is not.
                let is_deletion = self.plan.verb == StatementKind::Delete;
                complex.deletion = if is_deletion { timestamp } else { timestamp - 1 };
                if let Some(bytes) = value {
                    for (order, path, value) in explode(cql_type, bytes, || self.appended(sequence)) {
                        if value.is_some() {
                            complex.insert(order, path, cell(value));
                        }
                    }
                }
            }
            BoundOperation::Append(_, bytes) => {
                for (order, path, value) in explode(cql_type, bytes, || self.appended(sequence)) {
                    complex.insert(order, path, cell(value));
                }
            }
            BoundOperation::Prepend(_, bytes) => {
                let count = codec::split_collection(bytes, false).map_or(0, |elements| elements.len());
                for (order, path, value) in explode(cql_type, bytes, self.prepended(count, sequence)) {
                    complex.insert(order, path, cell(value));
                }
            }
            BoundOperation::Remove(_, bytes) => {
                let removed: Vec<Bytes> =
                    codec::split_collection(bytes, false).unwrap_or_default().into_iter().flatten().collect();
                match cql_type {
                    CqlType::List { .. } => {
                        for (path, value, _) in present.into_iter().flat_map(|p| p.live(self.unix_seconds)) {
                            if removed.contains(value) {
                                let order = order::encode(&CqlType::Timeuuid, path);
                                complex.insert(order, path.clone(), Cell::tombstone(timestamp));
                            }
                        }
                    }
                    CqlType::Set { element: of, .. } | CqlType::Map { key: of, .. } => {
                        for path in removed {
                            complex.insert(order::encode(of, &path), path, Cell::tombstone(timestamp));
                        }
                    }
                    _ => {}
                }
            }
            BoundOperation::SetElement(_, key, value) => {
                let (order, path) = self.element_path(cql_type, key, present, true)?;
                complex.insert(order, path, cell(value.clone()));
            }
            BoundOperation::DeleteElement(_, key) => {
                // Deleting from a list that is not there is an error as well, unless it is conditional.
                let (order, path) = self.element_path(cql_type, key, present, false)?;
                complex.insert(order, path, Cell::tombstone(timestamp));
            }
            BoundOperation::SetField(_, field, value) => {
                let path = field_path(*field);
                complex.insert(path.clone(), path, cell(value.clone()));
            }
            BoundOperation::Increment(_, amount) => {
                let value = Bytes::copy_from_slice(&amount.to_be_bytes());
                complex.insert(Bytes::new(), Bytes::new(), Cell::live(timestamp, value));
            }
        }
        Ok(ColumnData::Complex(complex))
    }

    fn element_path(
        &self,
        cql_type: &CqlType,
        key: &Bytes,
        present: Option<&Complex>,
        sets: bool,
    ) -> Result<(Bytes, Bytes), ServerError> {
        match cql_type {
            CqlType::Map { key: of, .. } | CqlType::Set { element: of, .. } => {
                Ok((order::encode(of, key), key.clone()))
            }
            _ => {
                let live: Vec<_> = present.into_iter().flat_map(|p| p.live(self.unix_seconds)).collect();
                if live.is_empty() {
                    let verb = if sets { "set" } else { "delete" };
                    let preposition = if sets { "on" } else { "from" };
                    return Err(invalid(format!("Attempted to {verb} an element {preposition} a list which is null")));
                }
                let index = text::integer(key);
                let found = usize::try_from(index).ok().and_then(|i| live.get(i));
                let (path, ..) = found
                    .ok_or_else(|| invalid(format!("List index {index} out of bound, list has size {}", live.len())))?;
                Ok((order::encode(&CqlType::Timeuuid, path), (*path).clone()))
            }
        }
    }
}

/// A column as it is stored, with what was done to it since.
fn merged(stored: Option<&ColumnData>, since: Option<&ColumnData>) -> Option<Complex> {
    let data = match (stored, since) {
        (Some(stored), Some(since)) => {
            let mut data = stored.clone();
            data.merge(since.clone());
            data
        }
        (Some(data), None) | (None, Some(data)) => data.clone(),
        (None, None) => return None,
    };
    match data {
        ColumnData::Complex(complex) => Some(complex),
        ColumnData::Simple(_) => None,
    }
}

/// Counter increments of one execution add up instead of superseding each other.
pub fn merge_increments(mutation: &mut Mutation, addition: &Mutation) {
    let sum_rows = |mine: &mut Row, theirs: &Row| {
        mine.deletion = mine.deletion.max(theirs.deletion);
        for (id, data) in theirs.columns.iter() {
            let (Some(ColumnData::Complex(mine)), ColumnData::Complex(theirs)) = (mine.columns.get_mut(id), data)
            else {
                mine.columns.insert(*id, data.clone());
                continue;
            };
            mine.deletion = mine.deletion.max(theirs.deletion);
            for (order, (path, cell)) in &theirs.cells {
                let number = |cell: &Cell| cell.value.as_ref().map_or(0, |v| text::integer(v));
                let before = mine.cells.get(order).map_or(0, |(_, cell)| number(cell));
                let sum = before.wrapping_add(number(cell));
                let cell = Cell::live(cell.timestamp, Bytes::copy_from_slice(&sum.to_be_bytes()));
                mine.cells.insert(order.clone(), (path.clone(), cell));
            }
        }
    };
    sum_rows(&mut mutation.changes.static_row, &addition.changes.static_row);
    for (key, row) in &addition.changes.rows {
        sum_rows(mutation.changes.row_mut(key.clone(), &row.clustering), row);
    }
    let deletions = Partition {
        deletion: addition.changes.deletion,
        range_tombstones: addition.changes.range_tombstones.clone(),
        ..Partition::default()
    };
    mutation.changes.merge(deletions);
}
