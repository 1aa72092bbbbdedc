//! Arithmetic on CQL's numbers, with the widths, roundings and overflows of Java's.

use super::decimals::Decimal;
use crate::types::{CqlType, text};
use bytes::Bytes;
use num_bigint::{BigInt, Sign};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// All of them, as they are written.
pub const OPERATORS: [Operator; 5] =
    [Operator::Add, Operator::Subtract, Operator::Multiply, Operator::Divide, Operator::Modulo];

impl Operator {
    /// How it is written.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Modulo => '%',
        }
    }

    /// The function it stands for.
    #[must_use]
    pub const fn function(self) -> &'static str {
        match self {
            Self::Add => "_add",
            Self::Subtract => "_substract",
            Self::Multiply => "_multiply",
            Self::Divide => "_divide",
            Self::Modulo => "_modulo",
        }
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Math {
    Negate,
    Abs,
    Exp,
    Log,
    Log10,
    Round,
}

/// The type of an operation's result: the wider operand's, a floating one if either is.
#[must_use]
pub fn result_type(left: &CqlType, right: &CqlType) -> CqlType {
    use CqlType as T;
    let width = |t: &CqlType| match t {
        T::Tinyint => 1,
        T::Smallint => 2,
        T::Int | T::Float => 4,
        T::Bigint | T::Counter | T::Double => 8,
        _ => u8::MAX,
    };
    let is_floating = |t: &CqlType| matches!(t, T::Float | T::Double | T::Decimal);
    match (width(left).max(width(right)), is_floating(left) || is_floating(right)) {
        (1, false) => T::Tinyint,
        (2, false) => T::Smallint,
        (4, false) => T::Int,
        (8, false) => T::Bigint,
        (_, false) => T::Varint,
        (4, true) => T::Float,
        (8, true) => T::Double,
        (_, true) => T::Decimal,
    }
}

/// Why an operation has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Cassandra fails in these words.
    Told(&'static str),
    /// It has a result that is not computed here.
    NotModelled(&'static str),
}

/// A number as Java has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// `byte` to `long`.
    Long(i64),
    /// `BigInteger`.
    Big(BigInt),
    /// `BigDecimal`.
    Decimal(Decimal),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
}

impl Number {
    /// Reads a serialised number.
    #[must_use]
    pub fn read(cql_type: &CqlType, bytes: &Bytes) -> Self {
        match cql_type {
            CqlType::Float => Self::Float(text::float(bytes) as f32),
            CqlType::Double => Self::Double(text::float(bytes)),
            CqlType::Decimal => Self::Decimal(Decimal::read(bytes)),
            CqlType::Varint => Self::Big(BigInt::from_signed_bytes_be(bytes)),
            _ => Self::Long(text::integer(bytes)),
        }
    }

    /// Java's `longValue`: big numbers lose their high bits, floating ones stop at the bounds.
    #[must_use]
    pub fn long(&self) -> i64 {
        match self {
            Self::Long(n) => *n,
            Self::Big(n) => low_bits(n),
            Self::Decimal(n) => low_bits(&n.truncated()),
            Self::Float(n) => *n as i64,
            Self::Double(n) => *n as i64,
        }
    }

    /// Java's `intValue`.
    #[must_use]
    pub fn int(&self) -> i32 {
        match self {
            Self::Float(n) => *n as i32,
            Self::Double(n) => *n as i32,
            Self::Long(_) | Self::Big(_) | Self::Decimal(_) => self.long() as i32,
        }
    }

    /// Java's `doubleValue`.
    #[must_use]
    pub fn double(&self) -> f64 {
        match self {
            Self::Long(n) => *n as f64,
            Self::Big(n) => n.to_string().parse().unwrap_or(f64::NAN),
            Self::Decimal(n) => n.to_string().parse().unwrap_or(f64::NAN),
            Self::Float(n) => f64::from(*n),
            Self::Double(n) => *n,
        }
    }

    /// Java's `floatValue`.
    #[must_use]
    pub fn float(&self) -> f32 {
        match self {
            Self::Long(n) => *n as f32,
            Self::Big(n) => n.to_string().parse().unwrap_or(f32::NAN),
            Self::Decimal(n) => n.to_string().parse().unwrap_or(f32::NAN),
            Self::Float(n) => *n,
            Self::Double(n) => *n as f32,
        }
    }

    fn big(&self) -> BigInt {
        match self {
            Self::Big(n) => n.clone(),
            other => BigInt::from(other.long()),
        }
    }

    /// As an operand of decimal arithmetic: all that is no big number goes by way of `double`.
    fn operand(&self) -> Result<Decimal, Failure> {
        match self {
            Self::Decimal(n) => Ok(n.clone()),
            Self::Big(n) => Ok(Decimal { scale: 0, unscaled: n.clone() }),
            other => {
                let double = other.double();
                if double.is_nan() {
                    return Err(Failure::Told("A NaN cannot be converted into a decimal"));
                }
                if double.is_infinite() {
                    return Err(Failure::Told("An infinite number cannot be converted into a decimal"));
                }
                Ok(Decimal::of_double(double))
            }
        }
    }

    /// CAST to another type of number.
    #[must_use]
    pub fn cast(&self, to: &CqlType) -> Self {
        match to {
            CqlType::Float => Self::Float(self.float()),
            CqlType::Double => Self::Double(self.double()),
            CqlType::Varint => Self::Big(BigInt::from(self.long())),
            CqlType::Decimal => Self::Decimal(match self {
                Self::Decimal(n) => n.clone(),
                Self::Big(n) => Decimal { scale: 0, unscaled: n.clone() },
                Self::Long(n) => Decimal { scale: 0, unscaled: BigInt::from(*n) },
                Self::Float(n) => Decimal::of_float(*n),
                Self::Double(n) => Decimal::of_double(*n),
            }),
            CqlType::Bigint | CqlType::Counter => Self::Long(self.long()),
            _ => Self::Long(i64::from(self.int())),
        }
    }

    /// Serialises it; integers lose what does not fit.
    #[must_use]
    pub fn write(&self, cql_type: &CqlType) -> Bytes {
        let copied = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        match cql_type {
            CqlType::Tinyint => copied(&(self.long() as i8).to_be_bytes()),
            CqlType::Smallint => copied(&(self.long() as i16).to_be_bytes()),
            CqlType::Int => copied(&(self.long() as i32).to_be_bytes()),
            CqlType::Float => copied(&self.float().to_be_bytes()),
            CqlType::Double => copied(&self.double().to_be_bytes()),
            CqlType::Varint => Bytes::from(self.big().to_signed_bytes_be()),
            CqlType::Decimal => match self {
                Self::Decimal(n) => n.write(),
                other => Decimal { scale: 0, unscaled: other.big() }.write(),
            },
            _ => copied(&self.long().to_be_bytes()),
        }
    }
}

/// The low 64 bits of a big integer, as two's complement.
fn low_bits(n: &BigInt) -> i64 {
    let digits = n.magnitude().iter_u64_digits().next().unwrap_or_default() as i64;
    if n.sign() == Sign::Minus { digits.wrapping_neg() } else { digits }
}

const BY_ZERO: Failure = Failure::Told("/ by zero");
const BIG_BY_ZERO: Failure = Failure::Told("BigInteger divide by zero");

/// Computes `left operator right` as a number of type `result`.
///
/// # Errors
///
/// What Java's arithmetic fails with.
pub fn operate(operator: Operator, result: &CqlType, left: &Number, right: &Number) -> Result<Bytes, Failure> {
    use Operator as O;
    Ok(match result {
        CqlType::Decimal => {
            let (a, b) = (left.operand()?, right.operand()?);
            let n = match operator {
                O::Add => a.add(&b)?,
                O::Subtract => a.add(&b.negate())?,
                O::Multiply => a.multiply(&b),
                O::Divide => a.quotient(&b)?,
                O::Modulo => a.remainder(&b)?,
            };
            n.write()
        }
        CqlType::Varint => {
            let (a, b) = (left.big(), right.big());
            if matches!(operator, O::Divide | O::Modulo) && b.sign() == Sign::NoSign {
                return Err(BIG_BY_ZERO);
            }
            let n = match operator {
                O::Add => a + b,
                O::Subtract => a - b,
                O::Multiply => a * b,
                O::Divide => a / b,
                O::Modulo => a % b,
            };
            Bytes::from(n.to_signed_bytes_be())
        }
        CqlType::Float => {
            let (a, b) = (left.float(), right.float());
            let n = match operator {
                O::Add => a + b,
                O::Subtract => a - b,
                O::Multiply => a * b,
                O::Divide => a / b,
                O::Modulo => a % b,
            };
            Number::Float(n).write(result)
        }
        CqlType::Double => {
            let (a, b) = (left.double(), right.double());
            let n = match operator {
                O::Add => a + b,
                O::Subtract => a - b,
                O::Multiply => a * b,
                O::Divide => a / b,
                O::Modulo => a % b,
            };
            Number::Double(n).write(result)
        }
        _ => {
            let (a, b) = (left.long(), right.long());
            if matches!(operator, O::Divide | O::Modulo) && b == 0 {
                return Err(BY_ZERO);
            }
            let n = match operator {
                O::Add => a.wrapping_add(b),
                O::Subtract => a.wrapping_sub(b),
                O::Multiply => a.wrapping_mul(b),
                O::Divide => a.wrapping_div(b),
                O::Modulo => a.wrapping_rem(b),
            };
            Number::Long(n).write(result)
        }
    })
}

/// Computes a function of one number.
///
/// # Errors
///
/// Not modelled: powers and logarithms of what is not a small integer, whose last digits are the library's own.
pub fn math(function: Math, cql_type: &CqlType, number: &Number) -> Result<Bytes, Failure> {
    let computed = match (function, number) {
        (Math::Negate, Number::Long(n)) => {
            // Cassandra's negation of the small integers has the width of an int.
            let small = matches!(cql_type, CqlType::Tinyint | CqlType::Smallint);
            return Ok(Number::Long(n.wrapping_neg()).write(if small { &CqlType::Int } else { cql_type }));
        }
        (Math::Negate, Number::Big(n)) => Number::Big(-n),
        (Math::Negate, Number::Decimal(n)) => Number::Decimal(n.negate()),
        (Math::Negate, Number::Float(n)) => Number::Float(-n),
        (Math::Negate, Number::Double(n)) => Number::Double(-n),
        (Math::Abs, Number::Long(n)) => Number::Long(n.wrapping_abs()),
        (Math::Abs, Number::Big(n)) => Number::Big(BigInt::from(n.magnitude().clone())),
        (Math::Abs, Number::Decimal(n)) => Number::Decimal(n.abs()),
        (Math::Abs, Number::Float(n)) => Number::Float(n.abs()),
        (Math::Abs, Number::Double(n)) => Number::Double(n.abs()),
        (Math::Round, Number::Decimal(n)) => Number::Decimal(n.rounded()),
        (Math::Round, Number::Float(n)) => Number::Float((half_up(f64::from(*n)) as i32) as f32),
        (Math::Round, Number::Double(n)) => Number::Double((half_up(*n) as i64) as f64),
        (Math::Round, Number::Long(_) | Number::Big(_)) => number.clone(),
        (Math::Exp | Math::Log | Math::Log10, Number::Long(n)) => {
            let argument = *n as f64;
            let value = match function {
                Math::Exp => argument.exp(),
                Math::Log => argument.ln(),
                _ => argument.log10(),
            };
            let is_long = matches!(cql_type, CqlType::Bigint | CqlType::Counter);
            Number::Long(if is_long { value as i64 } else { i64::from(value as i32) })
        }
        (Math::Exp | Math::Log | Math::Log10, _) => {
            return Err(Failure::NotModelled("a power or logarithm of a number that is no int"));
        }
    };
    Ok(computed.write(cql_type))
}

/// Java's `Math.round`: halves go up.
fn half_up(n: f64) -> f64 {
    let floor = n.floor();
    if n - floor >= 0.5 { floor + 1.0 } else { floor }
}

/// The sum of some numbers of one type.
#[must_use]
pub fn sum(cql_type: &CqlType, values: &[&Bytes]) -> Bytes {
    match cql_type {
        CqlType::Float | CqlType::Double => Number::Double(float_sum(cql_type, values)).write(cql_type),
        CqlType::Decimal => {
            let sum = values.iter().try_fold(Decimal::zero(), |sum, value| sum.add(&Decimal::read(value)));
            sum.unwrap_or_else(|_| Decimal::zero()).write()
        }
        CqlType::Varint => Number::Big(values.iter().map(|v| BigInt::from_signed_bytes_be(v)).sum()).write(cql_type),
        _ => Number::Long(values.iter().fold(0, |sum, v| text::integer(v).wrapping_add(sum))).write(cql_type),
    }
}

/// The mean of some numbers of one type, in that type; zero of none.
#[must_use]
pub fn average(cql_type: &CqlType, values: &[&Bytes]) -> Bytes {
    let count = values.len().max(1);
    match cql_type {
        CqlType::Float | CqlType::Double => Number::Double(float_sum(cql_type, values) / count as f64).write(cql_type),
        // Each value moves the mean by its part, rounded.
        CqlType::Decimal => {
            let mut mean = Decimal::zero();
            for (index, value) in values.iter().enumerate() {
                let moved = Decimal::read(value).add(&mean.negate()).map(|away| away.divided_by(index + 1));
                mean = moved.and_then(|step| mean.add(&step)).unwrap_or(mean);
            }
            mean.write()
        }
        _ => {
            let sum: BigInt = values.iter().map(|v| BigInt::from_signed_bytes_be(v)).sum();
            Number::Big(sum / count).write(cql_type)
        }
    }
}

/// The sum of floats as Cassandra compensates for what each addition loses.
fn float_sum(cql_type: &CqlType, values: &[&Bytes]) -> f64 {
    let (mut sum, mut compensation, mut simple) = (0.0_f64, 0.0_f64, 0.0_f64);
    for value in values {
        let n = Number::read(cql_type, value).double();
        simple += n;
        let corrected = n - compensation;
        let rounded = sum + corrected;
        compensation = rounded - sum - corrected;
        sum = rounded;
    }
    let total = sum + compensation;
    if total.is_nan() && simple.is_infinite() { simple } else { total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CqlType as T;

    fn computed(operator: Operator, left: (&CqlType, &str), right: (&CqlType, &str)) -> String {
        let read = |(cql_type, shown): (&CqlType, &str)| {
            Number::read(cql_type, &text::from_text(cql_type, shown).expect("a number"))
        };
        let result = result_type(left.0, right.0);
        match operate(operator, &result, &read(left), &read(right)) {
            Ok(bytes) => format!("{result} {}", text::to_text(&result, &bytes)),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn an_operation_has_the_wider_type_and_wraps_around_in_it() {
        assert_eq!(computed(Operator::Add, (&T::Tinyint, "100"), (&T::Tinyint, "100")), "tinyint -56");
        assert_eq!(computed(Operator::Add, (&T::Int, "2147483647"), (&T::Int, "1")), "int -2147483648");
        assert_eq!(computed(Operator::Multiply, (&T::Int, "3"), (&T::Bigint, "4")), "bigint 12");
        assert_eq!(computed(Operator::Add, (&T::Bigint, "1"), (&T::Float, "2.5")), "double 3.5");
        assert_eq!(computed(Operator::Add, (&T::Varint, "13"), (&T::Float, "2.5")), "decimal 15.5");
        assert_eq!(
            computed(Operator::Divide, (&T::Bigint, "-9223372036854775808"), (&T::Int, "-1")),
            "bigint -9223372036854775808"
        );
    }

    #[test]
    fn only_floating_numbers_are_divided_by_zero() {
        assert_eq!(computed(Operator::Divide, (&T::Int, "1"), (&T::Int, "0")), "Told(\"/ by zero\")");
        assert_eq!(
            computed(Operator::Modulo, (&T::Varint, "1"), (&T::Int, "0")),
            "Told(\"BigInteger divide by zero\")"
        );
        assert_eq!(computed(Operator::Divide, (&T::Double, "-1"), (&T::Int, "0")), "double -Infinity");
    }

    #[test]
    fn halves_are_rounded_up() {
        for (given, expected) in [("2.5", "3.0"), ("-2.5", "-2.0"), ("0.49999999999999994", "0.0"), ("NaN", "0.0")] {
            let number = Number::read(&T::Double, &text::from_text(&T::Double, given).expect("a double"));
            let rounded = math(Math::Round, &T::Double, &number).expect("rounds");
            assert_eq!(text::to_text(&T::Double, &rounded), expected, "{given}");
        }
    }

    #[test]
    fn the_mean_of_decimals_moves_by_rounded_steps() {
        let values: Vec<Bytes> =
            ["1.0", "2.0", "2.0"].iter().map(|n| text::from_text(&T::Decimal, n).expect("a decimal")).collect();
        let mean = average(&T::Decimal, &values.iter().collect::<Vec<_>>());
        assert_eq!(text::to_text(&T::Decimal, &mean), "1.7");
    }
}
