//! Whatever a client sends, the simulated server answers with a request or a rejection, and allocates no more than the
//! bytes justify.
//!
//! One test in a process of its own: the allocator counts what every thread does. The targets in `fuzz/` check the same
//! with inputs that coverage steers.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use simcluster::protocol::{Codec, Compression, Incoming, PAYLOAD_LEN_MAX, decode_request};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The smallest parts of a request (an empty string, a null value) are two or four bytes on the wire and some dozen in
/// memory, twice while a vector grows.
const PER_BYTE: usize = 256;
const BASE: usize = 4096;
/// Neither compression makes more of a byte, and both ends of it are held for a moment.
const EXPANSION_MAX: usize = 2 * 255;

fn bounded<T>(what: &str, justified: usize, work: impl FnOnce() -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let value = work();
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= justified, "{what}: {allocated} bytes allocated where {justified} are justified");
    value
}

/// Bodies made of what decoders look for: small and huge counts, short strings, and noise.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&[u8]> = vec![
        &[0, 0, 0, 0],
        &[0, 0, 0, 1],
        &[0x7F, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFF],
        &[0xFF, 0xFF, 0xFF, 0xFE],
        &[0xFF, 0xFF],
        &[0, 1],
        &[0, 4],
        b"\0\x01k",
        b"\0\0\0\x06SELECT",
        &[0, 0],
        &[0x41],
        &[1],
    ];
    let token = prop_oneof![
        3 => prop::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// The stream of a client: envelopes with honest lengths, and noise behind them.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let envelope = (3u8..7, prop_oneof![3 => Just(0u8), 1 => 0u8..32], any::<i16>(), 0u8..0x12, body()).prop_map(
        |(version, flags, stream, opcode, body)| {
            let [s0, s1] = stream.to_be_bytes();
            let len = u32::try_from(body.len()).expect("short").to_be_bytes();
            [&[version, flags, s0, s1, opcode][..], &len, &body].concat()
        },
    );
    (prop::collection::vec(envelope, 0..4), any::<Vec<u8>>()).prop_map(|(envelopes, noise)| {
        let mut stream = envelopes.concat();
        stream.extend(noise);
        stream
    })
}

#[test]
fn the_servers_decoders_answer_any_bytes_and_allocate_no_more_than_they_justify() {
    let config = Config { cases: 8000, failure_persistence: None, ..Config::default() };
    let inputs = (stream(), 3u8..6, 0usize..3, any::<bool>());
    let outcome = TestRunner::new(config).run(&inputs, |(stream, version, compression, is_started)| {
        let mut codec = Codec::new(version);
        if is_started {
            codec.start([None, Some(Compression::Lz4), Some(Compression::Snappy)][compression]);
        }
        codec.push(&stream);
        let justified = BASE + 2 * PAYLOAD_LEN_MAX + EXPANSION_MAX * stream.len();
        while let Some(incoming) = bounded("the stream", justified, || codec.next()) {
            match incoming {
                Incoming::Envelope(envelope) => {
                    let justified = BASE + PER_BYTE * envelope.body.len();
                    let _ = bounded("a request", justified, || decode_request(&envelope));
                }
                Incoming::Rejection(rejection) if rejection.is_fatal => break,
                Incoming::Rejection(_) => {}
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
