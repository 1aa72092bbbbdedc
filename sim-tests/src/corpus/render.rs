//! Values as text: lossless, one line each, close to CQL literals.

use super::reader::{Malformed, Reader, address};
use super::types::{CqlType, Native};
use num_bigint::BigInt;
use std::fmt::Write;

/// A value of a column: `null`, `<empty>` (no bytes where the type wants some), or a literal.
#[must_use]
pub fn value(of: &CqlType, bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".into() };
    match known_value(of.known(), bytes) {
        Ok(text) => text,
        Err(_) if bytes.is_empty() => "<empty>".into(),
        Err(e) => format!("<{e}: {}>", hex(bytes)),
    }
}

fn known_value(of: &CqlType, bytes: &[u8]) -> Result<String, Malformed> {
    let mut reader = Reader(bytes);
    let text = match of {
        CqlType::Native(native) => return native_value(*native, bytes),
        CqlType::List(element) => format!("[{}]", elements(element, &mut reader)?.join(", ")),
        CqlType::Set(element) => format!("{{{}}}", elements(element, &mut reader)?.join(", ")),
        CqlType::Map(key, of) => {
            let count = reader.count()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let key = value(key, reader.bytes()?);
                entries.push(format!("{key}: {}", value(of, reader.bytes()?)));
            }
            format!("{{{}}}", entries.join(", "))
        }
        CqlType::Tuple(elements) => {
            let parts = elements.iter().map(|of| part(of, &mut reader)).collect::<Result<Vec<_>, _>>()?;
            format!("({})", parts.join(", "))
        }
        CqlType::Udt { fields, .. } => {
            let field = |(name, of): &(String, CqlType)| Ok(format!("{name}: {}", part(of, &mut reader)?));
            format!("{{{}}}", fields.iter().map(field).collect::<Result<Vec<_>, Malformed>>()?.join(", "))
        }
        CqlType::Vector(element, dimension) => {
            let mut parts = Vec::new();
            for _ in 0..*dimension {
                let len = match element.fixed_len() {
                    Some(len) => len,
                    None => usize::try_from(reader.unsigned_vint()?).unwrap_or(usize::MAX),
                };
                parts.push(value(element, Some(reader.take(len)?)));
            }
            format!("[{}]", parts.join(", "))
        }
        CqlType::Custom { .. } => return Ok(hex(bytes)),
    };
    if reader.0.is_empty() { Ok(text) } else { Err(Malformed(format!("{} bytes too many", reader.0.len()))) }
}

/// An element of a tuple or a UDT; later ones may be absent.
fn part(of: &CqlType, reader: &mut Reader<'_>) -> Result<String, Malformed> {
    if reader.0.is_empty() { Ok("<absent>".into()) } else { Ok(value(of, reader.bytes()?)) }
}

fn elements(of: &CqlType, reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = reader.count()?;
    (0..count).map(|_| Ok(value(of, reader.bytes()?))).collect()
}

fn native_value(native: Native, bytes: &[u8]) -> Result<String, Malformed> {
    Ok(match native {
        Native::Ascii | Native::Text => match std::str::from_utf8(bytes) {
            Ok(text) => quoted(text),
            Err(e) => return Err(Malformed(e.to_string())),
        },
        Native::Blob => hex(bytes),
        Native::Boolean => match exactly::<1>(bytes)? {
            [0] => "false".into(),
            [1] => "true".into(),
            [other] => format!("<boolean {other}>"),
        },
        Native::Tinyint => i8::from_be_bytes(exactly(bytes)?).to_string(),
        Native::Smallint => i16::from_be_bytes(exactly(bytes)?).to_string(),
        Native::Int => i32::from_be_bytes(exactly(bytes)?).to_string(),
        Native::Bigint | Native::Counter => i64::from_be_bytes(exactly(bytes)?).to_string(),
        Native::Float => format!("{:?}", f32::from_be_bytes(exactly(bytes)?)),
        Native::Double => format!("{:?}", f64::from_be_bytes(exactly(bytes)?)),
        Native::Varint if bytes.is_empty() => return Err(Malformed("no bytes".into())),
        Native::Varint => BigInt::from_signed_bytes_be(bytes).to_string(),
        Native::Decimal => {
            let mut reader = Reader(bytes);
            let scale = reader.int()?;
            decimal(&BigInt::from_signed_bytes_be(reader.0), scale)
        }
        Native::Uuid | Native::Timeuuid => uuid::Uuid::from_bytes(exactly(bytes)?).to_string(),
        Native::Inet => address(bytes).map(|text| format!("'{text}'")).ok_or_else(|| Malformed("address".into()))?,
        Native::Date => {
            let days = i64::from(u32::from_be_bytes(exactly(bytes)?)) - (1 << 31);
            let (year, month, day) = civil(days);
            format!("'{year:04}-{month:02}-{day:02}'")
        }
        Native::Time => {
            let nanos = i64::from_be_bytes(exactly(bytes)?);
            let seconds = nanos.div_euclid(1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            format!("'{hours:02}:{minutes:02}:{:02}.{:09}'", seconds % 60, nanos.rem_euclid(1_000_000_000))
        }
        Native::Timestamp => timestamp(i64::from_be_bytes(exactly(bytes)?)),
        Native::Duration => {
            let mut reader = Reader(bytes);
            let (months, days, nanos) = (reader.vint()?, reader.vint()?, reader.vint()?);
            if !reader.0.is_empty() {
                return Err(Malformed("bytes too many".into()));
            }
            format!("{months}mo{days}d{nanos}ns")
        }
    })
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed(format!("{} bytes instead of {N}", bytes.len())))
}

fn timestamp(millis: i64) -> String {
    let (year, month, day) = civil(millis.div_euclid(86_400_000));
    let of_day = millis.rem_euclid(86_400_000);
    let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("'{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{:03}Z'", of_day % 1000)
}

fn decimal(unscaled: &BigInt, scale: i32) -> String {
    const PLAIN_SCALE_MAX: i32 = 40;
    if !(1..=PLAIN_SCALE_MAX).contains(&scale) {
        return if scale == 0 { unscaled.to_string() } else { format!("{unscaled}E{}", -i64::from(scale)) };
    }
    let scale = usize::try_from(scale).unwrap_or_default();
    let digits = format!("{:0>width$}", unscaled.magnitude().to_string(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

/// Text in single quotes on one line: `'` is doubled, and what cannot stand on a line is escaped as in Rust.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", on_one_line(text).replace('\'', "''"))
}

/// Text with line ends, control characters and backslashes escaped as in Rust.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' | '\\' => shown.extend(c.escape_default()),
            c if c.is_control() => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// `0x…`
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".into(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a String cannot fail.
        text
    })
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let shifted = days + 719_468; // Days since 0000-03-01: leap days come last in the year.
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The number of days since 1970-01-01 of a date in the proleptic Gregorian calendar.
#[must_use]
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_same_in_both_directions() {
        for (at, date) in [(0, (1970, 1, 1)), (19_782, (2024, 2, 29)), (-1, (1969, 12, 31)), (-719_528, (0, 1, 1))] {
            assert_eq!(civil(at), date);
            assert_eq!(days(date.0, date.1, date.2), at);
        }
    }

    #[test]
    fn values_are_shown_as_literals() {
        let native = |of| CqlType::Native(of);
        assert_eq!(value(&native(Native::Text), Some(b"it's\n")), "'it''s\\n'");
        assert_eq!(value(&native(Native::Int), Some(&[])), "<empty>");
        assert_eq!(value(&native(Native::Int), Some(&[1])), "<malformed: 1 bytes instead of 4: 0x01>");
        assert_eq!(value(&native(Native::Decimal), Some(&[0, 0, 0, 2, 0xfb])), "-0.05");
        assert_eq!(value(&native(Native::Timestamp), Some(&(-1_i64).to_be_bytes())), "'1969-12-31 23:59:59.999Z'");
        let list = CqlType::List(Box::new(native(Native::Tinyint)));
        let bytes = [0, 0, 0, 2, 0, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(value(&list, Some(&bytes)), "[7, null]");
    }
}
