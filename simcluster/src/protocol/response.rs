//! Responses and events: what a server says, encoded for a client's version.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5, section 4.2.

use super::envelope::{Codec, flag, opcode};
use super::error::put_error;
use super::message::{ColumnSpec, ResultRows, SchemaChangeEvent, ServerError};
use super::notation::{
    Payload, int_len, put_bytes, put_bytes_map, put_inet, put_short_bytes, put_string, put_string_list,
};
use super::wire_type::put_type;
use bytes::{BufMut, Bytes, BytesMut};
use std::net::SocketAddr;
use uuid::Uuid;

/// A response message.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the variants are the protocol's own names")]
pub enum ResponseMessage {
    Error(ServerError),
    Ready,
    /// The authenticator's class.
    Authenticate(&'static str),
    /// Options with their possible values.
    Supported(Vec<(&'static str, Vec<String>)>),
    /// The final token.
    AuthSuccess(Option<Bytes>),
    Void,
    Rows(RowsMessage),
    SetKeyspace(String),
    Prepared(Box<PreparedMessage>),
    SchemaChange(SchemaChangeEvent),
    /// A body that is not what its opcode says: for nodes that are made to misbehave.
    Raw {
        opcode: u8,
        body: Bytes,
    },
}

/// RESULT Rows.
#[derive(Clone, Debug)]
pub struct RowsMessage {
    /// The page.
    pub rows: ResultRows,
    /// Whether the columns are left out, as the client asked.
    pub skip_metadata: bool,
    /// A new result metadata id (v5): tells the client that the columns are not those it knows.
    pub new_metadata_id: Option<Bytes>,
}

/// RESULT Prepared.
#[derive(Clone, Debug)]
pub struct PreparedMessage {
    /// The statement's id.
    pub id: Bytes,
    /// The id of its result columns (v5).
    pub result_metadata_id: Bytes,
    /// Its bind markers.
    pub markers: Vec<ColumnSpec>,
    /// Which markers are the partition key (v4 and later).
    pub partition_key_markers: Vec<u16>,
    /// The columns it answers; `None` if it answers none.
    pub result_columns: Option<std::sync::Arc<[ColumnSpec]>>,
}

/// What comes in front of a message's own body.
#[derive(Clone, Debug, Default)]
pub struct ResponseEnvelope {
    /// The trace of the request.
    pub tracing_id: Option<Uuid>,
    /// Server warnings; not told to v3 clients, whose version has none.
    pub warnings: Vec<String>,
    /// A custom payload; not sent to v3 clients.
    pub payload: Option<Payload>,
}

/// A pushed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventMessage {
    /// `NEW_NODE`, `REMOVED_NODE`, `MOVED_NODE`.
    TopologyChange(&'static str, SocketAddr),
    /// `UP`, `DOWN`.
    StatusChange(&'static str, SocketAddr),
    /// A schema change.
    SchemaChange(SchemaChangeEvent),
}

impl EventMessage {
    /// Its type as in REGISTER.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::TopologyChange(..) => "TOPOLOGY_CHANGE",
            Self::StatusChange(..) => "STATUS_CHANGE",
            Self::SchemaChange(_) => "SCHEMA_CHANGE",
        }
    }

    /// For ledgers: `UP 10.0.0.2:9042`, `CREATED TABLE ks.t`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::TopologyChange(change, address) | Self::StatusChange(change, address) => {
                format!("{change} {address}")
            }
            Self::SchemaChange(event) if event.name.is_empty() => {
                format!("{} {} {}", event.change, event.target, event.keyspace)
            }
            Self::SchemaChange(event) => {
                format!("{} {} {}.{}", event.change, event.target, event.keyspace, event.name)
            }
        }
    }
}

impl ResponseMessage {
    /// Its opcode.
    #[must_use]
    pub fn opcode(&self) -> u8 {
        match self {
            Self::Error(_) => opcode::ERROR,
            Self::Ready => opcode::READY,
            Self::Authenticate(_) => opcode::AUTHENTICATE,
            Self::Supported(_) => opcode::SUPPORTED,
            Self::AuthSuccess(_) => opcode::AUTH_SUCCESS,
            Self::Raw { opcode, .. } => *opcode,
            Self::Void | Self::Rows(_) | Self::SetKeyspace(_) | Self::Prepared(_) | Self::SchemaChange(_) => {
                opcode::RESULT
            }
        }
    }
}

impl ResponseMessage {
    /// Its body as of a protocol version, without tracing id, warnings and payload.
    #[must_use]
    pub fn body(&self, version: u8) -> Bytes {
        let mut body = BytesMut::new();
        put_message(&mut body, self, version);
        body.freeze()
    }
}

/// Encodes a response for the wire of a connection.
#[must_use]
pub fn encode_response(codec: &Codec, stream: i16, message: &ResponseMessage, envelope: &ResponseEnvelope) -> Bytes {
    let version = codec.version();
    let mut flags = 0;
    let mut body = BytesMut::with_capacity(BODY_LEN_USUAL);
    if let Some(id) = envelope.tracing_id {
        flags |= flag::TRACING;
        body.put_slice(id.as_bytes());
    }
    if version >= 4 && !envelope.warnings.is_empty() {
        flags |= flag::WARNING;
        put_string_list(&mut body, &envelope.warnings);
    }
    if let (Some(payload), 4..) = (&envelope.payload, version) {
        flags |= flag::CUSTOM_PAYLOAD;
        put_bytes_map(&mut body, payload);
    }
    put_message(&mut body, message, version);
    codec.encode(stream, message.opcode(), flags, &body)
}

/// Room for the body of most responses.
const BODY_LEN_USUAL: usize = 512;

/// Encodes an event for the wire of a connection.
#[must_use]
pub fn encode_event(codec: &Codec, event: &EventMessage) -> Bytes {
    let mut body = BytesMut::new();
    put_string(&mut body, event.type_name());
    match event {
        EventMessage::TopologyChange(change, address) | EventMessage::StatusChange(change, address) => {
            put_string(&mut body, change);
            put_inet(&mut body, *address);
        }
        EventMessage::SchemaChange(event) => put_schema_change(&mut body, event, codec.version()),
    }
    codec.encode(-1, opcode::EVENT, 0, &body)
}

fn put_message(out: &mut BytesMut, message: &ResponseMessage, version: u8) {
    match message {
        ResponseMessage::Error(error) => put_error(out, error, version),
        ResponseMessage::Ready => {}
        ResponseMessage::Raw { body, .. } => out.put_slice(body),
        ResponseMessage::Authenticate(class) => put_string(out, class),
        ResponseMessage::Supported(options) => {
            out.put_u16(u16::try_from(options.len()).unwrap_or(u16::MAX));
            for (name, values) in options {
                put_string(out, name);
                put_string_list(out, values);
            }
        }
        ResponseMessage::AuthSuccess(token) => put_bytes(out, token.as_deref()),
        ResponseMessage::Void => out.put_i32(1),
        ResponseMessage::Rows(rows) => {
            out.put_i32(2);
            put_rows(out, rows, version);
        }
        ResponseMessage::SetKeyspace(keyspace) => {
            out.put_i32(3);
            put_string(out, keyspace);
        }
        ResponseMessage::Prepared(prepared) => {
            out.put_i32(4);
            put_prepared(out, prepared, version);
        }
        ResponseMessage::SchemaChange(event) => {
            out.put_i32(5);
            put_schema_change(out, event, version);
        }
    }
}

/// Flags of result metadata.
mod metadata_flag {
    pub(super) const GLOBAL_TABLES_SPEC: i32 = 0x01;
    pub(super) const HAS_MORE_PAGES: i32 = 0x02;
    pub(super) const NO_METADATA: i32 = 0x04;
    pub(super) const METADATA_CHANGED: i32 = 0x08;
}

fn put_rows(out: &mut BytesMut, message: &RowsMessage, version: u8) {
    let RowsMessage { rows, skip_metadata, new_metadata_id } = message;
    let new_metadata_id = new_metadata_id.as_ref().filter(|_| version >= 5);
    let skip_metadata = *skip_metadata && new_metadata_id.is_none();
    let table = global_table(&rows.columns);
    // Cassandra says that all columns are of one table also where it leaves them out.
    let mut flags = if table.is_some() { metadata_flag::GLOBAL_TABLES_SPEC } else { 0 };
    if skip_metadata {
        flags |= metadata_flag::NO_METADATA;
    }
    if rows.paging_state.is_some() {
        flags |= metadata_flag::HAS_MORE_PAGES;
    }
    if new_metadata_id.is_some() {
        flags |= metadata_flag::METADATA_CHANGED;
    }
    out.put_i32(flags);
    out.put_i32(int_len(rows.columns.len()));
    if let Some(state) = &rows.paging_state {
        put_bytes(out, Some(state));
    }
    if let Some(id) = new_metadata_id {
        put_short_bytes(out, id);
    }
    if !skip_metadata {
        put_columns(out, &rows.columns, table, version);
    }
    out.put_i32(int_len(rows.rows.len()));
    for row in &rows.rows {
        for cell in row {
            put_bytes(out, cell.as_deref());
        }
    }
}

fn put_prepared(out: &mut BytesMut, prepared: &PreparedMessage, version: u8) {
    put_short_bytes(out, &prepared.id);
    if version >= 5 {
        put_short_bytes(out, &prepared.result_metadata_id);
    }
    let table = global_table(&prepared.markers);
    out.put_i32(if table.is_some() { metadata_flag::GLOBAL_TABLES_SPEC } else { 0 });
    out.put_i32(int_len(prepared.markers.len()));
    if version >= 4 {
        out.put_i32(int_len(prepared.partition_key_markers.len()));
        for index in &prepared.partition_key_markers {
            out.put_u16(*index);
        }
    }
    put_columns(out, &prepared.markers, table, version);
    match prepared.result_columns.as_deref() {
        None | Some([]) => {
            out.put_i32(metadata_flag::NO_METADATA);
            out.put_i32(0);
        }
        Some(columns) => {
            let table = global_table(columns);
            out.put_i32(if table.is_some() { metadata_flag::GLOBAL_TABLES_SPEC } else { 0 });
            out.put_i32(int_len(columns.len()));
            put_columns(out, columns, table, version);
        }
    }
}

/// Keyspace and table, if all columns are of one table.
fn global_table(columns: &[ColumnSpec]) -> Option<(&str, &str)> {
    let (first, rest) = columns.split_first()?;
    rest.iter()
        .all(|column| column.table == first.table && column.keyspace == first.keyspace)
        .then_some((first.keyspace.as_str(), first.table.as_str()))
}

fn put_columns(out: &mut BytesMut, columns: &[ColumnSpec], global: Option<(&str, &str)>, version: u8) {
    if let Some((keyspace, table)) = global {
        put_string(out, keyspace);
        put_string(out, table);
    }
    for column in columns {
        if global.is_none() {
            put_string(out, &column.keyspace);
            put_string(out, &column.table);
        }
        put_string(out, &column.name);
        put_type(out, &column.cql_type, version);
    }
}

/// v3 does not know functions and aggregates: their changes are told as an update of the keyspace.
fn put_schema_change(out: &mut BytesMut, event: &SchemaChangeEvent, version: u8) {
    let has_arguments = matches!(event.target, "FUNCTION" | "AGGREGATE");
    if has_arguments && version < 4 {
        put_string(out, "UPDATED");
        put_string(out, "KEYSPACE");
        put_string(out, &event.keyspace);
        return;
    }
    put_string(out, event.change);
    put_string(out, event.target);
    put_string(out, &event.keyspace);
    if event.target != "KEYSPACE" {
        put_string(out, &event.name);
    }
    if has_arguments {
        put_string_list(out, &event.arguments);
    }
}

/// The id of a statement's result columns: equal columns have equal ids, whatever the node.
#[must_use]
pub fn result_metadata_id(columns: Option<&[ColumnSpec]>) -> Bytes {
    let mut encoded = Vec::new();
    for column in columns.unwrap_or_default() {
        encoded.extend_from_slice(column.name.as_bytes());
        encoded.push(0);
        encoded.extend_from_slice(super::wire_type::class_name_frozen(&column.cql_type).as_bytes());
        encoded.extend_from_slice(&[0, 0]);
    }
    Bytes::copy_from_slice(&super::digest::md5(&[&encoded]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CqlType;
    use std::sync::Arc;

    fn column(table: &str, name: &str) -> ColumnSpec {
        ColumnSpec { keyspace: "k".into(), table: table.into(), name: name.into(), cql_type: CqlType::Int }
    }

    fn body(message: &ResponseMessage, version: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_message(&mut out, message, version);
        out.to_vec()
    }

    fn rows(columns: Vec<ColumnSpec>, paging_state: Option<&'static [u8]>) -> RowsMessage {
        let rows = vec![vec![Some(Bytes::from_static(&[0, 0, 0, 5])); columns.len()]];
        let rows = ResultRows { columns: columns.into(), rows, paging_state: paging_state.map(Bytes::from_static) };
        RowsMessage { rows, skip_metadata: false, new_metadata_id: None }
    }

    #[test]
    fn rows_of_one_table_name_it_once() {
        let message = ResponseMessage::Rows(rows(vec![column("t", "a")], Some(&[9])));
        assert_eq!(
            body(&message, 4),
            [
                0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, // kind, GLOBAL_TABLES_SPEC | HAS_MORE_PAGES, one column
                0, 0, 0, 1, 9, 0, 1, b'k', 0, 1, b't', 0, 1, b'a', 0, 9, // paging state, table, column
                0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 5, // one row, one cell
            ]
        );
    }

    #[test]
    fn rows_of_several_tables_name_each() {
        let message = ResponseMessage::Rows(rows(vec![column("t", "a"), column("u", "b")], None));
        assert_eq!(
            body(&message, 4)[4..32],
            [0, 0, 0, 0, 0, 0, 0, 2, 0, 1, b'k', 0, 1, b't', 0, 1, b'a', 0, 9, 0, 1, b'k', 0, 1, b'u', 0, 1, b'b']
        );
    }

    #[test]
    fn skipped_metadata_keeps_the_column_count_and_says_that_all_are_of_one_table() {
        let mut message = rows(vec![column("t", "a")], None);
        message.skip_metadata = true;
        assert_eq!(body(&ResponseMessage::Rows(message), 4)[4..16], [0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 1]);
    }

    #[test]
    fn changed_metadata_is_sent_whole_with_its_new_id() {
        let mut message = rows(vec![column("t", "a")], None);
        message.skip_metadata = true;
        message.new_metadata_id = Some(Bytes::from_static(b"id"));
        assert_eq!(
            body(&ResponseMessage::Rows(message), 5)[4..23],
            [0, 0, 0, 9, 0, 0, 0, 1, 0, 2, b'i', b'd', 0, 1, b'k', 0, 1, b't', 0]
        );
    }

    #[test]
    fn prepared_has_key_markers_from_v4_and_a_metadata_id_in_v5() {
        let prepared = PreparedMessage {
            id: Bytes::from_static(b"I"),
            result_metadata_id: Bytes::from_static(b"M"),
            markers: vec![column("t", "a")],
            partition_key_markers: vec![0],
            result_columns: None,
        };
        let message = ResponseMessage::Prepared(Box::new(prepared));
        let markers: &[u8] = &[0, 1, b'k', 0, 1, b't', 0, 1, b'a', 0, 9, 0, 0, 0, 4, 0, 0, 0, 0];
        let v3 = [&[0, 0, 0, 4, 0, 1, b'I', 0, 0, 0, 1, 0, 0, 0, 1], markers].concat();
        assert_eq!(body(&message, 3), v3);
        let keys: &[u8] = &[0, 0, 0, 1, 0, 0];
        assert_eq!(body(&message, 4), [&v3[..15], keys, markers].concat());
        assert_eq!(body(&message, 5), [&v3[..7], &[0, 1, b'M'], &v3[7..15], keys, markers].concat());
    }

    #[test]
    fn functions_are_keyspace_updates_to_v3_clients() {
        let event = SchemaChangeEvent {
            change: "CREATED",
            target: "FUNCTION",
            keyspace: "k".into(),
            name: "f".into(),
            arguments: vec!["int".into()],
        };
        let mut v3 = BytesMut::new();
        put_schema_change(&mut v3, &event, 3);
        assert_eq!(&v3[..], b"\0\x07UPDATED\0\x08KEYSPACE\0\x01k");
        let mut v4 = BytesMut::new();
        put_schema_change(&mut v4, &event, 4);
        assert_eq!(&v4[..], b"\0\x07CREATED\0\x08FUNCTION\0\x01k\0\x01f\0\x01\0\x03int");
    }

    #[test]
    fn status_events_carry_address_and_port() {
        let codec = Codec::new(4);
        let event = EventMessage::StatusChange("UP", "10.0.0.2:9042".parse().expect("address"));
        let bytes = encode_event(&codec, &event);
        assert_eq!(&bytes[..5], &[0x84, 0, 0xff, 0xff, opcode::EVENT]);
        assert_eq!(&bytes[9..], b"\0\x0dSTATUS_CHANGE\0\x02UP\x04\x0a\0\0\x02\0\0\x23\x52");
    }

    #[test]
    fn tracing_id_warnings_and_payload_come_first_in_this_order() {
        let mut codec = Codec::new(4);
        let envelope = ResponseEnvelope {
            tracing_id: Some(Uuid::from_bytes([7; 16])),
            warnings: vec!["w".into()],
            payload: Some([("p".to_owned(), Some(Bytes::from_static(b"x")))].into()),
        };
        let bytes = encode_response(&codec, 1, &ResponseMessage::Void, &envelope);
        assert_eq!(bytes[1], flag::TRACING | flag::WARNING | flag::CUSTOM_PAYLOAD);
        assert_eq!(&bytes[9..25], &[7; 16]);
        assert_eq!(&bytes[25..], b"\0\x01\0\x01w\0\x01\0\x01p\0\0\0\x01x\0\0\0\x01");
        codec.push(&[3, 0, 0, 0, opcode::OPTIONS, 0, 0, 0, 0]);
        assert!(codec.next().is_some());
        let v3 = encode_response(&codec, 1, &ResponseMessage::Void, &envelope);
        assert_eq!(v3[1], flag::TRACING, "v3 has neither warnings nor payloads");
    }

    #[test]
    fn metadata_ids_differ_when_columns_do() {
        let one: Arc<[ColumnSpec]> = vec![column("t", "a")].into();
        let two: Arc<[ColumnSpec]> = vec![column("t", "a"), column("t", "b")].into();
        assert_ne!(result_metadata_id(Some(&one)), result_metadata_id(Some(&two)));
        assert_eq!(result_metadata_id(None).len(), 16);
    }
}
