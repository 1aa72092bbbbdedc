//! Terms with types, as they are evaluated when a statement is bound.

use super::functions::Function;
use super::{BindOptions, Bound};
use crate::protocol::ServerError;
use crate::schema::Column;
use crate::types::{CqlType, Value, codec, order, validate};
use bytes::Bytes;
use std::cell::Cell;

/// A term of a known type.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A literal.
    Const(Value),
    /// What INSERT JSON leaves out, with DEFAULT UNSET.
    Unset,
    /// A bind marker, by index.
    Marker(usize, CqlType),
    /// The elements of a list.
    List(Vec<Expr>),
    /// The elements of a set.
    Set(CqlType, Vec<Expr>),
    /// The keys and values of a map.
    Map(CqlType, Vec<(Expr, Expr)>),
    /// The fields of a tuple or user type.
    Tuple(Vec<Expr>),
    /// The elements of a vector.
    Vector(CqlType, Vec<Expr>),
    /// A function call.
    Call(Function, Vec<Expr>),
}

/// What a term is for: names in messages and in marker metadata.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// A column, or a description such as `[limit]`.
    pub name: String,
    /// What type the term must have.
    pub cql_type: CqlType,
    /// Whether it is a clustering column in descending order, whose type is another one to Cassandra.
    pub is_descending: bool,
}

impl Receiver {
    /// A receiver.
    #[must_use]
    pub fn new(name: &str, cql_type: &CqlType) -> Self {
        Self { name: name.to_owned(), cql_type: cql_type.clone(), is_descending: false }
    }

    /// A column as receiver.
    #[must_use]
    pub fn of(column: &Column) -> Self {
        Self { is_descending: column.descending, ..Self::new(&column.name, &column.cql_type) }
    }
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

pub(super) fn has_marker(expr: &Expr) -> bool {
    match expr {
        Expr::Const(_) | Expr::Unset => false,
        Expr::Marker(..) => true,
        Expr::List(items) | Expr::Set(_, items) | Expr::Tuple(items) | Expr::Vector(_, items) => {
            items.iter().any(has_marker)
        }
        Expr::Map(_, pairs) => pairs.iter().any(|(key, value)| has_marker(key) || has_marker(value)),
        Expr::Call(_, arguments) => arguments.iter().any(has_marker),
    }
}

/// Evaluates what holds only literals once, at preparation.
pub(super) fn fold(expr: Expr) -> Result<Expr, ServerError> {
    let constant = |e: &Expr| matches!(e, Expr::Const(_));
    let all = match &expr {
        Expr::List(items) | Expr::Set(_, items) | Expr::Tuple(items) | Expr::Vector(_, items) => {
            items.iter().all(constant)
        }
        Expr::Map(_, pairs) => pairs.iter().all(|(k, v)| constant(k) && constant(v)),
        _ => false,
    };
    if !all {
        return Ok(expr);
    }
    let options =
        BindOptions { timestamp: 0, clock: 0, unix_seconds: 0, page_size: None, paging_state: None, entropy: 0 };
    Env::new(&[], &options).value(&expr).map(Expr::Const)
}

/// What evaluation needs.
pub struct Env<'a> {
    /// The bound values.
    pub values: &'a [Bound],
    /// Clocks and entropy.
    pub options: &'a BindOptions,
    draws: Cell<u64>,
}

impl<'a> Env<'a> {
    /// An environment for one execution.
    #[must_use]
    pub fn new(values: &'a [Bound], options: &'a BindOptions) -> Self {
        Self { values, options, draws: Cell::new(0) }
    }

    /// A number that no other call of this execution gets.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        let next = self.draws.get();
        self.draws.set(next + 1);
        next
    }

    /// Evaluates; unset stays unset.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`] for bytes that are no value of the marker's type.
    pub fn bound(&self, expr: &Expr) -> Result<Bound, ServerError> {
        if let Expr::Marker(index, cql_type) = expr {
            let bound = self.values.get(*index).cloned().unwrap_or(Bound::Unset);
            if let Bound::Value(Some(bytes)) = &bound {
                check_value(cql_type, bytes)?;
            }
            return Ok(bound);
        }
        if matches!(expr, Expr::Unset) {
            return Ok(Bound::Unset);
        }
        self.value(expr).map(Bound::Value)
    }

    /// Evaluates an argument of a function.
    fn argument(&self, function: &Function, expr: &Expr) -> Result<Value, ServerError> {
        match self.bound(expr)? {
            Bound::Value(value) => Ok(value),
            Bound::Unset => Err(unset_argument(function)),
        }
    }

    /// Evaluates where unset is not allowed.
    ///
    /// # Errors
    ///
    /// As [`Env::bound`].
    pub fn value(&self, expr: &Expr) -> Result<Value, ServerError> {
        let element = |expr: &Expr| match self.value(expr)? {
            None => Err(invalid("null is not supported inside collections")),
            some => Ok(some),
        };
        let part = |expr: &Expr| match self.bound(expr)? {
            Bound::Unset | Bound::Value(None) => Err(invalid("null is not supported inside vectors")),
            Bound::Value(some) => Ok(some),
        };
        Ok(match expr {
            Expr::Const(value) => value.clone(),
            Expr::Marker(..) | Expr::Unset => match self.bound(expr)? {
                Bound::Value(value) => value,
                Bound::Unset => return Err(invalid("Invalid unset value")),
            },
            Expr::List(items) => {
                let values = items.iter().map(element).collect::<Result<Vec<_>, _>>()?;
                Some(codec::join_collection(values.len(), &values))
            }
            Expr::Set(cql_type, items) => {
                let mut values = items.iter().map(element).collect::<Result<Vec<_>, _>>()?;
                values.sort_by(|a, b| order::compare(cql_type, a, b));
                values.dedup();
                Some(codec::join_collection(values.len(), &values))
            }
            Expr::Map(key_type, items) => {
                let mut pairs = Vec::new();
                for (key, value) in items {
                    pairs.push((element(key)?, element(value)?));
                }
                // Of equal keys the last one counts; the sort is stable.
                pairs.reverse();
                pairs.sort_by(|a, b| order::compare(key_type, &a.0, &b.0));
                pairs.dedup_by(|later, first| later.0 == first.0);
                Some(codec::join_collection(pairs.len(), pairs.iter().flat_map(|(k, v)| [k, v])))
            }
            Expr::Tuple(items) => {
                let values = items.iter().map(|item| self.value(item)).collect::<Result<Vec<_>, _>>()?;
                Some(codec::join_tuple(&values))
            }
            Expr::Vector(cql_type, items) => {
                let values = items.iter().map(part).collect::<Result<Vec<_>, _>>()?;
                Some(codec::join_vector(cql_type, &values.into_iter().flatten().collect::<Vec<_>>()))
            }
            Expr::Call(function, arguments) => {
                let values = arguments.iter().map(|a| self.argument(function, a)).collect::<Result<Vec<_>, _>>()?;
                function.call(&values, self.options, self.sequence())?
            }
        })
    }
}

/// A function was given no value at all.
#[must_use]
pub fn unset_argument(function: &Function) -> ServerError {
    invalid(format!("Invalid unset value for argument in call to function {}", function.name))
}

/// # Errors
///
/// Invalid, with the message Cassandra sends for a wrong value.
pub fn check_value(cql_type: &CqlType, bytes: &Bytes) -> Result<(), ServerError> {
    validate::validate(cql_type, bytes).map_err(|told| match cql_type {
        CqlType::Udt { .. } => {
            ServerError::Server(format!("org.apache.cassandra.serializers.MarshalException: {told}"))
        }
        _ => invalid(told),
    })
}
