//! Paged results: page by page, or as a stream of rows.
//!
//! # Invariants
//!
//! - A scan ends with the page that announces no successor, never with a page that happens to be empty.
//! - A failed page may be asked for again: the position moves only with success.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::handle::{Bound, Session};
use super::result::{Page, row_error};
use crate::env::BoxFuture;
use crate::env::mutants::is_planted;
use crate::execution::Result;
use crate::statement::{Statement, StatementOptions};
use crate::value::{BindValues, DecodeRow};

/// The pages of one query.
pub struct Pages {
    session: Session,
    options: StatementOptions,
    source: Source,
    is_done: bool,
}

enum Source {
    /// Values not encoded yet: the statement may have to be prepared first.
    Unbound(Statement, Box<dyn BindValues + Send + Sync>),
    Bound(Bound),
}

impl Pages {
    pub(super) fn new(
        session: Session,
        statement: Statement,
        values: Box<dyn BindValues + Send + Sync>,
        options: StatementOptions,
    ) -> Self {
        Self { session, options, source: Source::Unbound(statement, values), is_done: false }
    }

    pub(super) fn of_bound(session: Session, bound: Bound, options: StatementOptions) -> Self {
        Self { session, options, source: Source::Bound(bound), is_done: false }
    }

    /// Fetches the next page; `None` after the last one. A page may be empty although more follow.
    ///
    /// # Errors
    ///
    /// As `Query::execute`. Calling again fetches the same page again.
    pub async fn next(&mut self) -> Result<Option<Page>> {
        if self.is_done {
            return Ok(None);
        }
        if let Source::Unbound(statement, values) = &self.source {
            let bound = self.session.bind(statement, &**values, self.options.timeout).await?;
            self.source = Source::Bound(bound);
        }
        let Source::Bound(bound) = &self.source else { return Ok(None) };
        let page = self.session.execute_bound(bound, &self.options).await?;
        let next: Option<Bytes> = page.paging_state();
        self.is_done = next.is_none() || (page.row_count() == 0 && is_planted("N01-empty-page-ends-scan"));
        self.options.paging_state = next;
        Ok(Some(page))
    }

    /// Where the next page starts, to resume later with `Query::paging_state`; `None` before the first page and
    /// after the last.
    #[must_use]
    pub fn paging_state(&self) -> Option<&Bytes> {
        self.options.paging_state.as_ref()
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

/// The rows of one query, fetched page by page while they are read. Ends after its first error.
#[must_use = "streams do nothing unless polled"]
pub struct RowStream<T> {
    rows: VecDeque<T>,
    /// An error met while decoding a page, to be reported after the rows before it.
    error: Option<crate::execution::Error>,
    fetch: Fetch,
}

enum Fetch {
    Idle(Box<Pages>),
    Running(BoxFuture<'static, (Box<Pages>, Result<Option<Page>>)>),
    Ended,
}

impl<T> RowStream<T> {
    pub(super) fn new(pages: Pages) -> Self {
        Self { rows: VecDeque::new(), error: None, fetch: Fetch::Idle(Box::new(pages)) }
    }
}

impl<T: for<'a> DecodeRow<'a> + Send + 'static> RowStream<T> {
    /// Takes the rows of a page, up to the first that cannot be decoded.
    fn accept(&mut self, page: &Page) -> Result<()> {
        for row in page.rows::<T>()? {
            self.rows.push_back(row.map_err(row_error)?);
        }
        Ok(())
    }

    /// The next row, for callers without a stream library.
    ///
    /// # Errors
    ///
    /// As `Query::all`; nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<T>>
    where
        T: Unpin,
    {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: for<'a> DecodeRow<'a> + Send + Unpin + 'static> Stream for RowStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Poll::Ready(Some(Ok(row)));
            }
            if let Some(error) = self.error.take() {
                self.fetch = Fetch::Ended;
                return Poll::Ready(Some(Err(error)));
            }
            self.fetch = match std::mem::replace(&mut self.fetch, Fetch::Ended) {
                Fetch::Ended => return Poll::Ready(None),
                Fetch::Idle(mut pages) => Fetch::Running(Box::pin(async move {
                    let page = pages.next().await;
                    (pages, page)
                })),
                Fetch::Running(mut running) => match running.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.fetch = Fetch::Running(running);
                        return Poll::Pending;
                    }
                    Poll::Ready((pages, Ok(Some(page)))) => {
                        self.error = self.accept(&page).err();
                        Fetch::Idle(pages)
                    }
                    Poll::Ready((_, Ok(None))) => Fetch::Ended,
                    Poll::Ready((_, Err(error))) => {
                        self.error = Some(error);
                        Fetch::Ended
                    }
                },
            };
        }
    }
}

impl<T> fmt::Debug for RowStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("buffered", &self.rows.len()).finish_non_exhaustive()
    }
}
