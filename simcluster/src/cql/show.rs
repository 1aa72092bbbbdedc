//! Terms, types and relations as messages show them.

use super::ast::{InValues, Op, Relation, Term, TypeName};
use crate::schema::Table;
use crate::types::{CqlType, quote_name};

/// A term as messages show it.
#[must_use]
pub fn term(shown: &Term) -> String {
    match shown {
        Term::Null => "NULL".to_owned(),
        Term::String(s) => format!("'{s}'"),
        Term::Integer(s) | Term::Float(s) | Term::Uuid(s) | Term::Duration(s) => s.clone(),
        Term::Blob(s) => format!("0x{s}"),
        Term::Boolean(b) => b.to_string(),
        Term::Marker(_) => "?".to_owned(),
        Term::List(items) => format!("[{}]", terms(items)),
        Term::Set(items) => format!("{{{}}}", terms(items)),
        Term::Map(pairs) => {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| format!("{}: {}", term(k), term(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Term::Udt(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {}", term(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Term::Tuple(items) => format!("({})", terms(items)),
        Term::Call(name, arguments) => {
            let keyspace = name.keyspace.as_ref().map(|k| format!("{}.", quote_name(k))).unwrap_or_default();
            let called = if name.name == "token" { "token".to_owned() } else { quote_name(&name.name) };
            format!("{keyspace}{called}({})", terms(arguments))
        }
        Term::Cast(type_name, inner) => format!("({}){}", self::type_name(type_name), term(inner)),
        Term::Column(name) => name.clone(),
    }
}

fn terms(shown: &[Term]) -> String {
    shown.iter().map(term).collect::<Vec<_>>().join(", ")
}

/// A type as it was written, with the keyspace of user types.
#[must_use]
pub fn type_name_in(shown: &TypeName, keyspace: &str) -> String {
    let inner = |shown: &TypeName| type_name_in(shown, keyspace);
    match shown {
        TypeName::Named(name) if name.keyspace.is_none() && CqlType::native(&name.name).is_none() => {
            format!("{keyspace}.{}", name.name)
        }
        TypeName::Named(_) => type_name(shown),
        TypeName::List(element) => format!("list<{}>", inner(element)),
        TypeName::Set(element) => format!("set<{}>", inner(element)),
        TypeName::Map(key, value) => format!("map<{}, {}>", inner(key), inner(value)),
        TypeName::Tuple(parts) => format!("tuple<{}>", parts.iter().map(inner).collect::<Vec<_>>().join(", ")),
        TypeName::Frozen(of) => format!("frozen<{}>", inner(of)),
        TypeName::Vector(element, dimensions) => format!("vector<{}, {dimensions}>", inner(element)),
    }
}

/// A type as it was written.
#[must_use]
pub fn type_name(shown: &TypeName) -> String {
    match shown {
        TypeName::Named(name) => match &name.keyspace {
            Some(keyspace) => format!("{keyspace}.{}", name.name),
            None => name.name.clone(),
        },
        TypeName::List(element) => format!("list<{}>", type_name(element)),
        TypeName::Set(element) => format!("set<{}>", type_name(element)),
        TypeName::Map(key, value) => format!("map<{}, {}>", type_name(key), type_name(value)),
        TypeName::Tuple(parts) => format!("tuple<{}>", parts.iter().map(type_name).collect::<Vec<_>>().join(", ")),
        TypeName::Frozen(inner) => format!("frozen<{}>", type_name(inner)),
        TypeName::Vector(element, dimensions) => format!("vector<{}, {dimensions}>", type_name(element)),
    }
}

/// A relation as messages show it.
#[must_use]
pub fn relation(shown: &Relation) -> String {
    match shown {
        Relation::Compare { column, op, term: value } => format!("{column} {} {}", operator(*op), term(value)),
        Relation::In { column, values } => format!("{column} IN {}", in_values(values)),
        Relation::Tuple { columns, op, term: value } => {
            format!("({}) {} {}", columns.join(", "), operator(*op), term(value))
        }
        Relation::TupleIn { columns, values } => format!("({}) IN {}", columns.join(", "), in_values(values)),
        Relation::Token { columns, op, term: value } => {
            format!("token({}) {} {}", columns.join(", "), operator(*op), term(value))
        }
        Relation::Contains { column, key, term: value } => {
            format!("{column} CONTAINS {}{}", if *key { "KEY " } else { "" }, term(value))
        }
        Relation::Element { column, key, op, term: value } => {
            format!("{column}[{}] {} {}", term(key), operator(*op), term(value))
        }
        Relation::NotNull(column) => format!("{column} IS NOT NULL"),
        Relation::Like(column, value) => format!("{column} LIKE {}", term(value)),
    }
}

fn in_values(shown: &InValues) -> String {
    match shown {
        InValues::Terms(items) => format!("({})", terms(items)),
        InValues::Marker(_) => "?".to_owned(),
    }
}

/// A comparison operator.
#[must_use]
pub const fn operator(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
    }
}

/// What is wrong with a column that a table does not have.
#[must_use]
pub fn undefined_column(table: &Table, name: &str) -> String {
    format!("Undefined column name {} in table {}", quote_name(name), table.full_name())
}
