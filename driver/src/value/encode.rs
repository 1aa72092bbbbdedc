//! From a Rust value to the bytes of a CQL value.

use super::{CqlType, ValueError, ValueErrorKind};

/// A Rust type whose values can be written as CQL values.
///
/// The length prefix is not the type's business: [`write_value`] adds it where the protocol wants
/// one. Implementations must be quick and must not use the session: they run while a connection's
/// write buffer is locked.
pub trait EncodeValue {
    /// Whether there is content at all. Types that always have some keep the default.
    fn presence(&self) -> Presence {
        Presence::Value
    }

    /// About how many bytes [`Self::encode`] appends, so that there is room before it starts. Default: 16.
    fn len_hint(&self) -> usize {
        16
    }

    /// Appends the content of the value, without a length. Called only if there is content.
    ///
    /// # Errors
    ///
    /// If the value does not fit `cql_type`. What was appended until then is discarded.
    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError>;
}

/// Whether a value has content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has content, possibly of zero bytes.
    Value,
    /// It is null: writing it deletes what was there.
    Null,
    /// It is left out: writing it leaves what was there untouched.
    Unset,
}

/// Leaves a variable of a statement unset, for any type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unset;

/// A value that may be left unset. `Option` inside it can still say null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaybeUnset<T> {
    /// Leave what is stored untouched.
    Unset,
    /// Write this.
    Set(T),
}

/// Appends a `[value]`: a length of four bytes, then the content; -1 for null, -2 for unset.
///
/// # Errors
///
/// If the value does not fit `cql_type`. `out` may then end in a partial value.
pub fn write_value<T: EncodeValue + ?Sized>(
    value: &T,
    cql_type: &CqlType,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    match value.presence() {
        Presence::Null => out.extend_from_slice(&(-1i32).to_be_bytes()),
        Presence::Unset => out.extend_from_slice(&(-2i32).to_be_bytes()),
        Presence::Value => {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            value.encode(cql_type, out)?;
            let len = i32::try_from(out.len() - at - 4)
                .map_err(|_| ValueError::new::<T>(ValueErrorKind::TooLong, cql_type))?;
            out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        }
    }
    Ok(())
}

/// Appends an element of a collection, which cannot be null or unset.
pub(super) fn write_element<T: EncodeValue + ?Sized>(
    value: &T,
    cql_type: &CqlType,
    out: &mut Vec<u8>,
) -> Result<(), ValueError> {
    if value.presence() != Presence::Value {
        return Err(ValueError::new::<T>(ValueErrorKind::NullElement, cql_type));
    }
    write_value(value, cql_type, out)
}

impl<T: EncodeValue + ?Sized> EncodeValue for &T {
    fn presence(&self) -> Presence {
        (**self).presence()
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        (**self).encode(cql_type, out)
    }
}

impl<T: EncodeValue + ?Sized> EncodeValue for Box<T> {
    fn presence(&self) -> Presence {
        (**self).presence()
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        (**self).encode(cql_type, out)
    }
}

impl<T: EncodeValue + ?Sized> EncodeValue for std::sync::Arc<T> {
    fn presence(&self) -> Presence {
        (**self).presence()
    }

    fn len_hint(&self) -> usize {
        (**self).len_hint()
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        (**self).encode(cql_type, out)
    }
}

/// `None` is null.
impl<T: EncodeValue> EncodeValue for Option<T> {
    fn presence(&self) -> Presence {
        self.as_ref().map_or(Presence::Null, EncodeValue::presence)
    }

    fn len_hint(&self) -> usize {
        self.as_ref().map_or(0, EncodeValue::len_hint)
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Some(value) => value.encode(cql_type, out),
            None => Err(ValueError::new::<Self>(ValueErrorKind::UnexpectedNull, cql_type)),
        }
    }
}

impl EncodeValue for Unset {
    fn presence(&self) -> Presence {
        Presence::Unset
    }

    fn encode(&self, cql_type: &CqlType, _out: &mut Vec<u8>) -> Result<(), ValueError> {
        Err(ValueError::new::<Self>(ValueErrorKind::UnexpectedNull, cql_type))
    }
}

impl<T: EncodeValue> EncodeValue for MaybeUnset<T> {
    fn presence(&self) -> Presence {
        match self {
            Self::Unset => Presence::Unset,
            Self::Set(value) => value.presence(),
        }
    }

    fn len_hint(&self) -> usize {
        match self {
            Self::Unset => 0,
            Self::Set(value) => value.len_hint(),
        }
    }

    fn encode(&self, cql_type: &CqlType, out: &mut Vec<u8>) -> Result<(), ValueError> {
        match self {
            Self::Set(value) => value.encode(cql_type, out),
            Self::Unset => Err(ValueError::new::<Self>(ValueErrorKind::UnexpectedNull, cql_type)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::NativeType;

    fn written(value: &dyn EncodeValue, native: NativeType) -> Vec<u8> {
        let mut out = Vec::new();
        write_value(value, &native.into(), &mut out).expect("fits");
        out
    }

    #[test]
    fn null_is_minus_one_and_unset_is_minus_two() {
        assert_eq!(written(&None::<i32>, NativeType::Int), [0xFF; 4]);
        assert_eq!(written(&Unset, NativeType::Int), [0xFF, 0xFF, 0xFF, 0xFE]);
        assert_eq!(written(&MaybeUnset::Set(None::<i32>), NativeType::Int), [0xFF; 4]);
    }

    #[test]
    fn content_follows_its_length() {
        assert_eq!(written(&Some(7i32), NativeType::Int), [0, 0, 0, 4, 0, 0, 0, 7]);
        assert_eq!(written(&"", NativeType::Text), [0, 0, 0, 0]);
    }
}
