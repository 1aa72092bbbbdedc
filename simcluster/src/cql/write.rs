//! Bound statements into one plan: batches, counters, writes that read first, lightweight transactions.

use super::conditions::CheckedIf;
use super::modify::{BoundWrite, merge_increments};
use super::row::RowView;
use super::{Action, Answer, BatchType};
use crate::protocol::{ColumnSpec, ResultRows, ServerError};
use crate::schema::{Schema, Table};
use crate::storage::{Mutation, Partition, PartitionKey, ReadAnswer, ReadCommand, ReadTarget, Row, Slice};
use crate::types::{CqlType, Value};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Which path a write takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// One mutation.
    Simple,
    /// A logged batch of several mutations.
    LoggedBatch,
    /// Several mutations without a log.
    UnloggedBatch,
    /// Counter increments.
    Counter,
}

/// Mutations to apply.
#[derive(Clone, Debug)]
pub struct WritePlan {
    /// Merged by table and partition: at most one per partition and table.
    pub mutations: Vec<Mutation>,
    /// Which path they take.
    pub kind: WriteKind,
    /// Server warnings.
    pub warnings: Vec<String>,
}

/// A write that depends on what is there (list elements by index).
#[derive(Debug)]
pub struct ReadThenWrite {
    writes: Vec<BoundWrite>,
    batch: Option<BatchType>,
}

/// A lightweight transaction on one partition.
#[derive(Debug)]
pub struct ConditionalPlan {
    /// Unquoted keyspace name.
    pub keyspace: String,
    /// The table's id.
    pub table: Uuid,
    /// The partition.
    pub key: PartitionKey,
    /// What to read before deciding.
    pub read: ReadCommand,
    writes: Vec<BoundWrite>,
    is_batch: bool,
    unix_seconds: i64,
}

/// The outcome of checking conditions.
#[derive(Debug)]
pub struct Decision {
    /// What to propose; `None` if the conditions do not hold.
    pub mutation: Option<Mutation>,
    /// The `[applied]` row or rows to answer.
    pub rows: ResultRows,
}

/// A batch of several partitions above this size gives a warning.
const BATCH_WARN_BYTES: usize = 5 * 1024;
/// A batch of several partitions above this size is refused.
const BATCH_FAIL_BYTES: usize = 50 * 1024;
/// An unlogged batch over more partitions than this gives a warning.
const BATCH_WARN_PARTITIONS: usize = 10;

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Decides how bound statements are carried out. `batch` is `None` for a single statement.
///
/// # Errors
///
/// As Cassandra: mixed counters, conditions on several partitions, too large a batch.
pub fn combine(writes: Vec<BoundWrite>, batch: Option<BatchType>, unix_seconds: i64) -> Result<Action, ServerError> {
    if let Some(kind) = batch {
        let counters = writes.iter().filter(|w| w.plan.is_counter()).count();
        match kind {
            BatchType::Logged if counters > 0 => {
                return Err(invalid("Cannot include a counter statement in a logged batch"));
            }
            BatchType::Counter if counters < writes.len() => {
                return Err(invalid("Cannot include non-counter statement in a counter batch"));
            }
            BatchType::Unlogged if counters > 0 && counters < writes.len() => {
                return Err(invalid("Counter and non-counter mutations cannot exist in the same batch"));
            }
            _ => {}
        }
    }
    if writes.iter().any(|w| !w.plan.condition.is_none()) {
        return conditional(writes, batch.is_some(), unix_seconds);
    }
    if writes.is_empty() {
        return Ok(Action::Answer(Answer::Void));
    }
    if writes.iter().any(BoundWrite::needs_read) {
        return Ok(Action::ReadThenWrite(ReadThenWrite { writes, batch }));
    }
    plan(&writes, batch, &BTreeMap::new()).map(Action::Write)
}

type Current = BTreeMap<(Uuid, PartitionKey), Partition>;

fn plan(writes: &[BoundWrite], batch: Option<BatchType>, current: &Current) -> Result<WritePlan, ServerError> {
    // In order of first appearance.
    let mut mutations: Vec<Mutation> = Vec::new();
    for write in writes {
        let table = &write.plan.table;
        let place = mutations.iter().position(|m| m.table == table.id && m.key == write.key);
        let place = place.unwrap_or_else(|| {
            mutations.push(Mutation::new(table.id, &table.keyspace, write.key.clone()));
            mutations.len() - 1
        });
        let stored = current.get(&(table.id, write.key.clone()));
        if table.is_counter {
            let mut addition = Mutation::new(table.id, &table.keyspace, write.key.clone());
            write.write(&mut addition, stored)?;
            merge_increments(&mut mutations[place], &addition);
        } else {
            write.write(&mut mutations[place], stored)?;
        }
    }
    mutations.retain(|mutation| !mutation.changes.is_empty());
    let tables = || {
        let names: std::collections::BTreeSet<String> = writes.iter().map(|w| w.plan.table.full_name()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut warnings = Vec::new();
    if batch.is_some() && mutations.len() > 1 {
        let size: usize = mutations.iter().map(Mutation::size).sum();
        if size > BATCH_FAIL_BYTES {
            return Err(invalid("Batch too large"));
        }
        if size > BATCH_WARN_BYTES {
            let kib = |bytes: usize| format!("{}.{:03}KiB", bytes / 1024, bytes % 1024 * 1000 / 1024);
            warnings.push(format!(
                "Batch for [{}] is of size {}, exceeding specified threshold of {} by {}.",
                tables(),
                kib(size),
                kib(BATCH_WARN_BYTES),
                kib(size - BATCH_WARN_BYTES)
            ));
        }
        if batch == Some(BatchType::Unlogged) && mutations.len() > BATCH_WARN_PARTITIONS {
            let plural = if tables().contains(',') { "s" } else { "" };
            warnings.push(format!(
                "Unlogged batch covering {} partitions detected against table{plural} [{}]. You should use a logged batch for atomicity, or asynchronous writes for performance.",
                mutations.len(),
                tables()
            ));
        }
    }
    let kind = if writes.iter().any(|w| w.plan.is_counter() && !mutations.iter().all(is_deletion)) {
        WriteKind::Counter
    } else if mutations.len() <= 1 {
        WriteKind::Simple
    } else if batch == Some(BatchType::Logged) {
        WriteKind::LoggedBatch
    } else {
        WriteKind::UnloggedBatch
    };
    Ok(WritePlan { mutations, kind, warnings })
}

/// Whether a mutation of a counter table increments nothing: deletions are ordinary writes.
fn is_deletion(mutation: &Mutation) -> bool {
    let increments = |row: &Row| {
        row.columns.values().any(|data| match data {
            crate::storage::ColumnData::Complex(complex) => !complex.cells.is_empty(),
            crate::storage::ColumnData::Simple(_) => false,
        })
    };
    !increments(&mutation.changes.static_row) && !mutation.changes.rows.values().any(increments)
}

fn read_command(write: &BoundWrite, slices: Vec<Slice>) -> ReadCommand {
    let table = &write.plan.table;
    let target = ReadTarget::Partition(write.key.clone());
    ReadCommand { slices: Some(slices), ..ReadCommand::new(table.id, &table.keyspace, target, usize::MAX) }
}

impl ReadThenWrite {
    /// What to read, at the write's consistency level, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<ReadCommand> {
        let reading = self.writes.iter().filter(|write| write.needs_read());
        reading.map(|write| read_command(write, write.slices())).collect()
    }

    /// The write, given the merged answers in the same order.
    ///
    /// # Errors
    ///
    /// As Cassandra: list index out of bounds.
    pub fn decide(self, _schema: &Schema, answers: Vec<ReadAnswer>) -> Result<WritePlan, ServerError> {
        let mut current: Current = BTreeMap::new();
        let reading = self.writes.iter().filter(|write| write.needs_read());
        for (write, answer) in reading.zip(answers) {
            for (key, partition) in answer.partitions {
                current.entry((write.plan.table.id, key)).or_default().merge(partition);
            }
        }
        plan(&self.writes, self.batch, &current)
    }
}

fn conditional(writes: Vec<BoundWrite>, is_batch: bool, unix_seconds: i64) -> Result<Action, ServerError> {
    let Some(first) = writes.first() else { return Ok(Action::Answer(Answer::Void)) };
    if writes.iter().any(|w| w.plan.table.id != first.plan.table.id) {
        return Err(invalid("Batch with conditions cannot span multiple tables"));
    }
    if writes.iter().any(|w| w.key != first.key) {
        return Err(invalid(if is_batch {
            "Batch with conditions cannot span multiple partitions"
        } else {
            "IN on the partition key is not supported with conditional updates"
        }));
    }
    let mut slices: Vec<Slice> = writes.iter().flat_map(BoundWrite::slices).collect();
    slices.sort();
    slices.dedup();
    let read = read_command(first, slices);
    Ok(Action::Conditional(ConditionalPlan {
        keyspace: first.plan.table.keyspace.clone(),
        table: first.plan.table.id,
        key: first.key.clone(),
        read,
        is_batch,
        unix_seconds,
        writes,
    }))
}

impl ConditionalPlan {
    /// Whether the conditions hold on what was read, and what then is to be written and answered.
    ///
    /// The mutation's timestamps are replaced by the paxos ballot's ([`Mutation::with_timestamp`]).
    ///
    /// # Errors
    ///
    /// As Cassandra, for conditions that the data make invalid.
    pub fn decide(&self, _schema: &Schema, read: &ReadAnswer) -> Result<Decision, ServerError> {
        let stored = read.partitions.iter().find(|(key, _)| *key == self.key).map(|(_, partition)| partition);
        let nothing = Partition::default();
        let current = stored.unwrap_or(&nothing);
        let mut applied = true;
        for write in &self.writes {
            applied &= self.is_met(write, current);
        }
        let Some(first) = self.writes.first() else { return Err(ServerError::Server("empty batch".to_owned())) };
        let table = &first.plan.table;
        if !applied {
            return Ok(Decision { mutation: None, rows: self.refusal(table, current) });
        }
        let mut mutation = Mutation::new(table.id, &table.keyspace, self.key.clone());
        for write in &self.writes {
            write.write(&mut mutation, stored)?;
        }
        let columns = Arc::from([applied_column(table)]);
        let rows = ResultRows { columns, rows: vec![vec![boolean(true)]], paging_state: None };
        Ok(Decision { mutation: Some(mutation), rows })
    }

    /// The rows of a write's conditions; a missing row is `None`.
    fn rows<'a>(&self, write: &BoundWrite, current: &'a Partition) -> Vec<Option<&'a Row>> {
        let slices = write.slices();
        if slices.is_empty() {
            return vec![None];
        }
        slices
            .iter()
            .map(|slice| current.rows.range(slice.start.clone()..slice.end.clone()).next().map(|(_, row)| row))
            .map(|row| row.filter(|row| row.is_live(self.unix_seconds)))
            .collect()
    }

    fn view<'a>(&self, write: &'a BoundWrite, row: Option<&'a Row>, current: &'a Partition) -> RowView<'a> {
        RowView {
            table: &write.plan.table,
            key: &write.key_parts,
            row,
            static_row: &current.static_row,
            unix_seconds: self.unix_seconds,
        }
    }

    fn is_met(&self, write: &BoundWrite, current: &Partition) -> bool {
        let is_static = write.slices().is_empty();
        self.rows(write, current).into_iter().all(|row| {
            let exists = row.is_some() || is_static && current.static_row.is_live(self.unix_seconds);
            match &write.plan.condition {
                CheckedIf::None => true,
                CheckedIf::NotExists => !exists,
                CheckedIf::Exists => exists,
                CheckedIf::Columns(_) => {
                    let view = self.view(write, row, current);
                    write.conditions.iter().all(|condition| condition.is_met(&view))
                }
            }
        })
    }

    /// What a refused transaction answers: `[applied]` = false and what was there instead.
    fn refusal(&self, table: &Table, current: &Partition) -> ResultRows {
        let mut shown: Vec<usize> = Vec::new();
        let by_columns = self.writes.iter().any(|w| w.plan.condition.touches_columns());
        let by_existence =
            self.writes.iter().any(|w| matches!(w.plan.condition, CheckedIf::NotExists | CheckedIf::Exists));
        if by_existence || !by_columns {
            shown.extend(0..table.columns.len());
        } else {
            if self.is_batch {
                shown.extend(0..table.partition_key_len + table.clustering_len);
            }
            for column in self.writes.iter().flat_map(|w| w.plan.condition.columns()) {
                if !shown.contains(&column) {
                    shown.push(column);
                }
            }
        }
        let mut rows: Vec<Vec<Value>> = Vec::new();
        let mut seen: Vec<Option<Bytes>> = Vec::new();
        for write in self.writes.iter().filter(|w| !w.plan.condition.is_none()) {
            for (slice, row) in
                write.slices().iter().map(|s| Some(s.start.clone())).chain([None]).zip(self.rows(write, current))
            {
                let statics = current.static_row.is_live(self.unix_seconds);
                if seen.contains(&slice) || row.is_none() && !statics {
                    continue;
                }
                seen.push(slice);
                let view = self.view(write, row, current);
                let mut values = vec![boolean(false)];
                values.extend(shown.iter().map(|index| view.value(*index)));
                rows.push(values);
            }
        }
        if rows.is_empty() {
            return ResultRows {
                columns: Arc::from([applied_column(table)]),
                rows: vec![vec![boolean(false)]],
                paging_state: None,
            };
        }
        let spec = |index: &usize| {
            let column = &table.columns[*index];
            ColumnSpec {
                keyspace: table.keyspace.clone(),
                table: table.name.clone(),
                name: column.name.clone(),
                cql_type: column.cql_type.clone(),
            }
        };
        let columns = std::iter::once(applied_column(table)).chain(shown.iter().map(spec)).collect();
        ResultRows { columns, rows, paging_state: None }
    }
}

fn applied_column(table: &Table) -> ColumnSpec {
    ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: "[applied]".to_owned(),
        cql_type: CqlType::Boolean,
    }
}

fn boolean(value: bool) -> Value {
    Some(Bytes::copy_from_slice(&[u8::from(value)]))
}
