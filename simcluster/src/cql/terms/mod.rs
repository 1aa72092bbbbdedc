//! Terms as they were written, given their types when a statement is prepared.
//!
//! Here they are checked; `fit` says how well a term stands where a type is needed, without saying why not.

mod fit;

use super::ast::{Name, Term, TypeName};
use super::expr::{Expr, Receiver, fold, has_marker};
use super::functions::{self, Argument, Call, Function};
use super::parser::not_modelled;
use super::{ddl, show};
use crate::protocol::{ColumnSpec, ServerError};
use crate::schema::{Dialect, Schema, Table};
use crate::types::compatible::{result_fit, takes};
use crate::types::{CqlType, text, validate};
use bytes::Bytes;

pub use fit::Given;

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

/// The receiver of an element of a collection.
fn element_of(receiver: &Receiver, place: &str, cql_type: &CqlType) -> Receiver {
    Receiver::new(&format!("{place}({})", receiver.name), cql_type)
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
        let (name, target) = (&receiver.name, &receiver.cql_type);
        Ok(match term {
            Term::Null if *target == CqlType::Counter => {
                return Err(invalid("Invalid null value for counter increment/decrement"));
            }
            Term::Null => Expr::Const(None),
            Term::Marker(index) => self.marker(*index, receiver),
            Term::Column(column) => {
                return Err(invalid(show::undefined_column(self.table, column)));
            }
            Term::Cast(type_name, inner) => {
                let cast = self.resolve_type(type_name)?;
                if !self.fit(inner, &cast)?.is_assignable() {
                    let (value, cast) = (show::term(inner), show::type_name(type_name));
                    return Err(invalid(format!("Cannot cast value {value} to type {cast}")));
                }
                if cast != *target && !takes(target, &cast) {
                    let value = show::term(term);
                    return Err(invalid(format!("Cannot assign value {value} to {name} of type {target}")));
                }
                self.term(inner, receiver)?
            }
            Term::Call(function, arguments) => self.call(function, arguments, receiver)?,
            Term::List(items) => self.array(items, receiver)?,
            Term::Set(items) => self.set(items, receiver)?,
            Term::Map(pairs) => self.map(pairs, receiver)?,
            Term::Udt(fields) => self.user_type(fields, receiver)?,
            Term::Tuple(items) => self.tuple(items, receiver)?,
            literal => Expr::Const(Some(self.literal(literal, receiver)?)),
        })
    }

    /// A type as a term or selector names it.
    pub(super) fn resolve_type(&self, type_name: &TypeName) -> Result<CqlType, ServerError> {
        let types = |name: &str| self.schema.keyspaces.get(&self.table.keyspace)?.types.get(name).cloned();
        ddl::resolve_type(type_name, &types, &self.table.keyspace)
    }

    fn array(&mut self, items: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        let Receiver { name, cql_type: target, .. } = receiver;
        match target {
            CqlType::List { element, .. } => fold(Expr::List(self.elements(items, receiver, element, "list")?)),
            CqlType::Vector { element, dimensions } => {
                if items.len() != usize::from(*dimensions) {
                    return Err(invalid(format!(
                        "Invalid vector literal for {name} of type {target}; expected {dimensions} elements, but given {}",
                        items.len()
                    )));
                }
                fold(Expr::Vector(element.as_ref().clone(), self.elements(items, receiver, element, "vector")?))
            }
            _ if self.schema.dialect < Dialect::V50 => {
                Err(invalid(format!("Invalid list literal for {name} of type {target}")))
            }
            _ => Err(unexpected_array(target)),
        }
    }

    fn set(&mut self, items: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        match &receiver.cql_type {
            CqlType::Set { element, .. } => {
                fold(Expr::Set(element.as_ref().clone(), self.elements(items, receiver, element, "set")?))
            }
            CqlType::Map { .. } if items.is_empty() && receiver.is_descending => Err(not_modelled(
                "an empty map as a key in descending order, where Cassandra fails with an internal error",
            )),
            CqlType::Map { key, .. } if items.is_empty() => fold(Expr::Map(key.as_ref().clone(), Vec::new())),
            target => Err(invalid(format!("Invalid set literal for {} of type {target}", receiver.name))),
        }
    }

    /// The elements of a list, set or vector: all must fit before any is looked at closely.
    fn elements(
        &mut self,
        items: &[Term],
        receiver: &Receiver,
        element: &CqlType,
        what: &str,
    ) -> Result<Vec<Expr>, ServerError> {
        let name = &receiver.name;
        for item in items {
            if !self.fit(item, element)?.is_assignable() {
                let shown = show::term(item);
                return Err(invalid(format!(
                    "Invalid {what} literal for {name}: value {shown} is not of type {element}"
                )));
            }
        }
        let inner = element_of(receiver, "value", element);
        let checked = items.iter().map(|item| self.term(item, &inner)).collect::<Result<Vec<_>, _>>()?;
        if what != "vector" && checked.iter().any(has_marker) {
            return Err(markers_inside(what, name));
        }
        Ok(checked)
    }

    fn map(&mut self, pairs: &[(Term, Term)], receiver: &Receiver) -> Result<Expr, ServerError> {
        let Receiver { name, cql_type: target, .. } = receiver;
        let CqlType::Map { key, value, .. } = target else {
            return Err(invalid(format!("Invalid map literal for {name} of type {target}")));
        };
        for (k, v) in pairs {
            for (term, cql_type, part) in [(k, key, "key"), (v, value, "value")] {
                if !self.fit(term, cql_type)?.is_assignable() {
                    let shown = show::term(term);
                    return Err(invalid(format!(
                        "Invalid map literal for {name}: {part} {shown} is not of type {cql_type}"
                    )));
                }
            }
        }
        let (key_receiver, value_receiver) = (element_of(receiver, "key", key), element_of(receiver, "value", value));
        let mut checked = Vec::new();
        for (k, v) in pairs {
            let (k, v) = (self.term(k, &key_receiver)?, self.term(v, &value_receiver)?);
            if has_marker(&k) || has_marker(&v) {
                return Err(markers_inside("map", name));
            }
            checked.push((k, v));
        }
        fold(Expr::Map(key.as_ref().clone(), checked))
    }

    fn user_type(&mut self, fields: &[(String, Term)], receiver: &Receiver) -> Result<Expr, ServerError> {
        let Receiver { name, cql_type: target, .. } = receiver;
        let CqlType::Udt { definition, .. } = target else {
            return Err(invalid(format!("Invalid user type literal for {name} of type {target}")));
        };
        let given = |field: &str| fields.iter().rev().find(|(f, _)| f == field).map(|(_, value)| value);
        for (field, cql_type) in &definition.fields {
            if let Some(value) = given(field)
                && !self.fit(value, cql_type)?.is_assignable()
            {
                return Err(invalid(format!(
                    "Invalid user type literal for {name}: field {field} is not of type {cql_type}"
                )));
            }
        }
        let mut parts = Vec::new();
        for (field, cql_type) in &definition.fields {
            let inner = Receiver::new(&format!("{name}.{field}"), cql_type);
            parts.push(given(field).map_or(Ok(Expr::Const(None)), |value| self.term(value, &inner))?);
        }
        if let Some((field, _)) = fields.iter().find(|(field, _)| !definition.fields.iter().any(|(f, _)| f == field)) {
            let of = &definition.name;
            return Err(invalid(format!("Unknown field '{field}' in value of user defined type {of}")));
        }
        fold(Expr::Tuple(parts))
    }

    fn tuple(&mut self, items: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        let Receiver { name, cql_type: target, .. } = receiver;
        let types: Vec<CqlType> = match target {
            CqlType::Tuple(types) => types.to_vec(),
            // A user type is a tuple with names.
            CqlType::Udt { definition, .. } => definition.fields.iter().map(|(_, t)| t.clone()).collect(),
            // A parenthesised single term is itself.
            _ if items.len() == 1 => return self.term(&items[0], receiver),
            _ => return Err(invalid(format!("Invalid tuple type literal for {name} of type {target}"))),
        };
        for (index, item) in items.iter().enumerate() {
            let Some(cql_type) = types.get(index) else {
                return Err(invalid(format!(
                    "Invalid tuple literal for {name}: too many elements. Type {target} expects {} but got {}",
                    types.len(),
                    items.len()
                )));
            };
            if !self.fit(item, cql_type)?.is_assignable() {
                return Err(invalid(format!(
                    "Invalid tuple literal for {name}: component {index} is not of type {cql_type}"
                )));
            }
        }
        let mut parts = Vec::new();
        for (index, (item, cql_type)) in items.iter().zip(&types).enumerate() {
            parts.push(self.term(item, &Receiver::new(&format!("{name}[{index}]"), cql_type))?);
        }
        fold(Expr::Tuple(parts))
    }

    fn literal(&self, term: &Term, receiver: &Receiver) -> Result<Bytes, ServerError> {
        let target = &receiver.cql_type;
        let (kind, written) = fit::kind_and_text(term);
        if !self.fit(term, target)?.is_assignable() {
            return Err(invalid(format!(
                "Invalid {kind} constant ({}) for \"{}\" of type {target}",
                if kind == "HEX" { format!("0x{written}") } else { written },
                receiver.name
            )));
        }
        if kind == "HEX" {
            // Its bytes are taken as they are, also where a `tinyint` has room for one.
            return text::from_text(&CqlType::Blob, &written).map_err(invalid);
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

    /// The function that a call means; `None` if there is none of that name.
    pub(super) fn function(
        &self,
        name: &Name,
        arguments: &[&dyn Argument],
        wanted: Option<&CqlType>,
    ) -> Result<Option<Function>, ServerError> {
        self.refuse_user_function(name)?;
        let key_types: Vec<CqlType> = self.table.partition_key().iter().map(|c| c.cql_type.clone()).collect();
        functions::resolve(Call { name, wanted, key_types: &key_types, dialect: self.schema.dialect }, arguments)
    }

    fn call(&mut self, name: &Name, arguments: &[Term], receiver: &Receiver) -> Result<Expr, ServerError> {
        let function = self.called(name, arguments, Some(&receiver.cql_type))?;
        let Some(function) = function else {
            return Err(invalid(format!("Unknown function {} called", functions::shown_name(name))));
        };
        if function.is_aggregate() {
            if self.schema.dialect < Dialect::V50 {
                return Err(not_modelled("an aggregate where a value is written, in a release before 5.0"));
            }
            return Err(invalid("Aggregation function are not supported in the where clause"));
        }
        if !result_fit(&function.result, &receiver.cql_type).is_assignable() {
            let what = match function.operator() {
                Some(operator) => format!("operation {operator}"),
                None => format!("function {}", function.full_name()),
            };
            return Err(invalid(format!(
                "Type error: cannot assign result of {what} (type {}) to {} (type {})",
                function.result, receiver.name, receiver.cql_type
            )));
        }
        let mut checked = Vec::new();
        for (i, (argument, cql_type)) in arguments.iter().zip(function.arguments.clone()).enumerate() {
            let inner = Receiver::new(&format!("arg{i}({})", function.full_name()), &cql_type);
            checked.push(self.term(argument, &inner)?);
        }
        Ok(Expr::Call(function, checked))
    }

    fn called(
        &self,
        name: &Name,
        arguments: &[Term],
        wanted: Option<&CqlType>,
    ) -> Result<Option<Function>, ServerError> {
        let given: Vec<Given<'_>> = arguments.iter().map(|term| Given { checker: self, term }).collect();
        let given: Vec<&dyn Argument> = given.iter().map(|g| g as &dyn Argument).collect();
        self.function(name, &given, wanted)
    }
}

fn markers_inside(what: &str, name: &str) -> ServerError {
    invalid(format!("Invalid {what} literal for {name}: bind variables are not supported inside collection literals"))
}

fn unexpected_array(target: &CqlType) -> ServerError {
    invalid(format!("Unexpected receiver type '{target}'; only list and vector are expected"))
}
