//! Envelopes: the nine-byte header in front of every message, the same in all versions.
//!
//! # Source
//!
//! Native protocol v5, section 2.4.

use super::{DecodeError, EncodeError, Opcode, ProtocolVersion};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 9;

/// Longest body a header may announce: 256 MiB.
pub const BODY_LEN_MAX: usize = 256 << 20;

/// The body is compressed (v3 and v4; v5 compresses segments instead).
pub const FLAG_COMPRESSED: u8 = 0x01;
/// Request: trace it. Response: the trace's id comes first in the body.
pub const FLAG_TRACING: u8 = 0x02;
/// A custom payload is part of the body.
pub const FLAG_CUSTOM_PAYLOAD: u8 = 0x04;
/// Response: warnings are part of the body.
pub const FLAG_WARNING: u8 = 0x08;

const RESPONSE_BIT: u8 = 0x80;

/// The first version with headers of nine bytes.
const VERSION_MIN: u8 = 3;

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// Protocol version number, which may be one the driver does not speak.
    pub version: u8,
    /// Bit set of the `FLAG_` constants.
    pub flags: u8,
    /// Stream id; negative for what the server sends unasked.
    pub stream: i16,
    /// What the body is.
    pub opcode: Opcode,
    /// Length of the body in bytes.
    pub body_len: usize,
}

impl ResponseHeader {
    /// Reads a header from the front of `bytes`; `Ok(None)` if they are fewer than nine.
    ///
    /// # Errors
    ///
    /// The byte stream cannot be resynchronised after any of them, close the connection:
    ///
    /// - [`DecodeError::NotAResponse`] if the direction bit says request.
    /// - [`DecodeError::UnexpectedVersion`] for v1 and v2, whose headers are shorter; as soon as one byte is there.
    /// - [`DecodeError::BodyTooLong`] if it announces more than `body_len_max` bytes.
    pub fn decode(bytes: &[u8], body_len_max: usize) -> Result<Option<Self>, DecodeError> {
        let Some(&version) = bytes.first() else { return Ok(None) };
        if version & RESPONSE_BIT == 0 {
            return Err(DecodeError::NotAResponse);
        }
        if version & !RESPONSE_BIT < VERSION_MIN {
            return Err(DecodeError::UnexpectedVersion(version & !RESPONSE_BIT));
        }
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [_, flags, s0, s1, opcode, l0, l1, l2, l3] = *header;
        let raw_len = i32::from_be_bytes([l0, l1, l2, l3]);
        let announced = usize::try_from(raw_len).map_err(|_| DecodeError::InvalidLength(raw_len.into()))?;
        if announced > body_len_max {
            return Err(DecodeError::BodyTooLong { announced, limit: body_len_max });
        }
        Ok(Some(Self {
            version: version & !RESPONSE_BIT,
            flags,
            stream: i16::from_be_bytes([s0, s1]),
            opcode: Opcode::from_wire(opcode),
            body_len: announced,
        }))
    }
}

/// Appends a request envelope: header, what `body` appends, then the length into the header.
///
/// # Errors
///
/// Those of `body`, or a body beyond [`BODY_LEN_MAX`]. `out` may end in a partial envelope.
pub fn write_request(
    version: ProtocolVersion,
    flags: u8,
    stream: i16,
    opcode: Opcode,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let [s0, s1] = stream.to_be_bytes();
    out.extend_from_slice(&[version.number(), flags, s0, s1, opcode.to_wire(), 0, 0, 0, 0]);
    body(out)?;
    let len = out.len() - start - HEADER_LEN;
    match u32::try_from(len) {
        Ok(short) if len <= BODY_LEN_MAX => {
            out[start + 5..start + HEADER_LEN].copy_from_slice(&short.to_be_bytes());
            Ok(())
        }
        _ => Err(EncodeError::TooLong { what: "the request", len }),
    }
}

/// Length of the request envelope that `bytes` start with, header included.
///
/// `bytes` must be what [`write_request`] wrote.
pub fn request_len(bytes: &[u8]) -> usize {
    match bytes.split_first_chunk::<HEADER_LEN>() {
        Some(([_, _, _, _, _, len @ ..], _)) => {
            let body_len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            body_len.saturating_add(HEADER_LEN).min(bytes.len())
        }
        None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_header_of_the_specification() {
        let mut out = Vec::new();
        write_request(ProtocolVersion::V4, FLAG_TRACING, 0x0102, Opcode::Query, &mut out, |out| {
            out.extend_from_slice(b"abc");
            Ok(())
        })
        .unwrap();
        assert_eq!(out, [0x04, 0x02, 0x01, 0x02, 0x07, 0, 0, 0, 3, b'a', b'b', b'c']);
        assert_eq!(request_len(&out), 12);
    }

    #[test]
    fn a_response_header_is_read_once_all_nine_bytes_are_there() {
        let bytes = [0x84, 0x08, 0xFF, 0xFF, 0x0C, 0, 0, 1, 0];
        assert_eq!(ResponseHeader::decode(&bytes[..8], 1024), Ok(None));
        let header = ResponseHeader::decode(&bytes, 256).unwrap().unwrap();
        let expected = ResponseHeader { version: 4, flags: 8, stream: -1, opcode: Opcode::Event, body_len: 256 };
        assert_eq!(header, expected);
        let error = ResponseHeader::decode(&bytes, 255).expect_err("one byte too long");
        assert_eq!(error, DecodeError::BodyTooLong { announced: 256, limit: 255 });
    }

    #[test]
    fn the_shorter_headers_of_version_1_and_2_are_recognised_by_their_first_byte() {
        for version in [0, 1, 2] {
            let expected = Err(DecodeError::UnexpectedVersion(version));
            assert_eq!(ResponseHeader::decode(&[0x80 | version], 1024), expected);
        }
    }

    #[test]
    fn requests_and_negative_lengths_are_refused() {
        let request = [0x04, 0, 0, 0, 7, 0, 0, 0, 0];
        assert_eq!(ResponseHeader::decode(&request, 1024), Err(DecodeError::NotAResponse));
        let negative = [0x84, 0, 0, 0, 8, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(ResponseHeader::decode(&negative, 1024), Err(DecodeError::InvalidLength(-1)));
    }
}
