//! The serialised form of values made of other values.
//!
//! Collections are a count and length-prefixed elements (native protocol v3 and later: 32-bit lengths); tuples and
//! user types are length-prefixed fields of which trailing ones may be missing; vectors of fixed-length elements are
//! their concatenation. Every decoder is bounded by the bytes it is given.

use super::{CqlType, Value};
use bytes::{BufMut, Bytes, BytesMut};

/// The elements of a serialised list or set, or the keys and values of a map in turn; `None` if malformed.
#[must_use]
pub fn split_collection(bytes: &Bytes, is_map: bool) -> Option<Vec<Value>> {
    let mut at = 0;
    let count = usize::try_from(read_i32(bytes, &mut at)?).ok()?;
    let count = if is_map { count.checked_mul(2)? } else { count };
    // Every element has a length of four bytes: more elements than that cannot be there.
    if count > bytes.len() / 4 {
        return None;
    }
    let elements = (0..count).map(|_| read_value(bytes, &mut at)).collect::<Option<Vec<_>>>()?;
    (at == bytes.len()).then_some(elements)
}

/// Serialises a list, a set, or the keys and values of a map in turn (`count` is the number of pairs then).
#[must_use]
pub fn join_collection<'a>(count: usize, elements: impl IntoIterator<Item = &'a Value>) -> Bytes {
    let elements = elements.into_iter();
    let mut out = BytesMut::with_capacity(4 + elements.size_hint().0 * 16);
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    for element in elements {
        write_value(&mut out, element.as_ref());
    }
    out.freeze()
}

/// The fields of a serialised tuple or user type, missing ones as null; `None` if malformed.
#[must_use]
pub fn split_tuple(bytes: &Bytes, fields: usize) -> Option<Vec<Value>> {
    let mut at = 0;
    let mut parts = Vec::with_capacity(fields);
    while parts.len() < fields {
        if at == bytes.len() {
            parts.push(None);
        } else {
            parts.push(read_value(bytes, &mut at)?);
        }
    }
    (at == bytes.len()).then_some(parts)
}

/// Serialises a tuple or user type.
#[must_use]
pub fn join_tuple<'a>(fields: impl IntoIterator<Item = &'a Value>) -> Bytes {
    let mut out = BytesMut::new();
    for field in fields {
        write_value(&mut out, field.as_ref());
    }
    out.freeze()
}

/// The elements of a serialised vector; `None` if malformed.
#[must_use]
pub fn split_vector(element: &CqlType, dimensions: u16, bytes: &Bytes) -> Option<Vec<Bytes>> {
    let dimensions = usize::from(dimensions);
    if let Some(length) = element.fixed_length() {
        return (bytes.len() == length * dimensions)
            .then(|| (0..dimensions).map(|i| bytes.slice(i * length..(i + 1) * length)).collect());
    }
    let mut at = 0;
    let mut elements = Vec::new();
    for _ in 0..dimensions {
        let length = usize::try_from(read_unsigned_vint(bytes, &mut at)?).ok()?;
        let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
        elements.push(bytes.slice(at..end));
        at = end;
    }
    (at == bytes.len()).then_some(elements)
}

/// Serialises a vector.
#[must_use]
pub fn join_vector(element: &CqlType, elements: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    for bytes in elements {
        if element.fixed_length().is_none() {
            write_unsigned_vint(&mut out, bytes.len() as u64);
        }
        out.put_slice(bytes);
    }
    out.freeze()
}

/// The components of a serialised partition key with `columns` columns; `None` if malformed.
#[must_use]
pub fn split_partition_key(key: &Bytes, columns: usize) -> Option<Vec<Bytes>> {
    if columns == 1 {
        return Some(vec![key.clone()]);
    }
    let mut at = 0;
    let mut parts = Vec::with_capacity(columns);
    for _ in 0..columns {
        let length = usize::from(u16::from_be_bytes([*key.get(at)?, *key.get(at + 1)?]));
        let end = at + 2 + length;
        if key.get(end) != Some(&0) {
            return None;
        }
        parts.push(key.slice(at + 2..end));
        at = end + 1;
    }
    (at == key.len()).then_some(parts)
}

/// Serialises a partition key; `None` if a component of several is longer than 65535 bytes.
#[must_use]
pub fn join_partition_key(parts: &[Bytes]) -> Option<Bytes> {
    if let [only] = parts {
        return Some(only.clone());
    }
    let mut out = BytesMut::new();
    for part in parts {
        out.put_u16(u16::try_from(part.len()).ok()?);
        out.put_slice(part);
        out.put_u8(0);
    }
    Some(out.freeze())
}

/// Writes an integer in Cassandra's variable-length form: the number of leading ones is the number of extra bytes.
pub fn write_unsigned_vint(out: &mut BytesMut, value: u64) {
    let bits = 64 - value.leading_zeros().min(63);
    let extra = ((bits - 1) / 7).min(8) as usize;
    if extra == 8 {
        out.put_u8(0xff);
        out.put_u64(value);
        return;
    }
    let bytes = value.to_be_bytes();
    let mask = !(0xff_u16 >> extra) as u8;
    out.put_u8(bytes[7 - extra] | mask);
    out.put_slice(&bytes[8 - extra..]);
}

/// Reads what [`write_unsigned_vint`] wrote.
#[must_use]
pub fn read_unsigned_vint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    let extra = first.leading_ones() as usize;
    let rest = bytes.get(*at + 1..*at + 1 + extra)?;
    let mut value = if extra >= 8 { 0 } else { u64::from(first & (0xff >> extra)) };
    for byte in rest {
        value = (value << 8) | u64::from(*byte);
    }
    *at += 1 + extra;
    Some(value)
}

/// Serialises a duration.
#[must_use]
pub fn encode_duration(months: i32, days: i32, nanos: i64) -> Bytes {
    let mut out = BytesMut::new();
    for part in [i64::from(months), i64::from(days), nanos] {
        write_unsigned_vint(&mut out, ((part << 1) ^ (part >> 63)) as u64);
    }
    out.freeze()
}

/// The months, days and nanoseconds of a serialised duration; `None` if malformed.
#[must_use]
pub fn decode_duration(bytes: &[u8]) -> Option<(i32, i32, i64)> {
    let mut at = 0;
    let mut parts = [0_i64; 3];
    for part in &mut parts {
        let raw = read_unsigned_vint(bytes, &mut at)?;
        *part = (raw >> 1) as i64 ^ -((raw & 1) as i64);
    }
    (at == bytes.len()).then_some(())?;
    Some((i32::try_from(parts[0]).ok()?, i32::try_from(parts[1]).ok()?, parts[2]))
}

fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let raw = bytes.get(*at..*at + 4)?;
    *at += 4;
    Some(i32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]))
}

fn read_value(bytes: &Bytes, at: &mut usize) -> Option<Value> {
    let length = read_i32(bytes, at)?;
    let Ok(length) = usize::try_from(length) else { return Some(None) };
    let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
    let value = bytes.slice(*at..end);
    *at = end;
    Some(Some(value))
}

fn write_value(out: &mut BytesMut, value: Option<&Bytes>) {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            out.put_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_their_serialised_form() {
        for parts in [(14, 3, 0), (-1, -2, -3), (i32::MAX, i32::MIN, i64::MAX), (0, 0, 0)] {
            let bytes = encode_duration(parts.0, parts.1, parts.2);
            assert_eq!(decode_duration(&bytes), Some(parts));
        }
        // 1 month, 2 days, 3 nanoseconds are zig-zag numbers 2, 4, 6.
        assert_eq!(&encode_duration(1, 2, 3)[..], [2, 4, 6]);
    }

    #[test]
    fn collections_announcing_more_than_they_hold_are_malformed() {
        assert_eq!(split_collection(&Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]), false), None);
        assert_eq!(split_collection(&Bytes::from_static(&[0, 0, 0, 1, 0, 0, 0, 9, 1]), false), None);
        assert_eq!(split_collection(&Bytes::from_static(&[0, 0, 0, 0]), true), Some(vec![]));
    }

    #[test]
    fn composite_partition_keys_split_into_what_was_joined() {
        let parts = vec![Bytes::from_static(b"a\0b"), Bytes::new(), Bytes::from_static(&[0, 0])];
        let key = join_partition_key(&parts).expect("short parts");
        assert_eq!(split_partition_key(&key, 3), Some(parts));
        assert_eq!(split_partition_key(&key, 2), None);
    }
}
