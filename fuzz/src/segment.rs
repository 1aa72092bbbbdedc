//! The stream of a v5 connection: segments as they come, and segments whose checksums are right but whose contents are
//! not, put back together into envelopes.

#![no_main]

use bytes::BytesMut;
use helenus::protocol::envelope::{HEADER_LEN, ResponseHeader};
use helenus::protocol::frame::{PAYLOAD_LEN_MAX, Reassembly, SegmentFormat, split_segment, write_segment};
use helenus_fuzz::{BASE, bounded};
use libfuzzer_sys::fuzz_target;

const BODY_LEN_MAX: usize = 1 << 20;
/// More of them find nothing more and take their time: each compression clears a table.
const SEGMENTS_MAX: usize = 6;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let format = if choice & 1 == 0 { SegmentFormat::Plain } else { SegmentFormat::Lz4 };
    let stream = if choice & 2 == 0 { rest.to_vec() } else { checksummed(rest, format, choice & 4 != 0) };
    let mut ours = BytesMut::from(&stream[..]);
    let mut theirs = BytesMut::from(&stream[..]);
    let mut reassembly = Reassembly::default();
    loop {
        // A compressed segment yields up to 128 KiB, and no more than its bytes can stand for.
        let justified = BASE + (ours.len() * 255).min(2 * PAYLOAD_LEN_MAX);
        let split = bounded(justified, || split_segment(&mut ours, format));
        // The server's decoder is another program for the same format: both must see the same.
        let other = simcluster::protocol::split_segment(&mut theirs, format == SegmentFormat::Lz4);
        let segment = match (split, other) {
            (Ok(Some(segment)), Ok(Some(other))) => {
                assert_eq!((&segment.payload, segment.self_contained), (&other.payload, other.is_self_contained));
                segment
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => return,
            (split, other) => panic!("{split:?} here, {other:?} there"),
        };
        if segment.self_contained {
            let _ = ResponseHeader::decode(&segment.payload, BODY_LEN_MAX);
            continue;
        }
        let justified = BASE + 4 * (rest.len() + segment.payload.len());
        match bounded(justified, || reassembly.add(&segment.payload, BODY_LEN_MAX)) {
            Ok(Some(whole)) => assert!(whole.len() >= HEADER_LEN && !reassembly.is_pending()),
            Ok(None) => {}
            Err(_) => return,
        }
    }
});

/// Segments with right checksums. Of each, the first byte is a flag and a length, then come its contents; on a third
/// choice also the length they claim to have when decompressed, which may be a lie.
fn checksummed(mut rest: &[u8], format: SegmentFormat, are_lies: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..SEGMENTS_MAX {
        let Some((&head, after)) = rest.split_first() else { break };
        let (payload, left) = after.split_at(after.len().min(usize::from(head >> 1)));
        match payload {
            [high, low, wire @ ..] if are_lies => {
                put_segment(wire, u64::from(u16::from_be_bytes([*high, *low])) << 1, head & 1, format, &mut stream);
            }
            _ => write_segment(payload, head & 1 == 1, format, &mut stream),
        }
        rest = left;
    }
    stream
}

/// A segment of any claims, with the checksums of the specification (v5, section 2.2).
fn put_segment(wire: &[u8], plain_len: u64, flag: u8, format: SegmentFormat, out: &mut Vec<u8>) {
    let (header, header_len) = match format {
        SegmentFormat::Plain => (wire.len() as u64 | u64::from(flag) << 17, 3),
        SegmentFormat::Lz4 => (wire.len() as u64 | plain_len << 17 | u64::from(flag) << 34, 5),
    };
    let header = &header.to_le_bytes()[..header_len];
    let crc24 = header.iter().fold(0x0087_5060_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 { shifted } else { shifted ^ 0x0197_4F0B }
        })
    });
    let mut crc32 = crc32fast::Hasher::new();
    crc32.update(&[0xFA, 0x2D, 0x55, 0xCA]);
    crc32.update(wire);
    out.extend_from_slice(header);
    out.extend_from_slice(&crc24.to_le_bytes()[..3]);
    out.extend_from_slice(wire);
    out.extend_from_slice(&crc32.finalize().to_le_bytes());
}
