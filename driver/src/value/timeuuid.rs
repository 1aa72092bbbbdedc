//! Version 1 UUIDs: identifiers that contain their time, for `timeuuid` columns.
//!
//! # Source
//!
//! RFC 9562, section 5.1; Cassandra compares the time first and then the other eight bytes as
//! signed numbers, which is why the bounds below use 0x80 and 0x7F.

use std::fmt;

use uuid::Uuid;

use super::decode::exactly;
use super::scalars::accept;
use super::{CqlTimestamp, CqlType, DecodeValue, EncodeValue, NativeType, ValueError, ValueErrorKind};

/// A version 1 UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeuuid(Uuid);

/// 100-nanosecond steps from 1582-10-15 to 1970-01-01.
const GREGORIAN_OFFSET: i64 = 0x01B2_1DD2_1381_4000;
const STEPS_PER_MILLI: i64 = 10_000;

impl Timeuuid {
    /// Accepts version 1 UUIDs only.
    pub fn from_uuid(uuid: Uuid) -> Option<Self> {
        (uuid.get_version_num() == 1).then_some(Self(uuid))
    }

    /// Builds an identifier from a time in microseconds since 1970 and random bits.
    ///
    /// The clock sequence and node take 62 bits of `random`; the node's multicast bit marks it as
    /// not a hardware address.
    pub fn from_unix_micros(micros: i64, random: u64) -> Self {
        let mut tail = random.to_be_bytes();
        tail[0] = 0x80 | (tail[0] & 0x3F);
        tail[2] |= 0x01;
        Self(from_parts(micros.saturating_mul(10), tail))
    }

    /// The smallest identifier of a millisecond, like CQL's `minTimeuuid`. Only for comparisons.
    pub fn min_for(time: CqlTimestamp) -> Self {
        Self(from_parts(time.0.saturating_mul(STEPS_PER_MILLI), [0x80; 8]))
    }

    /// The greatest identifier of a millisecond, like CQL's `maxTimeuuid`. Only for comparisons.
    pub fn max_for(time: CqlTimestamp) -> Self {
        let steps = time.0.saturating_mul(STEPS_PER_MILLI).saturating_add(STEPS_PER_MILLI - 1);
        Self(from_parts(steps, [0x7F; 8]))
    }

    /// The time inside, in microseconds since 1970; negative before.
    pub fn unix_micros(self) -> i64 {
        (gregorian(self.0) - GREGORIAN_OFFSET).div_euclid(10)
    }

    /// The time inside, in milliseconds.
    pub fn timestamp(self) -> CqlTimestamp {
        CqlTimestamp(self.unix_micros().div_euclid(1000))
    }

    /// The identifier as any UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

fn from_parts(unix_steps: i64, tail: [u8; 8]) -> Uuid {
    // Outside of 1582..5236 the 60 bits cannot hold the time.
    let steps = unix_steps.saturating_add(GREGORIAN_OFFSET).clamp(0, (1 << 60) - 1).cast_unsigned();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = steps.to_be_bytes();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tail;
    let version = 0x10;
    Uuid::from_bytes([b4, b5, b6, b7, b2, b3, version | b0, b1, t0, t1, t2, t3, t4, t5, t6, t7])
}

fn gregorian(uuid: Uuid) -> i64 {
    let [b4, b5, b6, b7, b2, b3, b0, b1, ..] = *uuid.as_bytes();
    i64::from_be_bytes([b0 & 0x0F, b1, b2, b3, b4, b5, b6, b7])
}

/// Orders as the server does: by time, then by the other bytes as signed numbers.
impl Ord for Timeuuid {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let tail = |uuid: Uuid| {
            let mut tail = [0i8; 8];
            for (signed, byte) in tail.iter_mut().zip(&uuid.as_bytes()[8..]) {
                *signed = byte.cast_signed();
            }
            tail
        };
        (gregorian(self.0), tail(self.0)).cmp(&(gregorian(other.0), tail(other.0)))
    }
}

impl PartialOrd for Timeuuid {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Timeuuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Timeuuid> for Uuid {
    fn from(timeuuid: Timeuuid) -> Self {
        timeuuid.0
    }
}

impl EncodeValue for Timeuuid {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.0.encode(cql_type, out)
    }
}

impl<'a> DecodeValue<'a> for Timeuuid {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Timeuuid])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let uuid = Uuid::from_bytes(exactly::<Self, 16>(cql_type, content)?);
        Self::from_uuid(uuid).ok_or_else(|| ValueError::new::<Self>(ValueErrorKind::OutOfRange, cql_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_inside_comes_back_out() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -10_000_000_000_000_000] {
            let id = Timeuuid::from_unix_micros(micros, 0xFFFF_FFFF_FFFF_FFFF);
            assert_eq!(id.unix_micros(), micros);
            assert!(Timeuuid::from_uuid(id.as_uuid()).is_some());
        }
    }

    #[test]
    fn every_identifier_of_a_millisecond_lies_between_its_bounds() {
        let time = CqlTimestamp(1_700_000_000_123);
        let (min, max) = (Timeuuid::min_for(time), Timeuuid::max_for(time));
        for random in [0, 1 << 63, u64::MAX, 0x7F80_7F80_7F80_7F80] {
            for micros in [0, 999] {
                let id = Timeuuid::from_unix_micros(time.0 * 1000 + micros, random);
                assert!(min <= id && id <= max, "{id}");
                assert_eq!(id.timestamp(), time);
            }
        }
        assert!(max < Timeuuid::min_for(CqlTimestamp(time.0 + 1)));
    }
}
