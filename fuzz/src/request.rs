//! The simulated server's side: the stream of a client in any version, compressed or not, up to whole requests.

#![no_main]

use helenus_fuzz::{BASE, PER_BYTE, bounded};
use libfuzzer_sys::fuzz_target;
use simcluster::protocol::{Codec, Compression, Incoming, decode_request};

fuzz_target!(|input: &[u8]| {
    let Some((&choice, stream)) = input.split_first() else { return };
    let mut codec = Codec::new(3 + choice % 3);
    let compression = [None, Some(Compression::Lz4), Some(Compression::Snappy)][usize::from(choice >> 2) % 3];
    // Two pieces: what is half there must be waited for.
    let (one, other) = stream.split_at(stream.len() / 2);
    let mut is_started = false;
    for piece in [one, other] {
        codec.push(piece);
        // An LZ4 block may become 255 times its length, a segment 128 KiB.
        let justified = BASE + (1 << 18) + (PER_BYTE + 510) * input.len();
        while let Some(incoming) = bounded(justified, || codec.next()) {
            match incoming {
                Incoming::Envelope(envelope) => {
                    let _ = bounded(BASE + PER_BYTE * envelope.body.len(), || decode_request(&envelope));
                    if !is_started && choice & 0x80 != 0 {
                        codec.start(compression);
                        is_started = true;
                    }
                }
                Incoming::Rejection(rejection) => {
                    let _ = codec.encode_rejection(&rejection);
                    if rejection.is_fatal {
                        return;
                    }
                }
            }
        }
    }
});
