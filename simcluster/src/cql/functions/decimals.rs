//! Decimal arithmetic as Java's `BigDecimal` does it: scales and roundings are part of the result.

use super::numbers::Failure;
use crate::types::{CqlType, text};
use bytes::Bytes;
use num_bigint::{BigInt, Sign};
use std::fmt;

/// `unscaled × 10^-scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Digits behind the point; negative for zeros before it.
    pub scale: i32,
    /// All digits.
    pub unscaled: BigInt,
}

/// Beyond this many digits between two scales, nothing is computed.
const DIGITS_MAX: i64 = 10_000;

const TOO_LONG: Failure = Failure::NotModelled("arithmetic on decimals of so different scales");

impl Decimal {
    /// Zero, without digits behind the point.
    #[must_use]
    pub fn zero() -> Self {
        Self { scale: 0, unscaled: BigInt::default() }
    }

    /// Reads a serialised decimal.
    #[must_use]
    pub fn read(bytes: &Bytes) -> Self {
        let (scale, unscaled) = text::decimal_parts(bytes);
        Self { scale, unscaled }
    }

    /// Serialises it.
    #[must_use]
    pub fn write(&self) -> Bytes {
        text::encode_decimal(self.scale, &self.unscaled)
    }

    /// The digits that Java shows of a double.
    #[must_use]
    pub fn of_double(n: f64) -> Self {
        Self::of_shown(&text::to_text(&CqlType::Double, &Bytes::copy_from_slice(&n.to_be_bytes())))
    }

    /// The digits that Java shows of a float.
    #[must_use]
    pub fn of_float(n: f32) -> Self {
        Self::of_shown(&text::to_text(&CqlType::Float, &Bytes::copy_from_slice(&n.to_be_bytes())))
    }

    fn of_shown(shown: &str) -> Self {
        text::from_text(&CqlType::Decimal, shown).map_or_else(|_| Self::zero(), |bytes| Self::read(&bytes))
    }

    /// The integer part.
    #[must_use]
    pub fn truncated(&self) -> BigInt {
        let power = power_of_ten(i64::from(self.scale).abs().min(DIGITS_MAX));
        if self.scale > 0 { &self.unscaled / power } else { &self.unscaled * power }
    }

    /// Its negation.
    #[must_use]
    pub fn negate(&self) -> Self {
        Self { scale: self.scale, unscaled: -&self.unscaled }
    }

    /// Its magnitude.
    #[must_use]
    pub fn abs(&self) -> Self {
        Self { scale: self.scale, unscaled: BigInt::from(self.unscaled.magnitude().clone()) }
    }

    fn is_zero(&self) -> bool {
        self.unscaled.sign() == Sign::NoSign
    }

    /// How many digits it has.
    fn precision(&self) -> i64 {
        self.unscaled.magnitude().to_string().len() as i64
    }

    /// The sum, with the greater scale.
    ///
    /// # Errors
    ///
    /// Not modelled for scales too far apart.
    pub fn add(&self, other: &Self) -> Result<Self, Failure> {
        let scale = self.scale.max(other.scale);
        Ok(Self { scale, unscaled: self.digits_at(scale)? + other.digits_at(scale)? })
    }

    /// The product, with the sum of the scales.
    #[must_use]
    pub fn multiply(&self, other: &Self) -> Self {
        Self { scale: self.scale.saturating_add(other.scale), unscaled: &self.unscaled * &other.unscaled }
    }

    /// The quotient as Cassandra's `/` has it: 32 digits or more, halves away from zero, no zeros at the end.
    ///
    /// # Errors
    ///
    /// A divisor that is zero.
    pub fn quotient(&self, other: &Self) -> Result<Self, Failure> {
        if other.is_zero() {
            return Err(Failure::Told(if self.is_zero() { "/ by zero" } else { "BigInteger divide by zero" }));
        }
        let magnitude = |n: &Self| n.precision() - i64::from(n.scale);
        let scale = (32 - (magnitude(self) - magnitude(other)))
            .max(i64::from(self.scale))
            .max(i64::from(other.scale))
            .clamp(32, 1000);
        let shift = scale - i64::from(self.scale) + i64::from(other.scale);
        if shift.abs() > DIGITS_MAX {
            return Err(TOO_LONG);
        }
        let (mut dividend, mut divisor) = (self.unscaled.clone(), other.unscaled.clone());
        if shift >= 0 {
            dividend *= power_of_ten(shift);
        } else {
            divisor *= power_of_ten(-shift);
        }
        let unscaled = divide(&dividend, &divisor, |doubled, divisor, _| doubled >= divisor);
        Ok(Self { scale: scale as i32, unscaled }.without_zeros(i64::MIN))
    }

    /// The remainder; it has the dividend's sign.
    ///
    /// # Errors
    ///
    /// A divisor that is zero.
    pub fn remainder(&self, other: &Self) -> Result<Self, Failure> {
        if other.is_zero() {
            return Err(Failure::Told(if self.is_zero() { "Division undefined" } else { "Division by zero" }));
        }
        let common = self.scale.max(other.scale);
        let whole = self.digits_at(common)? / other.digits_at(common)?;
        let preferred = i64::from(self.scale) - i64::from(other.scale);
        let quotient = Self { scale: 0, unscaled: whole }.without_zeros(preferred.min(0));
        let quotient_scale = quotient.scale.max(i32::try_from(preferred).unwrap_or(i32::MAX));
        let scale = self.scale.max(quotient_scale.saturating_add(other.scale));
        let rest = self.digits_at(scale)? - quotient.multiply(other).digits_at(scale)?;
        Ok(Self { scale, unscaled: rest })
    }

    /// Without digits behind the point; halves go away from zero.
    #[must_use]
    pub fn rounded(&self) -> Self {
        if self.scale <= 0 {
            return Self { scale: 0, unscaled: self.truncated() };
        }
        let power = power_of_ten(i64::from(self.scale).min(DIGITS_MAX));
        Self { scale: 0, unscaled: divide(&self.unscaled, &power, |doubled, divisor, _| doubled >= divisor) }
    }

    /// Divided by a count at the same scale; halves go to the even neighbour.
    #[must_use]
    pub fn divided_by(&self, count: usize) -> Self {
        let up = |doubled: &BigInt, divisor: &BigInt, odd: bool| doubled > divisor || doubled == divisor && odd;
        Self { scale: self.scale, unscaled: divide(&self.unscaled, &BigInt::from(count), up) }
    }

    /// The digits at a scale that is not less than its own.
    fn digits_at(&self, scale: i32) -> Result<BigInt, Failure> {
        let more = i64::from(scale) - i64::from(self.scale);
        if more > DIGITS_MAX {
            return Err(TOO_LONG);
        }
        Ok(&self.unscaled * power_of_ten(more))
    }

    /// Without zeros at the end, as far as the scale stays above a bound.
    fn without_zeros(mut self, scale_min: i64) -> Self {
        if self.is_zero() {
            return Self { scale: scale_min.max(0) as i32, ..self };
        }
        let ten = BigInt::from(10);
        while i64::from(self.scale) > scale_min && (&self.unscaled % &ten).sign() == Sign::NoSign {
            self.unscaled /= &ten;
            self.scale -= 1;
        }
        self
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::to_text(&CqlType::Decimal, &self.write()))
    }
}

fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent.max(0)).unwrap_or(u32::MAX))
}

/// Divides, and asks whether the quotient grows away from zero: by the rest doubled, the divisor (both without sign)
/// and whether the quotient is odd.
fn divide(dividend: &BigInt, divisor: &BigInt, up: impl Fn(&BigInt, &BigInt, bool) -> bool) -> BigInt {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let doubled = BigInt::from(rest.magnitude().clone()) * 2;
    let positive = BigInt::from(divisor.magnitude().clone());
    if rest.sign() == Sign::NoSign || !up(&doubled, &positive, quotient.bit(0)) {
        return quotient;
    }
    let is_negative = (dividend.sign() == Sign::Minus) != (divisor.sign() == Sign::Minus);
    if is_negative { quotient - 1 } else { quotient + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(shown: &str) -> Decimal {
        Decimal::of_shown(shown)
    }

    #[test]
    fn quotients_have_no_zeros_at_the_end_and_enough_digits() {
        for (a, b, quotient) in [
            ("10", "4.0", "2.5"),
            ("100", "1", "1E+2"),
            ("0", "3", "0"),
            ("-1", "3", "-0.33333333333333333333333333333333"),
            ("2", "3", "0.66666666666666666666666666666667"),
        ] {
            let told = decimal(a).quotient(&decimal(b)).expect("divides").to_string();
            assert_eq!(told, quotient, "{a} / {b}");
        }
        assert!(decimal("1").quotient(&decimal("0.0")).is_err());
    }

    #[test]
    fn remainders_have_the_sign_of_the_dividend() {
        for (a, b, rest) in [("1.5", "1.0", "0.5"), ("-7", "2", "-1"), ("4", "1.5", "1.0"), ("1", "3.00", "1.00")] {
            let told = decimal(a).remainder(&decimal(b)).expect("divides").to_string();
            assert_eq!(told, rest, "{a} % {b}");
        }
    }
}
