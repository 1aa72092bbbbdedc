//! Which values of one type can stand where another type is needed.
//!
//! This alone decides which overload a call means and which assignments are refused. A receiver takes values whose
//! bytes mean the same to it: `text` takes `ascii`, `varint` takes `int`, `blob` takes anything.

use super::CqlType;

/// How well something fits a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It has the receiver's very type.
    Exact,
    /// It can be taken for it.
    Weak,
    /// It cannot.
    No,
}

impl Fit {
    /// Whether it can be assigned at all.
    #[must_use]
    pub const fn is_assignable(self) -> bool {
        !matches!(self, Self::No)
    }

    /// The worst of all; what is empty fits exactly.
    pub fn worst<E>(all: impl IntoIterator<Item = Result<Self, E>>) -> Result<Self, E> {
        let mut worst = Self::Exact;
        for fit in all {
            worst = worst.max(fit?);
            if worst == Self::No {
                break;
            }
        }
        Ok(worst)
    }
}

/// How well values of a known type fit a receiver.
#[must_use]
pub fn fit(given: &CqlType, receiver: &CqlType) -> Fit {
    let receiver = if given.is_freezable() && !given.is_multi_cell() { &receiver.freeze() } else { receiver };
    if given == receiver {
        Fit::Exact
    } else if takes(receiver, given) {
        Fit::Weak
    } else {
        Fit::No
    }
}

/// How well the result of a function fits a receiver: it is frozen where the receiver is.
#[must_use]
pub fn result_fit(result: &CqlType, receiver: &CqlType) -> Fit {
    let result = if receiver.is_freezable() && !receiver.is_multi_cell() { &result.freeze() } else { result };
    if result == receiver {
        Fit::Exact
    } else if takes(receiver, result) {
        Fit::Weak
    } else {
        Fit::No
    }
}

/// The first of the types that takes the values of all others.
#[must_use]
pub fn common(types: &[CqlType]) -> Option<CqlType> {
    types.iter().find(|candidate| types.iter().all(|t| fit(t, candidate).is_assignable())).cloned()
}

/// Whether the bytes of every value of `given` are a value of `receiver` with the same meaning.
#[must_use]
pub fn takes(receiver: &CqlType, given: &CqlType) -> bool {
    use CqlType as T;
    if receiver == given {
        return true;
    }
    match (receiver, given) {
        (T::Blob, _)
        | (T::Text, T::Ascii)
        | (T::Bigint, T::Timestamp)
        | (T::Timestamp | T::Time, T::Bigint)
        | (T::Varint, T::Int | T::Bigint | T::Timestamp)
        | (T::Date, T::Int)
        | (T::Uuid, T::Timeuuid) => true,
        (T::List { element: a, frozen: true }, T::List { element: b, frozen: true }) => takes(a, b),
        (T::Set { element: a, frozen: true }, T::Set { element: b, frozen: true }) => sorts_alike(a, b),
        (T::Map { key: a, value: v, frozen: true }, T::Map { key: b, value: w, frozen: true }) => {
            sorts_alike(a, b) && takes(v, w)
        }
        (T::Tuple(a), T::Tuple(b)) => a.len() >= b.len() && a.iter().zip(b.iter()).all(|(a, b)| takes(a, b)),
        _ => false,
    }
}

/// Whether values of one type also sort as those of the other.
fn sorts_alike(receiver: &CqlType, given: &CqlType) -> bool {
    receiver == given || matches!((receiver, given), (CqlType::Text, CqlType::Ascii))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_taken_for_another_only_where_the_bytes_mean_the_same() {
        use CqlType as T;
        for (given, receiver, expected) in [
            (T::Ascii, T::Text, Fit::Weak),
            (T::Text, T::Ascii, Fit::No),
            (T::Int, T::Bigint, Fit::No),
            (T::Int, T::Varint, Fit::Weak),
            (T::Int, T::Date, Fit::Weak),
            (T::Timestamp, T::Bigint, Fit::Weak),
            (T::Bigint, T::Time, Fit::Weak),
            (T::Timeuuid, T::Uuid, Fit::Weak),
            (T::Uuid, T::Timeuuid, Fit::No),
            (T::Bigint, T::Counter, Fit::No),
            (T::Counter, T::Blob, Fit::Weak),
            (T::list(T::Int, true), T::list(T::Int, false), Fit::Exact),
            (T::list(T::Int, true), T::list(T::Varint, true), Fit::Weak),
            (T::set(T::Int, true), T::set(T::Varint, true), Fit::No),
        ] {
            assert_eq!(fit(&given, &receiver), expected, "{given} for {receiver}");
        }
    }

    #[test]
    fn the_common_type_of_several_takes_them_all() {
        use CqlType as T;
        assert_eq!(common(&[T::Int, T::Varint]), Some(T::Varint));
        assert_eq!(common(&[T::Int, T::Text]), None);
        assert_eq!(common(&[]), None);
    }
}
