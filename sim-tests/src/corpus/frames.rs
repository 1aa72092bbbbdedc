//! The very bytes that travel: scripts of the corpus in each protocol version, with what client and server wrote.
//!
//! A stream between client and world keeps what passes; afterwards it is cut into frames, which are envelopes or, in v5
//! after the handshake, segments. The files `corpus/frames/v3.txt` … hold those of the real Cassandra. Codecs are
//! held to them in both directions.

use super::answer::{Answer, Message, Rows};
use super::client::{Envelope, Stream, split_envelope, split_segment};
use super::mask;
use super::runner::{Connecting, World, run_script_in};
use super::script::Script;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The scripts whose bytes are kept: the same in every version.
pub const SCRIPTS: [&str; 11] = [
    "batches/messages",
    "collections/sets",
    "collections/tuples",
    "lwt/inserts",
    "paging/pages",
    "prepared/binding",
    "prepared/metadata",
    "types/duration",
    "types/ids",
    "types/text",
    "udt/fields",
];
/// The protocol versions that are recorded.
pub const VERSIONS: [u8; 3] = [3, 4, 5];

/// Who wrote a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Who wrote it.
    pub writer: Writer,
    /// As it was on the wire.
    pub bytes: Vec<u8>,
}

/// What travelled on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The script, and which of its connections.
    pub name: String,
    /// The frames in the order in which they passed.
    pub frames: Vec<Frame>,
}

/// Runs a script with this protocol version wherever it does not ask for another, and keeps what travels.
///
/// # Errors
///
/// As [`super::run_script`], and bytes that are no frames.
pub async fn record(world: &dyn World, script: &Script, version: u8) -> io::Result<Vec<Conversation>> {
    let tapped = Tapped { world, passed: Arc::default() };
    run_script_in(&tapped, script, version).await?;
    let passed = std::mem::take(&mut *tapped.passed.lock().unwrap_or_else(PoisonError::into_inner));
    let cut = |(number, passed): (usize, Vec<Frame>)| {
        Ok(Conversation { name: format!("{} {}", script.path(), number + 1), frames: frames_of(passed)? })
    };
    passed.into_iter().enumerate().map(cut).collect()
}

/// By connection, in the order in which they were made.
type Passed = Arc<Mutex<Vec<Vec<Frame>>>>;

struct Tapped<'a> {
    world: &'a dyn World,
    passed: Passed,
}

impl World for Tapped<'_> {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move {
            let inner = self.world.connect().await?;
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.push(Vec::new());
            let tap = Tap { inner, passed: Arc::clone(&self.passed), number: passed.len() - 1 };
            Ok(Box::new(tap) as Box<dyn Stream>)
        })
    }
}

struct Tap {
    inner: Box<dyn Stream>,
    passed: Passed,
    number: usize,
}

impl Tap {
    fn keep(&self, writer: Writer, bytes: &[u8]) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed[self.number].push(Frame { writer, bytes: bytes.to_vec() });
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.keep(Writer::Server, &buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let len = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.keep(Writer::Client, &bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Cuts what passed into whole frames; what the end of the connection has cut off is left out.
fn frames_of(passed: Vec<Frame>) -> io::Result<Vec<Frame>> {
    let mut frames: Vec<Frame> = Vec::new();
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    for Frame { writer, bytes } in passed {
        let left = if writer == Writer::Client { &mut from_client } else { &mut from_server };
        left.extend(bytes);
        while let Some(bytes) = split_frame(left, is_framed(&frames, writer))? {
            frames.push(Frame { writer, bytes });
        }
    }
    Ok(frames)
}

/// Whether the next frame of a writer is a segment: in v5, all but its first, which is the handshake's.
fn is_framed(frames: &[Frame], writer: Writer) -> bool {
    frames.iter().find(|frame| frame.writer == writer).is_some_and(|first| first.bytes[0] & 0x7f >= 5)
}

fn split_frame(buffer: &mut Vec<u8>, is_framed: bool) -> io::Result<Option<Vec<u8>>> {
    let mut rest = buffer.clone();
    let is_whole = match is_framed {
        true => split_segment(&mut rest, &mut Vec::new())?,
        false => split_envelope(&mut rest).is_some(),
    };
    if !is_whole {
        return Ok(None);
    }
    let frame = buffer.drain(..buffer.len() - rest.len()).collect();
    Ok(Some(frame))
}

impl Conversation {
    /// The envelopes of one side.
    ///
    /// # Errors
    ///
    /// A segment is damaged.
    pub fn envelopes(&self, writer: Writer) -> io::Result<Vec<Envelope>> {
        let (mut envelopes, mut unframed) = (Vec::new(), Vec::new());
        for (number, frame) in self.frames.iter().enumerate().filter(|(_, frame)| frame.writer == writer) {
            let mut bytes = frame.bytes.clone();
            match is_framed(&self.frames[..number], writer) {
                true => split_segment(&mut bytes, &mut unframed).map(drop)?,
                false => unframed.append(&mut bytes),
            }
            while let Some(envelope) = split_envelope(&mut unframed) {
                envelopes.push(envelope);
            }
        }
        Ok(envelopes)
    }
}

/// An answer without what differs by nature: paging states, which are the server's own affair, what texts name, times
/// of writes, and the warning that is given by chance.
#[must_use]
pub fn natural(envelope: &Envelope) -> (i16, u8, Option<Answer>) {
    let mut answer = Answer::decode(envelope).ok();
    if let Some(Answer { warnings, message, .. }) = &mut answer {
        warnings.iter_mut().for_each(|warning| *warning = mask::text(warning));
        warnings.retain(|warning| !mask::is_given_by_chance(warning));
        match message {
            Message::Error { text, .. } => *text = mask::text(text),
            Message::Rows(rows) => {
                rows.metadata.paging_state = rows.metadata.paging_state.as_ref().map(|_| Vec::new());
                leave_out_write_times(rows);
            }
            _ => {}
        }
    }
    (envelope.stream, envelope.opcode, answer)
}

fn leave_out_write_times(rows: &mut Rows) {
    let columns = rows.metadata.columns.iter().flatten();
    let is_time: Vec<bool> = columns.map(|column| column.name.contains("writetime(")).collect();
    for row in &mut rows.rows {
        row.iter_mut().zip(&is_time).filter(|(_, is_time)| **is_time).for_each(|(cell, _)| *cell = None);
    }
}

/// The first answer that is not the same but for what differs by nature, in a sentence.
#[must_use]
pub fn difference(recorded: &[Conversation], now: &[Conversation]) -> Option<String> {
    if recorded.len() != now.len() {
        return Some(format!("{} connections, {} recorded", now.len(), recorded.len()));
    }
    recorded.iter().zip(now).find_map(|(recorded, now)| {
        let [before, after] = [recorded, now].map(|conversation| conversation.envelopes(Writer::Server).ok());
        let (before, after) = (before?, after?);
        let count = before.iter().zip(&after).take_while(|(a, b)| natural(a) == natural(b)).count();
        let is_same = count == before.len() && count == after.len();
        (!is_same).then(|| format!("{}: answer {count} is another", recorded.name))
    })
}

/// The file of a version.
#[must_use]
pub fn file(version: u8) -> PathBuf {
    super::folder().join("frames").join(format!("v{version}.txt"))
}

/// A file's text: `>` what the client wrote, `<` what the server wrote. Frames that came before are named by number.
#[must_use]
pub fn text(recorded_from: &str, version: u8, conversations: &[Conversation]) -> String {
    let mut text = format!(
        "# What travelled between a client and {recorded_from} in protocol v{version}, in hexadecimal digits: `>` from the\n\
         # client, `<` from the server, one frame a line; `=7` is the seventh different frame of this file again.\n\
         # Written by `cargo xtask cassandra record`.\n"
    );
    let mut known: BTreeMap<&[u8], usize> = BTreeMap::new();
    for Conversation { name, frames } in conversations {
        let _ = writeln!(text, "\nconnection {name}");
        for Frame { writer, bytes } in frames {
            text.push_str(if *writer == Writer::Client { "> " } else { "< " });
            let number = known.len() + 1;
            match known.get(bytes.as_slice()) {
                Some(before) => {
                    let _ = write!(text, "={before}");
                }
                None => {
                    known.insert(bytes, number);
                    bytes.iter().for_each(|byte| {
                        let _ = write!(text, "{byte:02x}");
                    });
                }
            }
            text.push('\n');
        }
    }
    text
}

/// Reads a file's text.
///
/// # Errors
///
/// The line that cannot be understood.
pub fn parse(text: &str) -> Result<Vec<Conversation>, String> {
    let mut conversations: Vec<Conversation> = Vec::new();
    let mut known: Vec<Vec<u8>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let malformed = || format!("`{line}` is neither a connection nor a frame");
        if let Some(name) = line.strip_prefix("connection ") {
            conversations.push(Conversation { name: name.into(), frames: Vec::new() });
            continue;
        }
        let (writer, digits) = match line.split_at_checked(2) {
            Some(("> ", digits)) => (Writer::Client, digits),
            Some(("< ", digits)) => (Writer::Server, digits),
            _ => return Err(malformed()),
        };
        let bytes = match digits.strip_prefix('=') {
            Some(number) => number.parse().ok().and_then(|number: usize| known.get(number.checked_sub(1)?)).cloned(),
            None => bytes_of(digits).inspect(|bytes| known.push(bytes.clone())),
        };
        let conversation = conversations.last_mut().ok_or_else(malformed)?;
        conversation.frames.push(Frame { writer, bytes: bytes.ok_or_else(malformed)? });
    }
    Ok(conversations)
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
