//! Whatever a peer sends, decoders answer with a value or an error, and allocate no more than the bytes justify.
//!
//! One test in a process of its own: the allocator counts what every thread does. The targets in `fuzz/` check the same
//! with inputs that coverage steers.

use bytes::{Bytes, BytesMut};
use helenus::protocol::compression::{Compression, decompress_body};
use helenus::protocol::envelope::ResponseHeader;
use helenus::protocol::frame::{PAYLOAD_LEN_MAX, Reassembly, SegmentFormat, split_segment};
use helenus::protocol::response::{Message, Response, ResultBody};
use helenus::protocol::{Opcode, ProtocolVersion};
use helenus::value::{CqlRow, RowIterator};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The smallest parts of a message (an empty string, a type, a boolean in a vector) are a byte or two on the wire and
/// some dozen in memory, twice while a vector grows.
const PER_BYTE: usize = 256;
const BASE: usize = 4096;
/// Neither compression makes more of a byte.
const EXPANSION_MAX: usize = 255;
const BODY_LEN_MAX: usize = 1 << 20;
const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V3, ProtocolVersion::V4, ProtocolVersion::V5];

fn bounded<T>(what: &str, justified: usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let value = work();
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= justified, "{what}: {allocated} bytes allocated where {justified} are justified");
    value
}

/// Bytes made of what decoders look for: small and huge counts, types, short strings, and noise.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        &[0, 0, 0, 0],
        &[0, 0, 0, 1],
        &[0, 0, 0, 2],
        &[0, 0, 0, 4],
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0x00, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF],
        &[0, 1],
        &[0, 3],
        b"\0\x01k",
        b"\0\0",
        &[0, 0x09],
        &[0, 0x0D],
        &[0, 0x20],
        &[0, 0x21],
        &[0, 0x30],
        &[0, 0x31],
        b"\0\0\0\x1CVectorType(FloatType, 99999)",
        b"\0\0\0\x1DTupleType(ByteType,ByteType,)",
    ];
    let token = prop_oneof![
        3 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, cases: u32, test: impl Fn(T)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&strategy, |input| {
        test(input);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn decoders_answer_any_bytes_and_allocate_no_more_than_they_justify() {
    check((any::<Vec<u8>>(), any::<bool>()), 2000, |(bytes, is_lz4)| check_stream(&bytes, is_lz4));
    check((0u8..0x12, prop_oneof![4 => Just(0u8), 1 => 0u8..16], tokens()), 6000, |(opcode, flags, body)| {
        for version in VERSIONS {
            let body = Bytes::copy_from_slice(&body);
            let response = Response { version, flags, opcode: Opcode::from_wire(opcode), body };
            let _ = bounded("a response", BASE + PER_BYTE * response.body.len(), || response.decode());
        }
    });
    check((prop::collection::vec(tokens(), 2), 0u8..4), 6000, |(parts, columns)| {
        // Rows with columns of any type: flags, a count, the table, then columns and cells as they come.
        let head = [&b"\0\0\0\x02\0\0\0\x01\0\0\0"[..], &[columns], b"\0\x02ks\0\x01t"].concat();
        check_rows([head, parts.concat()].concat().into());
    });
}

fn check_stream(bytes: &[u8], is_lz4: bool) {
    let _ = bounded("a header", BASE, || ResponseHeader::decode(bytes, BODY_LEN_MAX));
    let compression = if is_lz4 { Compression::Lz4 } else { Compression::Snappy };
    let justified = BASE + 2 * EXPANSION_MAX * bytes.len();
    let _ = bounded("a compressed body", justified, || decompress_body(compression, bytes, BODY_LEN_MAX));
    let format = if is_lz4 { SegmentFormat::Lz4 } else { SegmentFormat::Plain };
    let mut buffer = BytesMut::from(bytes);
    let justified = BASE + (EXPANSION_MAX * bytes.len()).min(2 * PAYLOAD_LEN_MAX);
    let _ = bounded("a segment", justified, || split_segment(&mut buffer, format));
    let mut reassembly = Reassembly::default();
    for part in bytes.chunks(7) {
        if bounded("a part", BASE + 4 * bytes.len(), || reassembly.add(part, BODY_LEN_MAX)).is_err() {
            break;
        }
    }
}

fn check_rows(body: Bytes) {
    let justified = BASE + PER_BYTE * body.len();
    let response = Response { version: ProtocolVersion::V5, flags: 0, opcode: Opcode::Result, body };
    let Ok(decoded) = bounded("rows", justified, || response.decode()) else { return };
    let Message::Result(ResultBody::Rows(rows)) = decoded.message else { return };
    let Some(columns) = rows.metadata.columns.clone() else { return };
    let Ok(iterator) = RowIterator::<CqlRow>::new(&columns, &rows.content, rows.row_count) else { return };
    for row in iterator.map_while(Result::ok) {
        let _ = bounded("values", justified, || row.values().map(drop));
    }
}
