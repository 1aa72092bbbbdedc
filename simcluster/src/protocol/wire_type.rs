//! CQL types as `[option]`s of result metadata.
//!
//! A type that a version does not know yet is sent as a custom type: the name of its Java class.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5, section 4.2.5.2; class names are Cassandra's `AbstractType.toString()`.

use super::notation::put_string;
use crate::types::CqlType;
use bytes::{BufMut, BytesMut};
use std::fmt::Write;

/// Writes a type as an `[option]` for a client of `version`.
pub fn put_type(out: &mut BytesMut, cql_type: &CqlType, version: u8) {
    match cql_type {
        CqlType::List { element, .. } => {
            out.put_u16(0x20);
            put_type(out, element, version);
        }
        CqlType::Map { key, value, .. } => {
            out.put_u16(0x21);
            put_type(out, key, version);
            put_type(out, value, version);
        }
        CqlType::Set { element, .. } => {
            out.put_u16(0x22);
            put_type(out, element, version);
        }
        CqlType::Udt { definition, .. } => {
            out.put_u16(0x30);
            put_string(out, &definition.keyspace);
            put_string(out, &definition.name);
            out.put_u16(u16::try_from(definition.fields.len()).unwrap_or(u16::MAX));
            for (name, field) in &definition.fields {
                put_string(out, name);
                put_type(out, field, version);
            }
        }
        CqlType::Tuple(parts) => {
            out.put_u16(0x31);
            out.put_u16(u16::try_from(parts.len()).unwrap_or(u16::MAX));
            for part in parts.iter() {
                put_type(out, part, version);
            }
        }
        scalar => match scalar_code(scalar) {
            Some((code, since)) if since <= version => out.put_u16(code),
            _ => {
                out.put_u16(0);
                put_string(out, &class_name(scalar));
            }
        },
    }
}

/// The code of a scalar type and the first version that knows it.
fn scalar_code(cql_type: &CqlType) -> Option<(u16, u8)> {
    Some(match cql_type {
        CqlType::Ascii => (0x01, 3),
        CqlType::Bigint => (0x02, 3),
        CqlType::Blob => (0x03, 3),
        CqlType::Boolean => (0x04, 3),
        CqlType::Counter => (0x05, 3),
        CqlType::Decimal => (0x06, 3),
        CqlType::Double => (0x07, 3),
        CqlType::Float => (0x08, 3),
        CqlType::Int => (0x09, 3),
        CqlType::Timestamp => (0x0B, 3),
        CqlType::Uuid => (0x0C, 3),
        CqlType::Text => (0x0D, 3),
        CqlType::Varint => (0x0E, 3),
        CqlType::Timeuuid => (0x0F, 3),
        CqlType::Inet => (0x10, 3),
        CqlType::Date => (0x11, 4),
        CqlType::Time => (0x12, 4),
        CqlType::Smallint => (0x13, 4),
        CqlType::Tinyint => (0x14, 4),
        CqlType::Duration => (0x15, 5),
        CqlType::LegacyTimeuuid
        | CqlType::Vector { .. }
        | CqlType::List { .. }
        | CqlType::Set { .. }
        | CqlType::Map { .. }
        | CqlType::Tuple(_)
        | CqlType::Udt { .. } => return None,
    })
}

/// The Java class of a column's type as Cassandra prints it: the outermost frozen types say so.
#[must_use]
pub fn class_name_frozen(cql_type: &CqlType) -> String {
    match cql_type {
        CqlType::List { frozen: true, .. }
        | CqlType::Set { frozen: true, .. }
        | CqlType::Map { frozen: true, .. }
        | CqlType::Udt { frozen: true, .. } => {
            format!("org.apache.cassandra.db.marshal.FrozenType({})", class_name(cql_type))
        }
        other => class_name_with(other, class_name_frozen),
    }
}

/// The Java class of a type, with its parameters.
fn class_name(cql_type: &CqlType) -> String {
    class_name_with(cql_type, class_name)
}

/// The Java class of a type; `inner` names the types in its parameters, where it may be more than one cell.
fn class_name_with(cql_type: &CqlType, inner: fn(&CqlType) -> String) -> String {
    let simple = match cql_type {
        CqlType::Ascii => "AsciiType",
        CqlType::Bigint => "LongType",
        CqlType::Blob => "BytesType",
        CqlType::Boolean => "BooleanType",
        CqlType::Counter => "CounterColumnType",
        CqlType::Date => "SimpleDateType",
        CqlType::Decimal => "DecimalType",
        CqlType::Double => "DoubleType",
        CqlType::Duration => "DurationType",
        CqlType::Float => "FloatType",
        CqlType::Inet => "InetAddressType",
        CqlType::Int => "Int32Type",
        CqlType::LegacyTimeuuid => "LegacyTimeUUIDType",
        CqlType::Smallint => "ShortType",
        CqlType::Text => "UTF8Type",
        CqlType::Time => "TimeType",
        CqlType::Timestamp => "TimestampType",
        CqlType::Timeuuid => "TimeUUIDType",
        CqlType::Tinyint => "ByteType",
        CqlType::Uuid => "UUIDType",
        CqlType::Varint => "IntegerType",
        CqlType::List { .. } => "ListType",
        CqlType::Set { .. } => "SetType",
        CqlType::Map { .. } => "MapType",
        CqlType::Tuple(_) => "TupleType",
        CqlType::Udt { .. } => "UserType",
        CqlType::Vector { .. } => "VectorType",
    };
    let parameters = match cql_type {
        CqlType::List { element, .. } | CqlType::Set { element, .. } => format!("({})", inner(element)),
        CqlType::Map { key, value, .. } => format!("({},{})", inner(key), inner(value)),
        CqlType::Tuple(parts) => format!("({})", parts.iter().map(class_name).collect::<Vec<_>>().join(",")),
        CqlType::Udt { definition, .. } => {
            let mut text = format!("({},{}", definition.keyspace, hex(&definition.name));
            for (name, field) in &definition.fields {
                // Writing to a String cannot fail.
                let _ = write!(text, ",{}:{}", hex(name), inner(field));
            }
            text + ")"
        }
        CqlType::Vector { element, dimensions } => format!("({} , {dimensions})", class_name(element)),
        _ => String::new(),
    };
    format!("org.apache.cassandra.db.marshal.{simple}{parameters}")
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::UserType;
    use std::sync::Arc;

    fn encoded(cql_type: &CqlType, version: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_type(&mut out, cql_type, version);
        out.to_vec()
    }

    #[test]
    fn types_newer_than_the_version_are_sent_by_class_name() {
        assert_eq!(encoded(&CqlType::Duration, 5), [0, 0x15]);
        let class = b"org.apache.cassandra.db.marshal.DurationType";
        let mut expected = vec![0, 0, 0, u8::try_from(class.len()).expect("short")];
        expected.extend_from_slice(class);
        assert_eq!(encoded(&CqlType::Duration, 4), expected);
        assert_eq!(encoded(&CqlType::Date, 4), [0, 0x11]);
        assert_eq!(encoded(&CqlType::Date, 3)[..2], [0, 0]);
    }

    #[test]
    fn nested_types_are_written_inside_out() {
        let list = CqlType::List { element: Arc::new(CqlType::Int), frozen: true };
        let map = CqlType::Map { key: Arc::new(CqlType::Text), value: Arc::new(list), frozen: false };
        assert_eq!(encoded(&map, 4), [0, 0x21, 0, 0x0d, 0, 0x20, 0, 0x09]);
        let udt = UserType { keyspace: "k".into(), name: "t".into(), fields: vec![("f".into(), CqlType::Int)] };
        let udt = CqlType::Udt { definition: Arc::new(udt), frozen: true };
        assert_eq!(encoded(&udt, 4), [0, 0x30, 0, 1, b'k', 0, 1, b't', 0, 1, 0, 1, b'f', 0, 9]);
    }

    #[test]
    fn vectors_are_custom_types_in_every_version() {
        let vector = CqlType::Vector { element: Arc::new(CqlType::Float), dimensions: 3 };
        assert_eq!(
            class_name(&vector),
            "org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)"
        );
        assert_eq!(encoded(&vector, 5)[..2], [0, 0]);
    }
}
