//! INSERT JSON.

use super::{Operation, invalid};
use crate::cql::Bound;
use crate::cql::ast::Op;
use crate::cql::expr::{Env, Expr, check_value};
use crate::cql::java::hash_order;
use crate::cql::relations::Rel;
use crate::protocol::ServerError;
use crate::schema::Table;
use crate::types::json::{Json, from_json};
use bytes::Bytes;

/// What a row given as JSON says, as if its columns and values had been written out.
#[derive(Debug)]
pub struct JsonRow {
    /// Its key.
    pub relations: Vec<Rel>,
    /// Its other columns.
    pub operations: Vec<Operation>,
}

/// A value that is none of its column's type. Durations are refused in other ways than the rest, without the column.
fn refused(column: &str, told: &str) -> ServerError {
    let is_duration = told.starts_with("Unable to convert '") && told.ends_with("' to a duration");
    if is_duration || told.starts_with("Invalid duration. ") {
        return invalid(told);
    }
    invalid(format!("Error decoding JSON value for {column}: {told}"))
}

/// Reads a row that a marker brings.
///
/// # Errors
///
/// As [`read`], and null.
pub fn read_bound(table: &Table, env: &Env<'_>, expr: &Expr, default_unset: bool) -> Result<JsonRow, ServerError> {
    match env.bound(expr)? {
        Bound::Value(None) => Err(invalid("Got null for INSERT JSON values")),
        Bound::Value(Some(written)) => read(table, &written, default_unset),
        // What is unset is as long as an empty text.
        Bound::Unset => read(table, &Bytes::new(), default_unset),
    }
}

/// Reads a row.
///
/// # Errors
///
/// As Cassandra: no JSON object, columns that do not exist, values of other types.
pub fn read(table: &Table, written: &Bytes, default_unset: bool) -> Result<JsonRow, ServerError> {
    let written = String::from_utf8_lossy(written);
    let pairs = match Json::parse(&written) {
        Some(Json::Object(pairs)) => pairs,
        Some(Json::Null) => return Err(invalid("Got null for INSERT JSON values")),
        _ => return Err(invalid(format!("Could not decode JSON string as a map: {written}"))),
    };
    let mut values = vec![if default_unset { Expr::Unset } else { Expr::Const(None) }; table.columns.len()];
    // Values are read in the order of the table's hash map of columns.
    for index in hash_order(table.columns.iter().map(|column| column.name.as_str())) {
        let column = &table.columns[index];
        let Some((_, json)) = pairs.iter().find(|(key, _)| column_name(key) == column.name) else { continue };
        let value = from_json(&column.cql_type, json).map_err(|e| refused(&column.name, &e))?;
        if let Some(bytes) = &value {
            check_value(&column.cql_type, bytes)?;
        }
        values[index] = Expr::Const(value);
    }
    for (key, _) in &pairs {
        let name = column_name(key);
        if table.column(&name).is_none() {
            return Err(invalid(format!("JSON values map contains unrecognized column: {name}")));
        }
    }
    let key_len = table.partition_key_len + table.clustering_len;
    let others = values.split_off(key_len);
    Ok(JsonRow {
        relations: values.into_iter().enumerate().map(|(index, value)| Rel::Compare(index, Op::Eq, value)).collect(),
        operations: others.into_iter().zip(key_len..).map(|(value, index)| Operation::Set(index, value)).collect(),
    })
}

/// The column that a key of the object means: lower case unless it has quotes of its own.
fn column_name(key: &str) -> String {
    match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
        Some(exact) => exact.to_owned(),
        None => key.to_lowercase(),
    }
}
