//! Dates, times and durations, in the units the server stores.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decode::{exactly, not_null};
use super::scalars::accept;
use super::{CqlType, DecodeValue, EncodeValue, NativeType, ValueError, ValueErrorKind, vint};

/// A `timestamp`: milliseconds since 1970-01-01T00:00:00Z, negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CqlTimestamp(pub i64);

/// A `date`: days since 1970-01-01, negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CqlDate(pub i32);

/// A `time`: nanoseconds since midnight, below 86,400,000,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CqlTime(pub i64);

/// A `duration`. The three parts are kept apart because months and days vary in length; they all
/// have the same sign, or are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CqlDuration {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Nanoseconds.
    pub nanoseconds: i64,
}

/// The `date` of 1970-01-01 on the wire.
const EPOCH_DAY: u32 = 1 << 31;
const NANOSECONDS_PER_DAY: i64 = 86_400_000_000_000;

impl CqlTimestamp {
    /// Converts to system time; `None` if the platform cannot represent it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
    }

    /// Converts from system time, dropping what is finer than a millisecond.
    pub fn from_system_time(time: SystemTime) -> Self {
        let millis = |distance: Duration| i64::try_from(distance.as_millis()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }
}

impl EncodeValue for CqlTimestamp {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for CqlTimestamp {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Timestamp])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        exactly::<Self, 8>(cql_type, content).map(|bytes| Self(i64::from_be_bytes(bytes)))
    }
}

impl EncodeValue for CqlDate {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        let raw = EPOCH_DAY.wrapping_add_signed(self.0);
        out.extend_from_slice(&raw.to_be_bytes());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for CqlDate {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Date])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let raw = exactly::<Self, 4>(cql_type, content).map(u32::from_be_bytes)?;
        Ok(Self(raw.wrapping_sub(EPOCH_DAY).cast_signed()))
    }
}

impl EncodeValue for CqlTime {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        if !(0..NANOSECONDS_PER_DAY).contains(&self.0) {
            return Err(ValueError::new::<Self>(ValueErrorKind::OutOfRange, cql_type));
        }
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for CqlTime {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Time])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        exactly::<Self, 8>(cql_type, content).map(|bytes| Self(i64::from_be_bytes(bytes)))
    }
}

impl CqlDuration {
    fn has_one_sign(&self) -> bool {
        let parts = [i64::from(self.months), i64::from(self.days), self.nanoseconds];
        parts.iter().all(|part| *part >= 0) || parts.iter().all(|part| *part <= 0)
    }
}

impl EncodeValue for CqlDuration {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        if !self.has_one_sign() {
            return Err(ValueError::new::<Self>(ValueErrorKind::OutOfRange, cql_type));
        }
        vint::write_signed(self.months.into(), out);
        vint::write_signed(self.days.into(), out);
        vint::write_signed(self.nanoseconds, out);
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for CqlDuration {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Duration])
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let fail = |kind| ValueError::new::<Self>(kind, cql_type);
        let truncated = || fail(ValueErrorKind::Truncated);
        let bytes = not_null::<Self>(cql_type, content)?;
        let (months, bytes) = vint::read_signed(bytes).ok_or_else(truncated)?;
        let (days, bytes) = vint::read_signed(bytes).ok_or_else(truncated)?;
        let (nanoseconds, bytes) = vint::read_signed(bytes).ok_or_else(truncated)?;
        if !bytes.is_empty() {
            return Err(fail(ValueErrorKind::TrailingBytes));
        }
        let narrow = |part| i32::try_from(part).map_err(|_| fail(ValueErrorKind::OutOfRange));
        Ok(Self { months: narrow(months)?, days: narrow(days)?, nanoseconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(value: &dyn EncodeValue, native: NativeType) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        value.encode(&native.into(), &mut out).map(|()| out)
    }

    #[test]
    fn the_first_of_january_1970_is_the_middle_of_the_date_range() {
        assert_eq!(content(&CqlDate(0), NativeType::Date).unwrap(), [0x80, 0, 0, 0]);
        assert_eq!(content(&CqlDate(i32::MIN), NativeType::Date).unwrap(), [0, 0, 0, 0]);
        assert_eq!(content(&CqlDate(i32::MAX), NativeType::Date).unwrap(), [0xFF; 4]);
        assert_eq!(CqlDate::decode(&NativeType::Date.into(), Some(&[0; 4])), Ok(CqlDate(i32::MIN)));
    }

    #[test]
    fn a_time_of_day_ends_before_midnight() {
        assert!(content(&CqlTime(NANOSECONDS_PER_DAY - 1), NativeType::Time).is_ok());
        assert!(content(&CqlTime(NANOSECONDS_PER_DAY), NativeType::Time).is_err());
        assert!(content(&CqlTime(-1), NativeType::Time).is_err());
    }

    #[test]
    fn durations_are_three_zigzag_integers_of_one_sign() {
        let duration = CqlDuration { months: 1, days: 2, nanoseconds: 3 };
        let bytes = content(&duration, NativeType::Duration).unwrap();
        assert_eq!(bytes, [2, 4, 6]);
        assert_eq!(CqlDuration::decode(&NativeType::Duration.into(), Some(&bytes)), Ok(duration));
        let mixed = CqlDuration { months: 1, days: -1, nanoseconds: 0 };
        assert!(content(&mixed, NativeType::Duration).is_err());
    }

    #[test]
    fn timestamps_before_1970_convert_both_ways() {
        let timestamp = CqlTimestamp(-1500);
        let time = timestamp.to_system_time().expect("representable");
        assert_eq!(CqlTimestamp::from_system_time(time), timestamp);
    }
}
