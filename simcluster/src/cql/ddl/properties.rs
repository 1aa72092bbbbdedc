//! WITH: the properties of keyspaces and tables.

use crate::cql::ast::{Properties, Property};
use crate::cql::parser::not_modelled;
use crate::protocol::ServerError;
use crate::schema::options::{self, show_map, show_string};
use crate::schema::{Keyspace, Table};
use std::collections::BTreeMap;

pub fn keyspace_properties(keyspace: &mut Keyspace, properties: &Properties) -> Result<(), ServerError> {
    for (name, value) in properties {
        match (name.as_str(), value) {
            ("replication", Property::Map(map)) => keyspace.replication = replication(map)?,
            ("durable_writes", Property::Simple(value)) => keyspace.durable_writes = value != "false",
            ("replication" | "durable_writes", _) => {
                return Err(ServerError::Syntax(format!("Invalid value for property '{name}'")));
            }
            _ => return Err(ServerError::Syntax(format!("Unknown property '{name}'"))),
        }
    }
    Ok(())
}

fn replication(map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ServerError> {
    let Some(class) = map.get("class") else {
        return Err(ServerError::Config("Missing replication strategy class".into()));
    };
    let short = class.rsplit('.').next().unwrap_or_default();
    if !["SimpleStrategy", "NetworkTopologyStrategy", "LocalStrategy", "EverywhereStrategy"].contains(&short) {
        let full = if class.contains('.') { class.clone() } else { format!("org.apache.cassandra.locator.{class}") };
        return Err(ServerError::Config(format!("Unable to find replication strategy class '{full}'")));
    }
    let mut options = map.clone();
    options.insert("class".to_owned(), format!("org.apache.cassandra.locator.{short}"));
    if short == "SimpleStrategy" {
        if !options.contains_key("replication_factor") {
            return Err(ServerError::Config("SimpleStrategy requires a replication_factor strategy option.".into()));
        }
        if let Some(extra) = options.keys().find(|k| !matches!(k.as_str(), "class" | "replication_factor")) {
            return Err(ServerError::Config(format!(
                "Unrecognized strategy option {{{extra}}} passed to SimpleStrategy for keyspace"
            )));
        }
    }
    if short == "NetworkTopologyStrategy" && options.len() == 1 {
        return Err(ServerError::Config("Configuration for at least one datacenter must be present".into()));
    }
    for (name, factor) in options.iter().filter(|(name, _)| *name != "class") {
        match factor.split('/').next().unwrap_or_default().parse::<i64>() {
            Err(_) => {
                return Err(ServerError::Config(format!("Replication factor must be numeric; found {factor}")));
            }
            Ok(n) if n < 0 => {
                return Err(ServerError::Config(format!("Replication factor must be non-negative; found {factor}")));
            }
            Ok(0) if name == "replication_factor" && short == "SimpleStrategy" => {}
            Ok(_) => {}
        }
    }
    Ok(options)
}

pub fn table_properties(table: &mut Table, properties: &Properties) -> Result<(), ServerError> {
    for (name, value) in properties {
        let Some((_, default)) = options::DEFAULTS.iter().find(|(known, _)| known == name) else {
            if name == "id" {
                return Err(not_modelled("WITH id"));
            }
            return Err(ServerError::Syntax(format!("Unknown property '{name}'")));
        };
        let shown = match value {
            Property::Map(map) if default.starts_with('{') => {
                let mut map = map.clone();
                if let Some(class) = map.get("class").filter(|class| !class.contains('.')) {
                    let package = if name == "compaction" { "db.compaction" } else { "io.compress" };
                    let full = format!("org.apache.cassandra.{package}.{class}");
                    map.insert("class".to_owned(), full);
                }
                show_map(&map)
            }
            Property::Simple(value) if default.starts_with('\'') => show_string(value),
            Property::Simple(value) if !default.starts_with('{') => {
                if default.parse::<bool>().is_err() && value.parse::<f64>().is_err() {
                    return Err(ServerError::Syntax(format!("Invalid integer value {value} for '{name}'")));
                }
                value.clone()
            }
            _ => return Err(ServerError::Syntax(format!("Invalid value for property '{name}'"))),
        };
        table.options.insert(name.clone(), shown);
    }
    Ok(())
}
