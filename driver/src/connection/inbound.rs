//! Bytes on their way in: from what the transport gives to whole responses.
//!
//! Small bodies are copied out of the read buffer, which is then used again at once. Large ones stay slices of it,
//! unless they were compressed or spread over several v5 segments.
//!
//! # Invariants
//!
//! - Memory grows with bytes received, never with lengths announced.
//! - A small answer, however long it is kept, keeps no read buffer alive, and at most [`SHARED_LEN_MAX`] bytes of others.
//! - A connection that never carried much keeps little room.

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::compression::{Compression, decompress_body};
use crate::protocol::envelope::{FLAG_COMPRESSED, HEADER_LEN, ResponseHeader};
use crate::protocol::frame::{Reassembly, SegmentFormat, split_segment};
use crate::protocol::response::Response;
use crate::protocol::{DecodeError, ProtocolVersion};

/// The first read of a connection asks for this much, as most connections never need more; a read that fills its room
/// makes the next one [`READ_LEN_GROWTH`] times as long, up to [`READ_LEN_MAX`].
const READ_LEN_FIRST: usize = 512;
const READ_LEN_GROWTH: usize = 4;
const READ_LEN_MAX: usize = 128 << 10;

/// A long read is worth its system call if there is at least this much room.
const READ_LEN_MIN: usize = 16 << 10;

/// A longer buffer is given back once it is empty: one large answer must not cost memory for ever.
const BUFFER_LEN_MAX: usize = 2 * READ_LEN_MAX;

/// Up to this length a body is copied: a result may be kept for long, and must not keep a whole read buffer with it.
const COPY_LEN_MAX: usize = READ_LEN_MAX / 8;

/// Copies of bodies up to [`COPY_SHARED_MAX`] share allocations: one for each would cost more than the rest of reading
/// them. Each allocation is twice as long as the one before, from the first to the last of these lengths.
const SHARED_LEN_FIRST: usize = 128;
const SHARED_LEN_MAX: usize = 4 << 10;
const COPY_SHARED_MAX: usize = SHARED_LEN_MAX / 4;

/// The body of most answers to writes: a result without rows.
const VOID: [u8; 4] = 1_i32.to_be_bytes();

/// The bytes being read.
#[derive(Debug)]
pub(super) struct Inbound {
    buffer: BytesMut,
    /// How much room the next allocation of `buffer` makes.
    read_len: usize,
    /// The longest that `buffer` was.
    longest: usize,
    copies: Copies,
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
            read_len: READ_LEN_FIRST / READ_LEN_GROWTH,
            longest: 0,
            copies: Copies::default(),
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
        if self.longest > BUFFER_LEN_MAX && self.buffer.is_empty() {
            (self.buffer, self.longest) = (BytesMut::new(), 0);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        if room == 0 {
            self.read_len = (self.read_len * READ_LEN_GROWTH).min(READ_LEN_MAX);
        }
        if room < self.read_len.min(READ_LEN_MIN) {
            self.buffer.reserve(self.read_len);
            self.longest = self.longest.max(self.buffer.capacity());
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
                let body = match self.copies.of(&self.payload[..header.body_len]) {
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
    copies: &mut Copies,
    body_len_max: usize,
) -> Result<Option<(ResponseHeader, Bytes)>, DecodeError> {
    let Some(header) = ResponseHeader::decode(buffer, body_len_max)? else { return Ok(None) };
    if buffer.len() - HEADER_LEN < header.body_len {
        return Ok(None);
    }
    let body = match copies.of(&buffer[HEADER_LEN..HEADER_LEN + header.body_len]) {
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

/// Room for copies of small bodies.
#[derive(Debug, Default)]
struct Copies {
    room: BytesMut,
    /// The length of the latest allocation.
    len: usize,
}

impl Copies {
    /// A small body on its own; `None` for a large one, which is cheaper to share than to copy.
    fn of(&mut self, body: &[u8]) -> Option<Bytes> {
        if body == VOID {
            return Some(Bytes::from_static(&VOID));
        }
        if body.len() <= COPY_SHARED_MAX {
            if self.room.capacity() < body.len() {
                self.len = (2 * self.len).max(body.len()).clamp(SHARED_LEN_FIRST, SHARED_LEN_MAX);
                // The room used before, if it was as long and none of its bodies is there any more.
                self.room.reserve(self.len);
            }
            self.room.extend_from_slice(body);
            return Some(self.room.split().freeze());
        }
        (body.len() <= COPY_LEN_MAX).then(|| Bytes::copy_from_slice(body))
    }
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
        let lengths = [COPY_SHARED_MAX + 1, COPY_LEN_MAX, COPY_LEN_MAX + 1];
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
            inbound.buffer().extend_from_slice(&envelope(4, 1, &[mark; COPY_SHARED_MAX]));
            inbound.next().unwrap().unwrap().response.body
        };
        // Rooms for one, two and four of them.
        (0..7).for_each(|mark| drop(next(mark)));
        let room = next(0).as_ptr_range().start;
        let kept: Vec<Bytes> = (0..20).map(&mut next).collect();
        assert!(kept.iter().zip(0..).all(|(body, mark)| *body == [mark; COPY_SHARED_MAX][..]), "none is overwritten");
        assert!(kept[..3].iter().all(|body| body.as_ptr_range().start < room.wrapping_add(SHARED_LEN_MAX)));
        drop(kept);
        let used: std::collections::BTreeSet<_> = (0..20).map(|mark| next(mark).as_ptr_range().start).collect();
        assert_eq!(used.len(), SHARED_LEN_MAX / COPY_SHARED_MAX);
    }

    #[test]
    fn the_room_of_a_large_answer_is_given_back() {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let wire = envelope(4, 1, &vec![7; 1 << 20]);
        let kept = received(&mut inbound, &wire, READ_LEN_MAX).unwrap();
        drop(kept);
        assert_eq!(inbound.buffer().capacity(), READ_LEN_MAX, "and the answer's own room is not taken up again");
        assert_eq!(received(&mut inbound, &wire, READ_LEN_MAX).unwrap().len(), 1);
    }

    #[test]
    fn room_grows_with_the_answers_and_stays_small_without() {
        let mut inbound = Inbound::new(ProtocolVersion::V4, 1 << 20);
        let mut read = |len: usize| {
            let wire = envelope(4, 1, &vec![7; len]);
            let mut left = &wire[..];
            let mut reads = 0;
            while !left.is_empty() {
                let buffer = inbound.buffer();
                let taken = left.len().min(buffer.capacity() - buffer.len());
                buffer.extend_from_slice(&left[..taken]);
                left = &left[taken..];
                reads += 1;
            }
            assert!(inbound.next().unwrap().is_some());
            (reads, inbound.read_len)
        };
        for _ in 0..100 {
            assert_eq!(read(200), (1, READ_LEN_FIRST));
        }
        assert_eq!(read(4 * READ_LEN_FIRST).1, READ_LEN_FIRST * READ_LEN_GROWTH);
        let first = read(1 << 20);
        assert_eq!(first.1, READ_LEN_MAX);
        assert!(read(1 << 20).0 <= first.0);
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
            assert!(inbound.buffer().capacity() <= capacity.max(2 * READ_LEN_FIRST));
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
