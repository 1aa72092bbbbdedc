//! Selectors: their types, the inputs they take from a row, and the names of their result columns.
//!
//! Two selectors of the same column share one input, so a row's value is taken once.

use super::super::ast::{Name, Selector, Term};
use super::super::expr::{Checker, Receiver, assignable};
use super::super::functions::{self, Function};
use super::super::parser::not_modelled;
use super::super::{ddl, relations};
use super::{Input, Meta, Selected, invalid};
use crate::protocol::ServerError;
use crate::schema::ColumnKind;
use crate::types::CqlType;

/// Turns selectors into what is made of each row, gathering the inputs they share.
pub(super) struct Builder<'a, 'b> {
    pub(super) checker: &'a mut Checker<'b>,
    pub(super) inputs: Vec<Input>,
}

impl Builder<'_, '_> {
    pub(super) fn input(&mut self, input: Input) -> Selected {
        let place = self.inputs.iter().position(|present| *present == input).unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        });
        Selected::Input(place)
    }

    fn column(&self, name: &str) -> Result<usize, ServerError> {
        let table = self.checker.table;
        table
            .column_index(name)
            .ok_or_else(|| invalid(format!("Undefined column name {name} in table {}", table.full_name())))
    }

    pub(super) fn selector(&mut self, selector: &Selector) -> Result<(Selected, CqlType), ServerError> {
        let table = self.checker.table;
        Ok(match selector {
            Selector::Column(name) => {
                let index = self.column(name)?;
                (self.input(Input::Column(index)), table.columns[index].cql_type.clone())
            }
            Selector::CountRows => (Selected::CountRows, CqlType::Bigint),
            Selector::Meta(function, inner) => self.meta(function, inner)?,
            Selector::Call(name, arguments) => self.call(name, arguments)?,
            Selector::Cast(inner, type_name) => {
                let (inner, from) = self.selector(inner)?;
                let to = ddl::resolve_type(type_name, &|_| None, &table.keyspace)?;
                (Selected::Call(Function::cast(&from, &to)?, vec![inner]), to)
            }
            Selector::Field(inner, field) => {
                let (expr, cql_type) = self.selector(inner)?;
                let CqlType::Udt { definition, .. } = &cql_type else {
                    return Err(invalid(format!(
                        "Invalid field selection: {} of type {cql_type} is not a user type",
                        name_of(inner)
                    )));
                };
                let place = definition
                    .fields
                    .iter()
                    .position(|(name, _)| name == field)
                    .ok_or_else(|| invalid(format!("{cql_type} of type {cql_type} has no field {field}")))?;
                let found = definition.fields[place].1.clone();
                (Selected::Field(Box::new(expr), place, definition.fields.len()), found)
            }
            Selector::Element(inner, key) => {
                let (expr, cql_type) = self.selector(inner)?;
                let (key_type, found) = match &cql_type {
                    CqlType::Map { key, value, .. } => (key.as_ref().clone(), value.as_ref().clone()),
                    CqlType::Set { element, .. } => (element.as_ref().clone(), element.as_ref().clone()),
                    CqlType::List { element, .. } => (CqlType::Int, element.as_ref().clone()),
                    _ => {
                        return Err(invalid(format!(
                            "Invalid element selection: {} is of type {cql_type} is not a collection",
                            name_of(inner)
                        )));
                    }
                };
                let receiver = Receiver::new(&format!("key({})", name_of(inner)), &key_type);
                let key = self.checker.term(key, &receiver)?;
                (Selected::Element(Box::new(expr), cql_type, key), found)
            }
            Selector::Term(term) => self.constant(term)?,
        })
    }

    fn constant(&mut self, term: &Term) -> Result<(Selected, CqlType), ServerError> {
        let cql_type = match term {
            Term::Integer(_) => CqlType::Int,
            Term::Float(_) => CqlType::Double,
            Term::String(_) => CqlType::Text,
            Term::Boolean(_) => CqlType::Boolean,
            Term::Uuid(_) => CqlType::Uuid,
            Term::Blob(_) => CqlType::Blob,
            Term::Duration(_) => CqlType::Duration,
            Term::Cast(type_name, _) => ddl::resolve_type(type_name, &|_| None, &self.checker.table.keyspace)?,
            _ => {
                return Err(invalid(
                    "Cannot infer type for term ? in selection clause (try using a cast to force a type)",
                ));
            }
        };
        let expr = self.checker.term(term, &Receiver::new("[selection]", &cql_type))?;
        Ok((Selected::Term(expr), cql_type))
    }

    fn meta(&mut self, function: &str, inner: &Selector) -> Result<(Selected, CqlType), ServerError> {
        let Selector::Column(name) = inner else {
            return Err(not_modelled(&format!("{function} of a part of a column")));
        };
        let table = self.checker.table;
        let index = self.column(name)?;
        let column = &table.columns[index];
        if matches!(column.kind, ColumnKind::PartitionKey | ColumnKind::Clustering) {
            return Err(invalid(format!("Cannot use selection function {function} on PRIMARY KEY part {name}")));
        }
        let (meta, single) = match function {
            "writetime" => (Meta::WriteTime, CqlType::Bigint),
            "maxwritetime" => (Meta::MaxWriteTime, CqlType::Bigint),
            _ => (Meta::Ttl, CqlType::Int),
        };
        let cql_type = if column.cql_type.is_multi_cell() && meta != Meta::MaxWriteTime {
            CqlType::list(single, true)
        } else {
            single
        };
        Ok((self.input(Input::Meta(meta, index)), cql_type))
    }

    fn call(&mut self, name: &Name, arguments: &[Selector]) -> Result<(Selected, CqlType), ServerError> {
        let table = self.checker.table;
        if name.name == "token" {
            let function = relations::token_function(table);
            let inputs = arguments.iter().map(|a| Ok(self.selector(a)?.0)).collect::<Result<Vec<_>, ServerError>>()?;
            if inputs.len() != function.arguments.len() {
                return Err(invalid("Invalid number of arguments in call to function token".to_owned()));
            }
            return Ok((Selected::Call(function, inputs), CqlType::Bigint));
        }
        self.checker.refuse_user_function(name)?;
        let mut parts = Vec::new();
        let mut types = Vec::new();
        for argument in arguments {
            let (part, cql_type) = self.selector(argument)?;
            parts.push(part);
            types.push(Some(cql_type));
        }
        let function = functions::find(name, &types, None)?;
        // A literal takes the type the function wants; a column must already have it.
        for (place, (part, wanted)) in parts.iter_mut().zip(&function.arguments).enumerate() {
            if let (Selected::Term(_), Selector::Term(term)) = (&*part, &arguments[place]) {
                let receiver = Receiver::new(&format!("arg{place}({})", function.full_name()), wanted);
                *part = Selected::Term(self.checker.term(term, &receiver)?);
            } else if let Some(Some(found)) = types.get(place)
                && !assignable(found, wanted)
            {
                return Err(invalid(format!(
                    "Type error: {} cannot be passed as argument {place} of function {} of type {wanted}",
                    name_of(&arguments[place]),
                    function.full_name()
                )));
            }
        }
        let result = function.result.clone();
        let expr = match (function.is_aggregate(), parts.pop()) {
            (true, Some(argument)) => {
                if argument.is_aggregate() {
                    return Err(invalid("aggregate functions cannot be used as arguments of aggregate functions"));
                }
                Selected::Aggregate(function, Box::new(argument))
            }
            (_, last) => Selected::Call(function, parts.into_iter().chain(last).collect()),
        };
        Ok((expr, result))
    }
}

/// The name of a result column without alias.
pub(super) fn name_of(selector: &Selector) -> String {
    match selector {
        Selector::Column(name) => name.clone(),
        Selector::CountRows => "count".to_owned(),
        Selector::Meta(function, inner) => format!("{function}({})", name_of(inner)),
        Selector::Call(name, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(name_of).collect();
            format!("system.{}({})", name.name, arguments.join(", "))
        }
        Selector::Cast(inner, type_name) => {
            let shown = ddl::resolve_type(type_name, &|_| None, "").map(|t| t.to_string()).unwrap_or_default();
            format!("cast({} as {shown})", name_of(inner))
        }
        Selector::Field(inner, field) => format!("{}.{field}", name_of(inner)),
        Selector::Element(inner, key) => format!("{}[{}]", name_of(inner), show(key)),
        Selector::Term(term) => show(term),
    }
}

fn show(term: &Term) -> String {
    match term {
        Term::Integer(s) | Term::Float(s) | Term::Uuid(s) | Term::Duration(s) => s.clone(),
        Term::String(s) => format!("'{s}'"),
        Term::Blob(s) => format!("0x{s}"),
        Term::Boolean(b) => b.to_string(),
        Term::Cast(type_name, inner) => {
            let shown = ddl::resolve_type(type_name, &|_| None, "").map(|t| t.to_string()).unwrap_or_default();
            format!("({shown}){}", show(inner))
        }
        Term::Null => "NULL".to_owned(),
        _ => "?".to_owned(),
    }
}
