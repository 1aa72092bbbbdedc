//! What a selection makes of the rows it is given: columns, cell metadata, fields, elements, functions.
//!
//! Apart from checking, because it runs for every row: it knows values and nothing of the statement's text.

use super::super::expr::Env;
use super::super::row::{RowView, assemble};
use super::{Meta, Selected};
use crate::protocol::ServerError;
use crate::schema::ColumnKind;
use crate::storage::{ColumnData, ColumnId};
use crate::types::{CqlType, Value, codec, order};
use bytes::Bytes;

impl Selected {
    pub(super) fn is_aggregate(&self) -> bool {
        match self {
            Self::CountRows | Self::Aggregate(..) => true,
            Self::Call(_, arguments) => arguments.iter().any(Self::is_aggregate),
            Self::Field(inner, ..) | Self::Element(inner, ..) => inner.is_aggregate(),
            Self::Input(_) | Self::Term(_) => false,
        }
    }

    pub(super) fn evaluate(&self, rows: &[Vec<Value>], env: &Env<'_>) -> Result<Value, ServerError> {
        Ok(match self {
            Self::Input(index) => rows.first().and_then(|row| row.get(*index).cloned()).flatten(),
            Self::CountRows => Some(Bytes::copy_from_slice(&(rows.len() as i64).to_be_bytes())),
            Self::Call(function, arguments) => {
                let values = arguments.iter().map(|a| a.evaluate(rows, env)).collect::<Result<Vec<_>, _>>()?;
                function.call(&values, env.options, env.sequence())?
            }
            Self::Aggregate(function, argument) => {
                let each = |row: &Vec<Value>| argument.evaluate(std::slice::from_ref(row), env);
                function.aggregate(&rows.iter().map(each).collect::<Result<Vec<_>, _>>()?)?
            }
            Self::Field(inner, index, count) => {
                let parts = inner.evaluate(rows, env)?.and_then(|bytes| codec::split_tuple(&bytes, *count));
                parts.and_then(|parts| parts.get(*index).cloned()).flatten()
            }
            Self::Element(inner, cql_type, key) => {
                let Some(bytes) = inner.evaluate(rows, env)? else { return Ok(None) };
                let Some(key) = env.value(key)? else { return Ok(None) };
                element(cql_type, &bytes, &key)
            }
            Self::Term(expr) => env.value(expr)?,
        })
    }
}

/// An element of a serialised collection.
#[must_use]
pub fn element(cql_type: &CqlType, bytes: &Bytes, key: &Bytes) -> Value {
    match cql_type {
        CqlType::Map { key: key_type, .. } => codec::split_collection(bytes, true)?
            .chunks_exact(2)
            .find(|pair| order::compare(key_type, &pair[0], &Some(key.clone())).is_eq())
            .and_then(|pair| pair[1].clone()),
        CqlType::Set { element, .. } => codec::split_collection(bytes, false)?
            .into_iter()
            .find(|part| order::compare(element, part, &Some(key.clone())).is_eq())
            .flatten(),
        CqlType::List { .. } => {
            let index = usize::try_from(crate::types::text::integer(key)).ok()?;
            codec::split_collection(bytes, false)?.into_iter().nth(index).flatten()
        }
        _ => None,
    }
}

pub(super) fn meta_value(row: &RowView<'_>, meta: Meta, index: usize) -> Value {
    let column = row.table.columns.get(index)?;
    let source = if column.kind == ColumnKind::Static { row.static_row } else { row.row? };
    let data = source.columns.get(&ColumnId::of(&column.name))?;
    assemble(&column.cql_type, data, row.unix_seconds)?;
    let long = |n: i64| Some(Bytes::copy_from_slice(&n.to_be_bytes()));
    let int = |n: i64| Some(Bytes::copy_from_slice(&i32::try_from(n).unwrap_or(i32::MAX).to_be_bytes()));
    let left = |cell: &crate::storage::Cell| {
        if cell.ttl == 0 { None } else { int(cell.expires_at - row.unix_seconds) }
    };
    match (data, meta) {
        (ColumnData::Simple(cell), Meta::WriteTime | Meta::MaxWriteTime) => long(cell.timestamp),
        (ColumnData::Simple(cell), Meta::Ttl) => left(cell),
        (ColumnData::Complex(complex), Meta::MaxWriteTime) => {
            long(complex.live(row.unix_seconds).map(|(.., cell)| cell.timestamp).max()?)
        }
        (ColumnData::Complex(complex), _) => {
            let values: Vec<Value> = complex
                .live(row.unix_seconds)
                .map(|(.., cell)| if meta == Meta::Ttl { left(cell) } else { long(cell.timestamp) })
                .collect();
            Some(codec::join_collection(values.len(), &values))
        }
    }
}
