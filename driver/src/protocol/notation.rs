//! The notation of the specification: `[short]`, `[string]`, `[bytes]`, `[string multimap]`, ….
//!
//! [`Reader`] reads them from a body without copying, the `write_*` functions append them.
//!
//! # Source
//!
//! Native protocol v5, section 3.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{Consistency, DecodeError, EncodeError};

/// Reads a body from front to back. Every read is checked against what is left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(*array)
    }

    /// Reads `len` raw bytes.
    pub fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    /// `[byte]`
    pub fn byte(&mut self) -> Read<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `[short]`: unsigned.
    pub fn short(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// `[int]`
    pub fn int(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// `[long]`
    pub fn long(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// `[uuid]`
    pub fn uuid(&mut self) -> Read<uuid::Uuid> {
        self.array().map(uuid::Uuid::from_bytes)
    }

    /// A count in an `[int]`, of things that take at least `bytes_each` bytes.
    pub fn count(&mut self, bytes_each: usize) -> Read<usize> {
        let raw = self.int()?;
        match usize::try_from(raw) {
            Ok(count) if count <= self.rest.len() / bytes_each.max(1) => Ok(count),
            _ => Err(DecodeError::InvalidLength(raw.into())),
        }
    }

    /// `[string]`
    pub fn string(&mut self) -> Read<&'a str> {
        let len = self.short()?;
        std::str::from_utf8(self.take(len.into())?).map_err(|_| DecodeError::InvalidText)
    }

    /// `[long string]`
    pub fn long_string(&mut self) -> Read<&'a str> {
        let len = self.count(1)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::InvalidText)
    }

    /// `[string list]`
    pub fn string_list(&mut self) -> Read<Vec<String>> {
        let count = self.short()?;
        (0..count).map(|_| self.string().map(str::to_owned)).collect()
    }

    /// `[string multimap]`
    pub fn string_multimap(&mut self) -> Read<BTreeMap<String, Vec<String>>> {
        let count = self.short()?;
        (0..count).map(|_| Ok((self.string()?.to_owned(), self.string_list()?))).collect()
    }

    /// `[bytes]`: `None` for a negative length.
    pub fn bytes(&mut self) -> Read<Option<&'a [u8]>> {
        match usize::try_from(self.int()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[short bytes]`
    pub fn short_bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.short()?;
        self.take(len.into())
    }

    /// `[bytes map]`
    pub fn bytes_map(&mut self) -> Read<BTreeMap<String, Option<Bytes>>> {
        let count = self.short()?;
        (0..count).map(|_| Ok((self.string()?.to_owned(), self.bytes()?.map(Bytes::copy_from_slice)))).collect()
    }

    /// `[inetaddr]`
    pub fn inet_address(&mut self) -> Read<IpAddr> {
        match self.byte()? {
            4 => self.array::<4>().map(IpAddr::from),
            16 => self.array::<16>().map(IpAddr::from),
            other => Err(DecodeError::InvalidLength(other.into())),
        }
    }

    /// `[inet]`
    pub fn inet(&mut self) -> Read<SocketAddr> {
        let address = self.inet_address()?;
        let port = self.int()?;
        let port = u16::try_from(port).map_err(|_| DecodeError::InvalidLength(port.into()))?;
        Ok(SocketAddr::new(address, port))
    }

    /// `[consistency]`
    pub fn consistency(&mut self) -> Read<Consistency> {
        let raw = self.short()?;
        Consistency::from_wire(raw).ok_or(DecodeError::UnknownValue { what: "consistency level", value: raw.into() })
    }
}

/// Appends a `[short]` count or length.
pub fn write_short_len(what: &'static str, len: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let short = u16::try_from(len).map_err(|_| EncodeError::TooLong { what, len })?;
    out.extend_from_slice(&short.to_be_bytes());
    Ok(())
}

/// Appends an `[int]` count or length.
pub fn write_int_len(what: &'static str, len: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let int = i32::try_from(len).map_err(|_| EncodeError::TooLong { what, len })?;
    out.extend_from_slice(&int.to_be_bytes());
    Ok(())
}

/// Appends a `[string]`.
pub fn write_string(what: &'static str, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_short_bytes(what, text.as_bytes(), out)
}

/// Appends a `[long string]`.
pub fn write_long_string(what: &'static str, text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_bytes(what, text.as_bytes(), out)
}

/// Appends `[bytes]`.
pub fn write_bytes(what: &'static str, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_int_len(what, bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends `[short bytes]`.
pub fn write_short_bytes(what: &'static str, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    write_short_len(what, bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inet_is_a_length_an_address_and_a_port() {
        let mut reader = Reader::new(&[4, 10, 0, 1, 2, 0, 0, 0x23, 0x52]);
        assert_eq!(reader.inet(), Ok("10.0.1.2:9042".parse().unwrap()));
        assert_eq!(Reader::new(&[5, 1, 2, 3, 4, 5]).inet(), Err(DecodeError::InvalidLength(5)));
        let port_too_large = [4, 10, 0, 1, 2, 0, 1, 0, 0];
        assert!(Reader::new(&port_too_large).inet().is_err());
    }

    #[test]
    fn counts_larger_than_the_rest_are_refused() {
        assert_eq!(Reader::new(&[0, 0, 0, 2, 1, 1]).count(1), Ok(2));
        assert!(Reader::new(&[0, 0, 0, 3, 1, 1]).count(1).is_err());
        assert!(Reader::new(&[255, 255, 255, 255]).count(1).is_err());
    }

    #[test]
    fn a_string_longer_than_its_length_field_is_refused() {
        let mut out = Vec::new();
        assert!(write_string("name", &"x".repeat(65_535), &mut out).is_ok());
        assert!(write_string("name", &"x".repeat(65_536), &mut out).is_err());
    }
}
