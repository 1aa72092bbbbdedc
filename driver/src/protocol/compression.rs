//! Compression of bodies (v3, v4) and of segments (v5).
//!
//! # Source
//!
//! Native protocol v4, section 5: LZ4 bodies carry their length in four big-endian bytes, Snappy
//! bodies carry it themselves. Native protocol v5, section 2.2: LZ4 only, lengths in the header.

use std::cell::RefCell;

use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::DecodeError;
use super::envelope::{FLAG_COMPRESSED, HEADER_LEN};

/// A compression algorithm both sides may agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// LZ4 block format.
    Lz4,
    /// Snappy, without framing. Not in v5.
    Snappy,
}

impl Compression {
    /// The name in STARTUP and SUPPORTED.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }
}

/// Bodies and payloads shorter than this are sent as they are: compressing them costs more than it saves.
const BODY_LEN_MIN: usize = 512;

/// LZ4 cannot expand a block by more than this factor; anything beyond is a lie.
const LZ4_RATIO_MAX: usize = 255;

/// No Snappy block expands more than this: a copy of at most 64 bytes takes three.
const SNAPPY_RATIO_MAX: usize = 22;

thread_local! {
    /// What LZ4 finds repetitions with: 8 KiB, which most requests are not worth.
    static LZ4_TABLE: RefCell<CompressTable> = RefCell::new(CompressTable::small());
}

/// Compresses an LZ4 block.
fn compress_lz4(plain: &[u8]) -> Vec<u8> {
    // A longer one needs a larger table, which would stay.
    if plain.len() >= usize::from(u16::MAX) {
        return lz4_flex::block::compress(plain);
    }
    let mut block = vec![0; get_maximum_output_size(plain.len())];
    let len = LZ4_TABLE.with_borrow_mut(|table| compress_into_with_table(plain, &mut block, table));
    // The room is always enough: it is what the worst input needs.
    block.truncate(len.unwrap_or_default());
    block
}

/// The payload of a segment as an LZ4 block, if that is worth it.
pub fn compress_payload(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < BODY_LEN_MIN {
        return None;
    }
    Some(compress_lz4(payload)).filter(|block| block.len() < payload.len())
}

/// Compresses the body of the request envelope at the end of `out`, starting at `start`, in place.
///
/// Leaves it alone if it is short or would not become shorter.
pub fn compress_request(compression: Compression, start: usize, out: &mut Vec<u8>) {
    let Some(body) = out.get(start + HEADER_LEN..) else { return };
    if body.len() < BODY_LEN_MIN {
        return;
    }
    let compressed = match compression {
        Compression::Lz4 => {
            let mut compressed = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            compressed.extend_from_slice(&compress_lz4(body));
            compressed
        }
        Compression::Snappy => match snap::raw::Encoder::new().compress_vec(body) {
            Ok(compressed) => compressed,
            Err(_) => return,
        },
    };
    if compressed.len() >= body.len() {
        return;
    }
    out[start + 1] |= FLAG_COMPRESSED;
    let len = u32::try_from(compressed.len()).unwrap_or(u32::MAX);
    out[start + 5..start + HEADER_LEN].copy_from_slice(&len.to_be_bytes());
    out.truncate(start + HEADER_LEN);
    out.extend_from_slice(&compressed);
}

/// Decompresses the body of a response.
///
/// # Errors
///
/// [`DecodeError::BodyTooLong`] beyond `body_len_max` bytes, [`DecodeError::Decompression`] if
/// the body is corrupt or announces more than its algorithm can produce.
pub fn decompress_body(compression: Compression, body: &[u8], body_len_max: usize) -> Result<Bytes, DecodeError> {
    let check = |announced: usize, compressed_len: usize, ratio_max: usize| {
        if announced > body_len_max {
            return Err(DecodeError::BodyTooLong { announced, limit: body_len_max });
        }
        if announced > compressed_len.saturating_mul(ratio_max) {
            return Err(DecodeError::Decompression);
        }
        Ok(())
    };
    match compression {
        Compression::Lz4 => {
            let (len, block) = body.split_first_chunk::<4>().ok_or(DecodeError::UnexpectedEnd)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            check(len, block.len(), LZ4_RATIO_MAX)?;
            decompress_lz4(block, len)
        }
        Compression::Snappy => {
            let len = snap::raw::decompress_len(body).map_err(|_| DecodeError::Decompression)?;
            check(len, body.len(), SNAPPY_RATIO_MAX)?;
            let plain = snap::raw::Decoder::new().decompress_vec(body);
            plain.map(Bytes::from).map_err(|_| DecodeError::Decompression)
        }
    }
}

/// Decompresses an LZ4 block that must yield exactly `len` bytes.
///
/// # Errors
///
/// [`DecodeError::Decompression`].
pub fn decompress_lz4(block: &[u8], len: usize) -> Result<Bytes, DecodeError> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    if len > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(DecodeError::Decompression);
    }
    match lz4_flex::block::decompress(block, len) {
        Ok(plain) if plain.len() == len => Ok(plain.into()),
        _ => Err(DecodeError::Decompression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[4, 0, 0, 1, 7], &len[..], body].concat()
    }

    #[test]
    fn long_bodies_become_shorter_and_come_back() {
        let body = b"helenus ".repeat(100);
        for compression in [Compression::Lz4, Compression::Snappy] {
            let mut out = b"before".to_vec();
            out.extend_from_slice(&envelope(&body));
            compress_request(compression, 6, &mut out);
            assert!(out.len() < 200, "{}", out.len());
            assert_eq!(out[7], FLAG_COMPRESSED);
            let compressed = &out[6 + HEADER_LEN..];
            assert_eq!(out[14] as usize, compressed.len() & 0xFF);
            assert_eq!(decompress_body(compression, compressed, body.len()).unwrap(), body);
            assert!(decompress_body(compression, compressed, body.len() - 1).is_err());
        }
    }

    #[test]
    fn short_bodies_stay_as_they_are() {
        let mut out = envelope(&[0; BODY_LEN_MIN - 1]);
        let before = out.clone();
        compress_request(Compression::Lz4, 0, &mut out);
        assert_eq!(out, before);
    }

    #[test]
    fn a_small_block_cannot_announce_a_large_body() {
        let lie = [0x0F, 0xFF, 0xFF, 0xFF, 1, 2, 3];
        assert_eq!(decompress_body(Compression::Lz4, &lie, 256 << 20), Err(DecodeError::Decompression));
        assert_eq!(decompress_lz4(&lie[4..], 131_071), Err(DecodeError::Decompression));
    }

    proptest! {
        #[test]
        fn hostile_bodies_give_a_body_or_an_error(bytes in any::<Vec<u8>>(), len in 0usize..4096) {
            let _ = decompress_body(Compression::Lz4, &bytes, 1 << 20);
            let _ = decompress_body(Compression::Snappy, &bytes, 1 << 20);
            let _ = decompress_lz4(&bytes, len);
        }
    }
}
