//! Dates, times, timestamps and durations as text, the way CQL literals and JSON write them.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Utc};

/// The day number of 1970-01-01 in the `date` type, which is unsigned.
pub const DATE_EPOCH: i64 = 1 << 31;

/// After so many days the calendar repeats.
const DAYS_OF_400_YEARS: i64 = 146_097;

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
    let date = parse_day_of_timestamp(&text[..split])?;
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

/// Units of durations, greatest first: how they are written, the name in errors, which part they count (months, days,
/// nanoseconds) and how much of it.
const UNITS: [(&str, &str, usize, i64); 10] = [
    ("y", "years", 0, 12),
    ("mo", "months", 0, 1),
    ("w", "weeks", 1, 7),
    ("d", "days", 1, 1),
    ("h", "hours", 2, 3_600_000_000_000),
    ("m", "minutes", 2, 60_000_000_000),
    ("s", "seconds", 2, 1_000_000_000),
    ("ms", "milliseconds", 2, 1_000_000),
    ("us", "microseconds", 2, 1_000),
    ("ns", "nanoseconds", 2, 1),
];

/// Whether a text has the form of a duration: `1y2mo3d4h`, ISO `P1Y2M3DT4H`, weeks `P3W`, `P0001-02-03T04:05:06`.
#[must_use]
pub fn is_duration(text: &str) -> bool {
    amounts(text.strip_prefix('-').unwrap_or(text)).is_some()
}

/// Months, days and nanoseconds of a duration.
///
/// # Errors
///
/// Cassandra's words: the text is no duration, has a unit twice or out of order, or is too great.
pub fn parse_duration(text: &str) -> Result<(i32, i32, i64), String> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let amounts = amounts(unsigned).ok_or_else(|| format!("Unable to convert '{text}' to a duration"))?;
    let mut parts = [0_i64; 3];
    let mut last: Option<usize> = None;
    for (unit, amount) in amounts {
        let name = UNITS[unit].1;
        match last {
            Some(last) if last == unit => {
                return Err(format!("Invalid duration. The {name} are specified multiple times"));
            }
            Some(last) if last > unit => {
                return Err(format!("Invalid duration. The {} should be after {name}", UNITS[last].1));
            }
            _ => last = Some(unit),
        }
        let (_, _, part, scale) = UNITS[unit];
        let (whole, limit) =
            [("months", i64::from(i32::MAX)), ("days", i64::from(i32::MAX)), ("nanoseconds", i64::MAX)][part];
        let sum = amount.checked_mul(scale).and_then(|more| parts[part].checked_add(more)).filter(|sum| *sum <= limit);
        parts[part] = sum
            .ok_or_else(|| format!("Invalid duration. The total number of {whole} must be less or equal to {limit}"))?;
    }
    let sign = if negative { -1 } else { 1 };
    // Bounded above.
    let small = |part: i64| i32::try_from(part * sign).unwrap_or(i32::MAX);
    Ok((small(parts[0]), small(parts[1]), parts[2] * sign))
}

/// The units (by their place in [`UNITS`]) and amounts that are written; `None` if the text is no duration.
fn amounts(text: &str) -> Option<Vec<(usize, i64)>> {
    let Some(iso) = text.strip_prefix(['P', 'p']) else { return plain_amounts(text) };
    if iso.contains('-') {
        return iso_alternative_amounts(iso);
    }
    let (days, clock) = iso.split_once(['T', 't']).map_or((iso, None), |(days, clock)| (days, Some(clock)));
    if clock == Some("") {
        return None;
    }
    let mut found = Vec::new();
    for (part, units) in [
        (days, &[('y', 0), ('m', 1), ('w', 2), ('d', 3)][..]),
        (clock.unwrap_or_default(), &[('h', 4), ('m', 5), ('s', 6)]),
    ] {
        let mut rest = part;
        while !rest.is_empty() {
            let (amount, after) = amount(rest)?;
            let letter = after.chars().next()?.to_ascii_lowercase();
            found.push((units.iter().find(|(known, _)| *known == letter)?.1, amount));
            rest = &after[1..];
        }
    }
    (!found.is_empty()).then_some(found)
}

/// `0001-02-03T04:05:06`.
fn iso_alternative_amounts(text: &str) -> Option<Vec<(usize, i64)>> {
    let (days, clock) = text.split_once(['T', 't'])?;
    let parts = days.split('-').zip([(4, 0), (2, 1), (2, 3)]).chain(clock.split(':').zip([(2, 4), (2, 5), (2, 6)]));
    let mut found = Vec::new();
    for (part, (len, unit)) in parts {
        found
            .push((unit, part.parse().ok().filter(|_| part.len() == len && part.bytes().all(|b| b.is_ascii_digit()))?));
    }
    let is_whole = found.len() == 6 && days.matches('-').count() == 2 && clock.matches(':').count() == 2;
    is_whole.then_some(found)
}

fn plain_amounts(text: &str) -> Option<Vec<(usize, i64)>> {
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (amount, after) = amount(rest)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = after[..letters].to_ascii_lowercase().replace('µ', "u");
        found.push((UNITS.iter().position(|known| known.0 == unit)?, amount));
        rest = &after[letters..];
    }
    (!found.is_empty()).then_some(found)
}

/// The digits at the front, as a number that stays at the greatest one.
fn amount(text: &str) -> Option<(i64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    if digits == 0 {
        return None;
    }
    Some((text[..digits].parse().unwrap_or(i64::MAX), &text[digits..]))
}

/// A timestamp as JSON and casts write it: `2014-11-05 12:30:15.123Z`.
#[must_use]
pub fn format_timestamp(millis: i64) -> String {
    Utc.timestamp_millis_opt(millis)
        .single()
        .map_or_else(|| millis.to_string(), |t| t.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

/// A `date` as text; years of more than four digits have a sign.
#[must_use]
pub fn format_date(raw: u32) -> String {
    // The calendar repeats every 400 years, and knows more of them than its library.
    let days = i64::from(raw) - DATE_EPOCH;
    let within = DateTime::from_timestamp(days.rem_euclid(DAYS_OF_400_YEARS) * 86_400, 0).unwrap_or_default();
    let year = i64::from(within.year()) + days.div_euclid(DAYS_OF_400_YEARS) * 400;
    let sign = match year {
        ..0 => "-",
        0..10_000 => "",
        _ => "+",
    };
    format!("{sign}{:04}{}", year.unsigned_abs(), within.format("-%m-%d"))
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

/// Days since the epoch of `yyyy-mm-dd`. As in Java's ISO format, a year has four digits, or more after a sign.
fn parse_day(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let has_sign = digits.len() < text.len();
    let mut parts = digits.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    let is_year = fits(year, 4) || has_sign && (5..=9).contains(&year.len()) && fits(year, year.len());
    if parts.next().is_some() || !is_year || !fits(month, 2) || !fits(day, 2) {
        return None;
    }
    let (year, month, day): (i64, u32, u32) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    days_of(sign * year, month, day)
}

/// Days since the epoch of a date in the proleptic Gregorian calendar, of any year.
fn days_of(year: i64, month: u32, day: u32) -> Option<i64> {
    let eras = year.div_euclid(400);
    let date = NaiveDate::from_ymd_opt(i32::try_from(year.rem_euclid(400)).ok()? + 2000, month, day)?;
    let days = NaiveDateTime::new(date, NaiveTime::MIN).and_utc().timestamp() / 86_400;
    Some(days + (eras - 5) * DAYS_OF_400_YEARS)
}

/// As [`parse_day`]; the last day of a month stands for the days up to the 31st that it has not.
fn parse_day_of_timestamp(text: &str) -> Option<i64> {
    let (month, day) = text.rsplit_once('-')?;
    match day {
        "29" | "30" | "31" => [day, "30", "29", "28"].iter().find_map(|day| parse_day(&format!("{month}-{day}"))),
        _ => parse_day(text),
    }
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
        assert_eq!(parse_duration("1y2mo3d"), Ok((14, 3, 0)));
        assert_eq!(parse_duration("P1Y2M3DT4H"), Ok((14, 3, 14_400_000_000_000)));
        assert_eq!(parse_duration("P0001-02-03T04:05:06"), Ok((14, 3, 14_706_000_000_000)));
        assert_eq!(parse_duration("-2h3ms"), Ok((0, 0, -7_200_003_000_000)));
        assert_eq!(parse_duration("5µs"), Ok((0, 0, 5000)));
        let error = |text| parse_duration(text).unwrap_err();
        assert_eq!(error("5"), "Unable to convert '5' to a duration");
        assert_eq!(error("1d1d"), "Invalid duration. The days are specified multiple times");
        assert_eq!(error("1h1d"), "Invalid duration. The hours should be after days");
        assert!(error("178956971y").ends_with("The total number of months must be less or equal to 2147483647"));
        assert!(is_duration("178956971y") && !is_duration("P") && !is_duration("PT") && !is_duration("x"));
        assert_eq!(format_duration(14, 3, 3_000_001), "1y2mo3d3ms1ns");
        assert_eq!(parse_time("08:12:54.123456789"), Some(29_574_123_456_789));
        assert_eq!(format_time(29_574_123_456_789), "08:12:54.123456789");
        assert_eq!(parse_date("2015-01-01").map(format_date).as_deref(), Some("2015-01-01"));
        assert_eq!(parse_date("-5877641-06-23"), Some(0));
        for (raw, text) in [(0, "-5877641-06-23"), (1 << 31, "1970-01-01"), (u32::MAX, "+5881580-07-11")] {
            assert_eq!(format_date(raw), text);
        }
        for text in ["2024-2-3", "2024-02-30", "12024-01-01", "x"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
        assert_eq!(parse_timestamp("2023-02-29"), parse_timestamp("2023-02-28"));
        assert_eq!(format_timestamp(1_420_070_400_123), "2015-01-01 00:00:00.123Z");
    }
}
