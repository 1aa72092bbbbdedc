//! Times and durations: conversions among them, sums, and rounding down.

use crate::cql::row::time_uuid;
use crate::types::{CqlType, codec, text, time};
use bytes::Bytes;
use chrono::{DateTime, Datelike, Months, Utc};

const MILLIS_PER_DAY: i64 = 86_400_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Months, days and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration {
    months: i32,
    days: i32,
    nanos: i64,
}

impl Duration {
    /// Reads a serialised duration; nothing if malformed.
    #[must_use]
    pub fn read(bytes: &Bytes) -> Self {
        let (months, days, nanos) = codec::decode_duration(bytes).unwrap_or_default();
        Self { months, days, nanos }
    }

    fn millis(self) -> i64 {
        i64::from(self.days).wrapping_mul(MILLIS_PER_DAY).wrapping_add(self.nanos / NANOS_PER_MILLI)
    }

    const fn is_negative(self) -> bool {
        self.nanos < 0 || self.days < 0 || self.months < 0
    }

    const fn negate(self) -> Self {
        Self { months: self.months.wrapping_neg(), days: self.days.wrapping_neg(), nanos: self.nanos.wrapping_neg() }
    }

    fn shown(self) -> String {
        time::format_duration(self.months, self.days, self.nanos)
    }
}

/// Milliseconds since the epoch of a timeuuid, date or timestamp.
#[must_use]
pub fn millis_of(cql_type: &CqlType, bytes: &Bytes) -> i64 {
    match cql_type {
        CqlType::Date => (i64::from(text::integer(bytes) as u32) - time::DATE_EPOCH) * MILLIS_PER_DAY,
        CqlType::Timeuuid if bytes.len() == 16 => {
            let ticks = (u64::from(bytes[6] & 0x0f) << 56)
                | (u64::from(bytes[7]) << 48)
                | (u64::from(bytes[4]) << 40)
                | (u64::from(bytes[5]) << 32)
                | u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            (ticks as i64 - 0x01b2_1dd2_1381_4000).div_euclid(10_000)
        }
        _ => text::integer(bytes),
    }
}

/// The `date` of a time.
#[must_use]
pub fn day_of(millis: i64) -> u32 {
    (millis.div_euclid(MILLIS_PER_DAY) + time::DATE_EPOCH) as u32
}

/// A time as a value of `timestamp` or `date`.
#[must_use]
pub fn of_millis(cql_type: &CqlType, millis: i64) -> Bytes {
    match cql_type {
        CqlType::Date => Bytes::copy_from_slice(&day_of(millis).to_be_bytes()),
        _ => Bytes::copy_from_slice(&millis.to_be_bytes()),
    }
}

/// The least or greatest timeuuid of a millisecond; their bytes compare as signed.
#[must_use]
pub fn timeuuid_bound(millis: i64, greatest: bool) -> Bytes {
    let micros = millis.saturating_mul(1000);
    let mut bytes = time_uuid(if greatest { micros.saturating_add(999) } else { micros }, 0, 0).to_vec();
    if greatest {
        // The last of the ten ticks of the last microsecond.
        let ticks = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).wrapping_add(9);
        bytes[..4].copy_from_slice(&ticks.to_be_bytes());
    }
    bytes[8..].fill(if greatest { 0x7f } else { 0x80 });
    Bytes::from(bytes)
}

/// The end of the Julian calendar, which Java goes by for earlier times.
const GREGORIAN_MILLIS: i64 = -12_219_292_800_000;

const OUTSIDE: &str = "months added to a time before 1582 or far away";

/// Adds months as a calendar does: a day that a month does not have becomes its last.
fn add_months(millis: i64, months: i64) -> Option<i64> {
    if millis < GREGORIAN_MILLIS {
        return None;
    }
    let at = DateTime::<Utc>::from_timestamp_millis(millis)?;
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    let moved = if months < 0 { at.checked_sub_months(count)? } else { at.checked_add_months(count)? };
    Some(moved.timestamp_millis()).filter(|moved| *moved >= GREGORIAN_MILLIS)
}

/// What becomes of a calculation with times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Cassandra says so.
    Told(String),
    /// Not modelled.
    NotModelled(&'static str),
}

/// Adds a duration to a `timestamp` or `date`, or subtracts it.
///
/// # Errors
///
/// A duration that is finer than the type.
pub fn add(cql_type: &CqlType, bytes: &Bytes, duration: Duration, subtract: bool) -> Result<Bytes, Refusal> {
    let (fits, precision) = match cql_type {
        CqlType::Date => (duration.nanos == 0, "day"),
        _ => (duration.nanos % NANOS_PER_MILLI == 0, "millisecond"),
    };
    if !fits {
        let shown = duration.shown();
        return Err(Refusal::Told(format!("The duration must have a {precision} precision. Was: {shown}")));
    }
    let duration = if subtract { duration.negate() } else { duration };
    let mut millis = millis_of(cql_type, bytes);
    if duration.months != 0 {
        millis = add_months(millis, i64::from(duration.months)).ok_or(Refusal::NotModelled(OUTSIDE))?;
    }
    Ok(of_millis(cql_type, millis.wrapping_add(duration.millis())))
}

/// Rounds a time down to a multiple of a duration since a start.
///
/// # Errors
///
/// Negative or too fine durations, a start that is later.
pub fn floor(
    cql_type: &CqlType,
    result: &CqlType,
    bytes: &Bytes,
    duration: Duration,
    start: i64,
) -> Result<Bytes, Refusal> {
    if *cql_type == CqlType::Time {
        return floor_time(text::integer(bytes), duration);
    }
    let shown = duration.shown();
    let told = |told: String| Err(Refusal::Told(told));
    if *result == CqlType::Date && duration.nanos != 0 {
        return told(format!(
            "The floor on date values cannot be computed for the {shown} duration as precision is below 1 day"
        ));
    }
    if duration.nanos % NANOS_PER_MILLI != 0 {
        return told(format!(
            "The floor cannot be computed for the {shown} duration as precision is below 1 millisecond"
        ));
    }
    let millis = millis_of(cql_type, bytes);
    if start > millis {
        return told("The floor function starting time is greater than the provided time".to_owned());
    }
    if duration.is_negative() {
        return told("Negative durations are not supported by the floor function".to_owned());
    }
    let floored = if duration.months == 0 {
        let step = duration.millis();
        if step == 0 { millis } else { millis - (millis - start) % step }
    } else {
        floor_months(millis, duration, start).ok_or(Refusal::NotModelled(OUTSIDE))?
    };
    Ok(of_millis(result, floored))
}

fn floor_time(nanos: i64, duration: Duration) -> Result<Bytes, Refusal> {
    const NANOS_PER_DAY: i64 = 86_400_000_000_000;
    if duration.is_negative() {
        return Err(Refusal::Told("Negative durations are not supported by the floor function".to_owned()));
    }
    if duration.months != 0 || duration.days != 0 || duration.nanos > NANOS_PER_DAY {
        return Err(Refusal::Told(
            "For time values, the floor can only be computed for durations smaller that a day".to_owned(),
        ));
    }
    let floored = if duration.nanos == 0 { nanos } else { nanos - nanos % duration.nanos };
    Ok(Bytes::copy_from_slice(&floored.to_be_bytes()))
}

fn floor_months(millis: i64, duration: Duration, start: i64) -> Option<i64> {
    let month_of = |millis: i64| {
        let at = DateTime::<Utc>::from_timestamp_millis(millis).filter(|_| millis >= GREGORIAN_MILLIS)?;
        Some(i64::from(at.year()) * 12 + i64::from(at.month0()))
    };
    let step = i64::from(duration.months);
    let mut steps = (month_of(millis)? - month_of(start)?) / step;
    let mut months_floor = add_months(start, steps * step)?;
    if duration.days == 0 && duration.nanos == 0 {
        return Some(months_floor);
    }
    let mut floored = months_floor + steps * duration.millis();
    while floored > millis {
        months_floor = add_months(months_floor, -step)?;
        steps -= 1;
        floored = months_floor + steps * duration.millis();
    }
    Some(floored.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(shown: &str) -> Bytes {
        text::from_text(&CqlType::Timestamp, shown).expect("a timestamp")
    }

    fn duration(shown: &str) -> Duration {
        Duration::read(&text::from_text(&CqlType::Duration, shown).expect("a duration"))
    }

    #[test]
    fn a_month_added_to_its_last_day_gives_the_last_day_of_the_next() {
        let sum = add(&CqlType::Timestamp, &timestamp("2024-01-31T12:00:00Z"), duration("1mo"), false);
        assert_eq!(sum, Ok(timestamp("2024-02-29T12:00:00Z")));
        let refused = add(&CqlType::Date, &Bytes::from_static(&[0x80, 0, 0, 0]), duration("1h"), false);
        assert_eq!(refused, Err(Refusal::Told("The duration must have a day precision. Was: 1h".to_owned())));
    }

    #[test]
    fn times_are_rounded_down_to_steps_since_the_start() {
        let at = timestamp("2024-02-29T12:34:56.789Z");
        let floored =
            |shown: &str| floor(&CqlType::Timestamp, &CqlType::Timestamp, &at, duration(shown), 0).expect("a floor");
        assert_eq!(floored("1h"), timestamp("2024-02-29T12:00:00Z"));
        assert_eq!(floored("1mo"), timestamp("2024-02-01T00:00:00Z"));
        assert_eq!(floored("0h"), at);
        assert!(floor(&CqlType::Timestamp, &CqlType::Timestamp, &at, duration("-1h"), 0).is_err());
    }
}
