//! IF: conditions of lightweight transactions.

use super::ast::{ConditionPath, ConditionTest, If, InValues, Op};
use super::expr::{Checker, Env, Expr, Receiver};
use super::relations::holds;
use super::row::RowView;
use super::select::element;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Table};
use crate::types::{CqlType, Value, codec, order};

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
    let mut checked = Vec::new();
    for condition in conditions {
        let name = &condition.column;
        let index = table
            .column_index(name)
            .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))?;
        let column = &table.columns[index];
        if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            return Err(invalid(format!("PRIMARY KEY column '{name}' cannot have IF conditions")));
        }
        if column.cql_type == CqlType::Counter {
            return Err(invalid("Conditions on counters are not supported"));
        }
        let (path, cql_type) = match &condition.path {
            ConditionPath::Whole => (Path::Whole, column.cql_type.clone()),
            ConditionPath::Element(key) => {
                let (key_type, value) = match &column.cql_type {
                    CqlType::List { element, .. } => (CqlType::Int, element.as_ref().clone()),
                    CqlType::Map { key, value, .. } => (key.as_ref().clone(), value.as_ref().clone()),
                    _ => {
                        return Err(invalid(format!("Invalid element access syntax for non-collection column {name}")));
                    }
                };
                let key = checker.term(key, &Receiver::new(&format!("key({name})"), &key_type))?;
                (Path::Element(key), value)
            }
            ConditionPath::Field(field) => {
                let CqlType::Udt { definition, .. } = &column.cql_type else {
                    return Err(invalid(format!("Invalid field access syntax for non-UDT column {name}")));
                };
                let place = definition.fields.iter().position(|(f, _)| f == field);
                let place = place.ok_or_else(|| invalid(format!("Unknown field {field} for column {name}")))?;
                (Path::Field(place, definition.fields.len()), definition.fields[place].1.clone())
            }
        };
        let receiver = Receiver::new(name, &cql_type);
        let test = match &condition.test {
            ConditionTest::Compare(op, term) => ConditionExpr::Compare(*op, checker.term(term, &receiver)?),
            ConditionTest::In(InValues::Terms(terms)) => {
                ConditionExpr::In(terms.iter().map(|t| checker.term(t, &receiver)).collect::<Result<Vec<_>, _>>()?)
            }
            ConditionTest::In(InValues::Marker(index)) => {
                let list = CqlType::list(cql_type.clone(), true);
                ConditionExpr::InList(checker.marker(*index, &Receiver::new(&format!("in({name})"), &list)))
            }
        };
        checked.push(Condition { column: index, path, test });
    }
    Ok(CheckedIf::Columns(checked))
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
                        let key = env.value(key)?.ok_or_else(|| {
                            invalid(format!("Invalid null value for element access on column {}", column.name))
                        })?;
                        (BoundPath::Element(key), found)
                    }
                    (Path::Field(..), t) => (BoundPath::Whole, t.clone()),
                };
                let test = match &condition.test {
                    ConditionExpr::Compare(op, expr) => {
                        let value = env.value(expr)?;
                        if value.is_none() && !matches!(op, Op::Eq | Op::Ne) {
                            return Err(invalid(format!(
                                "Invalid comparison with null for operator \"{}\"",
                                match op {
                                    Op::Lt => "<",
                                    Op::Le => "<=",
                                    Op::Gt => ">",
                                    _ => ">=",
                                }
                            )));
                        }
                        BoundTest::Compare(*op, value)
                    }
                    ConditionExpr::In(exprs) => {
                        BoundTest::In(exprs.iter().map(|e| env.value(e)).collect::<Result<Vec<_>, _>>()?)
                    }
                    ConditionExpr::InList(expr) => {
                        let list = env.value(expr)?;
                        BoundTest::In(list.and_then(|l| codec::split_collection(&l, false)).unwrap_or_default())
                    }
                };
                Ok(BoundCondition { column: condition.column, path, cql_type, test })
            })
            .collect()
    }
}

impl BoundCondition {
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
            (Some(bytes), true, BoundPath::Whole) if bytes[..] == [0; 4] => None,
            (value, ..) => value.clone(),
        };
        let equal = |a: &Value, b: &Value| order::compare(&self.cql_type, &normal(a), &normal(b)).is_eq();
        match &self.test {
            BoundTest::Compare(Op::Eq, value) => equal(&found, value),
            BoundTest::Compare(Op::Ne, value) => !equal(&found, value),
            BoundTest::Compare(op, value) => {
                found.is_some() && holds(order::compare(&self.cql_type, &found, value), *op)
            }
            BoundTest::In(values) => values.iter().any(|value| equal(&found, value)),
        }
    }
}
