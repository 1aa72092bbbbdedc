//! The native functions: scalar functions, operators, casts and aggregates.
//!
//! `native` says which there are, `resolve` which of them a call means, `evaluate` computes them; `numbers`,
//! `decimals` and `calendar` are the arithmetic.

mod calendar;
mod decimals;
mod evaluate;
mod native;
mod numbers;
mod resolve;

pub use native::NEGATION;
use numbers::Math;
pub use numbers::{OPERATORS, Operator};
pub use resolve::{Argument, Call, resolve, shown_name};

use crate::types::{CqlType, quote_name, text};
use bytes::Bytes;

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
    is_made_to_measure: bool,
}

/// What a function computes.
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
    Floor,
    ToBlob,
    FromBlob,
    Token,
    ToJson,
    FromJson,
    Cast,
    Operation(Operator),
    Math(Math),
    MapKeys,
    MapValues,
    CollectionCount,
    OfElements(Aggregate),
    Similarity(Similarity),
    Mask(Mask),
    CountRows,
    Aggregate(Aggregate),
}

/// What an aggregate gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Count,
    Min,
    Max,
    Sum,
    Avg,
}

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Similarity {
    Cosine,
    Euclidean,
    DotProduct,
}

/// What a masking function puts in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    Null,
    Default,
    Replace,
    Inner,
    Outer,
}

impl Function {
    fn new(name: &str, arguments: &[CqlType], result: CqlType, kind: Kind) -> Self {
        Self { name: name.to_owned(), arguments: arguments.to_vec(), result, kind, is_made_to_measure: false }
    }

    /// `token` of a table with these partition key types.
    #[must_use]
    pub fn token(types: &[CqlType]) -> Self {
        Self::new("token", types, CqlType::Bigint, Kind::Token)
    }

    /// The number of rows.
    #[must_use]
    pub fn count_rows() -> Self {
        Self::new("count_rows", &[], CqlType::Bigint, Kind::CountRows)
    }

    /// Whether it takes many rows to one value.
    #[must_use]
    pub const fn is_aggregate(&self) -> bool {
        matches!(self.kind, Kind::CountRows | Kind::Aggregate(_))
    }

    /// Whether it always gives the same for the same arguments.
    #[must_use]
    pub const fn is_pure(&self) -> bool {
        !matches!(self.kind, Kind::Now | Kind::Uuid | Kind::CurrentTimestamp | Kind::CurrentDate | Kind::CurrentTime)
    }

    /// Whether it was made for the arguments of a call, instead of being one of several with fixed types.
    #[must_use]
    pub const fn is_made_to_measure(&self) -> bool {
        self.is_made_to_measure
    }

    /// The sign of an arithmetic operator, if it is one.
    #[must_use]
    pub const fn operator(&self) -> Option<char> {
        match self.kind {
            Kind::Operation(operator) => Some(operator.symbol()),
            _ => None,
        }
    }

    /// `system.name`, as messages show it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("system.{}", self.name)
    }

    /// Name and types, as messages list overloads.
    #[must_use]
    pub fn signature(&self) -> String {
        format!("system.{} : ({}) -> {}", quote_name(&self.name), shown_types(&self.arguments), self.result)
    }

    /// How a result column or a message shows a call.
    #[must_use]
    pub fn shown(&self, arguments: &[String]) -> String {
        match (self.kind, arguments) {
            (Kind::CountRows, _) => "count".to_owned(),
            (Kind::Operation(operator), [left, right]) => format!("{left} {} {right}", operator.symbol()),
            (Kind::Math(Math::Negate), [only]) => format!("-{only}"),
            (Kind::Cast, [only]) => {
                format!("cast({only} as {})", self.name.trim_start_matches(native::CAST_PREFIX))
            }
            _ => format!("{}({})", self.full_name(), arguments.join(", ")),
        }
    }

    /// The type that clients are told its result has.
    #[must_use]
    pub fn announced(&self) -> CqlType {
        let is_converted = matches!(self.kind, Kind::Aggregate(_) | Kind::Mask(_) | Kind::FromBlob);
        match self.result {
            CqlType::Timeuuid if is_converted => CqlType::LegacyTimeuuid,
            _ => self.result.clone(),
        }
    }
}

/// Types as signatures list them: tuples without the `frozen` that they always are.
fn shown_types(types: &[CqlType]) -> String {
    let shown = types.iter().map(|t| {
        let shown = t.to_string();
        match t {
            CqlType::Tuple(_) => shown.trim_start_matches("frozen<").trim_end_matches('>').to_owned() + ">",
            _ => shown,
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// A double as Java's `Double.toString` shows it.
#[must_use]
pub fn java_double(number: f64) -> String {
    text::to_text(&CqlType::Double, &Bytes::copy_from_slice(&number.to_be_bytes()))
}
