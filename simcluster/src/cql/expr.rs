//! Terms with types: checked when a statement is prepared, evaluated when it is bound.

use super::ast::{Name, Term};
use super::functions::{self, Function};
use super::parser::not_modelled;
use super::{BindOptions, Bound, ddl, show};
use crate::protocol::{ColumnSpec, ServerError};
use crate::schema::{Schema, Table};
use crate::types::{CqlType, Value, codec, order, text, validate};
use bytes::Bytes;
use std::cell::Cell;

/// A term of a known type.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A literal.
    Const(Value),
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
}

impl Receiver {
    /// A receiver.
    #[must_use]
    pub fn new(name: &str, cql_type: &CqlType) -> Self {
        Self { name: name.to_owned(), cql_type: cql_type.clone() }
    }
}

/// Checks terms against the types they are needed as, and collects what bind markers are bound to.
pub struct Checker<'a> {
    /// The schema, for user types.
    pub schema: &'a Schema,
    /// The table the statement is about.
    pub table: &'a Table,
    /// The markers' own names.
    pub names: &'a [Option<String>],
    /// What each marker is bound to.
    pub markers: &'a mut Vec<Option<ColumnSpec>>,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

impl Checker<'_> {
    /// Registers a marker.
    pub fn marker(&mut self, index: usize, receiver: &Receiver) -> Expr {
        let name = self.names.get(index).cloned().flatten().unwrap_or_else(|| receiver.name.clone());
        if let Some(slot) = self.markers.get_mut(index) {
            *slot = Some(ColumnSpec {
                keyspace: self.table.keyspace.clone(),
                table: self.table.name.clone(),
                name,
                cql_type: receiver.cql_type.clone(),
            });
        }
        Expr::Marker(index, receiver.cql_type.clone())
    }

    /// Checks a term.
    ///
    /// # Errors
    ///
    /// As Cassandra: wrong kinds of literals, unknown functions, …
    pub fn term(&mut self, term: &Term, receiver: &Receiver) -> Result<Expr, ServerError> {
        let target = &receiver.cql_type;
        let name = &receiver.name;
        Ok(match term {
            Term::Null => Expr::Const(None),
            Term::Marker(index) => self.marker(*index, receiver),
            Term::Column(column) => {
                return Err(invalid(format!("Undefined column name {column} in table {}", self.table.full_name())));
            }
            Term::Cast(type_name, inner) => {
                let cql_type = ddl::resolve_type(
                    type_name,
                    &|t| self.schema.keyspaces.get(&self.table.keyspace)?.types.get(t).cloned(),
                    &self.table.keyspace,
                )?;
                if !assignable(&cql_type, target) {
                    return Err(invalid(format!(
                        "Cannot assign value {} to {name} of type {target}",
                        show::term(term)
                    )));
                }
                self.term(inner, &Receiver { name: name.clone(), cql_type })?
            }
            Term::Call(function, arguments) => self.call(function, arguments, receiver)?,
            Term::List(items) => self.list(items, receiver)?,
            Term::Set(items) => match target {
                CqlType::Set { element, .. } => {
                    let inner = Receiver::new(&format!("value({name})"), element);
                    let elements = self.elements(items, &inner, "set", name)?;
                    fold(Expr::Set(element.as_ref().clone(), elements))?
                }
                CqlType::Map { key, .. } if items.is_empty() => fold(Expr::Map(key.as_ref().clone(), Vec::new()))?,
                CqlType::Udt { .. } if items.is_empty() => Expr::Const(Some(Bytes::new())),
                _ => return Err(invalid(format!("Invalid set literal for {name} of type {target}"))),
            },
            Term::Map(pairs) => match target {
                CqlType::Map { key, value, .. } => {
                    let key_receiver = Receiver::new(&format!("key({name})"), key);
                    let value_receiver = Receiver::new(&format!("value({name})"), value);
                    let mut checked = Vec::new();
                    for (k, v) in pairs {
                        let k = self.element(k, &key_receiver, "map", name)?;
                        checked.push((k, self.element(v, &value_receiver, "map", name)?));
                    }
                    fold(Expr::Map(key.as_ref().clone(), checked))?
                }
                _ => return Err(invalid(format!("Invalid map literal for {name} of type {target}"))),
            },
            Term::Udt(fields) => match target {
                CqlType::Udt { definition, .. } => {
                    for (field, _) in fields {
                        if !definition.fields.iter().any(|(f, _)| f == field) {
                            return Err(invalid(format!(
                                "Unknown field '{field}' in value of user defined type {}",
                                definition.name
                            )));
                        }
                    }
                    let mut parts = Vec::new();
                    for (field, cql_type) in &definition.fields {
                        let inner = Receiver::new(&format!("{name}.{field}"), cql_type);
                        let given = fields.iter().find(|(f, _)| f == field);
                        let told =
                            || format!("Invalid user type literal for {name}: field {field} is not of type {cql_type}");
                        let part = given.map_or(Ok(Expr::Const(None)), |(_, v)| self.term(v, &inner));
                        parts.push(part.map_err(|error| outermost(error, told))?);
                    }
                    fold(Expr::Tuple(parts))?
                }
                _ => return Err(invalid(format!("Invalid user type literal for {name} of type {target}"))),
            },
            Term::Tuple(items) => match target {
                CqlType::Tuple(types) => {
                    if items.len() > types.len() {
                        return Err(invalid(format!(
                            "Invalid tuple literal for {name}: too many elements. Type {target} expects {} but got {}",
                            types.len(),
                            items.len()
                        )));
                    }
                    let mut parts = Vec::new();
                    for (i, item) in items.iter().enumerate() {
                        let told =
                            || format!("Invalid tuple literal for {name}: component {i} is not of type {}", types[i]);
                        let part = self.term(item, &Receiver::new(&format!("{name}[{i}]"), &types[i]));
                        parts.push(part.map_err(|error| outermost(error, told))?);
                    }
                    fold(Expr::Tuple(parts))?
                }
                // A parenthesised single term is itself.
                _ if items.len() == 1 => self.term(&items[0], receiver)?,
                _ => return Err(invalid(format!("Invalid tuple type literal for {name} of type {target}"))),
            },
            literal => Expr::Const(Some(self.literal(literal, receiver)?)),
        })
    }

    fn list(&mut self, items: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        let Receiver { name, cql_type: target } = receiver;
        match target {
            CqlType::List { element, .. } => {
                let inner = Receiver::new(&format!("value({name})"), element);
                fold(Expr::List(self.elements(items, &inner, "list", name)?))
            }
            CqlType::Vector { element, dimensions } => {
                if items.len() != usize::from(*dimensions) {
                    return Err(invalid(format!(
                        "Invalid vector literal for {name} of type {target}; expected {dimensions} elements, but given {}",
                        items.len()
                    )));
                }
                let inner = Receiver::new(&format!("value({name})"), element);
                fold(Expr::Vector(element.as_ref().clone(), self.elements(items, &inner, "vector", name)?))
            }
            _ => Err(invalid(format!("Unexpected receiver type '{target}'; only list and vector are expected"))),
        }
    }

    fn elements(&mut self, items: &[Term], inner: &Receiver, what: &str, name: &str) -> Result<Vec<Expr>, ServerError> {
        items.iter().map(|item| self.element(item, inner, what, name)).collect()
    }

    fn element(&mut self, item: &Term, inner: &Receiver, what: &str, name: &str) -> Result<Expr, ServerError> {
        if let Term::Null = item {
            return Err(invalid("null is not supported inside collections"));
        }
        let part = if what == "map" && inner.name.starts_with("key(") { "key" } else { "value" };
        let told = || {
            format!("Invalid {what} literal for {name}: {part} {} is not of type {}", show::term(item), inner.cql_type)
        };
        let checked = self.term(item, inner).map_err(|error| outermost(error, told))?;
        if what != "vector" && has_marker(&checked) {
            return Err(invalid(format!(
                "Invalid {what} literal for {name}: bind variables are not supported inside collection literals"
            )));
        }
        Ok(checked)
    }

    fn literal(&self, term: &Term, receiver: &Receiver) -> Result<Bytes, ServerError> {
        use CqlType as T;
        let target = &receiver.cql_type;
        let (kind, written) = match term {
            Term::String(s) => ("STRING", s.clone()),
            Term::Integer(s) => ("INTEGER", s.clone()),
            Term::Float(s) => ("FLOAT", s.clone()),
            Term::Boolean(b) => ("BOOLEAN", b.to_string()),
            Term::Uuid(s) => ("UUID", s.clone()),
            Term::Blob(s) => ("HEX", s.clone()),
            Term::Duration(s) => ("DURATION", s.clone()),
            _ => ("", String::new()),
        };
        let accepted = match kind {
            "STRING" => matches!(target, T::Ascii | T::Text | T::Inet | T::Timestamp | T::Date | T::Time),
            "INTEGER" => matches!(
                target,
                T::Bigint
                    | T::Counter
                    | T::Date
                    | T::Decimal
                    | T::Double
                    | T::Duration
                    | T::Float
                    | T::Int
                    | T::Smallint
                    | T::Time
                    | T::Timestamp
                    | T::Tinyint
                    | T::Varint
            ),
            "FLOAT" => matches!(target, T::Decimal | T::Double | T::Float),
            "BOOLEAN" => matches!(target, T::Boolean),
            "UUID" => matches!(target, T::Uuid | T::Timeuuid),
            "HEX" => matches!(target, T::Blob),
            "DURATION" => matches!(target, T::Duration),
            _ => false,
        };
        if !accepted {
            let shown = if kind == "HEX" { format!("0x{written}") } else { written };
            return Err(invalid(format!(
                "Invalid {kind} constant ({shown}) for \"{}\" of type {target}",
                receiver.name
            )));
        }
        let bytes = text::from_text(target, &written).map_err(invalid)?;
        validate::validate(target, &bytes).map_err(invalid)?;
        Ok(bytes)
    }

    /// Refuses a call that may mean a user-defined function: nothing here executes Java.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`], as not modelled.
    pub fn refuse_user_function(&self, name: &Name) -> Result<(), ServerError> {
        let keyspace = name.keyspace.as_ref().unwrap_or(&self.table.keyspace);
        match self.schema.keyspaces.get(keyspace) {
            Some(found) if found.has_function(&name.name) => {
                Err(not_modelled(&format!("calling the user-defined function {keyspace}.{}", name.name)))
            }
            _ => Ok(()),
        }
    }

    fn call(&mut self, name: &Name, arguments: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        if name.name == "token" {
            let types: Vec<CqlType> = self.table.partition_key().iter().map(|c| c.cql_type.clone()).collect();
            let function = Function::token(&types);
            let mut checked = Vec::new();
            if arguments.len() != types.len() {
                return Err(invalid(format!(
                    "Invalid call to function token, none of its type signatures match (known type signatures: system.token : ({}) -> bigint)",
                    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                )));
            }
            for (i, argument) in arguments.iter().enumerate() {
                checked.push(self.term(argument, &Receiver::new(&format!("arg{i}(system.token)"), &types[i]))?);
            }
            return Ok(Expr::Call(function, checked));
        }
        self.refuse_user_function(name)?;
        let types: Vec<Option<CqlType>> = arguments.iter().map(|a| self.natural_type(a)).collect();
        let function = functions::find(name, &types, Some(&receiver.cql_type))?;
        if !assignable(&function.result, &receiver.cql_type) {
            return Err(invalid(format!(
                "Type error: cannot assign result of function {} (type {}) to {} (type {})",
                function.full_name(),
                function.result,
                receiver.name,
                receiver.cql_type
            )));
        }
        let mut checked = Vec::new();
        for (i, (argument, cql_type)) in arguments.iter().zip(function.arguments.clone()).enumerate() {
            let inner = Receiver::new(&format!("arg{i}({})", function.full_name()), &cql_type);
            checked.push(self.term(argument, &inner)?);
        }
        Ok(Expr::Call(function, checked))
    }

    /// The type a term has on its own, if it says.
    fn natural_type(&self, term: &Term) -> Option<CqlType> {
        match term {
            Term::String(_) => Some(CqlType::Text),
            Term::Boolean(_) => Some(CqlType::Boolean),
            Term::Uuid(_) => Some(CqlType::Uuid),
            Term::Blob(_) => Some(CqlType::Blob),
            Term::Duration(_) => Some(CqlType::Duration),
            Term::Integer(_) => Some(CqlType::Int),
            Term::Float(_) => Some(CqlType::Double),
            Term::Call(name, arguments) => {
                let types: Vec<Option<CqlType>> = arguments.iter().map(|a| self.natural_type(a)).collect();
                functions::find(name, &types, None).ok().map(|f| f.result)
            }
            Term::Cast(type_name, _) => ddl::resolve_type(type_name, &|_| None, "").ok(),
            _ => None,
        }
    }
}

/// Whether a value of one type can be given where the other is needed.
#[must_use]
pub fn assignable(from: &CqlType, to: &CqlType) -> bool {
    use CqlType as T;
    from.same_values(to)
        || matches!(
            (from, to),
            (T::Ascii, T::Text) | (T::Timeuuid, T::Uuid) | (T::Bigint, T::Counter | T::Timestamp) | (_, T::Blob)
        ) && *from != T::Counter
}

/// A literal that does not fit is told of by the outermost one around it.
fn outermost(error: ServerError, told: impl Fn() -> String) -> ServerError {
    match &error {
        ServerError::Invalid(message)
            if message.starts_with("Invalid ")
                && (message.contains(" constant (") || message.contains(" literal for "))
                && !message.contains("bind variables") =>
        {
            invalid(told())
        }
        _ => error,
    }
}

fn has_marker(expr: &Expr) -> bool {
    match expr {
        Expr::Const(_) => false,
        Expr::Marker(..) => true,
        Expr::List(items) | Expr::Set(_, items) | Expr::Tuple(items) | Expr::Vector(_, items) => {
            items.iter().any(has_marker)
        }
        Expr::Map(_, pairs) => pairs.iter().any(|(key, value)| has_marker(key) || has_marker(value)),
        Expr::Call(_, arguments) => arguments.iter().any(has_marker),
    }
}

/// Evaluates what holds only literals once, at preparation.
fn fold(expr: Expr) -> Result<Expr, ServerError> {
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
    let options = BindOptions { timestamp: 0, unix_seconds: 0, page_size: None, paging_state: None, entropy: 0 };
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
        self.value(expr).map(Bound::Value)
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
        Ok(match expr {
            Expr::Const(value) => value.clone(),
            Expr::Marker(..) => match self.bound(expr)? {
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
                let values = items.iter().map(element).collect::<Result<Vec<_>, _>>()?;
                Some(codec::join_vector(cql_type, &values.into_iter().flatten().collect::<Vec<_>>()))
            }
            Expr::Call(function, arguments) => {
                let values = arguments.iter().map(|a| self.value(a)).collect::<Result<Vec<_>, _>>()?;
                function.call(&values, self.options, self.sequence())?
            }
        })
    }
}

/// # Errors
///
/// Invalid, with the message Cassandra sends for a wrong value.
pub fn check_value(cql_type: &CqlType, bytes: &Bytes) -> Result<(), ServerError> {
    validate::validate(cql_type, bytes).map_err(invalid)
}
