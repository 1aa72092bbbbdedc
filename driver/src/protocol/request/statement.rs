//! QUERY, PREPARE, EXECUTE and the parameters the first and the last share.
//!
//! # Source
//!
//! Native protocol v5, sections 4.1.4 to 4.1.6; v4 for the flags of one byte.

use std::fmt;

use super::{EncodeRequest, EnvelopeOptions};
use crate::protocol::notation::{write_bytes, write_long_string, write_short_bytes, write_short_len, write_string};
use crate::protocol::{Consistency, EncodeError, Opcode, ProtocolVersion, SerialConsistency};
use crate::value::{BindValues, BindWriter, ColumnSpec};

/// Values for the variables of a statement.
#[derive(Clone, Copy, Default)]
pub enum Values<'a> {
    /// The statement has no variables.
    #[default]
    None,
    /// Already written as `[value]`s.
    Encoded {
        /// How many.
        count: u16,
        /// The `[value]`s, one after the other.
        bytes: &'a [u8],
    },
    /// To be written straight into the write buffer.
    Bind {
        /// The statement's variables.
        variables: &'a [ColumnSpec],
        /// Their values.
        values: &'a (dyn BindValues + Sync),
    },
}

/// Says nothing about the values: they belong to the application.
impl fmt::Debug for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values", self.count())
    }
}

impl Values<'_> {
    /// How many values there are.
    pub fn count(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Encoded { count, .. } => usize::from(*count),
            Self::Bind { variables, .. } => variables.len(),
        }
    }

    /// Appends the count and the values.
    pub(super) fn write(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_short_len("the number of values", self.count(), out)?;
        match self {
            Self::None => Ok(()),
            Self::Encoded { bytes, .. } => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::Bind { variables, values } => write_bound(variables, *values, version, out),
        }
    }
}

fn write_bound(
    variables: &[ColumnSpec],
    values: &(dyn BindValues + Sync),
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut writer = BindWriter::new(variables, version >= ProtocolVersion::V4, out);
    values.bind(&mut writer)?;
    Ok(writer.finish()?)
}

/// Parameters of QUERY and EXECUTE.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// Level the statement must reach.
    pub consistency: Consistency,
    /// Level of a conditional statement's condition; the server's default is `Serial`.
    pub serial_consistency: Option<SerialConsistency>,
    /// Values of the variables.
    pub values: Values<'a>,
    /// Leave the columns out of the answer: the driver knows them from the PREPARE.
    pub skip_metadata: bool,
    /// Rows per page; all rows in one answer if absent.
    pub page_size: Option<i32>,
    /// Where the previous page ended.
    pub paging_state: Option<&'a [u8]>,
    /// Timestamp of the write in microseconds; the coordinator's clock if absent.
    pub timestamp: Option<i64>,
    /// Keyspace of the statement; v5 and later.
    pub keyspace: Option<&'a str>,
    /// The time the server takes for now, in seconds; v5 and later.
    pub now_in_seconds: Option<i32>,
}

impl Default for Parameters<'_> {
    fn default() -> Self {
        Self {
            consistency: Consistency::LocalOne,
            serial_consistency: None,
            values: Values::None,
            skip_metadata: false,
            page_size: None,
            paging_state: None,
            timestamp: None,
            keyspace: None,
            now_in_seconds: None,
        }
    }
}

pub(super) const FLAG_VALUES: u32 = 0x01;
pub(super) const FLAG_SKIP_METADATA: u32 = 0x02;
pub(super) const FLAG_PAGE_SIZE: u32 = 0x04;
pub(super) const FLAG_PAGING_STATE: u32 = 0x08;
pub(super) const FLAG_SERIAL_CONSISTENCY: u32 = 0x10;
pub(super) const FLAG_TIMESTAMP: u32 = 0x20;
pub(super) const FLAG_KEYSPACE: u32 = 0x80;
pub(super) const FLAG_NOW_IN_SECONDS: u32 = 0x100;

impl Parameters<'_> {
    fn write(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.consistency.to_wire().to_be_bytes());
        let set = |flag: u32, is_set: bool| if is_set { flag } else { 0 };
        let has_values = self.values.count() > 0 || matches!(self.values, Values::Bind { .. });
        let flags = set(FLAG_VALUES, has_values)
            | set(FLAG_SKIP_METADATA, self.skip_metadata)
            | set(FLAG_PAGE_SIZE, self.page_size.is_some())
            | set(FLAG_PAGING_STATE, self.paging_state.is_some())
            | set(FLAG_SERIAL_CONSISTENCY, self.serial_consistency.is_some())
            | set(FLAG_TIMESTAMP, self.timestamp.is_some())
            | set(FLAG_KEYSPACE, self.keyspace.is_some())
            | set(FLAG_NOW_IN_SECONDS, self.now_in_seconds.is_some());
        write_flags(flags, version, out)?;
        if has_values {
            self.values.write(version, out)?;
        }
        if let Some(rows) = self.page_size {
            out.extend_from_slice(&rows.to_be_bytes());
        }
        if let Some(state) = self.paging_state {
            write_bytes("the paging state", state, out)?;
        }
        write_trailer(self.serial_consistency, self.timestamp, self.keyspace, self.now_in_seconds, out)
    }
}

/// Appends query flags: one byte before v5, four since.
pub(super) fn write_flags(flags: u32, version: ProtocolVersion, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if version >= ProtocolVersion::V5 {
        out.extend_from_slice(&flags.to_be_bytes());
        return Ok(());
    }
    if flags & FLAG_KEYSPACE != 0 {
        return Err(EncodeError::NotInVersion { what: "a keyspace per statement", version });
    }
    let Ok(byte) = u8::try_from(flags) else {
        return Err(EncodeError::NotInVersion { what: "the current time of a statement", version });
    };
    out.push(byte);
    Ok(())
}

/// Appends what QUERY, EXECUTE and BATCH end with.
pub(super) fn write_trailer(
    serial_consistency: Option<SerialConsistency>,
    timestamp: Option<i64>,
    keyspace: Option<&str>,
    now_in_seconds: Option<i32>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if let Some(serial) = serial_consistency {
        out.extend_from_slice(&Consistency::from(serial).to_wire().to_be_bytes());
    }
    if let Some(micros) = timestamp {
        out.extend_from_slice(&micros.to_be_bytes());
    }
    if let Some(keyspace) = keyspace {
        write_string("the keyspace", keyspace, out)?;
    }
    if let Some(now) = now_in_seconds {
        out.extend_from_slice(&now.to_be_bytes());
    }
    Ok(())
}

/// Runs a statement given as text.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The CQL text.
    pub text: &'a str,
    /// Its parameters.
    pub parameters: Parameters<'a>,
    /// What to ask for in the envelope.
    pub options: EnvelopeOptions<'a>,
}

impl EncodeRequest for Query<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.options.write(version, stream, Opcode::Query, out, |out| {
            write_long_string("the statement", self.text, out)?;
            self.parameters.write(version, out)
        })
    }
}

/// Has a statement parsed and kept by the server.
#[derive(Clone, Copy, Debug)]
pub struct Prepare<'a> {
    /// The CQL text.
    pub text: &'a str,
    /// Keyspace of the statement; v5 and later.
    pub keyspace: Option<&'a str>,
    /// What to ask for in the envelope.
    pub options: EnvelopeOptions<'a>,
}

impl EncodeRequest for Prepare<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        const FLAG_PREPARE_KEYSPACE: u32 = 0x01;
        self.options.write(version, stream, Opcode::Prepare, out, |out| {
            write_long_string("the statement", self.text, out)?;
            match self.keyspace {
                Some(_) if version < ProtocolVersion::V5 => {
                    Err(EncodeError::NotInVersion { what: "a keyspace per statement", version })
                }
                Some(keyspace) => {
                    out.extend_from_slice(&FLAG_PREPARE_KEYSPACE.to_be_bytes());
                    write_string("the keyspace", keyspace, out)
                }
                None if version >= ProtocolVersion::V5 => {
                    out.extend_from_slice(&[0; 4]);
                    Ok(())
                }
                None => Ok(()),
            }
        })
    }
}

/// Runs a prepared statement.
#[derive(Clone, Copy, Debug)]
pub struct Execute<'a> {
    /// The statement's id from its PREPARE.
    pub id: &'a [u8],
    /// The id of its result columns, which v5 and later must send.
    pub result_metadata_id: Option<&'a [u8]>,
    /// Its parameters.
    pub parameters: Parameters<'a>,
    /// What to ask for in the envelope.
    pub options: EnvelopeOptions<'a>,
}

impl EncodeRequest for Execute<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.options.write(version, stream, Opcode::Execute, out, |out| {
            write_short_bytes("the statement id", self.id, out)?;
            if version >= ProtocolVersion::V5 {
                write_short_bytes("the metadata id", self.result_metadata_id.unwrap_or_default(), out)?;
            }
            self.parameters.write(version, out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::NativeType;

    fn body(request: &dyn EncodeRequest, version: ProtocolVersion) -> Vec<u8> {
        let mut out = Vec::new();
        request.encode(version, 1, &mut out).unwrap();
        out.split_off(9)
    }

    fn variables() -> [ColumnSpec; 1] {
        [ColumnSpec { keyspace: "a".into(), table: "t".into(), name: "id".into(), cql_type: NativeType::Int.into() }]
    }

    #[test]
    fn a_query_is_its_text_level_and_flags() {
        let parameters = Parameters { consistency: Consistency::Quorum, ..Parameters::default() };
        let query = Query { text: "SELECT", parameters, options: EnvelopeOptions::default() };
        assert_eq!(body(&query, ProtocolVersion::V4), b"\0\0\0\x06SELECT\0\x04\0");
        assert_eq!(body(&query, ProtocolVersion::V5), b"\0\0\0\x06SELECT\0\x04\0\0\0\0");
    }

    #[test]
    fn all_parameters_follow_the_flags_in_order() {
        let parameters = Parameters {
            consistency: Consistency::One,
            serial_consistency: Some(SerialConsistency::LocalSerial),
            values: Values::Encoded { count: 1, bytes: &[0, 0, 0, 1, 7] },
            skip_metadata: true,
            page_size: Some(100),
            paging_state: Some(b"ps"),
            timestamp: Some(5),
            keyspace: Some("ks"),
            now_in_seconds: Some(9),
        };
        let execute =
            Execute { id: b"id", result_metadata_id: Some(b"m"), parameters, options: EnvelopeOptions::default() };
        let expected: &[&[u8]] = &[
            b"\0\x02id\0\x01m",
            b"\0\x01",
            b"\0\0\x01\xBF",
            b"\0\x01\0\0\0\x01\x07",
            b"\0\0\0\x64",
            b"\0\0\0\x02ps",
            b"\0\x09",
            b"\0\0\0\0\0\0\0\x05",
            b"\0\x02ks",
            b"\0\0\0\x09",
        ];
        assert_eq!(body(&execute, ProtocolVersion::V5), expected.concat());
    }

    #[test]
    fn bound_values_land_in_the_envelope() {
        let variables = variables();
        let parameters =
            Parameters { values: Values::Bind { variables: &variables, values: &(7,) }, ..Parameters::default() };
        let execute = Execute { id: b"i", result_metadata_id: None, parameters, options: EnvelopeOptions::default() };
        let expected = b"\0\x01i\0\x0A\x01\0\x01\0\0\0\x04\0\0\0\x07";
        assert_eq!(body(&execute, ProtocolVersion::V4), expected);
    }

    #[test]
    fn values_that_do_not_fit_are_an_encoding_error() {
        let variables = variables();
        let parameters =
            Parameters { values: Values::Bind { variables: &variables, values: &("text",) }, ..Parameters::default() };
        let query = Query { text: "", parameters, options: EnvelopeOptions::default() };
        let error = query.encode(ProtocolVersion::V4, 0, &mut Vec::new()).expect_err("text for int");
        assert!(matches!(error, EncodeError::Bind(_)), "{error}");
    }

    #[test]
    fn what_a_version_lacks_is_refused() {
        let keyspace = Parameters { keyspace: Some("ks"), ..Parameters::default() };
        let now = Parameters { now_in_seconds: Some(1), ..Parameters::default() };
        for parameters in [keyspace, now] {
            let query = Query { text: "", parameters, options: EnvelopeOptions::default() };
            assert!(query.encode(ProtocolVersion::V4, 0, &mut Vec::new()).is_err());
            assert!(query.encode(ProtocolVersion::V5, 0, &mut Vec::new()).is_ok());
        }
        let payload = [("k".to_owned(), bytes::Bytes::new())].into();
        let options = EnvelopeOptions { tracing: false, custom_payload: Some(&payload) };
        let prepare = Prepare { text: "", keyspace: None, options };
        assert!(prepare.encode(ProtocolVersion::V3, 0, &mut Vec::new()).is_err());
        assert!(prepare.encode(ProtocolVersion::V4, 0, &mut Vec::new()).is_ok());
    }
}
