//! Where a paged query goes on, bound to the statement and the values it belongs to.
//!
//! # Invariants
//!
//! - A state of another statement, or of other values, never reaches the server: it would answer with wrong rows.

use std::fmt;

use bytes::Bytes;

use crate::execution::{Error, ErrorKind, Result};

/// Where the next page of a query starts. Keep it as bytes, as long as the schema stays the same.
///
/// It says which statement and values it belongs to, and is checked before it is sent. It is not secret and not signed:
/// whoever can change it can make the server read other rows of the same table.
#[derive(Clone, PartialEq, Eq)]
pub struct PagingState {
    /// See [`fingerprint`].
    statement: u64,
    raw: Bytes,
}

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 1 + 8 + 4;

impl PagingState {
    pub(super) fn new(statement: u64, raw: &[u8]) -> Self {
        // Copied, because an application may keep it for long and the page's buffer is large.
        Self { statement, raw: Bytes::copy_from_slice(raw) }
    }

    /// The state as bytes, for [`Self::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let checksum = self.checksum();
        [&[FORMAT], &self.statement.to_be_bytes()[..], &checksum.to_be_bytes(), &self.raw].concat()
    }

    /// Reads what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::PagingStateMalformed`] if the bytes are cut short or changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = || Error::not_sent(ErrorKind::PagingStateMalformed);
        let (header, raw) = bytes.split_at_checked(HEADER_LEN).ok_or_else(malformed)?;
        let statement: [u8; 8] = header[1..9].try_into().map_err(|_| malformed())?;
        let checksum: [u8; 4] = header[9..].try_into().map_err(|_| malformed())?;
        let state = Self { statement: u64::from_be_bytes(statement), raw: Bytes::copy_from_slice(raw) };
        if header[0] != FORMAT || state.checksum() != u32::from_be_bytes(checksum) {
            return Err(malformed());
        }
        Ok(state)
    }

    /// The server's own state, if this one belongs to the statement with this fingerprint.
    pub(super) fn raw_for(&self, statement: u64) -> Result<&Bytes> {
        if self.statement == statement {
            return Ok(&self.raw);
        }
        Err(Error::not_sent(ErrorKind::PagingStateForeign))
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.statement.to_be_bytes());
        hasher.update(&self.raw);
        hasher.finalize()
    }
}

impl fmt::Debug for PagingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PagingState({} bytes)", self.raw.len())
    }
}

/// Identifies a statement with its values: 64-bit FNV-1a, frozen, because states outlive processes.
///
/// `keyspace` is the one that the application named for the statement: in another one the text means other rows.
pub(super) fn fingerprint(keyspace: Option<&str>, text: &str, values: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // Neither separator occurs in text.
    let keyspace = keyspace.into_iter().flat_map(|name| name.bytes().chain([0xfe]));
    let bytes = keyspace.chain(text.bytes()).chain([0xff]).chain(values.iter().copied());
    bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PagingState {
        PagingState::new(fingerprint(None, "SELECT * FROM t WHERE k = ?", b"\0\0\0\x01x"), b"position")
    }

    #[test]
    fn state_survives_being_kept_as_bytes() {
        assert_eq!(PagingState::from_bytes(&state().to_bytes()).unwrap(), state());
    }

    #[test]
    fn state_is_refused_for_another_statement_or_other_values() {
        let same = fingerprint(None, "SELECT * FROM t WHERE k = ?", b"\0\0\0\x01x");
        assert_eq!(&**state().raw_for(same).unwrap(), b"position");
        for (keyspace, text, values) in [
            (None, "SELECT * FROM u WHERE k = ?", &b"\0\0\0\x01x"[..]),
            (None, "SELECT * FROM t WHERE k = ?", b"\0\0\0\x01y"),
            (Some("other"), "SELECT * FROM t WHERE k = ?", b"\0\0\0\x01x"),
        ] {
            let error = state().raw_for(fingerprint(keyspace, text, values)).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::PagingStateForeign);
            assert!(error.to_string().contains("another statement"), "{error}");
        }
    }

    #[test]
    fn changed_or_cut_bytes_are_malformed() {
        let good = state().to_bytes();
        for length in 0..good.len() {
            let error = PagingState::from_bytes(&good[..length]).unwrap_err();
            assert_eq!(*error.kind(), ErrorKind::PagingStateMalformed, "{length} bytes");
        }
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert!(PagingState::from_bytes(&bad).is_err(), "byte {position}");
        }
    }

    #[test]
    fn fingerprint_is_the_same_in_every_version() {
        assert_eq!(fingerprint(None, "", b""), 0xaf64_724c_8602_eb6e);
    }
}
