//! The CREATE statements that DESCRIBE shows, laid out as Apache Cassandra 5.0 does.

use crate::cql::dialect::has_option;
use crate::schema::functions::{Aggregate, Function, unfrozen};
use crate::schema::options::{DEFAULTS, show_map, show_string};
use crate::schema::views::View;
use crate::schema::{Column, ColumnKind, Dialect, Index, Keyspace, Table};
use crate::types::{UserType, quote_name};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `CREATE KEYSPACE`, with the two spaces that Cassandra has in it.
pub(super) fn keyspace(keyspace: &Keyspace) -> String {
    let name = quote_name(&keyspace.name);
    if keyspace.is_virtual {
        return not_to_be_recreated("Keyspace", "keyspace", &name, &format!("VIRTUAL KEYSPACE {name};"));
    }
    let class = keyspace.replication.get("class").map(String::as_str).unwrap_or_default();
    let class = class.strip_prefix("org.apache.cassandra.locator.").unwrap_or(class);
    let mut replication = format!("'class': {}", show_string(class));
    for (option, value) in keyspace.replication.iter().filter(|(option, _)| *option != "class") {
        let _ = write!(replication, ", {}: {}", show_string(option), show_string(value));
    }
    format!(
        "CREATE KEYSPACE {name} WITH replication = {{{replication}}}  AND durable_writes = {};",
        keyspace.durable_writes
    )
}

/// `CREATE TYPE`.
pub(super) fn user_type(user_type: &UserType) -> String {
    let fields: Vec<_> =
        user_type.fields.iter().map(|(name, cql_type)| format!("    {} {cql_type}", quote_name(name))).collect();
    format!("CREATE TYPE {} (\n{}\n);", qualified(&user_type.keyspace, &user_type.name), fields.join(",\n"))
}

/// `CREATE FUNCTION`.
pub(super) fn function(function: &Function) -> String {
    let pairs = function.argument_names.iter().zip(&function.argument_types);
    let arguments: Vec<_> = pairs.map(|(name, t)| format!("{} {}", quote_name(name), unfrozen(t))).collect();
    format!(
        "CREATE FUNCTION {}({})\n    {} ON NULL INPUT\n    RETURNS {}\n    LANGUAGE {}\n    AS $${}$$;",
        qualified(&function.keyspace, &function.name),
        arguments.join(", "),
        if function.called_on_null_input { "CALLED" } else { "RETURNS NULL" },
        unfrozen(&function.return_type),
        function.language,
        function.body,
    )
}

/// `CREATE AGGREGATE`.
pub(super) fn aggregate(aggregate: &Aggregate) -> String {
    let arguments: Vec<_> = aggregate.argument_types.iter().map(unfrozen).collect();
    let mut statement = format!(
        "CREATE AGGREGATE {}({})\n    SFUNC {}\n    STYPE {}",
        qualified(&aggregate.keyspace, &aggregate.name),
        arguments.join(", "),
        quote_name(&aggregate.state_function),
        unfrozen(&aggregate.state_type),
    );
    if let Some(function) = &aggregate.final_function {
        let _ = write!(statement, "\n    FINALFUNC {}", quote_name(function));
    }
    if let Some(initial) = &aggregate.initial {
        let _ = write!(statement, "\n    INITCOND {initial}");
    }
    statement + ";"
}

/// `CREATE TABLE` with all options; with its id if internals are wanted.
pub(super) fn table(table: &Table, is_virtual: bool, with_internals: bool, dialect: Dialect) -> String {
    let name = qualified(&table.keyspace, &table.name);
    let create = if is_virtual { "VIRTUAL TABLE" } else { "CREATE TABLE" };
    let statement = format!(
        "{create} {name} (\n{}\n) WITH {};",
        definitions(table, with_internals),
        properties(table, with_internals, |option| {
            if is_virtual { option == "comment" } else { has_option(dialect, option) }
        })
    );
    let statement = if with_internals { statement + &drops(table) } else { statement };
    if is_virtual { not_to_be_recreated("Table", "table", &name, &statement) } else { statement }
}

/// `CREATE MATERIALIZED VIEW` with all options but the one that views cannot have.
pub(super) fn view(view: &View, with_internals: bool, dialect: Dialect) -> String {
    let table = &view.table;
    let selected = if view.includes_all {
        "*".to_owned()
    } else {
        table.columns.iter().map(|column| quote_name(&column.name)).collect::<Vec<_>>().join(", ")
    };
    let shown =
        properties(table, with_internals, |option| option != "default_time_to_live" && has_option(dialect, option));
    format!(
        "CREATE MATERIALIZED VIEW {} AS\n    SELECT {selected}\n    FROM {}\n    WHERE {}\n    {}\n WITH {shown};",
        qualified(&table.keyspace, &table.name),
        qualified(&table.keyspace, &view.base_name),
        view.where_clause,
        primary_key(table),
    )
}

/// `CREATE INDEX` or `CREATE CUSTOM INDEX`.
pub(super) fn index(table: &Table, name: &str, index: &Index) -> String {
    let target = index.options.get("target").map(String::as_str).unwrap_or_default();
    let on = format!("{} ON {} ({})", quote_name(name), qualified(&table.keyspace, &table.name), show_target(target));
    if index.kind != "CUSTOM" {
        return format!("CREATE INDEX {on};");
    }
    let class = index.options.get("class_name").map(String::as_str).unwrap_or_default();
    let options: BTreeMap<String, String> = index
        .options
        .iter()
        .filter(|(option, _)| !matches!(option.as_str(), "target" | "class_name"))
        .map(|(option, value)| (option.clone(), value.clone()))
        .collect();
    let with = if options.is_empty() { String::new() } else { format!(" WITH OPTIONS = {}", show_map(&options)) };
    format!("CREATE CUSTOM INDEX {on} USING {}{with};", show_string(class))
}

/// What an index is on: a column, or `keys(column)` and the like. Indexes of Cassandra's own may have no target.
fn show_target(target: &str) -> String {
    let column = |name: &str| match name {
        "" => String::new(),
        quoted if quoted.starts_with('"') => quoted.to_owned(),
        plain => quote_name(plain),
    };
    let part = target.split_once('(').filter(|(part, _)| matches!(*part, "keys" | "values" | "entries" | "full"));
    match part.and_then(|(part, rest)| Some((part, rest.strip_suffix(')')?))) {
        Some((part, name)) => format!("{part}({})", column(name)),
        None => column(target),
    }
}

/// The columns and the primary key.
///
/// Among the static and among the regular columns those that are one cell come before those that are many.
///
/// With internals, columns that were dropped stand last as they once were: see [`drops`].
fn definitions(table: &Table, with_internals: bool) -> String {
    let is_simple_key = table.partition_key_len == 1 && table.clustering_len == 0;
    let is_dropped = |column: &&Column| with_internals && table.dropped.contains_key(&column.name);
    let mut columns: Vec<&Column> = table.columns.iter().filter(|column| !is_dropped(column)).collect();
    columns.sort_by_key(|column| (column.kind, column.cql_type.is_multi_cell()));
    let mut lines: Vec<String> = columns
        .into_iter()
        .map(|column| {
            let end = match column.kind {
                ColumnKind::Static => " static",
                ColumnKind::PartitionKey if is_simple_key => " PRIMARY KEY",
                _ => "",
            };
            format!("    {} {}{end}", quote_name(&column.name), column.cql_type)
        })
        .collect();
    for (name, column) in table.dropped.iter().filter(|_| with_internals) {
        let end = if column.is_static { " static" } else { "" };
        lines.push(format!("    {} {}{end}", quote_name(name), column.cql_type));
    }
    if !is_simple_key {
        lines.push(format!("    {}", primary_key(table)));
    }
    lines.join(",\n")
}

fn primary_key(table: &Table) -> String {
    let names = |columns: &[Column]| columns.iter().map(|column| quote_name(&column.name)).collect::<Vec<_>>();
    let partition_key = names(table.partition_key()).join(", ");
    let first = if table.partition_key_len > 1 { format!("({partition_key})") } else { partition_key };
    let mut parts = vec![first];
    parts.extend(names(table.clustering()));
    format!("PRIMARY KEY ({})", parts.join(", "))
}

/// The statements that drop columns again, at the time at which it was done, and add those that were added again.
fn drops(table: &Table) -> String {
    let name = qualified(&table.keyspace, &table.name);
    let mut statements = String::new();
    for (column, dropped) in &table.dropped {
        let shown = quote_name(column);
        // Writing to a String cannot fail.
        let _ = write!(statements, "\nALTER TABLE {name} DROP {shown} USING TIMESTAMP {};", dropped.micros);
        if let Some(present) = table.column(column) {
            let end = if present.kind == ColumnKind::Static { " static" } else { "" };
            let _ = write!(statements, "\nALTER TABLE {name} ADD {shown} {}{end};", present.cql_type);
        }
    }
    statements
}

fn properties(table: &Table, with_internals: bool, is_shown: impl Fn(&str) -> bool) -> String {
    let mut properties = Vec::new();
    if with_internals {
        properties.push(format!("ID = {}", table.id));
    }
    if table.clustering_len > 0 {
        let order = |column: &Column| {
            format!("{} {}", quote_name(&column.name), if column.descending { "DESC" } else { "ASC" })
        };
        let orders: Vec<_> = table.clustering().iter().map(order).collect();
        properties.push(format!("CLUSTERING ORDER BY ({})", orders.join(", ")));
    }
    for (option, default) in DEFAULTS.iter().filter(|(option, _)| is_shown(option)) {
        let value = table.options.get(*option).map_or(*default, String::as_str);
        properties.push(format!("{option} = {value}"));
    }
    properties.join("\n    AND ")
}

fn not_to_be_recreated(what: &str, kind: &str, name: &str, structure: &str) -> String {
    format!(
        "/*\nWarning: {what} {name} is a virtual {kind} and cannot be recreated with CQL.\nStructure, for \
         reference:\n{structure}\n*/"
    )
}

fn qualified(keyspace: &str, name: &str) -> String {
    format!("{}.{}", quote_name(keyspace), quote_name(name))
}
