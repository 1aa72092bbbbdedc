//! Names, literals and numbers as DESCRIBE writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Quotes a name unless CQL reads it unchanged without quotes.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Reserved words of CQL, which are names only within quotes.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

/// `keyspace.name`, each quoted if it must be.
pub(super) fn qualified(keyspace: &str, name: &str) -> String {
    format!("{}.{}", quoted(keyspace), quoted(name))
}

/// A string literal.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A map literal of strings.
pub(super) fn map_literal(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{}: {}", literal(key), literal(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A map literal of strings and bytes.
pub(super) fn blob_map_literal(map: &BTreeMap<String, Vec<u8>>) -> String {
    let pairs: Vec<_> = map
        .iter()
        .map(|(key, value)| {
            let mut pair = format!("{}: 0x", literal(key));
            for byte in value {
                // Writing to a string cannot fail.
                let _ = write!(pair, "{byte:02x}");
            }
            pair
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A number as Java writes it: with a point, and with an exponent only if it is very small or large.
pub(super) fn double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_only_where_cql_would_read_something_else() {
        for (name, written) in [
            ("plain_1", "plain_1"),
            ("Upper", "\"Upper\""),
            ("select", "\"select\""),
            ("a\"b", "\"a\"\"b\""),
            ("1a", "\"1a\""),
        ] {
            assert_eq!(quoted(name), written);
        }
    }

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        for (number, written) in [(0.01, "0.01"), (1.0, "1.0"), (0.0001, "1.0E-4"), (1.5e-5, "1.5E-5"), (0.0, "0.0")] {
            assert_eq!(double(number), written);
        }
    }
}
