//! Any CQL value, for code that learns the type at run time.

use std::net::IpAddr;

use num_bigint::BigInt;
use uuid::Uuid;

use super::collections::{Elements, encode_elements, encode_vector, write_count};
use super::decode::{CellReader, not_null};
use super::encode::write_element;
use super::{
    Counter, CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlType, DecodeValue, EncodeValue, NativeType,
    Timeuuid, UserType, ValueError, ValueErrorKind, write_value,
};

/// A CQL value of any type. Null is not one: it is `None` of `Option<CqlValue>`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CqlValue {
    /// `ascii`.
    Ascii(String),
    /// `bigint`.
    Bigint(i64),
    /// `blob`.
    Blob(Vec<u8>),
    /// `boolean`.
    Boolean(bool),
    /// `counter`.
    Counter(Counter),
    /// `date`.
    Date(CqlDate),
    /// `decimal`.
    Decimal(CqlDecimal),
    /// `double`.
    Double(f64),
    /// `duration`.
    Duration(CqlDuration),
    /// `float`.
    Float(f32),
    /// `inet`.
    Inet(IpAddr),
    /// `int`.
    Int(i32),
    /// `smallint`.
    Smallint(i16),
    /// `text`.
    Text(String),
    /// `time`.
    Time(CqlTime),
    /// `timestamp`.
    Timestamp(CqlTimestamp),
    /// `timeuuid`.
    Timeuuid(Timeuuid),
    /// `tinyint`.
    Tinyint(i8),
    /// `uuid`.
    Uuid(Uuid),
    /// `varint`.
    Varint(BigInt),
    /// `list`.
    List(Vec<CqlValue>),
    /// `set`, in the order of the server.
    Set(Vec<CqlValue>),
    /// `map`, in the order of the server.
    Map(Vec<(CqlValue, CqlValue)>),
    /// `tuple`. Elements at the end may be missing, they are null.
    Tuple(Vec<Option<CqlValue>>),
    /// A user-defined type: fields by name; those left out are null.
    UserDefined(Vec<(String, Option<CqlValue>)>),
    /// `vector`.
    Vector(Vec<CqlValue>),
    /// The bytes of a custom type.
    Custom(Vec<u8>),
    /// No bytes at all, for a type to which that means nothing. A relic of Cassandra's Thrift
    /// time that old tables may still hold; neither null nor zero.
    Empty,
}

impl EncodeValue for CqlValue {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match (self, cql_type) {
            (Self::Ascii(value) | Self::Text(value), _) => value.encode(cql_type, out),
            (Self::Bigint(value), _) => value.encode(cql_type, out),
            (Self::Blob(value) | Self::Custom(value), _) => value.encode(cql_type, out),
            (Self::Boolean(value), _) => value.encode(cql_type, out),
            (Self::Counter(value), _) => value.encode(cql_type, out),
            (Self::Date(value), _) => value.encode(cql_type, out),
            (Self::Decimal(value), _) => value.encode(cql_type, out),
            (Self::Double(value), _) => value.encode(cql_type, out),
            (Self::Duration(value), _) => value.encode(cql_type, out),
            (Self::Float(value), _) => value.encode(cql_type, out),
            (Self::Inet(value), _) => value.encode(cql_type, out),
            (Self::Int(value), _) => value.encode(cql_type, out),
            (Self::Smallint(value), _) => value.encode(cql_type, out),
            (Self::Time(value), _) => value.encode(cql_type, out),
            (Self::Timestamp(value), _) => value.encode(cql_type, out),
            (Self::Timeuuid(value), _) => value.encode(cql_type, out),
            (Self::Tinyint(value), _) => value.encode(cql_type, out),
            (Self::Uuid(value), _) => value.encode(cql_type, out),
            (Self::Varint(value), _) => value.encode(cql_type, out),
            (Self::List(values), CqlType::List(element)) | (Self::Set(values), CqlType::Set(element)) => {
                encode_elements(cql_type, element, values.iter(), out)
            }
            (Self::Map(entries), CqlType::Map(key_type, value_type)) => {
                write_count::<Self>(cql_type, entries.len(), out)?;
                for (key, value) in entries {
                    write_element(key, key_type, out)?;
                    write_element(value, value_type, out)?;
                }
                Ok(())
            }
            (Self::Tuple(values), CqlType::Tuple(types)) if values.len() <= types.len() => {
                let values = values.iter().chain(std::iter::repeat(&None));
                values.zip(types).try_for_each(|(value, element)| write_value(value, element, out))
            }
            (Self::UserDefined(fields), CqlType::UserDefined(user_type)) => {
                encode_fields(fields, cql_type, user_type, out)
            }
            (Self::Vector(values), CqlType::Vector { element, dimensions }) => {
                encode_vector(cql_type, element, *dimensions, values, out)
            }
            (Self::Empty, _) => Ok(()),
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }
}

fn encode_fields(
    fields: &[(String, Option<CqlValue>)],
    cql_type: &CqlType,
    user_type: &UserType,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    for (name, _) in fields {
        if user_type.fields.iter().all(|(known, _)| **known != **name) {
            let kind = ValueErrorKind::UnknownField(name.clone());
            return Err(ValueError::new::<CqlValue>(kind, cql_type));
        }
    }
    for (name, field_type) in &user_type.fields {
        let given = fields.iter().find(|(given, _)| **given == **name);
        let value = given.and_then(|(_, value)| value.as_ref());
        write_value(&value, field_type, out)?;
    }
    Ok(())
}

impl<'a> DecodeValue<'a> for CqlValue {
    fn check(_cql_type: &CqlType) -> Result<(), ValueError> {
        Ok(())
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let bytes = not_null::<Self>(cql_type, content)?;
        if bytes.is_empty() && !allows_zero_bytes(cql_type) {
            return Ok(Self::Empty);
        }
        match cql_type {
            CqlType::Native(native) => decode_native(*native, cql_type, content),
            CqlType::List(element) => decode_elements(cql_type, element, bytes).map(Self::List),
            CqlType::Set(element) => decode_elements(cql_type, element, bytes).map(Self::Set),
            CqlType::Vector { element, .. } => decode_elements(cql_type, element, bytes).map(Self::Vector),
            CqlType::Map(key_type, value_type) => {
                let mut contents = Elements::new::<Self>(cql_type, bytes, 2)?;
                let mut entries = Vec::new();
                while let Some(key) = contents.next_content::<Self>(cql_type)? {
                    let value = contents.next_content::<Self>(cql_type)?.unwrap_or(None);
                    entries.push((Self::decode(key_type, key)?, Self::decode(value_type, value)?));
                }
                Ok(Self::Map(entries))
            }
            CqlType::Tuple(types) => decode_optional(cql_type, types.iter(), bytes).map(Self::Tuple),
            CqlType::UserDefined(user_type) => {
                let types = user_type.fields.iter().map(|(_, field_type)| field_type);
                let values = decode_optional(cql_type, types, bytes)?;
                let names = user_type.fields.iter().map(|(name, _)| name.to_string());
                Ok(Self::UserDefined(names.zip(values).collect()))
            }
            CqlType::Custom(_) => Ok(Self::Custom(bytes.to_vec())),
        }
    }
}

/// Whether zero bytes are an ordinary value of the type.
fn allows_zero_bytes(cql_type: &CqlType) -> bool {
    match cql_type {
        CqlType::Native(native) => {
            matches!(native, NativeType::Ascii | NativeType::Blob | NativeType::Text)
        }
        CqlType::Tuple(_) | CqlType::UserDefined(_) | CqlType::Custom(_) => true,
        CqlType::Vector { dimensions, .. } => *dimensions == 0,
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => false,
    }
}

fn decode_native(native: NativeType, cql_type: &CqlType, content: Option<&[u8]>) -> Result<CqlValue, ValueError> {
    use CqlValue as V;
    use NativeType as N;
    Ok(match native {
        N::Ascii => V::Ascii(String::decode(cql_type, content)?),
        N::Bigint => V::Bigint(i64::decode(cql_type, content)?),
        N::Blob => V::Blob(Vec::<u8>::decode(cql_type, content)?),
        N::Boolean => V::Boolean(bool::decode(cql_type, content)?),
        N::Counter => V::Counter(Counter::decode(cql_type, content)?),
        N::Date => V::Date(CqlDate::decode(cql_type, content)?),
        N::Decimal => V::Decimal(CqlDecimal::decode(cql_type, content)?),
        N::Double => V::Double(f64::decode(cql_type, content)?),
        N::Duration => V::Duration(CqlDuration::decode(cql_type, content)?),
        N::Float => V::Float(f32::decode(cql_type, content)?),
        N::Inet => V::Inet(IpAddr::decode(cql_type, content)?),
        N::Int => V::Int(i32::decode(cql_type, content)?),
        N::Smallint => V::Smallint(i16::decode(cql_type, content)?),
        N::Text => V::Text(String::decode(cql_type, content)?),
        N::Time => V::Time(CqlTime::decode(cql_type, content)?),
        N::Timestamp => V::Timestamp(CqlTimestamp::decode(cql_type, content)?),
        N::Timeuuid => V::Timeuuid(Timeuuid::decode(cql_type, content)?),
        N::Tinyint => V::Tinyint(i8::decode(cql_type, content)?),
        N::Uuid => V::Uuid(Uuid::decode(cql_type, content)?),
        N::Varint => V::Varint(BigInt::decode(cql_type, content)?),
    })
}

fn decode_elements(cql_type: &CqlType, element: &CqlType, bytes: &[u8]) -> Result<Vec<CqlValue>, ValueError> {
    let mut contents = Elements::new::<CqlValue>(cql_type, bytes, 1)?;
    let mut values = Vec::new();
    while let Some(content) = contents.next_content::<CqlValue>(cql_type)? {
        values.push(CqlValue::decode(element, content)?);
    }
    Ok(values)
}

fn decode_optional<'t>(
    cql_type: &CqlType,
    types: impl Iterator<Item = &'t CqlType>,
    bytes: &[u8],
) -> Result<Vec<Option<CqlValue>>, ValueError> {
    let mut cells = CellReader::new(bytes);
    let mut values = Vec::new();
    for element in types {
        // Values written before a field was added end early.
        let content = match cells.rest() {
            [] => None,
            _ => cells.next_cell().ok_or_else(|| ValueError::new::<CqlValue>(ValueErrorKind::Truncated, cql_type))?,
        };
        values.push(Option::<CqlValue>::decode(element, content)?);
    }
    Ok(values)
}

/// Conversions from the Rust types that have one obvious CQL type.
macro_rules! from_rust {
    ($($rust:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$rust> for CqlValue {
            fn from(value: $rust) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

from_rust!(
    i8 => Tinyint, i16 => Smallint, i32 => Int, i64 => Bigint, f32 => Float, f64 => Double,
    bool => Boolean, &str => Text, String => Text, Vec<u8> => Blob, Uuid => Uuid, IpAddr => Inet,
    BigInt => Varint, CqlDecimal => Decimal, Counter => Counter, CqlDate => Date, CqlTime => Time,
    CqlTimestamp => Timestamp, CqlDuration => Duration, Timeuuid => Timeuuid,
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn native_types() -> impl Strategy<Value = CqlType> {
        use NativeType as N;
        prop::sample::select(vec![
            N::Ascii,
            N::Bigint,
            N::Blob,
            N::Boolean,
            N::Counter,
            N::Date,
            N::Decimal,
            N::Double,
            N::Duration,
            N::Float,
            N::Inet,
            N::Int,
            N::Smallint,
            N::Text,
            N::Time,
            N::Timestamp,
            N::Timeuuid,
            N::Tinyint,
            N::Uuid,
            N::Varint,
        ])
        .prop_map(CqlType::from)
    }

    fn types() -> impl Strategy<Value = CqlType> {
        native_types().prop_recursive(3, 12, 3, |inner| {
            let boxed = inner.clone().prop_map(Box::new);
            prop_oneof![
                boxed.clone().prop_map(CqlType::List),
                boxed.clone().prop_map(CqlType::Set),
                (boxed.clone(), boxed.clone()).prop_map(|(key, value)| CqlType::Map(key, value)),
                (boxed, 1u32..4).prop_map(|(element, dimensions)| CqlType::Vector { element, dimensions }),
                prop::collection::vec(inner.clone(), 1..3).prop_map(CqlType::Tuple),
                prop::collection::vec(inner, 1..3).prop_map(|types| {
                    let fields = types.into_iter().enumerate();
                    CqlType::UserDefined(Arc::new(UserType {
                        keyspace: "app".into(),
                        name: "udt".into(),
                        fields: fields.map(|(index, of)| (format!("f{index}").into(), of)).collect(),
                    }))
                }),
            ]
        })
    }

    fn values_of(cql_type: &CqlType) -> BoxedStrategy<CqlValue> {
        use NativeType as N;
        let several = |element: &CqlType| prop::collection::vec(values_of(element), 0..3);
        match cql_type {
            CqlType::Native(native) => match native {
                N::Ascii => "[a-z]{0,5}".prop_map(CqlValue::Ascii).boxed(),
                N::Text => "\\PC{0,5}".prop_map(CqlValue::Text).boxed(),
                N::Bigint => any::<i64>().prop_map(CqlValue::Bigint).boxed(),
                N::Blob => any::<Vec<u8>>().prop_map(CqlValue::Blob).boxed(),
                N::Boolean => any::<bool>().prop_map(CqlValue::Boolean).boxed(),
                N::Counter => any::<i64>().prop_map(|n| CqlValue::Counter(Counter(n))).boxed(),
                N::Date => any::<i32>().prop_map(|n| CqlValue::Date(CqlDate(n))).boxed(),
                N::Decimal => (any::<i128>(), any::<i32>())
                    .prop_map(|(n, scale)| CqlDecimal { unscaled: n.into(), scale }.into())
                    .boxed(),
                N::Double => (-1e9..1e9).prop_map(CqlValue::Double).boxed(),
                N::Duration => (0..i32::MAX, 0..i32::MAX, 0..i64::MAX)
                    .prop_map(|(months, days, nanoseconds)| CqlDuration { months, days, nanoseconds }.into())
                    .boxed(),
                N::Float => (-1e9f32..1e9).prop_map(CqlValue::Float).boxed(),
                N::Inet => any::<IpAddr>().prop_map(CqlValue::Inet).boxed(),
                N::Int => any::<i32>().prop_map(CqlValue::Int).boxed(),
                N::Smallint => any::<i16>().prop_map(CqlValue::Smallint).boxed(),
                N::Time => (0i64..86_400_000_000_000).prop_map(|n| CqlTime(n).into()).boxed(),
                N::Timestamp => any::<i64>().prop_map(|n| CqlTimestamp(n).into()).boxed(),
                N::Timeuuid => any::<(i32, u64)>()
                    .prop_map(|(n, random)| Timeuuid::from_unix_micros(n.into(), random).into())
                    .boxed(),
                N::Tinyint => any::<i8>().prop_map(CqlValue::Tinyint).boxed(),
                N::Uuid => any::<u128>().prop_map(|n| Uuid::from_u128(n).into()).boxed(),
                N::Varint => any::<i128>().prop_map(|n| CqlValue::Varint(n.into())).boxed(),
            },
            CqlType::List(element) => several(element).prop_map(CqlValue::List).boxed(),
            CqlType::Set(element) => several(element).prop_map(CqlValue::Set).boxed(),
            CqlType::Map(key, value) => {
                prop::collection::vec((values_of(key), values_of(value)), 0..3).prop_map(CqlValue::Map).boxed()
            }
            CqlType::Vector { element, dimensions } => {
                prop::collection::vec(values_of(element), *dimensions as usize).prop_map(CqlValue::Vector).boxed()
            }
            CqlType::Tuple(types) => types
                .iter()
                .map(|of| prop::option::of(values_of(of)))
                .collect::<Vec<_>>()
                .prop_map(CqlValue::Tuple)
                .boxed(),
            CqlType::UserDefined(user_type) => user_type
                .fields
                .iter()
                .map(|(name, of)| (Just(name.to_string()), prop::option::of(values_of(of))))
                .collect::<Vec<_>>()
                .prop_map(CqlValue::UserDefined)
                .boxed(),
            CqlType::Custom(_) => any::<Vec<u8>>().prop_map(CqlValue::Custom).boxed(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_value_survives_the_round_trip(
            (cql_type, value) in types().prop_flat_map(|of| { let values = values_of(&of); (Just(of), values) })
        ) {
            let mut out = Vec::new();
            value.encode(&cql_type, &mut out).unwrap();
            prop_assert_eq!(CqlValue::decode(&cql_type, Some(&out)), Ok(value));
        }

        #[test]
        fn hostile_bytes_give_a_value_or_an_error(cql_type in types(), bytes in any::<Vec<u8>>()) {
            let _ = CqlValue::decode(&cql_type, Some(&bytes));
        }

        #[test]
        fn mutated_values_give_a_value_or_an_error(
            (cql_type, value) in types().prop_flat_map(|of| { let values = values_of(&of); (Just(of), values) }),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut out = Vec::new();
            value.encode(&cql_type, &mut out).unwrap();
            if !out.is_empty() {
                let at = at.index(out.len());
                out[at] = byte;
            }
            let _ = CqlValue::decode(&cql_type, Some(&out));
        }
    }

    #[test]
    fn zero_bytes_are_empty_only_where_they_mean_nothing() {
        assert_eq!(CqlValue::decode(&NativeType::Int.into(), Some(&[])), Ok(CqlValue::Empty));
        let text = CqlValue::decode(&NativeType::Text.into(), Some(&[]));
        assert_eq!(text, Ok(CqlValue::Text(String::new())));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let user_type = UserType { keyspace: "a".into(), name: "t".into(), fields: vec![] };
        let value = CqlValue::UserDefined(vec![("x".to_owned(), None)]);
        let error =
            value.encode(&CqlType::UserDefined(Arc::new(user_type)), &mut Vec::new()).expect_err("no such field");
        assert_eq!(error.kind(), &ValueErrorKind::UnknownField("x".to_owned()));
    }
}
