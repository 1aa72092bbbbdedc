//! Bodies of responses: every opcode, flag and version.

#![no_main]

use bytes::Bytes;
use helenus::protocol::response::Response;
use helenus::protocol::{Opcode, ProtocolVersion};
use helenus_fuzz::{BASE, PER_BYTE, bounded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [version, flags, opcode, body @ ..] = input else { return };
    let version = ProtocolVersion::from_number(3 + version % 3).expect("3, 4 and 5 are spoken");
    let body = Bytes::copy_from_slice(body);
    let response = Response { version, flags: *flags, opcode: Opcode::from_wire(opcode % 0x12), body };
    let same = response.clone();
    let decoded = bounded(BASE + PER_BYTE * input.len(), || response.decode());
    if let Ok(decoded) = decoded {
        // Decoding is a function of the bytes.
        let again = same.decode().expect("it was decoded before");
        assert_eq!(format!("{decoded:?}"), format!("{again:?}"));
    }
});
