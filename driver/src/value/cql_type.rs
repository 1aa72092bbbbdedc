//! CQL types and column specifications as the server describes them.
//!
//! # Source
//!
//! Native protocol v5, section 4.2.5.2 (the type options of a column).

use std::fmt;
use std::sync::Arc;

/// A type without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NativeType {
    /// `ascii`: text restricted to 7-bit characters.
    Ascii,
    /// `bigint`: 64-bit signed integer.
    Bigint,
    /// `blob`: bytes.
    Blob,
    /// `boolean`.
    Boolean,
    /// `counter`: 64-bit signed integer that only adds.
    Counter,
    /// `date`: days, with 2^31 at 1970-01-01.
    Date,
    /// `decimal`: unscaled big integer and scale.
    Decimal,
    /// `double`: IEEE 754 binary64.
    Double,
    /// `duration`: months, days and nanoseconds.
    Duration,
    /// `float`: IEEE 754 binary32.
    Float,
    /// `inet`: IPv4 or IPv6 address.
    Inet,
    /// `int`: 32-bit signed integer.
    Int,
    /// `smallint`: 16-bit signed integer.
    Smallint,
    /// `text` or `varchar`: UTF-8.
    Text,
    /// `time`: nanoseconds since midnight.
    Time,
    /// `timestamp`: milliseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// `timeuuid`: version 1 UUID.
    Timeuuid,
    /// `tinyint`: 8-bit signed integer.
    Tinyint,
    /// `uuid`.
    Uuid,
    /// `varint`: big integer.
    Varint,
}

impl NativeType {
    /// The type's name in CQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Bigint => "bigint",
            Self::Blob => "blob",
            Self::Boolean => "boolean",
            Self::Counter => "counter",
            Self::Date => "date",
            Self::Decimal => "decimal",
            Self::Double => "double",
            Self::Duration => "duration",
            Self::Float => "float",
            Self::Inet => "inet",
            Self::Int => "int",
            Self::Smallint => "smallint",
            Self::Text => "text",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::Timeuuid => "timeuuid",
            Self::Tinyint => "tinyint",
            Self::Uuid => "uuid",
            Self::Varint => "varint",
        }
    }

    /// Finds a type by its CQL name, in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
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
}

/// A CQL type.
///
/// `frozen` is absent: it concerns the storage of a column, not its values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CqlType {
    /// A type without parameters.
    Native(NativeType),
    /// `list<element>`.
    List(Box<CqlType>),
    /// `set<element>`.
    Set(Box<CqlType>),
    /// `map<key, value>`.
    Map(Box<CqlType>, Box<CqlType>),
    /// `tuple<…>`.
    Tuple(Vec<CqlType>),
    /// A user-defined type.
    UserDefined(Arc<UserType>),
    /// `vector<element, dimensions>`.
    Vector {
        /// Type of every element.
        element: Box<CqlType>,
        /// How many elements every value has.
        dimensions: u32,
    },
    /// A server-side class that is none of the above; its values are opaque bytes.
    Custom(Arc<str>),
}

/// A user-defined type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserType {
    /// Keyspace that owns the type.
    pub keyspace: Arc<str>,
    /// Name of the type.
    pub name: Arc<str>,
    /// Fields, in the order of their values.
    pub fields: Vec<(Arc<str>, CqlType)>,
}

impl CqlType {
    /// Bytes of every value of this type when the server fixes them, as vectors must know.
    ///
    /// Types whose values are in fact of one size but which the server treats as variable
    /// (`tinyint`, `smallint`, `date`, `time`, counters) are `None`, like there.
    ///
    /// # Source
    ///
    /// `AbstractType.valueLengthIfFixed` of Cassandra 5.0.
    pub fn fixed_len(&self) -> Option<usize> {
        match self {
            Self::Native(native) => match native {
                NativeType::Boolean => Some(1),
                NativeType::Float | NativeType::Int => Some(4),
                NativeType::Bigint | NativeType::Double | NativeType::Timestamp => Some(8),
                NativeType::Uuid | NativeType::Timeuuid => Some(16),
                _ => None,
            },
            Self::Vector { element, dimensions } => {
                element.fixed_len()?.checked_mul(usize::try_from(*dimensions).ok()?)
            }
            _ => None,
        }
    }

    /// Whether the type is this native one.
    pub fn is(&self, native: NativeType) -> bool {
        matches!(self, Self::Native(own) if *own == native)
    }
}

impl From<NativeType> for CqlType {
    fn from(native: NativeType) -> Self {
        Self::Native(native)
    }
}

impl fmt::Display for NativeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Writes the type as CQL would, without `frozen`.
impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(native) => native.fmt(f),
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Set(element) => write!(f, "set<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Tuple(elements) => {
                f.write_str("tuple<")?;
                for (index, element) in elements.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{element}")?;
                }
                f.write_str(">")
            }
            Self::UserDefined(user_type) => write!(f, "{}.{}", user_type.keyspace, user_type.name),
            Self::Vector { element, dimensions } => write!(f, "vector<{element}, {dimensions}>"),
            Self::Custom(class) => write!(f, "'{class}'"),
        }
    }
}

/// A column of a result, or a bound variable of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Keyspace of the table.
    pub keyspace: Arc<str>,
    /// Table the column belongs to.
    pub table: Arc<str>,
    /// Name of the column or of the bound variable.
    pub name: Arc<str>,
    /// Type of its values.
    pub cql_type: CqlType,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types_are_written_as_in_cql() {
        let map = CqlType::Map(
            Box::new(NativeType::Text.into()),
            Box::new(CqlType::List(Box::new(CqlType::Tuple(vec![NativeType::Int.into(), NativeType::Uuid.into()])))),
        );
        assert_eq!(map.to_string(), "map<text, list<tuple<int, uuid>>>");
    }

    #[test]
    fn vectors_of_fixed_elements_are_fixed_and_others_are_not() {
        let vector = |native: NativeType| CqlType::Vector { element: Box::new(native.into()), dimensions: 3 };
        assert_eq!(vector(NativeType::Float).fixed_len(), Some(12));
        assert_eq!(vector(NativeType::Text).fixed_len(), None);
        assert_eq!(vector(NativeType::Smallint).fixed_len(), None);
    }

    #[test]
    fn every_native_type_is_found_by_its_name() {
        for name in ["ascii", "counter", "duration", "text", "timeuuid", "varint"] {
            assert_eq!(NativeType::from_name(name).map(NativeType::name), Some(name));
        }
    }
}
