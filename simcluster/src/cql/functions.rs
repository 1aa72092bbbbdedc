//! The native scalar functions and aggregates.

use super::BindOptions;
use super::ast::Name;
use super::row::time_uuid;
use crate::protocol::ServerError;
use crate::ring::Token;
use crate::types::{CqlType, Value, codec, json, order, text, time};
use bytes::Bytes;
use num_bigint::BigInt;

/// A function with its types resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Unquoted name.
    pub name: String,
    /// The types of its arguments.
    pub arguments: Vec<CqlType>,
    /// The type of its result.
    pub result: CqlType,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Now,
    Uuid,
    CurrentTimestamp,
    CurrentDate,
    CurrentTime,
    MinTimeuuid,
    MaxTimeuuid,
    ToTimestamp,
    ToDate,
    ToUnixTimestamp,
    ToBlob,
    FromBlob,
    Token,
    ToJson,
    FromJson,
    Cast,
    Count,
    Min,
    Max,
    Sum,
    Avg,
}

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

/// Finds the function a call means. `arguments` are the types as far as they are known; `wanted` is what the result
/// is needed as.
///
/// # Errors
///
/// [`ServerError::Invalid`] if there is none, or it is not modelled.
pub fn find(name: &Name, arguments: &[Option<CqlType>], wanted: Option<&CqlType>) -> Result<Function, ServerError> {
    use CqlType as T;
    if name.keyspace.as_deref().is_some_and(|k| k != "system") {
        return Err(unknown(name));
    }
    let first = arguments.first().cloned().flatten();
    // 5.0 has snake_case names beside the old ones.
    let plain: String = name.name.chars().filter(|c| *c != '_').collect();
    let build = |kind, arguments: Vec<CqlType>, result| Function { name: name.name.clone(), arguments, result, kind };
    let found = match plain.as_str() {
        "now" | "currenttimeuuid" => build(Kind::Now, vec![], T::Timeuuid),
        "uuid" => build(Kind::Uuid, vec![], T::Uuid),
        "currenttimestamp" => build(Kind::CurrentTimestamp, vec![], T::Timestamp),
        "currentdate" => build(Kind::CurrentDate, vec![], T::Date),
        "currenttime" => build(Kind::CurrentTime, vec![], T::Time),
        "mintimeuuid" => build(Kind::MinTimeuuid, vec![T::Timestamp], T::Timeuuid),
        "maxtimeuuid" => build(Kind::MaxTimeuuid, vec![T::Timestamp], T::Timeuuid),
        "totimestamp" => build(Kind::ToTimestamp, vec![dated(first, &[T::Timeuuid, T::Date])], T::Timestamp),
        "todate" => build(Kind::ToDate, vec![dated(first, &[T::Timeuuid, T::Timestamp])], T::Date),
        "tounixtimestamp" => {
            build(Kind::ToUnixTimestamp, vec![dated(first, &[T::Timeuuid, T::Timestamp, T::Date])], T::Bigint)
        }
        "tojson" => build(Kind::ToJson, vec![first.unwrap_or(T::Text)], T::Text),
        "fromjson" => build(Kind::FromJson, vec![T::Text], wanted.cloned().ok_or_else(|| unknown(name))?),
        "count" => build(Kind::Count, vec![first.unwrap_or(T::Int)], T::Bigint),
        "min" | "max" => {
            let of = first.ok_or_else(|| unknown(name))?;
            build(if plain == "min" { Kind::Min } else { Kind::Max }, vec![of.clone()], of)
        }
        "sum" | "avg" => {
            let of = first.ok_or_else(|| unknown(name))?;
            if !is_number(&of) {
                let types = ["smallint", "bigint", "double", "tinyint", "int", "varint", "counter", "float", "decimal"];
                let known: Vec<_> = types.iter().map(|t| format!("system.{plain} : ({t}) -> {t}")).collect();
                return Err(invalid(format!(
                    "Invalid call to function {plain}, none of its type signatures match (known type signatures: {})",
                    known.join(", ")
                )));
            }
            build(if plain == "sum" { Kind::Sum } else { Kind::Avg }, vec![of.clone()], of)
        }
        _ => match blob_function(&name.name) {
            Some((true, of)) => build(Kind::ToBlob, vec![of], T::Blob),
            Some((false, of)) => build(Kind::FromBlob, vec![T::Blob], of),
            None => return Err(unknown(name)),
        },
    };
    if found.arguments.len() != arguments.len() {
        return Err(invalid(format!(
            "Invalid number of arguments in call to function {}: {} required but {} provided",
            found.full_name(),
            found.arguments.len(),
            arguments.len()
        )));
    }
    Ok(found)
}

/// Functions that Cassandra has and the simulated cluster has not.
const NOT_MODELLED: &[&str] = &[
    "similarity_cosine",
    "similarity_euclidean",
    "similarity_dot_product",
    "map_keys",
    "map_values",
    "collection_count",
    "collection_min",
    "collection_max",
    "collection_sum",
    "collection_avg",
    "abs",
    "exp",
    "log",
    "log10",
    "round",
    "mask_null",
    "mask_default",
    "mask_replace",
    "mask_inner",
    "mask_outer",
    "mask_hash",
    "floor",
];

fn unknown(name: &Name) -> ServerError {
    if NOT_MODELLED.contains(&name.name.as_str()) {
        return super::parser::not_modelled(&format!("the function {}", name.name));
    }
    let shown = name.keyspace.as_ref().map_or_else(|| name.name.clone(), |k| format!("{k}.{}", name.name));
    invalid(format!("Unknown function '{shown}'"))
}

/// The first argument's type if it is one of these, otherwise the first of these.
fn dated(first: Option<CqlType>, accepted: &[CqlType]) -> CqlType {
    first.filter(|t| accepted.contains(t)).unwrap_or_else(|| accepted[0].clone())
}

fn is_number(cql_type: &CqlType) -> bool {
    use CqlType as T;
    matches!(
        cql_type,
        T::Int | T::Bigint | T::Counter | T::Smallint | T::Tinyint | T::Varint | T::Decimal | T::Float | T::Double
    )
}

/// `intasblob`, `int_as_blob`, `blobasint`, `blob_as_int`: true for the former kind.
fn blob_function(name: &str) -> Option<(bool, CqlType)> {
    let to = name.strip_suffix("_as_blob").or_else(|| name.strip_suffix("asblob"));
    if let Some(of) = to.and_then(CqlType::native) {
        return Some((true, of));
    }
    let from = name.strip_prefix("blob_as_").or_else(|| name.strip_prefix("blobas"))?;
    CqlType::native(from).map(|of| (false, of))
}

impl Function {
    /// `token` of a table with these partition key types.
    #[must_use]
    pub fn token(types: &[CqlType]) -> Self {
        Self { name: "token".to_owned(), arguments: types.to_vec(), result: CqlType::Bigint, kind: Kind::Token }
    }

    /// A cast.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`] if there is no such cast.
    pub fn cast(from: &CqlType, to: &CqlType) -> Result<Self, ServerError> {
        use CqlType as T;
        let possible = from == to
            || is_number(from) && is_number(to)
            || matches!(to, T::Text | T::Ascii) && !from.is_collection() && !matches!(from, T::Blob)
            || matches!(
                (from, to),
                (T::Timeuuid, T::Timestamp | T::Date) | (T::Timestamp, T::Date | T::Bigint) | (T::Date, T::Timestamp)
            );
        if !possible {
            return Err(invalid(format!("{from} cannot be cast to {to}")));
        }
        Ok(Self { name: "cast".to_owned(), arguments: vec![from.clone()], result: to.clone(), kind: Kind::Cast })
    }

    /// Whether it takes many rows to one value.
    #[must_use]
    pub const fn is_aggregate(&self) -> bool {
        matches!(self.kind, Kind::Count | Kind::Min | Kind::Max | Kind::Sum | Kind::Avg)
    }

    /// `system.name`, as messages and result columns show it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("system.{}", self.name)
    }

    /// Evaluates a scalar function; null arguments give null.
    ///
    /// # Errors
    ///
    /// [`ServerError::Invalid`] for arguments without a result.
    pub fn call(&self, arguments: &[Value], options: &BindOptions, sequence: u64) -> Result<Value, ServerError> {
        let fixed = |bytes: &[u8]| Some(Bytes::copy_from_slice(bytes));
        // The clock has whole seconds; the write time is the closest to a finer one.
        let micros = options.timestamp;
        match self.kind {
            Kind::Now => return Ok(Some(time_uuid(micros, sequence, options.entropy))),
            Kind::Uuid => {
                let high = options.entropy.wrapping_add(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&mix(high).to_be_bytes());
                bytes[8..].copy_from_slice(&mix(high ^ 0x5555_5555_5555_5555).to_be_bytes());
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                return Ok(fixed(&bytes));
            }
            Kind::CurrentTimestamp => return Ok(fixed(&(micros / 1000).to_be_bytes())),
            Kind::CurrentDate => return Ok(fixed(&day_of(micros / 1000).to_be_bytes())),
            Kind::CurrentTime => return Ok(fixed(&(micros.rem_euclid(86_400_000_000) * 1000).to_be_bytes())),
            Kind::ToJson => {
                let shown = json::to_json(&self.arguments[0], arguments.first().and_then(Option::as_ref));
                return Ok(fixed(shown.as_bytes()));
            }
            _ => {}
        }
        if self.kind == Kind::Token {
            let parts: Option<Vec<Bytes>> = arguments.iter().cloned().collect();
            let Some(key) = parts.and_then(|parts| codec::join_partition_key(&parts)) else { return Ok(None) };
            return Ok(fixed(&Token::of_key(&key).0.to_be_bytes()));
        }
        let Some(Some(argument)) = arguments.first() else { return Ok(None) };
        Ok(match self.kind {
            Kind::MinTimeuuid => Some(timeuuid_bound(text::integer(argument), false)),
            Kind::MaxTimeuuid => Some(timeuuid_bound(text::integer(argument), true)),
            Kind::ToTimestamp => fixed(&millis_of(&self.arguments[0], argument).to_be_bytes()),
            Kind::ToUnixTimestamp => fixed(&millis_of(&self.arguments[0], argument).to_be_bytes()),
            Kind::ToDate => fixed(&day_of(millis_of(&self.arguments[0], argument)).to_be_bytes()),
            Kind::ToBlob => Some(argument.clone()),
            Kind::FromBlob => {
                crate::types::validate::validate(&self.result, argument).map_err(|_| {
                    invalid(format!(
                        "In call to function {}, value 0x{} is not a valid binary representation for type {}",
                        self.full_name(),
                        text::encode_hex(argument),
                        self.result
                    ))
                })?;
                Some(argument.clone())
            }
            Kind::FromJson => {
                let written = String::from_utf8_lossy(argument);
                let parsed = json::Json::parse(&written)
                    .ok_or_else(|| invalid(format!("Could not decode JSON string '{written}'")))?;
                json::from_json(&self.result, &parsed).map_err(|e| ServerError::FunctionFailure {
                    keyspace: "system".to_owned(),
                    function: self.name.clone(),
                    arguments: vec!["text".to_owned()],
                    message: format!("org.apache.cassandra.serializers.MarshalException: {e}"),
                })?
            }
            Kind::Cast => cast(&self.arguments[0], &self.result, argument)?,
            _ => None,
        })
    }

    /// Evaluates an aggregate over the values of a group, nulls included.
    ///
    /// # Errors
    ///
    /// None at present; sums wrap around as Cassandra's do.
    pub fn aggregate(&self, values: &[Value]) -> Result<Value, ServerError> {
        let of = &self.arguments[0];
        let present: Vec<&Bytes> = values.iter().flatten().collect();
        Ok(match self.kind {
            Kind::Count => Some(Bytes::copy_from_slice(&(present.len() as i64).to_be_bytes())),
            Kind::Min => present.into_iter().min_by_key(|v| order::encode(of, v)).cloned(),
            Kind::Max => present.into_iter().max_by_key(|v| order::encode(of, v)).cloned(),
            Kind::Sum => Some(Number::sum(of, &present).encode(of)),
            Kind::Avg => {
                let count = present.len();
                Some(Number::sum(of, &present).divide(count).encode(of))
            }
            _ => None,
        })
    }
}

/// A number on its way through arithmetic.
enum Number {
    Integer(BigInt),
    Decimal(i32, BigInt),
    Float(f64),
}

impl Number {
    fn read(cql_type: &CqlType, bytes: &Bytes) -> Self {
        match cql_type {
            CqlType::Float | CqlType::Double => Self::Float(text::float(bytes)),
            CqlType::Decimal => {
                let (scale, unscaled) = text::decimal_parts(bytes);
                Self::Decimal(scale, unscaled)
            }
            _ => Self::Integer(BigInt::from_signed_bytes_be(bytes)),
        }
    }

    fn sum(cql_type: &CqlType, values: &[&Bytes]) -> Self {
        let zero = match cql_type {
            CqlType::Float | CqlType::Double => Self::Float(0.0),
            CqlType::Decimal => Self::Decimal(0, BigInt::default()),
            _ => Self::Integer(BigInt::default()),
        };
        values.iter().fold(zero, |sum, value| match (sum, Self::read(cql_type, value)) {
            (Self::Integer(a), Self::Integer(b)) => Self::Integer(a + b),
            (Self::Float(a), Self::Float(b)) => Self::Float(a + b),
            (Self::Decimal(a_scale, a), Self::Decimal(b_scale, b)) => {
                // Scales far apart would make numbers of millions of digits: they are kept within reason.
                let scale = a_scale.max(b_scale).min(a_scale.min(b_scale).saturating_add(1000));
                Self::Decimal(scale, rescale(&a, a_scale, scale) + rescale(&b, b_scale, scale))
            }
            (sum, _) => sum,
        })
    }

    fn divide(self, count: usize) -> Self {
        if count == 0 {
            return self;
        }
        match self {
            Self::Integer(n) => Self::Integer(n / count),
            Self::Decimal(scale, n) => {
                // Half-even rounding at the scale of the sum, as BigDecimal.divide(…, HALF_EVEN).
                let count = BigInt::from(count);
                let (quotient, rest) = (&n / &count, &n % &count);
                let doubled: BigInt = BigInt::from(rest.magnitude().clone()) * 2;
                let odd = (&quotient % 2) != BigInt::default();
                let up = doubled > count || doubled == count && odd;
                let step = if n.sign() == num_bigint::Sign::Minus { -1 } else { 1 };
                Self::Decimal(scale, if up { quotient + step } else { quotient })
            }
            Self::Float(n) => Self::Float(n / count as f64),
        }
    }

    fn encode(&self, cql_type: &CqlType) -> Bytes {
        let integer = |n: &BigInt, length: usize| {
            // Two's complement, cut to the type's length: overflow wraps around.
            let bytes = n.to_signed_bytes_be();
            let fill = if n.sign() == num_bigint::Sign::Minus { 0xff } else { 0 };
            let mut out = vec![fill; length.saturating_sub(bytes.len())];
            out.extend_from_slice(&bytes[bytes.len().saturating_sub(length)..]);
            Bytes::from(out)
        };
        let as_float = || match self {
            Self::Integer(n) => n.to_string().parse().unwrap_or(0.0),
            Self::Decimal(scale, n) => {
                text::to_text(&CqlType::Decimal, &text::encode_decimal(*scale, n)).parse().unwrap_or(0.0)
            }
            Self::Float(n) => *n,
        };
        let as_integer = || match self {
            Self::Integer(n) => n.clone(),
            Self::Decimal(scale, n) => rescale(n, *scale, 0),
            Self::Float(n) => BigInt::from(*n as i128),
        };
        let narrowed = || match self {
            Self::Float(n) => BigInt::from(*n as i32),
            Self::Integer(_) | Self::Decimal(..) => as_integer(),
        };
        match cql_type {
            CqlType::Float => Bytes::copy_from_slice(&(as_float() as f32).to_be_bytes()),
            CqlType::Double => Bytes::copy_from_slice(&as_float().to_be_bytes()),
            CqlType::Decimal => match self {
                Self::Decimal(scale, n) => text::encode_decimal(*scale, n),
                Self::Integer(n) => text::encode_decimal(0, n),
                Self::Float(n) => {
                    text::from_text(&CqlType::Decimal, &n.to_string()).unwrap_or_else(|_| Bytes::from_static(&[0; 5]))
                }
            },
            CqlType::Varint => Bytes::from(as_integer().to_signed_bytes_be()),
            // Java narrows a float to an int or long by cutting it at the bounds, and from there on by cutting bits.
            CqlType::Tinyint => integer(&narrowed(), 1),
            CqlType::Smallint => integer(&narrowed(), 2),
            CqlType::Int => integer(&narrowed(), 4),
            _ => match self {
                Self::Float(n) => integer(&BigInt::from(*n as i64), 8),
                Self::Integer(_) | Self::Decimal(..) => integer(&as_integer(), 8),
            },
        }
    }
}

fn rescale(n: &BigInt, from: i32, to: i32) -> BigInt {
    let steps = (i64::from(to) - i64::from(from)).clamp(-10_000, 10_000);
    let power = BigInt::from(10).pow(steps.unsigned_abs() as u32);
    if steps >= 0 { n * power } else { n / power }
}

fn cast(from: &CqlType, to: &CqlType, bytes: &Bytes) -> Result<Value, ServerError> {
    use CqlType as T;
    if bytes.is_empty() {
        return Ok(None);
    }
    Ok(Some(match (from, to) {
        _ if from == to => bytes.clone(),
        (T::Timestamp, T::Text | T::Ascii) => Bytes::from(text::to_text(from, bytes).replacen(' ', "T", 1)),
        (_, T::Text | T::Ascii) => Bytes::from(text::to_text(from, bytes)),
        (T::Timestamp, T::Bigint) => bytes.clone(),
        (T::Timeuuid | T::Date, T::Timestamp) => Bytes::copy_from_slice(&millis_of(from, bytes).to_be_bytes()),
        (_, T::Date) => Bytes::copy_from_slice(&day_of(millis_of(from, bytes)).to_be_bytes()),
        _ => Number::read(from, bytes).encode(to),
    }))
}

/// Milliseconds since the epoch of a timeuuid, date or timestamp.
fn millis_of(cql_type: &CqlType, bytes: &Bytes) -> i64 {
    match cql_type {
        CqlType::Date => (i64::from(text::integer(bytes) as u32) - time::DATE_EPOCH) * 86_400_000,
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

fn day_of(millis: i64) -> u32 {
    (millis.div_euclid(86_400_000) + time::DATE_EPOCH) as u32
}

/// The least or greatest timeuuid of a millisecond; their bytes compare as signed.
fn timeuuid_bound(millis: i64, greatest: bool) -> Bytes {
    let micros = millis.saturating_mul(1000);
    let mut bytes =
        time_uuid(if greatest { micros.saturating_add(999) } else { micros }, if greatest { 9 } else { 0 }, 0).to_vec();
    bytes[8..].fill(if greatest { 0x7f } else { 0x80 });
    Bytes::from(bytes)
}

/// A double as Java's `Double.toString` shows it.
#[must_use]
pub fn java_double(number: f64) -> String {
    text::to_text(&CqlType::Double, &Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// The finaliser of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
