//! What a selection makes of the rows it is given: columns, cell metadata, fields, elements, functions.
//!
//! Apart from checking, because it runs for every row: it knows values and nothing of the statement's text.

use super::super::Bound;
use super::super::expr::{Env, Expr, unset_argument};
use super::super::parser::not_modelled;
use super::super::row::{RowView, assemble, field_index};
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
            Self::Call(_, items)
            | Self::List(items)
            | Self::Vector(_, items)
            | Self::Set(_, items)
            | Self::Tuple(items) => items.iter().any(Self::is_aggregate),
            Self::Map(_, pairs) => pairs.iter().any(|(key, value)| key.is_aggregate() || value.is_aggregate()),
            Self::Field(inner, ..) | Self::Element(inner, ..) | Self::Slice(inner, ..) => inner.is_aggregate(),
            Self::Input(_) | Self::Term(_) | Self::MetaOfElement { .. } | Self::MetaOfField(..) => false,
        }
    }

    /// What can be told before any row is read: places that are null, calls with nothing but constants.
    ///
    /// # Errors
    ///
    /// What Cassandra says of them.
    pub(super) fn begin(&self, env: &Env<'_>) -> Result<(), ServerError> {
        match self {
            Self::Call(function, items) => {
                items.iter().try_for_each(|item| item.begin(env))?;
                let is_constant = |item: &Self| matches!(item, Self::Term(_));
                if function.is_pure() && !items.is_empty() && items.iter().all(is_constant) {
                    self.evaluate(&[], env)?;
                }
                Ok(())
            }
            Self::List(items) | Self::Vector(_, items) | Self::Set(_, items) | Self::Tuple(items) => {
                items.iter().try_for_each(|item| item.begin(env))
            }
            Self::Map(_, pairs) => pairs.iter().try_for_each(|(key, value)| key.begin(env).and(value.begin(env))),
            Self::Aggregate(_, inner) | Self::Field(inner, ..) => inner.begin(env),
            Self::Element(inner, _, key, name) | Self::MetaOfElement { value: inner, key, column: name, .. } => {
                place(env, key, "element", name)?;
                inner.begin(env)
            }
            Self::Slice(inner, _, bounds, name) => {
                for bound in bounds.iter().flatten() {
                    place(env, bound, "slice", name)?;
                }
                inner.begin(env)
            }
            Self::Input(_) | Self::CountRows | Self::Term(_) | Self::MetaOfField(..) => Ok(()),
        }
    }

    pub(super) fn evaluate(&self, rows: &[Vec<Value>], env: &Env<'_>) -> Result<Value, ServerError> {
        let each = |items: &[Self]| items.iter().map(|item| item.evaluate(rows, env)).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Input(index) => rows.first().and_then(|row| row.get(*index).cloned()).flatten(),
            Self::CountRows => Some(Bytes::copy_from_slice(&(rows.len() as i64).to_be_bytes())),
            Self::Call(function, arguments) => {
                let mut values = Vec::new();
                for argument in arguments {
                    values.push(match argument {
                        Self::Term(expr) => match env.bound(expr)? {
                            Bound::Value(value) => value,
                            Bound::Unset => return Err(unset_argument(function)),
                        },
                        other => other.evaluate(rows, env)?,
                    });
                }
                function.call(&values, env.options, env.sequence())?
            }
            Self::Aggregate(function, argument) => {
                let of_row = |row: &Vec<Value>| argument.evaluate(std::slice::from_ref(row), env);
                function.aggregate(&rows.iter().map(of_row).collect::<Result<Vec<_>, _>>()?)
            }
            Self::Field(inner, index, count) => {
                let parts = inner.evaluate(rows, env)?.and_then(|bytes| codec::split_tuple(&bytes, *count));
                parts.and_then(|parts| parts.get(*index).cloned()).flatten()
            }
            Self::Element(inner, cql_type, key, name) => {
                let Some(bytes) = inner.evaluate(rows, env)? else { return Ok(None) };
                element(cql_type, &bytes, &place(env, key, "element", name)?)
            }
            Self::Slice(inner, cql_type, bounds, name) => {
                let Some(bytes) = inner.evaluate(rows, env)? else { return Ok(None) };
                let bound = |b: &Option<Expr>| b.as_ref().map(|b| slice_bound(env, b, name)).transpose();
                slice(cql_type, &bytes, bound(&bounds[0])?.flatten().as_ref(), bound(&bounds[1])?.flatten().as_ref())
            }
            Self::MetaOfElement { metas, value, collection, key, column } => {
                let key = place(env, key, "element", column)?;
                let Some(bytes) = value.evaluate(rows, env)? else { return Ok(None) };
                let Some(index) = position(collection, &bytes, &key) else { return Ok(None) };
                let metas = metas.evaluate(rows, env)?;
                if collection.is_multi_cell() { nth(metas, index) } else { metas }
            }
            Self::MetaOfField(metas, index) => nth(metas.evaluate(rows, env)?, *index),
            Self::List(items) => {
                let values = each(items)?;
                Some(codec::join_collection(values.len(), &values))
            }
            Self::Vector(cql_type, items) => {
                let values = not_null(each(items)?)?;
                Some(codec::join_vector(cql_type, &values.into_iter().flatten().collect::<Vec<_>>()))
            }
            Self::Set(cql_type, items) => {
                let mut values = not_null(each(items)?)?;
                values.sort_by(|a, b| order::compare(cql_type, a, b));
                values.dedup_by(|a, b| order::compare(cql_type, a, b).is_eq());
                Some(codec::join_collection(values.len(), &values))
            }
            Self::Map(cql_type, items) => {
                let mut pairs: Vec<(Value, Value)> = Vec::new();
                for (key, value) in items {
                    let mut pair = not_null(vec![key.evaluate(rows, env)?, value.evaluate(rows, env)?])?.into_iter();
                    pairs.push((pair.next().flatten(), pair.next().flatten()));
                }
                // Of equal keys the last one counts; the sort is stable.
                pairs.reverse();
                pairs.sort_by(|a, b| order::compare(cql_type, &a.0, &b.0));
                pairs.dedup_by(|later, first| order::compare(cql_type, &later.0, &first.0).is_eq());
                Some(codec::join_collection(pairs.len(), pairs.iter().flat_map(|(k, v)| [k, v])))
            }
            Self::Tuple(items) => Some(codec::join_tuple(&each(items)?)),
            Self::Term(expr) => env.value(expr)?,
        })
    }
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// What Cassandra fails with when it puts null into a collection that is selected.
fn not_null(values: Vec<Value>) -> Result<Vec<Value>, ServerError> {
    if values.contains(&None) {
        return Err(not_modelled("null in a selected collection"));
    }
    Ok(values)
}

/// The place of an element.
fn place(env: &Env<'_>, expr: &Expr, what: &str, name: &str) -> Result<Bytes, ServerError> {
    match env.bound(expr)? {
        Bound::Value(Some(bytes)) => Ok(bytes),
        Bound::Value(None) => Err(invalid(format!("Invalid null value for {what} selection on {name}"))),
        // A slice that is bound to nothing is open there.
        Bound::Unset if what == "slice" => Ok(Bytes::new()),
        Bound::Unset => Err(invalid(format!("Invalid unset value for {what} selection on {name}"))),
    }
}

/// A bound of a slice; `None` if it is open.
fn slice_bound(env: &Env<'_>, expr: &Expr, name: &str) -> Result<Option<Bytes>, ServerError> {
    match env.bound(expr)? {
        Bound::Unset => Ok(None),
        Bound::Value(_) => place(env, expr, "slice", name).map(Some),
    }
}

/// The elements of a serialised list, set or map: each with its place.
fn entries(cql_type: &CqlType, bytes: &Bytes) -> Option<Vec<(Value, Value)>> {
    let is_map = matches!(cql_type, CqlType::Map { .. });
    let parts = codec::split_collection(bytes, is_map)?;
    if is_map {
        return Some(parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect());
    }
    Some(parts.into_iter().map(|part| (part.clone(), part)).collect())
}

/// What sorts the places of a map or set.
fn place_type(cql_type: &CqlType) -> Option<&CqlType> {
    match cql_type {
        CqlType::Map { key: place, .. } | CqlType::Set { element: place, .. } => Some(place),
        _ => None,
    }
}

fn position(cql_type: &CqlType, bytes: &Bytes, key: &Bytes) -> Option<usize> {
    let by = place_type(cql_type)?;
    entries(cql_type, bytes)?.iter().position(|(place, _)| order::compare(by, place, &Some(key.clone())).is_eq())
}

/// The part of a list by its index.
fn nth(list: Value, index: usize) -> Value {
    codec::split_collection(&list?, false)?.into_iter().nth(index).flatten()
}

/// The elements of a serialised map or set between two places, both included; null if a column of several cells has
/// none there.
fn slice(cql_type: &CqlType, bytes: &Bytes, from: Option<&Bytes>, to: Option<&Bytes>) -> Value {
    let by = place_type(cql_type)?;
    let holds = |place: &Value| {
        from.is_none_or(|from| order::compare(by, place, &Some(from.clone())).is_ge())
            && to.is_none_or(|to| order::compare(by, place, &Some(to.clone())).is_le())
    };
    let taken: Vec<(Value, Value)> = entries(cql_type, bytes)?.into_iter().filter(|(place, _)| holds(place)).collect();
    if taken.is_empty() && cql_type.is_multi_cell() {
        return None;
    }
    let parts: Vec<Value> = match cql_type {
        CqlType::Map { .. } => taken.into_iter().flat_map(|(place, value)| [place, value]).collect(),
        _ => taken.into_iter().map(|(place, _)| place).collect(),
    };
    let count = if matches!(cql_type, CqlType::Map { .. }) { parts.len() / 2 } else { parts.len() };
    Some(codec::join_collection(count, &parts))
}

/// An element of a serialised collection.
#[must_use]
pub fn element(cql_type: &CqlType, bytes: &Bytes, key: &Bytes) -> Value {
    if let CqlType::List { .. } = cql_type {
        let index = usize::try_from(crate::types::text::integer(key)).ok()?;
        return codec::split_collection(bytes, false)?.into_iter().nth(index).flatten();
    }
    let index = position(cql_type, bytes, key)?;
    entries(cql_type, bytes)?.into_iter().nth(index)?.1
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
        // The shards of a counter are one value.
        (ColumnData::Complex(complex), _) if column.cql_type == CqlType::Counter => match meta {
            Meta::WriteTime => long(complex.live(row.unix_seconds).map(|(.., cell)| cell.timestamp).max()?),
            Meta::MaxWriteTime | Meta::Ttl => None,
        },
        (ColumnData::Complex(complex), _) => {
            let asked = |cell| if meta == Meta::Ttl { left(cell) } else { long(cell.timestamp) };
            if let CqlType::Udt { definition, .. } = &column.cql_type {
                let mut values: Vec<Value> = vec![None; definition.fields.len()];
                for (path, _, cell) in complex.live(row.unix_seconds) {
                    if let Some(slot) = values.get_mut(field_index(path)) {
                        *slot = asked(cell);
                    }
                }
                return Some(codec::join_collection(values.len(), &values));
            }
            let values: Vec<Value> = complex.live(row.unix_seconds).map(|(.., cell)| asked(cell)).collect();
            Some(codec::join_collection(values.len(), &values))
        }
    }
}
