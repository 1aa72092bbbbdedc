//! What a function makes of its arguments.

use super::calendar::{self, Duration, Refusal};
use super::numbers::{self, Failure, Number};
use super::{Aggregate, Function, Kind, Mask, Operator, Similarity};
use crate::cql::BindOptions;
use crate::cql::parser::not_modelled;
use crate::cql::row::time_uuid;
use crate::protocol::ServerError;
use crate::ring::Token;
use crate::types::{CqlType, Value, codec, json, order, text, validate};
use bytes::Bytes;

fn invalid(message: impl Into<String>) -> ServerError {
    ServerError::Invalid(message.into())
}

fn fixed(bytes: &[u8]) -> Value {
    Some(Bytes::copy_from_slice(bytes))
}

fn refused(refusal: Refusal) -> ServerError {
    match refusal {
        Refusal::Told(told) => invalid(told),
        Refusal::NotModelled(what) => not_modelled(what),
    }
}

impl Function {
    /// Evaluates a scalar function.
    ///
    /// # Errors
    ///
    /// What Cassandra says of arguments without a result.
    pub fn call(&self, arguments: &[Value], options: &BindOptions, sequence: u64) -> Result<Value, ServerError> {
        // The clock has whole seconds; the write time is the closest to a finer one.
        let micros = options.clock;
        Ok(match self.kind {
            Kind::Now => Some(time_uuid(micros, sequence, options.entropy)),
            Kind::Uuid => fixed(&random_uuid(options.entropy, sequence)),
            Kind::CurrentTimestamp => fixed(&(micros / 1000).to_be_bytes()),
            Kind::CurrentDate => fixed(&calendar::day_of(micros / 1000).to_be_bytes()),
            Kind::CurrentTime => fixed(&(micros.rem_euclid(86_400_000_000) * 1000).to_be_bytes()),
            Kind::ToJson => {
                let shown = json::to_json(&self.arguments[0], arguments.first().and_then(Option::as_ref));
                fixed(shown.as_bytes())
            }
            Kind::Token => token(arguments),
            Kind::ToBlob => arguments.first().cloned().flatten(),
            Kind::FromBlob => self.of_blob(arguments)?,
            Kind::Mask(mask) => self.mask(mask, arguments)?,
            _ => match self.meaningful(arguments) {
                Some(present) => self.computed(&present)?,
                None => None,
            },
        })
    }

    /// The arguments, if none is null; an empty value of most types is as good as null.
    fn meaningful(&self, arguments: &[Value]) -> Option<Vec<Bytes>> {
        let given = arguments.iter().zip(&self.arguments);
        given.map(|(value, t)| value.clone().filter(|bytes| !bytes.is_empty() || has_empty_values(t))).collect()
    }

    /// What functions compute that give null for null.
    fn computed(&self, arguments: &[Bytes]) -> Result<Value, ServerError> {
        let Some(first) = arguments.first() else { return Ok(None) };
        let from = &self.arguments[0];
        Ok(match self.kind {
            Kind::MinTimeuuid => Some(calendar::timeuuid_bound(text::integer(first), false)),
            Kind::MaxTimeuuid => Some(calendar::timeuuid_bound(text::integer(first), true)),
            Kind::ToTimestamp | Kind::ToUnixTimestamp => fixed(&calendar::millis_of(from, first).to_be_bytes()),
            Kind::ToDate => Some(calendar::of_millis(&CqlType::Date, calendar::millis_of(from, first))),
            Kind::Floor => {
                let start = match (arguments.get(2), self.arguments.get(2)) {
                    (Some(start), Some(cql_type)) => calendar::millis_of(cql_type, start),
                    _ => 0,
                };
                let floored = calendar::floor(from, &self.result, first, Duration::read(&arguments[1]), start);
                Some(floored.map_err(refused)?)
            }
            Kind::Cast => Some(cast(from, &self.result, first)),
            Kind::Operation(operator) => Some(self.operate(operator, first, &arguments[1])?),
            Kind::Math(math) => {
                let computed = numbers::math(math, from, &Number::read(from, first));
                Some(computed.map_err(|failure| match failure {
                    Failure::Told(told) => invalid(told),
                    Failure::NotModelled(what) => not_modelled(what),
                })?)
            }
            Kind::FromJson => self.of_json(first)?,
            Kind::MapKeys | Kind::MapValues => {
                let parts = codec::split_collection(first, true).unwrap_or_default();
                let offset = usize::from(self.kind == Kind::MapValues);
                let taken: Vec<Value> = parts.into_iter().skip(offset).step_by(2).collect();
                Some(codec::join_collection(taken.len(), &taken))
            }
            Kind::CollectionCount => {
                let is_map = matches!(from, CqlType::Map { .. });
                let parts = codec::split_collection(first, is_map).unwrap_or_default().len();
                let count = if is_map { parts / 2 } else { parts };
                fixed(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes())
            }
            Kind::OfElements(aggregate) => {
                let parts = codec::split_collection(first, false).unwrap_or_default();
                aggregate.of(&self.result, &parts.iter().flatten().collect::<Vec<_>>())
            }
            Kind::Similarity(similarity) => Some(self.similarity(similarity, first, &arguments[1])?),
            _ => None,
        })
    }

    fn operate(&self, operator: Operator, left: &Bytes, right: &Bytes) -> Result<Bytes, ServerError> {
        let [a, b] = [&self.arguments[0], &self.arguments[1]];
        let failed = |told: &str| {
            let arguments = vec![a.to_string(), b.to_string()];
            let message = format!("the operation '{a} {} {b}' failed: {told}", operator.symbol());
            ServerError::FunctionFailure {
                keyspace: "system".to_owned(),
                function: self.name.clone(),
                arguments,
                message,
            }
        };
        if *b == CqlType::Duration {
            let sum = calendar::add(a, left, Duration::read(right), operator == Operator::Subtract);
            return sum.map_err(|refusal| match refusal {
                Refusal::Told(told) => failed(&told),
                Refusal::NotModelled(what) => not_modelled(what),
            });
        }
        if !a.is_number() {
            return Ok(Bytes::from([&left[..], &right[..]].concat()));
        }
        let computed = numbers::operate(operator, &self.result, &Number::read(a, left), &Number::read(b, right));
        computed.map_err(|failure| match failure {
            Failure::Told(told) => failed(told),
            Failure::NotModelled(what) => not_modelled(what),
        })
    }

    fn of_blob(&self, arguments: &[Value]) -> Result<Value, ServerError> {
        let Some(Some(argument)) = arguments.first() else { return Ok(None) };
        validate::validate(&self.result, argument).map_err(|_| {
            invalid(format!(
                "In call to function {}, value 0x{} is not a valid binary representation for type {}",
                self.full_name(),
                text::encode_hex(argument),
                self.result
            ))
        })?;
        Ok(Some(argument.clone()))
    }

    fn of_json(&self, argument: &Bytes) -> Result<Value, ServerError> {
        let written = String::from_utf8_lossy(argument);
        let parsed =
            json::Json::parse(&written).ok_or_else(|| invalid(format!("Could not decode JSON string '{written}'")))?;
        json::from_json(&self.result, &parsed).map_err(|e| ServerError::FunctionFailure {
            keyspace: "system".to_owned(),
            function: self.name.clone(),
            arguments: vec!["text".to_owned()],
            message: format!("org.apache.cassandra.serializers.MarshalException: {e}"),
        })
    }

    fn similarity(&self, similarity: Similarity, left: &Bytes, right: &Bytes) -> Result<Bytes, ServerError> {
        let CqlType::Vector { element, dimensions } = &self.arguments[0] else { return Ok(Bytes::new()) };
        let floats = |bytes: &Bytes| -> Vec<f32> {
            let parts = codec::split_vector(element, *dimensions, bytes).unwrap_or_default();
            parts.iter().map(|part| text::float(part) as f32).collect()
        };
        let (a, b) = (floats(left), floats(right));
        let is_zero = |v: &[f32]| v.iter().all(|n| *n == 0.0);
        if similarity == Similarity::Cosine && (is_zero(&a) || is_zero(&b)) {
            return Err(invalid(format!("Function {} doesn't support all-zero vectors.", self.full_name())));
        }
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |sum, (x, y)| x.mul_add(*y, sum));
        let result = match similarity {
            Similarity::DotProduct => (1.0 + dot(&a, &b)) / 2.0,
            Similarity::Cosine => {
                let cosine = f64::from(dot(&a, &b)) / (f64::from(dot(&a, &a)) * f64::from(dot(&b, &b))).sqrt();
                (1.0 + cosine as f32) / 2.0
            }
            Similarity::Euclidean => {
                let squares = a.iter().zip(&b).fold(0.0_f32, |sum, (x, y)| (x - y).mul_add(x - y, sum));
                1.0 / (1.0 + squares)
            }
        };
        Ok(Bytes::copy_from_slice(&result.to_be_bytes()))
    }

    fn mask(&self, mask: Mask, arguments: &[Value]) -> Result<Value, ServerError> {
        let first = arguments.first().cloned().flatten();
        match mask {
            Mask::Null => Ok(None),
            Mask::Replace => Ok(arguments.get(1).cloned().flatten()),
            Mask::Default => default_mask(&self.arguments[0]).map(Some),
            Mask::Inner | Mask::Outer => {
                let Some(value) = first else { return Ok(None) };
                let count =
                    |index: usize| arguments.get(index).and_then(Option::as_ref).map_or(0, |b| text::integer(b));
                let padding = match arguments.get(3).and_then(Option::as_ref) {
                    None => '*',
                    Some(given) => self.padding(&String::from_utf8_lossy(given))?,
                };
                let chars: Vec<char> = String::from_utf8_lossy(&value).chars().collect();
                let last = chars.len() as i64 - 1 - count(2);
                let hidden = |place: usize| {
                    let inside = place as i64 >= count(1) && place as i64 <= last;
                    if mask == Mask::Inner { inside } else { !inside }
                };
                let masked: String =
                    chars.iter().enumerate().map(|(place, c)| if hidden(place) { padding } else { *c }).collect();
                Ok(Some(Bytes::from(masked)))
            }
        }
    }

    fn padding(&self, given: &str) -> Result<char, ServerError> {
        let mut chars = given.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(invalid(format!(
                "The padding argument for function {} should be single-character, but '{given}' has {} characters.",
                self.full_name(),
                given.encode_utf16().count()
            ))),
        }
    }

    /// Evaluates an aggregate over the values of a group, nulls included.
    #[must_use]
    pub fn aggregate(&self, values: &[Value]) -> Value {
        match self.kind {
            Kind::CountRows => fixed(&(values.len() as i64).to_be_bytes()),
            Kind::Aggregate(aggregate) => {
                aggregate.of(&self.arguments[0], &values.iter().flatten().collect::<Vec<_>>())
            }
            _ => None,
        }
    }
}

impl Aggregate {
    /// Over values of a type, none of them null.
    fn of(self, cql_type: &CqlType, values: &[&Bytes]) -> Value {
        let meaningful: Vec<&Bytes> =
            values.iter().copied().filter(|bytes| !bytes.is_empty() || has_empty_values(cql_type)).collect();
        match self {
            Self::Count => fixed(&(values.len() as i64).to_be_bytes()),
            Self::Min => meaningful.into_iter().min_by_key(|v| order::encode(cql_type, v)).cloned(),
            Self::Max => meaningful.into_iter().max_by_key(|v| order::encode(cql_type, v)).cloned(),
            Self::Sum => Some(numbers::sum(cql_type, &meaningful)),
            Self::Avg => Some(numbers::average(cql_type, &meaningful)),
        }
    }
}

/// Whether an empty value of a type means something of its own, instead of nothing.
const fn has_empty_values(cql_type: &CqlType) -> bool {
    use CqlType as T;
    matches!(
        cql_type,
        T::Text
            | T::Ascii
            | T::Blob
            | T::List { .. }
            | T::Set { .. }
            | T::Map { .. }
            | T::Tuple(_)
            | T::Udt { .. }
            | T::Vector { .. }
    )
}

fn token(arguments: &[Value]) -> Value {
    let parts: Option<Vec<Bytes>> = arguments.iter().cloned().collect();
    let key = parts.and_then(|parts| codec::join_partition_key(&parts))?;
    fixed(&Token::of_key(&key).0.to_be_bytes())
}

fn cast(from: &CqlType, to: &CqlType, bytes: &Bytes) -> Bytes {
    use CqlType as T;
    match (from, to) {
        (T::Timestamp, T::Text | T::Ascii) => Bytes::from(text::to_text(from, bytes).replacen(' ', "T", 1)),
        (_, T::Text | T::Ascii) => Bytes::from(text::to_text(from, bytes)),
        (_, T::Date | T::Timestamp) => calendar::of_millis(to, calendar::millis_of(from, bytes)),
        _ => Number::read(from, bytes).cast(to).write(to),
    }
}

/// What `mask_default` puts in place of any value of a type.
fn default_mask(cql_type: &CqlType) -> Result<Bytes, ServerError> {
    use CqlType as T;
    let shown = match cql_type {
        T::Text | T::Ascii => "****",
        number if number.is_number() => "0",
        T::Boolean => "false",
        T::Blob => "",
        T::Timestamp | T::Time => "0",
        T::Date => "1970-01-01",
        T::Inet => "0.0.0.0",
        T::Duration => return Ok(codec::encode_duration(0, 0, 0)),
        T::Uuid => "00000000-0000-0000-0000-000000000000",
        T::Timeuuid => return Ok(calendar::timeuuid_bound(0, false)),
        collection if collection.is_collection() => return Ok(codec::join_collection(0, &[])),
        _ => return Err(not_modelled(&format!("the default mask of the type {cql_type}"))),
    };
    text::from_text(cql_type, shown).map_err(invalid)
}

fn random_uuid(entropy: u64, sequence: u64) -> [u8; 16] {
    let high = entropy.wrapping_add(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(high).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(high ^ 0x5555_5555_5555_5555).to_be_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// The finaliser of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
