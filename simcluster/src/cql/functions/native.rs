//! Which native functions there are, by name.
//!
//! Most names have a fixed set of overloads. Others make a function to measure for the arguments of a call: those
//! that take any type, or any collection, map or vector.

use super::numbers::{Math, OPERATORS, result_type};
use super::{Aggregate, Function, Kind, Mask, Similarity};
use crate::types::CqlType;
use crate::types::CqlType as T;

/// What the names of the functions behind CAST begin with.
pub(super) const CAST_PREFIX: &str = "cast_as_";

/// The types of numbers, as functions on all of them are declared.
const NUMBERS: [CqlType; 9] =
    [T::Tinyint, T::Smallint, T::Int, T::Bigint, T::Float, T::Double, T::Decimal, T::Varint, T::Counter];

/// Functions that Cassandra has and the simulated cluster has not.
pub(super) const NOT_MODELLED: &[&str] = &["mask_hash", "empty_as_blob", "blob_as_empty", "emptyasblob", "blobasempty"];

/// The overloads of a name with fixed types, in the order of their declaration.
pub(super) fn overloads(name: &str) -> Vec<Function> {
    let one = |kind, arguments: &[CqlType], result| vec![Function::new(name, arguments, result, kind)];
    let each = |kind: Kind, sources: &[CqlType], result: &CqlType| {
        sources.iter().map(|t| Function::new(name, std::slice::from_ref(t), result.clone(), kind)).collect()
    };
    match name {
        "now" | "current_timeuuid" | "currenttimeuuid" => one(Kind::Now, &[], T::Timeuuid),
        "uuid" => one(Kind::Uuid, &[], T::Uuid),
        "current_timestamp" | "currenttimestamp" => one(Kind::CurrentTimestamp, &[], T::Timestamp),
        "current_date" | "currentdate" => one(Kind::CurrentDate, &[], T::Date),
        "current_time" | "currenttime" => one(Kind::CurrentTime, &[], T::Time),
        "min_timeuuid" | "mintimeuuid" => one(Kind::MinTimeuuid, &[T::Timestamp], T::Timeuuid),
        "max_timeuuid" | "maxtimeuuid" => one(Kind::MaxTimeuuid, &[T::Timestamp], T::Timeuuid),
        "dateof" => one(Kind::ToTimestamp, &[T::Timeuuid], T::Timestamp),
        "unixtimestampof" => one(Kind::ToUnixTimestamp, &[T::Timeuuid], T::Bigint),
        "to_date" | "todate" => each(Kind::ToDate, &[T::Timeuuid, T::Timestamp], &T::Date),
        "to_timestamp" | "totimestamp" => each(Kind::ToTimestamp, &[T::Timeuuid, T::Date], &T::Timestamp),
        "to_unix_timestamp" | "tounixtimestamp" => {
            each(Kind::ToUnixTimestamp, &[T::Timeuuid, T::Timestamp, T::Date], &T::Bigint)
        }
        "floor" => floors(),
        "abs" => of_each_number(name, Kind::Math(Math::Abs)),
        "exp" => of_each_number(name, Kind::Math(Math::Exp)),
        "log" => of_each_number(name, Kind::Math(Math::Log)),
        "log10" => of_each_number(name, Kind::Math(Math::Log10)),
        "round" => of_each_number(name, Kind::Math(Math::Round)),
        NEGATION => NUMBERS.iter().map(|t| number_to_itself(name, t, Kind::Math(Math::Negate))).collect(),
        "sum" => of_each_number(name, Kind::Aggregate(Aggregate::Sum)),
        "avg" => of_each_number(name, Kind::Aggregate(Aggregate::Avg)),
        "count" => one(Kind::Aggregate(Aggregate::Count), &[T::Blob], T::Bigint),
        "count_rows" => one(Kind::CountRows, &[], T::Bigint),
        _ => match name.strip_prefix(CAST_PREFIX) {
            Some(to) => casts(name, to),
            None => operations(name).or_else(|| blob_function(name).map(|f| vec![f])).unwrap_or_default(),
        },
    }
}

/// The function behind a `-` before a term.
pub const NEGATION: &str = "_negate";

fn number_to_itself(name: &str, cql_type: &CqlType, kind: Kind) -> Function {
    Function::new(name, std::slice::from_ref(cql_type), cql_type.clone(), kind)
}

fn of_each_number(name: &str, kind: Kind) -> Vec<Function> {
    NUMBERS.iter().map(|t| number_to_itself(name, t, kind)).collect()
}

fn floors() -> Vec<Function> {
    let floor = |arguments: &[CqlType], result| Function::new("floor", arguments, result, Kind::Floor);
    vec![
        floor(&[T::Timestamp, T::Duration], T::Timestamp),
        floor(&[T::Timestamp, T::Duration, T::Timestamp], T::Timestamp),
        floor(&[T::Timeuuid, T::Duration], T::Timestamp),
        floor(&[T::Timeuuid, T::Duration, T::Timestamp], T::Timestamp),
        floor(&[T::Date, T::Duration], T::Date),
        floor(&[T::Date, T::Duration, T::Date], T::Date),
        floor(&[T::Time, T::Duration], T::Time),
    ]
}

/// An operator on every pair of numbers; `+` and `-` of times and durations; `+` of texts.
fn operations(name: &str) -> Option<Vec<Function>> {
    let operator = OPERATORS.into_iter().find(|o| o.function() == name)?;
    let operation = |left: &CqlType, right: &CqlType, result| {
        Function::new(name, &[left.clone(), right.clone()], result, Kind::Operation(operator))
    };
    let numbers = &NUMBERS;
    let mut all: Vec<Function> = Vec::new();
    for left in numbers {
        all.extend(numbers.iter().map(|right| operation(left, right, result_type(left, right))));
    }
    if matches!(operator.symbol(), '+' | '-') {
        all.extend([T::Timestamp, T::Date].map(|t| operation(&t, &T::Duration, t.clone())));
    }
    if operator.symbol() == '+' {
        for (left, right) in [(T::Text, T::Text), (T::Ascii, T::Ascii), (T::Ascii, T::Text), (T::Text, T::Ascii)] {
            let result = if left == right { left.clone() } else { T::Text };
            all.push(operation(&left, &right, result));
        }
    }
    Some(all)
}

/// The casts to a type, by its name: from every type that has one.
fn casts(name: &str, to: &str) -> Vec<Function> {
    // `varchar` is another name of `text`, but the functions are known by that one.
    let Some(target) = CqlType::native(to).filter(|t| t.to_string() == to) else { return Vec::new() };
    let sources: Vec<CqlType> = match target {
        T::Text | T::Ascii => {
            let mut sources = NUMBERS.to_vec();
            sources.extend([T::Inet, T::Boolean, T::Timeuuid, T::Timestamp, T::Date, T::Time, T::Uuid]);
            sources.extend((target == T::Text).then_some(T::Ascii));
            sources
        }
        T::Date => vec![T::Timeuuid, T::Timestamp],
        T::Timestamp => vec![T::Timeuuid, T::Date],
        T::Counter => Vec::new(),
        ref number if number.is_number() => NUMBERS.iter().filter(|t| *t != number).cloned().collect(),
        _ => Vec::new(),
    };
    sources.iter().map(|from| Function::new(name, std::slice::from_ref(from), target.clone(), Kind::Cast)).collect()
}

/// `int_as_blob`, `intasblob`, `blob_as_int`, `blobasint`.
fn blob_function(name: &str) -> Option<Function> {
    let native = |shown: &str| CqlType::native(shown).filter(|t| *t != T::Blob);
    let from = name.strip_suffix("_as_blob").or_else(|| name.strip_suffix("asblob"));
    if let Some(from) = from.and_then(native) {
        return Some(Function::new(name, &[from], T::Blob, Kind::ToBlob));
    }
    let to = name.strip_prefix("blob_as_").or_else(|| name.strip_prefix("blobas"))?;
    native(to).map(|to| Function::new(name, &[T::Blob], to, Kind::FromBlob))
}

/// What a function that is made to measure demands of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    /// Any type; the flag is for taking the type that the result is needed as.
    Any(bool),
    /// One of these types; the first if it is not known.
    Fixed(&'static [CqlType]),
    Collection,
    SetOrList,
    NumericSetOrList,
    Map,
    FloatVector,
}

/// A function that is made to measure: how it takes its arguments.
#[derive(Clone, Debug)]
pub(super) struct Factory {
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// How many of them must be given.
    pub mandatory: usize,
    /// Whose type an argument has if its own is not known, or in any case.
    pub same_as: Vec<Option<(usize, bool)>>,
    kind: Kind,
}

/// The factory of a name, if there is one.
pub(super) fn factory(name: &str) -> Option<Factory> {
    use Parameter as P;
    let text: &'static [CqlType] = &[T::Text];
    let string: &'static [CqlType] = &[T::Text, T::Ascii];
    let int: &'static [CqlType] = &[T::Int];
    let mut same_as = Vec::new();
    let mut mandatory = 1;
    let (kind, parameters) = match name {
        "to_json" | "tojson" => (Kind::ToJson, vec![P::Any(false)]),
        "from_json" | "fromjson" => (Kind::FromJson, vec![P::Fixed(text)]),
        "min" => (Kind::Aggregate(Aggregate::Min), vec![P::Any(true)]),
        "max" => (Kind::Aggregate(Aggregate::Max), vec![P::Any(true)]),
        "map_keys" => (Kind::MapKeys, vec![P::Map]),
        "map_values" => (Kind::MapValues, vec![P::Map]),
        "collection_count" => (Kind::CollectionCount, vec![P::Collection]),
        "collection_min" => (Kind::OfElements(Aggregate::Min), vec![P::SetOrList]),
        "collection_max" => (Kind::OfElements(Aggregate::Max), vec![P::SetOrList]),
        "collection_sum" => (Kind::OfElements(Aggregate::Sum), vec![P::NumericSetOrList]),
        "collection_avg" => (Kind::OfElements(Aggregate::Avg), vec![P::NumericSetOrList]),
        "similarity_cosine" | "similarity_euclidean" | "similarity_dot_product" => {
            (same_as, mandatory) = (vec![Some((1, false)), Some((0, false))], 2);
            let kind = match name {
                "similarity_cosine" => Similarity::Cosine,
                "similarity_euclidean" => Similarity::Euclidean,
                _ => Similarity::DotProduct,
            };
            (Kind::Similarity(kind), vec![P::FloatVector, P::FloatVector])
        }
        "mask_null" => (Kind::Mask(Mask::Null), vec![P::Any(false)]),
        "mask_default" => (Kind::Mask(Mask::Default), vec![P::Any(false)]),
        "mask_replace" => {
            (same_as, mandatory) = (vec![None, Some((0, true))], 2);
            (Kind::Mask(Mask::Replace), vec![P::Any(true), P::Any(true)])
        }
        "mask_inner" | "mask_outer" => {
            mandatory = 3;
            let kind = if name == "mask_inner" { Mask::Inner } else { Mask::Outer };
            (Kind::Mask(kind), vec![P::Fixed(string), P::Fixed(int), P::Fixed(int), P::Fixed(text)])
        }
        _ => return None,
    };
    Some(Factory { name: name.to_owned(), parameters, mandatory, same_as, kind })
}

impl Factory {
    /// The name and what it takes, as messages show it.
    pub(super) fn shown(&self) -> String {
        let parameters = self.parameters.iter().enumerate().map(|(index, parameter)| {
            let shown = parameter.shown();
            if index < self.mandatory { shown } else { format!("[{shown}]") }
        });
        format!("system.{}({})", self.name, parameters.collect::<Vec<_>>().join(", "))
    }

    /// The function for arguments of these types, which the parameters have taken.
    ///
    /// # Errors
    ///
    /// Types that each are right but not together.
    pub(super) fn make(&self, types: &[CqlType], wanted: Option<&CqlType>) -> Result<Function, String> {
        let first = types.first().cloned().unwrap_or(T::Blob);
        let element = match &first {
            T::List { element, .. } | T::Set { element, .. } => element.as_ref().clone(),
            _ => first.clone(),
        };
        let result = match (self.kind, &first) {
            (Kind::ToJson, _) => T::Text,
            (Kind::FromJson, _) => match wanted {
                Some(wanted) => wanted.clone(),
                None => {
                    return Err(format!(
                        "{}() cannot be used in the selection clause of a SELECT statement",
                        self.name
                    ));
                }
            },
            (Kind::MapKeys, T::Map { key, .. }) => CqlType::set(key.as_ref().clone(), true),
            (Kind::MapValues, T::Map { value, .. }) => CqlType::list(value.as_ref().clone(), true),
            (Kind::CollectionCount, _) => T::Int,
            (Kind::OfElements(_), _) => element,
            (Kind::Similarity(_), _) => {
                if types.iter().any(|t| vector_len(t) != vector_len(&first)) {
                    return Err("All arguments must have the same vector dimensions".to_owned());
                }
                T::Float
            }
            _ => first,
        };
        let mut function = Function::new(&self.name, types, result, self.kind);
        if self.kind == Kind::FromJson {
            function.arguments = vec![T::Text];
        }
        if let (Kind::Mask(Mask::Inner | Mask::Outer), [_, rest @ ..]) = (self.kind, &mut function.arguments[..]) {
            rest.iter_mut().zip([T::Int, T::Int, T::Text]).for_each(|(argument, fixed)| *argument = fixed);
        }
        function.is_made_to_measure = true;
        Ok(function)
    }
}

const fn vector_len(cql_type: &CqlType) -> Option<u16> {
    match cql_type {
        T::Vector { dimensions, .. } => Some(*dimensions),
        _ => None,
    }
}

impl Parameter {
    pub(super) fn shown(self) -> String {
        match self {
            Self::Any(_) => "any".to_owned(),
            Self::Fixed([only]) => only.to_string(),
            // Text has two names, and messages give both.
            Self::Fixed(_) => "[text|varchar|ascii]".to_owned(),
            Self::Collection => "collection".to_owned(),
            Self::SetOrList | Self::NumericSetOrList => "numeric_set_or_list".to_owned(),
            Self::Map => "map".to_owned(),
            Self::FloatVector => "vector<float, n>".to_owned(),
        }
    }

    /// Whether it takes an argument of a type; otherwise what it requires, as messages say it.
    pub(super) fn check(self, cql_type: &CqlType) -> Result<(), String> {
        use crate::types::compatible::fit;
        let (takes, required) = match self {
            Self::Any(_) => (true, String::new()),
            Self::Fixed(types) => (
                types.iter().any(|t| fit(cql_type, t).is_assignable()),
                format!("an argument of type {}", self.shown()),
            ),
            Self::Collection => (cql_type.is_collection(), "a collection argument".to_owned()),
            Self::SetOrList => {
                (matches!(cql_type, T::List { .. } | T::Set { .. }), "a set or list argument".to_owned())
            }
            Self::NumericSetOrList => (
                matches!(cql_type, T::List { element, .. } | T::Set { element, .. } if element.is_number()),
                "a numeric set/list argument".to_owned(),
            ),
            Self::Map => (matches!(cql_type, T::Map { .. } | T::Udt { .. }), "a map argument".to_owned()),
            Self::FloatVector => (
                matches!(cql_type, T::Vector { element, .. } if **element == T::Float)
                    || matches!(cql_type, T::List { element, .. } if !fit(element, &T::Float).is_assignable()),
                "a float vector argument".to_owned(),
            ),
        };
        if takes { Ok(()) } else { Err(required) }
    }
}
