//! From the bytes of a CQL value to a Rust value.

use super::{CqlType, ValueError, ValueErrorKind};

/// A Rust type that can be read from CQL values, borrowing from the page where it can.
pub trait DecodeValue<'a>: Sized {
    /// Checks once per page that values of `cql_type` can be read; [`Self::decode`] relies on it.
    ///
    /// # Errors
    ///
    /// [`ValueErrorKind::TypeMismatch`] if they cannot.
    fn check(cql_type: &CqlType) -> Result<(), ValueError>;

    /// Reads the content of one value; `None` is null.
    ///
    /// Must not panic for a type that [`Self::check`] refuses, but may return anything.
    ///
    /// # Errors
    ///
    /// If the bytes are not a value of `cql_type`.
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError>;
}

/// `None` is null.
impl<'a, T: DecodeValue<'a>> DecodeValue<'a> for Option<T> {
    fn check(cql_type: &CqlType) -> Result<(), ValueError> {
        T::check(cql_type)
    }

    #[inline]
    fn decode(cql_type: &'a CqlType, content: Option<&'a [u8]>) -> Result<Self, ValueError> {
        match content {
            None => Ok(None),
            some => T::decode(cql_type, some).map(Some),
        }
    }
}

/// The content, or the error for a null.
#[inline]
pub(super) fn not_null<'a, T>(cql_type: &CqlType, content: Option<&'a [u8]>) -> Result<&'a [u8], ValueError> {
    content.ok_or_else(|| ValueError::new::<T>(ValueErrorKind::UnexpectedNull, cql_type))
}

/// The content as an array of exactly `N` bytes.
#[inline]
pub(super) fn exactly<T, const N: usize>(cql_type: &CqlType, content: Option<&[u8]>) -> Result<[u8; N], ValueError> {
    let bytes = not_null::<T>(cql_type, content)?;
    bytes.try_into().map_err(|_| ValueError::new::<T>(ValueErrorKind::WrongLength(bytes.len()), cql_type))
}

/// Reads `[value]`s one after the other: the cells of a row, the fields of a tuple.
#[derive(Clone, Copy, Debug)]
pub struct CellReader<'a> {
    rest: &'a [u8],
}

impl<'a> CellReader<'a> {
    /// Starts at the first length prefix in `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads the next value: `None` if the bytes end before it does, `Some(None)` for a null.
    #[inline]
    pub fn next_cell(&mut self) -> Option<Option<&'a [u8]>> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let Ok(len) = usize::try_from(i32::from_be_bytes(*len)) else {
            self.rest = rest;
            return Some(None);
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Some(content))
    }

    /// Reads a big-endian 32-bit count.
    #[inline]
    pub(super) fn next_count(&mut self) -> Option<i32> {
        let (count, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(i32::from_be_bytes(*count))
    }

    /// Bytes not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_in_order_and_never_beyond_the_end() {
        let mut cells = CellReader::new(&[0, 0, 0, 1, 7, 255, 255, 255, 255, 0, 0, 0, 2, 1]);
        assert_eq!(cells.next_cell(), Some(Some(&[7u8][..])));
        assert_eq!(cells.next_cell(), Some(None));
        assert_eq!(cells.next_cell(), None, "announces two bytes, has one");
    }
}
