//! How well a term stands where a type is needed.

use super::{Checker, unexpected_array};
use crate::cql::ast::Term;
use crate::cql::functions::Argument;
use crate::cql::parser::not_modelled;
use crate::cql::show;
use crate::protocol::ServerError;
use crate::types::CqlType;
use crate::types::compatible::{Fit, common, takes};
use crate::types::text;
use num_bigint::BigInt;
use uuid::Uuid;

/// A term given to a function.
pub struct Given<'a> {
    /// What knows the types.
    pub checker: &'a Checker<'a>,
    /// The term.
    pub term: &'a Term,
}

impl Argument for Given<'_> {
    fn fit(&self, receiver: &CqlType) -> Result<Fit, ServerError> {
        self.checker.fit(self.term, receiver)
    }

    fn compatible_type(&self) -> Option<CqlType> {
        self.checker.compatible_type(self.term)
    }

    fn shown(&self) -> String {
        show::term(self.term)
    }

    fn is_marker(&self) -> bool {
        matches!(self.term, Term::Marker(_))
    }

    fn array_len(&self) -> Option<u16> {
        None
    }
}

/// The kind of a literal, as messages name it, and its text without quotes or prefix.
pub(super) fn kind_and_text(term: &Term) -> (&'static str, String) {
    match term {
        Term::String(s) => ("STRING", s.clone()),
        Term::Integer(s) => ("INTEGER", s.clone()),
        Term::Float(s) => ("FLOAT", s.clone()),
        Term::Boolean(b) => ("BOOLEAN", b.to_string()),
        Term::Uuid(s) => ("UUID", s.clone()),
        Term::Blob(s) => ("HEX", s.clone()),
        Term::Duration(s) => ("DURATION", s.clone()),
        _ => ("", String::new()),
    }
}

/// The type that a literal would rather have than others.
fn preferred(term: &Term) -> Option<CqlType> {
    use CqlType as T;
    Some(match term {
        Term::String(s) if s.is_ascii() => T::Ascii,
        Term::String(_) => T::Text,
        Term::Integer(s) => match s.parse::<BigInt>() {
            Ok(n) if i32::try_from(&n).is_ok() => T::Int,
            Ok(n) if i64::try_from(&n).is_ok() => T::Bigint,
            _ => T::Varint,
        },
        Term::Float(s) => {
            let shown = s.parse::<f64>().ok().map(super::super::functions::java_double);
            let is_exact = |shown: String| {
                let digits =
                    |s: &str| text::from_text(&T::Decimal, s).map(|b| crate::types::order::encode(&T::Decimal, &b));
                shown.ends_with(['N', 'y']) || digits(&shown) == digits(s)
            };
            if shown.is_some_and(is_exact) { T::Double } else { T::Decimal }
        }
        Term::Boolean(_) => T::Boolean,
        Term::Uuid(s) => match Uuid::try_parse(s) {
            Ok(uuid) if uuid.get_version_num() == 1 => T::Timeuuid,
            _ => T::Uuid,
        },
        // Not a slip here: Cassandra prefers `tinyint` for hexadecimal literals.
        Term::Blob(_) => T::Tinyint,
        Term::Duration(_) => T::Duration,
        _ => return None,
    })
}

fn literal_fit(term: &Term, receiver: &CqlType) -> Fit {
    use CqlType as T;
    if receiver.is_collection() || matches!(receiver, T::Udt { .. } | T::Vector { .. }) {
        return Fit::No;
    }
    // A tuple may be given as its text.
    if let T::Tuple(_) = receiver {
        return Fit::Weak;
    }
    if preferred(term).as_ref() == Some(receiver) {
        return Fit::Exact;
    }
    let fits = match term {
        Term::String(_) => matches!(receiver, T::Ascii | T::Text | T::Inet | T::Timestamp | T::Date | T::Time),
        Term::Integer(_) => receiver.is_number() || matches!(receiver, T::Date | T::Time | T::Timestamp | T::Duration),
        Term::Float(_) => matches!(receiver, T::Decimal | T::Double | T::Float),
        Term::Boolean(_) => matches!(receiver, T::Boolean),
        Term::Uuid(_) => matches!(receiver, T::Uuid | T::Timeuuid),
        Term::Blob(_) => matches!(receiver, T::Blob),
        Term::Duration(_) => matches!(receiver, T::Duration),
        _ => false,
    };
    if fits { Fit::Weak } else { Fit::No }
}

/// What Cassandra fails with while it only asks whether a map literal fits.
fn map_for_no_map() -> ServerError {
    not_modelled("a map literal where Cassandra fails with an internal error")
}

impl Checker<'_> {
    /// How well a term stands where a type is needed.
    pub(in crate::cql) fn fit(&self, term: &Term, receiver: &CqlType) -> Result<Fit, ServerError> {
        let all = |items: &[Term], element: &CqlType| {
            if items.is_empty() {
                return Ok(Fit::Weak);
            }
            Fit::worst(items.iter().map(|item| self.fit(item, element)))
        };
        let exactly = |is_exact: bool, is_taken: bool| match (is_exact, is_taken) {
            (true, _) => Fit::Exact,
            (false, true) => Fit::Weak,
            (false, false) => Fit::No,
        };
        Ok(match (term, receiver) {
            (Term::Null, CqlType::Counter) => Fit::No,
            (Term::Null | Term::Marker(_) | Term::Column(_), _) => Fit::Weak,
            (Term::List(items), CqlType::List { element, .. }) => all(items, element)?,
            (Term::List(items), CqlType::Vector { element, dimensions }) => {
                if items.len() == usize::from(*dimensions) {
                    all(items, element)?
                } else {
                    Fit::No
                }
            }
            (Term::List(_), _) => return Err(unexpected_array(receiver)),
            (Term::Set(items), CqlType::Set { element, .. }) => all(items, element)?,
            (Term::Set(items), CqlType::Map { .. }) if items.is_empty() => Fit::Weak,
            (Term::Set(_), _) => Fit::No,
            (Term::Map(pairs), CqlType::Map { key, value, .. }) => {
                Fit::worst(pairs.iter().flat_map(|(k, v)| [self.fit(k, key), self.fit(v, value)]))?
            }
            (Term::Map(_), _) => return Err(map_for_no_map()),
            (Term::Udt(fields), CqlType::Udt { definition, .. }) => {
                let mut fits = Fit::Weak;
                for (field, value) in fields {
                    if let Some((_, cql_type)) = definition.fields.iter().find(|(f, _)| f == field) {
                        fits = fits.max(self.fit(value, cql_type)?);
                    }
                }
                fits
            }
            (Term::Udt(_), _) => Fit::No,
            (Term::Tuple(items), CqlType::Tuple(types)) => self.tuple_fit(items, &types.iter().collect::<Vec<_>>())?,
            (Term::Tuple(items), CqlType::Udt { definition, .. }) => {
                self.tuple_fit(items, &definition.fields.iter().map(|(_, t)| t).collect::<Vec<_>>())?
            }
            (Term::Tuple(items), _) if items.len() == 1 => self.fit(&items[0], receiver)?,
            (Term::Tuple(_), _) => Fit::No,
            (Term::Call(name, arguments), _) => match self.called(name, arguments, Some(receiver)) {
                Ok(Some(function)) if function.is_made_to_measure() => Fit::Weak,
                Ok(Some(function)) => exactly(*receiver == function.result, takes(receiver, &function.result)),
                // Whatever is wrong with the call itself is told when it is looked at closely.
                Ok(None) | Err(_) => Fit::Weak,
            },
            (Term::Cast(type_name, _), _) => {
                let cast = self.resolve_type(type_name)?;
                exactly(cast == *receiver, takes(receiver, &cast))
            }
            (literal, _) => literal_fit(literal, receiver),
        })
    }

    fn tuple_fit(&self, items: &[Term], types: &[&CqlType]) -> Result<Fit, ServerError> {
        if items.len() > types.len() {
            return Ok(Fit::No);
        }
        for (item, cql_type) in items.iter().zip(types) {
            if !self.fit(item, cql_type)?.is_assignable() {
                return Ok(Fit::No);
            }
        }
        Ok(Fit::Weak)
    }

    /// The type a term has whatever is needed.
    pub(in crate::cql) fn exact_type(&self, term: &Term) -> Option<CqlType> {
        match term {
            Term::Set(items) => {
                items.iter().find_map(|item| self.exact_type(item)).map(|element| CqlType::set(element, true))
            }
            Term::Map(pairs) => {
                let key = pairs.iter().find_map(|(key, _)| self.exact_type(key))?;
                Some(CqlType::map(key, pairs.iter().find_map(|(_, value)| self.exact_type(value))?, true))
            }
            Term::Tuple(items) => {
                let types: Option<Vec<CqlType>> = items.iter().map(|item| self.exact_type(item)).collect();
                types.map(|types| CqlType::Tuple(types.into()))
            }
            Term::Call(name, arguments) if name.name != "token" => {
                self.called(name, arguments, None).ok().flatten().map(|function| function.result)
            }
            Term::Cast(type_name, _) => self.resolve_type(type_name).ok(),
            _ => None,
        }
    }

    /// The type a term has or prefers.
    pub(in crate::cql) fn compatible_type(&self, term: &Term) -> Option<CqlType> {
        let types_of = |terms: Vec<&Term>| -> Vec<CqlType> {
            terms.into_iter().filter_map(|term| self.compatible_type(term)).collect()
        };
        match term {
            Term::Set(items) => common(&types_of(items.iter().collect())).map(|element| CqlType::set(element, true)),
            Term::Map(pairs) => {
                let key = common(&types_of(pairs.iter().map(|(key, _)| key).collect()))?;
                let value = common(&types_of(pairs.iter().map(|(_, value)| value).collect()))?;
                Some(CqlType::map(key, value, true))
            }
            literal => preferred(literal).or_else(|| self.exact_type(term)),
        }
    }
}
