//! INSERT, UPDATE and DELETE: checking, binding, and the mutations they make.

mod apply;
mod bind;
mod json;
mod operations;

pub use apply::merge_increments;
pub use bind::{BoundWrite, Target};
pub use operations::Operation;

use super::ast::{InsertValues, Modification, ModificationKind, Op, Using};
use super::conditions::{self, CheckedIf};
use super::expr::{Checker, Expr, Receiver};
use super::relations::{self, Context, Facts, Rel, Restrictions, StatementKind};
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::types::CqlType;
use operations::{check_assignment, check_deletion};
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
    let find = |name: &str| {
        table
            .column_index(name)
            .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))
    };
    let key_len = table.partition_key_len + table.clustering_len;
    let using = check_using(checker, &statement.using)?;
    let condition = conditions::check(checker, table, &statement.condition)?;
    let (mut relations, mut operations, mut json) = (Vec::new(), Vec::new(), None);
    let verb = match &statement.kind {
        ModificationKind::Insert(InsertValues::Columns(values)) => {
            if table.is_counter {
                return Err(invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"));
            }
            for (place, (name, term)) in values.iter().enumerate() {
                let index = find(name)?;
                if values[..place].iter().any(|(earlier, _)| earlier == name) {
                    return Err(invalid("The column names contains duplicates"));
                }
                let expr = checker.term(term, &Receiver::new(name, &table.columns[index].cql_type))?;
                if index < key_len {
                    relations.push(Rel::Compare(index, Op::Eq, expr));
                } else {
                    operations.push(Operation::Set(index, expr));
                }
            }
            StatementKind::Insert
        }
        ModificationKind::Insert(InsertValues::Json { text, default_unset }) => {
            let expr = checker.term(text, &Receiver::new("[json]", &CqlType::Text))?;
            json = Some((expr, *default_unset));
            StatementKind::Insert
        }
        ModificationKind::Update(assignments) => {
            for assignment in assignments {
                let operation = check_assignment(checker, table, assignment)?;
                if let Some(other) = operations.iter().find(|other| operation.contradicts(other)) {
                    return Err(ServerError::Syntax(format!(
                        "Multiple incompatible setting of column {}",
                        table.columns[Operation::column(other)].name
                    )));
                }
                operations.push(operation);
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
    let only_statics = condition.touches_columns() | !operations.is_empty()
        && operations.iter().all(|o| table.columns[o.column()].kind == ColumnKind::Static)
        && condition.columns().all(|index| table.columns[index].kind == ColumnKind::Static);
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
    if verb == StatementKind::Delete {
        check_deletion_of_ranges(table, &operations, &condition, &facts)?;
    }
    check_times(table, &condition, &using)?;
    let plan = ModificationPlan {
        table: table.clone(),
        verb,
        relations,
        operations,
        condition,
        json,
        ttl: using.0,
        timestamp: using.1,
    };
    Ok(plan)
}

/// Conditions and counters have their own times.
fn check_times(table: &Table, condition: &CheckedIf, using: &(Option<Expr>, Option<Expr>)) -> Result<(), ServerError> {
    if !condition.is_none() && using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for conditional updates"));
    }
    if table.is_counter && !condition.is_none() {
        return Err(invalid("Conditional updates are not supported on counter tables"));
    }
    if table.is_counter && using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for counter updates"));
    }
    if table.is_counter && using.0.is_some() {
        return Err(invalid("Cannot provide custom TTL for counter updates"));
    }
    Ok(())
}

/// What DELETE refuses when it does not name single rows.
fn check_deletion_of_ranges(
    table: &Table,
    operations: &[Operation],
    condition: &CheckedIf,
    facts: &Facts,
) -> Result<(), ServerError> {
    if facts.names_rows {
        return Ok(());
    }
    let is_regular = |index: usize| table.columns[index].kind == ColumnKind::Regular;
    let deletes_cells = operations.iter().any(|o| is_regular(o.column()));
    if condition.is_none() {
        return if deletes_cells {
            Err(invalid("Range deletions are not supported for specific columns"))
        } else {
            Ok(())
        };
    }
    if deletes_cells {
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

    /// Whether it names no clustering column and concerns only static ones.
    fn is_static_only(&self, no_clustering: bool) -> bool {
        let is_static = |index: usize| self.table.columns[index].kind == ColumnKind::Static;
        let touches = !self.operations.is_empty() || self.condition.touches_columns();
        no_clustering
            && self.table.clustering_len > 0
            && touches
            && self.operations.iter().all(|o| is_static(o.column()))
            && self.condition.columns().all(is_static)
    }
}
