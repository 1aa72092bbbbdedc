//! Types that the protocol has no number for: the names of the server's classes.
//!
//! Vectors always come this way, durations do before v5, and both may hold any other type.
//!
//! # Source
//!
//! `org.apache.cassandra.db.marshal.TypeParser`.

use std::sync::Arc;

use crate::value::{CqlType, NativeType, UserType};

const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// Finds the type a class name stands for; [`CqlType::Custom`] if it stands for none.
pub(super) fn parse_custom(class: &str, depth_left: usize) -> CqlType {
    let mut parser = Parser { rest: class };
    match parser.parse_type(depth_left) {
        Some(cql_type) if parser.rest.is_empty() => cql_type,
        _ => CqlType::Custom(class.into()),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn parse_type(&mut self, depth_left: usize) -> Option<CqlType> {
        let depth_left = depth_left.checked_sub(1)?;
        let name = self.word();
        let name = name.strip_prefix(PACKAGE).unwrap_or(name);
        if let Some(native) = native_class(name) {
            return Some(native.into());
        }
        self.expect('(')?;
        let cql_type = match name {
            "FrozenType" | "ReversedType" => self.parse_type(depth_left)?,
            "ListType" => CqlType::List(Box::new(self.parse_type(depth_left)?)),
            "SetType" => CqlType::Set(Box::new(self.parse_type(depth_left)?)),
            "MapType" => {
                let key = Box::new(self.parse_type(depth_left)?);
                self.expect(',')?;
                CqlType::Map(key, Box::new(self.parse_type(depth_left)?))
            }
            "TupleType" => {
                let mut types = vec![self.parse_type(depth_left)?];
                while self.accept(',') {
                    types.push(self.parse_type(depth_left)?);
                }
                CqlType::Tuple(types)
            }
            "VectorType" => {
                let element = Box::new(self.parse_type(depth_left)?);
                self.expect(',')?;
                CqlType::Vector { element, dimensions: self.word().parse().ok()? }
            }
            "UserType" => self.parse_user_type(depth_left)?,
            _ => return None,
        };
        self.expect(')')?;
        Some(cql_type)
    }

    /// `keyspace, hex of name, hex of field:type, …`
    fn parse_user_type(&mut self, depth_left: usize) -> Option<CqlType> {
        let keyspace = self.word().into();
        self.expect(',')?;
        let name = hex_text(self.word())?;
        let mut fields = Vec::new();
        while self.accept(',') {
            let field = hex_text(self.word())?;
            self.expect(':')?;
            fields.push((field, self.parse_type(depth_left)?));
        }
        Some(CqlType::UserDefined(Arc::new(UserType { keyspace, name, fields })))
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn accept(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.accept(wanted).then_some(())
    }
}

fn native_class(name: &str) -> Option<NativeType> {
    Some(match name {
        "AsciiType" => NativeType::Ascii,
        "LongType" => NativeType::Bigint,
        "BytesType" => NativeType::Blob,
        "BooleanType" => NativeType::Boolean,
        "CounterColumnType" => NativeType::Counter,
        "SimpleDateType" => NativeType::Date,
        "DecimalType" => NativeType::Decimal,
        "DoubleType" => NativeType::Double,
        "DurationType" => NativeType::Duration,
        "FloatType" => NativeType::Float,
        "InetAddressType" => NativeType::Inet,
        "Int32Type" => NativeType::Int,
        "ShortType" => NativeType::Smallint,
        "UTF8Type" => NativeType::Text,
        "TimeType" => NativeType::Time,
        "TimestampType" | "DateType" => NativeType::Timestamp,
        "TimeUUIDType" => NativeType::Timeuuid,
        "ByteType" => NativeType::Tinyint,
        "UUIDType" => NativeType::Uuid,
        "IntegerType" => NativeType::Varint,
        _ => return None,
    })
}

fn hex_text(hex: &str) -> Option<Arc<str>> {
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    String::from_utf8(bytes?).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(class: &str) -> String {
        parse_custom(class, 16).to_string()
    }

    #[test]
    fn vectors_and_durations_are_recognised() {
        let vector = "org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)";
        assert_eq!(parsed(vector), "vector<float, 3>");
        assert_eq!(parsed("org.apache.cassandra.db.marshal.DurationType"), "duration");
        assert_eq!(parsed("VectorType(FrozenType(MapType(UTF8Type,Int32Type)), 2)"), "vector<map<text, int>, 2>");
        assert_eq!(parsed("VectorType(UserType(ks,75,66:Int32Type), 2)"), "vector<ks.u, 2>");
    }

    #[test]
    fn other_classes_stay_custom() {
        for class in ["com.example.Mine", "VectorType(FloatType)", "ListType(Int32Type", "", "CompositeType(UTF8Type)"]
        {
            assert_eq!(parse_custom(class, 16), CqlType::Custom(class.into()));
        }
    }

    #[test]
    fn endless_nesting_stays_custom() {
        let class = "ListType(".repeat(10_000);
        assert!(matches!(parse_custom(&class, 16), CqlType::Custom(_)));
    }
}
