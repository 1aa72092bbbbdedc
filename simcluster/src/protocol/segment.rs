//! The segments of protocol v5: checksummed outer units that carry envelopes.
//!
//! A self-contained segment holds one or more whole envelopes; a larger envelope is spread over several segments
//! that are not self-contained. Header and payload have checksums of their own.
//!
//! # Source
//!
//! Native protocol v5, section 2.2.

use super::compression::{compress_block, decompress_block};
use bytes::{BufMut, Bytes, BytesMut};

/// The longest payload of a segment: 17 bits.
pub const PAYLOAD_LEN_MAX: usize = (1 << 17) - 1;

/// A segment taken off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whether its envelopes begin and end in it.
    pub is_self_contained: bool,
    /// The envelopes' bytes, uncompressed.
    pub payload: Bytes,
}

/// Why a segment cannot be read. The stream cannot be resynchronised: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The checksum of a header or a payload does not fit.
    Checksum {
        /// `header` or `body`.
        part: &'static str,
        /// What was read.
        read: u32,
        /// What it should be.
        computed: u32,
    },
    /// The payload cannot be decompressed.
    Compression,
}

/// Splits one segment off the front of `buffer`; `Ok(None)` means more bytes are needed.
///
/// # Errors
///
/// [`SegmentError`] if a checksum does not fit or the payload cannot be decompressed.
pub fn split_segment(buffer: &mut BytesMut, is_compressed: bool) -> Result<Option<Segment>, SegmentError> {
    let fields_len = fields_len(is_compressed);
    if buffer.len() < fields_len + 3 {
        return Ok(None);
    }
    let header = little_endian(&buffer[..fields_len]);
    let read = u32::try_from(little_endian(&buffer[fields_len..fields_len + 3])).unwrap_or(u32::MAX);
    let computed = crc24(&buffer[..fields_len]);
    if read != computed {
        return Err(SegmentError::Checksum { part: "header", read, computed });
    }
    let payload_len = low_17_bits(header);
    let (uncompressed_len, flag_bit) = if is_compressed { (low_17_bits(header >> 17), 34) } else { (0, 17) };
    let is_self_contained = header >> flag_bit & 1 == 1;
    let total = fields_len + 3 + payload_len + 4;
    if buffer.len() < total {
        return Ok(None);
    }
    let mut segment = buffer.split_to(total).freeze();
    let trailer = segment.split_off(total - 4);
    let payload = segment.split_off(fields_len + 3);
    let read = u32::try_from(little_endian(&trailer)).unwrap_or(u32::MAX);
    let computed = crc32(&payload);
    if read != computed {
        return Err(SegmentError::Checksum { part: "body", read, computed });
    }
    let payload = if uncompressed_len > 0 {
        decompress_block(&payload, uncompressed_len).map_err(|_| SegmentError::Compression)?
    } else {
        payload
    };
    Ok(Some(Segment { is_self_contained, payload }))
}

/// Puts one envelope into as many segments as it needs.
pub fn put_envelope(out: &mut BytesMut, envelope: &[u8], is_compressed: bool) {
    if envelope.len() <= PAYLOAD_LEN_MAX {
        put_segment(out, envelope, true, is_compressed);
        return;
    }
    for chunk in envelope.chunks(PAYLOAD_LEN_MAX) {
        put_segment(out, chunk, false, is_compressed);
    }
}

fn put_segment(out: &mut BytesMut, payload: &[u8], is_self_contained: bool, is_compressed: bool) {
    let flag = u64::from(is_self_contained);
    let compressed = if is_compressed { compress_block(payload) } else { Vec::new() };
    // An uncompressed length of zero says that compression did not pay and the payload is as it is.
    let pays = is_compressed && compressed.len() < payload.len();
    let on_wire = if pays { &compressed[..] } else { payload };
    let header = if is_compressed {
        let uncompressed_len = if pays { payload.len() } else { 0 };
        on_wire.len() as u64 | (uncompressed_len as u64) << 17 | flag << 34
    } else {
        on_wire.len() as u64 | flag << 17
    };
    let fields = header.to_le_bytes();
    let fields = &fields[..fields_len(is_compressed)];
    out.reserve(fields.len() + 3 + on_wire.len() + 4);
    out.put_slice(fields);
    out.put_uint_le(u64::from(crc24(fields)), 3);
    out.put_slice(on_wire);
    out.put_u32_le(crc32(on_wire));
}

/// How many bytes of a header come before its checksum.
fn fields_len(is_compressed: bool) -> usize {
    if is_compressed { 5 } else { 3 }
}

fn low_17_bits(header: u64) -> usize {
    usize::try_from(header & 0x1_ffff).unwrap_or(PAYLOAD_LEN_MAX)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The checksum of headers: polynomial 0x1974F0B, initial value 0x875060.
fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x0087_5060_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0197_4f0b;
            }
        }
    }
    crc
}

/// The checksum of payloads: the usual CRC32, begun with four fixed bytes so that zeros do not check as zeros.
fn crc32(payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xfa, 0x2d, 0x55, 0xca]);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_survive_segments_with_and_without_compression() {
        for is_compressed in [false, true] {
            for len in [0, 9, 1000, PAYLOAD_LEN_MAX, PAYLOAD_LEN_MAX + 1, 3 * PAYLOAD_LEN_MAX] {
                let envelope: Vec<u8> = (0..len).map(|i| u8::try_from(i / 7 % 251).expect("small")).collect();
                let mut wire = BytesMut::new();
                put_envelope(&mut wire, &envelope, is_compressed);
                let mut read = Vec::new();
                while let Some(segment) = split_segment(&mut wire, is_compressed).expect("valid") {
                    assert_eq!(segment.is_self_contained, len <= PAYLOAD_LEN_MAX);
                    read.extend_from_slice(&segment.payload);
                }
                assert_eq!(read, envelope);
                assert!(wire.is_empty());
            }
        }
    }

    #[test]
    fn uncompressed_header_is_length_and_flag_in_little_endian_order() {
        let mut wire = BytesMut::new();
        put_envelope(&mut wire, &[7; 9], false);
        assert_eq!(&wire[..3], &[9, 0, 0b10]);
        assert_eq!(wire.len(), 3 + 3 + 9 + 4);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut wire = BytesMut::new();
        put_envelope(&mut wire, b"nine byte", false);
        for bit in 0..wire.len() * 8 {
            let mut broken = wire.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            // A longer length makes the reader wait only if the header's checksum let it pass, which it must not.
            assert!(split_segment(&mut broken, false).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn half_a_segment_is_waited_for() {
        let mut wire = BytesMut::new();
        put_envelope(&mut wire, b"nine byte", true);
        for len in 0..wire.len() {
            let mut part = BytesMut::from(&wire[..len]);
            assert_eq!(split_segment(&mut part, true), Ok(None));
            assert_eq!(part.len(), len);
        }
    }
}
