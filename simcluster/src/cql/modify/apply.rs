//! The mutations that a bound write makes.

use super::operations::BoundOperation;
use super::{BoundWrite, Target, invalid};
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

impl BoundWrite {
    /// Whether it depends on what is stored: list elements by index or value.
    #[must_use]
    pub fn needs_read(&self) -> bool {
        self.operations.iter().any(|operation| self.reads(operation))
    }

    /// The columns that it writes, by index.
    pub fn written_columns(&self) -> impl Iterator<Item = usize> {
        self.operations.iter().map(BoundOperation::column)
    }

    /// The columns that it has to know before it can write.
    pub fn columns_to_read(&self) -> impl Iterator<Item = usize> {
        self.operations.iter().filter(|operation| self.reads(operation)).map(BoundOperation::column)
    }

    fn reads(&self, operation: &BoundOperation) -> bool {
        match operation {
            BoundOperation::SetElement(i, ..) | BoundOperation::DeleteElement(i, _) | BoundOperation::Remove(i, _) => {
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
        let mut addition = Partition::default();
        match &self.target {
            Target::Static => self.write_row(&mut addition.static_row, current.map(|p| &p.static_row), true)?,
            Target::Rows(rows) => {
                for (key, clustering) in rows {
                    let row = addition.row_mut(key.clone(), clustering);
                    self.write_row(row, current.and_then(|p| p.rows.get(key)), false)?;
                }
                self.write_row(&mut addition.static_row, current.map(|p| &p.static_row), true)?;
            }
            Target::Ranges(slices) => {
                addition.range_tombstones = slices
                    .iter()
                    .map(|s| RangeTombstone { start: s.start.clone(), end: s.end.clone(), timestamp: self.timestamp })
                    .collect();
            }
            Target::Partition => addition.deletion = self.timestamp,
        }
        addition.rows.retain(|_, row| !row.is_empty());
        debug_assert_eq!(mutation.table, table.id, "a mutation is of one table");
        changes.merge(addition);
        Ok(())
    }

    fn expires_at(&self) -> i64 {
        if self.ttl == 0 { NEVER } else { self.unix_seconds + i64::from(self.ttl) }
    }

    fn write_row(&self, row: &mut Row, current: Option<&Row>, statics: bool) -> Result<(), ServerError> {
        let table = &self.plan.table;
        if !statics {
            if self.plan.verb == StatementKind::Insert {
                row.liveness =
                    Some(Liveness { timestamp: self.timestamp, expires_at: self.expires_at(), ttl: self.ttl });
            }
            if self.plan.verb == StatementKind::Delete && self.operations.is_empty() {
                row.deletion = self.timestamp;
            }
        }
        let mut sequence = self.sequence;
        for operation in &self.operations {
            let index = operation.column();
            let column = &table.columns[index];
            if (column.kind == ColumnKind::Static) != statics {
                continue;
            }
            let id = ColumnId::of(&column.name);
            let present = match current.and_then(|row| row.columns.get(&id)) {
                Some(ColumnData::Complex(complex)) => Some(complex),
                _ => None,
            };
            let data = self.operate(operation, &column.cql_type, present, &mut sequence)?;
            match row.columns.get_mut(&id) {
                Some(earlier) => earlier.merge(data),
                None => {
                    row.columns.insert(id, data);
                }
            }
        }
        Ok(())
    }

    fn cell(&self, value: Value) -> Cell {
        match value {
            None => Cell::tombstone(self.timestamp),
            Some(bytes) => {
                Cell { timestamp: self.timestamp, value: Some(bytes), ttl: self.ttl, expires_at: self.expires_at() }
            }
        }
    }

    fn operate(
        &self,
        operation: &BoundOperation,
        cql_type: &CqlType,
        present: Option<&Complex>,
        sequence: &mut u64,
    ) -> Result<ColumnData, ServerError> {
        let mut complex = Complex::default();
        let mut append_path = |micros: i64| {
            *sequence += 1;
            time_uuid(micros, *sequence, self.entropy)
        };
        match operation {
            BoundOperation::Set(_, value) if !cql_type.is_multi_cell() && *cql_type != CqlType::Counter => {
                return Ok(ColumnData::Simple(self.cell(value.clone())));
            }
            BoundOperation::Set(_, value) => {
                // Deletes what was there, just below the new elements.
                complex.deletion = if value.is_some() { self.timestamp - 1 } else { self.timestamp };
                if let Some(bytes) = value {
                    for (order, path, value) in explode(cql_type, bytes, || append_path(self.timestamp)) {
                        if value.is_some() {
                            complex.insert(order, path, self.cell(value));
                        }
                    }
                }
            }
            BoundOperation::Append(_, bytes) => {
                for (order, path, value) in explode(cql_type, bytes, || append_path(self.timestamp)) {
                    complex.insert(order, path, self.cell(value));
                }
            }
            BoundOperation::Prepend(_, bytes) => {
                let mirrored = PREPEND_REFERENCE_MICROS - (self.timestamp - PREPEND_REFERENCE_MICROS);
                for (order, path, value) in explode(cql_type, bytes, || append_path(mirrored)) {
                    complex.insert(order, path, self.cell(value));
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
                                complex.insert(order, path.clone(), Cell::tombstone(self.timestamp));
                            }
                        }
                    }
                    CqlType::Set { element: of, .. } | CqlType::Map { key: of, .. } => {
                        for path in removed {
                            complex.insert(order::encode(of, &path), path, Cell::tombstone(self.timestamp));
                        }
                    }
                    _ => {}
                }
            }
            BoundOperation::SetElement(_, key, value) => {
                let (order, path) = self.element_path(cql_type, key, present, true)?;
                complex.insert(order, path, self.cell(value.clone()));
            }
            BoundOperation::DeleteElement(_, key) => {
                // Deleting from a list that is not there is an error as well, unless it is conditional.
                let (order, path) = self.element_path(cql_type, key, present, false)?;
                complex.insert(order, path, Cell::tombstone(self.timestamp));
            }
            BoundOperation::SetField(_, field, value) => {
                let path = field_path(*field);
                complex.insert(path.clone(), path, self.cell(value.clone()));
            }
            BoundOperation::Increment(_, amount) => {
                let value = Bytes::copy_from_slice(&amount.to_be_bytes());
                complex.insert(Bytes::new(), Bytes::new(), Cell::live(self.timestamp, value));
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
