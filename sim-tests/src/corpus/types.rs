//! CQL types as the wire names them.

use super::reader::{Malformed, Reader};
use std::fmt;

/// A type of a column or a bind variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CqlType {
    /// A type without parameters.
    Native(Native),
    /// `list<…>`
    List(Box<CqlType>),
    /// `set<…>`
    Set(Box<CqlType>),
    /// `map<…, …>`
    Map(Box<CqlType>, Box<CqlType>),
    /// `tuple<…>`
    Tuple(Vec<CqlType>),
    /// A user-defined type.
    Udt {
        /// Its keyspace.
        keyspace: String,
        /// Its name.
        name: String,
        /// Names and types of its fields.
        fields: Vec<(String, CqlType)>,
    },
    /// `vector<…, n>`: on the wire always inside of [`CqlType::Custom`].
    Vector(Box<CqlType>, usize),
    /// A class of the server.
    Custom {
        /// Its name, as sent.
        class: String,
        /// What it is, if it is known here.
        known: Option<Box<CqlType>>,
    },
}

/// Types without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in CQL")]
pub enum Native {
    Ascii,
    Bigint,
    Blob,
    Boolean,
    Counter,
    Decimal,
    Double,
    Float,
    Int,
    Timestamp,
    Uuid,
    Text,
    Varint,
    Timeuuid,
    Inet,
    Date,
    Time,
    Smallint,
    Tinyint,
    Duration,
}

use Native as N;

/// Code on the wire, name in CQL, name of the server's class.
const NATIVES: [(u16, Native, &str, &str); 20] = [
    (0x01, N::Ascii, "ascii", "AsciiType"),
    (0x02, N::Bigint, "bigint", "LongType"),
    (0x03, N::Blob, "blob", "BytesType"),
    (0x04, N::Boolean, "boolean", "BooleanType"),
    (0x05, N::Counter, "counter", "CounterColumnType"),
    (0x06, N::Decimal, "decimal", "DecimalType"),
    (0x07, N::Double, "double", "DoubleType"),
    (0x08, N::Float, "float", "FloatType"),
    (0x09, N::Int, "int", "Int32Type"),
    (0x0b, N::Timestamp, "timestamp", "TimestampType"),
    (0x0c, N::Uuid, "uuid", "UUIDType"),
    (0x0d, N::Text, "text", "UTF8Type"),
    (0x0e, N::Varint, "varint", "IntegerType"),
    (0x0f, N::Timeuuid, "timeuuid", "TimeUUIDType"),
    (0x10, N::Inet, "inet", "InetAddressType"),
    (0x11, N::Date, "date", "SimpleDateType"),
    (0x12, N::Time, "time", "TimeType"),
    (0x13, N::Smallint, "smallint", "ShortType"),
    (0x14, N::Tinyint, "tinyint", "ByteType"),
    (0x15, N::Duration, "duration", "DurationType"),
];

const MARSHAL: &str = "org.apache.cassandra.db.marshal.";

impl Native {
    /// The length of a value inside of a vector, for the types that have none of their own there.
    #[must_use]
    pub const fn fixed_len(self) -> Option<usize> {
        match self {
            Self::Boolean => Some(1),
            Self::Int | Self::Float => Some(4),
            Self::Bigint | Self::Double | Self::Timestamp => Some(8),
            Self::Uuid | Self::Timeuuid => Some(16),
            Self::Ascii
            | Self::Blob
            | Self::Counter
            | Self::Decimal
            | Self::Text
            | Self::Varint
            | Self::Inet
            | Self::Date
            | Self::Time
            | Self::Smallint
            | Self::Tinyint
            | Self::Duration => None,
        }
    }
}

impl CqlType {
    /// Reads an `[option]`.
    ///
    /// # Errors
    ///
    /// An unknown code, or too few bytes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let code = reader.short()?;
        Ok(match code {
            0x00 => {
                let class = reader.string()?;
                let known = Class::parse(&class).map(Box::new);
                Self::Custom { class, known }
            }
            0x20 => Self::List(Box::new(Self::read(reader)?)),
            0x21 => {
                let key = Self::read(reader)?;
                Self::Map(Box::new(key), Box::new(Self::read(reader)?))
            }
            0x22 => Self::Set(Box::new(Self::read(reader)?)),
            0x30 => {
                let (keyspace, name) = (reader.string()?, reader.string()?);
                let count = reader.short()?;
                let field = |_| Ok((reader.string()?, Self::read(reader)?));
                Self::Udt { keyspace, name, fields: (0..count).map(field).collect::<Result<_, _>>()? }
            }
            0x31 => {
                let count = reader.short()?;
                Self::Tuple((0..count).map(|_| Self::read(reader)).collect::<Result<_, _>>()?)
            }
            _ => {
                let native = NATIVES.iter().find(|native| native.0 == code);
                Self::Native(native.ok_or_else(|| Malformed(format!("type {code:#06x}")))?.1)
            }
        })
    }

    /// What a value of the type is made of: a class of the server is replaced by what it stands for.
    #[must_use]
    pub fn known(&self) -> &Self {
        match self {
            Self::Custom { known: Some(known), .. } => known.known(),
            other => other,
        }
    }

    /// The length that every value of the type has inside of a vector.
    #[must_use]
    pub fn fixed_len(&self) -> Option<usize> {
        match self.known() {
            Self::Native(native) => native.fixed_len(),
            Self::Vector(element, dimension) => element.fixed_len().map(|len| len * dimension),
            _ => None,
        }
    }
}

impl fmt::Display for CqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(native) => {
                f.write_str(NATIVES.iter().find(|known| known.1 == *native).map_or("?", |known| known.2))
            }
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Set(element) => write!(f, "set<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Tuple(elements) => {
                let elements: Vec<_> = elements.iter().map(ToString::to_string).collect();
                write!(f, "tuple<{}>", elements.join(", "))
            }
            Self::Udt { keyspace, name, fields } => {
                let fields: Vec<_> = fields.iter().map(|(name, of)| format!("{name} {of}")).collect();
                write!(f, "{keyspace}.{name}{{{}}}", fields.join(", "))
            }
            Self::Vector(element, dimension) => write!(f, "vector<{element}, {dimension}>"),
            Self::Custom { class, .. } => write!(f, "'{class}'"),
        }
    }
}

/// Reader of class names such as `VectorType(FloatType , 3)`.
struct Class<'a>(&'a str);

impl<'a> Class<'a> {
    fn parse(text: &str) -> Option<CqlType> {
        let mut class = Class(text);
        let parsed = class.class()?;
        class.0.trim().is_empty().then_some(parsed)
    }

    fn class(&mut self) -> Option<CqlType> {
        let name = self.word()?.strip_prefix(MARSHAL)?;
        if let Some(native) = NATIVES.iter().find(|native| native.3 == name) {
            return Some(CqlType::Native(native.1));
        }
        self.expect('(')?;
        let parsed = match name {
            "FrozenType" | "ReversedType" => self.class()?,
            "ListType" => CqlType::List(Box::new(self.class()?)),
            "SetType" => CqlType::Set(Box::new(self.class()?)),
            "MapType" => {
                let key = self.class()?;
                self.expect(',')?;
                CqlType::Map(Box::new(key), Box::new(self.class()?))
            }
            "TupleType" => {
                let mut elements = vec![self.class()?];
                while self.expect(',').is_some() {
                    elements.push(self.class()?);
                }
                CqlType::Tuple(elements)
            }
            "UserType" => self.user_type()?,
            "VectorType" => {
                let element = self.class()?;
                self.expect(',')?;
                CqlType::Vector(Box::new(element), self.word()?.parse().ok()?)
            }
            _ => return None,
        };
        self.expect(')')?;
        Some(parsed)
    }

    fn user_type(&mut self) -> Option<CqlType> {
        let keyspace = self.word()?.to_string();
        self.expect(',')?;
        let name = from_hex(self.word()?)?;
        let mut fields = Vec::new();
        while self.expect(',').is_some() {
            let field = from_hex(self.word()?)?;
            self.expect(':')?;
            fields.push((field, self.class()?));
        }
        Some(CqlType::Udt { keyspace, name, fields })
    }

    fn word(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(text.len());
        self.0 = &text[end..];
        (end > 0).then_some(&text[..end])
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(wanted)?;
        Some(())
    }
}

fn from_hex(text: &str) -> Option<String> {
    String::from_utf8(super::literal::bytes_of_hex(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_name_is_understood_as_the_type_it_stands_for() {
        let class = "org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)";
        assert_eq!(Class::parse(class).unwrap().to_string(), "vector<float, 3>");
        let class = "org.apache.cassandra.db.marshal.UserType(ks,706f,78:org.apache.cassandra.db.marshal.Int32Type)";
        assert_eq!(Class::parse(class).unwrap().to_string(), "ks.po{x int}");
        assert_eq!(Class::parse("org.example.Other"), None);
    }

    #[test]
    fn vectors_know_the_length_of_their_elements() {
        let vector = |of| CqlType::Vector(Box::new(CqlType::Native(of)), 3);
        assert_eq!(vector(Native::Float).fixed_len(), Some(12));
        assert_eq!(vector(Native::Smallint).fixed_len(), None);
    }
}
