//! ERROR: why the server did not do what was asked.
//!
//! # Source
//!
//! Native protocol v5, section 9.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;

use crate::protocol::notation::Reader;
use crate::protocol::{Consistency, DecodeError, ProtocolVersion, WriteType};

/// An error of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// What went wrong.
    pub kind: ServerErrorKind,
    /// The server's own words.
    pub message: String,
}

/// What went wrong on the server, with what it says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrorKind {
    /// 0x0000: a bug or an unexpected state of the server.
    ServerError,
    /// 0x000A: the driver broke the protocol, or the server does not speak the version.
    Protocol,
    /// 0x0100: wrong credentials.
    BadCredentials,
    /// 0x1000: too few replicas are alive; nothing was tried.
    Unavailable {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas the level needs.
        required: i32,
        /// Replicas the coordinator believes alive.
        alive: i32,
    },
    /// 0x1001: the coordinator has too much to do.
    Overloaded,
    /// 0x1002: the coordinator is still joining the ring.
    IsBootstrapping,
    /// 0x1003: a TRUNCATE failed.
    Truncate,
    /// 0x1100: too few replicas acknowledged a write in time. It may take effect nevertheless.
    WriteTimeout {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas that acknowledged.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// What was written.
        write_type: WriteType,
        /// How often Paxos met competition; v5 and write type `Cas` only.
        contentions: Option<u16>,
    },
    /// 0x1200: too few replicas answered a read in time.
    ReadTimeout {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Whether the one asked for the data is among them.
        data_present: bool,
    },
    /// 0x1300: replicas failed while reading.
    ReadFailure {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas that answered.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Replicas that failed.
        failures: i32,
        /// Which ones and why; v5 only.
        reasons: Vec<FailureReason>,
        /// Whether the one asked for the data answered.
        data_present: bool,
    },
    /// 0x1400: a user-defined function failed.
    FunctionFailure {
        /// Its keyspace.
        keyspace: String,
        /// Its name.
        function: String,
        /// Types of its arguments.
        argument_types: Vec<String>,
    },
    /// 0x1500: replicas failed while writing. It may take effect on others nevertheless.
    WriteFailure {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas that acknowledged.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
        /// Replicas that failed.
        failures: i32,
        /// Which ones and why; v5 only.
        reasons: Vec<FailureReason>,
        /// What was written.
        write_type: WriteType,
    },
    /// 0x1600: the space for change data capture is full.
    CdcWriteFailure,
    /// 0x1700: it is unknown whether a conditional write took effect.
    CasWriteUnknown {
        /// Level asked for.
        consistency: Consistency,
        /// Replicas that accepted.
        received: i32,
        /// Replicas the level needs.
        block_for: i32,
    },
    /// 0x2000: the statement is not CQL.
    Syntax,
    /// 0x2100: the user must not do this.
    Unauthorized,
    /// 0x2200: the statement cannot be run.
    Invalid,
    /// 0x2300: a configuration problem.
    Config,
    /// 0x2400: what should be created exists.
    AlreadyExists {
        /// The keyspace.
        keyspace: String,
        /// The table; empty if the keyspace itself exists.
        table: String,
    },
    /// 0x2500: the coordinator does not know the prepared statement.
    Unprepared {
        /// Id of the statement.
        id: Bytes,
    },
    /// A code this driver does not know.
    Other(i32),
}

/// Why one replica failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReason {
    /// The replica.
    pub replica: IpAddr,
    /// The server's reason code; 0 is unknown, 1 is too many tombstones.
    pub code: u16,
}

impl ServerErrorKind {
    /// The code on the wire.
    pub fn code(&self) -> i32 {
        match self {
            Self::ServerError => 0x0000,
            Self::Protocol => 0x000A,
            Self::BadCredentials => 0x0100,
            Self::Unavailable { .. } => 0x1000,
            Self::Overloaded => 0x1001,
            Self::IsBootstrapping => 0x1002,
            Self::Truncate => 0x1003,
            Self::WriteTimeout { .. } => 0x1100,
            Self::ReadTimeout { .. } => 0x1200,
            Self::ReadFailure { .. } => 0x1300,
            Self::FunctionFailure { .. } => 0x1400,
            Self::WriteFailure { .. } => 0x1500,
            Self::CdcWriteFailure => 0x1600,
            Self::CasWriteUnknown { .. } => 0x1700,
            Self::Syntax => 0x2000,
            Self::Unauthorized => 0x2100,
            Self::Invalid => 0x2200,
            Self::Config => 0x2300,
            Self::AlreadyExists { .. } => 0x2400,
            Self::Unprepared { .. } => 0x2500,
            Self::Other(code) => *code,
        }
    }
}

impl ServerError {
    pub(super) fn decode(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let code = reader.int()?;
        let message = reader.string()?.to_owned();
        let kind = decode_kind(code, reader, version)?;
        Ok(Self { kind, message })
    }
}

fn decode_kind(code: i32, reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<ServerErrorKind, DecodeError> {
    use ServerErrorKind as K;
    Ok(match code {
        0x0000 => K::ServerError,
        0x000A => K::Protocol,
        0x0100 => K::BadCredentials,
        0x1000 => K::Unavailable { consistency: reader.consistency()?, required: reader.int()?, alive: reader.int()? },
        0x1001 => K::Overloaded,
        0x1002 => K::IsBootstrapping,
        0x1003 => K::Truncate,
        0x1100 => {
            let (consistency, received, block_for) = progress(reader)?;
            let write_type = WriteType::from_wire(reader.string()?);
            let counts = version >= ProtocolVersion::V5 && write_type == WriteType::Cas;
            let contentions = if counts { Some(reader.short()?) } else { None };
            K::WriteTimeout { consistency, received, block_for, write_type, contentions }
        }
        0x1200 => {
            let (consistency, received, block_for) = progress(reader)?;
            K::ReadTimeout { consistency, received, block_for, data_present: reader.byte()? != 0 }
        }
        0x1300 => {
            let (consistency, received, block_for) = progress(reader)?;
            let (failures, reasons) = failures(reader, version)?;
            let data_present = reader.byte()? != 0;
            K::ReadFailure { consistency, received, block_for, failures, reasons, data_present }
        }
        0x1400 => K::FunctionFailure {
            keyspace: reader.string()?.to_owned(),
            function: reader.string()?.to_owned(),
            argument_types: reader.string_list()?,
        },
        0x1500 => {
            let (consistency, received, block_for) = progress(reader)?;
            let (failures, reasons) = failures(reader, version)?;
            let write_type = WriteType::from_wire(reader.string()?);
            K::WriteFailure { consistency, received, block_for, failures, reasons, write_type }
        }
        0x1600 => K::CdcWriteFailure,
        0x1700 => {
            let (consistency, received, block_for) = progress(reader)?;
            K::CasWriteUnknown { consistency, received, block_for }
        }
        0x2000 => K::Syntax,
        0x2100 => K::Unauthorized,
        0x2200 => K::Invalid,
        0x2300 => K::Config,
        0x2400 => K::AlreadyExists { keyspace: reader.string()?.to_owned(), table: reader.string()?.to_owned() },
        0x2500 => K::Unprepared { id: Bytes::copy_from_slice(reader.short_bytes()?) },
        other => K::Other(other),
    })
}

fn progress(reader: &mut Reader<'_>) -> Result<(Consistency, i32, i32), DecodeError> {
    Ok((reader.consistency()?, reader.int()?, reader.int()?))
}

/// A number of failures; since v5 with the address and reason of each.
fn failures(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<(i32, Vec<FailureReason>), DecodeError> {
    const REASON_LEN_MIN: usize = 7;
    if version < ProtocolVersion::V5 {
        return Ok((reader.int()?, Vec::new()));
    }
    let count = reader.count(REASON_LEN_MIN)?;
    let reasons = (0..count)
        .map(|_| Ok(FailureReason { replica: reader.inet_address()?, code: reader.short()? }))
        .collect::<Result<Vec<_>, DecodeError>>()?;
    Ok((i32::try_from(count).unwrap_or(i32::MAX), reasons))
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {:#06x})", self.message, self.kind.code())
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(version: ProtocolVersion, code: i32, rest: &[u8]) -> Result<ServerError, DecodeError> {
        let body = [&code.to_be_bytes()[..], b"\0\x03why", rest].concat();
        ServerError::decode(&mut Reader::new(&body), version)
    }

    #[test]
    fn every_code_is_decoded_to_the_kind_that_has_it() {
        let rest = b"\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\0\0\0";
        let codes = [
            0x0000, 0x000A, 0x0100, 0x1000, 0x1001, 0x1002, 0x1003, 0x1100, 0x1200, 0x1300, 0x1500, 0x1600, 0x1700,
            0x2000, 0x2100, 0x2200, 0x2300, 0x2400, 0x2500, 0x7777,
        ];
        for code in codes {
            let error = decoded(ProtocolVersion::V4, code, rest).unwrap();
            assert_eq!((error.kind.code(), error.message.as_str()), (code, "why"));
        }
    }

    #[test]
    fn an_unknown_code_keeps_its_number_and_message() {
        assert_eq!(decoded(ProtocolVersion::V4, 0x8000, b"x").unwrap().kind, ServerErrorKind::Other(0x8000));
    }

    #[test]
    fn failures_carry_reasons_since_version_5() {
        let v5 = b"\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\x01\x04\x0A\0\0\x01\0\x01\0\x06SIMPLE";
        let error = decoded(ProtocolVersion::V5, 0x1500, v5).unwrap();
        let ServerErrorKind::WriteFailure { failures, reasons, write_type, .. } = error.kind else { panic!("{error}") };
        assert_eq!((failures, write_type), (1, WriteType::Simple));
        assert_eq!(reasons, [FailureReason { replica: IpAddr::from([10, 0, 0, 1]), code: 1 }]);
    }

    #[test]
    fn contentions_belong_to_conditional_writes_since_version_5() {
        let rest = b"\0\x08\0\0\0\x01\0\0\0\x02\0\x03CAS\0\x05";
        for (version, expected) in [(ProtocolVersion::V4, None), (ProtocolVersion::V5, Some(5))] {
            let error = decoded(version, 0x1100, rest).unwrap();
            let ServerErrorKind::WriteTimeout { contentions, .. } = error.kind else { panic!("{error}") };
            assert_eq!(contentions, expected);
        }
    }
}
