//! The stream of a v3 or v4 connection: headers, bodies, both compressions, and whatever the bodies decode to.

#![no_main]

use bytes::Bytes;
use helenus::protocol::ProtocolVersion;
use helenus::protocol::compression::{Compression, decompress_body};
use helenus::protocol::envelope::{FLAG_COMPRESSED, HEADER_LEN, ResponseHeader};
use helenus::protocol::response::Response;
use helenus_fuzz::{BASE, PER_BYTE, bounded};
use libfuzzer_sys::fuzz_target;

/// Neither algorithm makes more of a byte.
const EXPANSION_MAX: usize = 255;
const BODY_LEN_MAX: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, mut stream)) = input.split_first() else { return };
    let compression = if choice & 1 == 0 { Compression::Lz4 } else { Compression::Snappy };
    while let Ok(Some(header)) = bounded(BASE, || ResponseHeader::decode(stream, BODY_LEN_MAX)) {
        let Some(body) = stream.get(HEADER_LEN..HEADER_LEN + header.body_len) else { return };
        stream = &stream[HEADER_LEN + header.body_len..];
        let body = if header.flags & FLAG_COMPRESSED == 0 {
            Bytes::copy_from_slice(body)
        } else {
            let justified = BASE + body.len().saturating_mul(2 * EXPANSION_MAX);
            match bounded(justified, || decompress_body(compression, body, BODY_LEN_MAX)) {
                Ok(plain) => plain,
                Err(_) => return,
            }
        };
        let version = ProtocolVersion::from_number(header.version).unwrap_or(ProtocolVersion::V4);
        let response = Response { version, flags: header.flags, opcode: header.opcode, body };
        let _ = bounded(BASE + PER_BYTE * response.body.len(), || response.decode());
    }
});
