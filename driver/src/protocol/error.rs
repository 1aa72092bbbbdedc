//! Why bytes are not a message, or a message cannot become bytes.

use std::fmt;

use super::ProtocolVersion;
use crate::value::BindError;

/// The bytes of a peer break the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A body ends before what it announces.
    UnexpectedEnd,
    /// A string is not UTF-8.
    InvalidText,
    /// A length or count is negative, or larger than its bytes justify.
    InvalidLength(i64),
    /// A header carries a version the connection did not agree on.
    UnexpectedVersion(u8),
    /// A header announces a request where a response must come.
    NotAResponse,
    /// A body is longer than the limit, in bytes.
    BodyTooLong {
        /// Length in the header.
        announced: usize,
        /// Longest length accepted.
        limit: usize,
    },
    /// A value of an enumeration is unknown, and without it the rest cannot be read.
    UnknownValue {
        /// The enumeration.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// Types are nested deeper than the driver follows.
    TypeTooDeep,
    /// A v5 segment header does not have the checksum it carries.
    HeaderChecksum,
    /// A v5 segment payload does not have the checksum it carries.
    PayloadChecksum,
    /// A v5 segment is inconsistent with its flags or with its envelopes.
    MalformedSegment,
    /// A body or segment cannot be decompressed.
    Decompression,
    /// A body is compressed although no compression was agreed on.
    UnexpectedCompression,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("the message ends too early"),
            Self::InvalidText => f.write_str("a string is not valid UTF-8"),
            Self::InvalidLength(len) => write!(f, "invalid length or count {len}"),
            Self::UnexpectedVersion(version) => write!(f, "unexpected protocol version {version}"),
            Self::NotAResponse => f.write_str("the server sent a request"),
            Self::BodyTooLong { announced, limit } => {
                write!(f, "a message of {announced} bytes exceeds the limit of {limit}")
            }
            Self::UnknownValue { what, value } => write!(f, "unknown {what} {value:#x}"),
            Self::TypeTooDeep => f.write_str("a type is nested too deeply"),
            Self::HeaderChecksum => f.write_str("a segment header is corrupt"),
            Self::PayloadChecksum => f.write_str("a segment payload is corrupt"),
            Self::MalformedSegment => f.write_str("a segment is malformed"),
            Self::Decompression => f.write_str("a message cannot be decompressed"),
            Self::UnexpectedCompression => f.write_str("a message is compressed though no compression was agreed on"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A request cannot be written. Nothing of it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The values do not fit the statement.
    Bind(Box<BindError>),
    /// A part is longer than its length field can say.
    TooLong {
        /// The part.
        what: &'static str,
        /// Its length or count.
        len: usize,
    },
    /// The agreed protocol version cannot express this.
    NotInVersion {
        /// What it cannot express.
        what: &'static str,
        /// The agreed version.
        version: ProtocolVersion,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(_) => f.write_str("the values do not fit the statement"),
            Self::TooLong { what, len } => write!(f, "{what} is too long for the protocol ({len})"),
            Self::NotInVersion { what, version } => {
                write!(f, "{what} cannot be expressed in protocol {version}: leave it out, or use a newer version")
            }
        }
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<BindError> for EncodeError {
    fn from(error: BindError) -> Self {
        Self::Bind(Box::new(error))
    }
}
