//! Types of the standard library beside the natural ones: hash collections, arrays, shared and borrowed text.

use std::borrow::Cow;
#[expect(
    clippy::disallowed_types,
    reason = "the order in them is the application's concern: values go in and out"
)]
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::collections::{encode_elements, encode_pairs};
use super::{CqlType, DecodeValue, EncodeValue, MapIterator, ValueError, ValueErrorKind};

impl EncodeValue for Cow<'_, str> {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        (**self).encode(cql_type, out)
    }
}

/// Types that are made of borrowed text.
macro_rules! text {
    ($($rust:ty),*) => {$(
        impl<'a> DecodeValue<'a> for $rust {
            fn check(cql_type: &CqlType) -> Result<(), ValueError> {
                <&str>::check(cql_type)
            }

            fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
                <&str>::decode(cql_type, content).map(Self::from)
            }
        }
    )*};
}

text!(Arc<str>, Box<str>, Cow<'a, str>);

/// Takes a list, set or vector of exactly `N` elements.
impl<'a, T: DecodeValue<'a>, const N: usize> DecodeValue<'a> for [T; N] {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        Vec::<T>::check(cql_type)
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        let elements = Vec::<T>::decode(cql_type, content)?;
        let expected = u32::try_from(N).unwrap_or(u32::MAX);
        elements.try_into().map_err(|elements: Vec<T>| {
            let kind = ValueErrorKind::WrongDimensions { expected, got: elements.len() };
            ValueError::new::<Self>(kind, cql_type)
        })
    }
}

#[expect(clippy::disallowed_types, reason = "see the import")]
impl<T: EncodeValue, S> EncodeValue for HashSet<T, S> {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match cql_type {
            CqlType::Set(element) => encode_elements(cql_type, element, self.iter(), out),
            _ => Err(ValueError::mismatch::<Self>(cql_type)),
        }
    }
}

/// Null is the empty set: the server does not tell them apart.
#[expect(clippy::disallowed_types, reason = "see the import")]
impl<'a, T: DecodeValue<'a> + Eq + Hash, S: BuildHasher + Default> DecodeValue<'a> for HashSet<T, S> {
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

#[expect(clippy::disallowed_types, reason = "see the import")]
impl<K: EncodeValue, V: EncodeValue, S> EncodeValue for HashMap<K, V, S> {
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        encode_pairs::<Self, K, V>(cql_type, self.iter(), out)
    }
}

/// Null is the empty map: the server does not tell them apart.
#[expect(clippy::disallowed_types, reason = "see the import")]
impl<'a, K, V, S> DecodeValue<'a> for HashMap<K, V, S>
where
    K: DecodeValue<'a> + Eq + Hash,
    V: DecodeValue<'a>,
    S: BuildHasher + Default,
{
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        MapIterator::<K, V>::check(cql_type)
    }

    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        MapIterator::<K, V>::decode(cql_type, content)?.collect()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "see the import")]
mod tests {
    use super::*;
    use crate::value::NativeType;

    fn encoded(value: &(impl EncodeValue + ?Sized), cql_type: &CqlType) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(cql_type, &mut out).unwrap();
        out
    }

    fn boxed(native: NativeType) -> Box<CqlType> {
        Box::new(native.into())
    }

    #[test]
    fn hash_collections_come_back_as_they_went() {
        let cql_type = CqlType::Map(boxed(NativeType::Text), boxed(NativeType::Int));
        let map = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(HashMap::<String, i32>::decode(&cql_type, Some(&encoded(&map, &cql_type))), Ok(map));
        assert_eq!(HashMap::<String, i32>::decode(&cql_type, None), Ok(HashMap::new()));

        let cql_type = CqlType::Set(boxed(NativeType::Int));
        let set = HashSet::from([3, 1, 2]);
        assert_eq!(HashSet::<i32>::decode(&cql_type, Some(&encoded(&set, &cql_type))), Ok(set));
        assert!(HashSet::<i32>::check(&CqlType::List(boxed(NativeType::Int))).is_err());
    }

    #[test]
    fn an_array_takes_exactly_its_number_of_elements() {
        let cql_type = CqlType::Vector { element: boxed(NativeType::Float), dimensions: 3 };
        let bytes = encoded(&[1.0_f32, 2.0, 3.0][..], &cql_type);

        assert_eq!(<[f32; 3]>::decode(&cql_type, Some(&bytes)), Ok([1.0, 2.0, 3.0]));
        let error = <[f32; 2]>::decode(&cql_type, Some(&bytes)).unwrap_err();
        assert_eq!(error.kind(), &ValueErrorKind::WrongDimensions { expected: 2, got: 3 });
    }

    #[test]
    fn shared_and_borrowed_text_holds_what_was_sent() {
        let text = NativeType::Text.into();
        assert_eq!(encoded(&Cow::Borrowed("x"), &text), b"x");
        assert_eq!(<Arc<str>>::decode(&text, Some(b"x")), Ok("x".into()));
        assert_eq!(<Cow<'_, str>>::decode(&text, Some(b"x")), Ok(Cow::Borrowed("x")));
        assert!(<Arc<str>>::check(&NativeType::Blob.into()).is_err());
    }
}
