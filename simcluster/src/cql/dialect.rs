//! What the language of older releases does not have.
//!
//! Functions and properties are unknown in Cassandra's words. Clauses that an older parser does not understand are
//! refused as not modelled: its messages say where in the text it gave up.

use super::ast::{ColumnDefinition, Ddl, Property, Statement, TableChange, TypeName};
use super::parser::not_modelled;
use crate::protocol::ServerError;
use crate::schema::Dialect;

/// Functions of 4.0 and 4.1 by name, beside operators, and those that make or read blobs.
const FUNCTIONS_OF_4: &[&str] = &[
    "avg",
    "count",
    "count_rows",
    "currentdate",
    "currenttime",
    "currenttimestamp",
    "currenttimeuuid",
    "dateof",
    "fromjson",
    "max",
    "maxtimeuuid",
    "min",
    "mintimeuuid",
    "now",
    "sum",
    "todate",
    "tojson",
    "token",
    "totimestamp",
    "tounixtimestamp",
    "unixtimestampof",
    "uuid",
];

/// Functions that 5.0 no longer has.
const FUNCTIONS_BEFORE_5: &[&str] = &["dateof", "unixtimestampof"];

/// Whether a release has a native function of this name, given that some release has.
pub fn has_function(dialect: Dialect, name: &str) -> bool {
    match dialect {
        Dialect::V50 => !FUNCTIONS_BEFORE_5.contains(&name),
        Dialect::V40 | Dialect::V41 => {
            // Operators and casts have names that nobody can write.
            let is_hidden = name.starts_with('_') || name.starts_with("cast_as_");
            let is_of_blobs = name.ends_with("asblob") || name.starts_with("blobas");
            is_hidden || is_of_blobs && !name.contains('_') || FUNCTIONS_OF_4.contains(&name)
        }
    }
}

/// Whether tables of a release have an option of this name, given that those of some release have.
pub fn has_option(dialect: Dialect, name: &str) -> bool {
    match name {
        "allow_auto_snapshot" | "incremental_backups" => dialect >= Dialect::V50,
        "memtable" => dialect >= Dialect::V41,
        _ => true,
    }
}

/// Refuses what the release does not understand of a statement.
///
/// # Errors
///
/// Unknown properties as Cassandra; the rest as not modelled.
pub fn check(statement: &Statement, dialect: Dialect) -> Result<(), ServerError> {
    let Statement::Ddl(ddl) = statement else { return Ok(()) };
    match ddl {
        Ddl::CreateTable { columns, properties, .. } => {
            check_columns(columns, dialect)?;
            check_properties(properties, dialect)
        }
        Ddl::AlterTable { change: TableChange::With(properties), .. } => check_properties(properties, dialect),
        Ddl::AlterTable { change, if_exists, .. } => {
            let (columns, is_lenient): (&[ColumnDefinition], bool) = match change {
                TableChange::Add { columns, if_not_exists } => (columns, *if_not_exists),
                TableChange::Drop { if_exists, .. } | TableChange::Rename { if_exists, .. } => (&[], *if_exists),
                TableChange::With(_) => (&[], false),
            };
            check_leniency(*if_exists || is_lenient, dialect)?;
            check_columns(columns, dialect)
        }
        Ddl::CreateView(create) => check_properties(&create.properties, dialect),
        Ddl::AlterView { if_exists, properties, .. } => {
            check_leniency(*if_exists, dialect)?;
            check_properties(properties, dialect)
        }
        Ddl::AlterKeyspace { if_exists, .. } | Ddl::AlterType { if_exists, .. } => check_leniency(*if_exists, dialect),
        Ddl::CreateType { fields, .. } if fields.iter().any(|(_, field)| has_vector(field)) => refuse_vectors(dialect),
        Ddl::CreateIndex { custom_class: Some(_), .. } if dialect < Dialect::V50 => {
            Err(not_modelled("a custom index in a release before 5.0"))
        }
        _ => Ok(()),
    }
}

fn check_columns(columns: &[ColumnDefinition], dialect: Dialect) -> Result<(), ServerError> {
    if columns.iter().any(|column| has_vector(&column.type_name)) { refuse_vectors(dialect) } else { Ok(()) }
}

fn refuse_vectors(dialect: Dialect) -> Result<(), ServerError> {
    if dialect >= Dialect::V50 { Ok(()) } else { Err(not_modelled("a vector in a release before 5.0")) }
}

fn check_leniency(is_lenient: bool, dialect: Dialect) -> Result<(), ServerError> {
    if is_lenient && dialect < Dialect::V41 {
        return Err(not_modelled("ALTER … IF EXISTS in a release before 4.1"));
    }
    Ok(())
}

fn check_properties(properties: &[(String, Property)], dialect: Dialect) -> Result<(), ServerError> {
    match properties.iter().find(|(name, _)| !has_option(dialect, name)) {
        Some((name, _)) => Err(ServerError::Syntax(format!("Unknown property '{name}'"))),
        None => Ok(()),
    }
}

fn has_vector(type_name: &TypeName) -> bool {
    match type_name {
        TypeName::Named(_) => false,
        TypeName::List(of) | TypeName::Set(of) | TypeName::Frozen(of) => has_vector(of),
        TypeName::Map(key, value) => has_vector(key) || has_vector(value),
        TypeName::Tuple(parts) => parts.iter().any(has_vector),
        TypeName::Vector(..) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::parser::parse;

    #[test]
    fn clauses_of_a_newer_release_are_refused_and_its_own_are_not() {
        for (text, oldest) in [
            ("CREATE TABLE t (k int PRIMARY KEY) WITH memtable = 'default'", Dialect::V41),
            ("CREATE TABLE t (k int PRIMARY KEY) WITH allow_auto_snapshot = true", Dialect::V50),
            ("CREATE TABLE t (k int PRIMARY KEY, v frozen<list<vector<float, 3>>>)", Dialect::V50),
            ("ALTER TABLE t ADD IF NOT EXISTS v int", Dialect::V41),
            ("CREATE CUSTOM INDEX i ON t (v) USING 'sai'", Dialect::V50),
            ("CREATE TABLE t (k int PRIMARY KEY) WITH comment = 'x'", Dialect::V40),
        ] {
            let statement = parse(text).unwrap().statement;
            for dialect in [Dialect::V40, Dialect::V41, Dialect::V50] {
                assert_eq!(check(&statement, dialect).is_ok(), dialect >= oldest, "{text} in {dialect:?}");
            }
        }
    }

    #[test]
    fn functions_are_known_by_the_names_of_their_release() {
        for name in ["to_timestamp", "int_as_blob", "abs", "mask_null", "collection_count"] {
            assert!(has_function(Dialect::V50, name) && !has_function(Dialect::V41, name), "{name}");
        }
        for name in ["totimestamp", "intasblob", "token", "_negate"] {
            assert!(has_function(Dialect::V50, name) && has_function(Dialect::V40, name), "{name}");
        }
        assert!(!has_function(Dialect::V50, "dateof") && has_function(Dialect::V40, "dateof"));
    }
}
