//! INSERT JSON.

use super::operations::BoundOperation;
use super::{ModificationPlan, invalid};
use crate::cql::Bound;
use crate::cql::ast::Op;
use crate::cql::expr::{Env, Expr, check_value};
use crate::cql::java::hash_order;
use crate::cql::relations::Test;
use crate::protocol::ServerError;
use crate::types::Value;
use crate::types::json::{Json, from_json};

/// A value that is none of its column's type. Durations are refused in other ways than the rest, without the column.
fn refused(column: &str, told: &str) -> ServerError {
    let is_duration = told.starts_with("Unable to convert '") && told.ends_with("' to a duration");
    if is_duration || told.starts_with("Invalid duration. ") {
        return invalid(told);
    }
    invalid(format!("Error decoding JSON value for {column}: {told}"))
}

impl ModificationPlan {
    pub(super) fn bind_json(
        &self,
        env: &Env<'_>,
        expr: &Expr,
        default_unset: bool,
    ) -> Result<(Vec<Test>, Vec<BoundOperation>), ServerError> {
        let table = &self.table;
        let written = match env.bound(expr)? {
            Bound::Value(None) => return Err(invalid("Got null for INSERT JSON values")),
            Bound::Value(Some(written)) => String::from_utf8_lossy(&written).into_owned(),
            // What is unset is as long as an empty text.
            Bound::Unset => String::new(),
        };
        let pairs = match Json::parse(&written) {
            Some(Json::Object(pairs)) => pairs,
            Some(Json::Null) => return Err(invalid("Got null for INSERT JSON values")),
            _ => return Err(invalid(format!("Could not decode JSON string as a map: {written}"))),
        };
        let column_name = |key: &str| match key.strip_prefix('"').and_then(|k| k.strip_suffix('"')) {
            Some(exact) => exact.to_owned(),
            None => key.to_lowercase(),
        };
        let mut values: Vec<Option<Value>> = vec![None; table.columns.len()];
        // Values are read in the order of the table's hash map of columns.
        for index in hash_order(table.columns.iter().map(|column| column.name.as_str())) {
            let column = &table.columns[index];
            let given = pairs.iter().find(|(key, _)| column_name(key) == column.name);
            let value = match given {
                None if default_unset => continue,
                None => None,
                Some((_, json)) => from_json(&column.cql_type, json).map_err(|e| refused(&column.name, &e))?,
            };
            if let Some(bytes) = &value {
                check_value(&column.cql_type, bytes)?;
            }
            values[index] = Some(value);
        }
        for (key, _) in &pairs {
            let name = column_name(key);
            if table.column(&name).is_none() {
                return Err(invalid(format!("JSON values map contains unrecognized column: {name}")));
            }
        }
        let (mut tests, mut operations) = (Vec::new(), Vec::new());
        for (index, value) in values.into_iter().enumerate() {
            let is_key = index < table.partition_key_len + table.clustering_len;
            match value {
                Some(Some(bytes)) if is_key => tests.push(Test::Compare(index, Op::Eq, bytes)),
                Some(None) if is_key => {
                    let name = &table.columns[index].name;
                    return Err(invalid(format!("Invalid null value in condition for column {name}")));
                }
                Some(value) => operations.push(BoundOperation::Set(index, value)),
                None => {}
            }
        }
        Ok((tests, operations))
    }
}
