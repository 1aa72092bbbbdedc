//! The notations of the protocol: bounded reading of client bytes, writing of server bytes.
//!
//! A [`Reader`] never allocates more than the bytes it has been given justify: every length is checked against what
//! is left before anything is reserved.
//!
//! # Source
//!
//! Native protocol v4 and v5, section 3.

use super::message::Consistency;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Why a client's bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A field announces more bytes than there are.
    Truncated {
        /// Which notation.
        what: &'static str,
        /// How many bytes it needs.
        needed: usize,
        /// How many are left.
        left: usize,
    },
    /// A string is not UTF-8.
    NotUtf8,
    /// A field has a value that the protocol does not know; the text is Cassandra's.
    Invalid(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what, needed, left } => {
                write!(f, "Not enough bytes to read {what}: expected {needed} but {left} are left")
            }
            Self::NotUtf8 => f.write_str("Cannot decode string as UTF8"),
            Self::Invalid(text) => f.write_str(text),
        }
    }
}

/// A value bound to a marker, as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireValue {
    /// A serialised value, or null.
    Value(Option<Bytes>),
    /// Length -2 (v4 and later): not set.
    Unset,
}

/// Reads notations off the front of a body.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads `body` from its start.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        Self { rest: body }
    }

    /// How many bytes have not been read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn need(&self, what: &'static str, needed: usize) -> Result<(), DecodeError> {
        if self.rest.len() < needed {
            return Err(DecodeError::Truncated { what, needed, left: self.rest.len() });
        }
        Ok(())
    }

    fn take(&mut self, what: &'static str, len: usize) -> Result<Bytes, DecodeError> {
        self.need(what, len)?;
        Ok(self.rest.split_to(len))
    }

    /// `[byte]`.
    ///
    /// # Errors
    ///
    /// As all methods here: [`DecodeError`] if the bytes end too early or make no sense.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.need("byte", 1)?;
        Ok(self.rest.get_u8())
    }

    /// `[short]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn short(&mut self) -> Result<u16, DecodeError> {
        self.need("short", 2)?;
        Ok(self.rest.get_u16())
    }

    /// `[int]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn int(&mut self) -> Result<i32, DecodeError> {
        self.need("int", 4)?;
        Ok(self.rest.get_i32())
    }

    /// `[long]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        self.need("long", 8)?;
        Ok(self.rest.get_i64())
    }

    /// `[string]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn string(&mut self) -> Result<String, DecodeError> {
        let len = usize::from(self.short()?);
        text(&self.take("string", len)?)
    }

    /// `[long string]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn long_string(&mut self) -> Result<String, DecodeError> {
        let raw = self.int()?;
        let len = usize::try_from(raw)
            .map_err(|_| DecodeError::Invalid(format!("Invalid negative length of a long string: {raw}")))?;
        text(&self.take("long string", len)?)
    }

    /// `[bytes]`: `None` for a negative length.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn bytes(&mut self) -> Result<Option<Bytes>, DecodeError> {
        match usize::try_from(self.int()?) {
            Ok(len) => self.take("bytes", len).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[value]` of a protocol version: v3 has no unset values and reads every negative length as null.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn value(&mut self, version: u8) -> Result<WireValue, DecodeError> {
        match self.int()? {
            raw @ 0.. => {
                self.take("value", usize::try_from(raw).unwrap_or(usize::MAX)).map(|b| WireValue::Value(Some(b)))
            }
            -1 => Ok(WireValue::Value(None)),
            _ if version < 4 => Ok(WireValue::Value(None)),
            -2 => Ok(WireValue::Unset),
            raw => Err(DecodeError::Invalid(format!("Invalid ByteBuf length {raw}"))),
        }
    }

    /// `[short bytes]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn short_bytes(&mut self) -> Result<Bytes, DecodeError> {
        let len = usize::from(self.short()?);
        self.take("short bytes", len)
    }

    /// `[string list]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn string_list(&mut self) -> Result<Vec<String>, DecodeError> {
        let count = self.short()?;
        (0..count).map(|_| self.string()).collect()
    }

    /// `[string map]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn string_map(&mut self) -> Result<BTreeMap<String, String>, DecodeError> {
        let count = self.short()?;
        (0..count).map(|_| Ok((self.string()?, self.string()?))).collect()
    }

    /// `[bytes map]`: a custom payload.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn bytes_map(&mut self) -> Result<Payload, DecodeError> {
        let count = self.short()?;
        (0..count).map(|_| Ok((self.string()?, self.bytes()?))).collect()
    }

    /// `[consistency]`.
    ///
    /// # Errors
    ///
    /// See [`Reader::byte`].
    pub fn consistency(&mut self) -> Result<Consistency, DecodeError> {
        let code = self.short()?;
        Consistency::from_code(code)
            .ok_or_else(|| DecodeError::Invalid(format!("Unknown code {code} for a consistency level")))
    }
}

/// A custom payload: names with opaque bytes, in the order of the names.
pub type Payload = BTreeMap<String, Option<Bytes>>;

fn text(bytes: &Bytes) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::NotUtf8)
}

/// Writes a `[string]`; one too long for its length field is cut at a character.
pub fn put_string(out: &mut BytesMut, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(u16::try_from(end).unwrap_or(u16::MAX));
    out.put_slice(&text.as_bytes()[..end]);
}

/// Writes a `[string list]`.
pub fn put_string_list<S: AsRef<str>>(out: &mut BytesMut, list: &[S]) {
    let count = u16::try_from(list.len()).unwrap_or(u16::MAX);
    out.put_u16(count);
    for text in &list[..usize::from(count)] {
        put_string(out, text.as_ref());
    }
}

/// Writes a `[bytes]`; `None` is null.
pub fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            out.put_i32(int_len(bytes.len()));
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

/// Writes a `[short bytes]` of at most 65535 bytes: statement and metadata ids.
pub fn put_short_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.put_u16(len);
    out.put_slice(&bytes[..usize::from(len)]);
}

/// Writes a `[bytes map]`.
pub fn put_bytes_map(out: &mut BytesMut, map: &Payload) {
    out.put_u16(u16::try_from(map.len()).unwrap_or(u16::MAX));
    for (name, bytes) in map.iter().take(usize::from(u16::MAX)) {
        put_string(out, name);
        put_bytes(out, bytes.as_deref());
    }
}

/// Writes an `[inetaddr]`.
pub fn put_inet_addr(out: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.put_u8(4);
            out.put_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.put_u8(16);
            out.put_slice(&v6.octets());
        }
    }
}

/// Writes an `[inet]`.
pub fn put_inet(out: &mut BytesMut, address: SocketAddr) {
    put_inet_addr(out, address.ip());
    out.put_i32(i32::from(address.port()));
}

/// A length as an `[int]`; nothing the simulated cluster sends comes near the limit.
#[must_use]
pub fn int_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &'static [u8]) -> Reader {
        Reader::new(Bytes::from_static(bytes))
    }

    #[test]
    fn announced_lengths_beyond_the_body_are_refused() {
        assert_eq!(
            reader(&[0x7f, 0xff, 0xff, 0xff, 1]).bytes(),
            Err(DecodeError::Truncated { what: "bytes", needed: 0x7fff_ffff, left: 1 })
        );
        assert!(reader(&[0xff, 0xff, 0, 1, b'a']).string_list().is_err());
        assert!(reader(&[0xff, 0xff, 0xff, 0xfe]).long_string().is_err());
    }

    #[test]
    fn unset_values_exist_from_v4_on() {
        let minus_two = &[0xff, 0xff, 0xff, 0xfe];
        assert_eq!(reader(minus_two).value(3), Ok(WireValue::Value(None)));
        assert_eq!(reader(minus_two).value(4), Ok(WireValue::Unset));
        let minus_three = &[0xff, 0xff, 0xff, 0xfd];
        assert_eq!(reader(minus_three).value(4), Err(DecodeError::Invalid("Invalid ByteBuf length -3".into())));
    }

    #[test]
    fn strings_too_long_for_their_length_field_are_cut_at_a_character() {
        let long = "é".repeat(40_000);
        let mut out = BytesMut::new();
        put_string(&mut out, &long);
        let read = Reader::new(out.freeze()).string().expect("valid");
        assert_eq!(read.len(), 65_534);
    }

    #[test]
    fn unknown_consistency_levels_are_refused_with_their_code() {
        assert_eq!(reader(&[0, 6]).consistency(), Ok(Consistency::LocalQuorum));
        assert_eq!(
            reader(&[0, 11]).consistency(),
            Err(DecodeError::Invalid("Unknown code 11 for a consistency level".into()))
        );
    }
}
