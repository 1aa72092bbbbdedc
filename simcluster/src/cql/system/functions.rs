//! User-defined functions and aggregates as rows of `system_schema`, and back.

use super::{SchemaRows, boolean, mutation, stored_type, text, text_list};
use crate::schema::functions::{Aggregate, Function, texts};
use crate::schema::{Keyspace, Schema};
use crate::storage::Mutation;
use crate::types::CqlType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The row that describes a function.
#[must_use]
pub fn function_rows(system: &Schema, function: &Function, timestamp: i64) -> Vec<Mutation> {
    let cells = [
        ("keyspace_name", text(&function.keyspace)),
        ("function_name", text(&function.name)),
        ("argument_types", text_list(&texts(&function.argument_types))),
        ("argument_names", text_list(&function.argument_names)),
        ("body", text(&function.body)),
        ("called_on_null_input", boolean(function.called_on_null_input)),
        ("language", text(&function.language)),
        ("return_type", text(&function.return_type.to_string())),
    ];
    mutation(system, "system_schema", "functions", timestamp, &cells)
}

/// The row that describes an aggregate.
#[must_use]
pub fn aggregate_rows(system: &Schema, aggregate: &Aggregate, timestamp: i64) -> Vec<Mutation> {
    let cells = [
        ("keyspace_name", text(&aggregate.keyspace)),
        ("aggregate_name", text(&aggregate.name)),
        ("argument_types", text_list(&texts(&aggregate.argument_types))),
        ("final_func", aggregate.final_function.as_deref().and_then(text)),
        ("initcond", aggregate.initial.as_deref().and_then(text)),
        ("return_type", text(&aggregate.return_type.to_string())),
        ("state_func", text(&aggregate.state_function)),
        ("state_type", text(&aggregate.state_type.to_string())),
    ];
    mutation(system, "system_schema", "aggregates", timestamp, &cells)
}

/// A function whose types cannot be read any more is left out, as one whose user type was lost would be.
pub(super) fn read(rows: &mut SchemaRows<'_>, keyspaces: &mut BTreeMap<String, Keyspace>) {
    for row in rows.all("functions") {
        let Some(keyspace) = keyspaces.get_mut(&row.text("keyspace_name")) else { continue };
        let types = |name: &str| -> Option<Vec<CqlType>> {
            row.text_list(name).iter().map(|t| stored_type(t, &keyspace.types)).collect()
        };
        let (Some(argument_types), Some(return_type)) =
            (types("argument_types"), stored_type(&row.text("return_type"), &keyspace.types))
        else {
            continue;
        };
        let function = Function {
            keyspace: keyspace.name.clone(),
            name: row.text("function_name"),
            argument_names: row.text_list("argument_names"),
            argument_types,
            return_type,
            called_on_null_input: row.get("called_on_null_input").is_some_and(|b| b[..] == [1]),
            language: row.text("language"),
            body: row.text("body"),
        };
        keyspace.functions.insert(function.signature(), Arc::new(function));
    }
    for row in rows.all("aggregates") {
        let Some(keyspace) = keyspaces.get_mut(&row.text("keyspace_name")) else { continue };
        let one = |name: &str| stored_type(&row.text(name), &keyspace.types);
        let all: Option<Vec<CqlType>> =
            row.text_list("argument_types").iter().map(|t| stored_type(t, &keyspace.types)).collect();
        let (Some(argument_types), Some(state_type), Some(return_type)) = (all, one("state_type"), one("return_type"))
        else {
            continue;
        };
        let aggregate = Aggregate {
            keyspace: keyspace.name.clone(),
            name: row.text("aggregate_name"),
            argument_types,
            state_function: row.text("state_func"),
            state_type,
            final_function: row.get("final_func").map(|_| row.text("final_func")),
            initial: row.get("initcond").map(|_| row.text("initcond")),
            return_type,
        };
        keyspace.aggregates.insert(aggregate.signature(), Arc::new(aggregate));
    }
}
