//! Pages of rows: columns of any type, cells of any bytes, read as dynamic values; what was read can be written again.

#![no_main]

use bytes::Bytes;
use helenus::protocol::response::{Message, Response, ResultBody, Rows};
use helenus::protocol::{Opcode, ProtocolVersion};
use helenus::value::{ColumnSpec, CqlRow, EncodeValue, RowIterator};
use helenus_fuzz::{BASE, PER_BYTE, bounded};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// Cells of one page cost at most this, beside what they hold.
const ROWS_MAX: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&version, page)) = input.split_first() else { return };
    let version = ProtocolVersion::from_number(3 + version % 3).expect("3, 4 and 5 are spoken");
    let body = Bytes::from([&[0, 0, 0, 2], page].concat());
    let response = Response { version, flags: 0, opcode: Opcode::Result, body };
    let Ok(decoded) = bounded(BASE + PER_BYTE * input.len(), || response.decode()) else { return };
    let Message::Result(ResultBody::Rows(rows)) = decoded.message else { return };
    let Some(columns) = rows.metadata.columns.clone() else { return };
    read(&rows, &columns);
});

fn read(rows: &Rows, columns: &Arc<[ColumnSpec]>) {
    let Ok(iterator) = RowIterator::<CqlRow>::new(columns, &rows.content, rows.row_count) else { return };
    for row in iterator.take(ROWS_MAX) {
        let Ok(row) = row else { return };
        let justified = BASE + PER_BYTE * (rows.content.len() + columns.len());
        let Ok(values) = bounded(justified, || row.values()) else { continue };
        for (column, value) in columns.iter().zip(&values) {
            let mut written = Vec::new();
            if let Some(value) = value {
                let _ = value.encode(&column.cql_type, &mut written);
            }
        }
    }
}
