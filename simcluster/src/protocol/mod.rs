//! The server's side of the native protocol v3, v4 and v5: decodes requests, encodes responses.

mod compression;
mod digest;
mod envelope;
mod error;
mod message;
mod notation;
mod request;
mod response;
mod segment;
mod version;
mod wire_type;

pub use compression::Compression;
pub use digest::{md5, statement_id};
pub use envelope::{BODY_LEN_MAX, Codec, Envelope, Incoming, Rejection, flag, opcode};
pub use message::{ColumnSpec, Consistency, ResultRows, SchemaChangeEvent, ServerError, WriteType};
pub use notation::{DecodeError, Payload, WireValue};
pub use request::{
    BatchStatement, DecodedRequest, Parameters, RequestMessage, WireValues, decode_request, request_name,
};
pub use response::{
    EventMessage, PreparedMessage, ResponseEnvelope, ResponseMessage, RowsMessage, encode_event, encode_response,
    result_metadata_id,
};
pub use segment::{PAYLOAD_LEN_MAX, Segment, SegmentError, put_envelope, split_segment};
pub use version::{VERSION_MIN, supported_versions, version_name, version_refusal};
