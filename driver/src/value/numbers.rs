//! Numbers without a machine type: `varint`, `decimal`, and `counter` as a type of its own.

use std::fmt;

use num_bigint::BigInt;

use super::decode::{exactly, not_null};
use super::scalars::accept;
use super::{CqlType, DecodeValue, EncodeValue, NativeType, ValueError, ValueErrorKind};

/// A `decimal`: `unscaled` × 10^-`scale`, of any precision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CqlDecimal {
    /// All digits, without the decimal point.
    pub unscaled: BigInt,
    /// How many digits stand after the decimal point; negative adds zeros.
    pub scale: i32,
}

/// The value of a `counter` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub i64);

/// Writes the value exactly: `1.50` for 150 with scale 2, exponents where digits would be zeros.
impl fmt::Display for CqlDecimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.unscaled.magnitude().to_string();
        let sign = if self.unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
        let point = usize::try_from(self.scale).ok().and_then(|scale| digits.len().checked_sub(scale));
        match point {
            _ if self.scale == 0 => write!(f, "{sign}{digits}"),
            Some(0) => write!(f, "{sign}0.{digits}"),
            Some(point) => write!(f, "{sign}{}.{}", &digits[..point], &digits[point..]),
            None => write!(f, "{sign}{digits}E{}", -i64::from(self.scale)),
        }
    }
}

impl EncodeValue for BigInt {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        out.extend_from_slice(&self.to_signed_bytes_be());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for BigInt {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Varint])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        match not_null::<Self>(cql_type, content)? {
            [] => Err(ValueError::new::<Self>(ValueErrorKind::WrongLength(0), cql_type)),
            bytes => Ok(Self::from_signed_bytes_be(bytes)),
        }
    }
}

impl EncodeValue for CqlDecimal {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        out.extend_from_slice(&self.scale.to_be_bytes());
        out.extend_from_slice(&self.unscaled.to_signed_bytes_be());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for CqlDecimal {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Decimal])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let bytes = not_null::<Self>(cql_type, content)?;
        match bytes.split_first_chunk::<4>() {
            Some((scale, digits)) if !digits.is_empty() => {
                Ok(Self { unscaled: BigInt::from_signed_bytes_be(digits), scale: i32::from_be_bytes(*scale) })
            }
            _ => Err(ValueError::new::<Self>(ValueErrorKind::WrongLength(bytes.len()), cql_type)),
        }
    }
}

impl EncodeValue for Counter {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        <Self as DecodeValue>::check(cql_type)?;
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(())
    }
}

impl<'a> DecodeValue<'a> for Counter {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        accept::<Self>(cql_type, &[NativeType::Counter])
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        exactly::<Self, 8>(cql_type, content).map(|bytes| Self(i64::from_be_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_the_shortest_twos_complement() {
        // The table of section 6.24.
        let table: [(i32, &[u8]); 7] = [
            (0, &[0x00]),
            (1, &[0x01]),
            (127, &[0x7F]),
            (128, &[0x00, 0x80]),
            (129, &[0x00, 0x81]),
            (-128, &[0x80]),
            (-129, &[0xFF, 0x7F]),
        ];
        let varint = CqlType::from(NativeType::Varint);
        for (value, bytes) in table {
            let mut out = Vec::new();
            BigInt::from(value).encode(&varint, &mut out).expect("fits");
            assert_eq!(out, bytes, "{value}");
            assert_eq!(BigInt::decode(&varint, Some(bytes)), Ok(BigInt::from(value)));
        }
    }

    #[test]
    fn decimals_are_written_with_their_scale() {
        let text = |unscaled: i64, scale| CqlDecimal { unscaled: unscaled.into(), scale }.to_string();
        assert_eq!(text(-150, 2), "-1.50");
        assert_eq!(text(15, 2), "0.15");
        assert_eq!(text(15, 0), "15");
        assert_eq!(text(15, -3), "15E3");
        assert_eq!(text(15, 9), "15E-9");
        assert_eq!(text(1, i32::MIN), "1E2147483648");
    }
}
