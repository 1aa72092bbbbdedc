//! CQL types: names, wire codes, comparison, and the serialised form of their values.
//!
//! A value is its serialised bytes everywhere in the simulated cluster; `None` is null. Only literals, functions and
//! JSON look inside. [`order`] gives every type an order-preserving encoding, so that ordered maps need no context.

pub mod codec;
pub mod compatible;
pub mod json;
pub mod order;
pub mod text;
pub mod time;
pub mod validate;

use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A serialised CQL value; `None` is null.
pub type Value = Option<Bytes>;

/// A CQL type as a column has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are CQL's own names")]
pub enum CqlType {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Date,
    Decimal,
    Double,
    Duration,
    Float,
    Inet,
    Int,
    /// The type behind some functions' results on `timeuuid`, which clients are told by its Java class.
    LegacyTimeuuid,
    Smallint,
    Text,
    Time,
    Timestamp,
    Timeuuid,
    Tinyint,
    Uuid,
    Varint,
    List {
        element: Arc<CqlType>,
        frozen: bool,
    },
    Set {
        element: Arc<CqlType>,
        frozen: bool,
    },
    Map {
        key: Arc<CqlType>,
        value: Arc<CqlType>,
        frozen: bool,
    },
    Tuple(Arc<[CqlType]>),
    Udt {
        definition: Arc<UserType>,
        frozen: bool,
    },
    Vector {
        element: Arc<CqlType>,
        dimensions: u16,
    },
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserType {
    /// The keyspace it lives in.
    pub keyspace: String,
    /// Its unquoted name.
    pub name: String,
    /// Its fields, in order of declaration.
    pub fields: Vec<(String, CqlType)>,
}

impl CqlType {
    /// A list that is frozen or not.
    #[must_use]
    pub fn list(element: Self, frozen: bool) -> Self {
        Self::List { element: Arc::new(element), frozen }
    }

    /// A set that is frozen or not.
    #[must_use]
    pub fn set(element: Self, frozen: bool) -> Self {
        Self::Set { element: Arc::new(element), frozen }
    }

    /// A map that is frozen or not.
    #[must_use]
    pub fn map(key: Self, value: Self, frozen: bool) -> Self {
        Self::Map { key: Arc::new(key), value: Arc::new(value), frozen }
    }

    /// Whether a column of this type is stored as one cell per element or field.
    #[must_use]
    pub const fn is_multi_cell(&self) -> bool {
        matches!(
            self,
            Self::List { frozen: false, .. }
                | Self::Set { frozen: false, .. }
                | Self::Map { frozen: false, .. }
                | Self::Udt { frozen: false, .. }
        )
    }

    /// Whether it is a list, set or map.
    #[must_use]
    pub const fn is_collection(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Set { .. } | Self::Map { .. })
    }

    /// Whether it has a frozen form that differs from the other.
    #[must_use]
    pub const fn is_freezable(&self) -> bool {
        matches!(self, Self::List { .. } | Self::Set { .. } | Self::Map { .. } | Self::Udt { .. })
    }

    /// Whether arithmetic can be done with its values.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Tinyint
                | Self::Smallint
                | Self::Int
                | Self::Bigint
                | Self::Counter
                | Self::Varint
                | Self::Decimal
                | Self::Float
                | Self::Double
        )
    }

    /// Whether durations are in its values: they have no order.
    #[must_use]
    pub fn references_duration(&self) -> bool {
        match self {
            Self::Duration => true,
            Self::List { element, .. } | Self::Set { element, .. } | Self::Vector { element, .. } => {
                element.references_duration()
            }
            Self::Map { key, value, .. } => key.references_duration() || value.references_duration(),
            Self::Tuple(parts) => parts.iter().any(Self::references_duration),
            Self::Udt { definition, .. } => definition.fields.iter().any(|(_, field)| field.references_duration()),
            _ => false,
        }
    }

    /// The same type, frozen at every level: how it is inside another frozen type.
    #[must_use]
    pub fn freeze(&self) -> Self {
        match self {
            Self::List { element, .. } => Self::list(element.freeze(), true),
            Self::Set { element, .. } => Self::set(element.freeze(), true),
            Self::Map { key, value, .. } => Self::map(key.freeze(), value.freeze(), true),
            Self::Tuple(parts) => Self::Tuple(parts.iter().map(Self::freeze).collect()),
            Self::Udt { definition, .. } => Self::Udt { definition: definition.clone(), frozen: true },
            Self::Vector { element, dimensions } => {
                Self::Vector { element: Arc::new(element.freeze()), dimensions: *dimensions }
            }
            other => other.clone(),
        }
    }

    /// Whether two types hold the same values: everything but the outermost frozenness.
    #[must_use]
    pub fn same_values(&self, other: &Self) -> bool {
        self.freeze() == other.freeze()
    }

    /// The serialised length of every value, if all have the same.
    #[must_use]
    pub fn fixed_length(&self) -> Option<usize> {
        Some(match self {
            Self::Boolean => 1,
            Self::Float | Self::Int => 4,
            Self::Bigint | Self::Counter | Self::Double | Self::Timestamp => 8,
            Self::Uuid | Self::Timeuuid => 16,
            Self::Vector { element, dimensions } => element.fixed_length()? * usize::from(*dimensions),
            _ => return None,
        })
    }

    /// The user types it mentions, itself included.
    pub fn user_types(&self, found: &mut Vec<Arc<UserType>>) {
        match self {
            Self::List { element, .. } | Self::Set { element, .. } | Self::Vector { element, .. } => {
                element.user_types(found);
            }
            Self::Map { key, value, .. } => {
                key.user_types(found);
                value.user_types(found);
            }
            Self::Tuple(parts) => parts.iter().for_each(|p| p.user_types(found)),
            Self::Udt { definition, .. } => {
                found.push(definition.clone());
                definition.fields.iter().for_each(|(_, t)| t.user_types(found));
            }
            _ => {}
        }
    }

    /// The type by its plain name, for the types that need no parameters.
    #[must_use]
    pub fn native(name: &str) -> Option<Self> {
        Some(match name {
            "ascii" => Self::Ascii,
            "bigint" => Self::Bigint,
            "blob" => Self::Blob,
            "boolean" => Self::Boolean,
            "counter" => Self::Counter,
            "date" => Self::Date,
            "decimal" => Self::Decimal,
            "double" => Self::Double,
            "duration" => Self::Duration,
            "float" => Self::Float,
            "inet" => Self::Inet,
            "int" => Self::Int,
            "smallint" => Self::Smallint,
            "text" | "varchar" => Self::Text,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timeuuid" => Self::Timeuuid,
            "tinyint" => Self::Tinyint,
            "uuid" => Self::Uuid,
            "varint" => Self::Varint,
            _ => return None,
        })
    }

    /// What encloses the type's name when it is written as part of a column's definition.
    fn write(&self, f: &mut fmt::Formatter<'_>, inside_frozen: bool) -> fmt::Result {
        let freeze = |frozen: bool| frozen && !inside_frozen;
        let wrap =
            |f: &mut fmt::Formatter<'_>, frozen: bool, inner: &dyn Fn(&mut fmt::Formatter<'_>) -> fmt::Result| {
                if freeze(frozen) {
                    f.write_str("frozen<")?;
                    inner(f)?;
                    f.write_str(">")
                } else {
                    inner(f)
                }
            };
        match self {
            Self::List { element, frozen } => wrap(f, *frozen, &|f| {
                f.write_str("list<")?;
                element.write(f, false)?;
                f.write_str(">")
            }),
            Self::Set { element, frozen } => wrap(f, *frozen, &|f| {
                f.write_str("set<")?;
                element.write(f, false)?;
                f.write_str(">")
            }),
            Self::Map { key, value, frozen } => wrap(f, *frozen, &|f| {
                f.write_str("map<")?;
                key.write(f, false)?;
                f.write_str(", ")?;
                value.write(f, false)?;
                f.write_str(">")
            }),
            Self::Udt { definition, frozen } => wrap(f, *frozen, &|f| f.write_str(&quote_name(&definition.name))),
            Self::Tuple(parts) => wrap(f, true, &|f| {
                f.write_str("tuple<")?;
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    part.write(f, false)?;
                }
                f.write_str(">")
            }),
            Self::Vector { element, dimensions } => {
                f.write_str("vector<")?;
                element.write(f, false)?;
                write!(f, ", {dimensions}>")
            }
            Self::Ascii => f.write_str("ascii"),
            Self::Bigint => f.write_str("bigint"),
            Self::Blob => f.write_str("blob"),
            Self::Boolean => f.write_str("boolean"),
            Self::Counter => f.write_str("counter"),
            Self::Date => f.write_str("date"),
            Self::Decimal => f.write_str("decimal"),
            Self::Double => f.write_str("double"),
            Self::Duration => f.write_str("duration"),
            Self::Float => f.write_str("float"),
            Self::Inet => f.write_str("inet"),
            Self::Int => f.write_str("int"),
            Self::LegacyTimeuuid => f.write_str("'org.apache.cassandra.db.marshal.LegacyTimeUUIDType'"),
            Self::Smallint => f.write_str("smallint"),
            Self::Text => f.write_str("text"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Timeuuid => f.write_str("timeuuid"),
            Self::Tinyint => f.write_str("tinyint"),
            Self::Uuid => f.write_str("uuid"),
            Self::Varint => f.write_str("varint"),
        }
    }
}

impl fmt::Display for CqlType {
    /// The type as `system_schema` and DESCRIBE write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

/// A name as CQL needs it: quoted if it is not a plain lower-case identifier.
#[must_use]
pub fn quote_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// CQL's reserved words: never a bare name.
pub const RESERVED: &[&str] = &[
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_written_as_system_schema_has_them() {
        let address = Arc::new(UserType {
            keyspace: "k".into(),
            name: "Address".into(),
            fields: vec![("zip".into(), CqlType::Int)],
        });
        let udt = CqlType::Udt { definition: address, frozen: true };
        for (cql_type, text) in [
            (CqlType::map(CqlType::Text, CqlType::list(CqlType::Int, true), false), "map<text, frozen<list<int>>>"),
            (CqlType::Tuple(vec![CqlType::Int, CqlType::Text].into()), "frozen<tuple<int, text>>"),
            (CqlType::set(udt, true), "frozen<set<frozen<\"Address\">>>"),
            (CqlType::Vector { element: Arc::new(CqlType::Float), dimensions: 3 }, "vector<float, 3>"),
        ] {
            assert_eq!(cql_type.to_string(), text);
        }
    }
}
