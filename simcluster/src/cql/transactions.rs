//! Lightweight transactions: what their conditions are about, whether they hold, and what a refused one shows.
//!
//! The rows are found as Cassandra's `CQL3CasRequest` does it: conditions are kept by row, those on static columns
//! apart. Only the rows with conditions are read, and of them only the columns that matter; with conditions on static
//! columns alone it is the first live row of the partition. What a refused transaction shows is all that was read.

use super::conditions::{BoundCondition, CheckedIf, fails_late};
use super::expr::Env;
use super::modify::{BoundKeys, BoundWrite, ModificationPlan, Target};
use super::relations::{StatementKind, after};
use super::row::RowView;
use super::write::{number, read_command};
use super::{Action, Answer};
use crate::protocol::{ColumnSpec, ResultRows, ServerError};
use crate::schema::{ColumnKind, Schema, Table};
use crate::storage::{ColumnId, Mutation, Partition, PartitionKey, ReadAnswer, ReadCommand, Row, Slice};
use crate::types::{CqlType, Value};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

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
    conditions: Conditions,
    /// The columns that are read.
    fetched: BTreeSet<ColumnId>,
    /// The columns that a refused transaction shows, by index.
    shown: Vec<usize>,
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

/// What must be true of a row.
#[derive(Clone, Debug)]
enum RowCondition {
    Exists,
    NotExists,
    Columns(Vec<BoundCondition>),
}

/// The conditions of all statements.
#[derive(Debug, Default)]
struct Conditions {
    of_static_row: Option<RowCondition>,
    /// By encoded clustering key.
    of_rows: BTreeMap<Bytes, RowCondition>,
}

/// Any time: the ballot's replaces it.
const ANY_TIME: i64 = 1;

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Plans the transaction that these statements are, of which at least one has conditions.
///
/// # Errors
///
/// As Cassandra: several partitions, IN, conditions that cannot be about the same row.
pub fn conditional(
    statements: &[(Arc<ModificationPlan>, Env<'_>)],
    is_batch: bool,
    unix_seconds: i64,
) -> Result<Action, ServerError> {
    let (mut writes, mut conditions): (Vec<BoundWrite>, _) = (Vec::new(), Conditions::default());
    let (mut partition, mut failed_late) = (None, None);
    // Each statement is looked at as a whole before the next one gets its values.
    for (plan, env) in statements {
        let keys = plan.bind_keys(env)?;
        check_place(plan, &keys, partition.as_ref(), is_batch)?;
        partition = partition.or_else(|| keys.keys.first().map(|(key, _)| key.clone()));
        match plan.bind(keys, env, None, true) {
            Ok(bound) => {
                for write in bound {
                    conditions.add_all(&write)?;
                    writes.push(write);
                }
            }
            // Rows are compared after all statements were looked at.
            Err(error) if fails_late(&error) => failed_late = failed_late.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = failed_late {
        return Err(error);
    }
    number(&mut writes);
    let Some(first) = writes.first() else { return Ok(Action::Answer(Answer::Void)) };
    let table = &first.plan.table;
    let slices = if conditions.of_rows.is_empty() {
        vec![Slice { start: Bytes::new(), end: after(&[]) }]
    } else {
        let slice = |key: &Bytes| Slice { start: key.clone(), end: after(key) };
        conditions.of_rows.keys().map(slice).collect()
    };
    Ok(Action::Conditional(ConditionalPlan {
        keyspace: table.keyspace.clone(),
        table: table.id,
        key: first.key.clone(),
        read: read_command(first, slices),
        fetched: fetched(table, &writes),
        shown: shown(table, &writes, is_batch),
        conditions,
        unix_seconds,
        writes,
    }))
}

/// A transaction is about one partition, and about rows that are named one by one.
fn check_place(
    plan: &ModificationPlan,
    keys: &BoundKeys,
    partition: Option<&PartitionKey>,
    is_batch: bool,
) -> Result<(), ServerError> {
    let verb = if plan.verb == StatementKind::Update { "updates" } else { "deletions" };
    if plan.has_key_in && is_batch {
        return Err(ServerError::Server(
            "java.lang.IllegalArgumentException: Batch with conditions cannot span multiple partitions (you cannot use IN on the partition key)".to_owned(),
        ));
    }
    if plan.has_key_in {
        return Err(invalid(format!("IN on the partition key is not supported with conditional {verb}")));
    }
    if keys.keys.iter().any(|(key, _)| partition.is_some_and(|partition| partition != key)) {
        return Err(invalid("Batch with conditions cannot span multiple partitions"));
    }
    if plan.has_clustering_in {
        return Err(invalid(format!("IN on the clustering key columns is not supported with conditional {verb}")));
    }
    Ok(())
}

/// The columns that are read: all of a kind that is written, else those that conditions and list elements need.
fn fetched(table: &Table, writes: &[BoundWrite]) -> BTreeSet<ColumnId> {
    let conditional = || writes.iter().filter(|write| !write.plan.condition.is_none());
    let updates_rows = writes.iter().any(|write| match &write.target {
        Target::Rows(_) | Target::Ranges(_) => true,
        Target::Static | Target::Partition => table.clustering_len == 0,
    });
    let is_static = |index: usize| table.columns[index].kind == ColumnKind::Static;
    let updates_statics = conditional().any(|write| write.written_columns().any(is_static));
    let needed: BTreeSet<usize> =
        conditional().flat_map(|write| write.plan.condition.columns().chain(write.columns_to_read())).collect();
    let columns = table.columns.iter().enumerate().filter(|(index, column)| match column.kind {
        ColumnKind::Static => updates_statics || needed.contains(index),
        ColumnKind::Regular => updates_rows || needed.contains(index),
        ColumnKind::PartitionKey | ColumnKind::Clustering => false,
    });
    columns.map(|(_, column)| ColumnId::of(&column.name)).collect()
}

/// The columns of conditions; all, if a condition is about existence. Batches show which row it was.
fn shown(table: &Table, writes: &[BoundWrite], is_batch: bool) -> Vec<usize> {
    if writes.iter().any(|w| matches!(w.plan.condition, CheckedIf::NotExists | CheckedIf::Exists)) {
        return (0..table.columns.len()).collect();
    }
    let key_len = if is_batch { table.partition_key_len + table.clustering_len } else { 0 };
    let mut shown: Vec<usize> = (0..key_len).collect();
    for column in writes.iter().flat_map(|w| w.plan.condition.columns()) {
        if !shown.contains(&column) {
            shown.push(column);
        }
    }
    shown
}

impl Conditions {
    fn add_all(&mut self, write: &BoundWrite) -> Result<(), ServerError> {
        let row = match &write.target {
            Target::Rows(rows) => rows.first().map(|(key, _)| key),
            Target::Static | Target::Ranges(_) | Target::Partition => None,
        };
        match &write.plan.condition {
            CheckedIf::None => Ok(()),
            CheckedIf::Exists => self.add(row, RowCondition::Exists),
            CheckedIf::NotExists => self.add(row, RowCondition::NotExists),
            CheckedIf::Columns(_) => {
                let is_static = |condition: &BoundCondition| {
                    write.plan.table.columns[condition.column()].kind == ColumnKind::Static
                };
                let (statics, regulars): (Vec<_>, Vec<_>) = write.conditions.iter().cloned().partition(is_static);
                if !regulars.is_empty() {
                    self.add(row, RowCondition::Columns(regulars))?;
                }
                if !statics.is_empty() {
                    self.add(None, RowCondition::Columns(statics))?;
                }
                Ok(())
            }
        }
    }

    /// Adds a condition on a row, or on the static row.
    fn add(&mut self, row: Option<&Bytes>, added: RowCondition) -> Result<(), ServerError> {
        use RowCondition as C;
        let present = match row {
            Some(key) => self.of_rows.get_mut(key),
            None => self.of_static_row.as_mut(),
        };
        let told = match (present, added) {
            (None, added) => {
                match row {
                    Some(key) => {
                        self.of_rows.insert(key.clone(), added);
                    }
                    None => self.of_static_row = Some(added),
                }
                return Ok(());
            }
            (Some(C::Exists), C::Exists) | (Some(C::NotExists), C::NotExists) => return Ok(()),
            (Some(C::Columns(present)), C::Columns(more)) => {
                present.extend(more);
                return Ok(());
            }
            (Some(C::Exists | C::NotExists), C::Exists | C::NotExists) => {
                "Cannot mix IF EXISTS and IF NOT EXISTS conditions for the same row"
            }
            (Some(C::Columns(_)), C::Exists) => "Cannot mix IF conditions and IF EXISTS for the same row",
            // Whichever it was that came first.
            (Some(_), _) => "Cannot mix IF conditions and IF NOT EXISTS for the same row",
        };
        Err(invalid(told))
    }
}

impl ConditionalPlan {
    /// Whether the conditions hold on what was read, and what then is to be written and answered.
    ///
    /// The mutation's timestamps are replaced by the paxos ballot's ([`Mutation::with_timestamp`]).
    ///
    /// # Errors
    ///
    /// As Cassandra, for writes that the data make invalid.
    pub fn decide(&self, _schema: &Schema, read: &ReadAnswer) -> Result<Decision, ServerError> {
        let Some(first) = self.writes.first() else { return Err(ServerError::Server("empty batch".to_owned())) };
        let table = &first.plan.table;
        let current = self.current(read);
        if !self.hold(first, &current) {
            return Ok(Decision { mutation: None, rows: self.refusal(first, &current) });
        }
        let mut mutation = Mutation::new(table.id, &table.keyspace, self.key.clone());
        for write in &self.writes {
            // All have the same time, so that no deletion of the batch covers what it inserts, whichever comes first.
            let mut own = Mutation::new(table.id, &table.keyspace, self.key.clone());
            write.write(&mut own, Some(&current))?;
            mutation.changes.merge(own.with_timestamp(ANY_TIME).changes);
        }
        let columns = Arc::from([applied_column(table)]);
        let rows = ResultRows { columns, rows: vec![vec![boolean(true)]], paging_state: None };
        Ok(Decision { mutation: Some(mutation), rows })
    }

    /// What was read, as far as it was wanted and is live.
    fn current(&self, read: &ReadAnswer) -> Partition {
        let mut current = Partition::default();
        let Some((_, stored)) = read.partitions.iter().find(|(key, _)| *key == self.key) else { return current };
        let wanted = |row: &Row| {
            let mut row = row.clone();
            row.columns.retain(|id, _| self.fetched.contains(id));
            Some(row).filter(|row| row.is_live(self.unix_seconds))
        };
        current.static_row = wanted(&stored.static_row).unwrap_or_default();
        let mut live = stored.rows.iter().filter_map(|(key, row)| Some((key.clone(), wanted(row)?)));
        if self.conditions.of_rows.is_empty() {
            current.rows.extend(live.next());
        } else {
            current.rows.extend(live.filter(|(key, _)| self.conditions.of_rows.contains_key(key)));
        }
        current
    }

    fn hold(&self, write: &BoundWrite, current: &Partition) -> bool {
        let holds = |condition: &RowCondition, exists: bool, row: Option<&Row>| match condition {
            RowCondition::Exists => exists,
            RowCondition::NotExists => !exists,
            RowCondition::Columns(conditions) => {
                let view = self.view(write, row, current);
                conditions.iter().all(|condition| condition.is_met(&view))
            }
        };
        let has_statics = current.static_row.is_live(self.unix_seconds);
        self.conditions.of_static_row.iter().all(|condition| holds(condition, has_statics, None))
            && self.conditions.of_rows.iter().all(|(key, condition)| {
                let row = current.rows.get(key);
                holds(condition, row.is_some(), row)
            })
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

    /// What a refused transaction answers: `[applied]` = false beside every row that was read.
    fn refusal(&self, write: &BoundWrite, current: &Partition) -> ResultRows {
        let table = &write.plan.table;
        let row = |row: Option<&Row>| {
            let view = self.view(write, row, current);
            let values = self.shown.iter().map(|index| view.value(*index));
            std::iter::once(boolean(false)).chain(values).collect::<Vec<Value>>()
        };
        let mut rows: Vec<Vec<Value>> = current.rows.values().map(|found| row(Some(found))).collect();
        if rows.is_empty() && current.static_row.is_live(self.unix_seconds) {
            rows.push(row(None));
        }
        if rows.is_empty() {
            let columns = Arc::from([applied_column(table)]);
            return ResultRows { columns, rows: vec![vec![boolean(false)]], paging_state: None };
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
        let columns = std::iter::once(applied_column(table)).chain(self.shown.iter().map(spec)).collect();
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
