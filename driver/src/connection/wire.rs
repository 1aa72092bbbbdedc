//! The byte stream of a connection and what is on its way out.
//!
//! Polled by the I/O task, and by a lone caller who writes its request without a detour. Either
//! way the waker is the I/O task's: it owns whatever is left over.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::outbound::Outbound;
use crate::env::ByteStream;

/// An open stream, or what is left of it: nothing is ever ready on a closed one.
pub(super) struct Wire {
    stream: Option<Box<dyn ByteStream>>,
    pub(super) outbound: Outbound,
    is_flush_needed: bool,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn ByteStream>, outbound: Outbound) -> Self {
        Self { stream: Some(stream), outbound, is_flush_needed: false }
    }

    /// Writes once, and says how many bytes the transport took.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        match Pin::new(&mut **stream).poll_write(cx, self.outbound.unwritten()) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(len)) => {
                self.outbound.handle_written(len);
                self.is_flush_needed = true;
                Poll::Ready(Ok(len))
            }
            other => other,
        }
    }

    /// Flushes what was written since the last flush.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.is_flush_needed) else {
            return Poll::Ready(Ok(()));
        };
        let flushed = Pin::new(&mut **stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.is_flush_needed = false;
        }
        flushed
    }

    /// Reads once; zero bytes mean that the peer has closed its side.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        pin!(stream.read_buf(buffer)).poll(cx)
    }

    /// Closes the stream and returns how many bytes of requests it was handed; `None` if closed.
    pub(super) fn close(&mut self) -> Option<u64> {
        self.stream.take().map(|_| self.outbound.handed())
    }
}
