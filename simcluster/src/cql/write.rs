//! Bound statements into one plan: batches, counters, writes that read first.

use super::expr::{Env, Expr};
use super::modify::{BoundWrite, ModificationPlan, merge_increments};
use super::{Action, Answer, BatchType, transactions};
use crate::protocol::ServerError;
use crate::schema::Schema;
use crate::storage::{Mutation, Partition, PartitionKey, ReadAnswer, ReadCommand, ReadTarget, Row, Slice};
use crate::types::text;
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
    /// Whether it is a BATCH, whatever it was merged to: a batch is not asked whether its level is one of writes.
    pub is_batch: bool,
    /// Server warnings.
    pub warnings: Vec<String>,
}

/// A write that depends on what is there (list elements by index).
#[derive(Debug)]
pub struct ReadThenWrite {
    writes: Vec<BoundWrite>,
    /// What is wrong with the statement after them, which is looked at once they have read and written.
    failure: Option<ServerError>,
    batch: Option<BatchType>,
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

/// Refuses statements that may not be in one batch. `has_timestamp`: whether the batch has one of its own.
///
/// # Errors
///
/// As Cassandra: two timestamps, counters among others or where they may not be, conditions on several tables.
pub fn check_batch(kind: BatchType, plans: &[&Arc<ModificationPlan>], has_timestamp: bool) -> Result<(), ServerError> {
    let has_conditions = plans.iter().any(|plan| !plan.condition.is_none());
    if has_timestamp && has_conditions {
        return Err(invalid("Cannot provide custom timestamp for conditional BATCH"));
    }
    if has_timestamp && kind == BatchType::Counter {
        return Err(invalid("Cannot provide custom timestamp for counter BATCH"));
    }
    if has_timestamp && plans.iter().any(|plan| plan.has_timestamp()) {
        return Err(invalid("Timestamp must be set either on BATCH or individual statements"));
    }
    let counters = plans.iter().filter(|plan| plan.is_counter()).count();
    if has_timestamp && counters > 0 {
        return Err(invalid("Cannot provide custom timestamp for a BATCH containing counters"));
    }
    if kind == BatchType::Counter && counters < plans.len() {
        return Err(invalid("Cannot include non-counter statement in a counter batch"));
    }
    if counters > 0 && counters < plans.len() {
        return Err(invalid("Counter and non-counter mutations cannot exist in the same batch"));
    }
    if kind == BatchType::Logged && counters > 0 {
        return Err(invalid("Cannot include a counter statement in a logged batch"));
    }
    if has_conditions && plans.iter().any(|plan| plan.table.id != plans[0].table.id) {
        return Err(invalid("Batch with conditions cannot span multiple tables"));
    }
    Ok(())
}

/// A checked statement with its values.
type Statement<'a> = (Arc<ModificationPlan>, Env<'a>);

/// Gives statements their values and decides how they are carried out. `batch` is `None` for a single statement.
///
/// # Errors
///
/// As Cassandra: null keys, bad TTLs, conditions on several partitions or rows at once, too large a batch.
pub fn bind(
    statements: &[Statement<'_>],
    batch: Option<BatchType>,
    timestamp: Option<&Expr>,
    unix_seconds: i64,
) -> Result<Action, ServerError> {
    if statements.iter().any(|(plan, _)| !plan.condition.is_none()) {
        return transactions::conditional(statements, batch.is_some(), unix_seconds);
    }
    // All partitions are found before anything else is asked.
    let keys = statements.iter().map(|(plan, env)| plan.bind_keys(env)).collect::<Result<Vec<_>, _>>()?;
    let (mut writes, mut failure) = (Vec::new(), None);
    for ((plan, env), keys) in statements.iter().zip(keys) {
        match time_of_batch(timestamp, env).and_then(|timestamp| plan.bind(keys, env, timestamp, false)) {
            Ok(bound) => writes.extend(bound),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    number(&mut writes);
    if writes.iter().any(BoundWrite::needs_read) {
        return Ok(Action::ReadThenWrite(ReadThenWrite { writes, failure, batch }));
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    if writes.is_empty() {
        return Ok(Action::Answer(Answer::Void));
    }
    plan(&writes, batch, &BTreeMap::new()).map(Action::Write)
}

fn time_of_batch(timestamp: Option<&Expr>, env: &Env<'_>) -> Result<Option<i64>, ServerError> {
    let bytes = timestamp.map(|expr| env.value(expr)).transpose()?.flatten();
    Ok(bytes.map(|bytes| text::integer(&bytes)))
}

/// Gives every write room for the elements of all its list operations, in the order of the writes.
pub fn number(writes: &mut [BoundWrite]) {
    for (write, place) in writes.iter_mut().zip(0..) {
        write.sequence = place * 1000;
    }
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
    Ok(WritePlan { mutations, kind, is_batch: batch.is_some(), warnings })
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

/// Reads slices of the partition that a write concerns.
pub fn read_command(write: &BoundWrite, slices: Vec<Slice>) -> ReadCommand {
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
        let plan = plan(&self.writes, self.batch, &current)?;
        self.failure.map_or(Ok(plan), Err)
    }
}
