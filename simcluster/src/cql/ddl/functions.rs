//! CREATE and DROP FUNCTION and AGGREGATE.
//!
//! Functions and aggregates are metadata: statements that would call one are refused as not modelled. Nothing here
//! compiles Java, so a body that does not look like one is refused rather than accepted.

use super::{Change, Changes, invalid, resolve_type};
use crate::cql::BindOptions;
use crate::cql::ast::{CreateAggregate, CreateFunction, Name, Term, TypeName};
use crate::cql::expr::{Env, Receiver};
use crate::cql::parser::not_modelled;
use crate::cql::row::row_deletion;
use crate::cql::system::{self, text, text_list};
use crate::cql::terms::Checker;
use crate::protocol::{SchemaChangeEvent, ServerError};
use crate::schema::functions::{Aggregate, Function, texts, unfrozen};
use crate::schema::{Keyspace, Table};
use crate::storage::Mutation;
use crate::types::{CqlType, Value, codec, text as value_text};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

impl Change<'_> {
    pub(super) fn create_function(&self, create: &CreateFunction) -> Result<Option<Changes>, ServerError> {
        let name = &create.name.name;
        let keyspace_name = self.keyspace_of_function(&create.name)?;
        check_directives(create.or_replace, create.if_not_exists)?;
        if create.language != "java" {
            return Err(invalid(
                "Currently only Java UDFs are available in Cassandra. For more information - CASSANDRA-18252 and CASSANDRA-17281",
            ));
        }
        let names: Vec<&str> = create.arguments.iter().map(|(name, _)| name.as_str()).collect();
        if names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err(invalid(format!(
                "Duplicate argument names for given function {name} with argument names [{}]",
                names.join(", ")
            )));
        }
        let keyspace = self.existing_keyspace(keyspace_name)?;
        let types = create.arguments.iter().map(|(_, t)| plain_type(keyspace, t, "Argument"));
        let argument_types = types.collect::<Result<Vec<_>, _>>()?;
        let return_type = plain_type(keyspace, &create.return_type, "Return type")?;
        if !looks_like_java(&create.body) {
            return Err(not_modelled("compiling a Java function whose body is not plainly a block"));
        }
        let function = Function {
            keyspace: keyspace_name.to_owned(),
            name: name.clone(),
            argument_names: names.into_iter().map(ToOwned::to_owned).collect(),
            argument_types,
            return_type,
            called_on_null_input: create.called_on_null_input,
            language: create.language.clone(),
            body: create.body.clone(),
        };
        if keyspace.aggregates.contains_key(&function.signature()) {
            return Err(invalid(format!("Function '{name}' cannot replace an aggregate")));
        }
        let mut change = "CREATED";
        if let Some(existing) = keyspace.functions.get(&function.signature()) {
            if create.if_not_exists {
                return Ok(None);
            }
            if !create.or_replace {
                return Err(invalid(format!("Function '{name}' already exists")));
            }
            if existing.called_on_null_input != function.called_on_null_input {
                let wanted = if function.called_on_null_input { "CALLED" } else { "RETURNS NULL" };
                return Err(invalid(format!("Function '{name}' must have {wanted} ON NULL INPUT directive")));
            }
            if existing.return_type != function.return_type {
                return Err(invalid(format!(
                    "Cannot replace function '{name}', the new return type {} is not compatible with the return type {} of existing function",
                    function.return_type, existing.return_type
                )));
            }
            change = "UPDATED";
        }
        let rows = system::function_rows(self.schema, &function, self.timestamp);
        Ok(Some((rows, function_event(change, "FUNCTION", keyspace_name, name, &texts(&function.argument_types)))))
    }

    pub(super) fn create_aggregate(&self, create: &CreateAggregate) -> Result<Option<Changes>, ServerError> {
        let name = &create.name.name;
        let keyspace_name = self.keyspace_of_function(&create.name)?;
        check_directives(create.or_replace, create.if_not_exists)?;
        let missing = || ServerError::Config(format!("Keyspace {keyspace_name} doesn't exist"));
        let keyspace = self.schema.keyspaces.get(keyspace_name).ok_or_else(missing)?;
        let types = create.arguments.iter().map(|t| plain_type(keyspace, t, "Argument"));
        let argument_types = types.collect::<Result<Vec<_>, _>>()?;
        let state_type = plain_type(keyspace, &create.state_type, "State type")?;
        let find = |what: &str, function: &str, types: &[CqlType]| {
            let found = keyspace.functions.get(&(function.to_owned(), texts(types)));
            found.ok_or_else(|| {
                let shown: Vec<_> = types.iter().map(unfrozen).collect();
                invalid(format!("{what} function {keyspace_name}.{function}({}) doesn't exist", shown.join(", ")))
            })
        };
        let state_arguments: Vec<_> = std::iter::once(state_type.clone()).chain(argument_types.clone()).collect();
        let state = find("State", &create.state_function, &state_arguments)?;
        if state.return_type != state_type {
            let shown: Vec<_> = state_arguments.iter().map(unfrozen).collect();
            return Err(invalid(format!(
                "State function {keyspace_name}.{}({}) return type must be the same as the first argument type - check STYPE, argument and return types",
                state.name,
                shown.join(", ")
            )));
        }
        let mut return_type = state_type.clone();
        if let Some(function) = &create.final_function {
            return_type = find("Final", function, std::slice::from_ref(&state_type))?.return_type.clone();
        }
        let initial = match &create.initial {
            Some(term) => self.initial_state(keyspace_name, term, &state_type)?,
            None => None,
        };
        if initial.is_none() && !state.called_on_null_input {
            return Err(invalid(format!(
                "Cannot create aggregate '{name}' without INITCOND because state function {keyspace_name}.{} does not accept 'null' arguments",
                state.name
            )));
        }
        let aggregate = Aggregate {
            keyspace: keyspace_name.to_owned(),
            name: name.clone(),
            argument_types,
            state_function: create.state_function.clone(),
            state_type,
            final_function: create.final_function.clone(),
            initial,
            return_type,
        };
        if keyspace.functions.contains_key(&aggregate.signature()) {
            return Err(invalid(format!("Aggregate '{name}' cannot replace a function")));
        }
        let mut change = "CREATED";
        if let Some(existing) = keyspace.aggregates.get(&aggregate.signature()) {
            if create.if_not_exists {
                return Ok(None);
            }
            if !create.or_replace {
                return Err(invalid(format!("Aggregate '{name}' already exists")));
            }
            if existing.return_type != aggregate.return_type {
                return Err(invalid(format!(
                    "Cannot replace aggregate '{name}', the new return type {} isn't compatible with the return type {} of existing function",
                    aggregate.return_type, existing.return_type
                )));
            }
            change = "UPDATED";
        }
        let rows = system::aggregate_rows(self.schema, &aggregate, self.timestamp);
        Ok(Some((rows, function_event(change, "AGGREGATE", keyspace_name, name, &texts(&aggregate.argument_types)))))
    }

    pub(super) fn drop_function(
        &self,
        name: &Name,
        arguments: Option<&[TypeName]>,
        if_exists: bool,
        is_aggregate: bool,
    ) -> Result<Option<Changes>, ServerError> {
        let (kind, target, table) =
            if is_aggregate { ("Aggregate", "AGGREGATE", "aggregates") } else { ("Function", "FUNCTION", "functions") };
        let keyspace_name = self.keyspace_of(name)?;
        let nothing = Keyspace { tables: BTreeMap::new(), ..Keyspace::empty(keyspace_name) };
        let keyspace = self.schema.keyspaces.get(keyspace_name).map_or(&nothing, |keyspace| &**keyspace);
        let types = arguments
            .map(|types| types.iter().map(|t| plain_type(keyspace, t, "Argument")).collect::<Result<Vec<_>, _>>());
        let types = types.transpose()?;
        let shown_types = types.as_ref().map(|types| types.iter().map(unfrozen).collect::<Vec<_>>().join(", "));
        let shown = format!("{keyspace_name}.{}", name.name)
            + &shown_types.map(|types| format!("({types})")).unwrap_or_default();
        let all = keyspace.functions.keys().chain(keyspace.aggregates.keys());
        let overloads = all.filter(|(known, _)| *known == name.name).count();
        if types.is_none() && overloads > 1 {
            let what = name.name.as_str();
            return Err(invalid(format!(
                "'DROP {target} {what}' matches multiple function definitions; specify the argument types by issuing a statement like 'DROP {target} {what} (type, type, ...)'. You can use cqlsh 'DESCRIBE {target} {what}' command to find all overloads"
            )));
        }
        let wanted = types.as_deref().map(texts);
        let is_meant = |known: &(String, Vec<String>)| {
            known.0 == name.name && wanted.as_ref().is_none_or(|types| *types == known.1)
        };
        let found = if is_aggregate {
            keyspace.aggregates.keys().find(|known| is_meant(known))
        } else {
            keyspace.functions.keys().find(|known| is_meant(known))
        };
        let Some(signature) = found else {
            if if_exists {
                return Ok(None);
            }
            return Err(invalid(format!("{kind} '{shown}' doesn't exist")));
        };
        if let Some(function) = keyspace.functions.get(signature).filter(|_| !is_aggregate) {
            let users: Vec<String> = keyspace
                .aggregates
                .values()
                .filter(|aggregate| uses(aggregate, function))
                .map(|aggregate| format!("{keyspace_name}.{}", aggregate.name))
                .collect();
            if let Some(users) = in_known_order(users)? {
                return Err(invalid(format!("Function '{shown}' is still referenced by aggregates {users}")));
            }
        }
        let rows = self.function_deletion(table, keyspace_name, &name.name, &signature.1).into_iter().collect();
        Ok(Some((rows, function_event("DROPPED", target, keyspace_name, &name.name, &signature.1))))
    }

    fn function_deletion(&self, table: &str, keyspace: &str, name: &str, types: &[String]) -> Option<Mutation> {
        let name_column = if table == "functions" { "function_name" } else { "aggregate_name" };
        let table = self.schema.table("system_schema", table)?;
        let key = [("keyspace_name", text(keyspace)), (name_column, text(name)), ("argument_types", text_list(types))];
        Some(row_deletion(table, self.timestamp, &key))
    }

    /// The literal that is stored for INITCOND; `None` for null.
    fn initial_state(&self, keyspace: &str, term: &Term, state_type: &CqlType) -> Result<Option<String>, ServerError> {
        let table = Table::empty(keyspace, "");
        let mut markers = Vec::new();
        let mut checker = Checker { schema: self.schema, table: &table, names: &[], markers: &mut markers };
        let expr = checker.term(term, &Receiver::new("(dummy)", state_type))?;
        let options = BindOptions {
            timestamp: self.timestamp,
            clock: self.timestamp,
            unix_seconds: self.timestamp / 1_000_000,
            page_size: None,
            paging_state: None,
            entropy: self.entropy,
        };
        let value = Env::new(&[], &options).value(&expr)?;
        value.map(|bytes| literal(state_type, &bytes)).transpose()
    }
}

/// Functions and aggregates whose types mention a user type, as error messages name them.
pub(super) fn functions_using(keyspace: &Keyspace, uses: &dyn Fn(&CqlType) -> bool) -> Vec<String> {
    let functions = keyspace.functions.values().filter(|f| f.argument_types.iter().any(uses) || uses(&f.return_type));
    let aggregates = keyspace.aggregates.values().filter(|a| a.argument_types.iter().any(uses) || uses(&a.return_type));
    let names = functions.map(|f| &f.name).chain(aggregates.map(|a| &a.name));
    names.map(|name| format!("{}.{name}", keyspace.name)).collect()
}

/// Names for an error message; `None` if there are none.
///
/// # Errors
///
/// Several are refused as not modelled: Cassandra names them in the order in which it first met each name.
pub(super) fn in_known_order(names: Vec<String>) -> Result<Option<String>, ServerError> {
    match names.len() {
        0 | 1 => Ok(names.into_iter().next()),
        _ => Err(not_modelled("naming several functions that use something that is dropped")),
    }
}

/// A type as the answer to CREATE names it, which is neither how events nor how rows do.
pub(super) fn as_answered(name: &TypeName, keyspace: &str) -> String {
    let inner = |name: &TypeName| as_answered(name, keyspace);
    match name {
        TypeName::Named(Name { keyspace: None, name }) if CqlType::native(name).is_some() => name.clone(),
        TypeName::Named(Name { keyspace: own, name }) => format!("{}.{name}", own.as_deref().unwrap_or(keyspace)),
        TypeName::List(element) => format!("list<{}>", inner(element)),
        TypeName::Set(element) => format!("set<{}>", inner(element)),
        TypeName::Map(key, value) => format!("map<{}, {}>", inner(key), inner(value)),
        TypeName::Tuple(parts) => format!("tuple<{}>", parts.iter().map(inner).collect::<Vec<_>>().join(", ")),
        TypeName::Vector(element, dimensions) => format!("vector<{}, {dimensions}>", inner(element)),
        TypeName::Frozen(whole) if matches!(**whole, TypeName::Tuple(_) | TypeName::Vector(..)) => inner(whole),
        TypeName::Frozen(whole) => format!("frozen<{}>", inner(whole)),
    }
}

fn uses(aggregate: &Aggregate, function: &Function) -> bool {
    let types = std::iter::once(&aggregate.state_type).chain(&aggregate.argument_types);
    let is_state = aggregate.state_function == function.name && types.eq(&function.argument_types);
    let is_final = aggregate.final_function.as_ref() == Some(&function.name)
        && function.argument_types == [aggregate.state_type.clone()];
    is_state || is_final
}

fn check_directives(or_replace: bool, if_not_exists: bool) -> Result<(), ServerError> {
    if or_replace && if_not_exists {
        return Err(invalid("Cannot use both 'OR REPLACE' and 'IF NOT EXISTS' directives"));
    }
    Ok(())
}

/// A type that may be said to be frozen only as part of another.
fn plain_type(keyspace: &Keyspace, name: &TypeName, what: &str) -> Result<CqlType, ServerError> {
    let found = resolve_type(name, &|t| keyspace.types.get(t).cloned(), &keyspace.name)?;
    match name {
        TypeName::Frozen(inner) if !matches!(**inner, TypeName::Tuple(_) | TypeName::Vector(..)) => {
            if matches!(&**inner, TypeName::Named(n) if n.keyspace.is_none() && CqlType::native(&n.name).is_some()) {
                return Err(ServerError::Syntax(format!(
                    "frozen<> is only allowed on collections, tuples, and user-defined types (got {found})"
                )));
            }
            Err(invalid(format!("{what} '{found}' cannot be frozen; remove frozen<> modifier from '{found}'")))
        }
        _ => Ok(found),
    }
}

fn looks_like_java(body: &str) -> bool {
    let body = body.trim();
    (body.contains("return") || body.contains("throw")) && body.ends_with([';', '}'])
}

/// A value as `initcond` holds it.
fn literal(cql_type: &CqlType, bytes: &Bytes) -> Result<String, ServerError> {
    let part = |cql_type: &CqlType, value: &Value| match value {
        Some(bytes) => literal(cql_type, bytes),
        None => Ok("null".to_owned()),
    };
    let broken = || invalid(format!("Not a value of type {cql_type}"));
    let all = |element: &CqlType, values: Vec<Value>| -> Result<String, ServerError> {
        Ok(values.iter().map(|value| part(element, value)).collect::<Result<Vec<_>, _>>()?.join(", "))
    };
    Ok(match cql_type {
        CqlType::List { element, .. } => {
            format!("[{}]", all(element, codec::split_collection(bytes, false).ok_or_else(broken)?)?)
        }
        CqlType::Set { element, .. } => {
            format!("{{{}}}", all(element, codec::split_collection(bytes, false).ok_or_else(broken)?)?)
        }
        CqlType::Map { key, value, .. } => {
            let parts = codec::split_collection(bytes, true).ok_or_else(broken)?;
            let pairs =
                parts.chunks_exact(2).map(|pair| Ok(format!("{}: {}", part(key, &pair[0])?, part(value, &pair[1])?)));
            format!("{{{}}}", pairs.collect::<Result<Vec<_>, ServerError>>()?.join(", "))
        }
        CqlType::Tuple(types) => {
            let parts = codec::split_tuple(bytes, types.len()).ok_or_else(broken)?;
            let shown = types.iter().zip(&parts).map(|(cql_type, value)| part(cql_type, value));
            format!("({})", shown.collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        CqlType::Udt { .. } | CqlType::Vector { .. } => return Err(not_modelled("an INITCOND of this type")),
        // A quote in it would be written so that the server itself cannot read it again, and is refused there.
        CqlType::Text | CqlType::Ascii if bytes.contains(&b'\'') => {
            return Err(not_modelled("an INITCOND with a quote"));
        }
        CqlType::Text | CqlType::Ascii => format!("'{}'", value_text::to_text(cql_type, bytes)),
        CqlType::Int
        | CqlType::Bigint
        | CqlType::Smallint
        | CqlType::Tinyint
        | CqlType::Varint
        | CqlType::Boolean
        | CqlType::Double
        | CqlType::Float
        | CqlType::Uuid
        | CqlType::Timeuuid
        | CqlType::Decimal => value_text::to_text(cql_type, bytes),
        _ => return Err(not_modelled("an INITCOND of this type")),
    })
}

fn function_event(
    change: &'static str,
    target: &'static str,
    keyspace: &str,
    name: &str,
    arguments: &[String],
) -> SchemaChangeEvent {
    let (keyspace, name) = (keyspace.to_owned(), name.to_owned());
    SchemaChangeEvent { change, target, keyspace, name, arguments: arguments.to_vec() }
}
