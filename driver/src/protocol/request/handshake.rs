//! Requests that set a connection up: OPTIONS, STARTUP, AUTH_RESPONSE, REGISTER.
//!
//! # Source
//!
//! Native protocol v5, sections 4.1.1 to 4.1.3 and 4.1.8.

use std::fmt;

use super::EncodeRequest;
use crate::protocol::envelope::write_request;
use crate::protocol::notation::{write_bytes, write_short_len, write_string};
use crate::protocol::{EncodeError, EventKind, Opcode, ProtocolVersion};

/// Asks which options the server supports. Also the heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Options;

impl EncodeRequest for Options {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_request(version, 0, stream, Opcode::Options, out, |_| Ok(()))
    }
}

/// Initialises a connection.
#[derive(Clone, Debug)]
pub struct Startup<'a> {
    /// Options as name and value; `CQL_VERSION` is mandatory.
    pub options: &'a [(&'a str, &'a str)],
}

impl EncodeRequest for Startup<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_request(version, 0, stream, Opcode::Startup, out, |out| {
            write_short_len("the startup options", self.options.len(), out)?;
            for (name, value) in self.options {
                write_string("a startup option", name, out)?;
                write_string("a startup option", value, out)?;
            }
            Ok(())
        })
    }
}

/// Sends credentials, or the next token of an authentication.
#[derive(Clone)]
pub struct AuthResponse<'a> {
    /// The token; what is in it depends on the authenticator.
    pub token: &'a [u8],
}

/// Says nothing about the token: it holds credentials.
impl fmt::Debug for AuthResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthResponse")
    }
}

impl EncodeRequest for AuthResponse<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_request(version, 0, stream, Opcode::AuthResponse, out, |out| {
            write_bytes("the authentication token", self.token, out)
        })
    }
}

/// Subscribes the connection to events.
#[derive(Clone, Copy, Debug)]
pub struct Register<'a> {
    /// Kinds to subscribe to.
    pub kinds: &'a [EventKind],
}

impl EncodeRequest for Register<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_request(version, 0, stream, Opcode::Register, out, |out| {
            write_short_len("the event kinds", self.kinds.len(), out)?;
            self.kinds.iter().try_for_each(|kind| write_string("an event kind", kind.name(), out))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_is_a_string_map() {
        let mut out = Vec::new();
        let options = [("CQL_VERSION", "3.0.0")];
        Startup { options: &options }.encode(ProtocolVersion::V4, 0, &mut out).unwrap();
        assert_eq!(out, b"\x04\0\0\0\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.0.0");
    }

    #[test]
    fn options_has_no_body() {
        let mut out = Vec::new();
        Options.encode(ProtocolVersion::V5, 1, &mut out).unwrap();
        assert_eq!(out, [5, 0, 0, 1, 5, 0, 0, 0, 0]);
    }

    #[test]
    fn register_lists_the_kinds_by_name() {
        let mut out = Vec::new();
        let kinds = [EventKind::StatusChange];
        Register { kinds: &kinds }.encode(ProtocolVersion::V3, 0, &mut out).unwrap();
        assert_eq!(&out[9..], b"\0\x01\0\x0dSTATUS_CHANGE");
    }
}
