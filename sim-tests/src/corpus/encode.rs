//! Bind values of scripts as bytes of a type.

use super::literal::Literal;
use super::render::days;
use super::types::{CqlType, Native};
use num_bigint::BigInt;

/// A value of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// Nothing is said about the variable.
    Unset,
    /// Null.
    Null,
    /// The value's bytes.
    Bytes(Vec<u8>),
}

/// Encodes a written value for a variable of this type.
///
/// # Errors
///
/// The value cannot be of the type: scripts that want wrong bytes write them as `0x…`.
pub fn encode(literal: &Literal, of: &CqlType) -> Result<Encoded, String> {
    Ok(match literal {
        Literal::Null => Encoded::Null,
        Literal::Unset => Encoded::Unset,
        other => Encoded::Bytes(bytes(other, of.known())?),
    })
}

fn bytes(literal: &Literal, of: &CqlType) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match (literal, of) {
        (Literal::Bytes(bytes), _) => out.extend(bytes),
        (_, CqlType::Native(native)) => return native_bytes(literal, *native),
        (Literal::List(values), CqlType::List(element)) | (Literal::Set(values), CqlType::Set(element)) => {
            put_len(&mut out, values.len());
            for value in values {
                put(&mut out, value, element)?;
            }
        }
        (Literal::Set(values), CqlType::Map(..)) if values.is_empty() => put_len(&mut out, 0),
        (Literal::Map(entries), CqlType::Map(key_type, value_type)) => {
            put_len(&mut out, entries.len());
            for (key, value) in entries {
                put(&mut out, key, key_type)?;
                put(&mut out, value, value_type)?;
            }
        }
        (Literal::Tuple(values), CqlType::Tuple(types)) if values.len() <= types.len() => {
            for (value, of) in values.iter().zip(types) {
                put(&mut out, value, of)?;
            }
        }
        (Literal::Set(values), CqlType::Udt { .. }) if values.is_empty() => {}
        (Literal::Map(entries), CqlType::Udt { fields, .. }) => {
            let last = fields.iter().rposition(|(name, _)| field(entries, name).is_some());
            for (name, of) in &fields[..last.map_or(0, |last| last + 1)] {
                put(&mut out, field(entries, name).unwrap_or(&Literal::Null), of)?;
            }
        }
        (Literal::List(values), CqlType::Vector(element, dimension)) if values.len() == *dimension => {
            for value in values {
                let bytes = bytes(value, element.known())?;
                if element.fixed_len().is_none() {
                    put_unsigned_vint(&mut out, bytes.len() as u64);
                }
                out.extend(bytes);
            }
        }
        _ => return Err(format!("{literal:?} is no {of}")),
    }
    Ok(out)
}

fn field<'a>(entries: &'a [(Literal, Literal)], name: &str) -> Option<&'a Literal> {
    entries.iter().find(|(key, _)| matches!(key, Literal::Word(word) if word == name)).map(|(_, value)| value)
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend(i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
}

fn put(out: &mut Vec<u8>, literal: &Literal, of: &CqlType) -> Result<(), String> {
    match encode(literal, of)? {
        Encoded::Null | Encoded::Unset => out.extend((-1_i32).to_be_bytes()),
        Encoded::Bytes(bytes) => {
            put_len(out, bytes.len());
            out.extend(bytes);
        }
    }
    Ok(())
}

/// Writes an `[unsigned vint]`.
pub fn put_unsigned_vint(out: &mut Vec<u8>, value: u64) {
    let bits = 64 - value.leading_zeros().min(63);
    let more = ((bits - 1) / 7).min(8);
    let bytes = value.to_be_bytes();
    if more == 8 {
        out.push(0xff);
        out.extend(bytes);
        return;
    }
    let first = 7 - more as usize;
    let marker = !(0xff_u8.checked_shr(more).unwrap_or(0));
    out.push(bytes[first] | marker);
    out.extend(&bytes[first + 1..]);
}

fn native_bytes(literal: &Literal, native: Native) -> Result<Vec<u8>, String> {
    let wrong = || format!("{literal:?} is no {}", CqlType::Native(native));
    if let (Literal::Text(text), Native::Ascii | Native::Text) = (literal, native) {
        return Ok(text.as_bytes().to_vec());
    }
    let (Literal::Text(text) | Literal::Word(text)) = literal else { return Err(wrong()) };
    let is_text = matches!(literal, Literal::Text(_));
    let bytes = match native {
        Native::Inet => return inet(text).ok_or_else(wrong),
        Native::Date if is_text => {
            let days = date(text).ok_or_else(wrong)? + (1 << 31);
            u32::try_from(days).map_err(|_| wrong())?.to_be_bytes().to_vec()
        }
        Native::Time if is_text => time(text).ok_or_else(wrong)?.to_be_bytes().to_vec(),
        Native::Timestamp if is_text => timestamp(text).ok_or_else(wrong)?.to_be_bytes().to_vec(),
        _ if is_text => return Err(wrong()),
        Native::Boolean => vec![u8::from(text.parse::<bool>().map_err(|_| wrong())?)],
        Native::Tinyint => number::<i8>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Smallint => number::<i16>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Int => number::<i32>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Date => number::<u32>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Bigint | Native::Counter | Native::Time | Native::Timestamp => {
            number::<i64>(text, wrong)?.to_be_bytes().to_vec()
        }
        Native::Float => number::<f32>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Double => number::<f64>(text, wrong)?.to_be_bytes().to_vec(),
        Native::Varint => number::<BigInt>(text, wrong)?.to_signed_bytes_be(),
        Native::Decimal => decimal(text).ok_or_else(wrong)?,
        Native::Uuid | Native::Timeuuid => number::<uuid::Uuid>(text, wrong)?.as_bytes().to_vec(),
        Native::Duration => duration(text).ok_or_else(wrong)?,
        Native::Ascii | Native::Text | Native::Blob => return Err(wrong()),
    };
    Ok(bytes)
}

fn number<T: std::str::FromStr>(text: &str, wrong: impl Fn() -> String) -> Result<T, String> {
    text.parse().map_err(|_| wrong())
}

fn inet(text: &str) -> Option<Vec<u8>> {
    Some(match text.parse().ok()? {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    })
}

/// Unscaled digits with a point and an exponent, as Java's `BigDecimal` reads them.
fn decimal(text: &str) -> Option<Vec<u8>> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unscaled: BigInt = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let mut bytes = scale.to_be_bytes().to_vec();
    bytes.extend(unscaled.to_signed_bytes_be());
    Some(bytes)
}

/// `2024-02-29` as days since 1970-01-01.
fn date(text: &str) -> Option<i64> {
    let (rest, day) = text.rsplit_once('-')?;
    let (year, month) = rest.rsplit_once('-')?;
    Some(days(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?))
}

/// `12:34:56.789` as nanoseconds.
fn time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (seconds, fraction) = match parts.next()? {
        with if with.contains('.') => with.split_once('.')?,
        without => (without, ""),
    };
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(((hours * 60 + minutes) * 60 + seconds.parse::<i64>().ok()?) * 1_000_000_000 + nanos)
}

/// `2024-02-29 12:34:56.789Z`, always in UTC, as milliseconds.
fn timestamp(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (day, of_day) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    Some(date(day)? * 86_400_000 + time(of_day)? / 1_000_000)
}

/// Months, days and nanoseconds, as the rest of the corpus shows them: `1mo2d3ns`.
fn duration(text: &str) -> Option<Vec<u8>> {
    let (months, rest) = text.split_once("mo")?;
    let (days, rest) = rest.split_once('d')?;
    let nanos = rest.strip_suffix("ns")?;
    let mut out = Vec::new();
    for part in [months, days, nanos] {
        let part: i64 = part.parse().ok()?;
        put_unsigned_vint(&mut out, (part << 1 ^ part >> 63).cast_unsigned());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::literal::{Values, values};
    use super::super::render;
    use super::*;

    fn again(text: &str, of: &CqlType) -> String {
        let Ok(Values::Positional(values)) = values(text) else { panic!("{text}") };
        match encode(&values[0], of).unwrap() {
            Encoded::Bytes(bytes) => render::value(of, Some(&bytes)),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_is_encoded_is_shown_as_it_was_written() {
        for (native, text) in [
            (Native::Int, "-7"),
            (Native::Varint, "123456789012345678901234567890"),
            (Native::Decimal, "-0.05"),
            (Native::Decimal, "1E5"),
            (Native::Double, "1.5"),
            (Native::Duration, "1mo-2d3ns"),
            (Native::Duration, "2147483647mo0d-9223372036854775808ns"),
            (Native::Date, "'2024-02-29'"),
            (Native::Time, "'01:02:03.000000004'"),
            (Native::Timestamp, "'1969-12-31 23:59:59.999Z'"),
            (Native::Inet, "'::1'"),
            (Native::Uuid, "123e4567-e89b-12d3-a456-426614174000"),
            (Native::Text, "'it''s'"),
            (Native::Blob, "0xcafe"),
        ] {
            assert_eq!(again(text, &CqlType::Native(native)), text);
        }
        let int = Box::new(CqlType::Native(Native::Int));
        assert_eq!(again("[1, 2, 3]", &CqlType::Vector(int.clone(), 3)), "[1, 2, 3]");
        let text = Box::new(CqlType::Native(Native::Text));
        assert_eq!(again("['a', '']", &CqlType::Vector(text, 2)), "['a', '']");
        assert_eq!(again("{}", &CqlType::Map(int.clone(), int)), "{}");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let int = CqlType::Native(Native::Int);
        for literal in [Literal::Text("1".into()), Literal::Word("x".into()), Literal::List(vec![])] {
            assert!(encode(&literal, &int).is_err(), "{literal:?}");
        }
    }
}
