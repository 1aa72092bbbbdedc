//! The two compressions of the protocol.
//!
//! v3 and v4 compress the body of an envelope; v5 compresses the payload of a segment, with LZ4 only and without a
//! length in front. Decompression never reserves more than the compressed bytes can stand for.
//!
//! # Source
//!
//! Native protocol v4, section 5; v5, section 2.2.

use super::notation::DecodeError;
use bytes::Bytes;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use std::cell::RefCell;

/// A compression that a client may ask for at STARTUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the algorithms' own names")]
pub enum Compression {
    Lz4,
    Snappy,
}

thread_local! {
    /// What LZ4 looks for repetitions with. It is large beside most messages, so it is kept.
    static LZ4_TABLE: RefCell<CompressTable> = RefCell::default();
}

/// No LZ4 block expands more than this: a match of 255 bytes costs at least one byte.
const LZ4_RATIO_MAX: usize = 255;
/// No Snappy block expands more than this: a copy of 64 bytes costs at least three bytes.
const SNAPPY_RATIO_MAX: usize = 22;

/// Compresses the body of a v3 or v4 envelope.
#[must_use]
pub fn compress_body(compression: Compression, body: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Lz4 => {
            let mut out = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            out.extend_from_slice(&compress_block(body));
            out
        }
        // Only a body above 4 GiB could fail, and bodies are bounded far below.
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(body).unwrap_or_default(),
    }
}

/// Decompresses the body of a v3 or v4 envelope of at most `len_max` bytes.
///
/// # Errors
///
/// [`DecodeError::Invalid`] if the bytes are not what the algorithm writes, or announce an impossible length.
pub fn decompress_body(compression: Compression, body: &[u8], len_max: usize) -> Result<Bytes, DecodeError> {
    match compression {
        Compression::Lz4 => {
            let Some((len, block)) = body.split_first_chunk::<4>() else {
                return Err(broken());
            };
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| broken())?;
            if len > len_max {
                return Err(broken());
            }
            decompress_block(block, len)
        }
        Compression::Snappy => {
            let len = snap::raw::decompress_len(body).map_err(|_| broken())?;
            if len > len_max || len > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
                return Err(broken());
            }
            snap::raw::Decoder::new().decompress_vec(body).map(Bytes::from).map_err(|_| broken())
        }
    }
}

/// Compresses the payload of a v5 segment.
#[must_use]
pub fn compress_block(payload: &[u8]) -> Vec<u8> {
    // A larger one would leave another table behind, and what is written would depend on what was written before.
    if payload.len() >= usize::from(u16::MAX) {
        return lz4_flex::block::compress(payload);
    }
    let mut out = vec![0; get_maximum_output_size(payload.len())];
    let len = LZ4_TABLE.with_borrow_mut(|table| compress_into_with_table(payload, &mut out, table));
    // There is always room: what cannot be compressed grows by less than a tenth.
    out.truncate(len.unwrap_or_default());
    out
}

/// Decompresses an LZ4 block of known uncompressed length.
///
/// # Errors
///
/// [`DecodeError::Invalid`] as [`decompress_body`].
pub fn decompress_block(block: &[u8], len: usize) -> Result<Bytes, DecodeError> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    if len > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(broken());
    }
    match lz4_flex::block::decompress(block, len) {
        Ok(bytes) if bytes.len() == len => Ok(Bytes::from(bytes)),
        Ok(_) | Err(_) => Err(broken()),
    }
}

fn broken() -> DecodeError {
    DecodeError::Invalid("Cannot decompress the body of a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_survive_both_compressions() {
        let body = b"SELECT SELECT SELECT SELECT SELECT SELECT SELECT".repeat(20);
        for compression in [Compression::Lz4, Compression::Snappy] {
            let compressed = compress_body(compression, &body);
            assert!(compressed.len() < body.len());
            assert_eq!(decompress_body(compression, &compressed, 1 << 20).as_deref(), Ok(&body[..]));
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_anything_is_reserved() {
        let bomb = [0x7f, 0xff, 0xff, 0xff, 0x10, b'a'];
        assert!(decompress_body(Compression::Lz4, &bomb, usize::MAX).is_err());
        let snappy_bomb = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert!(decompress_body(Compression::Snappy, &snappy_bomb, usize::MAX).is_err());
    }
}
