//! Envelopes: the 9-byte header, its flags and opcodes, and the connection-long state of their transport.
//!
//! A [`Codec`] belongs to one client connection. It turns bytes in any chunking into envelopes, and finished
//! responses into bytes; it knows version, compression and, from the STARTUP reply on, v5 segments.
//!
//! # Invariants
//!
//! - After a fatal [`Rejection`] nothing more is decoded.
//! - Nothing is reserved for an announced body before its bytes have arrived.
//!
//! # Source
//!
//! Native protocol v4, section 2; v5, sections 2.1 and 2.3; the order of the checks is Cassandra's.

use super::compression::{Compression, compress_body, decompress_body};
use super::notation::put_string;
use super::segment::{SegmentError, put_envelope, split_segment};
use super::version::{version_name, version_refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Flags of an envelope's header.
pub mod flag {
    /// The body is compressed (v3 and v4).
    pub const COMPRESSION: u8 = 0x01;
    /// Request: trace it. Response: a tracing id comes first.
    pub const TRACING: u8 = 0x02;
    /// A custom payload is in the body (v4 and later).
    pub const CUSTOM_PAYLOAD: u8 = 0x04;
    /// Warnings are in the body of a response (v4 and later).
    pub const WARNING: u8 = 0x08;
    /// The client knows that the version is a beta.
    pub const USE_BETA: u8 = 0x10;
}

/// Opcodes of messages.
#[expect(missing_docs, reason = "the constants are the protocol's own names")]
pub mod opcode {
    pub const ERROR: u8 = 0x00;
    pub const STARTUP: u8 = 0x01;
    pub const READY: u8 = 0x02;
    pub const AUTHENTICATE: u8 = 0x03;
    pub const OPTIONS: u8 = 0x05;
    pub const SUPPORTED: u8 = 0x06;
    pub const QUERY: u8 = 0x07;
    pub const RESULT: u8 = 0x08;
    pub const PREPARE: u8 = 0x09;
    pub const EXECUTE: u8 = 0x0A;
    pub const REGISTER: u8 = 0x0B;
    pub const EVENT: u8 = 0x0C;
    pub const BATCH: u8 = 0x0D;
    pub const AUTH_CHALLENGE: u8 = 0x0E;
    pub const AUTH_RESPONSE: u8 = 0x0F;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

/// The longest body a client may send: `native_transport_max_frame_size` of Cassandra 5.0.
pub const BODY_LEN_MAX: usize = 16 << 20;

const HEADER_LEN: usize = 9;

/// A whole request envelope, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// 3, 4 or 5.
    pub version: u8,
    /// See [`flag`].
    pub flags: u8,
    /// To be echoed.
    pub stream: i16,
    /// See [`opcode`].
    pub opcode: u8,
    /// The message.
    pub body: Bytes,
}

/// Bytes that are no envelope this server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The text of the protocol error to answer.
    pub message: String,
    /// The stream to answer on; 0 if it is not known.
    pub stream: i16,
    /// Set if the first bytes were of protocol v1 or v2, which are answered in their own framing.
    pub ancient_version: Option<u8>,
    /// Whether the connection is to be closed after the answer.
    pub is_fatal: bool,
}

/// One thing taken off the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A request.
    Envelope(Envelope),
    /// A violation of the protocol.
    Rejection(Rejection),
}

/// The transport state of one client connection.
#[derive(Debug)]
pub struct Codec {
    version_max: u8,
    version: Option<u8>,
    compression: Option<Compression>,
    is_segmented: bool,
    inbound: BytesMut,
    /// What segments have carried and is not yet a whole envelope.
    carried: BytesMut,
    is_broken: bool,
}

impl Codec {
    /// A connection that has not said anything, to a server that speaks up to `version_max`.
    #[must_use]
    pub fn new(version_max: u8) -> Self {
        Self {
            version_max,
            version: None,
            compression: None,
            is_segmented: false,
            inbound: BytesMut::new(),
            carried: BytesMut::new(),
            is_broken: false,
        }
    }

    /// The version of the connection: that of its first request, or the server's highest before it.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version.unwrap_or(self.version_max)
    }

    /// Whether what is sent has checksums: v5 segments do.
    #[must_use]
    pub const fn is_checked(&self) -> bool {
        self.is_segmented
    }

    /// Switches to what STARTUP negotiated: compression, and segments on v5. Call it between the STARTUP request and
    /// the next call of [`Codec::next`]; in v5 the reply to STARTUP is encoded before.
    pub fn start(&mut self, compression: Option<Compression>) {
        self.compression = compression;
        self.is_segmented = self.version() >= 5;
    }

    /// Takes bytes of the client.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.inbound.extend_from_slice(bytes);
        }
    }

    /// The next envelope or violation; `None` means more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "more items may come after None")]
    pub fn next(&mut self) -> Option<Incoming> {
        if self.is_broken {
            return None;
        }
        let incoming = if self.is_segmented { self.next_segmented() } else { self.next_plain() };
        if let Some(Incoming::Rejection(Rejection { is_fatal: true, .. })) = &incoming {
            self.is_broken = true;
            self.inbound = BytesMut::new();
            self.carried = BytesMut::new();
        }
        incoming
    }

    fn next_plain(&mut self) -> Option<Incoming> {
        let mut buffer = std::mem::take(&mut self.inbound);
        let incoming = self.split(&mut buffer);
        self.inbound = buffer;
        incoming
    }

    fn next_segmented(&mut self) -> Option<Incoming> {
        loop {
            let mut carried = std::mem::take(&mut self.carried);
            let incoming = self.split(&mut carried);
            self.carried = carried;
            if incoming.is_some() {
                return incoming;
            }
            let segment = match split_segment(&mut self.inbound, self.compression.is_some()) {
                Ok(segment) => segment?,
                Err(error) => return Some(fatal(segment_error_text(error), 0)),
            };
            if segment.is_self_contained && !self.carried.is_empty() {
                return Some(fatal("Self contained segment inside an envelope of several segments".into(), 0));
            }
            self.carried.extend_from_slice(&segment.payload);
        }
    }

    /// Splits one envelope off the front of `buffer`.
    fn split(&mut self, buffer: &mut BytesMut) -> Option<Incoming> {
        // The version is judged by the first byte alone: v1 and v2 have shorter headers, so waiting for nine bytes
        // could wait for ever.
        let first = *buffer.first()?;
        let version = first & 0x7f;
        let flags = buffer.get(1).copied().unwrap_or(0);
        let is_known = version_refusal(version, true, self.version_max).is_none();
        if !is_known {
            let has_beta_flag = flags & flag::USE_BETA != 0;
            let message = version_refusal(version, has_beta_flag, self.version_max)?;
            let ancient_version = matches!(version, 1 | 2).then_some(version);
            return Some(Incoming::Rejection(Rejection { message, stream: 0, ancient_version, is_fatal: true }));
        }
        if buffer.len() < HEADER_LEN {
            return None;
        }
        let mut header = &buffer[2..HEADER_LEN];
        let stream = header.get_i16();
        let opcode = header.get_u8();
        let announced = header.get_u32();
        if first & 0x80 != 0 {
            let message = format!("Wrong protocol direction (expected REQUEST, got RESPONSE) for opcode {opcode}");
            return Some(fatal(message, stream));
        }
        let body_len = usize::try_from(announced).unwrap_or(usize::MAX);
        if body_len > BODY_LEN_MAX {
            let message =
                format!("Request is too big: length {announced} exceeds maximum allowed length {BODY_LEN_MAX}.");
            return Some(fatal(message, stream));
        }
        if buffer.len() < HEADER_LEN + body_len {
            return None;
        }
        buffer.advance(HEADER_LEN);
        let body = buffer.split_to(body_len).freeze();
        let connection_version = *self.version.get_or_insert(version);
        if version != connection_version {
            let message = format!(
                "Invalid message version. Got {} but previous messages on this connection had version {}",
                version_name(version),
                version_name(connection_version)
            );
            return Some(Incoming::Rejection(Rejection { message, stream, ancient_version: None, is_fatal: false }));
        }
        let body = if flags & flag::COMPRESSION != 0 {
            match self.decompress(&body) {
                Ok(body) => body,
                Err(message) => {
                    let rejection = Rejection { message, stream, ancient_version: None, is_fatal: false };
                    return Some(Incoming::Rejection(rejection));
                }
            }
        } else {
            body
        };
        Some(Incoming::Envelope(Envelope { version, flags, stream, opcode, body }))
    }

    fn decompress(&self, body: &Bytes) -> Result<Bytes, String> {
        match self.compression {
            _ if self.is_segmented => Err("Envelope with the compression flag in protocol v5".into()),
            Some(compression) => decompress_body(compression, body, BODY_LEN_MAX).map_err(|error| error.to_string()),
            None => Err("Compressed message, but no compression was negotiated".into()),
        }
    }

    /// Makes a finished response ready for the wire: compressed and in segments, as negotiated.
    #[must_use]
    pub fn encode(&self, stream: i16, opcode: u8, flags: u8, body: &[u8]) -> Bytes {
        let mut flags = flags;
        let compressed;
        let mut on_wire = body;
        if let (Some(compression), false) = (self.compression, self.is_segmented) {
            compressed = compress_body(compression, body);
            on_wire = &compressed;
            flags |= flag::COMPRESSION;
        }
        let mut envelope = BytesMut::with_capacity(HEADER_LEN + on_wire.len());
        envelope.put_u8(self.version() | 0x80);
        envelope.put_u8(flags);
        envelope.put_i16(stream);
        envelope.put_u8(opcode);
        envelope.put_u32(u32::try_from(on_wire.len()).unwrap_or(u32::MAX));
        envelope.put_slice(on_wire);
        if self.is_segmented {
            let mut segments = BytesMut::new();
            put_envelope(&mut segments, &envelope, self.compression.is_some());
            return segments.freeze();
        }
        envelope.freeze()
    }

    /// The ERROR that answers a rejection. One of the version is in the server's highest version, or in the framing
    /// of v1 and v2 if those were used.
    #[must_use]
    pub fn encode_rejection(&self, rejection: &Rejection) -> Bytes {
        let mut body = BytesMut::new();
        body.put_i32(0x000A);
        put_string(&mut body, &rejection.message);
        match rejection.ancient_version {
            Some(version) => {
                let mut envelope = BytesMut::new();
                envelope.put_slice(&[version | 0x80, 0, 0, opcode::ERROR]);
                envelope.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
                envelope.put_slice(&body);
                envelope.freeze()
            }
            None => self.encode(rejection.stream, opcode::ERROR, 0, &body),
        }
    }
}

fn fatal(message: String, stream: i16) -> Incoming {
    Incoming::Rejection(Rejection { message, stream, ancient_version: None, is_fatal: true })
}

fn segment_error_text(error: SegmentError) -> String {
    match error {
        SegmentError::Checksum { part, read, computed } => {
            format!("unrecoverable CRC mismatch detected in frame {part}. Read {read}, Computed {computed}")
        }
        SegmentError::Compression => "Cannot decompress the payload of a segment".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: u8, stream: i16) -> Vec<u8> {
        let mut bytes = vec![version, 0];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(&[opcode::OPTIONS, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn unknown_versions_are_refused_by_their_first_byte_with_the_servers_version() {
        let mut codec = Codec::new(5);
        codec.push(&[0x42]);
        let Some(Incoming::Rejection(rejection)) = codec.next() else { panic!("not rejected") };
        assert!(rejection.is_fatal);
        let bytes = codec.encode_rejection(&rejection);
        assert_eq!(&bytes[..5], &[0x85, 0, 0, 0, opcode::ERROR]);
        assert_eq!(&bytes[9..13], &[0, 0, 0, 0x0a]);
        codec.push(&options(4, 0));
        assert_eq!(codec.next(), None, "decoded after a fatal rejection");
    }

    #[test]
    fn v2_is_answered_in_its_own_framing() {
        let mut codec = Codec::new(5);
        codec.push(&[2, 0, 1, 5]);
        let Some(Incoming::Rejection(rejection)) = codec.next() else { panic!("not rejected") };
        let bytes = codec.encode_rejection(&rejection);
        assert_eq!(&bytes[..4], &[0x82, 0, 0, opcode::ERROR]);
        assert_eq!(usize::try_from(u32::from_be_bytes(bytes[4..8].try_into().expect("4"))), Ok(bytes.len() - 8));
    }

    #[test]
    fn envelopes_are_found_in_any_chunking() {
        let mut codec = Codec::new(5);
        let mut bytes = options(4, 7);
        bytes.extend_from_slice(&options(4, -3));
        let mut streams = Vec::new();
        for byte in bytes {
            codec.push(&[byte]);
            while let Some(Incoming::Envelope(envelope)) = codec.next() {
                streams.push(envelope.stream);
            }
        }
        assert_eq!(streams, [7, -3]);
    }

    #[test]
    fn another_version_on_the_same_connection_is_an_error_and_not_fatal() {
        let mut codec = Codec::new(5);
        codec.push(&options(4, 1));
        codec.push(&options(3, 2));
        assert!(matches!(codec.next(), Some(Incoming::Envelope(_))));
        let Some(Incoming::Rejection(rejection)) = codec.next() else { panic!("not rejected") };
        assert_eq!(
            rejection.message,
            "Invalid message version. Got 3/v3 but previous messages on this connection had version 4/v4"
        );
        assert_eq!((rejection.stream, rejection.is_fatal), (2, false));
    }

    #[test]
    fn v5_uses_segments_after_startup_in_both_directions() {
        let mut codec = Codec::new(5);
        codec.push(&options(5, 1));
        assert!(matches!(codec.next(), Some(Incoming::Envelope(_))));
        assert_eq!(codec.encode(1, opcode::READY, 0, &[])[0], 0x85);
        codec.start(Some(Compression::Lz4));
        let mut wire = BytesMut::new();
        put_envelope(&mut wire, &options(5, 9), true);
        codec.push(&wire);
        assert!(matches!(codec.next(), Some(Incoming::Envelope(Envelope { stream: 9, .. }))));
        let mut sent = BytesMut::from(&codec.encode(9, opcode::READY, 0, &[])[..]);
        let segment = split_segment(&mut sent, true).expect("valid").expect("whole");
        assert_eq!(&segment.payload[..], &[0x85, 0, 0, 9, opcode::READY, 0, 0, 0, 0]);
    }

    #[test]
    fn bodies_beyond_the_limit_are_refused_by_their_header() {
        let mut codec = Codec::new(4);
        codec.push(&[4, 0, 0, 5, opcode::QUERY, 0x7f, 0, 0, 0]);
        let Some(Incoming::Rejection(rejection)) = codec.next() else { panic!("not rejected") };
        assert_eq!((rejection.stream, rejection.is_fatal), (5, true));
    }
}
