//! An encoding of values whose byte order is the order of their type.
//!
//! Clustering rows, set elements and map keys are kept in maps ordered by these bytes, so that no map needs to know
//! its types. Two values that compare as equal (decimals 1.0 and 1.00) have the same encoding.
//!
//! # Invariants
//!
//! - Within one type no encoding is a proper prefix of another, so components can be concatenated.
//! - Every component starts with a marker below 0xff, also when inverted for descending order: a prefix followed by
//!   [`AFTER_PREFIX`] is greater than all keys that begin with that prefix.
//!
//! # Source
//!
//! Cassandra's `compare` methods of the types (signed bytes in timeuuids, version first in uuids, and so on).

use super::{CqlType, Value, codec};
use bytes::Bytes;
use num_bigint::BigInt;
use std::cmp::Ordering;

/// Appended to an encoded prefix it makes a bound above all keys that begin with the prefix.
pub const AFTER_PREFIX: u8 = 0xff;

const END: u8 = 0x01;
const NULL: u8 = 0x20;
const EMPTY: u8 = 0x30;
const PRESENT: u8 = 0x40;

/// Appends one component of a clustering key; null sorts first.
pub fn push_component(out: &mut Vec<u8>, cql_type: &CqlType, value: Option<&Bytes>, descending: bool) {
    let start = out.len();
    match value {
        None => out.push(NULL),
        Some(bytes) => push_value(out, cql_type, bytes),
    }
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The encoding of one value.
#[must_use]
pub fn encode(cql_type: &CqlType, bytes: &Bytes) -> Bytes {
    if matches!(cql_type, CqlType::Text | CqlType::Ascii | CqlType::Blob) {
        // Alone, raw bytes are their own order.
        return bytes.clone();
    }
    let mut out = Vec::with_capacity(bytes.len() + 2);
    push_value(&mut out, cql_type, bytes);
    Bytes::from(out)
}

/// Compares two values of a type; null is less than everything.
#[must_use]
pub fn compare(cql_type: &CqlType, a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => encode(cql_type, a).cmp(&encode(cql_type, b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn push_value(out: &mut Vec<u8>, cql_type: &CqlType, bytes: &Bytes) {
    use CqlType as T;
    if bytes.is_empty() && !matches!(cql_type, T::Text | T::Ascii | T::Blob) {
        out.push(EMPTY);
        return;
    }
    out.push(PRESENT);
    match cql_type {
        T::Ascii | T::Text | T::Blob | T::Inet | T::Duration => push_escaped(out, bytes),
        T::Boolean => out.push(u8::from(bytes.iter().any(|b| *b != 0))),
        T::Bigint | T::Counter | T::Int | T::Smallint | T::Tinyint | T::Time | T::Timestamp => {
            out.push(bytes[0] ^ 0x80);
            out.extend_from_slice(&bytes[1..]);
        }
        T::Date => out.extend_from_slice(bytes),
        T::Float | T::Double => {
            let negative = bytes[0] & 0x80 != 0;
            out.extend(bytes.iter().enumerate().map(|(i, b)| match (negative, i) {
                (true, _) => !b,
                (false, 0) => b ^ 0x80,
                (false, _) => *b,
            }));
        }
        T::Uuid | T::Timeuuid if bytes.len() == 16 => {
            if *cql_type == T::Uuid {
                out.push(bytes[6] >> 4);
            }
            if *cql_type == T::Timeuuid || bytes[6] >> 4 == 1 {
                out.extend_from_slice(&[bytes[6] & 0x0f, bytes[7], bytes[4], bytes[5]]);
                out.extend_from_slice(&bytes[..4]);
                let flip = if *cql_type == T::Timeuuid { 0x80 } else { 0 };
                out.extend(bytes[8..].iter().map(|b| b ^ flip));
            } else {
                out.extend_from_slice(bytes);
            }
        }
        T::Uuid | T::Timeuuid | T::LegacyTimeuuid => push_escaped(out, bytes),
        T::Varint => push_integer(out, &BigInt::from_signed_bytes_be(bytes)),
        T::Decimal => push_decimal(out, bytes),
        T::List { element, .. } | T::Set { element, .. } => {
            push_parts(out, codec::split_collection(bytes, false), |_| element.as_ref(), bytes);
        }
        T::Map { key, value, .. } => {
            let part = |i: usize| if i.is_multiple_of(2) { key.as_ref() } else { value.as_ref() };
            push_parts(out, codec::split_collection(bytes, true), part, bytes);
        }
        T::Tuple(parts) => push_parts(out, codec::split_tuple(bytes, parts.len()), |i| &parts[i], bytes),
        T::Udt { definition, .. } => {
            let fields = &definition.fields;
            push_parts(out, codec::split_tuple(bytes, fields.len()), |i| &fields[i].1, bytes);
        }
        T::Vector { element, dimensions } => {
            let parts = codec::split_vector(element, *dimensions, bytes).map(|v| v.into_iter().map(Some).collect());
            push_parts(out, parts, |_| element.as_ref(), bytes);
        }
    }
}

/// Bytes so that no result is a prefix of another: 0x00 becomes 0x00 0xff, and 0x00 0x01 ends it.
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, END]);
}

/// Sign, length, two's complement: equal lengths compare bytewise, longer ones are farther from zero.
fn push_integer(out: &mut Vec<u8>, integer: &BigInt) {
    let bytes = integer.to_signed_bytes_be();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if integer.sign() == num_bigint::Sign::Minus {
        out.push(0);
        out.extend_from_slice(&(!length).to_be_bytes());
    } else {
        out.push(1);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(&bytes);
}

/// Sign, decimal exponent, significant digits without trailing zeros.
fn push_decimal(out: &mut Vec<u8>, bytes: &[u8]) {
    let Some((scale, raw)) = bytes.split_at_checked(4) else { return push_escaped(out, bytes) };
    let scale = i64::from(i32::from_be_bytes([scale[0], scale[1], scale[2], scale[3]]));
    let unscaled = BigInt::from_signed_bytes_be(raw);
    let digits = unscaled.magnitude().to_string();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        out.push(1);
        return;
    }
    let exponent = digits.len() as i64 - scale;
    let negative = unscaled.sign() == num_bigint::Sign::Minus;
    out.push(if negative { 0 } else { 2 });
    let start = out.len();
    out.extend_from_slice(&(exponent ^ i64::MIN).to_be_bytes());
    out.extend_from_slice(significant.as_bytes());
    out.push(END);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn push_parts<'a>(
    out: &mut Vec<u8>,
    parts: Option<Vec<Value>>,
    cql_type: impl Fn(usize) -> &'a CqlType,
    malformed: &[u8],
) {
    let Some(parts) = parts else { return push_escaped(out, malformed) };
    for (i, part) in parts.iter().enumerate() {
        push_component(out, cql_type(i), part.as_ref(), false);
    }
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::text::from_text;
    use proptest::prelude::*;

    #[test]
    fn literal_values_sort_as_their_types_say() {
        for (cql_type, ascending) in [
            (CqlType::Int, vec!["-2147483648", "-1", "0", "7", "2147483647"]),
            (CqlType::Double, vec!["-Infinity", "-1.5", "0.0", "0.25", "1e300", "NaN"]),
            (CqlType::Varint, vec!["-1000000000000", "-129", "-128", "0", "127", "128", "1000000000000"]),
            (CqlType::Decimal, vec!["-10.5", "-1", "-0.01", "0", "0.009", "0.01", "1.5", "10", "123456"]),
            (CqlType::Date, vec!["1600-01-01", "1969-12-31", "1970-01-01", "2024-02-29"]),
            (CqlType::Text, vec!["", "a", "aa", "b"]),
            (CqlType::Timeuuid, vec!["13814000-1dd2-11b2-8080-808080808080", "d2177dd0-eaa2-11de-a572-001b779c76e3"]),
        ] {
            let values: Vec<_> = ascending.iter().map(|t| Some(from_text(&cql_type, t).expect("valid"))).collect();
            for pair in values.windows(2) {
                assert_eq!(compare(&cql_type, &pair[0], &pair[1]), Ordering::Less, "{cql_type} {pair:?}");
            }
        }
    }

    #[test]
    fn decimals_of_equal_value_are_the_same_key() {
        let encoded = |text| encode(&CqlType::Decimal, &from_text(&CqlType::Decimal, text).expect("valid"));
        assert_eq!(encoded("1.0"), encoded("1.000"));
        assert_eq!(encoded("0"), encoded("0.00"));
    }

    proptest! {
        #[test]
        fn encoded_pairs_sort_by_first_then_second(a: (Vec<u8>, i32), b: (Vec<u8>, i32), descending: bool) {
            let key = |pair: &(Vec<u8>, i32)| {
                let mut out = Vec::new();
                push_component(&mut out, &CqlType::Blob, Some(&Bytes::from(pair.0.clone())), descending);
                push_component(&mut out, &CqlType::Int, Some(&Bytes::copy_from_slice(&pair.1.to_be_bytes())), false);
                out
            };
            let first = if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            prop_assert_eq!(key(&a).cmp(&key(&b)), first.then(a.1.cmp(&b.1)));
        }

        #[test]
        fn bound_after_a_prefix_is_above_its_keys_and_below_the_next(a: Vec<u8>, b: Vec<u8>, n: i32, descending: bool) {
            let prefix = |v: &Vec<u8>| {
                let mut out = Vec::new();
                push_component(&mut out, &CqlType::Blob, Some(&Bytes::from(v.clone())), descending);
                out
            };
            let mut inside = prefix(&a);
            push_component(&mut inside, &CqlType::Int, Some(&Bytes::copy_from_slice(&n.to_be_bytes())), descending);
            let mut bound = prefix(&a);
            bound.push(AFTER_PREFIX);
            prop_assert!(inside < bound);
            if prefix(&b) > prefix(&a) {
                prop_assert!(bound < prefix(&b));
            }
        }

        #[test]
        fn varints_sort_numerically(a: i128, b: i128) {
            let bytes = |n: i128| Bytes::from(BigInt::from(n).to_signed_bytes_be());
            prop_assert_eq!(compare(&CqlType::Varint, &Some(bytes(a)), &Some(bytes(b))), a.cmp(&b));
        }
    }
}
