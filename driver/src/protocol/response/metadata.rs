//! Metadata of a result: its columns and where its page ends.
//!
//! # Source
//!
//! Native protocol v5, section 4.2.5.2.

use std::sync::Arc;

use bytes::Bytes;

use super::custom_type::parse_custom;
use crate::protocol::notation::Reader;
use crate::protocol::{DecodeError, ProtocolVersion};
use crate::value::{ColumnSpec, CqlType, NativeType, UserType};

/// What a result says about its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultMetadata {
    /// How many columns each row has.
    pub column_count: usize,
    /// The columns; absent if the request asked to leave them out.
    pub columns: Option<Arc<[ColumnSpec]>>,
    /// What few answers have; apart, so that the others stay small.
    pub extras: Option<Box<MetadataExtras>>,
}

/// What only pages and changed statements say. Copied: both outlive the page, its buffer must not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataExtras {
    /// Where the next page starts; absent on the last page.
    pub paging_state: Option<Bytes>,
    /// The new id of the statement's columns, if they changed since it was prepared; v5 only.
    pub new_metadata_id: Option<Bytes>,
}

impl ResultMetadata {
    /// Where the next page starts; `None` on the last page.
    pub fn paging_state(&self) -> Option<&Bytes> {
        self.extras.as_ref()?.paging_state.as_ref()
    }

    /// The new id of the statement's columns, if they changed since it was prepared; v5 only.
    pub fn new_metadata_id(&self) -> Option<&Bytes> {
        self.extras.as_ref()?.new_metadata_id.as_ref()
    }
}

const FLAG_GLOBAL_TABLE: i32 = 0x01;
const FLAG_MORE_PAGES: i32 = 0x02;
const FLAG_NO_METADATA: i32 = 0x04;
const FLAG_METADATA_CHANGED: i32 = 0x08;

/// Deepest nesting of types that is followed; the server's own limit is far lower.
const TYPE_DEPTH_MAX: usize = 32;

impl ResultMetadata {
    pub(super) fn decode(
        reader: &mut Reader<'_>,
        version: ProtocolVersion,
        known: Option<&KnownColumns>,
    ) -> Result<Self, DecodeError> {
        let flags = reader.int()?;
        let raw_count = reader.int()?;
        let column_count = usize::try_from(raw_count).map_err(|_| DecodeError::InvalidLength(raw_count.into()))?;
        let paging_state = if flags & FLAG_MORE_PAGES != 0 { reader.bytes()? } else { None };
        let changed = version >= ProtocolVersion::V5 && flags & FLAG_METADATA_CHANGED != 0;
        let new_metadata_id = if changed { Some(reader.short_bytes()?) } else { None };
        let columns = if flags & FLAG_NO_METADATA != 0 {
            None
        } else if let Some(columns) = known.and_then(|known| known.recognise(reader, flags, column_count)) {
            Some(columns)
        } else {
            Some(decode_columns(reader, flags, column_count)?)
        };
        let extras = (paging_state.is_some() || new_metadata_id.is_some()).then(|| {
            Box::new(MetadataExtras {
                paging_state: paging_state.map(Bytes::copy_from_slice),
                new_metadata_id: new_metadata_id.map(Bytes::copy_from_slice),
            })
        });
        Ok(Self { column_count, columns, extras })
    }
}

/// Columns with the bytes they were decoded from. A server that describes them again, as it must before v5, sends the
/// same bytes, and comparing those is cheaper than decoding them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownColumns {
    is_global_table: bool,
    encoded: Box<[u8]>,
    columns: Arc<[ColumnSpec]>,
}

impl KnownColumns {
    /// Remembers the columns of `result`, which was decoded from `start` on; `None` if it has none.
    pub(super) fn new(start: Reader<'_>, result: &ResultMetadata, version: ProtocolVersion) -> Option<Self> {
        let columns = result.columns.as_ref().filter(|columns| !columns.is_empty())?;
        let mut reader = start;
        let flags = reader.int().ok()?;
        let count = usize::try_from(reader.int().ok()?).ok()?;
        // Other fields stand between the flags and the columns of pages, which no answer to PREPARE is.
        if flags & FLAG_MORE_PAGES != 0 || version >= ProtocolVersion::V5 && flags & FLAG_METADATA_CHANGED != 0 {
            return None;
        }
        let from = reader.rest();
        decode_columns(&mut reader, flags, count).ok()?;
        let encoded = from[..from.len() - reader.rest().len()].into();
        Some(Self { is_global_table: flags & FLAG_GLOBAL_TABLE != 0, encoded, columns: Arc::clone(columns) })
    }

    /// The columns, if they are what `reader` would read; then it stands behind them.
    fn recognise(&self, reader: &mut Reader<'_>, flags: i32, count: usize) -> Option<Arc<[ColumnSpec]>> {
        let is_same = (flags & FLAG_GLOBAL_TABLE != 0) == self.is_global_table
            && count == self.columns.len()
            && reader.rest().starts_with(&self.encoded);
        if !is_same {
            return None;
        }
        reader.take(self.encoded.len()).ok()?;
        Some(Arc::clone(&self.columns))
    }
}

/// The variables of a PREPARE and which of them form the partition key.
pub(super) fn decode_variables(
    reader: &mut Reader<'_>,
    version: ProtocolVersion,
) -> Result<(Arc<[ColumnSpec]>, Vec<u16>), DecodeError> {
    let flags = reader.int()?;
    let raw_count = reader.int()?;
    let count = usize::try_from(raw_count).map_err(|_| DecodeError::InvalidLength(raw_count.into()))?;
    let mut partition_key = Vec::new();
    if version >= ProtocolVersion::V4 {
        for _ in 0..reader.count(2)? {
            let index = reader.short()?;
            if usize::from(index) >= count {
                return Err(DecodeError::InvalidLength(index.into()));
            }
            partition_key.push(index);
        }
    }
    Ok((decode_columns(reader, flags, count)?, partition_key))
}

fn decode_columns(reader: &mut Reader<'_>, flags: i32, count: usize) -> Result<Arc<[ColumnSpec]>, DecodeError> {
    const COLUMN_LEN_MIN: usize = 4;
    if count == 0 {
        return Ok(Arc::from([]));
    }
    let global: Option<(Arc<str>, Arc<str>)> =
        if flags & FLAG_GLOBAL_TABLE != 0 { Some((reader.string()?.into(), reader.string()?.into())) } else { None };
    if count > reader.rest().len() / COLUMN_LEN_MIN {
        return Err(DecodeError::UnexpectedEnd);
    }
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let (keyspace, table) = match &global {
            Some(global) => global.clone(),
            None => (reader.string()?.into(), reader.string()?.into()),
        };
        let name = reader.string()?.into();
        columns.push(ColumnSpec { keyspace, table, name, cql_type: decode_type(reader, TYPE_DEPTH_MAX)? });
    }
    Ok(columns.into())
}

fn decode_type(reader: &mut Reader<'_>, depth_left: usize) -> Result<CqlType, DecodeError> {
    let depth_left = depth_left.checked_sub(1).ok_or(DecodeError::TypeTooDeep)?;
    let native = match reader.short()? {
        0x00 => return Ok(parse_custom(reader.string()?, depth_left)),
        0x01 => NativeType::Ascii,
        0x02 => NativeType::Bigint,
        0x03 => NativeType::Blob,
        0x04 => NativeType::Boolean,
        0x05 => NativeType::Counter,
        0x06 => NativeType::Decimal,
        0x07 => NativeType::Double,
        0x08 => NativeType::Float,
        0x09 => NativeType::Int,
        0x0A | 0x0D => NativeType::Text,
        0x0B => NativeType::Timestamp,
        0x0C => NativeType::Uuid,
        0x0E => NativeType::Varint,
        0x0F => NativeType::Timeuuid,
        0x10 => NativeType::Inet,
        0x11 => NativeType::Date,
        0x12 => NativeType::Time,
        0x13 => NativeType::Smallint,
        0x14 => NativeType::Tinyint,
        0x15 => NativeType::Duration,
        0x20 => return Ok(CqlType::List(Box::new(decode_type(reader, depth_left)?))),
        0x21 => {
            let key = Box::new(decode_type(reader, depth_left)?);
            return Ok(CqlType::Map(key, Box::new(decode_type(reader, depth_left)?)));
        }
        0x22 => return Ok(CqlType::Set(Box::new(decode_type(reader, depth_left)?))),
        0x30 => return decode_user_type(reader, depth_left),
        0x31 => {
            let count = reader.short()?;
            let types = (0..count).map(|_| decode_type(reader, depth_left));
            return types.collect::<Result<_, _>>().map(CqlType::Tuple);
        }
        other => return Err(DecodeError::UnknownValue { what: "column type", value: other.into() }),
    };
    Ok(CqlType::Native(native))
}

fn decode_user_type(reader: &mut Reader<'_>, depth_left: usize) -> Result<CqlType, DecodeError> {
    let keyspace = reader.string()?.into();
    let name = reader.string()?.into();
    let count = reader.short()?;
    let fields = (0..count)
        .map(|_| Ok((Arc::from(reader.string()?), decode_type(reader, depth_left)?)))
        .collect::<Result<_, DecodeError>>()?;
    Ok(CqlType::UserDefined(Arc::new(UserType { keyspace, name, fields })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(bytes: &[u8]) -> Result<CqlType, DecodeError> {
        decode_type(&mut Reader::new(bytes), TYPE_DEPTH_MAX)
    }

    #[test]
    fn nested_types_are_decoded_from_the_outside_in() {
        let map = type_of(b"\0\x21\0\x0D\0\x20\0\x31\0\x02\0\x09\0\x0C").unwrap();
        assert_eq!(map.to_string(), "map<text, list<tuple<int, uuid>>>");
        let user_type = type_of(b"\0\x30\0\x02ks\0\x01u\0\x01\0\x01f\0\x09").unwrap();
        let CqlType::UserDefined(user_type) = user_type else { panic!("{user_type}") };
        assert_eq!(&*user_type.fields[0].0, "f");
    }

    #[test]
    fn endless_nesting_is_refused_without_recursion_to_match() {
        let lists = [0x00, 0x20].repeat(10_000);
        assert_eq!(type_of(&lists), Err(DecodeError::TypeTooDeep));
    }

    #[test]
    fn columns_share_the_table_when_it_is_global() {
        let body = Bytes::from_static(b"\0\0\0\x03\0\0\0\x02\0\0\0\x02ps\0\x02ks\0\x01t\0\x01a\0\x09\0\x01b\0\x0D");
        let metadata = ResultMetadata::decode(&mut Reader::new(&body), ProtocolVersion::V4, None).unwrap();
        assert_eq!(metadata.paging_state().map(|state| &state[..]), Some(&b"ps"[..]));
        let columns = metadata.columns.unwrap();
        assert_eq!((&*columns[1].table, &*columns[1].name), ("t", "b"));
        assert_eq!(columns[1].cql_type, NativeType::Text.into());
    }

    #[test]
    fn a_column_count_beyond_the_bytes_is_refused_before_allocating() {
        let body = Bytes::from_static(b"\0\0\0\0\x7F\xFF\xFF\xFF\0\0\0\0");
        assert!(ResultMetadata::decode(&mut Reader::new(&body), ProtocolVersion::V4, None).is_err());
    }
}
