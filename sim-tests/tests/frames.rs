//! Both codecs and the simulated cluster are held to the bytes that a client and the real Cassandra exchanged.

use bytes::{Bytes, BytesMut};
use helenus::protocol::envelope::ResponseHeader;
use helenus::protocol::frame::{SegmentFormat, split_segment, write_segments};
use helenus::protocol::request::{
    AuthResponse, Batch, BatchEntry, BatchStatement, EncodeRequest, EnvelopeOptions, Execute, Options, Parameters,
    Prepare, Query, Register, Startup, Values,
};
use helenus::protocol::response::{Message, Response, ResultBody};
use helenus::protocol::{BatchType, Consistency, EventKind, ProtocolVersion, SerialConsistency};
use sim_tests::corpus::answer::{self, Answer};
use sim_tests::corpus::client::Envelope;
use sim_tests::corpus::frames::{self, Conversation, Writer};
use sim_tests::corpus::{self, Entry};
use simcluster::protocol::{self as server, Codec, Incoming, RequestMessage, WireValue, WireValues};

const BODY_LEN_MAX: usize = 256 << 20;

fn recorded(version: u8) -> Vec<Conversation> {
    let text = std::fs::read_to_string(frames::file(version)).expect("the recorded frames can be read");
    frames::parse(&text).expect("the recorded frames are hexadecimal digits")
}

#[test]
fn at_least_two_hundred_different_frames_of_each_side_are_kept_for_each_version() {
    for version in frames::VERSIONS {
        let conversations = recorded(version);
        for writer in [Writer::Client, Writer::Server] {
            let frames = conversations.iter().flat_map(|conversation| &conversation.frames);
            let different: std::collections::BTreeSet<_> =
                frames.filter(|frame| frame.writer == writer).map(|frame| &frame.bytes).collect();
            assert!(different.len() >= 200, "v{version}, {writer:?}: {}", different.len());
        }
    }
}

#[test]
fn the_driver_reads_in_every_recorded_answer_what_the_corpus_reads() {
    for version in frames::VERSIONS {
        for conversation in recorded(version) {
            let expected = conversation.envelopes(Writer::Server).expect("recorded segments are whole");
            let responses = driver_responses(&conversation);
            assert_eq!(responses.len(), expected.len(), "{}", conversation.name);
            for (response, envelope) in responses.iter().zip(&expected) {
                assert_same_answer(response, envelope, &conversation.name);
            }
        }
    }
}

/// The answers of a conversation, as the driver takes them out of the bytes.
fn driver_responses(conversation: &Conversation) -> Vec<Response> {
    let (mut plain, mut responses) = (BytesMut::new(), Vec::new());
    let from_server = conversation.frames.iter().filter(|frame| frame.writer == Writer::Server);
    for (number, frame) in from_server.enumerate() {
        let is_segment = number > 0 && responses.first().is_some_and(|first: &Response| first.version.number() >= 5);
        if is_segment {
            let mut bytes = BytesMut::from(&frame.bytes[..]);
            while let Some(segment) = split_segment(&mut bytes, SegmentFormat::Plain).expect("a segment") {
                plain.extend_from_slice(&segment.payload);
            }
        } else {
            plain.extend_from_slice(&frame.bytes);
        }
        while let Some(header) = ResponseHeader::decode(&plain, BODY_LEN_MAX).expect("a header") {
            const HEADER_LEN: usize = 9;
            if plain.len() < HEADER_LEN + header.body_len {
                break;
            }
            let body = plain.split_to(HEADER_LEN + header.body_len).freeze().slice(HEADER_LEN..);
            let version = ProtocolVersion::from_number(header.version).expect("a version that the driver speaks");
            responses.push(Response { version, flags: header.flags, opcode: header.opcode, body });
        }
    }
    assert!(plain.is_empty(), "{}: {} bytes are left", conversation.name, plain.len());
    responses
}

fn assert_same_answer(response: &Response, envelope: &Envelope, name: &str) {
    let decoded = response.clone().decode().unwrap_or_else(|e| panic!("{name}: {e}: {envelope:?}"));
    let expected = Answer::decode(envelope).unwrap_or_else(|e| panic!("{name}: {e}"));
    let annotations = decoded.annotations.unwrap_or_default();
    assert_eq!(annotations.warnings, expected.warnings, "{name}");
    assert_eq!(annotations.tracing_id.is_some(), expected.is_traced, "{name}");
    match (decoded.message, expected.message) {
        (Message::Error(error), answer::Message::Error { code, text, .. }) => {
            assert_eq!((error.kind.code(), error.message), (code, text), "{name}");
        }
        (Message::Supported(options), answer::Message::Supported(expected)) => {
            assert_eq!(options, expected.into_iter().collect(), "{name}");
        }
        (Message::Result(ResultBody::Void), answer::Message::Void)
        | (Message::Ready, answer::Message::Other(0x02))
        | (Message::Authenticate(_), answer::Message::Other(0x03))
        | (Message::AuthSuccess(_), answer::Message::Other(0x10)) => {}
        (Message::Result(ResultBody::SetKeyspace(keyspace)), answer::Message::SetKeyspace(expected)) => {
            assert_eq!(keyspace, expected, "{name}");
        }
        (Message::Result(ResultBody::SchemaChange(_)) | Message::Event(_), answer::Message::SchemaChange(_)) => {}
        (Message::Result(ResultBody::Prepared(prepared)), answer::Message::Prepared(expected)) => {
            assert_eq!(prepared.id, expected.id, "{name}");
            assert_eq!(prepared.result_metadata_id.as_deref(), expected.result_metadata_id.as_deref(), "{name}");
            assert_eq!(prepared.partition_key, expected.variables.partition_key, "{name}");
            let names: Vec<&str> = prepared.variables.iter().map(|variable| &*variable.name).collect();
            let markers = expected.variables.columns.unwrap_or_default();
            assert_eq!(names, markers.iter().map(|marker| marker.name.as_str()).collect::<Vec<_>>(), "{name}");
        }
        (Message::Result(ResultBody::Rows(rows)), answer::Message::Rows(expected)) => {
            assert_eq!(rows.row_count, expected.rows.len(), "{name}");
            assert_eq!(rows.metadata.column_count, expected.metadata.count, "{name}");
            let cells: Vec<u8> = expected.rows.iter().flatten().flat_map(|cell| cell_bytes(cell.as_deref())).collect();
            assert_eq!(rows.content, cells, "{name}");
        }
        (message, expected) => panic!("{name}: the driver reads {message:?}, the corpus {expected:?}"),
    }
}

fn cell_bytes(cell: Option<&[u8]>) -> Vec<u8> {
    let len = cell.map_or(-1, |bytes| i32::try_from(bytes.len()).expect("a recorded cell is short"));
    [&len.to_be_bytes(), cell.unwrap_or_default()].concat()
}

#[test]
fn the_simulated_cluster_reads_every_recorded_request_and_the_driver_writes_it_alike() {
    for version in frames::VERSIONS {
        let (mut written, mut otherwise, mut named) = (0, 0, 0);
        for conversation in recorded(version) {
            let mut codec = Codec::new(5);
            let from_client = conversation.frames.iter().filter(|frame| frame.writer == Writer::Client);
            for (number, frame) in from_client.enumerate() {
                codec.push(&frame.bytes);
                let envelope = match codec.next() {
                    Some(Incoming::Envelope(envelope)) => envelope,
                    other => panic!("{}: {other:?} in {frame:?}", conversation.name),
                };
                let request = match server::decode_request(&envelope) {
                    Ok(request) => request,
                    Err(e) => {
                        assert!(is_refused_with(&conversation, &e.to_string()), "{}: {e}", conversation.name);
                        continue;
                    }
                };
                assert_eq!(request.trailing, 0, "{}: {request:?}", conversation.name);
                match driver_bytes(&request.message, &envelope) {
                    Some(bytes) => {
                        let is_segment = codec.version() >= 5 && number > 0;
                        let framed = if is_segment { in_segments(&bytes) } else { bytes };
                        written += 1;
                        if framed != frame.bytes {
                            assert_eq!(read(&framed, is_segment), request.message, "{}", conversation.name);
                            otherwise += 1;
                        }
                    }
                    None => named += 1,
                }
                if number == 0 {
                    codec.start(None);
                }
                assert_eq!(codec.next(), None, "{}: one request in each frame", conversation.name);
            }
        }
        println!(
            "v{version}: {written} requests, of these {otherwise} meant the same in other bytes; {named} left out"
        );
        assert!(
            written >= 200 && (otherwise + named) * 10 < written,
            "v{version}: {otherwise} and {named} of {written}"
        );
    }
}

/// The message in bytes of the driver.
fn read(framed: &[u8], is_segment: bool) -> RequestMessage {
    let mut codec = Codec::new(5);
    if is_segment {
        // Segments begin after the handshake, which tells the version.
        codec.push(&[5, 0, 0, 0, 5, 0, 0, 0, 0]);
        assert!(codec.next().is_some());
        codec.start(None);
    }
    codec.push(framed);
    let Some(Incoming::Envelope(envelope)) = codec.next() else { panic!("no envelope in {framed:02x?}") };
    server::decode_request(&envelope).expect("the driver's own bytes").message
}

/// Whether the real server has refused a request of the conversation in these words.
fn is_refused_with(conversation: &Conversation, words: &str) -> bool {
    let answers = conversation.envelopes(Writer::Server).expect("recorded segments are whole");
    answers.iter().filter_map(|envelope| Answer::decode(envelope).ok()).any(|answer| match answer.message {
        answer::Message::Error { text, .. } => text == words,
        _ => false,
    })
}

fn in_segments(envelope: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_segments(envelope, SegmentFormat::Plain, &mut out, |_, _| {});
    out
}

/// The request as the driver writes it; `None` for what it never sends: values by name, which it puts into the order of
/// the markers itself, and serial levels that are none.
fn driver_bytes(request: &RequestMessage, envelope: &server::Envelope) -> Option<Vec<u8>> {
    let version = ProtocolVersion::from_number(envelope.version & 0x7f)?;
    let options = EnvelopeOptions::default();
    let mut out = Vec::new();
    let encoded = match request {
        RequestMessage::Options => Options.encode(version, envelope.stream, &mut out),
        RequestMessage::Startup(options) => {
            let options: Vec<(&str, &str)> = options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            Startup { options: &options }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::AuthResponse(token) => {
            AuthResponse { token: token.as_deref()? }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::Register(kinds) => {
            let kinds: Vec<EventKind> =
                EventKind::ALL.into_iter().filter(|kind| kinds.iter().any(|name| name == kind.name())).collect();
            Register { kinds: &kinds }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::Query { parameters, .. } if !has_serial_level(parameters) => return None,
        RequestMessage::Query { text, parameters } => {
            let values = positional(&parameters.values)?;
            let parameters = driver_parameters(parameters, &values);
            Query { text, parameters, options }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::Prepare { text, keyspace } => {
            Prepare { text, keyspace: keyspace.as_deref(), options }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::Execute { id, result_metadata_id, parameters } => {
            let values = positional(&parameters.values)?;
            let parameters = driver_parameters(parameters, &values);
            let result_metadata_id = result_metadata_id.as_deref();
            Execute { id, result_metadata_id, parameters, options }.encode(version, envelope.stream, &mut out)
        }
        RequestMessage::Batch { kind, statements, parameters } => {
            let values: Vec<Vec<u8>> = statements.iter().map(|(_, values)| encoded_values(values)).collect();
            let entries = statements.iter().zip(&values).map(|((statement, own), bytes)| BatchEntry {
                statement: match statement {
                    server::BatchStatement::Text(text) => BatchStatement::Text(text),
                    server::BatchStatement::Id(id) => BatchStatement::Prepared(id),
                },
                values: Values::Encoded { count: u16::try_from(own.len()).expect("counted by two bytes"), bytes },
            });
            let entries: Vec<BatchEntry<'_>> = entries.collect();
            let batch = Batch {
                batch_type: [BatchType::Logged, BatchType::Unlogged, BatchType::Counter][usize::from(*kind)],
                entries: &entries,
                consistency: level(parameters.consistency),
                serial_consistency: parameters.serial_consistency.map(serial),
                timestamp: parameters.timestamp,
                keyspace: parameters.keyspace.as_deref(),
                now_in_seconds: parameters.now_in_seconds,
                options,
            };
            batch.encode(version, envelope.stream, &mut out)
        }
    };
    encoded.unwrap_or_else(|e| panic!("{e}: {request:?}"));
    Some(out)
}

fn has_serial_level(parameters: &server::Parameters) -> bool {
    parameters.serial_consistency.is_none_or(|level| level.name().ends_with("SERIAL"))
}

fn positional(values: &WireValues) -> Option<(u16, Vec<u8>)> {
    match values {
        WireValues::Positional(values) => Some((u16::try_from(values.len()).ok()?, encoded_values(values))),
        WireValues::Named(_) => None,
    }
}

fn encoded_values(values: &[WireValue]) -> Vec<u8> {
    let encoded = |value: &WireValue| match value {
        WireValue::Unset => (-2_i32).to_be_bytes().to_vec(),
        WireValue::Value(bytes) => cell_bytes(bytes.as_deref()),
    };
    values.iter().flat_map(encoded).collect()
}

fn driver_parameters<'a>(of: &'a server::Parameters, (count, bytes): &'a (u16, Vec<u8>)) -> Parameters<'a> {
    Parameters {
        consistency: level(of.consistency),
        serial_consistency: of.serial_consistency.map(serial),
        values: if *count == 0 { Values::None } else { Values::Encoded { count: *count, bytes } },
        skip_metadata: of.skip_metadata,
        page_size: of.page_size.map(|size| i32::try_from(size).expect("a size of the script")),
        paging_state: of.paging_state.as_deref(),
        timestamp: of.timestamp,
        keyspace: of.keyspace.as_deref(),
        now_in_seconds: of.now_in_seconds,
    }
}

fn level(level: server::Consistency) -> Consistency {
    Consistency::from_wire(level.code()).expect("a level of the specification")
}

fn serial(level: server::Consistency) -> SerialConsistency {
    match level.name() {
        "SERIAL" => SerialConsistency::Serial,
        "LOCAL_SERIAL" => SerialConsistency::LocalSerial,
        other => panic!("the driver cannot ask for {other} as a serial level"),
    }
}

#[test]
fn the_simulated_cluster_answers_recorded_scripts_with_the_same_bytes() {
    let entries = corpus::load(&corpus::folder(), "", corpus::RELEASES[0]).expect("the corpus can be read");
    let entries: Vec<_> = entries.into_iter().filter(is_answered_as_recorded).collect();
    let mut wrong = Vec::new();
    for version in frames::VERSIONS {
        let recorded = recorded(version);
        let (mut same, mut by_nature) = (0, 0);
        for entry in &entries {
            let answered = corpus::simulated::frames(&entry.script, version).unwrap_or_else(|e| panic!("{e}"));
            let path = format!("{} ", entry.script.path());
            let expected = recorded.iter().filter(|conversation| conversation.name.starts_with(&path));
            for (expected, answered) in expected.zip(&answered) {
                let envelopes = |of: &Conversation| of.envelopes(Writer::Server).expect("whole segments");
                let (expected_all, answered_all) = (envelopes(expected), envelopes(answered));
                if expected_all.len() != answered_all.len() {
                    wrong.push(format!(
                        "v{version} {}: {} answers, {} recorded",
                        expected.name,
                        answered_all.len(),
                        expected_all.len()
                    ));
                }
                for (number, (expected_one, answered_one)) in expected_all.iter().zip(&answered_all).enumerate() {
                    match () {
                        () if expected_one == answered_one => same += 1,
                        () if frames::natural(expected_one) == frames::natural(answered_one) => by_nature += 1,
                        () => wrong.push(format!(
                            "v{version} {} answer {number}:\n  - {}\n  + {}",
                            expected.name,
                            shown(expected_one),
                            shown(answered_one)
                        )),
                    }
                }
            }
        }
        println!("v{version}: {same} answers are the same byte for byte, {by_nature} but for what differs by nature");
        assert!(same > 3 * by_nature, "v{version}: {same} the same, {by_nature} by nature");
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Scripts of which a statement is answered otherwise, or not modelled, are counted by the corpus' own test.
fn is_answered_as_recorded(entry: &Entry) -> bool {
    let is_kept = frames::SCRIPTS.contains(&entry.script.path().as_str());
    is_kept && {
        let judged = corpus::compare(std::slice::from_ref(entry), 1).unwrap_or_else(|sentences| panic!("{sentences}"));
        judged.iter().all(|statement| statement.verdict == corpus::Verdict::Agrees)
    }
}

fn shown(envelope: &Envelope) -> String {
    let body = Bytes::copy_from_slice(&envelope.body);
    format!("flags {:#04x} stream {} opcode {:#04x} {body:?}", envelope.flags, envelope.stream, envelope.opcode)
}
