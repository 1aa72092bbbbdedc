//! The WHERE clause: which partitions, which rows, and what has to be filtered.

mod check;
mod filter;
mod indexes;
mod plan;
mod restrictions;

pub use check::check;
pub use filter::{elements, holds};
pub use indexes::is_storage_attached;
pub use plan::{after, plan};
pub use restrictions::{Context, Facts, Restrictions, StatementKind};

use super::Bound;
use super::ast::Op;
use super::expr::{Env, Expr, check_value};
use super::parser::not_modelled;
use crate::protocol::ServerError;
use crate::ring::TokenRange;
use crate::schema::Table;
use crate::storage::Slice;
use crate::types::codec;
use bytes::Bytes;

/// A relation with types.
#[derive(Clone, Debug)]
pub enum Rel {
    /// `column op value`.
    Compare(usize, Op, Expr),
    /// `column IN values`.
    In(usize, InExpr),
    /// `(columns) op (values)`.
    Tuple(Vec<usize>, Op, Expr),
    /// `(columns) IN ((values), …)`.
    TupleIn(Vec<usize>, InExpr),
    /// `token(key) op value`.
    Token(Op, Expr),
    /// `column CONTAINS [KEY] value`.
    Contains(usize, bool, Expr),
    /// `column[key] = value`.
    Element(usize, Expr, Expr),
}

/// The values of IN: each an expression, or one marker bound to a list.
#[derive(Clone, Debug)]
pub enum InExpr {
    /// `(a, b)`.
    Each(Vec<Expr>),
    /// `?`.
    List(Expr),
}

/// A relation with its values.
#[derive(Clone, Debug)]
pub enum Test {
    Compare(usize, Op, Bytes),
    /// A bound of a clustering column that is null: it lies before every value, in either direction of order.
    Bound(usize, Op),
    In(usize, Vec<Bytes>),
    Tuple(Vec<usize>, Op, Vec<Bytes>),
    TupleIn(Vec<usize>, Vec<Vec<Bytes>>),
    Token(Op, i64),
    Contains(usize, bool, Bytes),
    Element(usize, Bytes, Bytes),
}

/// What a WHERE clause selects.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The partition keys in the order of their type, if all components are given.
    pub partitions: Option<Vec<Vec<Bytes>>>,
    /// The arc of the ring; `None` if it is empty.
    pub range: Option<TokenRange>,
    /// Which rows of each partition; `None` is all.
    pub slices: Option<Vec<Slice>>,
    /// What rows must be tested for.
    pub tests: Vec<Test>,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// The text with which Cassandra refuses to filter.
pub const FILTERING: &str = "Cannot execute this query as it might involve data filtering and thus may have unpredictable performance. If you want to execute this query despite the performance unpredictability, use ALLOW FILTERING";

/// For each component of the partition key the marker it is bound to; empty unless all are.
///
/// Of several markers for the same component it is the last one, whatever it is compared with.
#[must_use]
pub fn partition_key_markers<'a>(table: &Table, relations: impl Iterator<Item = &'a Rel>) -> Vec<u16> {
    let mut last: Vec<Option<u16>> = vec![None; table.partition_key_len];
    let mut see = |index: usize, expr: &Expr| {
        if let (Some(place), Expr::Marker(marker, _)) = (last.get_mut(index), expr) {
            *place = (*place).max(u16::try_from(*marker).ok());
        }
    };
    for relation in relations {
        match relation {
            Rel::Compare(index, _, expr) => see(*index, expr),
            Rel::In(index, InExpr::Each(exprs)) => exprs.iter().for_each(|expr| see(*index, expr)),
            _ => {}
        }
    }
    last.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Gives the relations of a SELECT their values, in the order in which Cassandra asks for them.
///
/// A read of named partitions begins with their keys. Any other read begins with the rows within partitions, and
/// then comes what rows are filtered by.
///
/// # Errors
///
/// As Cassandra: null or unset where a value is needed.
pub fn bind(table: &Table, relations: &[Rel], facts: &Facts, env: &Env<'_>) -> Result<Vec<Test>, ServerError> {
    let is_ranged = facts.is_key_range || facts.uses_index;
    let turn = |relation: &Rel| match place(table, relation) {
        place if facts.is_filtered(relation) => (2, place),
        place if place >= table.partition_key_len => (1, place),
        place if is_ranged => (3, place),
        place => (0, place),
    };
    let mut ordered: Vec<&Rel> = relations.iter().collect();
    ordered.sort_by_key(|relation| turn(relation));
    ordered.into_iter().map(|relation| bind_one(table, relation, facts.is_filtered(relation), env)).collect()
}

/// The components of the partition keys that a write names, in the order of their type.
///
/// # Errors
///
/// As [`bind`]; and keys that are empty or too long.
pub fn bind_keys(table: &Table, relations: &[Rel], env: &Env<'_>) -> Result<Vec<Vec<Bytes>>, ServerError> {
    let keys = bind_some(table, relations, env, |relation| is_of_key(table, relation))?;
    Ok(plan::partition_keys(table, &keys)?.unwrap_or_default())
}

/// Gives the relations on the rows of a partition their values.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_rows(table: &Table, relations: &[Rel], env: &Env<'_>) -> Result<Vec<Test>, ServerError> {
    bind_some(table, relations, env, |relation| !is_of_key(table, relation))
}

/// Gives some relations of a write their values, in the order of the key; a write filters nothing.
fn bind_some(
    table: &Table,
    relations: &[Rel],
    env: &Env<'_>,
    wanted: impl Fn(&Rel) -> bool,
) -> Result<Vec<Test>, ServerError> {
    let mut ordered: Vec<&Rel> = relations.iter().filter(|relation| wanted(relation)).collect();
    ordered.sort_by_key(|relation| place(table, relation));
    ordered.into_iter().map(|relation| bind_one(table, relation, false, env)).collect()
}

fn is_of_key(table: &Table, relation: &Rel) -> bool {
    place(table, relation) < table.partition_key_len
}

/// Key columns get their values first, in their order, and then all others.
fn place(table: &Table, relation: &Rel) -> usize {
    match relation {
        Rel::Compare(column, ..) | Rel::In(column, _) | Rel::Contains(column, ..) | Rel::Element(column, ..) => {
            (*column).min(table.partition_key_len + table.clustering_len)
        }
        Rel::Tuple(columns, ..) | Rel::TupleIn(columns, _) => columns.first().copied().unwrap_or_default(),
        Rel::Token(..) => 0,
    }
}

/// The test of one relation: either it finds rows or rows are filtered by it.
fn bind_one(table: &Table, relation: &Rel, is_filtered: bool, env: &Env<'_>) -> Result<Test, ServerError> {
    Ok(match relation {
        Rel::Compare(i, op, expr) => {
            let is_bound = *op != Op::Eq && !is_filtered;
            if is_bound && matches!(env.bound(expr)?, Bound::Value(None)) {
                return Ok(Test::Bound(*i, *op));
            }
            Test::Compare(*i, *op, value(table, *i, expr, is_filtered, env)?)
        }
        // No row that is filtered has a null: it is one more value that is not found.
        Rel::In(i, InExpr::Each(exprs)) if is_filtered && exprs.len() > 1 => {
            let is_null = |expr: &&Expr| matches!(env.bound(expr), Ok(Bound::Value(None)));
            let present = exprs.iter().filter(|expr| !is_null(expr));
            Test::In(*i, present.map(|expr| value(table, *i, expr, true, env)).collect::<Result<Vec<_>, _>>()?)
        }
        Rel::In(i, InExpr::Each(exprs)) => {
            let values = exprs.iter().map(|expr| value(table, *i, expr, is_filtered, env));
            Test::In(*i, values.collect::<Result<Vec<_>, _>>()?)
        }
        Rel::In(i, InExpr::List(expr)) => {
            let name = &table.columns[*i].name;
            let bytes = needed(env.unchecked(expr)?, "Invalid", &format!("value for column {name}"))?;
            let values = list_values(&bytes, &format!("column {name}"))?;
            values.iter().try_for_each(|value| check_value(&table.columns[*i].cql_type, value))?;
            Test::In(*i, values)
        }
        Rel::Tuple(columns, op, expr) => {
            let bytes = env.value(expr)?.ok_or_else(internal_error)?;
            Test::Tuple(columns.clone(), *op, tuple_values(table, columns, *op, &bytes)?)
        }
        Rel::TupleIn(columns, InExpr::Each(exprs)) => {
            let mut tuples = Vec::new();
            for expr in exprs {
                let bytes = env.value(expr)?.ok_or_else(internal_error)?;
                tuples.push(match exprs.len() {
                    1 => tuple_values(table, columns, Op::Eq, &bytes)?,
                    _ => in_tuple_values(table, columns, &bytes)?,
                });
            }
            Test::TupleIn(columns.clone(), tuples)
        }
        Rel::TupleIn(columns, InExpr::List(expr)) => {
            let bytes = needed(env.bound(expr)?, "Invalid", "value for IN restriction")?;
            let values = list_values(&bytes, "IN restriction")?;
            let tuples = values.iter().map(|v| in_tuple_values(table, columns, v)).collect::<Result<Vec<_>, _>>()?;
            Test::TupleIn(columns.clone(), tuples)
        }
        Rel::Token(op, expr) => match env.bound(expr)? {
            Bound::Value(Some(bytes)) => Test::Token(*op, crate::types::text::integer(&bytes)),
            Bound::Value(None) => return Err(invalid("Invalid null token value")),
            Bound::Unset => return Err(internal_error()),
        },
        Rel::Contains(i, key, expr) => Test::Contains(*i, *key, value(table, *i, expr, is_filtered, env)?),
        Rel::Element(i, key, expr) => {
            let name = &table.columns[*i].name;
            let key = needed(env.bound(key)?, "Unsupported", &format!("map key for column {name}"))?;
            Test::Element(*i, key, needed(env.bound(expr)?, "Unsupported", &format!("map value for column {name}"))?)
        }
    })
}

/// The value a column is compared with; a filter says in other words than a key that it needs one.
fn value(table: &Table, index: usize, expr: &Expr, is_filtered: bool, env: &Env<'_>) -> Result<Bytes, ServerError> {
    let name = &table.columns[index].name;
    match env.bound(expr)? {
        bound if is_filtered => needed(bound, "Unsupported", &format!("value for column {name}")),
        Bound::Value(None) => Err(invalid(format!("Invalid null value in condition for column {name}"))),
        bound => needed(bound, "Invalid", &format!("value for column {name}")),
    }
}

fn needed(bound: Bound, verdict: &str, what: &str) -> Result<Bytes, ServerError> {
    match bound {
        Bound::Value(Some(bytes)) => Ok(bytes),
        Bound::Value(None) => Err(invalid(format!("{verdict} null {what}"))),
        Bound::Unset => Err(invalid(format!("{verdict} unset {what}"))),
    }
}

/// What Cassandra answers with the text of a Java exception.
fn internal_error() -> ServerError {
    not_modelled("a value that makes Cassandra fail with an internal error")
}

fn list_values(bytes: &Bytes, place: &str) -> Result<Vec<Bytes>, ServerError> {
    let parts: Option<Vec<Bytes>> = codec::split_collection(bytes, false).and_then(|parts| parts.into_iter().collect());
    parts.ok_or_else(|| invalid(format!("Invalid null value in condition for {place}")))
}

/// The values of a tuple, none of them null.
fn tuple_values(table: &Table, columns: &[usize], op: Op, bytes: &Bytes) -> Result<Vec<Bytes>, ServerError> {
    let parts = codec::split_tuple(bytes, columns.len()).unwrap_or_else(|| vec![None; columns.len()]);
    let told =
        if op == Op::Eq { "Invalid null value for column" } else { "Invalid null value in condition for column" };
    let each = parts.into_iter().zip(columns);
    each.map(|(part, column)| part.ok_or_else(|| invalid(format!("{told} {}", table.columns[*column].name)))).collect()
}

fn in_tuple_values(table: &Table, columns: &[usize], bytes: &Bytes) -> Result<Vec<Bytes>, ServerError> {
    let parts: Option<Vec<Bytes>> =
        codec::split_tuple(bytes, columns.len()).and_then(|parts| parts.into_iter().collect());
    parts.ok_or_else(|| invalid(format!("Invalid null value in condition for columns: [{}]", names(table, columns))))
}

fn names(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|i| table.columns[*i].name.as_str()).collect::<Vec<_>>().join(", ")
}
