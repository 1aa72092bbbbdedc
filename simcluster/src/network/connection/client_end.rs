//! The client's end of connections: what a socket's calls do.
//!
//! Reads are split and writes are limited as operating systems do, so that the code under test meets partial reads,
//! back-pressure and every way in which a socket fails.
//!
//! # Invariants
//!
//! - A call that returns pending has left its waker; whatever ends the wait takes and wakes it.
//! - Closing is final: bytes that arrive later are thrown away.

use super::{ClientEnd, Connection, ConnectionId, Delivery, Event, Network, NodeEnd};
use crate::kernel::SimInstant;
use crate::network::pipe::Payload;
use bytes::{Buf, Bytes};
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

impl Network {
    /// See [`crate::network::Wire::poll_connected`].
    ///
    /// # Errors
    ///
    /// Refused, reset, or timed out.
    pub fn poll_connected(&mut self, id: ConnectionId, context: &Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(not_connected())) };
        match connection.client_end {
            ClientEnd::Connecting => {
                wait(&mut connection.waiting_write, context);
                Poll::Pending
            }
            ClientEnd::Open => Poll::Ready(Ok(())),
            ClientEnd::Failed(kind) => Poll::Ready(Err(kind.into())),
            ClientEnd::Dropped => Poll::Ready(Err(not_connected())),
        }
    }

    /// See [`crate::network::Wire::poll_read`].
    ///
    /// # Errors
    ///
    /// The connection was reset.
    pub fn poll_read(
        &mut self,
        now: SimInstant,
        id: ConnectionId,
        context: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(not_connected())) };
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if connection.received_len == 0 {
            return match connection.client_end {
                ClientEnd::Failed(kind) => Poll::Ready(Err(kind.into())),
                _ if connection.is_at_end => Poll::Ready(Ok(())),
                _ => {
                    wait(&mut connection.waiting_read, context);
                    Poll::Pending
                }
            };
        }
        let was_full = connection.received_len >= self.config.receive_window;
        let mut most = connection.received_len.min(buffer.remaining());
        if connection.read_dice.chance(self.config.split_chance) {
            let few = connection.read_dice.below((most as u64).min(READ_FEW_MAX));
            most = 1 + usize::try_from(few).unwrap_or(0);
        }
        let read = connection.read(most, buffer);
        connection.read_offset += read as u64;
        while let Some((end, stream)) = connection.answers.pop_front_if(|(end, _)| *end <= connection.read_offset) {
            let node = connection.node;
            let arrived = connection.arrivals.iter().find(|(offset, _)| *offset >= end);
            let arrived_at = arrived.map_or(now, |(_, at)| *at);
            self.deliveries.push(Delivery::AnswerRead { connection: id, node, stream, arrived_at });
        }
        let read_offset = connection.read_offset;
        while connection.arrivals.pop_front_if(|(offset, _)| *offset <= read_offset).is_some() {}
        if was_full
            && connection.received_len < self.config.receive_window
            && connection.to_client.next_arrival().is_some_and(|at| at <= now)
        {
            self.scheduled.push((now, Event::AtClient(id)));
        }
        Poll::Ready(Ok(()))
    }

    /// See [`crate::network::Wire::poll_write`].
    ///
    /// # Errors
    ///
    /// The connection was reset or shut down.
    pub fn poll_write(
        &mut self,
        now: SimInstant,
        id: ConnectionId,
        context: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Err(not_connected())) };
        match connection.client_end {
            ClientEnd::Open if !connection.is_write_shut => {}
            ClientEnd::Failed(io::ErrorKind::ConnectionReset) | ClientEnd::Open => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            ClientEnd::Failed(kind) => return Poll::Ready(Err(kind.into())),
            ClientEnd::Connecting | ClientEnd::Dropped => return Poll::Ready(Err(not_connected())),
        }
        let room = self.config.send_buffer.saturating_sub(connection.to_node.queued());
        if room == 0 {
            wait(&mut connection.waiting_write, context);
            return Poll::Pending;
        }
        let taken = room.min(bytes.len());
        if taken > 0 {
            self.send_to_node_end(now, id, Payload::Data(Bytes::copy_from_slice(&bytes[..taken])));
        }
        Poll::Ready(Ok(taken))
    }

    /// See [`crate::network::Wire::shutdown`].
    pub fn shutdown(&mut self, now: SimInstant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_open = connection.client_end == ClientEnd::Open;
        if !std::mem::replace(&mut connection.is_write_shut, true) && is_open {
            self.send_to_node_end(now, id, Payload::Fin);
        }
    }

    /// See [`crate::network::Wire::close`].
    pub fn close(&mut self, now: SimInstant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let has_unread = connection.received_len > 0;
        match std::mem::replace(&mut connection.client_end, ClientEnd::Dropped) {
            // Closing with unread bytes resets, as operating systems do.
            ClientEnd::Open if has_unread => self.send_to_node_end(now, id, Payload::Reset),
            ClientEnd::Open if !connection.is_write_shut => self.send_to_node_end(now, id, Payload::Fin),
            // The node's machine may have accepted already.
            ClientEnd::Connecting if connection.node_end == NodeEnd::Open => {
                self.send_to_node_end(now, id, Payload::Reset);
            }
            ClientEnd::Open | ClientEnd::Connecting | ClientEnd::Failed(_) | ClientEnd::Dropped => {}
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.received.clear();
            connection.received_len = 0;
            connection.to_client.clear();
            connection.waiting_read = None;
            connection.waiting_write = None;
        }
        self.forget_if_over(id);
    }
}

impl Connection {
    /// Moves up to `most` received bytes into `buffer`; returns how many.
    fn read(&mut self, most: usize, buffer: &mut ReadBuf<'_>) -> usize {
        let mut left = most;
        while left > 0
            && let Some(first) = self.received.front_mut()
        {
            let part = left.min(first.len());
            buffer.put_slice(&first[..part]);
            first.advance(part);
            if first.is_empty() {
                self.received.pop_front();
            }
            left -= part;
        }
        self.received_len -= most - left;
        most - left
    }
}

fn wait(slot: &mut Option<Waker>, context: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(context.waker()) => {}
        slot => *slot = Some(context.waker().clone()),
    }
}

fn not_connected() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// A short read yields at most this many bytes: headers are split, bodies are not read byte by byte for ever.
const READ_FEW_MAX: u64 = 16;
