//! Collections that are read while they are iterated over: nothing is collected, texts and blobs stay in the page.

use std::fmt;
use std::marker::PhantomData;

use super::collections::{Elements, element_type};
use super::{CqlType, DecodeValue, ValueError};

/// The elements of a list, set or vector. Decodes each when it is asked for; nothing follows an error.
///
/// Null is the empty collection: the server does not tell them apart.
pub struct ListIterator<'a, T> {
    /// Type of the collection, for errors.
    cql_type: &'a CqlType,
    element: &'a CqlType,
    elements: Option<Elements<'a>>,
    decoded: PhantomData<fn() -> T>,
}

/// The entries of a map. Decodes each when it is asked for; nothing follows an error.
///
/// Null is the empty map: the server does not tell them apart.
pub struct MapIterator<'a, K, V> {
    /// Type of the map, for errors.
    cql_type: &'a CqlType,
    key: &'a CqlType,
    value: &'a CqlType,
    elements: Option<Elements<'a>>,
    decoded: PhantomData<fn() -> (K, V)>,
}

impl<'a, T: DecodeValue<'a>> DecodeValue<'a> for ListIterator<'a, T> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        T::check(element_type::<Self>(cql_type)?)
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let element = element_type::<Self>(cql_type)?;
        let elements = content.map(|content| Elements::new::<Self>(cql_type, content, 1)).transpose()?;
        Ok(Self { cql_type, element, elements, decoded: PhantomData })
    }
}

impl<'a, T: DecodeValue<'a>> Iterator for ListIterator<'a, T> {
    type Item = Result<T, ValueError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let content = match self.elements.as_mut()?.next_content::<Self>(self.cql_type) {
            Ok(Some(content)) => content,
            ended => {
                self.elements = None;
                return ended.err().map(Err);
            }
        };
        let decoded = T::decode(self.element, content);
        if decoded.is_err() {
            self.elements = None;
        }
        Some(decoded)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.elements.as_ref().map_or(0, Elements::left).saturating_add(1)))
    }
}

impl<'a, K: DecodeValue<'a>, V: DecodeValue<'a>> DecodeValue<'a> for MapIterator<'a, K, V> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        match cql_type {
            CqlType::Map(key, value) => {
                K::check(key)?;
                V::check(value)
            }
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let CqlType::Map(key, value) = cql_type else {
            return Err(ValueError::mismatch::<Self>(cql_type));
        };
        let elements = content.map(|content| Elements::new::<Self>(cql_type, content, 2)).transpose()?;
        Ok(Self { cql_type, key, value, elements, decoded: PhantomData })
    }
}

impl<'a, K: DecodeValue<'a>, V: DecodeValue<'a>> MapIterator<'a, K, V> {
    #[inline]
    fn next_entry(&mut self) -> Result<Option<(K, V)>, ValueError> {
        let Some(elements) = &mut self.elements else { return Ok(None) };
        let Some(key) = elements.next_content::<Self>(self.cql_type)? else { return Ok(None) };
        let value = elements.next_content::<Self>(self.cql_type)?.unwrap_or(None);
        Ok(Some((K::decode(self.key, key)?, V::decode(self.value, value)?)))
    }
}

impl<'a, K: DecodeValue<'a>, V: DecodeValue<'a>> Iterator for MapIterator<'a, K, V> {
    type Item = Result<(K, V), ValueError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_entry().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.elements = None;
        }
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.elements.as_ref().map_or(0, Elements::left);
        (0, Some((left / 2).saturating_add(1)))
    }
}

impl<T> fmt::Debug for ListIterator<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListIterator({})", self.cql_type)
    }
}

impl<K, V> fmt::Debug for MapIterator<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapIterator({})", self.cql_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{NativeType, ValueErrorKind};

    fn list_of_texts() -> CqlType {
        CqlType::List(Box::new(NativeType::Text.into()))
    }

    fn map_to_int() -> CqlType {
        CqlType::Map(Box::new(NativeType::Text.into()), Box::new(NativeType::Int.into()))
    }

    #[test]
    fn elements_and_entries_borrow_from_the_page() {
        let (list, map) = (list_of_texts(), map_to_int());
        let page = [0, 0, 0, 2, 0, 0, 0, 1, b'a', 0, 0, 0, 0];
        let elements = ListIterator::<&str>::decode(&list, Some(&page)).unwrap();
        assert_eq!(elements.collect::<Result<Vec<_>, _>>(), Ok(vec!["a", ""]));
        let page = [0, 0, 0, 1, 0, 0, 0, 1, b'k', 0, 0, 0, 4, 0, 0, 0, 7];
        let entries = MapIterator::<&str, i32>::decode(&map, Some(&page)).unwrap();
        assert_eq!(entries.collect::<Result<Vec<_>, _>>(), Ok(vec![("k", 7)]));
    }

    #[test]
    fn null_collections_are_empty() {
        let (list, map) = (list_of_texts(), map_to_int());
        assert_eq!(ListIterator::<&str>::decode(&list, None).unwrap().count(), 0);
        assert_eq!(MapIterator::<&str, i32>::decode(&map, None).unwrap().count(), 0);
    }

    #[test]
    fn nothing_follows_an_error() {
        let list = list_of_texts();
        let page = [0, 0, 0, 2, 0, 0, 0, 1, 0xFF, 0, 0, 0, 0];
        let mut elements = ListIterator::<&str>::decode(&list, Some(&page)).unwrap();
        assert_eq!(elements.next().unwrap().unwrap_err().kind(), &ValueErrorKind::InvalidText);
        assert!(elements.next().is_none());
    }

    #[test]
    fn a_cursor_needs_a_collection_with_elements_it_can_read() {
        assert!(ListIterator::<&str>::check(&list_of_texts()).is_ok());
        assert!(ListIterator::<i32>::check(&list_of_texts()).is_err());
        assert!(ListIterator::<&str>::check(&map_to_int()).is_err());
        assert!(MapIterator::<&str, i32>::check(&map_to_int()).is_ok());
        assert!(MapIterator::<&str, i64>::check(&map_to_int()).is_err());
    }
}
