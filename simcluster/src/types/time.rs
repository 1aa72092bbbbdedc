//! Dates, times, timestamps and durations as text, the way CQL literals and JSON write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

/// The day number of 1970-01-01 in the `date` type, which is unsigned.
pub const DATE_EPOCH: i64 = 1 << 31;

const MILLIS_PER_DAY: i64 = 86_400_000;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Milliseconds since the epoch of a timestamp literal: a number, or a date with optional time and zone (UTC if none).
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    let split = if text.len() > 10 { text.char_indices().nth(10).map_or(text.len(), |(i, _)| i) } else { text.len() };
    let date = parse_day(&text[..split])?;
    let rest = text[split..].trim_start_matches(['T', ' ']);
    // The zone begins at Z, at a letter, or at the sign after the time.
    let zone_at = rest.find(|c: char| c.is_ascii_alphabetic() || c == '+' || c == '-').unwrap_or(rest.len());
    let (clock, zone) = (rest[..zone_at].trim(), rest[zone_at..].trim());
    let millis = match clock {
        "" => 0,
        clock => {
            parse_time(&if clock.matches(':').count() == 1 { format!("{clock}:00") } else { clock.to_owned() })?
                / 1_000_000
        }
    };
    Some(date * MILLIS_PER_DAY + millis - parse_zone(zone)? * 60_000)
}

/// The `date` number (days, 1970-01-01 is 2^31) of a literal: `yyyy-mm-dd` or the number itself.
#[must_use]
pub fn parse_date(text: &str) -> Option<u32> {
    if let Ok(raw) = text.parse::<i64>() {
        return u32::try_from(raw).ok();
    }
    u32::try_from(parse_day(text)? + DATE_EPOCH).ok()
}

/// Nanoseconds since midnight of a literal: `hh:mm:ss[.fffffffff]` or the number itself.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(nanos) = text.parse::<i64>() {
        return (0..NANOS_PER_DAY).contains(&nanos).then_some(nanos);
    }
    let mut parts = text.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |text: &str, limit: i64| text.parse::<i64>().ok().filter(|n| (0..limit).contains(n));
    let seconds = number(hour, 24)? * 3600 + number(minute, 60)? * 60 + number(second, 60)?;
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Months, days and nanoseconds of a duration literal: `1y2mo3d4h`, ISO `P1Y2M3DT4H`, weeks `P3W`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<(i32, i32, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let iso = text.starts_with(['P', 'p']);
    let mut rest = text.trim_start_matches(['P', 'p']);
    if rest.is_empty() {
        return None;
    }
    let (mut months, mut days, mut nanos) = (0_i64, 0_i64, 0_i64);
    let mut in_time = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']).filter(|_| iso) {
            in_time = true;
            rest = after;
            continue;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount = rest[..digits].parse::<i64>().ok()?;
        rest = &rest[digits..];
        let letters = if iso { 1 } else { rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()) };
        let unit = rest.get(..letters)?.to_ascii_lowercase();
        rest = &rest[letters..];
        let (target, scale) = match (unit.as_str(), iso, in_time) {
            ("y", _, false) => (&mut months, 12),
            ("mo", false, _) | ("m", true, false) => (&mut months, 1),
            ("w", _, false) => (&mut days, 7),
            ("d", _, false) => (&mut days, 1),
            ("h", _, _) => (&mut nanos, 3_600_000_000_000),
            ("m", _, _) => (&mut nanos, 60_000_000_000),
            ("s", _, _) => (&mut nanos, 1_000_000_000),
            ("ms", false, _) => (&mut nanos, 1_000_000),
            ("us" | "µs", false, _) => (&mut nanos, 1_000),
            ("ns", false, _) => (&mut nanos, 1),
            _ => return None,
        };
        *target = target.checked_add(amount.checked_mul(scale)?)?;
    }
    let sign = if negative { -1 } else { 1 };
    Some((i32::try_from(months * sign).ok()?, i32::try_from(days * sign).ok()?, nanos * sign))
}

/// A timestamp as JSON and casts write it: `2014-11-05 12:30:15.123Z`.
#[must_use]
pub fn format_timestamp(millis: i64) -> String {
    Utc.timestamp_millis_opt(millis)
        .single()
        .map_or_else(|| millis.to_string(), |t| t.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

/// A `date` as text.
#[must_use]
pub fn format_date(raw: u32) -> String {
    DateTime::from_timestamp((i64::from(raw) - DATE_EPOCH) * 86_400, 0)
        .map_or_else(|| raw.to_string(), |t| t.format("%Y-%m-%d").to_string())
}

/// A `time` as text, always with nine fractional digits.
#[must_use]
pub fn format_time(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}.{:09}", nanos % 1_000_000_000)
}

/// A duration as text: `1y2mo3d4h`.
#[must_use]
pub fn format_duration(months: i32, days: i32, nanos: i64) -> String {
    let mut out = String::new();
    if months < 0 || days < 0 || nanos < 0 {
        out.push('-');
    }
    let mut left = u64::from(months.unsigned_abs());
    let mut push = |left: &mut u64, unit: u64, name: &str| {
        if *left >= unit {
            out.push_str(&format!("{}{name}", *left / unit));
            *left %= unit;
        }
    };
    push(&mut left, 12, "y");
    push(&mut left, 1, "mo");
    left = u64::from(days.unsigned_abs());
    push(&mut left, 1, "d");
    left = nanos.unsigned_abs();
    for (unit, name) in [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ] {
        push(&mut left, unit, name);
    }
    out
}

fn parse_day(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(NaiveDateTime::new(date, NaiveTime::MIN).and_utc().timestamp() / 86_400)
}

/// Minutes east of UTC.
fn parse_zone(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z" | "UTC" | "GMT") {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = zone[1..].replace(':', "");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = match digits.len() {
        1 | 2 => (digits.parse::<i64>().ok()?, 0),
        4 => (digits[..2].parse::<i64>().ok()?, digits[2..].parse::<i64>().ok()?),
        _ => return None,
    };
    Some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_literals_in_all_their_forms() {
        for (text, millis) in [
            ("2015-01-01T00:00:00Z", Some(1_420_070_400_000)),
            ("2015-01-01", Some(1_420_070_400_000)),
            ("2015-01-01 01:00+0100", Some(1_420_070_400_000)),
            ("2015-01-01 00:00:00.123+00:00", Some(1_420_070_400_123)),
            ("2020-01-01 03:30+0000", Some(1_577_849_400_000)),
            ("-5", Some(-5)),
            ("not a date", None),
            ("日本日本日本日本日本日本", None),
        ] {
            assert_eq!(parse_timestamp(text), millis, "{text}");
        }
    }

    #[test]
    fn durations_dates_and_times_survive_text() {
        assert_eq!(parse_duration("1y2mo3d"), Some((14, 3, 0)));
        assert_eq!(parse_duration("P1Y2M3DT4H"), Some((14, 3, 14_400_000_000_000)));
        assert_eq!(parse_duration("-2h3ms"), Some((0, 0, -7_200_003_000_000)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(format_duration(14, 3, 3_000_001), "1y2mo3d3ms1ns");
        assert_eq!(parse_time("08:12:54.123456789"), Some(29_574_123_456_789));
        assert_eq!(format_time(29_574_123_456_789), "08:12:54.123456789");
        assert_eq!(parse_date("2015-01-01").map(format_date).as_deref(), Some("2015-01-01"));
        assert_eq!(format_timestamp(1_420_070_400_123), "2015-01-01 00:00:00.123Z");
    }
}
