//! A connection that speaks the native protocol, written for the corpus alone.
//!
//! Neither the driver nor the simulated cluster lends its codec: a mistake that both ends share would be invisible, and
//! the corpus wants to see everything the server says, also what a driver has no use for.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5, sections 2 to 4.

use super::reader::Reader;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A byte stream to a node: a socket, or the simulated network.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What travels: the header's fields and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// With the direction bit.
    pub version: u8,
    /// Compression, tracing, payload, warning, beta.
    pub flags: u8,
    /// Which request; −1 for events.
    pub stream: i16,
    /// Which message.
    pub opcode: u8,
    /// The message.
    pub body: Vec<u8>,
}

/// Message kinds of the protocol.
#[expect(missing_docs, reason = "named as in the specification")]
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
    pub const EXECUTE: u8 = 0x0a;
    pub const REGISTER: u8 = 0x0b;
    pub const EVENT: u8 = 0x0c;
    pub const BATCH: u8 = 0x0d;
    pub const AUTH_RESPONSE: u8 = 0x0f;
    pub const AUTH_SUCCESS: u8 = 0x10;
}

const HEADER_LEN: usize = 9;
/// TRUNCATE may take a minute in a real cluster.
const ANSWER_DEADLINE: Duration = Duration::from_secs(90);

/// A connection with one request in flight at a time.
pub struct Connection {
    stream: Box<dyn Stream>,
    version: u8,
    is_framed: bool,
    received: Vec<u8>,
    /// Contents of segments, not yet a whole envelope.
    unframed: Vec<u8>,
    events: VecDeque<Envelope>,
    next_stream: i16,
}

impl Connection {
    /// Performs the handshake.
    ///
    /// # Errors
    ///
    /// The stream breaks, or the server refuses: then its ERROR is the text.
    pub async fn open(stream: Box<dyn Stream>, version: u8, user: Option<(&str, &str)>) -> io::Result<Self> {
        let mut connection = Self {
            stream,
            version,
            is_framed: false,
            received: Vec::new(),
            unframed: Vec::new(),
            events: VecDeque::new(),
            next_stream: 0,
        };
        let mut body = Vec::new();
        put_short(&mut body, 1);
        put_string(&mut body, "CQL_VERSION");
        put_string(&mut body, "3.0.0");
        let mut answer = connection.request(opcode::STARTUP, &body).await?;
        connection.is_framed = version >= 5;
        if let (opcode::AUTHENTICATE, Some((name, password))) = (answer.opcode, user) {
            let mut body = Vec::new();
            put_bytes(&mut body, format!("\0{name}\0{password}").as_bytes());
            answer = connection.request(opcode::AUTH_RESPONSE, &body).await?;
        }
        match answer.opcode {
            opcode::READY | opcode::AUTH_SUCCESS => Ok(connection),
            opcode::ERROR => {
                let mut reader = Reader(&answer.body);
                let text = reader.int().and_then(|_| reader.string()).unwrap_or_default();
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
            }
            other => Err(io::Error::other(format!("STARTUP was answered with opcode {other:#04x}"))),
        }
    }

    /// The protocol's version.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// Sends a request and waits for its answer; events that come before it are kept.
    ///
    /// # Errors
    ///
    /// The stream breaks, its bytes are not the protocol's, or no answer comes.
    pub async fn request(&mut self, opcode: u8, body: &[u8]) -> io::Result<Envelope> {
        let stream = self.next_stream;
        self.next_stream = (self.next_stream + 1) & 0x7fff;
        let mut bytes = vec![self.version, 0];
        bytes.extend(stream.to_be_bytes());
        bytes.push(opcode);
        bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(body);
        let bytes = if self.is_framed { segments(&bytes) } else { bytes };
        let exchange = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await?;
            loop {
                let envelope = self.next().await?;
                if envelope.stream == stream {
                    return Ok(envelope);
                }
                self.events.push_back(envelope);
            }
        };
        match tokio::time::timeout(ANSWER_DEADLINE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
        }
    }

    /// Keeps events that come, until none has come for so long.
    ///
    /// # Errors
    ///
    /// The stream breaks, or its bytes are not the protocol's.
    pub async fn listen(&mut self, quiet: Duration) -> io::Result<()> {
        // Giving a read up loses nothing: what has come is in the connection's own buffers.
        while let Ok(envelope) = tokio::time::timeout(quiet, self.next()).await {
            self.events.push_back(envelope?);
        }
        Ok(())
    }

    /// Asks for events of these types.
    ///
    /// # Errors
    ///
    /// The stream breaks, or the server refuses.
    pub async fn register(&mut self, types: &[&str]) -> io::Result<()> {
        let mut body = Vec::new();
        put_short(&mut body, u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|of| put_string(&mut body, of));
        match self.request(opcode::REGISTER, &body).await?.opcode {
            opcode::READY => Ok(()),
            other => Err(io::Error::other(format!("REGISTER was answered with opcode {other:#04x}"))),
        }
    }

    /// The events that have come before the answer to the last request, and while the connection listened.
    pub fn take_events(&mut self) -> Vec<Envelope> {
        self.events.drain(..).collect()
    }

    async fn next(&mut self) -> io::Result<Envelope> {
        loop {
            let envelopes = if self.is_framed { &mut self.unframed } else { &mut self.received };
            if let Some(envelope) = split_envelope(envelopes) {
                return Ok(envelope);
            }
            if self.is_framed && split_segment(&mut self.received, &mut self.unframed)? {
                continue;
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => self.received.extend(&chunk[..len]),
            }
        }
    }
}

/// Takes a whole envelope off the front, if there is one.
pub(super) fn split_envelope(buffer: &mut Vec<u8>) -> Option<Envelope> {
    let header: [u8; HEADER_LEN] = buffer.get(..HEADER_LEN)?.try_into().ok()?;
    let [version, flags, stream_high, stream_low, opcode, len @ ..] = header;
    let len = usize::try_from(u32::from_be_bytes(len)).ok()?;
    let body = buffer.get(HEADER_LEN..HEADER_LEN + len)?.to_vec();
    buffer.drain(..HEADER_LEN + len);
    Some(Envelope { version, flags, stream: i16::from_be_bytes([stream_high, stream_low]), opcode, body })
}

const SEGMENT_HEADER_LEN: usize = 6;
const SEGMENT_PAYLOAD_LEN_MAX: usize = (1 << 17) - 1;

/// Moves one segment's payload from `received` to `payloads`; false means that more bytes are needed.
pub(super) fn split_segment(received: &mut Vec<u8>, payloads: &mut Vec<u8>) -> io::Result<bool> {
    let Some(header) = received.get(..SEGMENT_HEADER_LEN) else { return Ok(false) };
    if header[3..] != crc24(&header[..3]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a segment's header checksum is wrong"));
    }
    let len = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2] & 1) << 16;
    let end = SEGMENT_HEADER_LEN + len;
    let Some(trailer) = received.get(end..end + 4) else { return Ok(false) };
    let payload = &received[SEGMENT_HEADER_LEN..end];
    if trailer != crc32(payload) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a segment's payload checksum is wrong"));
    }
    payloads.extend(payload);
    received.drain(..end + 4);
    Ok(true)
}

/// An envelope in as many segments as it needs, without compression.
fn segments(envelope: &[u8]) -> Vec<u8> {
    let is_self_contained = envelope.len() <= SEGMENT_PAYLOAD_LEN_MAX;
    let mut out = Vec::new();
    for payload in envelope.chunks(SEGMENT_PAYLOAD_LEN_MAX) {
        let fields = payload.len() | usize::from(is_self_contained) << 17;
        let fields = &fields.to_le_bytes()[..3];
        out.extend(fields);
        out.extend(crc24(fields));
        out.extend(payload);
        out.extend(crc32(payload));
    }
    out
}

fn crc24(bytes: &[u8]) -> [u8; 3] {
    const POLYNOMIAL: u32 = 0x0197_4f0b;
    let mut crc = 0x0087_5060_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    let [low, middle, high, _] = crc.to_le_bytes();
    [low, middle, high]
}

/// CRC32 of the bytes after four that the protocol prescribes.
fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[0xfa, 0x2d, 0x55, 0xca]);
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

/// Writes a `[short]`.
pub fn put_short(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_be_bytes());
}

/// Writes an `[int]` that counts.
pub fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend(i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
}

/// Writes a `[string]`.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    put_short_bytes(out, text.as_bytes());
}

/// Writes `[short bytes]`.
pub fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_short(out, u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.extend(bytes);
}

/// Writes a `[long string]`.
pub fn put_long_string(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// Writes `[bytes]`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_envelope_comes_out_of_its_segments_as_it_went_in() {
        let mut envelope = vec![5, 0, 0, 1, opcode::QUERY];
        let body: Vec<u8> = (0..300_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        envelope.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        envelope.extend(&body);
        let (mut received, mut payloads) = (segments(&envelope), Vec::new());
        let mut count = 0;
        while split_segment(&mut received, &mut payloads).unwrap() {
            count += 1;
        }
        assert_eq!(count, 3);
        assert_eq!(split_envelope(&mut payloads).unwrap().body, body);
        assert!(payloads.is_empty() && received.is_empty());
    }

    #[test]
    fn a_damaged_segment_is_an_error() {
        let mut damaged = segments(b"nine byte");
        damaged[8] ^= 1;
        assert!(split_segment(&mut damaged, &mut Vec::new()).is_err());
        let mut damaged = segments(b"nine byte");
        damaged[0] ^= 1;
        assert!(split_segment(&mut damaged, &mut Vec::new()).is_err());
    }
}
