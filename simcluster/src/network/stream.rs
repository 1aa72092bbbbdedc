//! The client's end of a connection, as tokio sees it.

use super::ConnectionId;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a stream's bytes really are: the engine's world.
pub trait Wire: Send + Sync {
    /// Waits until the connection is established.
    ///
    /// # Errors
    ///
    /// Refused, reset, or timed out after minutes without an answer.
    fn poll_connected(&self, connection: ConnectionId, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what has arrived; no bytes means that the node sends no more.
    ///
    /// # Errors
    ///
    /// The connection was reset.
    fn poll_read(
        &self,
        connection: ConnectionId,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>;

    /// Writes as much as the send buffer takes.
    ///
    /// # Errors
    ///
    /// The connection was reset or shut down.
    fn poll_write(&self, connection: ConnectionId, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Tells the node that nothing more will be written.
    fn shutdown(&self, connection: ConnectionId);

    /// Gives the connection up: the client neither reads nor writes any more.
    fn close(&self, connection: ConnectionId);
}

/// A client's connection to a node. Dropping it closes it.
pub struct SimStream {
    wire: Arc<dyn Wire>,
    connection: ConnectionId,
}

impl SimStream {
    /// The client's end of a connection that has been begun.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, connection: ConnectionId) -> Self {
        Self { wire, connection }
    }

    /// The connection's number, as in the ledger.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Waits until the node's machine has accepted or refused; may wait for minutes if nothing answers.
    ///
    /// # Errors
    ///
    /// Connection refused, reset, or timed out.
    pub async fn connected(&self) -> io::Result<()> {
        std::future::poll_fn(|context| self.wire.poll_connected(self.connection, context)).await
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_read(self.connection, context, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.poll_write(self.connection, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.shutdown(self.connection);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.wire.close(self.connection);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("connection", &self.connection).finish_non_exhaustive()
    }
}
