//! Tests on rows that were read.

use super::Test;
use crate::cql::ast::Op;
use crate::cql::row::RowView;
use crate::ring::Token;
use crate::types::{CqlType, Value, codec, order};
use bytes::Bytes;
use std::cmp::Ordering;

impl Test {
    /// Whether a row passes.
    #[must_use]
    pub fn passes(&self, row: &RowView<'_>) -> bool {
        let cql_type = |index: usize| &row.table.columns[index].cql_type;
        let compare = |index: usize, value: &Bytes| {
            row.value(index).map(|v| order::compare(cql_type(index), &Some(v), &Some(value.clone())))
        };
        match self {
            Self::Compare(i, op, value) => compare(*i, value).is_some_and(|found| holds(found, *op)),
            Self::Bound(i, op) => row.value(*i).is_some() && holds(Ordering::Greater, *op),
            Self::In(i, values) => values.iter().any(|v| compare(*i, v) == Some(Ordering::Equal)),
            Self::Tuple(columns, op, values) => {
                let mut found = Ordering::Equal;
                for (column, value) in columns.iter().zip(values) {
                    match compare(*column, value) {
                        None => return false,
                        Some(ordering) => found = found.then(ordering),
                    }
                }
                holds(found, *op)
            }
            Self::TupleIn(columns, tuples) => tuples.iter().any(|values| {
                columns.iter().zip(values).all(|(column, v)| compare(*column, v) == Some(Ordering::Equal))
            }),
            Self::Token(op, value) => {
                codec::join_partition_key(row.key).is_some_and(|key| holds(Token::of_key(&key).0.cmp(value), *op))
            }
            Self::Contains(i, key, value) => elements(cql_type(*i), row.value(*i), *key).contains(value),
            Self::Element(i, key, value) => {
                let parts = row.value(*i).and_then(|bytes| codec::split_collection(&bytes, true)).unwrap_or_default();
                parts.chunks_exact(2).any(|pair| pair[0].as_ref() == Some(key) && pair[1].as_ref() == Some(value))
            }
        }
    }
}

/// Whether an ordering satisfies an operator.
#[must_use]
pub const fn holds(found: Ordering, op: Op) -> bool {
    match op {
        Op::Eq => found.is_eq(),
        Op::Ne => found.is_ne(),
        Op::Lt => found.is_lt(),
        Op::Le => found.is_le(),
        Op::Gt => found.is_gt(),
        Op::Ge => found.is_ge(),
    }
}

/// The elements of a collection, or the keys of a map.
#[must_use]
pub fn elements(cql_type: &CqlType, value: Value, keys: bool) -> Vec<Bytes> {
    let Some(bytes) = value else { return Vec::new() };
    let is_map = matches!(cql_type, CqlType::Map { .. });
    let parts = codec::split_collection(&bytes, is_map).unwrap_or_default();
    let wanted = |i: usize| !is_map || i.is_multiple_of(2) == keys;
    parts.into_iter().enumerate().filter(|(i, _)| wanted(*i)).filter_map(|(_, part)| part).collect()
}
