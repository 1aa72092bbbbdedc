//! Bytes on their way out: from encoded requests to what the transport takes.
//!
//! # Invariants
//!
//! - [`Outbound::handed`] counts a request only once its last byte was taken.

use std::collections::VecDeque;

use crate::protocol::frame::{SegmentFormat, write_segments};

/// The bytes being written. Reuses its buffers.
#[derive(Debug)]
pub(super) struct Outbound {
    /// Segments are written if there is a format (v5).
    format: Option<SegmentFormat>,
    /// Encoded requests that were turned into segments; kept for its capacity.
    requests: Vec<u8>,
    wire: Vec<u8>,
    written: usize,
    /// Encoded bytes in `wire` and before it.
    loaded: u64,
    handed: u64,
    /// Where in `wire` segments end and how many encoded bytes are complete with each.
    marks: VecDeque<(usize, u64)>,
}

/// Capacity above which an empty buffer is given back: one huge request must not cost for ever.
const IDLE_CAPACITY_MAX: usize = 1 << 20;

impl Outbound {
    pub(super) fn new(format: Option<SegmentFormat>) -> Self {
        Self {
            format,
            requests: Vec::new(),
            wire: Vec::new(),
            written: 0,
            loaded: 0,
            handed: 0,
            marks: VecDeque::new(),
        }
    }

    /// Takes whole requests out of `queue`. Only when everything before them was written.
    pub(super) fn load(&mut self, queue: &mut Vec<u8>) {
        debug_assert!(self.is_empty());
        reset(&mut self.wire);
        self.written = 0;
        self.loaded += queue.len() as u64;
        match self.format {
            None => std::mem::swap(&mut self.wire, queue),
            Some(format) => {
                reset(&mut self.requests);
                std::mem::swap(&mut self.requests, queue);
                let start = self.loaded - self.requests.len() as u64;
                write_segments(&self.requests, format, &mut self.wire, |complete, end| {
                    self.marks.push_back((end, start + complete as u64));
                });
            }
        }
    }

    /// What the transport should take next.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.wire.get(self.written..).unwrap_or_default()
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.written >= self.wire.len()
    }

    /// The transport took `len` bytes.
    pub(super) fn handle_written(&mut self, len: usize) {
        self.written += len;
        match self.format {
            None => self.handed = self.loaded - self.unwritten().len() as u64,
            Some(_) => {
                while let Some((_, complete)) = self.marks.pop_front_if(|(end, _)| *end <= self.written) {
                    self.handed = complete;
                }
            }
        }
    }

    /// How many of all bytes ever loaded belong to requests, or parts of them, that were handed
    /// to the transport. In v5 a request counts once the segment it ends in was handed over.
    pub(super) fn handed(&self) -> u64 {
        self.handed
    }
}

fn reset(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > IDLE_CAPACITY_MAX {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body_len: u8) -> Vec<u8> {
        [&[4, 0, 0, 0, 5, 0, 0, 0, body_len][..], &vec![0; body_len.into()]].concat()
    }

    #[test]
    fn before_version_5_every_byte_written_is_handed_over() {
        let mut outbound = Outbound::new(None);
        let mut queue = request(1);
        outbound.load(&mut queue);
        assert!(queue.is_empty());
        outbound.handle_written(9);
        assert_eq!((outbound.handed(), outbound.is_empty()), (9, false));
        outbound.handle_written(1);
        assert_eq!((outbound.handed(), outbound.is_empty()), (10, true));
        outbound.load(&mut request(2));
        assert_eq!((outbound.handed(), outbound.unwritten().len()), (10, 11));
    }

    #[test]
    fn in_version_5_a_request_is_handed_over_with_its_whole_segment() {
        let mut outbound = Outbound::new(Some(SegmentFormat::Plain));
        outbound.load(&mut request(1));
        let wire_len = outbound.unwritten().len();
        assert_eq!(wire_len, 6 + 10 + 4);
        outbound.handle_written(wire_len - 1);
        assert_eq!((outbound.handed(), outbound.is_empty()), (0, false));
        outbound.handle_written(1);
        assert_eq!((outbound.handed(), outbound.is_empty()), (10, true));
    }
}
