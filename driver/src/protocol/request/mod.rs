//! Requests, written straight into the write buffer of a connection.
//!
//! # Source
//!
//! Native protocol v5, section 4.1.

mod batch;
mod handshake;
mod statement;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use batch::{Batch, BatchEntry, BatchStatement};
pub use handshake::{AuthResponse, Options, Register, Startup};
pub use statement::{Execute, Parameters, Prepare, Query, Values};

use super::envelope::{FLAG_CUSTOM_PAYLOAD, FLAG_TRACING, write_request};
use super::notation::{write_bytes, write_short_len, write_string};
use super::{EncodeError, Opcode, ProtocolVersion};

/// A request that can append itself to a write buffer.
///
/// Runs while the buffer is locked: it must be quick and must not use the connection.
pub trait EncodeRequest {
    /// Appends one whole envelope with the given stream id.
    ///
    /// # Errors
    ///
    /// If the request cannot be expressed. What was appended until then is discarded.
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

impl<T: EncodeRequest + ?Sized> EncodeRequest for &T {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        (**self).encode(version, stream, out)
    }
}

/// What any statement may ask for in its envelope.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvelopeOptions<'a> {
    /// Have the coordinator trace the request.
    pub tracing: bool,
    /// Named bytes for a custom query handler of the server; v4 and later.
    pub custom_payload: Option<&'a BTreeMap<String, Bytes>>,
}

impl EnvelopeOptions<'_> {
    fn write(
        &self,
        version: ProtocolVersion,
        stream: i16,
        opcode: Opcode,
        out: &mut Vec<u8>,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let payload = self.custom_payload.filter(|payload| !payload.is_empty());
        if payload.is_some() && version < ProtocolVersion::V4 {
            return Err(EncodeError::NotInVersion { what: "a custom payload", version });
        }
        let mut flags = 0;
        if self.tracing {
            flags |= FLAG_TRACING;
        }
        if payload.is_some() {
            flags |= FLAG_CUSTOM_PAYLOAD;
        }
        write_request(version, flags, stream, opcode, out, |out| {
            if let Some(payload) = payload {
                write_short_len("the custom payload", payload.len(), out)?;
                for (name, value) in payload {
                    write_string("a custom payload name", name, out)?;
                    write_bytes("a custom payload value", value, out)?;
                }
            }
            body(out)
        })
    }
}
