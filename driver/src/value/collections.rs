//! Lists, sets, maps and vectors.
//!
//! A collection is a count and then `[value]`s. A vector has no count; its elements have no
//! length if their type is of fixed size, and a variable-length one otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::CellReader;
use super::encode::write_element;
use super::{CqlType, DecodeValue, EncodeValue, Presence, ValueError, ValueErrorKind, vint};

impl<T: EncodeValue> EncodeValue for Vec<T> {
    fn len_hint(&self) -> usize {
        self.as_slice().len_hint()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        self.as_slice().encode(cql_type, out)
    }
}

impl<T: EncodeValue> EncodeValue for [T] {
    fn len_hint(&self) -> usize {
        // The first element stands for all: looking at each would cost what it is to save.
        4 + self.len() * self.first().map_or(0, |value| 4 + value.len_hint())
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match cql_type {
            CqlType::List(element) | CqlType::Set(element) => encode_elements(cql_type, element, self.iter(), out),
            CqlType::Vector { element, dimensions } => encode_vector(cql_type, element, *dimensions, self, out),
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }
}

impl<T: EncodeValue> EncodeValue for BTreeSet<T> {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match cql_type {
            CqlType::Set(element) => encode_elements(cql_type, element, self.iter(), out),
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }
}

impl<K: EncodeValue, V: EncodeValue> EncodeValue for BTreeMap<K, V> {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        encode_pairs::<Self, K, V>(cql_type, self.iter(), out)
    }
}

/// Encodes the pairs of a map that is a `Rust`.
pub(super) fn encode_pairs<'v, Rust, K: EncodeValue + 'v, V: EncodeValue + 'v>(
    cql_type: &CqlType,
    pairs: impl ExactSizeIterator<Item = (&'v K, &'v V)>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let CqlType::Map(key_type, value_type) = cql_type else {
        return Err(ValueError::mismatch::<Rust>(cql_type));
    };
    write_count::<Rust>(cql_type, pairs.len(), out)?;
    for (key, value) in pairs {
        write_element(key, key_type, out)?;
        write_element(value, value_type, out)?;
    }
    Ok(())
}

pub(super) fn encode_elements<'v, T: EncodeValue + 'v>(
    cql_type: &CqlType,
    element: &CqlType,
    values: impl ExactSizeIterator<Item = &'v T>,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    write_count::<T>(cql_type, values.len(), out)?;
    values.into_iter().try_for_each(|value| write_element(value, element, out))
}

pub(super) fn write_count<T: ?Sized>(cql_type: &CqlType, count: usize, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let count = i32::try_from(count).map_err(|_| ValueError::new::<T>(ValueErrorKind::TooLong, cql_type))?;
    out.extend_from_slice(&count.to_be_bytes());
    Ok(())
}

pub(super) fn encode_vector<T: EncodeValue>(
    cql_type: &CqlType,
    element: &CqlType,
    dimensions: u32,
    values: &[T],
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let fail = |kind| Err(ValueError::new::<[T]>(kind, cql_type));
    if u32::try_from(values.len()) != Ok(dimensions) {
        return fail(ValueErrorKind::WrongDimensions { expected: dimensions, got: values.len() });
    }
    let fixed_len = element.fixed_len();
    for value in values {
        if value.presence() != Presence::Value {
            return fail(ValueErrorKind::NullElement);
        }
        let at = out.len();
        value.encode(element, out)?;
        let len = out.len() - at;
        match fixed_len {
            Some(fixed) if fixed != len => return fail(ValueErrorKind::WrongLength(len)),
            Some(_) => {}
            None => {
                // The prefix is usually one byte, so moving the content is cheaper than a buffer.
                let mut prefix = Vec::with_capacity(9);
                vint::write_unsigned(len as u64, &mut prefix);
                out.splice(at..at, prefix);
            }
        }
    }
    Ok(())
}

/// The contents of a collection or vector, one after the other.
pub(super) enum Elements<'a> {
    Counted { cells: CellReader<'a>, left: usize },
    Fixed { rest: &'a [u8], len: usize, left: usize },
    Prefixed { rest: &'a [u8], left: usize },
}

impl<'a> Elements<'a> {
    /// Starts reading; `values_per_entry` is two for maps.
    ///
    /// # Errors
    ///
    /// If the announced count cannot fit into the bytes.
    #[inline]
    pub(super) fn new<T>(cql_type: &CqlType, content: &'a [u8], values_per_entry: usize) -> Result<Self, ValueError> {
        let truncated = || ValueError::new::<T>(ValueErrorKind::Truncated, cql_type);
        if let CqlType::Vector { element, dimensions } = cql_type {
            return Self::of_vector::<T>(cql_type, element, *dimensions, content);
        }
        let mut cells = CellReader::new(content);
        // A negative count is an empty collection, as the server reads it.
        let count = usize::try_from(cells.next_count().ok_or_else(truncated)?).unwrap_or(0);
        let left = count.checked_mul(values_per_entry).ok_or_else(truncated)?;
        if left > cells.rest().len() / 4 {
            return Err(truncated());
        }
        Ok(Self::Counted { cells, left })
    }

    fn of_vector<T>(
        cql_type: &CqlType,
        element: &CqlType,
        dimensions: u32,
        content: &'a [u8],
    ) -> Result<Self, ValueError> {
        let truncated = || ValueError::new::<T>(ValueErrorKind::Truncated, cql_type);
        let left = usize::try_from(dimensions).map_err(|_| truncated())?;
        match element.fixed_len() {
            Some(len) if len.checked_mul(left) == Some(content.len()) => Ok(Self::Fixed { rest: content, len, left }),
            Some(_) => Err(ValueError::new::<T>(ValueErrorKind::WrongLength(content.len()), cql_type)),
            None if left > content.len() => Err(truncated()),
            None => Ok(Self::Prefixed { rest: content, left }),
        }
    }

    /// How many values are left. Never more than the bytes justify.
    pub(super) fn left(&self) -> usize {
        match self {
            Self::Counted { left, .. } | Self::Fixed { left, .. } | Self::Prefixed { left, .. } => *left,
        }
    }

    /// The next value; `Ok(None)` after the last.
    #[inline]
    pub(super) fn next_content<T>(&mut self, cql_type: &CqlType) -> Result<Option<Option<&'a [u8]>>, ValueError> {
        // What nearly all are, where it can be inlined into the loop over them.
        let Self::Counted { cells, left } = self else { return self.next_of_vector::<T>(cql_type) };
        if let Some(next) = left.checked_sub(1) {
            *left = next;
            let cell = cells.next_cell();
            return cell.map(Some).ok_or_else(|| ValueError::new::<T>(ValueErrorKind::Truncated, cql_type));
        }
        if cells.rest().is_empty() {
            return Ok(None);
        }
        Err(ValueError::new::<T>(ValueErrorKind::TrailingBytes, cql_type))
    }

    fn next_of_vector<T>(&mut self, cql_type: &CqlType) -> Result<Option<Option<&'a [u8]>>, ValueError> {
        let fail = |kind| Err(ValueError::new::<T>(kind, cql_type));
        match self {
            Self::Prefixed { rest, left: 0 } if !rest.is_empty() => fail(ValueErrorKind::TrailingBytes),
            Self::Counted { .. } | Self::Fixed { left: 0, .. } | Self::Prefixed { left: 0, .. } => Ok(None),
            Self::Fixed { rest, len, left } => {
                *left -= 1;
                let Some((content, after)) = rest.split_at_checked(*len) else {
                    return fail(ValueErrorKind::Truncated);
                };
                *rest = after;
                Ok(Some(Some(content)))
            }
            Self::Prefixed { rest, left } => {
                *left -= 1;
                let split =
                    vint::read_unsigned(rest).and_then(|(len, rest)| rest.split_at_checked(usize::try_from(len).ok()?));
                let Some((content, after)) = split else {
                    return fail(ValueErrorKind::Truncated);
                };
                *rest = after;
                Ok(Some(Some(content)))
            }
        }
    }
}

/// The type of the elements of a list, set or vector.
#[inline]
pub(super) fn element_type<T>(cql_type: &CqlType) -> Result<&CqlType, ValueError> {
    match cql_type {
        CqlType::List(element) | CqlType::Set(element) | CqlType::Vector { element, .. } => Ok(element),
        _ => Err(ValueError::mismatch::<T>(cql_type)),
    }
}

/// Zero-sized elements could otherwise ask for a huge allocation with no bytes behind it.
const CAPACITY_MAX: usize = 4096;

/// Null is the empty list: the server does not tell them apart.
impl<'a, T: DecodeValue<'a>> DecodeValue<'a> for Vec<T> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        T::check(element_type::<Self>(cql_type)?)
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let element = element_type::<Self>(cql_type)?;
        let Some(content) = content else { return Ok(Self::new()) };
        let mut elements = Elements::new::<Self>(cql_type, content, 1)?;
        let mut values = Self::with_capacity(elements.left().min(CAPACITY_MAX));
        while let Some(content) = elements.next_content::<Self>(cql_type)? {
            values.push(T::decode(element, content)?);
        }
        Ok(values)
    }
}

/// Null is the empty set: the server does not tell them apart.
impl<'a, T: DecodeValue<'a> + Ord> DecodeValue<'a> for BTreeSet<T> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        match cql_type {
            CqlType::Set(element) => T::check(element),
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        Vec::<T>::decode(cql_type, content).map(Self::from_iter)
    }
}

/// Null is the empty map: the server does not tell them apart.
impl<'a, K: DecodeValue<'a> + Ord, V: DecodeValue<'a>> DecodeValue<'a> for BTreeMap<K, V> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        match cql_type {
            CqlType::Map(key_type, value_type) => {
                K::check(key_type)?;
                V::check(value_type)
            }
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let CqlType::Map(key_type, value_type) = cql_type else {
            return Err(ValueError::mismatch::<Self>(cql_type));
        };
        let Some(content) = content else { return Ok(Self::new()) };
        let mut elements = Elements::new::<Self>(cql_type, content, 2)?;
        let mut map = Self::new();
        while let Some(key) = elements.next_content::<Self>(cql_type)? {
            let key = K::decode(key_type, key)?;
            let value = elements.next_content::<Self>(cql_type)?.unwrap_or(None);
            map.insert(key, V::decode(value_type, value)?);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::NativeType;

    fn list(native: NativeType) -> CqlType {
        CqlType::List(Box::new(native.into()))
    }

    fn vector(native: NativeType, dimensions: u32) -> CqlType {
        CqlType::Vector { element: Box::new(native.into()), dimensions }
    }

    fn content<T: EncodeValue>(value: &T, cql_type: &CqlType) -> Result<Vec<u8>, ValueError> {
        let mut out = Vec::new();
        value.encode(cql_type, &mut out).map(|()| out)
    }

    #[test]
    fn a_list_is_a_count_and_prefixed_elements() {
        let bytes = content(&vec![1i8, 2], &list(NativeType::Tinyint)).unwrap();
        assert_eq!(bytes, [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 0, 0, 1, 2]);
        assert_eq!(Vec::<i8>::decode(&list(NativeType::Tinyint), Some(&bytes)), Ok(vec![1, 2]));
    }

    #[test]
    fn a_vector_of_floats_has_neither_count_nor_lengths() {
        let cql_type = vector(NativeType::Float, 2);
        let bytes = content(&vec![1.0f32, 2.0], &cql_type).unwrap();
        assert_eq!(bytes, [0x3F, 0x80, 0, 0, 0x40, 0, 0, 0]);
        assert_eq!(Vec::<f32>::decode(&cql_type, Some(&bytes)), Ok(vec![1.0, 2.0]));
        assert!(content(&vec![1.0f32], &cql_type).is_err(), "one dimension missing");
    }

    #[test]
    fn a_vector_of_texts_prefixes_each_with_a_variable_length() {
        let cql_type = vector(NativeType::Text, 2);
        let bytes = content(&vec!["a", "bc"], &cql_type).unwrap();
        assert_eq!(bytes, [1, b'a', 2, b'b', b'c']);
        assert_eq!(Vec::<&str>::decode(&cql_type, Some(&bytes)), Ok(vec!["a", "bc"]));
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_allocating() {
        let bytes = [0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
        let error = Vec::<i32>::decode(&list(NativeType::Int), Some(&bytes)).expect_err("huge");
        assert_eq!(error.kind(), &ValueErrorKind::Truncated);
    }

    #[test]
    fn a_map_keeps_its_pairs_and_null_is_an_empty_one() {
        let cql_type = CqlType::Map(Box::new(NativeType::Text.into()), Box::new(NativeType::Int.into()));
        let map = BTreeMap::from([("a", 1i32), ("b", 2)]);
        let bytes = content(&map, &cql_type).unwrap();
        assert_eq!(BTreeMap::<&str, i32>::decode(&cql_type, Some(&bytes)), Ok(map));
        assert_eq!(BTreeMap::<&str, i32>::decode(&cql_type, None), Ok(BTreeMap::new()));
    }

    #[test]
    fn nulls_inside_a_collection_are_refused() {
        let error = content(&vec![Some(1i32), None], &list(NativeType::Int)).expect_err("null");
        assert_eq!(error.kind(), &ValueErrorKind::NullElement);
    }
}
