//! Bytes on their way in: from what the transport gives to whole responses.
//!
//! Small bodies are copied out of the read buffer, which is then used again at once. Large ones stay slices of it,
//! unless they were compressed or spread over several v5 segments.
//!
//! # Invariants
//!
//! - Memory grows with bytes received, never with lengths announced.
//! - A small answer, however long it is kept, keeps no read buffer alive, and at most [`SHARED_LEN`] bytes of others.

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

/// A longer buffer is given back once it is empty: one large answer must not cost memory for ever.
const BUFFER_LEN_MAX: usize = 2 * READ_LEN;

/// Up to this length a body is copied: a result may be kept for long, and must not keep a whole read buffer with it.
const COPY_LEN_MAX: usize = READ_LEN / 8;

/// Copies of bodies up to [`SHARED_LEN_MAX`] share allocations of this length: one for each would cost more than the
/// rest of reading them.
const SHARED_LEN: usize = 4 << 10;
const SHARED_LEN_MAX: usize = SHARED_LEN / 4;

/// The body of most answers to writes: a result without rows.
const VOID: [u8; 4] = 1_i32.to_be_bytes();

/// The bytes being read.
#[derive(Debug)]
pub(super) struct Inbound {
    buffer: BytesMut,
    /// Room for copies of small bodies.
    copies: BytesMut,
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
            copies: BytesMut::new(),
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
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_LEN_MAX {
            self.buffer = BytesMut::new();
        }
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
            None => match split_envelope(&mut self.buffer, &mut self.copies, self.body_len_max)? {
                Some(received) => received,
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
                let body = match copy_of(&mut self.copies, &self.payload[..header.body_len]) {
                    Some(copy) => {
                        self.payload.advance(header.body_len);
                        copy
                    }
                    None => self.payload.split_to(header.body_len),
                };
                return Ok(Some((header, body)));
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
    copies: &mut BytesMut,
    body_len_max: usize,
) -> Result<Option<(ResponseHeader, Bytes)>, DecodeError> {
    let Some(header) = ResponseHeader::decode(buffer, body_len_max)? else { return Ok(None) };
    if buffer.len() - HEADER_LEN < header.body_len {
        return Ok(None);
    }
    let body = match copy_of(copies, &buffer[HEADER_LEN..HEADER_LEN + header.body_len]) {
        Some(copy) => {
            buffer.advance(HEADER_LEN + header.body_len);
            copy
        }
        None => {
            buffer.advance(HEADER_LEN);
            buffer.split_to(header.body_len).freeze()
        }
    };
    Ok(Some((header, body)))
}

/// A small body on its own; `None` for a large one, which is cheaper to share than to copy.
fn copy_of(copies: &mut BytesMut, body: &[u8]) -> Option<Bytes> {
    if body == VOID {
        return Some(Bytes::from_static(&VOID));
    }
    if body.len() <= SHARED_LEN_MAX {
        if copies.capacity() < body.len() {
            // The room used before, if none of its bodies is there any more.
            copies.reserve(SHARED_LEN);
        }
        copies.extend_from_slice(body);
        return Some(copies.split().freeze());
    }
    (body.len() <= COPY_LEN_MAX).then(|| Bytes::copy_from_slice(body))
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
    fn a_small_answer_that_is_kept_keeps_no_read_buffer_alive() {
        let lengths = [SHARED_LEN_MAX + 1, COPY_LEN_MAX, COPY_LEN_MAX + 1];
        let wire: Vec<u8> = lengths.iter().flat_map(|len| envelope(4, 1, &vec![7; *len])).collect();
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let all = received(&mut inbound, &wire, wire.len()).unwrap();
        for ((_, body), len) in all.into_iter().zip(lengths) {
            assert_eq!(body.len(), len);
            assert_eq!(body.is_unique(), len <= COPY_LEN_MAX, "{len}");
        }
    }

    #[test]
    fn small_answers_share_room_and_use_it_again_once_they_are_gone() {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let mut next = |mark: u8| {
            inbound.buffer().extend_from_slice(&envelope(4, 1, &[mark; SHARED_LEN_MAX]));
            inbound.next().unwrap().unwrap().response.body
        };
        let room = next(0).as_ptr_range().start;
        let kept: Vec<Bytes> = (0..20).map(&mut next).collect();
        assert!(kept.iter().zip(0..).all(|(body, mark)| *body == [mark; SHARED_LEN_MAX][..]), "none is overwritten");
        assert!(kept[..3].iter().all(|body| body.as_ptr_range().start < room.wrapping_add(SHARED_LEN)));
        drop(kept);
        let used: std::collections::BTreeSet<_> = (0..20).map(|mark| next(mark).as_ptr_range().start).collect();
        assert_eq!(used.len(), SHARED_LEN / SHARED_LEN_MAX);
    }

    #[test]
    fn the_room_of_a_large_answer_is_given_back() {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        assert_eq!(received(&mut inbound, &envelope(4, 1, &vec![7; 1 << 20]), READ_LEN_MIN).unwrap().len(), 1);
        assert!(inbound.buffer().capacity() <= BUFFER_LEN_MAX);
    }

    #[test]
    fn the_read_buffer_is_used_again_when_its_answers_were_small() {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let wire = envelope(4, 1, &[7; 100]);
        inbound.buffer().extend_from_slice(&wire);
        let kept = inbound.next().unwrap();
        let capacity = inbound.buffer().capacity();
        for _ in 0..10_000 {
            inbound.buffer().extend_from_slice(&wire);
            assert!(inbound.next().unwrap().is_some());
            assert!(inbound.buffer().capacity() <= capacity.max(READ_LEN + READ_LEN_MIN));
        }
        assert_eq!(kept.unwrap().response.body, [7; 100][..]);
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
