//! BATCH: several statements in one request.
//!
//! # Source
//!
//! Native protocol v5, section 4.1.7.

use super::statement::{
    FLAG_KEYSPACE, FLAG_NOW_IN_SECONDS, FLAG_SERIAL_CONSISTENCY, FLAG_TIMESTAMP, write_flags, write_trailer,
};
use super::{EncodeRequest, EnvelopeOptions, Values};
use crate::protocol::notation::{write_long_string, write_short_bytes, write_short_len};
use crate::protocol::{BatchType, Consistency, EncodeError, Opcode, ProtocolVersion, SerialConsistency};

/// Several statements that are run together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// What the server promises about them.
    pub batch_type: BatchType,
    /// The statements.
    pub entries: &'a [BatchEntry<'a>],
    /// Level the batch must reach.
    pub consistency: Consistency,
    /// Level of the conditions, if statements have any.
    pub serial_consistency: Option<SerialConsistency>,
    /// Timestamp of the writes in microseconds; the coordinator's clock if absent.
    pub timestamp: Option<i64>,
    /// Keyspace of the statements; v5 and later.
    pub keyspace: Option<&'a str>,
    /// The time the server takes for now, in seconds; v5 and later.
    pub now_in_seconds: Option<i32>,
    /// What to ask for in the envelope.
    pub options: EnvelopeOptions<'a>,
}

/// One statement of a batch and its values.
#[derive(Clone, Copy, Debug)]
pub struct BatchEntry<'a> {
    /// The statement.
    pub statement: BatchStatement<'a>,
    /// Values of its variables.
    pub values: Values<'a>,
}

/// A statement of a batch.
#[derive(Clone, Copy, Debug)]
pub enum BatchStatement<'a> {
    /// As CQL text.
    Text(&'a str),
    /// As the id of a prepared statement.
    Prepared(&'a [u8]),
}

impl EncodeRequest for Batch<'_> {
    fn encode(&self, version: ProtocolVersion, stream: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.options.write(version, stream, Opcode::Batch, out, |out| {
            out.push(self.batch_type.to_wire());
            write_short_len("the number of statements", self.entries.len(), out)?;
            for entry in self.entries {
                match entry.statement {
                    BatchStatement::Text(text) => {
                        out.push(0);
                        write_long_string("a statement", text, out)?;
                    }
                    BatchStatement::Prepared(id) => {
                        out.push(1);
                        write_short_bytes("a statement id", id, out)?;
                    }
                }
                entry.values.write(version, out)?;
            }
            out.extend_from_slice(&self.consistency.to_wire().to_be_bytes());
            let set = |flag: u32, is_set: bool| if is_set { flag } else { 0 };
            let flags = set(FLAG_SERIAL_CONSISTENCY, self.serial_consistency.is_some())
                | set(FLAG_TIMESTAMP, self.timestamp.is_some())
                | set(FLAG_KEYSPACE, self.keyspace.is_some())
                | set(FLAG_NOW_IN_SECONDS, self.now_in_seconds.is_some());
            write_flags(flags, version, out)?;
            write_trailer(self.serial_consistency, self.timestamp, self.keyspace, self.now_in_seconds, out)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_lists_its_statements_then_its_parameters() {
        let entries = [
            BatchEntry { statement: BatchStatement::Text("A"), values: Values::None },
            BatchEntry {
                statement: BatchStatement::Prepared(b"id"),
                values: Values::Encoded { count: 1, bytes: &[255; 4] },
            },
        ];
        let batch = Batch {
            batch_type: BatchType::Unlogged,
            entries: &entries,
            consistency: Consistency::Two,
            serial_consistency: None,
            timestamp: Some(1),
            keyspace: None,
            now_in_seconds: None,
            options: EnvelopeOptions::default(),
        };
        let mut out = Vec::new();
        batch.encode(ProtocolVersion::V4, 3, &mut out).unwrap();
        let expected: &[&[u8]] = &[
            b"\x04\0\0\x03\x0D\0\0\0\x26",
            b"\x01\0\x02",
            b"\0\0\0\0\x01A\0\0",
            b"\x01\0\x02id\0\x01\xFF\xFF\xFF\xFF",
            b"\0\x02\x20",
            b"\0\0\0\0\0\0\0\x01",
        ];
        let mut expected = expected.concat();
        expected[8] = u8::try_from(expected.len() - 9).unwrap();
        assert_eq!(out, expected);
    }
}
