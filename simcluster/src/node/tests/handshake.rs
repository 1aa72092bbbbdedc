//! Handshakes: one node and one client, in bytes.

use super::*;
use crate::protocol::{flag, put_envelope, split_segment};
use bytes::{Bytes, BytesMut};

/// One node and one client.
struct Single {
    node: Node,
    outputs: Vec<Output>,
}

impl Single {
    fn new(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = config(1, 1);
        change(&mut config);
        let mut outputs = Vec::new();
        let mut node = Node::start(config, None, at(0), &mut outputs);
        outputs.clear();
        node.handle(at(1), Input::ClientOpened { client: CLIENT, from: address(99) }, &mut outputs);
        Self { node, outputs }
    }

    /// Sends bytes; answers the bytes that came back.
    fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.outputs.clear();
        let bytes = Bytes::copy_from_slice(bytes);
        self.node.handle(at(2), Input::ClientBytes { client: CLIENT, bytes }, &mut self.outputs);
        let sent = self.outputs.iter().filter_map(|output| match output {
            Output::ToClient { bytes, .. } => Some(&bytes[..]),
            _ => None,
        });
        sent.flatten().copied().collect()
    }

    fn was_closed(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::CloseClient { .. }))
    }

    fn violations(&self) -> usize {
        let is_violation = |output: &&Output| matches!(output, Output::Observed(Observation::ProtocolViolation { .. }));
        self.outputs.iter().filter(is_violation).count()
    }
}

/// The text of an ERROR envelope (v3 and later).
fn error_text(envelope: &[u8]) -> (i32, String) {
    assert_eq!(envelope[4], opcode::ERROR, "not an error: {envelope:?}");
    let code = i32::from_be_bytes(envelope[9..13].try_into().expect("4"));
    let len = usize::from(u16::from_be_bytes(envelope[13..15].try_into().expect("2")));
    (code, String::from_utf8(envelope[15..15 + len].to_vec()).expect("utf-8"))
}

#[test]
fn a_v4_handshake_is_options_startup_ready() {
    let mut single = Single::new(|_| {});
    let supported = single.send(&envelope(4, 3, opcode::OPTIONS, &[]));
    assert_eq!((supported[0], supported[3], supported[4]), (0x84, 3, opcode::SUPPORTED));
    let text = String::from_utf8_lossy(&supported).into_owned();
    assert!(text.contains("PROTOCOL_VERSIONS") && text.contains("6/v6-beta") && text.contains("3.4.7"), "{text}");
    let ready = single.send(&envelope(4, 4, opcode::STARTUP, &startup(&[CQL])));
    assert_eq!(ready, [0x84, 0, 0, 4, opcode::READY, 0, 0, 0, 0]);
    assert_eq!(single.violations(), 0);
}

#[test]
fn dse_versions_are_refused_on_stream_zero_and_the_connection_closes() {
    let mut single = Single::new(|_| {});
    let refused = single.send(&envelope(0x42, 9, opcode::OPTIONS, &[]));
    assert_eq!(&refused[..4], &[0x85, 0, 0, 0]);
    assert!(
        error_text(&refused).1.starts_with("Invalid or unsupported protocol version (66); supported versions are (")
    );
    assert!(single.was_closed());
}

#[test]
fn a_server_of_v4_puts_its_own_version_in_the_refusal() {
    let mut single = Single::new(|config| config.protocol_version_max = 4);
    let refused = single.send(&envelope(5, 9, opcode::OPTIONS, &[]));
    assert_eq!(refused[0], 0x84);
}

#[test]
fn queries_before_startup_are_refused_and_a_second_startup_too() {
    let mut single = Single::new(|_| {});
    let refused = single.send(&envelope(4, 1, opcode::QUERY, &query("SELECT")));
    assert_eq!(error_text(&refused), (0x000A, "Unexpected message QUERY, expecting STARTUP or OPTIONS".into()));
    assert_eq!(single.violations(), 1);
    single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    let refused = single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    assert_eq!(error_text(&refused).1, "Unexpected message STARTUP, the connection is already initialized");
    assert!(!single.was_closed());
}

#[test]
fn startup_options_are_checked_as_cassandra_does() {
    for (version, options, text) in [
        (4, vec![], "Missing value CQL_VERSION in STARTUP message"),
        (
            4,
            vec![("CQL_VERSION", "2.0.0")],
            "CQL version 2.0.0 is not supported by the binary protocol (supported version are >= 3.0.0)",
        ),
        (4, vec![CQL, ("COMPRESSION", "zip")], "Unknown compression algorithm: zip"),
        (5, vec![CQL, ("COMPRESSION", "snappy")], "Snappy compression is not supported in protocol V5"),
    ] {
        let mut single = Single::new(|_| {});
        let refused = single.send(&envelope(version, 1, opcode::STARTUP, &startup(&options)));
        assert_eq!(error_text(&refused).1, text);
    }
}

#[test]
fn v5_authentication_is_framed_from_the_first_token_on() {
    let mut single = Single::new(|config| config.users = Some(vec![("u".into(), "p".into())]));
    let reply = single.send(&envelope(5, 1, opcode::STARTUP, &startup(&[CQL])));
    assert_eq!((reply[0], reply[4]), (0x85, opcode::AUTHENTICATE), "the reply to STARTUP is not in a segment");
    let mut token = Vec::new();
    token.put_i32(4);
    token.put_slice(b"\0u\0x");
    let mut segments = BytesMut::new();
    put_envelope(&mut segments, &envelope(5, 2, opcode::AUTH_RESPONSE, &token), false);
    let mut reply = BytesMut::from(&single.send(&segments)[..]);
    let segment = split_segment(&mut reply, false).expect("valid").expect("whole");
    assert_eq!(error_text(&segment.payload), (0x0100, "Provided username u and/or password are incorrect".into()));
    token[7] = b'p';
    let mut segments = BytesMut::new();
    put_envelope(&mut segments, &envelope(5, 2, opcode::AUTH_RESPONSE, &token), false);
    let mut reply = BytesMut::from(&single.send(&segments)[..]);
    let segment = split_segment(&mut reply, false).expect("valid").expect("whole");
    assert_eq!(segment.payload[4], opcode::AUTH_SUCCESS);
}

#[test]
fn nothing_but_a_token_is_taken_while_authenticating() {
    let mut single = Single::new(|config| config.users = Some(vec![("u".into(), "p".into())]));
    single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    let refused = single.send(&envelope(4, 2, opcode::OPTIONS, &[]));
    assert_eq!(error_text(&refused).1, "Unexpected message OPTIONS, expecting SASL_RESPONSE");
}

#[test]
fn a_broken_checksum_ends_a_v5_connection() {
    let mut single = Single::new(|_| {});
    single.send(&envelope(5, 1, opcode::STARTUP, &startup(&[CQL])));
    let mut segments = BytesMut::new();
    put_envelope(&mut segments, &envelope(5, 2, opcode::OPTIONS, &[]), false);
    segments[0] ^= 1;
    single.send(&segments);
    assert!(single.was_closed());
    assert_eq!(single.violations(), 1);
}

#[test]
fn unknown_event_types_are_refused() {
    let mut single = Single::new(|_| {});
    single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    let mut body = vec![0, 1];
    body.extend(string("CLIENT_ROUTES_CHANGE"));
    let refused = single.send(&envelope(4, 2, opcode::REGISTER, &body));
    assert_eq!(error_text(&refused).1, "Invalid value 'CLIENT_ROUTES_CHANGE' for Type");
}

#[test]
fn requests_are_told_to_the_ledger_with_their_nonce() {
    let mut single = Single::new(|config| config.mirror_custom_payload = true);
    single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    let mut body = vec![0, 1];
    body.extend(string("nonce"));
    body.extend([0, 0, 0, 1, 42]);
    body.extend([0, 0]); // an empty list of events
    let mut request = envelope(4, 6, opcode::REGISTER, &body);
    request[1] = flag::CUSTOM_PAYLOAD;
    let reply = single.send(&request);
    assert_eq!(reply[1], flag::CUSTOM_PAYLOAD, "mirrored");
    let nonce = Some(Bytes::from_static(&[42]));
    let seen = |wanted: &Observation| {
        single.outputs.iter().any(|output| matches!(output, Output::Observed(seen) if seen == wanted))
    };
    let (client, stream) = (CLIENT, 6);
    assert!(seen(&Observation::Request {
        client,
        stream,
        opcode: opcode::REGISTER,
        nonce: nonce.clone(),
        stream_was_busy: false,
        asked: None,
    }));
    assert!(seen(&Observation::Response { client, stream, opcode: opcode::READY, error: None, nonce }));
}

/// REGISTER of no event types behind an option nobody reads: a request of more than a mebibyte.
fn large_request(stream: i16) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(string("padding"));
    body.extend((1_i32 << 20).to_be_bytes());
    body.extend(vec![0; 1 << 20]);
    body.extend([0, 0]);
    let mut request = envelope(4, stream, opcode::REGISTER, &body);
    request[1] = flag::CUSTOM_PAYLOAD;
    request
}

#[test]
fn more_bytes_than_a_node_takes_in_hand_are_refused_only_if_the_client_asked_for_that() {
    let mut patient = Single::new(|_| {});
    patient.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    let served = patient.send(&large_request(2));
    assert_eq!((served[1] & flag::WARNING, served[4]), (flag::WARNING, opcode::READY));
    let mut refused = Single::new(|_| {});
    refused.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL, ("THROW_ON_OVERLOAD", "1")])));
    let (code, text) = error_text(&refused.send(&large_request(2)));
    assert_eq!(code, 0x1001);
    assert!(text.starts_with("Request breached limit on bytes in flight."), "{text}");
    assert_eq!(refused.send(&envelope(4, 3, opcode::OPTIONS, &[]))[4], opcode::SUPPORTED);
}

#[test]
fn foreign_answers_come_on_streams_without_a_request() {
    let mut single = Single::new(|_| {});
    single.send(&envelope(4, 1, opcode::STARTUP, &startup(&[CQL])));
    single.outputs.clear();
    single.node.handle(at(3), Input::Misbehave(Misbehaviour::ForeignAnswer), &mut single.outputs);
    assert!(
        single
            .outputs
            .iter()
            .any(|output| matches!(output, Output::ToClient { kind: ClientOutput::Response { stream: i16::MAX }, .. }))
    );
}

#[test]
fn every_release_line_boots() {
    for release in ["3.11.17", "4.0.19", "4.1.10", "5.0.8"] {
        let single = Single::new(|config| config.release = release.into());
        assert_ne!(single.node.schema().version, Uuid::nil(), "{release}");
        let has_peers_v2 = single.node.schema().table("system", "peers_v2").is_some();
        assert_eq!(has_peers_v2, release != "3.11.17", "{release}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_client_make_the_node_panic(
        version in 3_u8..=5,
        code in 0_u8..=0x10,
        flags in 0_u8..=0x1f,
        body in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        cut in 1_usize..20,
    ) {
        let mut single = Single::new(|_| {});
        single.send(&envelope(version, 1, opcode::STARTUP, &startup(&[CQL])));
        let mut request = envelope(version, 2, code, &body);
        request[1] = flags;
        let mut wire = BytesMut::from(&request[..]);
        if version == 5 {
            wire.clear();
            put_envelope(&mut wire, &request, false);
        }
        let mut answers = 0;
        for chunk in wire.chunks(cut) {
            single.send(chunk);
            answers += single.outputs.iter().filter(|output| matches!(output, Output::ToClient { .. })).count();
        }
        proptest::prop_assert!(answers == 1, "{answers} answers to one request");
    }
}
