//! Rows: from the cells of one row to a Rust type.

use std::sync::Arc;

use super::{CellReader, ColumnSpec, CqlValue, DecodeValue, RowError, ValueError};

/// What a Rust type has to know of a page's columns before its rows can be read as that type.
pub trait RowLayout: Sized {
    /// What is found out once per page, such as where each field's column stands.
    type Layout: Send;

    /// Checks the columns once per page.
    ///
    /// # Errors
    ///
    /// If rows with these columns cannot be read.
    fn layout(columns: &[ColumnSpec]) -> Result<Self::Layout, RowError>;
}

/// A Rust type that can be read from rows, borrowing from the page where it can.
///
/// Implemented for tuples of up to 16 columns, by position, and for [`CqlRow`].
pub trait DecodeRow<'a>: RowLayout {
    /// Reads one row. Cells left unread are skipped.
    ///
    /// # Errors
    ///
    /// If the bytes of a cell are not a value of the column's type.
    fn decode_row(layout: &Self::Layout, cells: &mut RowCells<'a>) -> Result<Self, RowError>;
}

/// The cells of one row, in the order of the columns.
#[derive(Clone, Debug)]
pub struct RowCells<'a> {
    columns: &'a Arc<[ColumnSpec]>,
    reader: CellReader<'a>,
    /// Columns not read yet.
    left: &'a [ColumnSpec],
}

impl<'a> RowCells<'a> {
    /// Reads a row with `columns` that starts where `reader` stands.
    #[inline]
    pub fn new(columns: &'a Arc<[ColumnSpec]>, reader: CellReader<'a>) -> Self {
        Self { columns, reader, left: columns }
    }

    /// Columns of the row.
    pub fn columns(&self) -> &'a Arc<[ColumnSpec]> {
        self.columns
    }

    /// Reads the next column as a `T`.
    ///
    /// # Errors
    ///
    /// If there is no further column, or its bytes are not a value of its type.
    #[inline]
    pub fn next_value<T: DecodeValue<'a>>(&mut self) -> Result<T, RowError> {
        let Some((column, left)) = self.left.split_first() else {
            return Err(RowError::NoSuchIndex(self.columns.len()));
        };
        let Some(content) = self.reader.next_cell() else { return Err(RowError::Truncated) };
        self.left = left;
        match T::decode(&column.cql_type, content) {
            Ok(value) => Ok(value),
            Err(error) => Err(column_error(column, error)),
        }
    }

    /// Skips the next column.
    ///
    /// # Errors
    ///
    /// If the row's bytes end before the column does.
    #[inline]
    pub fn skip(&mut self) -> Result<(), RowError> {
        if self.reader.next_cell().is_none() {
            return Err(RowError::Truncated);
        }
        self.left = self.left.get(1..).unwrap_or_default();
        Ok(())
    }

    /// Skips what was not read and returns where the next row starts.
    ///
    /// # Errors
    ///
    /// If the row's bytes end before its last column does.
    #[inline]
    pub fn finish(mut self) -> Result<CellReader<'a>, RowError> {
        while !self.left.is_empty() {
            self.skip()?;
        }
        Ok(self.reader)
    }
}

/// Names the column in an error of one of its values.
#[cold]
pub fn column_error(column: &ColumnSpec, error: ValueError) -> RowError {
    let table = format!("{}.{}", column.keyspace, column.table);
    RowError::Column { table, name: column.name.clone(), error }
}

/// The rows of one page, decoded one by one.
#[derive(Debug)]
pub struct RowIterator<'a, T: DecodeRow<'a>> {
    layout: T::Layout,
    columns: &'a Arc<[ColumnSpec]>,
    reader: CellReader<'a>,
    left: usize,
}

impl<'a, T: DecodeRow<'a>> RowIterator<'a, T> {
    /// Checks the columns and starts at the first of `count` rows in `content`.
    ///
    /// # Errors
    ///
    /// If rows with these columns cannot be read as `T`.
    pub fn new(columns: &'a Arc<[ColumnSpec]>, content: &'a [u8], count: usize) -> Result<Self, RowError> {
        let layout = T::layout(columns)?;
        Ok(Self { layout, columns, reader: CellReader::new(content), left: count })
    }
}

/// Reads the row at the reader, one of `left`.
#[inline]
pub(crate) fn read_row<'a, T: DecodeRow<'a>>(
    layout: &T::Layout,
    columns: &'a Arc<[ColumnSpec]>,
    reader: &mut CellReader<'a>,
    left: &mut usize,
) -> Result<T, RowError> {
    *left = left.saturating_sub(1);
    let mut cells = RowCells::new(columns, *reader);
    // Not one match of both outcomes: that would move every row once more.
    match T::decode_row(layout, &mut cells) {
        Ok(row) => match cells.finish() {
            Ok(next) => {
                *reader = next;
                Ok(row)
            }
            Err(error) => Err(lost(left, error)),
        },
        Err(error) => match cells.finish() {
            Ok(next) => {
                *reader = next;
                Err(error)
            }
            // What is wrong with the row was found first.
            Err(_) => Err(lost(left, error)),
        },
    }
}

/// The start of the next row is unknown: there is nothing left to read.
#[cold]
fn lost(left: &mut usize, error: RowError) -> RowError {
    *left = 0;
    error
}

impl<'a, T: DecodeRow<'a>> Iterator for RowIterator<'a, T> {
    type Item = Result<T, RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        Some(read_row::<T>(&self.layout, self.columns, &mut self.reader, &mut self.left))
    }

    /// A row without columns takes no bytes, so only the upper bound can be believed.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// A row whose columns are learned at run time. Owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CqlRow {
    columns: Arc<[ColumnSpec]>,
    bytes: Box<[u8]>,
}

impl CqlRow {
    /// Columns of the row.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// Reads the column `name`.
    ///
    /// # Errors
    ///
    /// If there is no such column or it cannot be read as a `T`.
    pub fn get<'a, T: DecodeValue<'a>>(&'a self, name: &str) -> Result<T, RowError> {
        let index = self.columns.iter().position(|column| &*column.name == name);
        self.get_at(index.ok_or_else(|| RowError::NoSuchColumn(name.to_owned()))?)
    }

    /// Reads the column at `index`, counting from zero.
    ///
    /// # Errors
    ///
    /// If there is no such column or it cannot be read as a `T`.
    pub fn get_at<'a, T: DecodeValue<'a>>(&'a self, index: usize) -> Result<T, RowError> {
        let column = self.columns.get(index).ok_or(RowError::NoSuchIndex(index))?;
        T::check(&column.cql_type).map_err(|error| column_error(column, error))?;
        let mut cells = RowCells::new(&self.columns, CellReader::new(&self.bytes));
        for _ in 0..index {
            cells.skip()?;
        }
        cells.next_value()
    }

    /// Reads all columns.
    ///
    /// # Errors
    ///
    /// If one of them is not a value of its type.
    pub fn values(&self) -> Result<Vec<Option<CqlValue>>, RowError> {
        let mut cells = RowCells::new(&self.columns, CellReader::new(&self.bytes));
        self.columns.iter().map(|_| cells.next_value()).collect()
    }
}

impl RowLayout for CqlRow {
    type Layout = ();

    fn layout(_columns: &[ColumnSpec]) -> Result<(), RowError> {
        Ok(())
    }
}

impl<'a> DecodeRow<'a> for CqlRow {
    fn decode_row((): &(), cells: &mut RowCells<'a>) -> Result<Self, RowError> {
        let start = cells.reader.rest();
        let end = cells.clone().finish()?;
        let len = start.len() - end.rest().len();
        Ok(Self { columns: cells.columns.clone(), bytes: start[..len].into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{NativeType, ValueErrorKind};

    fn columns() -> Arc<[ColumnSpec]> {
        [("id", NativeType::Int), ("title", NativeType::Text)]
            .map(|(name, native)| ColumnSpec {
                keyspace: "app".into(),
                table: "songs".into(),
                name: name.into(),
                cql_type: native.into(),
            })
            .into()
    }

    /// Two rows: (1, "a") and (2, null).
    const TWO_ROWS: [u8; 25] = [0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 4, 0, 0, 0, 2, 255, 255, 255, 255];

    #[test]
    fn rows_borrow_their_text_from_the_page() {
        let columns = columns();
        let rows = RowIterator::<(i32, Option<&str>)>::new(&columns, &TWO_ROWS, 2).unwrap();
        let rows: Vec<_> = rows.collect::<Result<_, _>>().unwrap();
        assert_eq!(rows, [(1, Some("a")), (2, None)]);
    }

    #[test]
    fn a_null_without_an_option_names_its_column() {
        let columns = columns();
        let mut rows = RowIterator::<(i32, &str)>::new(&columns, &TWO_ROWS, 2).unwrap();
        assert_eq!(rows.next().unwrap(), Ok((1, "a")));
        let error = rows.next().unwrap().expect_err("null");
        let RowError::Column { table, name, error } = error else { panic!("{error}") };
        assert_eq!((table.as_str(), &*name), ("app.songs", "title"));
        assert_eq!(error.kind(), &ValueErrorKind::UnexpectedNull);
    }

    #[test]
    fn a_row_type_of_another_shape_is_refused_before_the_first_row() {
        let columns = columns();
        assert!(RowIterator::<(i32,)>::new(&columns, &TWO_ROWS, 2).is_err());
        assert!(RowIterator::<(i32, i32)>::new(&columns, &TWO_ROWS, 2).is_err());
    }

    #[test]
    fn truncated_pages_end_in_an_error_not_in_silence() {
        let columns = columns();
        for len in 0..TWO_ROWS.len() {
            let rows = RowIterator::<CqlRow>::new(&columns, &TWO_ROWS[..len], 2).unwrap();
            assert!(rows.collect::<Result<Vec<_>, _>>().is_err(), "{len} bytes");
        }
    }

    #[test]
    fn dynamic_rows_are_read_by_name_and_by_index() {
        let columns = columns();
        let rows = RowIterator::<CqlRow>::new(&columns, &TWO_ROWS, 2).unwrap();
        let rows: Vec<_> = rows.collect::<Result<_, _>>().unwrap();
        assert_eq!(rows[0].get::<&str>("title"), Ok("a"));
        assert_eq!(rows[1].get_at::<i32>(0), Ok(2));
        assert_eq!(rows[1].values().unwrap(), [Some(CqlValue::Int(2)), None]);
        assert_eq!(rows[0].get::<i32>("nope"), Err(RowError::NoSuchColumn("nope".to_owned())));
    }
}
