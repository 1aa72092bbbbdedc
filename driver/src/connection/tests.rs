//! Whole connections against a scripted peer, over an in-memory stream and in virtual time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::env::{BoxFuture, ByteStream, Transport, sleep, timeout};
use crate::protocol::compression::Compression;
use crate::protocol::frame::{SegmentFormat, split_segment, write_segment};
use crate::protocol::request::{EnvelopeOptions, Options, Parameters, Query};
use crate::protocol::response::{Event, Message};
use crate::protocol::{DecodeError, EncodeError, Opcode};

const SUPPORTED: &[u8] = b"\0\x01\0\x0BCOMPRESSION\0\x02\0\x06snappy\0\x03lz4";
const CLUSTER_NAME: &[u8] = b"\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x06system\0\x05local\0\x0Ccluster_name\0\x0D\
    \0\0\0\x01\0\0\0\x04Troy";

#[tokio::test(start_paused = true)]
async fn answers_out_of_order_reach_the_callers_they_belong_to() {
    let (connection, mut peer) = connected(config()).await;
    let (first, second) = (query("first"), query("second"));
    let peer_side = async {
        let (one, two) = (peer.request().await, peer.request().await);
        peer.answer(two.stream, Opcode::Result, b"second").await;
        peer.answer(one.stream, Opcode::Result, b"first").await;
    };
    let (first, second, ()) = tokio::join!(connection.call(&first, None), connection.call(&second, None), peer_side);
    assert_eq!(&first.unwrap().body[..], b"first");
    assert_eq!(&second.unwrap().body[..], b"second");
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_times_out_at_its_deadline_and_its_id_waits_for_the_late_answer() {
    let (connection, mut peer) = connected(config()).await;
    let start = Instant::now();
    let outcome = connection.call(&query("slow"), Some(start + Duration::from_secs(1))).await;
    assert_eq!(outcome, Err(CallError::Timeout));
    let waited = start.elapsed();
    assert!((1000..=1015).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(connection.orphaned(), 1);

    let slow = peer.request().await;
    let fast = query("fast");
    let (fast, request) = tokio::join!(connection.call(&fast, None), async {
        let fast = peer.request().await;
        peer.answer(slow.stream, Opcode::Result, b"late").await;
        peer.answer(fast.stream, Opcode::Result, b"fast").await;
        fast
    });
    assert_ne!(request.stream, slow.stream);
    assert_eq!(&fast.unwrap().body[..], b"fast");
    assert_eq!((connection.orphaned(), connection.stats().late_answers), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_is_met_although_a_later_one_was_set_first() {
    let (connection, _peer) = connected(config()).await;
    let start = Instant::now();
    let (late, early) = (query("late"), query("early"));
    let (late, (early, early_at)) = tokio::join!(connection.call(&late, Some(start + Duration::from_secs(4))), async {
        sleep(Duration::from_millis(5)).await;
        let early = connection.call(&early, Some(start + Duration::from_secs(1))).await;
        (early, start.elapsed())
    });
    assert_eq!((late, early), (Err(CallError::Timeout), Err(CallError::Timeout)));
    assert!(early_at < Duration::from_millis(1020), "{early_at:?}");
    assert!(start.elapsed() < Duration::from_millis(4020));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_met_while_the_peer_reads_nothing() {
    let (connection, _peer) = connected_over(256, config()).await;
    let text = "x".repeat(1000);
    let (stuck, behind) = (query(&text), query("behind"));
    let start = Instant::now();
    let (stuck, behind) = tokio::join!(connection.call(&stuck, Some(start + Duration::from_secs(8))), async {
        sleep(Duration::from_millis(5)).await;
        connection.call(&behind, Some(start + Duration::from_secs(1))).await
    });
    assert_eq!((stuck, behind), (Err(CallError::Timeout), Err(CallError::Timeout)));
    assert!(start.elapsed() < Duration::from_millis(8020));
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_beyond_the_limit_retire_the_connection() {
    let (connection, mut peer) = connected(ConnectionConfig { orphans_max: 2, ..config() }).await;
    for _ in 0..2 {
        send_and_drop(&connection).await;
    }
    assert!(connection.is_usable(), "at the limit");
    let waiting = query("waiting");
    let mut waiting = pin!(connection.call(&waiting, None));
    assert!(poll_once(waiting.as_mut()).is_pending());
    send_and_drop(&connection).await;
    assert_eq!(connection.retired().await, CloseReason::TooManyOrphans);
    let refused = connection.call(&Options, None).await;
    assert_eq!(refused, Err(CallError::Closed(CloseReason::TooManyOrphans)));

    // The call in flight still gets its answer before the connection goes.
    let stream = loop {
        let request = peer.request().await;
        if request.body.windows(7).any(|part| part == b"waiting") {
            break request.stream;
        }
    };
    peer.answer(stream, Opcode::Result, b"done").await;
    assert_eq!(&waiting.await.unwrap().body[..], b"done");
    assert_eq!(connection.closed().await, CloseReason::TooManyOrphans);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_probed_and_survives_when_the_node_answers() {
    let (connection, mut peer) = connected(config()).await;
    let start = Instant::now();
    for round in 1..=3 {
        let probe = peer.request().await;
        assert_eq!((probe.opcode, probe.stream), (Opcode::Options, 0));
        assert_eq!(start.elapsed().as_secs(), 30 * round);
        peer.answer(0, Opcode::Supported, SUPPORTED).await;
    }
    assert!(connection.is_usable());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(connection.stats().heartbeats, 3);
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_given_up_and_its_callers_may_have_been_heard() {
    let (connection, _peer) = connected(config()).await;
    let start = Instant::now();
    let outcome = connection.call(&query("lost"), None).await;
    assert_eq!(outcome, Err(CallError::MaybeSent(CloseReason::HeartbeatTimeout)));
    assert_eq!(start.elapsed().as_secs(), 35);
    assert_eq!(connection.closed().await, CloseReason::HeartbeatTimeout);
}

#[tokio::test(start_paused = true)]
async fn events_and_half_answers_do_not_count_as_life() {
    let (connection, mut peer) = connected(config()).await;
    let start = Instant::now();
    let request = query("lost");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        // Something each second, and nothing of it shows that the node hears.
        let answer = peer.envelope(request.stream, Opcode::Result, &[0; 100]);
        let event = peer.envelope(-1, Opcode::Event, b"\0\x01X\0\x01Y");
        for part in std::iter::repeat_n(&event[..], 10).chain(answer.chunks(1).take(60)) {
            if peer.stream.write_all(part).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    assert!(start.elapsed().as_secs() >= 35);
    assert_eq!(outcome, Err(CallError::MaybeSent(CloseReason::HeartbeatTimeout)));
    assert_eq!(connection.closed().await, CloseReason::HeartbeatTimeout);
    assert_eq!(connection.stats().events, 10);
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_postpones_the_heartbeat() {
    let (connection, mut peer) = connected(config()).await;
    let start = Instant::now();
    let request = query("x");
    sleep(Duration::from_secs(20)).await;
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        peer.answer(request.stream, Opcode::Result, b"").await;
    });
    outcome.unwrap();
    assert_eq!(peer.request().await.opcode, Opcode::Options);
    assert_eq!(start.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_requested_probe_is_sent_at_once_and_a_silent_node_is_given_up() {
    let (connection, mut peer) = connected(config()).await;
    let start = Instant::now();
    connection.probe();
    connection.probe();
    assert_eq!(peer.request().await.opcode, Opcode::Options);
    peer.answer(0, Opcode::Supported, SUPPORTED).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((connection.stats().heartbeats, connection.is_usable()), (1, true));
    connection.probe();
    assert_eq!(connection.closed().await, CloseReason::HeartbeatTimeout);
    assert_eq!(start.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn three_timeouts_in_a_row_probe_at_once() {
    let (connection, _peer) = connected(config()).await;
    let start = Instant::now();
    for _ in 0..3 {
        let deadline = Some(Instant::now() + Duration::from_millis(500));
        assert_eq!(connection.call(&query("lost"), deadline).await, Err(CallError::Timeout));
    }
    assert!(connection.is_suspect());
    assert_eq!(connection.closed().await, CloseReason::HeartbeatTimeout);
    assert!((2500..2600).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_tells_sent_requests_from_those_that_never_left() {
    // The pipe holds the first request and a part of the second.
    let (connection, mut peer) = connected_over(512, config()).await;
    let text = "x".repeat(2000);
    let (sent, cut) = (query("sent"), query(&text));
    let (sent, cut, ()) = tokio::join!(connection.call(&sent, None), connection.call(&cut, None), async {
        sleep(Duration::from_secs(1)).await;
        peer.stream.shutdown().await.unwrap();
    });
    assert_eq!(sent, Err(CallError::MaybeSent(CloseReason::PeerClosed)));
    assert_eq!(cut, Err(CallError::NotSent(CloseReason::PeerClosed)));
    let late = connection.call(&Options, None).await;
    assert_eq!(late, Err(CallError::Closed(CloseReason::PeerClosed)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nobody_behind_the_last_one_of_the_handshake_closes_the_connection() {
    let (environment, mut peers) = environment(1 << 20);
    let (opened, _peer) = tokio::join!(Connection::open(&environment, config()), async {
        let mut peer = Peer::new(peers.recv().await.unwrap(), ProtocolVersion::V4, None);
        assert_eq!(peer.request().await.opcode, Opcode::Startup);
        peer.answer(0, Opcode::Ready, b"").await;
        assert_eq!(peer.request().await.opcode, Opcode::Query);
        let last = peer.envelope(0, Opcode::Result, CLUSTER_NAME);
        let foreign = peer.envelope(77, Opcode::Result, b"");
        peer.stream.write_all(&[last, foreign].concat()).await.unwrap();
        peer
    });
    let (connection, _) = opened.unwrap();
    let closed = timeout(Duration::from_secs(1), connection.closed()).await;
    assert_eq!(closed, Ok(CloseReason::ForeignStream(77)), "though nothing else comes to be read");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nobody_closes_the_connection() {
    let (connection, mut peer) = connected(config()).await;
    peer.answer(77, Opcode::Result, b"").await;
    assert_eq!(connection.closed().await, CloseReason::ForeignStream(77));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_no_request_closes_the_connection_with_the_servers_words() {
    let (connection, mut peer) = connected(config()).await;
    peer.answer(0, Opcode::Error, b"\0\0\0\x0A\0\x03why").await;
    let CloseReason::Server(error) = connection.closed().await else { panic!("another reason") };
    assert_eq!(error.message, "why");
}

/// What a node that is overloaded says about a request it gave up in its queue, without naming the request: 5.0.8 sends
/// it with stream id 0.
#[tokio::test(start_paused = true)]
async fn an_overload_error_on_stream_0_never_reaches_a_caller_as_an_answer() {
    let (connection, mut peer) = connected(config()).await;
    let [first, second, third] = ["1", "2", "3"].map(query);
    let calls = async {
        tokio::join!(connection.call(&first, None), connection.call(&second, None), connection.call(&third, None))
    };
    let ((first, second, third), ()) = tokio::join!(calls, async {
        for _ in 0..3 {
            assert_ne!(peer.request().await.stream, 0, "no request has the id of errors that belong to none");
        }
        peer.answer(0, Opcode::Error, b"\0\0\x10\x01\0\x26Query timed out before it could start.").await;
    });
    for outcome in [first, second, third] {
        let Err(CallError::MaybeSent(CloseReason::Server(error))) = outcome else { panic!("{outcome:?}") };
        assert!(error.message.starts_with("Query timed out"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn answers_before_malformed_bytes_still_count() {
    let (connection, mut peer) = connected(config()).await;
    let request = query("x");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        let mut bytes = peer.envelope(request.stream, Opcode::Result, b"good");
        bytes.extend_from_slice(&[0x04; 9]);
        peer.stream.write_all(&bytes).await.unwrap();
    });
    assert_eq!(&outcome.unwrap().body[..], b"good");
    assert_eq!(connection.closed().await, CloseReason::Protocol(DecodeError::NotAResponse));
}

#[tokio::test(start_paused = true)]
async fn closing_fails_the_callers_and_ends_the_task() {
    let (connection, mut peer) = connected(config()).await;
    let request = query("x");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        peer.request().await;
        connection.close("test");
    });
    assert_eq!(outcome, Err(CallError::MaybeSent(CloseReason::Requested("test"))));
    assert_eq!(connection.closed().await, CloseReason::Requested("test"));
    assert_eq!(peer.stream.read(&mut [0; 1]).await.unwrap(), 0, "socket still open");
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_takes_the_socket_with_it() {
    let (connection, mut peer) = connected(config()).await;
    let clone = connection.clone();
    drop(connection);
    assert!(clone.is_usable());
    drop(clone);
    assert_eq!(peer.stream.read(&mut [0; 1]).await.unwrap(), 0, "socket still open");
}

#[tokio::test(start_paused = true)]
async fn a_retiring_connection_waits_for_its_calls() {
    let (connection, mut peer) = connected(config()).await;
    let request = query("x");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        connection.retire("replaced");
        assert!(!connection.is_usable());
        sleep(Duration::from_secs(3)).await;
        peer.answer(request.stream, Opcode::Result, b"done").await;
    });
    assert_eq!(&outcome.unwrap().body[..], b"done");
    assert_eq!(connection.closed().await, CloseReason::Requested("replaced"));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_call_lets_a_retiring_connection_close() {
    let (connection, _peer) = connected(config()).await;
    let request = query("x");
    {
        let mut call = pin!(connection.call(&request, None));
        assert!(poll_once(call.as_mut()).is_pending());
        connection.retire("replaced");
        sleep(Duration::from_secs(1)).await;
    }
    let closed = timeout(Duration::from_secs(1), connection.closed()).await;
    assert_eq!(closed, Ok(CloseReason::Requested("replaced")));
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_refused_unsent() {
    let (connection, _peer) = connected(ConnectionConfig { in_flight_max: 1, ..config() }).await;
    let request = query("x");
    let mut first = pin!(connection.call(&request, None));
    assert!(poll_once(first.as_mut()).is_pending());
    assert_eq!(connection.call(&request, None).await, Err(CallError::Busy));
}

/// Appends half a request, then fails as told.
struct Broken {
    panics: bool,
}

impl EncodeRequest for Broken {
    fn encode(&self, version: ProtocolVersion, _: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(b"half a request");
        assert!(!self.panics, "an encoder of the application panics");
        Err(EncodeError::NotInVersion { what: "this", version })
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_encoded_leaves_nothing_behind() {
    let (connection, mut peer) = connected(config()).await;
    let failed = connection.call(&Broken { panics: false }, None).await;
    assert!(matches!(failed, Err(CallError::Encode(_))));
    let connection_too = connection.clone();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = poll_once(pin!(connection_too.call(&Broken { panics: true }, None)));
    }));
    assert!(panicked.is_err());
    let request = query("whole");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        assert_eq!(request.opcode, Opcode::Query);
        peer.answer(request.stream, Opcode::Result, b"fine").await;
    });
    assert_eq!(&outcome.unwrap().body[..], b"fine");
}

#[tokio::test(start_paused = true)]
async fn events_reach_the_sink_in_order_with_the_answer_to_register() {
    let (connection, mut peer) = connected(config()).await;
    let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
    let sink = seen.clone();
    let sink: EventSink = Arc::new(move |event| sink.lock().unwrap().push(event));
    let (answer, ()) = tokio::join!(connection.register_events(&EventKind::ALL, sink, None), async {
        let register = peer.request().await;
        assert_eq!(register.opcode, Opcode::Register);
        let mut bytes = peer.envelope(register.stream, Opcode::Ready, b"");
        for word in [&b"\0\x02UP"[..], b"\0\x04DOWN"] {
            let body = [b"\0\x0DSTATUS_CHANGE", word, b"\x04\x0A\0\0\x01\0\0\x23\x52"].concat();
            bytes.extend(peer.envelope(-1, Opcode::Event, &body));
        }
        bytes.extend(peer.envelope(-1, Opcode::Event, b"\0\xFFunreadable"));
        peer.stream.write_all(&bytes).await.unwrap();
    });
    assert_eq!(answer.unwrap().opcode, Opcode::Ready);
    let address: SocketAddr = "10.0.0.1:9042".parse().unwrap();
    assert_eq!(*seen.lock().unwrap(), [Event::NodeUp(address), Event::NodeDown(address)]);
    assert!(connection.is_usable(), "one unreadable event is no reason to close");
}

#[tokio::test(start_paused = true)]
async fn version_5_speaks_in_segments_and_large_requests_take_several() {
    for compression in [None, Some(Compression::Lz4)] {
        let (connection, mut peer) =
            connected(ConnectionConfig { protocol_version: ProtocolVersion::V5, compression, ..config() }).await;
        let text = "0123456789abcdef".repeat(20_000);
        let request = query(&text);
        let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
            let request = peer.request().await;
            assert!(request.body.windows(16).filter(|part| part == b"0123456789abcdef").count() == 20_000);
            peer.answer(request.stream, Opcode::Result, b"fine").await;
        });
        assert_eq!(&outcome.unwrap().body[..], b"fine");
    }
}

#[tokio::test(start_paused = true)]
async fn version_4_compresses_long_bodies_both_ways() {
    for compression in [Compression::Lz4, Compression::Snappy] {
        let config = ConnectionConfig { compression: Some(compression), ..config() };
        let (connection, mut peer) = connected(config).await;
        let text = "helenus ".repeat(1000);
        let request = query(&text);
        let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
            let request = peer.request().await;
            assert!(request.flags & 1 == 1 && request.body.len() < 2000);
            let mut echo = peer.envelope(request.stream, Opcode::Result, &request.body);
            echo[1] = 1;
            peer.stream.write_all(&echo).await.unwrap();
        });
        assert!(outcome.unwrap().body.ends_with(b"helenus \0\x0A\0"));
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_ends_at_its_timeout_however_far_it_came() {
    let (environment, mut peers) = environment(1 << 20);
    let opening = Connection::open(&environment, config());
    let (outcome, _peer) = tokio::join!(opening, async {
        let mut peer = Peer::new(peers.recv().await.unwrap(), ProtocolVersion::V4, None);
        peer.request().await;
        peer
    });
    assert!(matches!(outcome, Err(ConnectError::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_version_and_a_hang_up_are_told_apart() {
    let (environment, mut peers) = environment(1 << 20);
    let newest = ConnectionConfig { protocol_version: ProtocolVersion::V5, ..config() };
    let opening = Connection::open(&environment, newest.clone());
    let (outcome, ()) = tokio::join!(opening, async {
        let mut peer = Peer::new(peers.recv().await.unwrap(), ProtocolVersion::V4, None);
        peer.request().await;
        let message = b"\0\0\0\x0A\0\x24Invalid or unsupported protocol version";
        let mut body = message[..6].to_vec();
        let text = &message[6..];
        body[5] = u8::try_from(text.len()).unwrap();
        body.extend_from_slice(text);
        peer.answer(0, Opcode::Error, &body).await;
    });
    let Err(ConnectError::UnsupportedVersion { requested, answered, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((requested, answered), (ProtocolVersion::V5, 4));

    let (outcome, ()) = tokio::join!(Connection::open(&environment, newest), async {
        drop(peers.recv().await);
    });
    assert!(matches!(outcome, Err(ConnectError::Unreachable(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_version_1_or_2_is_refused_by_name_and_not_misread() {
    for version in [1, 2] {
        let (environment, mut peers) = environment(1 << 20);
        let (outcome, ()) = tokio::join!(Connection::open(&environment, config()), async {
            let mut peer = Peer::new(peers.recv().await.unwrap(), ProtocolVersion::V4, None);
            peer.request().await;
            let header = [0x80 | version, 0, 0, 0, 0, 0, 0, 0x0A];
            let error = [&header[..], b"\0\0\0\x0A\0\x04what"].concat();
            peer.stream.write_all(&error).await.unwrap();
        });
        let Err(ConnectError::UnsupportedVersion { answered, message, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((answered, message), (version, format!("it answers in protocol v{version}")));
    }
}

/// Proves knowledge of a secret in two rounds, and wants a proof in return.
struct MutualAuthenticator;

struct MutualExchange;

impl Authenticator for MutualAuthenticator {
    fn start(&self, server_class: &str, _: SocketAddr) -> Result<Box<dyn AuthExchange>, String> {
        match server_class {
            "com.example.Mutual" => Ok(Box::new(MutualExchange)),
            other => Err(format!("{other} is not mutual")),
        }
    }
}

impl AuthExchange for MutualExchange {
    fn initial_token(&mut self) -> Vec<u8> {
        b"hello".to_vec()
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String> {
        Ok([b"answer to ", challenge].concat())
    }

    fn finish(&mut self, token: Option<&[u8]>) -> Result<(), String> {
        if token == Some(b"proof") { Ok(()) } else { Err("the node could not prove itself".to_owned()) }
    }
}

/// Connects with [`MutualAuthenticator`] to a node of this class that ends with this token.
async fn authenticate(class: &str, final_token: &[u8]) -> Result<(), ConnectError> {
    let (environment, mut peers) = environment(1 << 20);
    let config = ConnectionConfig {
        authenticator: Some(Arc::new(MutualAuthenticator)),
        protocol_version: ProtocolVersion::V5,
        ..config()
    };
    let peer_side = async {
        let mut peer = Peer::new(peers.recv().await.unwrap(), ProtocolVersion::V5, None);
        assert_eq!(peer.request().await.opcode, Opcode::Startup);
        let class = [&[0, u8::try_from(class.len()).unwrap()], class.as_bytes()].concat();
        peer.answer(0, Opcode::Authenticate, &class).await;
        // Everything behind the first answer to STARTUP travels in segments.
        peer.format = Some(SegmentFormat::Plain);
        assert_eq!(peer.request().await.body, b"\0\0\0\x05hello");
        peer.answer(0, Opcode::AuthChallenge, b"\0\0\0\x01?").await;
        assert_eq!(peer.request().await.body, b"\0\0\0\x0Banswer to ?");
        let token = [&[0, 0, 0, u8::try_from(final_token.len()).unwrap()], final_token].concat();
        peer.answer(0, Opcode::AuthSuccess, &token).await;
        peer.request().await;
        peer.answer(0, Opcode::Result, CLUSTER_NAME).await;
        std::future::pending::<()>().await;
    };
    // The node waits for ever once the driver has left; only the driver's outcome counts.
    let mut opened = std::pin::pin!(Connection::open(&environment, config));
    let mut peer_side = std::pin::pin!(peer_side);
    std::future::poll_fn(|context| {
        let ready = opened.as_mut().poll(context);
        if ready.is_pending() {
            assert!(peer_side.as_mut().poll(context).is_pending(), "the node never ends");
        }
        ready.map(|opened| opened.map(drop))
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_custom_authenticator_answers_challenges_and_checks_the_nodes_own_proof() {
    assert_eq!(authenticate("com.example.Mutual", b"proof").await, Ok(()));
    let expected = ConnectError::AuthenticationFailed("the node could not prove itself".to_owned());
    assert_eq!(authenticate("com.example.Mutual", b"guess").await, Err(expected));
    let expected = ConnectError::AuthenticationFailed("com.example.Other is not mutual".to_owned());
    assert_eq!(authenticate("com.example.Other", b"").await, Err(expected));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_an_answer_and_not_a_failed_call() {
    let (connection, mut peer) = connected(config()).await;
    let request = query("x");
    let (outcome, ()) = tokio::join!(connection.call(&request, None), async {
        let request = peer.request().await;
        peer.answer(request.stream, Opcode::Error, b"\0\0\x10\x01\0\x04busy").await;
    });
    let message = outcome.unwrap().response.decode().unwrap().message;
    assert!(matches!(message, Message::Error(_)), "{message:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_threads() {
    const CALLERS: usize = 8;
    const CALLS: usize = 500;
    let (connection, mut peer) = connected_over(4096, config()).await;
    let spawner = Environment::tokio().spawner;
    let node = spawner.spawn(
        "node",
        Box::pin(async move {
            for _ in 0..CALLERS * CALLS {
                let request = peer.request().await;
                peer.answer(request.stream, Opcode::Result, &request.body).await;
            }
        }),
    );
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let connection = connection.clone();
            let task = async move {
                for call in 0..CALLS {
                    let text = format!("{caller}-{call}");
                    let answer = connection.call(&query(&text), None).await.unwrap();
                    assert_eq!(answer.body[4..4 + text.len()], *text.as_bytes());
                }
            };
            spawner.spawn("caller", Box::pin(task))
        })
        .collect();
    let all = async {
        for caller in callers {
            caller.await;
        }
        node.await;
    };
    assert_eq!(timeout(Duration::from_secs(20), all).await, Ok(()), "a call hangs");
    assert_eq!(connection.stats().answers, (CALLERS * CALLS) as u64);
}

#[tokio::test(start_paused = true)]
async fn each_of_a_thousand_callers_answered_in_one_read_is_woken() {
    const CALLERS: usize = 1000;
    let (connection, mut peer) = connected_over(1 << 20, config()).await;
    let spawner = Environment::tokio().spawner;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let connection = connection.clone();
            let task = async move {
                let text = caller.to_string();
                let answer = connection.call(&query(&text), None).await.unwrap();
                assert_eq!(answer.body[4..4 + text.len()], *text.as_bytes());
            };
            spawner.spawn("caller", Box::pin(task))
        })
        .collect();
    let mut answers = Vec::new();
    for _ in 0..CALLERS {
        let request = peer.request().await;
        answers.extend(peer.envelope(request.stream, Opcode::Result, &request.body));
    }
    peer.stream.write_all(&answers).await.unwrap();
    let all = async {
        for caller in callers {
            caller.await;
        }
    };
    assert_eq!(timeout(Duration::from_secs(20), all).await, Ok(()), "a call hangs");
    assert_eq!((connection.in_flight(), connection.stats().answers), (0, CALLERS as u64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer sends, every caller gets exactly one outcome and the task survives or ends
    /// with a reason.
    #[test]
    fn hostile_peers_cannot_make_a_call_hang_or_panic(
        bytes in prop::collection::vec(prop_oneof![
            Just(0u8), Just(1), Just(2), Just(0x84), Just(8), any::<u8>()
        ], 0..64),
        good_first in any::<bool>(),
        version in prop::sample::select(vec![ProtocolVersion::V4, ProtocolVersion::V5]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let config = ConnectionConfig { protocol_version: version, ..config() };
            let (connection, mut peer) = connected(config).await;
            let requests = [query("a"), query("b"), query("c")];
            let calls = async {
                let deadline = Some(Instant::now() + Duration::from_secs(2));
                tokio::join!(
                    connection.call(&requests[0], deadline),
                    connection.call(&requests[1], deadline),
                    connection.call(&requests[2], deadline),
                )
            };
            let peer_side = async {
                let first = peer.request().await;
                if good_first {
                    peer.answer(first.stream, Opcode::Result, b"").await;
                }
                let _ = peer.stream.write_all(&bytes).await;
                sleep(Duration::from_secs(3)).await;
            };
            let outcomes = timeout(Duration::from_secs(10), async { tokio::join!(calls, peer_side) }).await;
            assert!(outcomes.is_ok(), "a call hangs");
            connection.close("test");
            connection.closed().await;
        });
    }
}

// ---- the scripted peer ----------------------------------------------------------------------

fn config() -> ConnectionConfig {
    let address = "10.0.0.1:9042".parse().unwrap();
    ConnectionConfig { protocol_version: ProtocolVersion::V4, ..ConnectionConfig::new(address) }
}

fn query(text: &str) -> Query<'_> {
    Query { text, parameters: Parameters::default(), options: EnvelopeOptions::default() }
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn send_and_drop(connection: &Connection) {
    let request = query("dropped");
    let mut call = pin!(connection.call(&request, None));
    assert!(poll_once(call.as_mut()).is_pending());
    sleep(Duration::from_millis(1)).await;
}

/// Hands the far end of every connection to the test.
struct PipeTransport {
    capacity: usize,
    peers: tokio::sync::mpsc::UnboundedSender<DuplexStream>,
}

impl Transport for PipeTransport {
    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        let (near, far) = tokio::io::duplex(self.capacity);
        let sent = self.peers.send(far);
        Box::pin(async move {
            sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(near) as Box<dyn ByteStream>)
        })
    }

    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn environment(capacity: usize) -> (Environment, tokio::sync::mpsc::UnboundedReceiver<DuplexStream>) {
    let (peers, receiver) = tokio::sync::mpsc::unbounded_channel();
    let transport = Arc::new(PipeTransport { capacity, peers });
    (Environment { transport, ..Environment::tokio() }, receiver)
}

async fn connected(config: ConnectionConfig) -> (Connection, Peer) {
    connected_over(1 << 20, config).await
}

async fn connected_over(capacity: usize, config: ConnectionConfig) -> (Connection, Peer) {
    let (environment, mut peers) = environment(capacity);
    let (version, compression) = (config.protocol_version, config.compression);
    let (opened, peer) = tokio::join!(Connection::open(&environment, config), async {
        let format = match compression {
            Some(Compression::Lz4) => SegmentFormat::Lz4,
            _ => SegmentFormat::Plain,
        };
        let mut peer = Peer::new(peers.recv().await.unwrap(), version, None);
        if compression.is_some() {
            assert_eq!(peer.request().await.opcode, Opcode::Options);
            peer.answer(0, Opcode::Supported, SUPPORTED).await;
        }
        assert_eq!(peer.request().await.opcode, Opcode::Startup);
        peer.answer(0, Opcode::Ready, b"").await;
        peer.format = (version >= ProtocolVersion::V5).then_some(format);
        assert_eq!(peer.request().await.opcode, Opcode::Query);
        peer.answer(0, Opcode::Result, CLUSTER_NAME).await;
        peer
    });
    let (connection, info) = opened.unwrap();
    assert_eq!(info.cluster_name, "Troy");
    (connection, peer)
}

/// A node that does what a test tells it to.
struct Peer {
    stream: DuplexStream,
    version: ProtocolVersion,
    format: Option<SegmentFormat>,
    raw: BytesMut,
    plain: BytesMut,
}

struct Request {
    flags: u8,
    stream: i16,
    opcode: Opcode,
    body: Vec<u8>,
}

impl Peer {
    fn new(stream: DuplexStream, version: ProtocolVersion, format: Option<SegmentFormat>) -> Self {
        Self { stream, version, format, raw: BytesMut::new(), plain: BytesMut::new() }
    }

    async fn request(&mut self) -> Request {
        loop {
            if let Some(header) = self.plain.get(..9) {
                let len = 9 + u32::from_be_bytes(header[5..9].try_into().unwrap()) as usize;
                if self.plain.len() >= len {
                    let envelope = self.plain.split_to(len);
                    return Request {
                        flags: envelope[1],
                        stream: i16::from_be_bytes([envelope[2], envelope[3]]),
                        opcode: Opcode::from_wire(envelope[4]),
                        body: envelope[9..].to_vec(),
                    };
                }
            }
            assert_ne!(self.stream.read_buf(&mut self.raw).await.unwrap(), 0, "the driver hung up");
            match self.format {
                None => self.plain.extend_from_slice(&self.raw.split()),
                Some(format) => {
                    while let Some(segment) = split_segment(&mut self.raw, format).unwrap() {
                        self.plain.extend_from_slice(&segment.payload);
                    }
                }
            }
        }
    }

    fn envelope(&self, stream: i16, opcode: Opcode, body: &[u8]) -> Vec<u8> {
        let [s0, s1] = stream.to_be_bytes();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let header = [0x80 | self.version.number(), 0, s0, s1, opcode.to_wire()];
        [&header, &len[..], body].concat()
    }

    async fn answer(&mut self, stream: i16, opcode: Opcode, body: &[u8]) {
        let mut bytes = self.envelope(stream, opcode, body);
        if let Some(format) = self.format {
            let envelope = std::mem::take(&mut bytes);
            write_segment(&envelope, true, format, &mut bytes);
        }
        self.stream.write_all(&bytes).await.unwrap();
    }
}
