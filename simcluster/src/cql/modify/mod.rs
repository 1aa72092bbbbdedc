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
use super::relations::{self, Rel};
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
    pub verb: Verb,
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

/// The kind of a statement that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// INSERT: the row exists afterwards.
    Insert,
    /// UPDATE: only cells.
    Update,
    /// DELETE.
    Delete,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
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
    let (mut relations, mut operations, mut json) = (Vec::new(), Vec::new(), None);
    let verb = match &statement.kind {
        ModificationKind::Insert(InsertValues::Columns(values)) => {
            if table.is_counter {
                return Err(invalid("INSERT statements are not allowed on counter tables, use UPDATE instead"));
            }
            for (place, (name, term)) in values.iter().enumerate() {
                let index = find(name)?;
                if values[..place].iter().any(|(earlier, _)| earlier == name) {
                    return Err(invalid(format!("The column names contains duplicates: {name}")));
                }
                let expr = checker.term(term, &Receiver::new(name, &table.columns[index].cql_type))?;
                if index < key_len {
                    relations.push(Rel::Compare(index, Op::Eq, expr));
                } else {
                    operations.push(Operation::Set(index, expr));
                }
            }
            Verb::Insert
        }
        ModificationKind::Insert(InsertValues::Json { text, default_unset }) => {
            let expr = checker.term(text, &Receiver::new("[json]", &CqlType::Text))?;
            json = Some((expr, *default_unset));
            Verb::Insert
        }
        ModificationKind::Update(assignments) => {
            for assignment in assignments {
                operations.push(check_assignment(checker, table, assignment)?);
            }
            Verb::Update
        }
        ModificationKind::Delete(deletions) => {
            for deletion in deletions {
                operations.push(check_deletion(checker, table, deletion)?);
            }
            Verb::Delete
        }
    };
    let using = check_using(checker, &statement.using)?;
    if verb != Verb::Insert {
        relations = relations::check(checker, &statement.relations)?;
    }
    let condition = conditions::check(checker, table, &statement.condition)?;
    if !condition.is_none() && using.1.is_some() {
        return Err(invalid("Cannot provide custom timestamp for conditional updates"));
    }
    if table.is_counter && !condition.is_none() {
        return Err(invalid("Conditional updates are not supported on counter tables"));
    }
    if table.is_counter && (using.0.is_some() || using.1.is_some()) {
        return Err(invalid("Cannot provide custom timestamp for counter updates"));
    }
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
    plan.check_keys()?;
    Ok(plan)
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

    /// The keys must be given, as far as that can be seen without values.
    fn check_keys(&self) -> Result<(), ServerError> {
        if self.json.is_some() {
            return Ok(());
        }
        let table = &self.table;
        let columns_missing = |range: std::ops::Range<usize>| -> Vec<String> {
            range
                .filter(|i| !relations::restricts_equally(&self.relations, *i))
                .map(|i| table.columns[i].name.clone())
                .collect()
        };
        let missing = columns_missing(0..table.partition_key_len);
        if !missing.is_empty() {
            return Err(invalid(format!("Some partition key parts are missing: {}", missing.join(", "))));
        }
        let key_len = table.partition_key_len + table.clustering_len;
        for relation in &self.relations {
            let (Rel::Compare(index, ..) | Rel::In(index, _) | Rel::Contains(index, ..) | Rel::Element(index, ..)) =
                relation
            else {
                continue;
            };
            if *index >= key_len {
                return Err(invalid(format!(
                    "Non PRIMARY KEY columns found in where clause: {}",
                    table.columns[*index].name
                )));
            }
        }
        let missing = columns_missing(table.partition_key_len..key_len);
        if missing.is_empty() || self.is_static_only(missing.len() == table.clustering_len) {
            return Ok(());
        }
        let has_slices =
            self.relations.iter().any(|r| matches!(r, Rel::Compare(_, op, _) | Rel::Tuple(_, op, _) if *op != Op::Eq));
        match self.verb {
            Verb::Delete if self.operations.is_empty() && self.condition.is_none() => Ok(()),
            Verb::Delete if self.operations.is_empty() => Err(invalid(
                "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to use IF condition on non static columns",
            )),
            Verb::Delete => Err(invalid("Range deletions are not supported for specific columns")),
            verb if has_slices => Err(invalid(format!(
                "Slice restrictions are not supported on the clustering columns in {} statements",
                verb.name()
            ))),
            _ => Err(invalid(format!("Some clustering keys are missing: {}", missing.join(", ")))),
        }
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
