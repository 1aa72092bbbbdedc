//! The cluster on real sockets: it answers, it applies faults, and it says what is wrong with an address.

use simcluster::engine::tcp::{ServeError, TcpCluster};
use simcluster::fault::CrashKind;
use simcluster::{ClusterConfig, Fault, NodeId};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Protocol v4, OPTIONS on stream 5, empty body.
const OPTIONS: [u8; 9] = [0x04, 0, 0, 5, 0x05, 0, 0, 0, 0];

/// Runs `story` against a served cluster.
async fn with_cluster<Fut: Future<Output = ()>>(story: impl FnOnce(TcpCluster) -> Fut) {
    let port = free_port().await;
    let (ready, is_ready) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let serving = async {
        let config = ClusterConfig::default();
        let shutdown = async { drop(ended.await) };
        simcluster::serve(&config, port, |cluster| drop(ready.send(cluster)), shutdown).await.unwrap();
    };
    let telling = async {
        story(is_ready.await.unwrap()).await;
        drop(end);
    };
    tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(serving, telling) }).await.unwrap();
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn ask(address: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&OPTIONS).await?;
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    Ok(header[4])
}

#[tokio::test]
async fn every_node_answers_on_its_own_address() {
    with_cluster(|cluster| async move {
        let addresses = cluster.contact_points();
        assert_eq!(addresses.len(), 3);
        for address in addresses {
            assert_eq!(ask(address).await.unwrap(), 0x06);
        }
    })
    .await;
}

#[tokio::test]
async fn crashed_node_refuses_until_it_is_restarted() {
    with_cluster(|cluster| async move {
        let address = cluster.contact_points()[1];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&OPTIONS).await.unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();
        let crash = Fault::Crash { node: NodeId(2), how: CrashKind::Fin };

        cluster.inject(&crash);

        let mut rest = Vec::new();
        // Whether the rest of the answer arrives before the end depends on the operating system.
        drop(stream.read_to_end(&mut rest).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(ask(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        cluster.heal(&crash);
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(ask(address).await.unwrap(), 0x06);
    })
    .await;
}

#[tokio::test]
async fn reset_shows_as_reset() {
    with_cluster(|cluster| async move {
        let mut stream = TcpStream::connect(cluster.contact_points()[0]).await.unwrap();
        stream.write_all(&OPTIONS).await.unwrap();
        stream.read_exact(&mut [0; 9]).await.unwrap();

        cluster.inject(&Fault::ResetConnections { node: NodeId(1) });

        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    })
    .await;
}

#[tokio::test]
async fn taken_address_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();

    let outcome = simcluster::serve(&ClusterConfig::default(), port, |_| {}, std::future::pending()).await;

    let error = outcome.unwrap_err();
    assert!(matches!(error, ServeError::AddressInUse { address } if address.port() == port));
    assert!(error.to_string().contains(&format!("127.0.0.1:{port} is already in use")), "{error}");
}
