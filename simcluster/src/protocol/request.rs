//! Requests: strict decoding of what clients send.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5, section 4.1; texts of refusals are Cassandra's.

use super::envelope::{Envelope, flag, opcode};
use super::message::Consistency;
use super::notation::{DecodeError, Payload, Reader, WireValue};
use bytes::Bytes;
use std::collections::BTreeMap;

/// A request with what its envelope says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRequest {
    /// The custom payload (v4 and later).
    pub payload: Option<Payload>,
    /// The message.
    pub message: RequestMessage,
    /// How many bytes follow the message: none, if the client follows the protocol.
    pub trailing: usize,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestMessage {
    /// Options by upper-cased name.
    Startup(BTreeMap<String, String>),
    /// What is supported?
    Options,
    /// A SASL token.
    AuthResponse(Option<Bytes>),
    /// Event types.
    Register(Vec<String>),
    /// A statement as text.
    Query {
        /// The statement.
        text: String,
        /// Its parameters.
        parameters: Parameters,
    },
    /// A statement to keep.
    Prepare {
        /// The statement.
        text: String,
        /// The keyspace for unqualified names (v5).
        keyspace: Option<String>,
    },
    /// A kept statement.
    Execute {
        /// Its id.
        id: Bytes,
        /// Which columns the client believes it answers (v5).
        result_metadata_id: Option<Bytes>,
        /// Its parameters.
        parameters: Parameters,
    },
    /// Several statements.
    Batch {
        /// 0 logged, 1 unlogged, 2 counter.
        kind: u8,
        /// The statements with their values.
        statements: Vec<(BatchStatement, Vec<WireValue>)>,
        /// Consistency, serial consistency, timestamp, keyspace.
        parameters: Parameters,
    },
}

/// One statement of a BATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchStatement {
    /// As text.
    Text(String),
    /// By id.
    Id(Bytes),
}

/// Values of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireValues {
    /// In the order of the markers.
    Positional(Vec<WireValue>),
    /// By marker name.
    Named(Vec<(String, WireValue)>),
}

/// What QUERY, EXECUTE and BATCH say beside the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How many replicas must answer.
    pub consistency: Consistency,
    /// Bound values.
    pub values: WireValues,
    /// Whether the client knows the columns already.
    pub skip_metadata: bool,
    /// Rows per page; `None` = unpaged.
    pub page_size: Option<u32>,
    /// Where to continue.
    pub paging_state: Option<Bytes>,
    /// SERIAL or LOCAL_SERIAL.
    pub serial_consistency: Option<Consistency>,
    /// Default write time, microseconds.
    pub timestamp: Option<i64>,
    /// Keyspace for unqualified names (v5).
    pub keyspace: Option<String>,
    /// The server's clock, for TTLs (v5).
    pub now_in_seconds: Option<i32>,
}

/// The name of a request's opcode; `None` if no request has it.
#[must_use]
pub fn request_name(code: u8) -> Option<&'static str> {
    Some(match code {
        opcode::STARTUP => "STARTUP",
        opcode::OPTIONS => "OPTIONS",
        opcode::QUERY => "QUERY",
        opcode::PREPARE => "PREPARE",
        opcode::EXECUTE => "EXECUTE",
        opcode::REGISTER => "REGISTER",
        opcode::BATCH => "BATCH",
        opcode::AUTH_RESPONSE => "AUTH_RESPONSE",
        _ => return None,
    })
}

/// Decodes the request in an envelope.
///
/// # Errors
///
/// [`DecodeError`] if the body is not what its opcode and version say; answer it with a protocol error.
pub fn decode_request(envelope: &Envelope) -> Result<DecodedRequest, DecodeError> {
    let version = envelope.version;
    let Some(_) = request_name(envelope.opcode) else {
        return Err(unknown_opcode(envelope.opcode));
    };
    let mut body = Reader::new(envelope.body.clone());
    let has_payload = envelope.flags & flag::CUSTOM_PAYLOAD != 0;
    if has_payload && version < 4 {
        return Err(DecodeError::Invalid(
            "Received frame with CUSTOM_PAYLOAD flag for native protocol version < 4".into(),
        ));
    }
    let payload = if has_payload { Some(body.bytes_map()?) } else { None };
    let message = match envelope.opcode {
        opcode::STARTUP => {
            let options = body.string_map()?;
            RequestMessage::Startup(options.into_iter().map(|(key, value)| (key.to_uppercase(), value)).collect())
        }
        opcode::AUTH_RESPONSE => RequestMessage::AuthResponse(body.bytes()?),
        opcode::REGISTER => RequestMessage::Register(body.string_list()?),
        opcode::QUERY => {
            let text = body.long_string()?;
            RequestMessage::Query { text, parameters: parameters(&mut body, version)? }
        }
        opcode::PREPARE => {
            let text = body.long_string()?;
            let flags = if version >= 5 { body.int()? } else { 0 };
            let keyspace = if flags & 0x01 != 0 { Some(body.string()?) } else { None };
            RequestMessage::Prepare { text, keyspace }
        }
        opcode::EXECUTE => {
            let id = body.short_bytes()?;
            let result_metadata_id = if version >= 5 { Some(body.short_bytes()?) } else { None };
            RequestMessage::Execute { id, result_metadata_id, parameters: parameters(&mut body, version)? }
        }
        opcode::BATCH => batch(&mut body, version)?,
        _ => RequestMessage::Options,
    };
    Ok(DecodedRequest { payload, message, trailing: body.left() })
}

fn unknown_opcode(code: u8) -> DecodeError {
    match code {
        opcode::ERROR
        | opcode::READY
        | opcode::AUTHENTICATE
        | opcode::SUPPORTED
        | opcode::RESULT
        | opcode::EVENT
        | opcode::AUTH_CHALLENGE
        | opcode::AUTH_SUCCESS => {
            DecodeError::Invalid(format!("Wrong protocol direction (expected RESPONSE, got REQUEST) for opcode {code}"))
        }
        _ => DecodeError::Invalid(format!("Unknown opcode {code}")),
    }
}

/// Flags of query parameters.
mod query_flag {
    pub(super) const VALUES: u32 = 0x01;
    pub(super) const SKIP_METADATA: u32 = 0x02;
    pub(super) const PAGE_SIZE: u32 = 0x04;
    pub(super) const PAGING_STATE: u32 = 0x08;
    pub(super) const SERIAL_CONSISTENCY: u32 = 0x10;
    pub(super) const TIMESTAMP: u32 = 0x20;
    pub(super) const NAMES_FOR_VALUES: u32 = 0x40;
    pub(super) const KEYSPACE: u32 = 0x80;
    pub(super) const NOW_IN_SECONDS: u32 = 0x100;
    pub(super) const ALL_V3: u32 = 0x7f;
    pub(super) const ALL_V5: u32 = 0x1ff;
}

/// Reads the flags, which are a byte up to v4 and an int in v5; unknown ones would shift every following field.
fn flags(body: &mut Reader, version: u8) -> Result<u32, DecodeError> {
    let (flags, known) = if version >= 5 {
        (body.int()?.cast_unsigned(), query_flag::ALL_V5)
    } else {
        (u32::from(body.byte()?), query_flag::ALL_V3)
    };
    if flags & !known != 0 {
        return Err(DecodeError::Invalid(format!("Unknown flags {flags:#x} of query parameters")));
    }
    Ok(flags)
}

fn parameters(body: &mut Reader, version: u8) -> Result<Parameters, DecodeError> {
    use query_flag as F;
    let consistency = body.consistency()?;
    let flags = flags(body, version)?;
    let has = |flag: u32| flags & flag != 0;
    let values = if has(F::VALUES) {
        let count = body.short()?;
        if has(F::NAMES_FOR_VALUES) {
            let named = (0..count).map(|_| Ok((body.string()?, body.value(version)?)));
            WireValues::Named(named.collect::<Result<_, DecodeError>>()?)
        } else {
            WireValues::Positional((0..count).map(|_| body.value(version)).collect::<Result<_, _>>()?)
        }
    } else {
        WireValues::Positional(Vec::new())
    };
    let page_size = if has(F::PAGE_SIZE) { page_size(body.int()?)? } else { None };
    let paging_state = if has(F::PAGING_STATE) { body.bytes()? } else { None };
    let mut parameters = Parameters {
        consistency,
        values,
        skip_metadata: has(F::SKIP_METADATA),
        page_size,
        paging_state,
        serial_consistency: None,
        timestamp: None,
        keyspace: None,
        now_in_seconds: None,
    };
    tail(body, flags, &mut parameters)?;
    Ok(parameters)
}

/// Zero is refused; a negative size is Cassandra's way of saying "unpaged".
fn page_size(raw: i32) -> Result<Option<u32>, DecodeError> {
    if raw == 0 {
        return Err(DecodeError::Invalid("The page size cannot be 0".into()));
    }
    Ok(u32::try_from(raw).ok())
}

/// The fields that QUERY, EXECUTE and BATCH end with alike.
fn tail(body: &mut Reader, flags: u32, parameters: &mut Parameters) -> Result<(), DecodeError> {
    use query_flag as F;
    if flags & F::SERIAL_CONSISTENCY != 0 {
        parameters.serial_consistency = Some(body.consistency()?);
    }
    if flags & F::TIMESTAMP != 0 {
        let timestamp = body.long()?;
        if timestamp == i64::MIN {
            return Err(DecodeError::Invalid(format!(
                "Out of bound timestamp, must be in [{}, {}] (got {timestamp})",
                i64::MIN + 1,
                i64::MAX
            )));
        }
        parameters.timestamp = Some(timestamp);
    }
    if flags & F::KEYSPACE != 0 {
        parameters.keyspace = Some(body.string()?);
    }
    if flags & F::NOW_IN_SECONDS != 0 {
        parameters.now_in_seconds = Some(body.int()?);
    }
    Ok(())
}

fn batch(body: &mut Reader, version: u8) -> Result<RequestMessage, DecodeError> {
    let kind = body.byte()?;
    if kind > 2 {
        return Err(DecodeError::Invalid(format!("Invalid BATCH message type {kind}")));
    }
    let count = body.short()?;
    let mut statements = Vec::new();
    for _ in 0..count {
        let statement = match body.byte()? {
            0 => BatchStatement::Text(body.long_string()?),
            1 => BatchStatement::Id(body.short_bytes()?),
            other => {
                return Err(DecodeError::Invalid(format!(
                    "Invalid query kind in BATCH messages. Must be 0 or 1 but got {other}"
                )));
            }
        };
        let values = body.short()?;
        let values = (0..values).map(|_| body.value(version)).collect::<Result<_, _>>()?;
        statements.push((statement, values));
    }
    let mut parameters = Parameters {
        consistency: body.consistency()?,
        values: WireValues::Positional(Vec::new()),
        skip_metadata: false,
        page_size: None,
        paging_state: None,
        serial_consistency: None,
        timestamp: None,
        keyspace: None,
        now_in_seconds: None,
    };
    let flags = flags(body, version)?;
    // Names would stand beside the values, but the flag comes after them: the specification says not to use it.
    if flags & query_flag::NAMES_FOR_VALUES != 0 {
        return Err(DecodeError::Invalid("Named values are not supported in BATCH messages".into()));
    }
    tail(body, flags, &mut parameters)?;
    Ok(RequestMessage::Batch { kind, statements, parameters })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(version: u8, flags: u8, opcode: u8, body: &'static [u8]) -> Envelope {
        Envelope { version, flags, stream: 0, opcode, body: Bytes::from_static(body) }
    }

    #[test]
    fn query_with_all_parameters_of_v5_is_read_field_by_field() {
        // Section 4.1.4: long string, consistency, int flags, values, page size, paging state, serial consistency,
        // timestamp, keyspace, now in seconds.
        let body: &[u8] = &[
            0, 0, 0, 2, b'Q', b'1', 0, 4, 0, 0, 1, 0xff, // text, QUORUM, flags 0x1ff
            0, 2, 0, 1, b'a', 0, 0, 0, 1, 7, 0, 1, b'b', 0xff, 0xff, 0xff, 0xfe, // a = 0x07, b unset
            0, 0, 0, 100, 0, 0, 0, 1, 9, // page size, paging state
            0, 9, 0, 0, 0, 0, 0, 0, 0, 5, // LOCAL_SERIAL, timestamp
            0, 2, b'k', b's', 0, 0, 0, 3, // keyspace, now
        ];
        let decoded = decode_request(&envelope(5, 0, opcode::QUERY, body)).expect("valid");
        assert_eq!(decoded.trailing, 0);
        let RequestMessage::Query { text, parameters } = decoded.message else { panic!("not a query") };
        assert_eq!(text, "Q1");
        assert_eq!(
            parameters,
            Parameters {
                consistency: Consistency::Quorum,
                values: WireValues::Named(vec![
                    ("a".into(), WireValue::Value(Some(Bytes::from_static(&[7])))),
                    ("b".into(), WireValue::Unset),
                ]),
                skip_metadata: true,
                page_size: Some(100),
                paging_state: Some(Bytes::from_static(&[9])),
                serial_consistency: Some(Consistency::LocalSerial),
                timestamp: Some(5),
                keyspace: Some("ks".into()),
                now_in_seconds: Some(3),
            }
        );
    }

    #[test]
    fn flags_are_one_byte_up_to_v4() {
        let body: &[u8] = &[0, 0, 0, 1, b'Q', 0, 1, 0x04, 0xff, 0xff, 0xff, 0xff];
        let decoded = decode_request(&envelope(4, 0, opcode::QUERY, body)).expect("valid");
        let RequestMessage::Query { parameters, .. } = decoded.message else { panic!("not a query") };
        assert_eq!(parameters.page_size, None, "a negative size means unpaged");
        let v5_flag: &[u8] = &[0, 0, 0, 1, b'Q', 0, 1, 0x80, 0, 1, b'k'];
        assert!(decode_request(&envelope(4, 0, opcode::QUERY, v5_flag)).is_err());
    }

    #[test]
    fn page_size_zero_is_a_protocol_error() {
        let body: &[u8] = &[0, 1, b'i', 0, 1, 0x04, 0, 0, 0, 0];
        assert_eq!(
            decode_request(&envelope(4, 0, opcode::EXECUTE, body)),
            Err(DecodeError::Invalid("The page size cannot be 0".into()))
        );
    }

    #[test]
    fn execute_of_v5_carries_the_result_metadata_id() {
        let body: &[u8] = &[0, 1, b'i', 0, 1, b'm', 0, 1, 0, 0, 0, 0];
        let decoded = decode_request(&envelope(5, 0, opcode::EXECUTE, body)).expect("valid");
        let RequestMessage::Execute { id, result_metadata_id, .. } = decoded.message else { panic!("not an execute") };
        assert_eq!((&id[..], result_metadata_id.as_deref()), (&b"i"[..], Some(&b"m"[..])));
    }

    #[test]
    fn batch_mixes_texts_and_ids() {
        let body: &[u8] = &[
            1, 0, 2, 0, 0, 0, 0, 1, b'Q', 0, 0, // unlogged; text without values
            1, 0, 1, b'i', 0, 1, 0, 0, 0, 0, // id with an empty value
            0, 6, 0x20, 0, 0, 0, 0, 0, 0, 0, 8,
        ];
        let decoded = decode_request(&envelope(4, 0, opcode::BATCH, body)).expect("valid");
        let RequestMessage::Batch { kind, statements, parameters } = decoded.message else { panic!("not a batch") };
        assert_eq!(kind, 1);
        assert_eq!(statements[0], (BatchStatement::Text("Q".into()), vec![]));
        let empty = WireValue::Value(Some(Bytes::new()));
        assert_eq!(statements[1], (BatchStatement::Id(Bytes::from_static(b"i")), vec![empty]));
        assert_eq!((parameters.consistency, parameters.timestamp), (Consistency::LocalQuorum, Some(8)));
    }

    #[test]
    fn startup_keys_are_upper_cased_and_payloads_come_first() {
        let body: &[u8] = &[0, 1, 0, 1, b'p', 0, 0, 0, 1, 3, 0, 1, 0, 1, b'k', 0, 1, b'v'];
        let decoded = decode_request(&envelope(4, flag::CUSTOM_PAYLOAD, opcode::STARTUP, body)).expect("valid");
        assert_eq!(decoded.payload.expect("payload")["p"], Some(Bytes::from_static(&[3])));
        assert_eq!(decoded.message, RequestMessage::Startup([("K".to_owned(), "v".to_owned())].into()));
        assert!(decode_request(&envelope(3, flag::CUSTOM_PAYLOAD, opcode::STARTUP, body)).is_err());
    }

    #[test]
    fn responses_and_unknown_opcodes_are_refused() {
        let Err(DecodeError::Invalid(text)) = decode_request(&envelope(4, 0, 99, &[])) else { panic!("accepted") };
        assert_eq!(text, "Unknown opcode 99");
        assert!(decode_request(&envelope(4, 0, opcode::RESULT, &[])).is_err());
    }
}
