//! Frames of v5: checksummed segments, each of many envelopes or of a part of one.
//!
//! Before v5 envelopes follow each other without anything between them.
//!
//! # Invariants
//!
//! - A segment is believed only after both of its checksums.
//! - A segment that says it is self-contained holds whole envelopes only.
//!
//! # Source
//!
//! Native protocol v5, section 2.2. Header numbers are little-endian, unlike all else.

use crate::env::mutants::is_planted;
use bytes::{Buf, Bytes, BytesMut};

use super::compression::{compress_payload, decompress_lz4};
use super::envelope::request_len;
use super::{DecodeError, envelope};

/// Longest payload of a segment in bytes, before compression.
pub const PAYLOAD_LEN_MAX: usize = (1 << 17) - 1;

const PLAIN_HEADER_LEN: usize = 3;
const COMPRESSED_HEADER_LEN: usize = 5;
const HEADER_CRC_LEN: usize = 3;
const PAYLOAD_CRC_LEN: usize = 4;
const LEN_BITS: u64 = 17;
const LEN_MASK: u64 = (1 << LEN_BITS) - 1;

/// Whether payloads are compressed; agreed on in STARTUP and fixed afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentFormat {
    /// Payloads as they are.
    Plain,
    /// Payloads compressed with LZ4 where that helps.
    Lz4,
}

impl SegmentFormat {
    fn header_len(self) -> usize {
        match self {
            Self::Plain => PLAIN_HEADER_LEN,
            Self::Lz4 => COMPRESSED_HEADER_LEN,
        }
    }
}

/// One decoded segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whether the payload holds whole envelopes rather than a part of one.
    pub self_contained: bool,
    /// The payload, decompressed.
    pub payload: Bytes,
}

/// Splits one segment off the front of `buf`; `Ok(None)` means more bytes are needed.
///
/// # Errors
///
/// Checksum and decompression errors. The stream cannot be trusted after any: close it.
pub fn split_segment(buf: &mut BytesMut, format: SegmentFormat) -> Result<Option<Segment>, DecodeError> {
    let header_len = format.header_len();
    let Some(header) = buf.get(..header_len + HEADER_CRC_LEN) else { return Ok(None) };
    let (header, crc) = header.split_at(header_len);
    let header = little_endian(header);
    if u64::from(crc24(header, header_len)) != little_endian(crc) {
        return Err(DecodeError::HeaderChecksum);
    }
    let wire_len = (header & LEN_MASK) as usize;
    let (plain_len, self_contained) = match format {
        SegmentFormat::Plain => (0, header >> LEN_BITS & 1 == 1),
        SegmentFormat::Lz4 => ((header >> LEN_BITS & LEN_MASK) as usize, header >> (2 * LEN_BITS) & 1 == 1),
    };
    let total = header_len + HEADER_CRC_LEN + wire_len + PAYLOAD_CRC_LEN;
    if buf.len() < total {
        return Ok(None);
    }
    buf.advance(header_len + HEADER_CRC_LEN);
    let payload = buf.split_to(wire_len).freeze();
    let crc = buf.get_u32_le();
    if crc32(&payload) != crc && !is_planted("M04-payload-checksum-ignored") {
        return Err(DecodeError::PayloadChecksum);
    }
    // A plain length of zero says that compression did not help and was left out.
    let payload = if plain_len == 0 { payload } else { decompress_lz4(&payload, plain_len)? };
    Ok(Some(Segment { self_contained, payload }))
}

/// Appends `envelopes`, which are whole requests one after the other, as segments.
///
/// As many whole envelopes as fit share a segment; a larger one takes several to itself. `mark` is
/// called whenever envelopes are complete, with how far into `envelopes` and how long `out` is.
pub fn write_segments(envelopes: &[u8], format: SegmentFormat, out: &mut Vec<u8>, mut mark: impl FnMut(usize, usize)) {
    let mut start = 0;
    while start < envelopes.len() {
        let mut end = start + request_len(&envelopes[start..]);
        if end - start > PAYLOAD_LEN_MAX {
            for part in envelopes[start..end].chunks(PAYLOAD_LEN_MAX) {
                write_segment(part, false, format, out);
            }
        } else {
            while end < envelopes.len() {
                let next = request_len(&envelopes[end..]);
                if end + next - start > PAYLOAD_LEN_MAX {
                    break;
                }
                end += next;
            }
            write_segment(&envelopes[start..end], true, format, out);
        }
        mark(end, out.len());
        start = end;
    }
}

/// Appends one segment. `payload` must not be longer than [`PAYLOAD_LEN_MAX`].
pub fn write_segment(payload: &[u8], self_contained: bool, format: SegmentFormat, out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= PAYLOAD_LEN_MAX);
    let compressed = match format {
        SegmentFormat::Plain => None,
        SegmentFormat::Lz4 => compress_payload(payload),
    };
    let wire = compressed.as_deref().unwrap_or(payload);
    let self_contained = u64::from(self_contained);
    let header = match format {
        SegmentFormat::Plain => wire.len() as u64 | self_contained << LEN_BITS,
        SegmentFormat::Lz4 => {
            let plain_len = if compressed.is_some() { payload.len() as u64 } else { 0 };
            wire.len() as u64 | plain_len << LEN_BITS | self_contained << (2 * LEN_BITS)
        }
    };
    let header_len = format.header_len();
    out.extend_from_slice(&header.to_le_bytes()[..header_len]);
    out.extend_from_slice(&crc24(header, header_len).to_le_bytes()[..HEADER_CRC_LEN]);
    out.extend_from_slice(wire);
    out.extend_from_slice(&crc32(wire).to_le_bytes());
}

/// Puts the parts of a large envelope back together.
#[derive(Debug, Default)]
pub struct Reassembly {
    parts: BytesMut,
}

impl Reassembly {
    /// Adds the payload of a segment that is not self-contained; returns the envelope once whole.
    ///
    /// Memory grows with the bytes received, never with the length announced.
    ///
    /// # Errors
    ///
    /// A broken header, or bytes beyond the end of the envelope.
    pub fn add(&mut self, part: &[u8], body_len_max: usize) -> Result<Option<Bytes>, DecodeError> {
        self.parts.extend_from_slice(part);
        let Some(header) = envelope::ResponseHeader::decode(&self.parts, body_len_max)? else {
            return Ok(None);
        };
        let total = envelope::HEADER_LEN + header.body_len;
        match self.parts.len().cmp(&total) {
            std::cmp::Ordering::Less => Ok(None),
            std::cmp::Ordering::Equal => Ok(Some(std::mem::take(&mut self.parts).freeze())),
            std::cmp::Ordering::Greater => Err(DecodeError::MalformedSegment),
        }
    }

    /// Whether parts of an envelope are waiting for more.
    pub fn is_pending(&self) -> bool {
        !self.parts.is_empty()
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Checksum of a segment header.
fn crc24(header: u64, len: usize) -> u32 {
    const INITIAL: u32 = 0x0087_5060;
    const POLYNOMIAL: u32 = 0x0197_4F0B;
    let mut crc = INITIAL;
    for byte in &header.to_le_bytes()[..len] {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    crc
}

/// Checksum of a payload: CRC-32 that starts with four fixed bytes.
fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xFA, 0x2D, 0x55, 0xCA]);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMATS: [SegmentFormat; 2] = [SegmentFormat::Plain, SegmentFormat::Lz4];

    /// An envelope that passes for a request when written and for a response when read back.
    fn envelope_of(body_len: usize, fill: u8) -> Vec<u8> {
        let len = u32::try_from(body_len).unwrap().to_be_bytes();
        let mut bytes = [&[0x85, 0, 0, 1, 8], &len[..]].concat();
        bytes.extend((0..body_len).map(|index| fill.wrapping_add((index / 7) as u8)));
        bytes
    }

    /// All envelopes in `wire`, which arrives in pieces of `chunk` bytes.
    fn read_back(wire: &[u8], format: SegmentFormat, chunk: usize) -> Result<Vec<u8>, DecodeError> {
        let (mut buf, mut reassembly, mut out) = (BytesMut::new(), Reassembly::default(), Vec::new());
        for piece in wire.chunks(chunk) {
            buf.extend_from_slice(piece);
            while let Some(segment) = split_segment(&mut buf, format)? {
                if segment.self_contained {
                    out.extend_from_slice(&segment.payload);
                } else if let Some(whole) = reassembly.add(&segment.payload, envelope::BODY_LEN_MAX)? {
                    out.extend_from_slice(&whole);
                }
            }
        }
        assert!(buf.is_empty() && !reassembly.is_pending());
        Ok(out)
    }

    #[test]
    fn small_envelopes_share_a_segment_and_a_large_one_takes_several() {
        let mut envelopes = envelope_of(10, 1);
        envelopes.extend(envelope_of(20, 2));
        let small = envelopes.len();
        envelopes.extend(envelope_of(3 * PAYLOAD_LEN_MAX, 3));
        envelopes.extend(envelope_of(0, 4));
        for format in FORMATS {
            let (mut wire, mut marks) = (Vec::new(), Vec::new());
            write_segments(&envelopes, format, &mut wire, |plain, _| marks.push(plain));
            assert_eq!(marks, [small, envelopes.len() - 9, envelopes.len()]);
            assert_eq!(read_back(&wire, format, 1000).unwrap(), envelopes);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let cases = [(SegmentFormat::Plain, 40), (SegmentFormat::Lz4, 40), (SegmentFormat::Lz4, 600)];
        for (format, body_len) in cases {
            let mut wire = Vec::new();
            write_segment(&envelope_of(body_len, 0), true, format, &mut wire);
            for bit in 0..wire.len() * 8 {
                let mut broken = wire.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                let result = split_segment(&mut BytesMut::from(&broken[..]), format);
                assert!(result.is_err(), "{format:?} bit {bit}: {result:?}");
            }
        }
    }

    #[test]
    fn a_long_payload_becomes_shorter_and_a_short_one_is_sent_as_it_is() {
        for (body_len, is_compressed) in [(600, true), (80_000, true), (400, false)] {
            let payload = envelope_of(body_len, 0);
            let mut wire = Vec::new();
            write_segment(&payload, true, SegmentFormat::Lz4, &mut wire);
            assert_eq!(wire.len() < payload.len(), is_compressed, "{body_len} bytes: {}", wire.len());
            assert_eq!(read_back(&wire, SegmentFormat::Lz4, 1000), Ok(payload));
        }
    }

    #[test]
    fn a_segment_has_the_bytes_another_implementation_computes() {
        let options = [0x05, 0x00, 0x00, 0x01, 0x05, 0x00, 0x00, 0x00, 0x00];
        let plain = [
            0x09, 0x00, 0x02, 0xA4, 0xC8, 0xC1, 0x05, 0x00, 0x00, 0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0xB5, 0x55, 0x74,
            0x86,
        ];
        // Nine bytes do not become fewer: the plain length is zero and the payload stays.
        let lz4 = [
            0x09, 0x00, 0x00, 0x00, 0x04, 0xC2, 0xB8, 0x95, 0x05, 0x00, 0x00, 0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0xB5,
            0x55, 0x74, 0x86,
        ];
        for (format, expected) in [(SegmentFormat::Plain, &plain[..]), (SegmentFormat::Lz4, &lz4[..])] {
            let mut wire = Vec::new();
            write_segment(&options, true, format, &mut wire);
            assert_eq!(wire, expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn envelopes_survive_any_sizes_and_any_chunks(
            sizes in prop::collection::vec(prop_oneof![0usize..300, 130_000usize..140_000], 0..6),
            chunk in 1usize..200_000,
        ) {
            let envelopes: Vec<u8> = sizes.iter().flat_map(|size| envelope_of(*size, 9)).collect();
            for format in FORMATS {
                let mut wire = Vec::new();
                write_segments(&envelopes, format, &mut wire, |_, _| {});
                prop_assert_eq!(read_back(&wire, format, chunk), Ok(envelopes.clone()));
            }
        }

        #[test]
        fn hostile_bytes_give_a_segment_or_an_error(bytes in any::<Vec<u8>>()) {
            for format in FORMATS {
                let _ = split_segment(&mut BytesMut::from(&bytes[..]), format);
            }
            let _ = Reassembly::default().add(&bytes, 1 << 20);
        }
    }
}
