//! Scalar values from and to text: string literals, numbers, casts.

use super::{CqlType, codec, time};
use bytes::{BufMut, Bytes, BytesMut};
use num_bigint::BigInt;
use std::net::{IpAddr, Ipv4Addr};
use uuid::Uuid;

/// An IPv4 address of fewer than four numbers, whose last one fills the rest of the bytes: so Java reads it.
fn short_ipv4(text: &str) -> Option<Ipv4Addr> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    if parts.len() > 3 || !parts.iter().all(|part| is_number(part)) {
        return None;
    }
    let last: u32 = last.parse().ok()?;
    let first = first.iter().map(|part| part.parse().ok()).collect::<Option<Vec<u8>>>()?;
    let room = 32 - 8 * u32::try_from(first.len()).ok()?;
    let front = first.iter().fold(0_u32, |front, byte| front << 8 | u32::from(*byte));
    let is_short = room == 32 || last < 1 << room;
    is_short.then(|| Ipv4Addr::from(front.checked_shl(room).unwrap_or(0) | last))
}

/// Reads a scalar value from the text of a literal (without quotes).
///
/// # Errors
///
/// Cassandra's `MarshalException` text for that type.
pub fn from_text(cql_type: &CqlType, text: &str) -> Result<Bytes, String> {
    use CqlType as T;
    let long = |what: &str| text.parse::<i64>().map_err(|_| format!("Unable to make {what} from '{text}'"));
    let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    if text.is_empty() && !matches!(cql_type, T::Text | T::Ascii | T::Blob) {
        return Ok(Bytes::new());
    }
    Ok(match cql_type {
        T::Text => copied(text.as_bytes()),
        T::Ascii => {
            if !text.is_ascii() {
                return Err(
                    "Invalid ASCII character in string literal: java.nio.charset.UnmappableCharacterException: Input length = 1"
                        .to_owned(),
                );
            }
            copied(text.as_bytes())
        }
        T::Blob => decode_hex(text).ok_or_else(|| format!("cannot parse '{text}' as hex bytes"))?,
        T::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => copied(&[1]),
            "false" => copied(&[0]),
            _ => return Err(format!("Unable to make boolean from '{text}'")),
        },
        T::Bigint | T::Counter => copied(&long("long")?.to_be_bytes()),
        T::Int => copied(&text.parse::<i32>().map_err(|_| format!("Unable to make int from '{text}'"))?.to_be_bytes()),
        T::Smallint => {
            copied(&text.parse::<i16>().map_err(|_| format!("Unable to make short from '{text}'"))?.to_be_bytes())
        }
        T::Tinyint => {
            copied(&text.parse::<i8>().map_err(|_| format!("Unable to make byte from '{text}'"))?.to_be_bytes())
        }
        T::Float => {
            copied(&text.parse::<f32>().map_err(|_| format!("Unable to make float from '{text}'"))?.to_be_bytes())
        }
        T::Double => {
            copied(&text.parse::<f64>().map_err(|_| format!("Unable to make double from '{text}'"))?.to_be_bytes())
        }
        T::Varint => {
            let integer = text.parse::<BigInt>().map_err(|_| format!("unable to make int from '{text}'"))?;
            Bytes::from(integer.to_signed_bytes_be())
        }
        T::Decimal => decimal_from_text(text).ok_or_else(|| format!("unable to make BigDecimal from '{text}'"))?,
        T::Uuid | T::Timeuuid => {
            let unreadable = || match cql_type {
                T::Uuid => format!("Unable to make UUID from '{text}'"),
                _ => format!("Unknown timeuuid representation: {text}"),
            };
            let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36).ok_or_else(unreadable)?;
            if *cql_type == T::Timeuuid && uuid.get_version_num() != 1 {
                return Err("TimeUUID supports only version 1 UUIDs".to_owned());
            }
            copied(uuid.as_bytes())
        }
        T::Inet => match text.parse::<IpAddr>().or_else(|error| short_ipv4(text).map(IpAddr::V4).ok_or(error)) {
            Ok(IpAddr::V4(ip)) => copied(&ip.octets()),
            // Java makes an IPv4 address of a mapped one.
            Ok(IpAddr::V6(ip)) => match ip.to_ipv4_mapped() {
                Some(v4) => copied(&v4.octets()),
                None => copied(&ip.octets()),
            },
            Err(_) => return Err(format!("Unable to make inet address from '{text}'")),
        },
        T::Timestamp => copied(
            &time::parse_timestamp(text)
                .ok_or_else(|| format!("Unable to parse a date/time from '{text}'"))?
                .to_be_bytes(),
        ),
        T::Date => copied(
            &time::parse_date(text)
                .ok_or_else(|| match is_integer(text) {
                    true => format!("Unable to make unsigned int (for date) from: '{text}'"),
                    false => format!("Unable to coerce '{text}' to a formatted date (long)"),
                })?
                .to_be_bytes(),
        ),
        T::Time => copied(
            &time::parse_time(text)
                .ok_or_else(|| match is_integer(text) {
                    true => format!("Unable to make long (for time) from: '{text}'"),
                    false => format!("(TimeType) Unable to coerce '{text}' to a formatted time (long)"),
                })?
                .to_be_bytes(),
        ),
        T::Tuple(types) => tuple_from_text(cql_type, types, text)?,
        T::Duration => {
            let (months, days, nanos) = time::parse_duration(text)?;
            codec::encode_duration(months, days, nanos)
        }
        _ => return Err(format!("Unable to make {cql_type} from '{text}'")),
    })
}

/// A tuple from its components between colons; `@` is null.
fn tuple_from_text(cql_type: &CqlType, types: &[CqlType], text: &str) -> Result<Bytes, String> {
    let parts = split_components(text);
    if parts.len() > types.len() {
        return Err(format!(
            "Invalid tuple literal: too many elements. Type {cql_type} expects {} but got {}",
            types.len(),
            parts.len()
        ));
    }
    let component = |(part, cql_type): (&String, &CqlType)| match part.as_str() {
        "@" => Ok(None),
        shown => from_text(cql_type, &shown.replace("\\:", ":").replace("\\@", "@")).map(Some),
    };
    let values = parts.iter().zip(types.iter()).map(component).collect::<Result<Vec<_>, String>>()?;
    Ok(codec::join_tuple(&values))
}

/// The components of a tuple as text: between colons without a backslash before them.
fn split_components(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        match parts.last_mut() {
            Some(last) if c != ':' || before == '\\' => last.push(c),
            _ => parts.push(String::new()),
        }
        before = c;
    }
    parts
}

/// Writes a scalar value as text, without quotes; malformed bytes as hex.
#[must_use]
pub fn to_text(cql_type: &CqlType, bytes: &Bytes) -> String {
    use CqlType as T;
    if bytes.is_empty() {
        return String::new();
    }
    let long = || integer(bytes);
    match cql_type {
        T::Text | T::Ascii => String::from_utf8_lossy(bytes).into_owned(),
        T::Boolean => (bytes[0] != 0).to_string(),
        T::Bigint | T::Counter | T::Int | T::Smallint | T::Tinyint => long().to_string(),
        T::Timestamp => time::format_timestamp(long()),
        T::Date if bytes.len() == 4 => time::format_date(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        T::Time => time::format_time(long()),
        T::Float if bytes.len() == 4 => java_float(f64::from(float(bytes) as f32), &(float(bytes) as f32).to_string()),
        T::Double if bytes.len() == 8 => java_float(float(bytes), &float(bytes).to_string()),
        T::Varint => BigInt::from_signed_bytes_be(bytes).to_string(),
        T::Decimal => decimal_to_text(bytes),
        T::Uuid | T::Timeuuid if bytes.len() == 16 => {
            Uuid::from_slice(bytes).map(|u| u.to_string()).unwrap_or_default()
        }
        T::Inet => match <[u8; 4]>::try_from(&bytes[..]) {
            Ok(v4) => IpAddr::from(v4).to_string(),
            // Java leaves no zeros out.
            Err(_) => {
                let groups =
                    bytes.chunks(2).map(|pair| format!("{:x}", pair.iter().fold(0_u16, |n, b| n << 8 | u16::from(*b))));
                groups.collect::<Vec<_>>().join(":")
            }
        },
        T::Duration => match codec::decode_duration(bytes) {
            Some((months, days, nanos)) => time::format_duration(months, days, nanos),
            None => encode_hex(bytes),
        },
        _ => encode_hex(bytes),
    }
}

/// A big-endian signed integer of up to eight bytes.
#[must_use]
pub fn integer(bytes: &[u8]) -> i64 {
    let start = if bytes.first().is_some_and(|b| b & 0x80 != 0) { -1_i64 } else { 0 };
    bytes.iter().fold(start, |n, b| (n << 8) | i64::from(*b))
}

/// A serialised float or double; zero if malformed.
#[must_use]
pub fn float(bytes: &[u8]) -> f64 {
    match bytes.len() {
        4 => f64::from(f32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        8 => f64::from_bits(integer(bytes) as u64),
        _ => 0.0,
    }
}

/// Scale and unscaled value of a serialised decimal.
#[must_use]
pub fn decimal_parts(bytes: &[u8]) -> (i32, BigInt) {
    match bytes.split_at_checked(4) {
        Some((scale, raw)) => {
            (i32::from_be_bytes([scale[0], scale[1], scale[2], scale[3]]), BigInt::from_signed_bytes_be(raw))
        }
        None => (0, BigInt::default()),
    }
}

/// Serialises a decimal.
#[must_use]
pub fn encode_decimal(scale: i32, unscaled: &BigInt) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i32(scale);
    out.put_slice(&unscaled.to_signed_bytes_be());
    out.freeze()
}

/// Whether a text is digits with or without a sign: then it is meant as a number, also where it is out of range.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Bytes from pairs of hex digits.
#[must_use]
pub fn decode_hex(text: &str) -> Option<Bytes> {
    let raw = text.as_bytes();
    let digit = |b: u8| (b as char).to_digit(16);
    if !raw.len().is_multiple_of(2) {
        return None;
    }
    raw.chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn decimal_from_text(text: &str) -> Option<Bytes> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let unscaled = format!("{whole}{fraction}").parse::<BigInt>().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    Some(encode_decimal(scale, &unscaled))
}

fn decimal_to_text(bytes: &[u8]) -> String {
    let (scale, unscaled) = decimal_parts(bytes);
    let digits = unscaled.magnitude().to_string();
    let sign = if unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    let adjusted = digits.len() as i64 - 1 - i64::from(scale);
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    // Java's BigDecimal: plain notation for non-negative scales and exponents not below -6.
    if scale > 0 && adjusted >= -6 {
        let scale = scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let point = padded.len() - scale;
        return format!("{sign}{}.{}", &padded[..point], &padded[point..]);
    }
    let mantissa = if digits.len() > 1 { format!("{}.{}", &digits[..1], &digits[1..]) } else { digits };
    format!("{sign}{mantissa}E{}{adjusted}", if adjusted > 0 { "+" } else { "" })
}

/// Java's notation: a point always, an exponent outside 10^-3 .. 10^7.
fn java_float(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() };
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return if shortest.contains('.') { shortest.to_owned() } else { format!("{shortest}.0") };
    }
    let (sign, digits) = shortest.strip_prefix('-').map_or(("", shortest), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let exponent = whole.len() as i64 - 1 - leading as i64;
    let significant = all.trim_start_matches('0').trim_end_matches('0');
    let (first, rest) = significant.split_at(1.min(significant.len()));
    format!("{sign}{first}.{}E{exponent}", if rest.is_empty() { "0" } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_addresses_are_filled_as_java_fills_them() {
        for (text, address) in
            [("0", [0, 0, 0, 0]), ("258", [0, 0, 1, 2]), ("127.1", [127, 0, 0, 1]), ("10.1.258", [10, 1, 1, 2])]
        {
            assert_eq!(from_text(&CqlType::Inet, text).expect(text), address.as_slice(), "{text}");
        }
        for text in ["x", "1.", "256.1", "1.16777216", "4294967296", "-1", "1.2.3.4.5"] {
            assert!(from_text(&CqlType::Inet, text).is_err(), "{text}");
        }
    }

    #[test]
    fn scalars_survive_text() {
        for (cql_type, text) in [
            (CqlType::Int, "-7"),
            (CqlType::Bigint, "4611686018427387904"),
            (CqlType::Decimal, "12.340"),
            (CqlType::Decimal, "1E+10"),
            (CqlType::Double, "1.5"),
            (CqlType::Double, "1.0E10"),
            (CqlType::Double, "1.25E-5"),
            (CqlType::Float, "0.25"),
            (CqlType::Varint, "1000000000000000000000000000000"),
            (CqlType::Inet, "10.1.2.3"),
            (CqlType::Inet, "0:0:0:0:0:0:0:1"),
            (CqlType::Uuid, "756716f7-2e54-4715-9f00-91dcbea6cf50"),
            (CqlType::Duration, "1y2mo3d"),
        ] {
            let bytes = from_text(&cql_type, text).expect(text);
            assert_eq!(to_text(&cql_type, &bytes), text, "{cql_type}");
        }
    }

    #[test]
    fn texts_that_are_no_value_are_refused_in_cassandras_words() {
        assert_eq!(from_text(&CqlType::Int, "x"), Err("Unable to make int from 'x'".into()));
        assert_eq!(from_text(&CqlType::Uuid, "x"), Err("Unable to make UUID from 'x'".into()));
    }
}
