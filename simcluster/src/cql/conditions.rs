//! IF: conditions of lightweight transactions.

use super::Bound;
use super::ast::{self, ConditionPath, ConditionTest, If, InValues, Op};
use super::expr::{Env, Expr, Receiver, check_value};
use super::parser::not_modelled;
use super::relations::{elements, holds};
use super::row::RowView;
use super::select::element;
use super::show;
use super::terms::Checker;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::types::{CqlType, Value, codec, order, text};

/// A checked IF clause.
#[derive(Clone, Debug, Default)]
pub enum CheckedIf {
    /// No IF.
    #[default]
    None,
    /// IF NOT EXISTS.
    NotExists,
    /// IF EXISTS.
    Exists,
    /// Conditions on columns, all of which must hold.
    Columns(Vec<Condition>),
}

/// A condition with types.
#[derive(Clone, Debug)]
pub struct Condition {
    column: usize,
    path: Path,
    test: ConditionExpr,
}

#[derive(Clone, Debug)]
enum Path {
    Whole,
    Element(Expr),
    Field(usize, usize),
}

#[derive(Clone, Debug)]
enum ConditionExpr {
    Compare(Op, Expr),
    /// The flag is for CONTAINS KEY.
    Contains(bool, Expr),
    In(Vec<Expr>),
    InList(Expr),
}

/// A condition with its values.
#[derive(Clone, Debug)]
pub struct BoundCondition {
    column: usize,
    path: BoundPath,
    /// The type of what is compared.
    cql_type: CqlType,
    test: BoundTest,
}

#[derive(Clone, Debug)]
enum BoundPath {
    Whole,
    Element(bytes::Bytes),
    Field(usize, usize),
}

#[derive(Clone, Debug)]
enum BoundTest {
    Compare(Op, Value),
    Contains(bool, bytes::Bytes),
    In(Vec<Value>),
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Checks an IF clause.
///
/// # Errors
///
/// As Cassandra: unknown columns, key columns, wrong types.
pub fn check(checker: &mut Checker<'_>, table: &Table, condition: &If) -> Result<CheckedIf, ServerError> {
    let conditions = match condition {
        If::None => return Ok(CheckedIf::None),
        If::NotExists => return Ok(CheckedIf::NotExists),
        If::Exists => return Ok(CheckedIf::Exists),
        If::Conditions(conditions) => conditions,
    };
    let mut checked = conditions.iter().map(|c| check_one(checker, table, c)).collect::<Result<Vec<_>, _>>()?;
    // Regular columns come first: so the answer of a refused transaction shows them.
    checked.sort_by_key(|condition| table.columns[condition.column].kind == ColumnKind::Static);
    Ok(CheckedIf::Columns(checked))
}

fn check_one(checker: &mut Checker<'_>, table: &Table, condition: &ast::Condition) -> Result<Condition, ServerError> {
    let name = &condition.column;
    let index = table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))?;
    let column = &table.columns[index];
    if column.cql_type == CqlType::Counter {
        return Err(invalid("Conditions on counters are not supported"));
    }
    let (path, receiver) = check_path(checker, name, &column.cql_type, &condition.path)?;
    check_durations(&receiver.cql_type, &condition.test)?;
    let test = match &condition.test {
        ConditionTest::Compare(op, term) => ConditionExpr::Compare(*op, checker.term(term, &receiver)?),
        ConditionTest::Contains { key, term } => {
            let (place, element) = match (&receiver.cql_type, key) {
                (CqlType::List { element, .. } | CqlType::Set { element, .. }, false) => ("value", element),
                (CqlType::Map { key, .. }, true) => ("key", key),
                (CqlType::Map { value, .. }, false) => ("value", value),
                (_, true) => return Err(invalid(format!("Cannot use CONTAINS KEY on non-map column {name}"))),
                (_, false) => return Err(invalid(format!("Cannot use CONTAINS on non-collection column {name}"))),
            };
            ConditionExpr::Contains(*key, checker.term(term, &Receiver::new(&format!("{place}({name})"), element))?)
        }
        ConditionTest::In(InValues::Terms(terms)) => {
            ConditionExpr::In(terms.iter().map(|t| checker.term(t, &receiver)).collect::<Result<Vec<_>, _>>()?)
        }
        ConditionTest::In(InValues::Marker(index)) => {
            let list = CqlType::list(receiver.cql_type.clone(), true);
            let receiver = Receiver::new(&format!("in({})", receiver.name), &list);
            ConditionExpr::InList(checker.marker(*index, &receiver))
        }
    };
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(invalid(format!("PRIMARY KEY column '{name}' cannot have IF conditions")));
    }
    Ok(Condition { column: index, path, test })
}

/// What of a column is compared, and as what its values are given.
fn check_path(
    checker: &mut Checker<'_>,
    name: &str,
    cql_type: &CqlType,
    path: &ConditionPath,
) -> Result<(Path, Receiver), ServerError> {
    Ok(match path {
        ConditionPath::Whole => (Path::Whole, Receiver::new(name, cql_type)),
        ConditionPath::Element(key) => {
            let (place, key_type, value) = match cql_type {
                CqlType::List { element, .. } => ("idx", CqlType::Int, element),
                CqlType::Map { key, value, .. } => ("key", key.as_ref().clone(), value),
                CqlType::Set { .. } => {
                    return Err(invalid(format!("Invalid element access syntax for set column {name}")));
                }
                _ => return Err(invalid(format!("Invalid element access syntax for non-collection column {name}"))),
            };
            let key = checker.term(key, &Receiver::new(&format!("{place}({name})"), &key_type))?;
            (Path::Element(key), Receiver::new(&format!("value({name})"), value))
        }
        ConditionPath::Field(field) => {
            let CqlType::Udt { definition, .. } = cql_type else {
                return Err(not_modelled("a condition on a field of what has none, which is an internal error"));
            };
            let place = definition.fields.iter().position(|(f, _)| f == field);
            let place = place.ok_or_else(|| invalid(format!("Unknown field {field} for column {name}")))?;
            let path = Path::Field(place, definition.fields.len());
            (path, Receiver::new(&format!("{name}.{field}"), &definition.fields[place].1))
        }
    })
}

/// Values with durations in them have no order.
fn check_durations(cql_type: &CqlType, test: &ConditionTest) -> Result<(), ServerError> {
    let ConditionTest::Compare(op @ (Op::Lt | Op::Le | Op::Gt | Op::Ge), _) = test else { return Ok(()) };
    if !cql_type.references_duration() {
        return Ok(());
    }
    Err(match cql_type {
        CqlType::Tuple(_) => invalid("Slice conditions are not supported on tuples containing durations"),
        CqlType::Udt { .. } => invalid("Slice conditions are not supported on UDTs containing durations"),
        other if other.is_collection() => {
            invalid("Slice conditions are not supported on collections containing durations")
        }
        _ => invalid(format!("Slice conditions ( {} ) are not supported on durations", show::operator(*op))),
    })
}

impl CheckedIf {
    /// Whether there is no IF.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether it looks at columns.
    #[must_use]
    pub const fn touches_columns(&self) -> bool {
        matches!(self, Self::Columns(_))
    }

    /// The columns it looks at, in order.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        let conditions: &[Condition] = if let Self::Columns(conditions) = self { conditions } else { &[] };
        conditions.iter().map(|c| c.column)
    }

    /// Gives the conditions their values.
    ///
    /// # Errors
    ///
    /// As Cassandra: unset or null where a value is needed.
    pub fn bind(&self, table: &Table, env: &Env<'_>) -> Result<Vec<BoundCondition>, ServerError> {
        let Self::Columns(conditions) = self else { return Ok(Vec::new()) };
        // Some comparisons fail when they are made; of several conditions it is chance which one is looked at first.
        let only_if_alone = |error: ServerError| match conditions.len() > 1 && fails_late(&error) {
            true => not_modelled("which of several conditions is looked at first, where one of them fails"),
            false => error,
        };
        conditions
            .iter()
            .map(|condition| {
                let column = &table.columns[condition.column];
                let (path, cql_type) = match (&condition.path, &column.cql_type) {
                    (Path::Whole, t) => (BoundPath::Whole, t.clone()),
                    (Path::Field(place, count), CqlType::Udt { definition, .. }) => {
                        (BoundPath::Field(*place, *count), definition.fields[*place].1.clone())
                    }
                    (Path::Element(key), t) => {
                        let found = match t {
                            CqlType::List { element, .. } => element.as_ref().clone(),
                            CqlType::Map { value, .. } => value.as_ref().clone(),
                            other => other.clone(),
                        };
                        (BoundPath::Element(bind_key(t, key, env).map_err(only_if_alone)?), found)
                    }
                    (Path::Field(..), t) => (BoundPath::Whole, t.clone()),
                };
                let test = bind_test(&condition.test, &cql_type, env).map_err(only_if_alone)?;
                Ok(BoundCondition { column: condition.column, path, cql_type, test })
            })
            .collect()
    }
}

/// Whether an error is one of making a comparison, not of giving it its values.
pub fn fails_late(error: &ServerError) -> bool {
    let ServerError::Invalid(message) = error else { return false };
    message.starts_with("Invalid comparison with ") || message.starts_with("Invalid negative list index")
}

/// The key of a map or the index of a list.
fn bind_key(cql_type: &CqlType, key: &Expr, env: &Env<'_>) -> Result<bytes::Bytes, ServerError> {
    let is_list = matches!(cql_type, CqlType::List { .. });
    match env.bound(key)? {
        Bound::Value(None) if is_list => Err(invalid("Invalid null value for list element access")),
        Bound::Value(None) => Err(invalid("Invalid null value for map element access")),
        Bound::Value(Some(index)) if is_list && text::integer(&index) < 0 => {
            Err(invalid(format!("Invalid negative list index {}", text::integer(&index))))
        }
        Bound::Value(Some(key)) => Ok(key),
        Bound::Unset => Err(not_modelled("an unset key or index in a condition")),
    }
}

fn bind_test(test: &ConditionExpr, cql_type: &CqlType, env: &Env<'_>) -> Result<BoundTest, ServerError> {
    let given = |expr: &Expr| match env.bound(expr)? {
        Bound::Value(value) => Ok(value),
        Bound::Unset if cql_type.is_multi_cell() && cql_type.is_collection() => {
            Err(not_modelled("an unset collection in a condition, which is an internal error"))
        }
        Bound::Unset => Err(invalid("Invalid 'unset' value in condition")),
    };
    let no_null = |operator: &str| invalid(format!("Invalid comparison with null for operator \"{operator}\""));
    Ok(match test {
        ConditionExpr::Compare(op, expr) => {
            let value = given(expr)?;
            let is_slice = !matches!(op, Op::Eq | Op::Ne);
            if is_slice && value.is_none() {
                return Err(no_null(show::operator(*op)));
            }
            if is_slice && cql_type.is_multi_cell() && value.as_ref().is_some_and(is_empty_collection) {
                let what = match cql_type {
                    CqlType::List { .. } => "list",
                    CqlType::Set { .. } => "set",
                    _ => "map",
                };
                let operator = show::operator(*op);
                return Err(invalid(format!("Invalid comparison with an empty {what} for operator \"{operator}\"")));
            }
            BoundTest::Compare(*op, value)
        }
        ConditionExpr::Contains(key, expr) => {
            let value = match env.bound(expr)? {
                Bound::Value(value) => value,
                // No element equals it.
                Bound::Unset => return Ok(BoundTest::In(Vec::new())),
            };
            let operator = if *key { "CONTAINS KEY" } else { "CONTAINS" };
            BoundTest::Contains(*key, value.ok_or_else(|| no_null(operator))?)
        }
        ConditionExpr::In(exprs) => {
            let values = exprs.iter().map(|e| env.bound(e)).collect::<Result<Vec<_>, _>>()?;
            let given = |bound| if let Bound::Value(value) = bound { Some(value) } else { None };
            BoundTest::In(values.into_iter().filter_map(given).collect())
        }
        ConditionExpr::InList(expr) => {
            let list = match env.unchecked(expr)? {
                Bound::Value(list) => list.ok_or_else(|| invalid("Invalid null list in IN condition"))?,
                Bound::Unset => return Err(invalid("Invalid 'unset' value in condition")),
            };
            let values = codec::split_collection(&list, false).unwrap_or_default();
            values.iter().flatten().try_for_each(|value| check_value(cql_type, value))?;
            BoundTest::In(values)
        }
    })
}

impl Env<'_> {
    /// As [`Self::bound`], but the bytes of a marker's list are not looked at: its elements may be null.
    ///
    /// # Errors
    ///
    /// As [`Self::bound`], for what is no marker.
    pub fn unchecked(&self, expr: &Expr) -> Result<Bound, ServerError> {
        match expr {
            Expr::Marker(index, _) => Ok(self.values.get(*index).cloned().unwrap_or(Bound::Unset)),
            other => self.bound(other),
        }
    }
}

fn is_empty_collection(bytes: &bytes::Bytes) -> bool {
    bytes[..] == [0; 4]
}

impl BoundCondition {
    /// The column it is about.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }

    /// Whether it holds on a row.
    #[must_use]
    pub fn is_met(&self, row: &RowView<'_>) -> bool {
        let whole = row.value(self.column);
        let found = match &self.path {
            BoundPath::Whole => whole,
            BoundPath::Element(key) => {
                whole.and_then(|bytes| element(&row.table.columns[self.column].cql_type, &bytes, key))
            }
            BoundPath::Field(place, count) => whole
                .and_then(|bytes| codec::split_tuple(&bytes, *count))
                .and_then(|parts| parts.get(*place).cloned())
                .flatten(),
        };
        // An empty collection is the same as none.
        let normal = |value: &Value| match (value, self.cql_type.is_multi_cell(), &self.path) {
            (Some(bytes), true, BoundPath::Whole) if is_empty_collection(bytes) => None,
            (value, ..) => value.clone(),
        };
        let equal = |a: &Value, b: &Value| order::compare(&self.cql_type, &normal(a), &normal(b)).is_eq();
        match &self.test {
            BoundTest::Compare(Op::Eq, value) => equal(&found, value),
            BoundTest::Compare(Op::Ne, value) => !equal(&found, value),
            BoundTest::Compare(op, value) => {
                found.is_some() && holds(order::compare(&self.cql_type, &found, value), *op)
            }
            BoundTest::Contains(key, value) => {
                let element = match &self.cql_type {
                    CqlType::List { element, .. } | CqlType::Set { element, .. } => element,
                    CqlType::Map { key: of, .. } if *key => of,
                    CqlType::Map { value: of, .. } => of,
                    _ => return false,
                };
                let wanted = order::encode(element, value);
                elements(&self.cql_type, found, *key).iter().any(|found| order::encode(element, found) == wanted)
            }
            BoundTest::In(values) => values.iter().any(|value| equal(&found, value)),
        }
    }
}
