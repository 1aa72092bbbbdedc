//! The WHERE clause: which partitions, which rows, and what has to be filtered.

mod check;
mod filter;
mod plan;

pub use check::check;
pub use filter::holds;
pub use plan::{after, plan};

use super::ast::Op;
use super::expr::{Env, Expr};
use super::functions::Function;
use super::{Bound, ddl};
use crate::protocol::ServerError;
use crate::ring::TokenRange;
use crate::schema::{ColumnKind, Table};
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
#[must_use]
pub fn partition_key_markers(table: &Table, relations: &[Rel]) -> Vec<u16> {
    let marker = |index: usize| {
        relations.iter().find_map(|relation| match relation {
            Rel::Compare(i, Op::Eq, Expr::Marker(marker, _)) if *i == index => u16::try_from(*marker).ok(),
            _ => None,
        })
    };
    (0..table.partition_key_len).map(marker).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Whether the relations give every component of the partition key.
#[must_use]
pub fn names_partitions(table: &Table, relations: &[Rel]) -> bool {
    (0..table.partition_key_len).all(|index| restricts_equally(relations, index))
}

/// Whether a column is given by `=` or IN.
#[must_use]
pub fn restricts_equally(relations: &[Rel], index: usize) -> bool {
    relations.iter().any(|relation| match relation {
        Rel::Compare(i, Op::Eq, _) | Rel::In(i, _) => *i == index,
        Rel::Tuple(columns, Op::Eq, _) | Rel::TupleIn(columns, _) => columns.contains(&index),
        _ => false,
    })
}

/// Whether reading by these relations needs ALLOW FILTERING.
#[must_use]
pub fn needs_filtering(table: &Table, relations: &[Rel]) -> bool {
    let by_partition = names_partitions(table, relations);
    let indexed = |index: usize| table.indexes.values().any(|i| ddl::index_column(i) == table.columns[index].name);
    let columns_of = |relation: &Rel| match relation {
        Rel::Compare(i, ..) | Rel::In(i, _) | Rel::Contains(i, ..) | Rel::Element(i, ..) => vec![*i],
        Rel::Tuple(columns, ..) | Rel::TupleIn(columns, _) => columns.clone(),
        Rel::Token(..) => vec![],
    };
    let uses_index = relations.iter().any(|relation| match relation {
        Rel::Compare(i, Op::Eq, _) | Rel::Contains(i, ..) | Rel::Element(i, ..) => indexed(*i),
        _ => false,
    });
    let mut open = false;
    let mut unserved = 0;
    for index in table.partition_key_len..table.partition_key_len + table.clustering_len {
        let restricted = relations.iter().any(|r| columns_of(r).contains(&index));
        if !restricted {
            open = true;
            continue;
        }
        if open || !by_partition {
            unserved += 1;
        }
        open |= !restricts_equally(relations, index)
            && !relations.iter().any(|r| matches!(r, Rel::Tuple(columns, ..) if columns.contains(&index)));
    }
    let key_restricted = relations.iter().any(|r| columns_of(r).iter().any(|i| *i < table.partition_key_len));
    if key_restricted && !by_partition {
        unserved += 1;
    }
    let others = relations
        .iter()
        .filter(|r| {
            columns_of(r).iter().any(|i| matches!(table.columns[*i].kind, ColumnKind::Static | ColumnKind::Regular))
        })
        .count();
    unserved += others;
    // One index serves one relation.
    let served = usize::from(uses_index);
    unserved > served
}

/// Gives the relations their values.
///
/// # Errors
///
/// As Cassandra: null or unset where a value is needed.
pub fn bind(table: &Table, relations: &[Rel], env: &Env<'_>) -> Result<Vec<Test>, ServerError> {
    let name = |index: usize| table.columns[index].name.as_str();
    let value = |expr: &Expr, name: &str| match env.bound(expr)? {
        Bound::Value(Some(bytes)) => Ok(bytes),
        Bound::Value(None) => Err(invalid(format!("Invalid null value in condition for column {name}"))),
        Bound::Unset => Err(invalid(format!("Invalid unset value for column {name}"))),
    };
    let list = |values: &InExpr, name: &str| match values {
        InExpr::Each(exprs) => exprs.iter().map(|e| value(e, name)).collect::<Result<Vec<_>, _>>(),
        InExpr::List(expr) => {
            let bytes = value(expr, name)?;
            let parts: Option<Vec<Bytes>> =
                codec::split_collection(&bytes, false).and_then(|parts| parts.into_iter().collect());
            parts.ok_or_else(|| invalid(format!("Invalid null value in condition for column {name}")))
        }
    };
    let tuple = |bytes: &Bytes, columns: &[usize]| {
        let parts: Option<Vec<Bytes>> =
            codec::split_tuple(bytes, columns.len()).and_then(|parts| parts.into_iter().collect());
        parts
            .ok_or_else(|| invalid(format!("Invalid null value in condition for columns: ({})", names(table, columns))))
    };
    relations
        .iter()
        .map(|relation| {
            Ok(match relation {
                Rel::Compare(i, op, expr) => Test::Compare(*i, *op, value(expr, name(*i))?),
                Rel::In(i, values) => Test::In(*i, list(values, name(*i))?),
                Rel::Tuple(columns, op, expr) => {
                    Test::Tuple(columns.clone(), *op, tuple(&value(expr, &names(table, columns))?, columns)?)
                }
                Rel::TupleIn(columns, values) => {
                    let values = list(values, &names(table, columns))?;
                    let tuples = values.iter().map(|v| tuple(v, columns)).collect::<Result<Vec<_>, _>>()?;
                    Test::TupleIn(columns.clone(), tuples)
                }
                Rel::Token(op, expr) => {
                    Test::Token(*op, crate::types::text::integer(&value(expr, "partition key token")?))
                }
                Rel::Contains(i, key, expr) => Test::Contains(*i, *key, value(expr, name(*i))?),
                Rel::Element(i, key, expr) => Test::Element(*i, value(key, name(*i))?, value(expr, name(*i))?),
            })
        })
        .collect()
}

fn names(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|i| table.columns[*i].name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A token function for a table, for selections.
#[must_use]
pub fn token_function(table: &Table) -> Function {
    Function::token(&table.partition_key().iter().map(|c| c.cql_type.clone()).collect::<Vec<_>>())
}
