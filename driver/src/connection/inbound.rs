//! Bytes on their way in: from what the transport gives to whole responses.
//!
//! Bodies are slices of a large read buffer; nothing is copied unless it was compressed or spread
//! over several v5 segments.
//!
//! # Invariants
//!
//! - Memory grows with bytes received, never with lengths announced.

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::compression::{Compression, decompress_body};
use crate::protocol::envelope::{FLAG_COMPRESSED, HEADER_LEN, ResponseHeader};
use crate::protocol::frame::{Reassembly, SegmentFormat, split_segment};
use crate::protocol::response::Response;
use crate::protocol::{DecodeError, ProtocolVersion};

/// One read asks for this much.
const READ_LEN: usize = 128 << 10;

/// A read is worth its system call if there is at least this much room.
const READ_LEN_MIN: usize = 16 << 10;

/// The bytes being read.
#[derive(Debug)]
pub(super) struct Inbound {
    buffer: BytesMut,
    version: ProtocolVersion,
    compression: Option<Compression>,
    body_len_max: usize,
    /// Segments are read if there is a format (v5).
    format: Option<SegmentFormat>,
    /// What is left of a self-contained segment.
    payload: Bytes,
    reassembly: Reassembly,
}

/// A response with what its header said.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) header: ResponseHeader,
    pub(super) response: Response,
}

impl Inbound {
    pub(super) fn new(version: ProtocolVersion, body_len_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            version,
            compression: None,
            body_len_max,
            format: None,
            payload: Bytes::new(),
            reassembly: Reassembly::default(),
        }
    }

    /// Expects compressed bodies from STARTUP on, and segments from its first answer on.
    pub(super) fn switch_on(&mut self, compression: Option<Compression>, format: Option<SegmentFormat>) {
        self.compression = compression;
        self.format = format;
    }

    /// The buffer to read into, with room.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_LEN_MIN {
            self.buffer.reserve(READ_LEN);
        }
        &mut self.buffer
    }

    /// The next whole response; `None` means more bytes are needed.
    ///
    /// # Errors
    ///
    /// The stream cannot be resynchronised after any: close the connection.
    pub(super) fn next(&mut self) -> Result<Option<Received>, DecodeError> {
        let received = match self.format {
            None => match split_envelope(&mut self.buffer, self.body_len_max)? {
                Some((header, body)) => (header, body.freeze()),
                None => return Ok(None),
            },
            Some(format) => match self.next_in_segments(format)? {
                Some(received) => received,
                None => return Ok(None),
            },
        };
        self.finish(received).map(Some)
    }

    fn next_in_segments(&mut self, format: SegmentFormat) -> Result<Option<(ResponseHeader, Bytes)>, DecodeError> {
        loop {
            if !self.payload.is_empty() {
                let header = ResponseHeader::decode(&self.payload, self.body_len_max)?;
                let whole = header.filter(|header| self.payload.len() - HEADER_LEN >= header.body_len);
                let header = whole.ok_or(DecodeError::MalformedSegment)?;
                self.payload.advance(HEADER_LEN);
                return Ok(Some((header, self.payload.split_to(header.body_len))));
            }
            let Some(segment) = split_segment(&mut self.buffer, format)? else { return Ok(None) };
            if !segment.self_contained {
                if let Some(whole) = self.reassembly.add(&segment.payload, self.body_len_max)? {
                    self.payload = whole;
                }
            } else if self.reassembly.is_pending() {
                return Err(DecodeError::MalformedSegment);
            } else {
                self.payload = segment.payload;
            }
        }
    }

    fn finish(&self, (header, body): (ResponseHeader, Bytes)) -> Result<Received, DecodeError> {
        // Compression per envelope ended with v4; the flag means nothing inside segments.
        let body = if header.flags & FLAG_COMPRESSED != 0 && self.format.is_none() {
            let compression = self.compression.ok_or(DecodeError::UnexpectedCompression)?;
            decompress_body(compression, &body, self.body_len_max)?
        } else {
            body
        };
        let version = ProtocolVersion::from_number(header.version).unwrap_or(self.version);
        let response = Response { version, flags: header.flags, opcode: header.opcode, body };
        Ok(Received { header, response })
    }
}

fn split_envelope(
    buffer: &mut BytesMut,
    body_len_max: usize,
) -> Result<Option<(ResponseHeader, BytesMut)>, DecodeError> {
    let Some(header) = ResponseHeader::decode(buffer, body_len_max)? else { return Ok(None) };
    if buffer.len() - HEADER_LEN < header.body_len {
        return Ok(None);
    }
    buffer.advance(HEADER_LEN);
    Ok(Some((header, buffer.split_to(header.body_len))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::write_segment;
    use proptest::prelude::*;

    fn envelope(version: u8, stream: u8, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[0x80 | version, 0, 0, stream, 8], &len[..], body].concat()
    }

    fn received(inbound: &mut Inbound, wire: &[u8], chunk: usize) -> Result<Vec<(i16, Bytes)>, DecodeError> {
        let mut all = Vec::new();
        for piece in wire.chunks(chunk) {
            inbound.buffer().extend_from_slice(piece);
            while let Some(received) = inbound.next()? {
                all.push((received.header.stream, received.response.body));
            }
        }
        Ok(all)
    }

    #[test]
    fn responses_are_found_however_the_bytes_are_cut() {
        let wire = [envelope(4, 1, b"one"), envelope(4, 2, b""), envelope(4, 3, b"three")].concat();
        for chunk in 1..wire.len() {
            let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
            let all = received(&mut inbound, &wire, chunk).unwrap();
            assert_eq!(all, [(1, "one".into()), (2, "".into()), (3, "three".into())]);
        }
    }

    #[test]
    fn several_responses_may_share_a_segment() {
        let payload = [envelope(5, 1, b"one"), envelope(5, 2, b"two")].concat();
        let mut wire = Vec::new();
        write_segment(&payload, true, SegmentFormat::Lz4, &mut wire);
        for chunk in 1..wire.len() {
            let mut inbound = Inbound::new(ProtocolVersion::V5, 1 << 20);
            inbound.switch_on(None, Some(SegmentFormat::Lz4));
            assert_eq!(received(&mut inbound, &wire, chunk).unwrap(), [(1, "one".into()), (2, "two".into())]);
        }
    }

    #[test]
    fn a_self_contained_segment_must_not_end_within_a_response() {
        let payload = envelope(5, 1, b"cut");
        for len in 1..payload.len() {
            let mut wire = Vec::new();
            write_segment(&payload[..len], true, SegmentFormat::Plain, &mut wire);
            let mut inbound = Inbound::new(ProtocolVersion::V5, 1 << 20);
            inbound.switch_on(None, Some(SegmentFormat::Plain));
            let wire_len = wire.len();
            assert_eq!(received(&mut inbound, &wire, wire_len), Err(DecodeError::MalformedSegment), "{len}");
        }
    }

    #[test]
    fn compression_that_was_not_agreed_on_is_refused() {
        let mut wire = envelope(4, 1, b"body");
        wire[1] = FLAG_COMPRESSED;
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        assert_eq!(received(&mut inbound, &wire, 64), Err(DecodeError::UnexpectedCompression));
    }

    proptest! {
        #[test]
        fn hostile_bytes_give_responses_or_an_error(wire in any::<Vec<u8>>(), chunk in 1usize..32) {
            for format in [None, Some(SegmentFormat::Plain), Some(SegmentFormat::Lz4)] {
                let mut inbound = Inbound::new(ProtocolVersion::V5, 1 << 20);
                inbound.switch_on(Some(Compression::Lz4), format);
                let _ = received(&mut inbound, &wire, chunk);
            }
        }
    }
}
