//! Responses: everything a server may send.
//!
//! A [`Response`] is an envelope whose body is decoded when asked for, by the caller and not by
//! the task that read it. Rows stay slices of the read buffer.
//!
//! # Source
//!
//! Native protocol v5, section 4.2.

mod custom_type;
mod error;
mod event;
mod metadata;
mod result;

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use uuid::Uuid;

pub use error::{FailureReason, ServerError, ServerErrorKind};
pub use event::{Event, SchemaChange, SchemaChangeKind, SchemaTarget};
pub use metadata::{KnownColumns, MetadataExtras, ResultMetadata};
pub use result::{Prepared, ResultBody, Rows};

use super::envelope::{FLAG_CUSTOM_PAYLOAD, FLAG_TRACING, FLAG_WARNING};
use super::notation::Reader;
use super::{DecodeError, Opcode, ProtocolVersion};

/// One response, decompressed but not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Protocol version of the connection.
    pub version: ProtocolVersion,
    /// Flags of the header.
    pub flags: u8,
    /// What the body is.
    pub opcode: Opcode,
    /// The whole body, decompressed. A large one is a slice of the read buffer, which it keeps alive.
    pub body: Bytes,
}

/// A decoded response.
#[derive(Clone, Debug)]
pub struct DecodedResponse {
    /// What came before the message; apart, because most responses have none of it.
    pub annotations: Option<Box<Annotations>>,
    /// The message itself.
    pub message: Message,
}

/// What a server may say beside any message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Id of the trace, if tracing was asked for.
    pub tracing_id: Option<Uuid>,
    /// Warnings of the coordinator.
    pub warnings: Vec<String>,
    /// Named bytes of a custom query handler of the server.
    pub custom_payload: BTreeMap<String, Option<Bytes>>,
}

/// The message inside a response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Message {
    /// The request failed.
    Error(Box<ServerError>),
    /// The connection is initialised.
    Ready,
    /// Credentials are wanted by this server-side class.
    Authenticate(String),
    /// The options of the server.
    Supported(BTreeMap<String, Vec<String>>),
    /// The outcome of a statement.
    Result(ResultBody),
    /// Something changed in the cluster.
    Event(Box<Event>),
    /// Another round of authentication, with this token.
    AuthChallenge(Option<Bytes>),
    /// Authentication succeeded, with this token.
    AuthSuccess(Option<Bytes>),
}

impl Response {
    /// Decodes the body.
    ///
    /// # Errors
    ///
    /// If the body is malformed. Only this request is affected: the envelope's end was known.
    pub fn decode(self) -> Result<DecodedResponse, DecodeError> {
        self.decode_knowing(None)
    }

    /// Decodes the body of an answer whose columns are probably those known.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`].
    pub fn decode_knowing(self, known: Option<&KnownColumns>) -> Result<DecodedResponse, DecodeError> {
        let mut reader = Reader::new(&self.body);
        let annotations = self.decode_annotations(&mut reader)?;
        let mut message = self.decode_message(&mut reader, known)?;
        if let Message::Result(ResultBody::Rows(rows)) = &mut message {
            // The body itself, cut: another handle on it would be counted, or copied.
            let start = self.body.len() - reader.rest().len();
            rows.content = self.body;
            rows.content.advance(start);
        }
        Ok(DecodedResponse { annotations, message })
    }

    fn decode_annotations(&self, reader: &mut Reader<'_>) -> Result<Option<Box<Annotations>>, DecodeError> {
        let has = |flag| self.flags & flag != 0;
        if !has(FLAG_TRACING | FLAG_WARNING | FLAG_CUSTOM_PAYLOAD) {
            return Ok(None);
        }
        let tracing_id = if has(FLAG_TRACING) { Some(reader.uuid()?) } else { None };
        let warnings = if has(FLAG_WARNING) { reader.string_list()? } else { Vec::new() };
        let custom_payload = if has(FLAG_CUSTOM_PAYLOAD) { reader.bytes_map()? } else { BTreeMap::new() };
        Ok(Some(Box::new(Annotations { tracing_id, warnings, custom_payload })))
    }

    fn decode_message(&self, reader: &mut Reader<'_>, known: Option<&KnownColumns>) -> Result<Message, DecodeError> {
        let token =
            |reader: &mut Reader<'_>| Ok::<_, DecodeError>(reader.bytes()?.map(|token| self.body.slice_ref(token)));
        match self.opcode {
            Opcode::Error => ServerError::decode(reader, self.version).map(|error| Message::Error(Box::new(error))),
            Opcode::Ready => Ok(Message::Ready),
            Opcode::Authenticate => Ok(Message::Authenticate(reader.string()?.to_owned())),
            Opcode::Supported => reader.string_multimap().map(Message::Supported),
            Opcode::Result => ResultBody::decode(reader, self.version, known).map(Message::Result),
            Opcode::Event => Event::decode(reader).map(|event| Message::Event(Box::new(event))),
            Opcode::AuthChallenge => token(reader).map(Message::AuthChallenge),
            Opcode::AuthSuccess => token(reader).map(Message::AuthSuccess),
            other => Err(DecodeError::UnknownValue { what: "response opcode", value: other.to_wire().into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(version: ProtocolVersion, flags: u8, opcode: u8, body: &[u8]) -> Response {
        let body = Bytes::copy_from_slice(body);
        Response { version, flags, opcode: Opcode::from_wire(opcode), body }
    }

    #[test]
    fn trace_warnings_and_payload_come_before_the_message() {
        let mut body = vec![7; 16];
        body.extend_from_slice(b"\0\x01\0\x04slow");
        body.extend_from_slice(b"\0\x01\0\x01k\0\0\0\x01v");
        body.extend_from_slice(&[0, 0, 0, 1]);
        let flags = FLAG_TRACING | FLAG_WARNING | FLAG_CUSTOM_PAYLOAD;
        let decoded = response(ProtocolVersion::V4, flags, 0x08, &body).decode().unwrap();
        let annotations = decoded.annotations.unwrap();
        assert_eq!(annotations.tracing_id, Some(Uuid::from_bytes([7; 16])));
        assert_eq!(annotations.warnings, ["slow"]);
        assert_eq!(annotations.custom_payload["k"].as_deref(), Some(&b"v"[..]));
        assert!(matches!(decoded.message, Message::Result(ResultBody::Void)));
    }

    #[test]
    fn a_request_opcode_is_not_a_response() {
        assert!(response(ProtocolVersion::V4, 0, 0x07, &[]).decode().is_err());
    }

    /// Bodies that get far into the decoders: a valid beginning and hostile bytes after it.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let prefixes: Vec<&[u8]> = vec![
            b"",
            b"\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x01k\0\x01t\0\x02id\0\x09\0\x01x",
            b"\0\0\0\x02\0\0\0\x0F\0\0\0\x02\0\0\0\x01p",
            b"\0\0\0\x04\0\x02id\0\x01m\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01k",
            b"\0\0\0\x05\0\x07CREATED\0\x08FUNCTION",
            b"\0\0\x15\0\0\x01x\0\x04\0\0\0\x01\0\0\0\x02",
            b"\0\0\x25\0\0\x01x",
        ];
        (prop::sample::select(prefixes), any::<Vec<u8>>()).prop_map(|(prefix, rest)| [prefix, &rest[..]].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn hostile_bodies_give_a_message_or_an_error(
            opcode in 0u8..0x12,
            flags in prop_oneof![Just(0u8), any::<u8>()],
            body in bodies(),
        ) {
            for version in [ProtocolVersion::V3, ProtocolVersion::V4, ProtocolVersion::V5] {
                let _ = response(version, flags, opcode, &body).decode();
            }
        }
    }
}
