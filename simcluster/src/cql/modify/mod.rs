//! INSERT, UPDATE and DELETE: checking, binding, and the mutations they make.

mod apply;
mod bind;
mod json;
mod operations;

pub use apply::merge_increments;
pub use bind::{BoundKeys, BoundWrite, Target};
pub use operations::Operation;

use super::ast::{If, InsertValues, Modification, ModificationKind, Op, Term, Using};
use super::conditions::{self, CheckedIf};
use super::expr::{Expr, Receiver};
use super::relations::{self, Context, Facts, Rel, Restrictions, StatementKind};
use super::show;
use super::terms::Checker;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::types::CqlType;
use operations::{check_assignment, check_deletion, set};
use std::sync::Arc;

/// A checked statement that writes.
#[derive(Debug)]
pub struct ModificationPlan {
    /// The table it writes.
    pub table: Arc<Table>,
    /// What it is.
    pub verb: StatementKind,
    /// Which rows; for INSERT its key columns as equalities.
    pub relations: Vec<Rel>,
    /// What it does to their columns.
    pub operations: Vec<Operation>,
    /// IF.
    pub condition: CheckedIf,
    /// Whether the partition key is restricted by IN.
    pub has_key_in: bool,
    /// Whether clustering columns are restricted by IN.
    pub has_clustering_in: bool,
    /// The marker that a whole row comes by as JSON, and whether what the text leaves out stays as it is.
    json: Option<(Expr, bool)>,
    ttl: Option<Expr>,
    timestamp: Option<Expr>,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Checks a statement that writes.
///
/// # Errors
///
/// As Cassandra.
pub fn check(
    checker: &mut Checker<'_>,
    table: &Arc<Table>,
    statement: &Modification,
) -> Result<ModificationPlan, ServerError> {
    let using = check_using(checker, &statement.using)?;
    if using.1.is_some() && matches!(statement.condition, If::Conditions(_)) {
        return Err(invalid("Cannot provide custom timestamp for conditional updates"));
    }
    let condition = conditions::check(checker, table, &statement.condition)?;
    let (mut relations, mut operations, mut json) = (Vec::new(), Vec::new(), None);
    let verb = match &statement.kind {
        ModificationKind::Insert(InsertValues::Columns(values)) => {
            if table.is_counter {
                return Err(invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"));
            }
            (relations, operations) = check_inserted(checker, table, values)?;
            StatementKind::Insert
        }
        ModificationKind::Insert(InsertValues::Json { text, default_unset }) => {
            if table.is_counter {
                return Err(invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"));
            }
            match checker.term(text, &Receiver::new("[json]", &CqlType::Text))? {
                // What is written out is read at once.
                Expr::Const(Some(written)) => {
                    let row = json::read(table, &written, *default_unset)?;
                    (relations, operations) = (row.relations, row.operations);
                }
                marker => json = Some((marker, *default_unset)),
            }
            StatementKind::Insert
        }
        ModificationKind::Update(assignments) => {
            for assignment in assignments {
                operations.push(check_assignment(checker, table, assignment, !condition.is_none())?);
            }
            StatementKind::Update
        }
        ModificationKind::Delete(deletions) => {
            for deletion in deletions {
                operations.push(check_deletion(checker, table, deletion)?);
            }
            StatementKind::Delete
        }
    };
    let only_statics = are_static(table, verb, &operations, &condition);
    let has_clustering =
        relations.iter().any(|r| matches!(r, Rel::Compare(index, ..) if *index >= table.partition_key_len));
    let context = Context {
        statement: verb,
        allow_filtering: false,
        only_statics: only_statics && !(verb == StatementKind::Insert && has_clustering),
    };
    let mut facts = Facts::default();
    if verb != StatementKind::Insert {
        (relations, facts) = relations::check(checker, &statement.relations, context)?;
    } else if json.is_none() {
        let mut restrictions = Restrictions::new(table, context);
        for relation in &relations {
            restrictions.add(relation)?;
        }
        facts = restrictions.finish()?;
    }
    check_condition(table, &condition, &using)?;
    if verb == StatementKind::Delete && !condition.is_none() && !facts.names_rows {
        check_conditional_range(table, &operations, &condition)?;
    }
    check_counter(table, &using)?;
    let plan = ModificationPlan {
        table: table.clone(),
        verb,
        relations,
        operations,
        condition,
        has_key_in: facts.has_key_in,
        has_clustering_in: facts.has_clustering_in,
        json,
        ttl: using.0,
        timestamp: using.1,
    };
    Ok(plan)
}

/// What INSERT sets: relations that name the row, and operations on it.
fn check_inserted(
    checker: &mut Checker<'_>,
    table: &Table,
    values: &[(String, Term)],
) -> Result<(Vec<Rel>, Vec<Operation>), ServerError> {
    let is_doubled =
        |(place, (name, _)): (usize, &(String, Term))| values[..place].iter().any(|(earlier, _)| earlier == name);
    if values.iter().enumerate().any(is_doubled) {
        return Err(invalid("The column names contains duplicates"));
    }
    // What keys are compared with is looked at once all columns are known.
    let (mut keys, mut operations) = (Vec::new(), Vec::new());
    for (name, term) in values {
        let index = find(table, name)?;
        if index < table.partition_key_len + table.clustering_len {
            keys.push((index, term));
        } else {
            operations.push(set(checker, index, term, &Receiver::of(&table.columns[index]))?);
        }
    }
    let relation = |(index, term): (usize, &Term)| {
        let value = checker.term(term, &Receiver::of(&table.columns[index]))?;
        Ok(Rel::Compare(index, Op::Eq, value))
    };
    Ok((keys.into_iter().map(relation).collect::<Result<_, ServerError>>()?, operations))
}

fn find(table: &Table, name: &str) -> Result<usize, ServerError> {
    table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))
}

/// Conditions have their own times.
fn check_condition(
    table: &Table,
    condition: &CheckedIf,
    using: &(Option<Expr>, Option<Expr>),
) -> Result<(), ServerError> {
    if condition.is_none() {
        return Ok(());
    }
    if table.is_counter {
        return Err(invalid("Conditional updates are not supported on counter tables"));
    }
    if using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for conditional updates"));
    }
    Ok(())
}

/// Counters have their own times.
fn check_counter(table: &Table, using: &(Option<Expr>, Option<Expr>)) -> Result<(), ServerError> {
    if table.is_counter && using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for counter updates"));
    }
    if table.is_counter && using.0.is_some() {
        return Err(invalid("Cannot provide custom TTL for counter updates"));
    }
    Ok(())
}

/// What a conditional DELETE refuses when it does not name single rows.
fn check_conditional_range(table: &Table, operations: &[Operation], condition: &CheckedIf) -> Result<(), ServerError> {
    let is_regular = |index: usize| table.columns[index].kind == ColumnKind::Regular;
    if operations.is_empty() || operations.iter().any(|o| is_regular(o.column())) {
        return Err(invalid(
            "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to delete non static columns",
        ));
    }
    if condition.columns().any(is_regular) {
        return Err(invalid(
            "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to use IF condition on non static columns",
        ));
    }
    Ok(())
}

/// Whether a statement writes and asks for static columns and no others. A DELETE of no column is one of rows.
fn are_static(table: &Table, verb: StatementKind, operations: &[Operation], condition: &CheckedIf) -> bool {
    let is_static = |index: usize| table.columns[index].kind == ColumnKind::Static;
    let deletes_rows = verb == StatementKind::Delete && operations.is_empty();
    !deletes_rows
        && (!operations.is_empty() || condition.touches_columns())
        && operations.iter().all(|o| is_static(o.column()))
        && condition.columns().all(is_static)
}

/// TTL and TIMESTAMP of USING.
pub fn check_using(checker: &mut Checker<'_>, using: &Using) -> Result<(Option<Expr>, Option<Expr>), ServerError> {
    let ttl = using.ttl.as_ref().map(|t| checker.term(t, &Receiver::new("[ttl]", &CqlType::Int))).transpose()?;
    let timestamp = using
        .timestamp
        .as_ref()
        .map(|t| checker.term(t, &Receiver::new("[timestamp]", &CqlType::Bigint)))
        .transpose()?;
    Ok((ttl, timestamp))
}

impl ModificationPlan {
    /// Whether it changes counters.
    #[must_use]
    pub fn is_counter(&self) -> bool {
        self.table.is_counter
    }

    /// Whether it has USING TIMESTAMP.
    #[must_use]
    pub const fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Whether it names no clustering column and concerns only static ones.
    fn is_static_only(&self, no_clustering: bool) -> bool {
        no_clustering
            && self.table.clustering_len > 0
            && are_static(&self.table, self.verb, &self.operations, &self.condition)
    }
}
