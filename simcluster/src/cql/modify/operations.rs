//! What a statement does to a column: checked when it is prepared, given its values when it is bound.

use super::invalid;
use crate::cql::Bound;
use crate::cql::ast::{Assignment, Deletion, Term};
use crate::cql::expr::{Env, Expr, Receiver};
use crate::cql::parser::{NOT_MODELLED, not_modelled};
use crate::cql::show;
use crate::cql::terms::Checker;
use crate::protocol::ServerError;
use crate::schema::{ColumnKind, Dialect, Table};
use crate::types::{CqlType, UserType, Value, codec, text};
use bytes::Bytes;

/// What is done to a column, by its index.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Overwrites it.
    Set(usize, Expr),
    /// Overwrites an element of a list or map.
    SetElement(usize, Expr, Expr),
    /// Overwrites a field of a user type.
    SetField(usize, usize, Expr),
    /// Adds elements.
    Append(usize, Expr),
    /// Adds elements before the others.
    Prepend(usize, Expr),
    /// Removes elements or keys.
    Remove(usize, Expr),
    /// Adds to a counter; the flag is for subtracting.
    Increment(usize, Expr, bool),
    /// Deletes an element.
    DeleteElement(usize, Expr),
    /// A tuple for a user type, with which Cassandra fails when it is executed.
    Unstorable(usize),
}

/// An operation with its values.
#[derive(Clone, Debug)]
pub enum BoundOperation {
    Set(usize, Value),
    SetElement(usize, Bytes, Value),
    SetField(usize, usize, Value),
    Append(usize, Bytes),
    Prepend(usize, Bytes),
    Remove(usize, Bytes),
    Increment(usize, i64),
    DeleteElement(usize, Bytes),
}

pub fn check_assignment(
    checker: &mut Checker<'_>,
    table: &Table,
    assignment: &Assignment,
    is_conditional: bool,
) -> Result<Operation, ServerError> {
    let name = assignment.column();
    let index = table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))?;
    let column = &table.columns[index];
    let cql_type = &column.cql_type;
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(invalid(format!("PRIMARY KEY part {name} found in SET part")));
    }
    let receiver = Receiver::new(name, cql_type);
    if *cql_type == CqlType::Counter {
        return match assignment {
            Assignment::Add(_, term) => Ok(Operation::Increment(index, checker.term(term, &receiver)?, false)),
            Assignment::Subtract(_, term) => Ok(Operation::Increment(index, checker.term(term, &receiver)?, true)),
            Assignment::Prepend(_, term) => {
                checker.term(term, &receiver)?;
                Err(invalid(format!("Invalid operation ({}) for non list column {name}", shown(assignment))))
            }
            _ => Err(invalid(format!(
                "Cannot set the value of counter column {name} (counters can only be incremented/decremented, not set)"
            ))),
        };
    }
    let is_list = matches!(cql_type, CqlType::List { .. });
    let refused = |told: &str| invalid(format!("Invalid operation ({}) for {told} column {name}", shown(assignment)));
    let check_open = |frozen: &str| if cql_type.is_multi_cell() { Ok(()) } else { Err(refused(frozen)) };
    Ok(match assignment {
        Assignment::Set(_, term) => set(checker, index, term, &receiver)?,
        Assignment::Add(_, term) => {
            if matches!(cql_type, CqlType::Tuple(_) | CqlType::Udt { .. }) {
                return Err(refused("tuple"));
            }
            if !cql_type.is_collection() {
                // A transaction knows what it adds to.
                return Err(match is_conditional && checker.schema.dialect >= Dialect::V41 {
                    true => not_modelled("a sum with the column itself in a conditional update"),
                    false => refused("non counter"),
                });
            }
            check_open("frozen collection")?;
            let value = checker.term(term, &receiver);
            Operation::Append(index, value.map_err(|error| of_map(cql_type, term, error, "addition has to be a map"))?)
        }
        Assignment::Prepend(_, term) => {
            // Unlike the others, this one looks at its value first.
            let value = checker.term(term, &receiver)?;
            if !is_list {
                return Err(refused("non list"));
            }
            check_open("frozen list")?;
            Operation::Prepend(index, value)
        }
        Assignment::Subtract(_, term) => {
            if !cql_type.is_collection() {
                return Err(refused("non counter"));
            }
            check_open("frozen collection")?;
            let removed = match cql_type {
                CqlType::Map { key, .. } => CqlType::set(key.as_ref().clone(), false),
                other => other.clone(),
            };
            let value = checker.term(term, &Receiver::new(name, &removed));
            let told = |error| of_map(cql_type, term, error, "substraction has to be a set");
            Operation::Remove(index, value.map_err(told)?)
        }
        Assignment::Element(_, key, term) => {
            if !cql_type.is_collection() {
                return Err(refused("non collection"));
            }
            check_open("frozen collection")?;
            let (place, key_type, value_type) = match cql_type {
                CqlType::List { element, .. } => ("idx", CqlType::Int, element.as_ref().clone()),
                CqlType::Map { key, value, .. } => ("key", key.as_ref().clone(), value.as_ref().clone()),
                _ => return Err(refused("set")),
            };
            let key = checker.term(key, &Receiver::new(&format!("{place}({name})"), &key_type))?;
            let value = checker.term(term, &Receiver::new(&format!("value({name})"), &value_type))?;
            Operation::SetElement(index, key, value)
        }
        Assignment::Field(_, field, term) => {
            let CqlType::Udt { definition, .. } = cql_type else { return Err(refused("non-UDT")) };
            check_open("frozen UDT")?;
            let place = field_of(definition, name, field)?;
            let receiver = Receiver::new(&format!("{name}.{field}"), &definition.fields[place].1);
            Operation::SetField(index, place, checker.term(term, &receiver)?)
        }
    })
}

/// Whatever is wrong with what is added to a map or taken from it, Cassandra says one thing.
fn of_map(cql_type: &CqlType, term: &Term, error: ServerError, wanted: &str) -> ServerError {
    match (cql_type, &error) {
        (CqlType::Map { .. }, ServerError::Invalid(message)) if !message.contains(NOT_MODELLED) => {
            invalid(format!("Value for a map {wanted}, but was: '{}'", show::term(term)))
        }
        _ => error,
    }
}

/// An assignment as messages show it; a list that is put before another looks like one that is taken away.
fn shown(assignment: &Assignment) -> String {
    match assignment {
        Assignment::Set(name, term) => format!("{name} = {}", show::term(term)),
        Assignment::Element(name, key, term) => format!("{name}[{}] = {}", show::term(key), show::term(term)),
        Assignment::Field(name, field, term) => format!("{name}.{field} = {}", show::term(term)),
        Assignment::Add(name, term) => format!("{name} = {name} + {}", show::term(term)),
        Assignment::Subtract(name, term) => format!("{name} = {name} - {}", show::term(term)),
        Assignment::Prepend(name, term) => format!("{name} = {} - {name}", show::term(term)),
    }
}

fn field_of(definition: &UserType, column: &str, field: &str) -> Result<usize, ServerError> {
    definition
        .fields
        .iter()
        .position(|(name, _)| name == field)
        .ok_or_else(|| invalid(format!("UDT column {column} does not have a field named {field}")))
}

pub fn check_deletion(checker: &mut Checker<'_>, table: &Table, deletion: &Deletion) -> Result<Operation, ServerError> {
    let (Deletion::Column(name) | Deletion::Element(name, _) | Deletion::Field(name, _)) = deletion;
    let index = table.column_index(name).ok_or_else(|| invalid(show::undefined_column(table, name)))?;
    let column = &table.columns[index];
    if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
        return Err(invalid(format!("Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)")));
    }
    Ok(match deletion {
        Deletion::Column(_) => Operation::Set(index, Expr::Const(None)),
        Deletion::Element(_, key) => {
            let (place, key_type) = match &column.cql_type {
                CqlType::List { frozen: false, .. } => ("idx", CqlType::Int),
                CqlType::Set { element, frozen: false } => ("value", element.as_ref().clone()),
                CqlType::Map { key, frozen: false, .. } => ("key", key.as_ref().clone()),
                other if other.is_collection() => {
                    return Err(invalid(format!("Invalid deletion operation for frozen collection column {name}")));
                }
                _ => return Err(invalid(format!("Invalid deletion operation for non collection column {name}"))),
            };
            let receiver = Receiver::new(&format!("{place}({name})"), &key_type);
            Operation::DeleteElement(index, checker.term(key, &receiver)?)
        }
        Deletion::Field(_, field) => {
            let CqlType::Udt { definition, frozen } = &column.cql_type else {
                return Err(invalid(format!("Invalid field deletion operation for non-UDT column {name}")));
            };
            if *frozen {
                return Err(invalid(format!("Frozen UDT column {name} does not support field deletions")));
            }
            Operation::SetField(index, field_of(definition, name, field)?, Expr::Const(None))
        }
    })
}

impl Operation {
    /// The column it is about.
    #[must_use]
    pub const fn column(&self) -> usize {
        match self {
            Self::Set(i, _)
            | Self::SetElement(i, ..)
            | Self::SetField(i, ..)
            | Self::Append(i, _)
            | Self::Prepend(i, _)
            | Self::Remove(i, _)
            | Self::Increment(i, ..)
            | Self::Unstorable(i)
            | Self::DeleteElement(i, _) => *i,
        }
    }
}

/// Overwrites a column.
///
/// # Errors
///
/// As [`Checker::term`].
pub fn set(
    checker: &mut Checker<'_>,
    index: usize,
    term: &Term,
    receiver: &Receiver,
) -> Result<Operation, ServerError> {
    let expr = checker.term(term, receiver)?;
    Ok(match (term, &receiver.cql_type) {
        (Term::Tuple(_), CqlType::Udt { .. }) => Operation::Unstorable(index),
        _ => Operation::Set(index, expr),
    })
}

/// A value of one class where Cassandra wants another.
fn class_cast(given: &str, wanted: &str) -> ServerError {
    let [given, wanted] = [given, wanted].map(|class| format!("org.apache.cassandra.cql3.{class}$Value"));
    ServerError::Server(format!(
        "java.lang.ClassCastException: class {given} cannot be cast to class {wanted} ({given} and {wanted} are in unnamed module of loader 'app')"
    ))
}

/// The elements of a list are stored one by one, and none may be null.
fn check_elements(cql_type: &CqlType, value: Option<&Bytes>) -> Result<(), ServerError> {
    let has_null = |bytes: &Bytes| codec::split_collection(bytes, false).is_some_and(|parts| parts.contains(&None));
    if matches!(cql_type, CqlType::List { frozen: false, .. }) && value.is_some_and(has_null) {
        return Err(ServerError::Server(
            "java.lang.NullPointerException: Cannot invoke \"java.nio.ByteBuffer.remaining()\" because \"value\" is null"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The place of an element that is overwritten.
fn written_place(cql_type: &CqlType, bound: Bound) -> Result<Bytes, ServerError> {
    let is_list = matches!(cql_type, CqlType::List { .. });
    match bound {
        Bound::Value(Some(bytes)) => Ok(bytes),
        Bound::Value(None) if is_list => Err(invalid("Invalid null value for list index")),
        Bound::Value(None) => Err(invalid("Invalid null map key")),
        Bound::Unset if is_list => Err(invalid("Invalid unset value for list index")),
        Bound::Unset => Err(invalid("Invalid unset map key")),
    }
}

/// The place of an element that is deleted; `None` if nothing is.
fn deleted_place(cql_type: &CqlType, bound: Bound) -> Result<Option<Bytes>, ServerError> {
    match (cql_type, bound) {
        (CqlType::List { .. }, Bound::Unset) => Ok(None),
        // What is unset is as long as an empty value, and taken for one.
        (CqlType::Set { .. }, Bound::Unset) => Ok(Some(Bytes::new())),
        (CqlType::Set { .. }, Bound::Value(None)) => Err(invalid("Invalid null set element")),
        (_, bound) => written_place(cql_type, bound).map(Some),
    }
}

pub fn bind_operation(
    table: &Table,
    operation: &Operation,
    env: &Env<'_>,
) -> Result<Option<BoundOperation>, ServerError> {
    let given = |expr: &Expr| {
        Ok::<_, ServerError>(match env.bound(expr)? {
            Bound::Value(value) => Some(value),
            Bound::Unset => None,
        })
    };
    Ok(match operation {
        Operation::Set(i, expr) => {
            let value = given(expr)?;
            check_elements(&table.columns[*i].cql_type, value.as_ref().and_then(Option::as_ref))?;
            value.map(|value| BoundOperation::Set(*i, value))
        }
        Operation::Unstorable(_) => return Err(class_cast("Tuples", "UserTypes")),
        Operation::SetElement(i, k, expr) => {
            let k = written_place(&table.columns[*i].cql_type, env.bound(k)?)?;
            given(expr)?.map(|value| BoundOperation::SetElement(*i, k, value))
        }
        Operation::SetField(i, field, expr) => given(expr)?.map(|value| BoundOperation::SetField(*i, *field, value)),
        // Adding or removing null does nothing.
        Operation::Append(i, expr) => {
            let cql_type = &table.columns[*i].cql_type;
            let value = given(expr)?;
            if value.is_none() && matches!(cql_type, CqlType::List { .. }) {
                return Err(class_cast("Constants", "Lists"));
            }
            check_elements(cql_type, value.as_ref().and_then(Option::as_ref))?;
            value.flatten().map(|value| BoundOperation::Append(*i, value))
        }
        Operation::Prepend(i, expr) => {
            let value = given(expr)?.flatten();
            check_elements(&table.columns[*i].cql_type, value.as_ref())?;
            value.map(|value| BoundOperation::Prepend(*i, value))
        }
        Operation::Remove(i, expr) => given(expr)?.flatten().map(|value| BoundOperation::Remove(*i, value)),
        Operation::Increment(i, expr, negative) => match given(expr)? {
            None => None,
            Some(None) => return Err(invalid("Invalid null value for counter increment")),
            Some(Some(bytes)) if bytes.is_empty() => {
                return Err(ServerError::Server("java.lang.IndexOutOfBoundsException".to_owned()));
            }
            Some(Some(bytes)) => {
                let amount = text::integer(&bytes);
                if *negative && amount == i64::MIN {
                    return Err(invalid(format!(
                        "The negation of {amount} overflows supported counter precision (signed 8 bytes integer)"
                    )));
                }
                Some(BoundOperation::Increment(*i, if *negative { -amount } else { amount }))
            }
        },
        Operation::DeleteElement(i, k) => deleted_place(&table.columns[*i].cql_type, env.bound(k)?)?
            .map(|place| BoundOperation::DeleteElement(*i, place)),
    })
}

impl BoundOperation {
    pub const fn column(&self) -> usize {
        match self {
            Self::Set(i, _)
            | Self::SetElement(i, ..)
            | Self::SetField(i, ..)
            | Self::Append(i, _)
            | Self::Prepend(i, _)
            | Self::Remove(i, _)
            | Self::Increment(i, _)
            | Self::DeleteElement(i, _) => *i,
        }
    }
}
