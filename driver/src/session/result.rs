//! What a request returned.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::paging_state::PagingState;
use crate::execution::{Answer, Attempt, Error, ErrorKind, Result};
use crate::protocol::response::{Annotations, Message, ResultBody, Rows};
use crate::value::{CellReader, ColumnSpec, DecodeRow, RowCells, RowError, RowIterator, RowLayout, read_row};

/// One page of a paged result.
pub type Page = QueryResult;

/// The result of a request: rows or none, and what the coordinator said beside them.
#[derive(Debug)]
pub struct QueryResult {
    coordinator: Uuid,
    address: SocketAddr,
    /// Always with their columns.
    rows: Option<Rows>,
    annotations: Option<Box<Annotations>>,
    is_schema_agreed: bool,
    attempts: Box<[Attempt]>,
    /// Of the statement, if there are more pages.
    fingerprint: u64,
}

/// The fingerprint of what has no further pages.
pub(super) const NO_PAGES: u64 = 0;

/// The outcome of a conditional statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied<T> {
    /// The condition held and the write took effect.
    Applied,
    /// The condition did not hold: the row as it is, or `None` if there is no row.
    NotApplied(Option<T>),
}

/// The part of a page that was not read yet.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowsLeft {
    pub rows: usize,
    pub bytes: usize,
}

impl QueryResult {
    /// `fingerprint` is asked for what the statement is recognised by, if there are more pages.
    pub(super) fn new(answer: Answer, is_schema_agreed: bool, fingerprint: impl FnOnce() -> u64) -> Result<Self> {
        let Answer { decoded, coordinator, address, attempts, .. } = answer;
        let undecodable = |what: &str| Err(Error::applied(ErrorKind::Decode(what.to_owned())));
        let rows = match decoded.message {
            Message::Result(ResultBody::Rows(rows)) if rows.metadata.columns.is_none() => {
                return undecodable("the server left out the columns of the rows");
            }
            Message::Result(ResultBody::Rows(rows)) => Some(rows),
            Message::Result(_) => None,
            _ => return undecodable("the answer is not a result"),
        };
        let has_more = rows.as_ref().is_some_and(|rows| rows.metadata.paging_state().is_some());
        Ok(Self {
            coordinator,
            address,
            rows,
            annotations: decoded.annotations,
            is_schema_agreed,
            attempts,
            fingerprint: if has_more { fingerprint() } else { NO_PAGES },
        })
    }

    /// Iterates over the rows of this page, decoded as `T`, borrowing from it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotRows`] if the statement returns no rows, [`ErrorKind::Row`] if they cannot be read as `T`.
    pub fn rows<'a, T: DecodeRow<'a>>(&'a self) -> Result<RowIterator<'a, T>> {
        let (rows, columns) = self.rows_and_columns()?;
        RowIterator::new(columns, &rows.content, rows.row_count).map_err(row_error)
    }

    fn rows_and_columns(&self) -> Result<(&Rows, &Arc<[ColumnSpec]>)> {
        let found = self.rows.as_ref().and_then(|rows| Some((rows, rows.metadata.columns.as_ref()?)));
        found.ok_or_else(|| Error::applied(ErrorKind::NotRows))
    }

    /// Checks that the rows of this page can be read as `T`.
    pub(super) fn layout<T: RowLayout>(&self) -> Result<T::Layout> {
        let (_, columns) = self.rows_and_columns()?;
        T::layout(columns).map_err(row_error)
    }

    /// Reads the first of the rows that are left.
    #[inline]
    pub(super) fn next_row<'a, T: DecodeRow<'a>>(&'a self, layout: &T::Layout, left: &mut RowsLeft) -> Result<T> {
        let (rows, columns) = self.rows_and_columns()?;
        let start = rows.content.len().saturating_sub(left.bytes);
        let mut reader = CellReader::new(&rows.content[start..]);
        let row = read_row(layout, columns, &mut reader, &mut left.rows);
        left.bytes = reader.rest().len();
        row.map_err(row_error)
    }

    /// What a reader of this page has before it.
    pub(super) fn all_left(&self) -> RowsLeft {
        self.rows
            .as_ref()
            .map_or(RowsLeft::default(), |rows| RowsLeft { rows: rows.row_count, bytes: rows.content.len() })
    }

    /// Columns of the rows; empty if the statement returns none.
    #[must_use]
    pub fn columns(&self) -> &[ColumnSpec] {
        self.rows.as_ref().and_then(|rows| rows.metadata.columns.as_deref()).unwrap_or_default()
    }

    /// Rows in this page.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.row_count)
    }

    /// Whether a conditional statement took effect; true for any other statement.
    #[must_use]
    pub fn was_applied(&self) -> bool {
        self.applied_cell().is_none_or(|(is_applied, _)| is_applied)
    }

    /// Where the next page starts; `None` on the last page. See `Query::paging_state`.
    #[must_use]
    pub fn paging_state(&self) -> Option<PagingState> {
        Some(PagingState::new(self.fingerprint, self.raw_paging_state()?))
    }

    /// Where the next page starts, in the server's own form.
    pub(super) fn raw_paging_state(&self) -> Option<&[u8]> {
        self.rows.as_ref()?.metadata.paging_state().map(|state| &state[..])
    }

    /// Warnings of the coordinator.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.annotations.as_ref().map_or(&[], |annotations| &annotations.warnings)
    }

    /// Bytes of the server's query handler.
    #[must_use]
    pub fn custom_payload(&self) -> &BTreeMap<String, Option<Bytes>> {
        static NONE: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
        self.annotations.as_ref().map_or(&NONE, |annotations| &annotations.custom_payload)
    }

    /// Id of the trace, if one was asked for.
    #[must_use]
    pub fn tracing_id(&self) -> Option<Uuid> {
        self.annotations.as_ref()?.tracing_id
    }

    /// Host id of the node that answered.
    #[must_use]
    pub fn coordinator(&self) -> Uuid {
        self.coordinator
    }

    /// Address of the node that answered.
    #[must_use]
    pub fn coordinator_address(&self) -> SocketAddr {
        self.address
    }

    /// What was tried beside the attempt that was answered: failed attempts, and executions that lost to this answer.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Whether the nodes agreed on the schema after a schema change; true for any other statement.
    #[must_use]
    pub fn is_schema_agreed(&self) -> bool {
        self.is_schema_agreed
    }

    /// Reads the outcome of a conditional statement, with the existing row if it was not applied.
    pub(super) fn applied<T: for<'a> DecodeRow<'a>>(&self) -> Result<Applied<T>> {
        match self.applied_cell() {
            None | Some((true, _)) => Ok(Applied::Applied),
            Some((false, rest)) => {
                let columns: Arc<[ColumnSpec]> = self.columns().get(1..).unwrap_or_default().into();
                if columns.is_empty() {
                    return Ok(Applied::NotApplied(None));
                }
                let layout = T::layout(&columns).map_err(row_error)?;
                let mut cells = RowCells::new(&columns, rest);
                T::decode_row(&layout, &mut cells).map(|row| Applied::NotApplied(Some(row))).map_err(row_error)
            }
        }
    }

    /// The column `[applied]` of the first row, and the cells after it.
    fn applied_cell(&self) -> Option<(bool, CellReader<'_>)> {
        let rows = self.rows.as_ref()?;
        if &*self.columns().first()?.name != "[applied]" || rows.row_count == 0 {
            return None;
        }
        let mut cells = CellReader::new(&rows.content);
        let is_applied = cells.next_cell()??.first().is_some_and(|byte| *byte != 0);
        Some((is_applied, cells))
    }
}

/// A row that cannot be read: the request itself succeeded.
pub(super) fn row_error(error: RowError) -> Error {
    Error::applied(ErrorKind::Row(error))
}

impl From<RowError> for Error {
    fn from(error: RowError) -> Self {
        row_error(error)
    }
}
