//! Whether bytes are a value of a type, with Cassandra's words when they are not.

use super::{CqlType, Value, codec};
use bytes::Bytes;

/// Checks that `bytes` are a value of `cql_type`.
///
/// # Errors
///
/// What Cassandra's serializers say about malformed bytes.
pub fn validate(cql_type: &CqlType, bytes: &Bytes) -> Result<(), String> {
    use CqlType as T;
    let n = bytes.len();
    let one_of = |sizes: &[usize], message: String| if sizes.contains(&n) { Ok(()) } else { Err(message) };
    let sized = |size: usize, name: &str| one_of(&[0, size], format!("Expected {size} or 0 byte {name} ({n})"));
    match cql_type {
        T::Ascii => match bytes.iter().find(|b| !b.is_ascii()) {
            None => Ok(()),
            Some(bad) => Err(format!("Invalid byte for ascii: {}", *bad as i8)),
        },
        T::Text => std::str::from_utf8(bytes).map(|_| ()).map_err(|_| "String didn't validate.".to_owned()),
        T::Blob | T::Varint => Ok(()),
        T::Bigint | T::Counter => sized(8, "long"),
        T::Timestamp => sized(8, "long for date"),
        T::Boolean => one_of(&[0, 1], format!("Expected 1 or 0 byte value ({n})")),
        T::Date => one_of(&[4], format!("Expected 4 byte long for date ({n})")),
        T::Time => one_of(&[8], format!("Expected 8 byte long for time ({n})")),
        T::Decimal if matches!(n, 1..4) => Err(format!("Expected 0 or at least 4 bytes ({n})")),
        T::Decimal => Ok(()),
        T::Double => one_of(&[0, 8], format!("Expected 8 or 0 byte value for a double ({n})")),
        T::Float => one_of(&[0, 4], format!("Expected 4 or 0 byte value for a float ({n})")),
        T::Int => sized(4, "int"),
        T::Smallint => one_of(&[2], format!("Expected 2 bytes for a smallint ({n})")),
        T::Tinyint => one_of(&[1], format!("Expected 1 byte for a tinyint ({n})")),
        T::Inet => {
            one_of(&[0, 4, 16], format!("Expected 4 or 16 byte inetaddress; got {}", super::text::encode_hex(bytes)))
        }
        T::Uuid => one_of(&[0, 16], format!("UUID should be 16 or 0 bytes ({n})")),
        T::Timeuuid if n == 16 && bytes[6] >> 4 != 1 => {
            Err(format!("Invalid version for TimeUUID type: 0x{:x}", bytes[6] & 0x0f))
        }
        T::Timeuuid | T::LegacyTimeuuid => one_of(&[0, 16], format!("UUID should be 16 or 0 bytes ({n})")),
        T::Duration => {
            if n < 3 {
                return Err(format!("Expected at least 3 bytes for a duration ({n})"));
            }
            let (months, days, nanos) = codec::decode_duration(bytes).ok_or_else(|| "Invalid duration".to_owned())?;
            let signs = [i64::from(months), i64::from(days), nanos].map(i64::signum);
            if signs.contains(&1) && signs.contains(&-1) {
                return Err(format!(
                    "The duration months, days and nanoseconds must be all of the same sign ({months}, {days}, {nanos})"
                ));
            }
            Ok(())
        }
        T::List { element, .. } => {
            let parts = codec::split_collection(bytes, false).ok_or("Not enough bytes to read a list")?;
            // Null is let through here: it may be in the values of IN.
            parts.iter().flatten().try_for_each(|part| validate(element, part))
        }
        T::Set { element, .. } => {
            let parts = codec::split_collection(bytes, false).ok_or("Not enough bytes to read a set")?;
            not_null(&parts)?;
            elements(&parts, |_| element)
        }
        T::Map { key, value, .. } => {
            let parts = codec::split_collection(bytes, true).ok_or("Not enough bytes to read a map")?;
            not_null(&parts)?;
            elements(&parts, |i| if i.is_multiple_of(2) { key } else { value })
        }
        T::Tuple(types) => fields(bytes, types.len(), |i| (&types[i], "component".to_owned()), "tuple"),
        T::Udt { definition, .. } => {
            let field = |i: usize| (&definition.fields[i].1, format!("field {}", definition.fields[i].0));
            fields(bytes, definition.fields.len(), field, "UDT")
        }
        T::Vector { element, dimensions } => {
            if bytes.is_empty() {
                return Err("Invalid empty vector value".to_owned());
            }
            let wanted = element.fixed_length().map(|length| length * usize::from(*dimensions));
            let parts = codec::split_vector(element, *dimensions, bytes).ok_or_else(|| match wanted {
                Some(wanted) if n > wanted => {
                    format!("Unexpected {} extraneous bytes after {cql_type} value", n - wanted)
                }
                _ => format!("Not enough bytes to read a {cql_type}"),
            })?;
            parts.iter().try_for_each(|part| validate(element, part))
        }
    }
}

fn elements<'a>(parts: &[Value], cql_type: impl Fn(usize) -> &'a CqlType) -> Result<(), String> {
    parts.iter().enumerate().try_for_each(|(i, part)| match part {
        Some(bytes) => validate(cql_type(i), bytes),
        None => Err("null is not supported inside collections".to_owned()),
    })
}

/// Elements of sets and maps are read before they are checked.
fn not_null(parts: &[Value]) -> Result<(), String> {
    if parts.contains(&None) { Err("Null value read when not allowed".to_owned()) } else { Ok(()) }
}

/// Checks fields, of which the type and the name for messages are known.
fn fields<'a>(
    bytes: &Bytes,
    count: usize,
    field: impl Fn(usize) -> (&'a CqlType, String),
    what: &str,
) -> Result<(), String> {
    let parts = codec::split_tuple(bytes, count).ok_or_else(|| why_no_fields(bytes, count, |i| field(i).1, what))?;
    parts.iter().enumerate().try_for_each(|(i, part)| part.as_ref().map_or(Ok(()), |b| validate(field(i).0, b)))
}

/// What is wrong with bytes that cannot be split into fields.
fn why_no_fields(bytes: &Bytes, count: usize, name: impl Fn(usize) -> String, what: &str) -> String {
    let mut rest = &bytes[..];
    for number in 0..count {
        if rest.is_empty() {
            break;
        }
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return format!("Not enough bytes to read size of {number}th {}", name(number));
        };
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let Some((_, after)) = after.split_at_checked(length) else {
            return format!("Not enough bytes to read {number}th {}", name(number));
        };
        rest = after;
    }
    format!("Invalid remaining data after end of {what} value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_as_cassandra_does() {
        for (cql_type, bytes, error) in [
            (CqlType::Int, &[0_u8, 0, 1][..], Some("Expected 4 or 0 byte int (3)")),
            (CqlType::Int, &[], None),
            (CqlType::Bigint, &[0; 8], None),
            (CqlType::Bigint, &[0; 4], Some("Expected 8 or 0 byte long (4)")),
            (CqlType::Text, &[0xff], Some("String didn't validate.")),
            (CqlType::Smallint, &[], Some("Expected 2 bytes for a smallint (0)")),
        ] {
            let seen = validate(&cql_type, &Bytes::copy_from_slice(bytes)).err();
            assert_eq!(seen.as_deref(), error, "{cql_type}");
        }
    }
}
