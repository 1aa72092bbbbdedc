//! One client connection of a served node: a task that reads and one that writes.
//!
//! While contact is cut the tasks hold bytes back instead of moving them: real sockets cannot lose them.

use super::world::{Outgoing, Shared, Way};
use crate::kernel::NodeId;
use crate::node::ClientId;
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::UnboundedReceiver;

/// Begins to serve an accepted connection.
#[expect(clippy::disallowed_methods, reason = "the tcp engine lives in the real world")]
pub(super) fn begin(shared: &Arc<Shared>, node: NodeId, stream: TcpStream, from: SocketAddr) {
    // A failure to set this costs latency only.
    let _outcome = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let client = shared.next_client();
    // The node must know of the connection before its first bytes arrive.
    shared.open(node, client, from, sender);
    let reading = tokio::spawn(read(shared.clone(), node, client, reader));
    let writing = tokio::spawn(write(shared.clone(), node, client, writer, receiver));
    shared.attach(client, [reading.abort_handle(), writing.abort_handle()]);
}

async fn read(shared: Arc<Shared>, node: NodeId, client: ClientId, mut reader: OwnedReadHalf) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ_SIZE);
        let outcome = reader.read_buf(&mut buffer).await;
        hold_back(&shared, node, Way::ToNode).await;
        match outcome {
            Ok(read) if read > 0 => shared.receive(node, client, buffer.split().freeze()),
            Ok(_) | Err(_) => return shared.client_closed(node, client),
        }
    }
}

async fn write(
    shared: Arc<Shared>,
    node: NodeId,
    client: ClientId,
    mut writer: OwnedWriteHalf,
    mut outgoing: UnboundedReceiver<Outgoing>,
) {
    while let Some(next) = outgoing.recv().await {
        hold_back(&shared, node, Way::ToClient).await;
        let outcome = match next {
            Outgoing::Bytes(bytes) => write_counted(&shared, client, &mut writer, &bytes).await,
            Outgoing::Close => break,
            Outgoing::Reset => {
                // If the system refuses, the socket is closed with FIN instead.
                let _outcome = writer.as_ref().set_zero_linger();
                writer.forget();
                return;
            }
        };
        if outcome.is_err() {
            return shared.client_closed(node, client);
        }
    }
    // The other side may have gone already.
    let _outcome = writer.shutdown().await;
    shared.client_closed(node, client);
}

async fn write_counted(
    shared: &Shared,
    client: ClientId,
    writer: &mut OwnedWriteHalf,
    bytes: &Bytes,
) -> std::io::Result<()> {
    let outcome = writer.write_all(bytes).await;
    shared.written(client, bytes.len());
    outcome
}

async fn hold_back(shared: &Shared, node: NodeId, way: Way) {
    while shared.is_held(node, way) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

const READ_SIZE: usize = 64 * 1024;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
