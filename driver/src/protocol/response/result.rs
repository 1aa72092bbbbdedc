//! RESULT: the outcome of a statement.
//!
//! # Source
//!
//! Native protocol v5, section 4.2.5.

use std::sync::Arc;

use bytes::Bytes;

use super::event::SchemaChange;
use super::metadata::{KnownColumns, ResultMetadata, decode_variables};
use crate::protocol::notation::Reader;
use crate::protocol::{DecodeError, ProtocolVersion};
use crate::value::ColumnSpec;

/// The outcome of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultBody {
    /// Done, and there is nothing to say about it.
    Void,
    /// Rows, or the outcome of a conditional write.
    Rows(Rows),
    /// The connection's keyspace is now this one.
    SetKeyspace(String),
    /// The statement was prepared.
    Prepared(Box<Prepared>),
    /// The schema changed.
    SchemaChange(Box<SchemaChange>),
}

/// A page of rows. Their cells are not looked at until they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Columns and paging.
    pub metadata: ResultMetadata,
    /// How many rows there are.
    pub row_count: usize,
    /// The cells, row after row, each a `[bytes]`. Read them with `RowIterator`.
    pub content: Bytes,
}

/// What the server knows about a prepared statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Id of the statement.
    pub id: Bytes,
    /// Id of its result columns; v5 only.
    pub result_metadata_id: Option<Bytes>,
    /// Its variables.
    pub variables: Arc<[ColumnSpec]>,
    /// Which variables form the partition key, in the order of the key. Empty if they do not
    /// cover it, and always in v3.
    pub partition_key: Vec<u16>,
    /// Its result columns; none if it is not a SELECT.
    pub result: ResultMetadata,
    /// The result columns with their bytes, for [`super::Response::decode_knowing`].
    pub known_columns: Option<KnownColumns>,
}

impl ResultBody {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        known: Option<&KnownColumns>,
    ) -> Result<Self, DecodeError> {
        match reader.int()? {
            1 => Ok(Self::Void),
            2 => Rows::decode(reader, version, known).map(Self::Rows),
            3 => Ok(Self::SetKeyspace(reader.string()?.to_owned())),
            4 => Prepared::decode(reader, version).map(|prepared| Self::Prepared(Box::new(prepared))),
            5 => SchemaChange::decode(reader).map(|change| Self::SchemaChange(Box::new(change))),
            other => Err(DecodeError::UnknownValue { what: "result kind", value: other.into() }),
        }
    }
}

impl Rows {
    /// Reads what comes before the content, which whoever owns the body adds.
    fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        known: Option<&KnownColumns>,
    ) -> Result<Self, DecodeError> {
        let metadata = ResultMetadata::decode(reader, version, known)?;
        const CELL_LEN_MIN: usize = 4;
        let row_len_min = metadata.column_count.saturating_mul(CELL_LEN_MIN);
        let row_count = reader.count(row_len_min)?;
        Ok(Self { metadata, row_count, content: Bytes::new() })
    }
}

impl Prepared {
    fn decode(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        // Copied: these live as long as the statement, the read buffer must not.
        let id = Bytes::copy_from_slice(reader.short_bytes()?);
        let result_metadata_id =
            if version >= ProtocolVersion::V5 { Some(Bytes::copy_from_slice(reader.short_bytes()?)) } else { None };
        let (variables, partition_key) = decode_variables(reader, version)?;
        let start = *reader;
        let result = ResultMetadata::decode(reader, version, None)?;
        let known_columns = KnownColumns::new(start, &result, version);
        Ok(Self { id, result_metadata_id, variables, partition_key, result, known_columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Opcode;
    use crate::protocol::response::{Message, Response};
    use crate::value::RowIterator;

    fn result(version: ProtocolVersion, body: Bytes, known: Option<&KnownColumns>) -> Result<ResultBody, DecodeError> {
        let response = Response { version, flags: 0, opcode: Opcode::Result, body };
        let Message::Result(body) = response.decode_knowing(known)?.message else { panic!() };
        Ok(body)
    }

    fn decoded(version: ProtocolVersion, body: &'static [u8]) -> Result<ResultBody, DecodeError> {
        result(version, Bytes::from_static(body), None)
    }

    #[test]
    fn rows_are_read_through_their_columns() {
        let body = b"\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x01k\0\x01t\0\x02id\0\x09\
            \0\0\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x04\0\0\0\x08";
        let ResultBody::Rows(rows) = decoded(ProtocolVersion::V4, body).unwrap() else { panic!() };
        let columns = rows.metadata.columns.unwrap();
        let values = RowIterator::<(i32,)>::new(&columns, &rows.content, rows.row_count).unwrap();
        assert_eq!(values.map(Result::unwrap).collect::<Vec<_>>(), [(7,), (8,)]);
    }

    #[test]
    fn a_row_count_beyond_the_bytes_is_refused() {
        let body = b"\0\0\0\x02\0\0\0\x04\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(decoded(ProtocolVersion::V4, body), Err(DecodeError::InvalidLength(2)));
    }

    #[test]
    fn version_5_adds_the_metadata_id_to_a_prepared_statement() {
        let v4 = b"\0\0\0\x04\0\x02id\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01k\0\x01t\0\x01a\0\x09\0\0\0\x04\0\0\0\0";
        let ResultBody::Prepared(prepared) = decoded(ProtocolVersion::V4, v4).unwrap() else { panic!() };
        assert_eq!((&prepared.id[..], prepared.partition_key.as_slice()), (&b"id"[..], &[0][..]));
        assert_eq!(prepared.result_metadata_id, None);
        let v5 = b"\0\0\0\x04\0\x02id\0\x01m\0\0\0\x01\0\0\0\x01\0\0\0\0\0\x01k\0\x01t\0\x01a\0\x09\0\0\0\x04\0\0\0\0";
        let ResultBody::Prepared(prepared) = decoded(ProtocolVersion::V5, v5).unwrap() else { panic!() };
        assert_eq!(prepared.result_metadata_id.as_deref(), Some(&b"m"[..]));
    }

    #[test]
    fn known_columns_are_shared_only_with_answers_that_describe_the_same() {
        let columns = b"\0\x01k\0\x01t\0\x02id\0\x09";
        let prepared = [b"\0\0\0\x04\0\x01i\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01", &columns[..]].concat();
        let prepared = result(ProtocolVersion::V4, Bytes::from(prepared), None).unwrap();
        let ResultBody::Prepared(prepared) = prepared else { panic!() };
        let known = prepared.known_columns.unwrap();
        let rows = |columns: &[u8]| {
            let body = [b"\0\0\0\x02\0\0\0\x01\0\0\0\x01", columns, b"\0\0\0\x01\0\0\0\x04\0\0\0\x07"].concat();
            let decoded = result(ProtocolVersion::V4, Bytes::from(body), Some(&known));
            let ResultBody::Rows(rows) = decoded.unwrap() else { panic!() };
            assert_eq!(&rows.content[..], b"\0\0\0\x04\0\0\0\x07");
            rows.metadata.columns.unwrap()
        };
        assert!(Arc::ptr_eq(&rows(columns), prepared.result.columns.as_ref().unwrap()));
        let renamed = rows(b"\0\x01k\0\x01t\0\x02no\0\x09");
        assert_eq!(&*renamed[0].name, "no");
    }
}
