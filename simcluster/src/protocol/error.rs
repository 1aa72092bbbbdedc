//! ERROR bodies: codes, Cassandra's texts, and how older versions are told of newer errors.
//!
//! # Source
//!
//! Native protocol v3, v4 and v5, section 9; texts and downgrades are Cassandra's `ErrorMessage`.

use super::message::{Consistency, ServerError, WriteType};
use super::notation::{int_len, put_inet_addr, put_short_bytes, put_string, put_string_list};
use bytes::{BufMut, BytesMut};
use std::fmt::Write;
use std::net::IpAddr;

impl ServerError {
    /// Its code on the wire.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Server(_) => 0x0000,
            Self::Protocol(_) => 0x000A,
            Self::BadCredentials(_) => 0x0100,
            Self::Unavailable { .. } => 0x1000,
            Self::Overloaded(_) => 0x1001,
            Self::IsBootstrapping => 0x1002,
            Self::Truncate(_) => 0x1003,
            Self::WriteTimeout { .. } => 0x1100,
            Self::ReadTimeout { .. } => 0x1200,
            Self::ReadFailure { .. } => 0x1300,
            Self::FunctionFailure { .. } => 0x1400,
            Self::WriteFailure { .. } => 0x1500,
            Self::CasWriteUnknown { .. } => 0x1700,
            Self::Syntax(_) => 0x2000,
            Self::Unauthorized(_) => 0x2100,
            Self::Invalid(_) => 0x2200,
            Self::Config(_) => 0x2300,
            Self::AlreadyExists { .. } => 0x2400,
            Self::Unprepared { .. } => 0x2500,
        }
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Server(text)
            | Self::Protocol(text)
            | Self::BadCredentials(text)
            | Self::Overloaded(text)
            | Self::Truncate(text)
            | Self::Syntax(text)
            | Self::Unauthorized(text)
            | Self::Invalid(text)
            | Self::Config(text) => text.clone(),
            Self::Unavailable { consistency, datacenter, .. } => {
                let place = datacenter.as_ref().map(|name| format!(" in DC {name}")).unwrap_or_default();
                format!("Cannot achieve consistency level {}{place}", consistency.name())
            }
            Self::IsBootstrapping => "Cannot read from a bootstrapping node".into(),
            Self::WriteTimeout {
                received,
                block_for,
                contentions: Some(contentions),
                write_type: WriteType::Cas,
                ..
            } => {
                format!(
                    "CAS operation timed out: received {received} of {block_for} required responses \
                     after {contentions} contention retries"
                )
            }
            Self::WriteTimeout { received, .. } | Self::ReadTimeout { received, .. } => {
                format!("Operation timed out - received only {received} responses.")
            }
            Self::ReadFailure { received, reasons, .. } | Self::WriteFailure { received, reasons, .. } => {
                failure_text(*received, reasons)
            }
            Self::FunctionFailure { message, .. } | Self::AlreadyExists { message, .. } => message.clone(),
            Self::CasWriteUnknown { received, .. } => {
                format!("CAS operation result is unknown - proposal accepted by {received} but not a quorum.")
            }
            Self::Unprepared { id } => {
                let id = id.iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                });
                format!(
                    "Prepared query with ID {id} not found (either the query was not prepared on this host (maybe the \
                     host has been restarted?) or you have prepared too many queries and it has been evicted from the \
                     internal cache)"
                )
            }
        }
    }

    /// The error that a client of `version` is told instead, if its version does not know this one.
    #[must_use]
    pub fn downgraded(self, version: u8) -> Self {
        match self {
            Self::ReadFailure { consistency, received, block_for, data_present, .. } if version < 4 => {
                Self::ReadTimeout { consistency, received, block_for, data_present }
            }
            Self::WriteFailure { consistency, received, block_for, write_type, .. } if version < 4 => {
                Self::WriteTimeout { consistency, received, block_for, write_type, contentions: None }
            }
            Self::FunctionFailure { message, .. } if version < 4 => Self::Invalid(message),
            Self::CasWriteUnknown { consistency, received, block_for } if version < 5 => {
                Self::WriteTimeout { consistency, received, block_for, write_type: WriteType::Cas, contentions: None }
            }
            other => other,
        }
    }
}

/// Writes the body of an ERROR for a client of `version`, which must know the error ([`ServerError::downgraded`]).
pub fn put_error(out: &mut BytesMut, error: &ServerError, version: u8) {
    out.put_i32(error.code());
    put_string(out, &error.message());
    match error {
        ServerError::Unavailable { consistency, required, alive, .. } => {
            put_counts(out, *consistency, *required, *alive);
        }
        ServerError::WriteTimeout { consistency, received, block_for, write_type, contentions } => {
            put_counts(out, *consistency, *received, *block_for);
            put_string(out, write_type.name());
            if let (Some(contentions), 5..) = (contentions, version) {
                out.put_u16(*contentions);
            }
        }
        ServerError::ReadTimeout { consistency, received, block_for, data_present } => {
            put_counts(out, *consistency, *received, *block_for);
            out.put_u8(u8::from(*data_present));
        }
        ServerError::ReadFailure { consistency, received, block_for, reasons, data_present } => {
            put_counts(out, *consistency, *received, *block_for);
            put_reasons(out, reasons, version);
            out.put_u8(u8::from(*data_present));
        }
        ServerError::WriteFailure { consistency, received, block_for, reasons, write_type } => {
            put_counts(out, *consistency, *received, *block_for);
            put_reasons(out, reasons, version);
            put_string(out, write_type.name());
        }
        ServerError::FunctionFailure { keyspace, function, arguments, .. } => {
            put_string(out, keyspace);
            put_string(out, function);
            put_string_list(out, arguments);
        }
        ServerError::CasWriteUnknown { consistency, received, block_for } => {
            put_counts(out, *consistency, *received, *block_for);
        }
        ServerError::AlreadyExists { keyspace, table, .. } => {
            put_string(out, keyspace);
            put_string(out, table);
        }
        ServerError::Unprepared { id } => put_short_bytes(out, id),
        ServerError::Server(_)
        | ServerError::Protocol(_)
        | ServerError::BadCredentials(_)
        | ServerError::Overloaded(_)
        | ServerError::IsBootstrapping
        | ServerError::Truncate(_)
        | ServerError::Syntax(_)
        | ServerError::Unauthorized(_)
        | ServerError::Invalid(_)
        | ServerError::Config(_) => {}
    }
}

fn put_counts(out: &mut BytesMut, consistency: Consistency, first: i32, second: i32) {
    out.put_u16(consistency.code());
    out.put_i32(first);
    out.put_i32(second);
}

/// v4 has the number of failures, v5 a map from endpoint to reason.
fn put_reasons(out: &mut BytesMut, reasons: &[(IpAddr, u16)], version: u8) {
    out.put_i32(int_len(reasons.len()));
    if version >= 5 {
        for (endpoint, reason) in reasons {
            put_inet_addr(out, *endpoint);
            out.put_u16(*reason);
        }
    }
}

fn failure_text(received: i32, reasons: &[(IpAddr, u16)]) -> String {
    let mut by_reason: Vec<(u16, Vec<String>)> = Vec::new();
    for (endpoint, reason) in reasons {
        let endpoint = format!("/{endpoint}:7000");
        match by_reason.iter_mut().find(|(known, _)| known == reason) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => by_reason.push((*reason, vec![endpoint])),
        }
    }
    let parts: Vec<String> =
        by_reason.iter().map(|(reason, ends)| format!("{} from {}", reason_name(*reason), ends.join(", "))).collect();
    format!("Operation failed - received {received} responses and {} failures: {}", reasons.len(), parts.join(", "))
}

fn reason_name(reason: u16) -> &'static str {
    match reason {
        1 => "READ_TOO_MANY_TOMBSTONES",
        2 => "TIMEOUT",
        3 => "INCOMPATIBLE_SCHEMA",
        4 => "READ_SIZE",
        5 => "NODE_DOWN",
        6 => "INDEX_NOT_AVAILABLE",
        7 => "READ_TOO_MANY_INDEXES",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn after_text(error: &ServerError, version: u8) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_error(&mut out, error, version);
        assert_eq!(&out[..4], &error.code().to_be_bytes());
        out[4 + 2 + error.message().len()..].to_vec()
    }

    #[test]
    fn failures_are_a_count_in_v4_and_a_map_in_v5() {
        let error = ServerError::ReadFailure {
            consistency: Consistency::Quorum,
            received: 1,
            block_for: 2,
            reasons: vec![(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 1)],
            data_present: true,
        };
        assert_eq!(after_text(&error, 4), [0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 1]);
        assert_eq!(after_text(&error, 5), [0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 4, 10, 0, 0, 2, 0, 1, 1]);
        assert_eq!(
            error.message(),
            "Operation failed - received 1 responses and 1 failures: READ_TOO_MANY_TOMBSTONES from /10.0.0.2:7000"
        );
    }

    #[test]
    fn contentions_are_told_in_v5_only() {
        let error = ServerError::WriteTimeout {
            consistency: Consistency::Serial,
            received: 0,
            block_for: 2,
            write_type: WriteType::Cas,
            contentions: Some(3),
        };
        let v4 = after_text(&error, 4);
        assert_eq!(v4, [0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, b'C', b'A', b'S']);
        assert_eq!(after_text(&error, 5), [&v4[..], &[0, 3]].concat());
    }

    #[test]
    fn older_clients_are_told_of_newer_errors_in_their_own_words() {
        let unknown = ServerError::CasWriteUnknown { consistency: Consistency::Serial, received: 1, block_for: 2 };
        assert!(matches!(
            unknown.clone().downgraded(4),
            ServerError::WriteTimeout { write_type: WriteType::Cas, received: 1, .. }
        ));
        assert_eq!(unknown.clone().downgraded(5), unknown);
        let failure = ServerError::WriteFailure {
            consistency: Consistency::One,
            received: 0,
            block_for: 1,
            reasons: vec![],
            write_type: WriteType::Simple,
        };
        assert!(matches!(failure.clone().downgraded(3), ServerError::WriteTimeout { .. }));
        assert_eq!(failure.clone().downgraded(4), failure);
    }

    #[test]
    fn unavailable_in_a_data_centre_names_it() {
        let error = ServerError::Unavailable {
            consistency: Consistency::EachQuorum,
            required: 2,
            alive: 1,
            datacenter: Some("dc2".into()),
        };
        assert_eq!(error.message(), "Cannot achieve consistency level EACH_QUORUM in DC dc2");
    }
}
