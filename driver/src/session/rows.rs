//! Paged results: page by page, or as a stream of rows.
//!
//! # Invariants
//!
//! - A scan ends with the page that announces no successor, never with a page that happens to be empty.
//! - A failed page may be asked for again: the position moves only with success.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use super::binding::Bound;
use super::handle::Session;
use super::paging_state::PagingState;
use super::result::{Page, RowsLeft};
use crate::env::BoxFuture;
use crate::env::mutants::is_planted;
use crate::execution::{ErrorKind, Result};
use crate::statement::{Statement, StatementOptions};
use crate::value::{BindValues, DecodeRow, RowLayout};

/// The pages of one query.
pub struct Pages {
    session: Session,
    options: StatementOptions,
    source: Source,
    resumed: Option<Box<PagingState>>,
    is_done: bool,
}

/// Continues where `resumed` says, if it belongs to `bound`.
pub(super) fn resume(resumed: Option<Box<PagingState>>, bound: &Bound, options: &mut StatementOptions) -> Result<()> {
    if let Some(state) = resumed {
        options.paging_state = Some(state.raw_for(bound.fingerprint())?.clone());
    }
    Ok(())
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
        resumed: Option<Box<PagingState>>,
    ) -> Self {
        Self { session, options, source: Source::Unbound(statement, values), resumed, is_done: false }
    }

    pub(super) fn of_bound(session: Session, bound: Bound, options: StatementOptions) -> Self {
        Self { session, options, source: Source::Bound(bound), resumed: None, is_done: false }
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
            let bound = self.session.bind(statement, &**values, &mut self.options).await?;
            self.source = Source::Bound(bound);
        }
        let Source::Bound(bound) = &self.source else { return Ok(None) };
        // Kept until it was found to fit, so that asking again reports the same error.
        resume(self.resumed.clone(), bound, &mut self.options)?;
        self.resumed = None;
        let page = self.session.execute_bound(bound, &self.options).await?;
        let next: Option<Bytes> = page.raw_paging_state().map(Bytes::copy_from_slice);
        self.options.spent = Duration::ZERO; // The limit is that of each page.
        self.is_done = next.is_none() || (page.row_count() == 0 && is_planted("N01-empty-page-ends-scan"));
        self.options.paging_state = next;
        Ok(Some(page))
    }

    /// Where the next page starts, to resume later with `Query::paging_state`; `None` before the first page and
    /// after the last.
    #[must_use]
    pub fn paging_state(&self) -> Option<PagingState> {
        let Source::Bound(bound) = &self.source else { return self.resumed.as_deref().cloned() };
        Some(PagingState::new(bound.fingerprint(), self.options.paging_state.as_ref()?))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

/// The rows of one query. Ends after its first error.
///
/// While the rows of a page are read the next page is on its way; one page is fetched ahead, never more.
#[must_use = "streams do nothing unless polled"]
pub struct RowStream<T: RowLayout> {
    page: Option<PageInReading<T>>,
    fetch: Fetch,
}

/// A page of which some rows were read. They are decoded one at a time: what the reader drops of one row is room for
/// the next, at the top of the allocator's lists; decoded ahead by the dozen they take it half as long again.
struct PageInReading<T: RowLayout> {
    page: Page,
    layout: Box<T::Layout>,
    left: RowsLeft,
}

type Fetched = (Box<Pages>, Result<Option<Page>>);

enum Fetch {
    Idle(Box<Pages>),
    Running {
        page: BoxFuture<'static, Fetched>,
        /// Nobody waits for the page yet.
        is_ahead: bool,
    },
    /// Fetched ahead.
    Done(Box<Fetched>),
    Ended,
}

impl<T: RowLayout> RowStream<T> {
    pub(super) fn new(pages: Pages) -> Self {
        Self { page: None, fetch: Fetch::Idle(Box::new(pages)) }
    }

    /// Starts fetching the next page, so that it comes while this one is read.
    fn fetch_ahead(&mut self, cx: &mut Context<'_>, pages: Box<Pages>) {
        if pages.is_done {
            self.fetch = Fetch::Ended;
            return;
        }
        let mut page = fetch(pages);
        // The first poll sends the request. Its answer is filed by the connection without further polls.
        self.fetch = match page.as_mut().poll(cx) {
            Poll::Ready(fetched) => Fetch::Done(Box::new(fetched)),
            Poll::Pending => Fetch::Running { page, is_ahead: true },
        };
    }

    /// Waits for the next page; `None` after the last.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Page>>> {
        loop {
            let (pages, fetched, was_ahead) = match std::mem::replace(&mut self.fetch, Fetch::Ended) {
                Fetch::Ended => return Poll::Ready(None),
                Fetch::Idle(pages) => {
                    self.fetch = Fetch::Running { page: fetch(pages), is_ahead: false };
                    continue;
                }
                Fetch::Done(fetched) => (fetched.0, fetched.1, true),
                Fetch::Running { mut page, is_ahead } => match page.as_mut().poll(cx) {
                    Poll::Ready((pages, fetched)) => (pages, fetched, is_ahead),
                    Poll::Pending => {
                        self.fetch = Fetch::Running { page, is_ahead };
                        return Poll::Pending;
                    }
                },
            };
            match fetched {
                Ok(Some(page)) => {
                    self.fetch_ahead(cx, pages);
                    return Poll::Ready(Some(Ok(page)));
                }
                Ok(None) => return Poll::Ready(None),
                // Its time may have run out while the reader was busy with the page before.
                Err(error) if was_ahead && matches!(error.kind(), ErrorKind::Timeout { .. }) => {
                    self.fetch = Fetch::Idle(pages);
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

fn fetch(mut pages: Box<Pages>) -> BoxFuture<'static, Fetched> {
    Box::pin(async move {
        let page = pages.next().await;
        (pages, page)
    })
}

impl<T: for<'a> DecodeRow<'a> + Send + 'static> RowStream<T> {
    /// The next row of the page at hand. Nothing follows an error.
    #[inline]
    fn next_of_page(&mut self) -> Option<Result<T>> {
        let reading = self.page.as_mut().filter(|reading| reading.left.rows > 0)?;
        let row = reading.page.next_row::<T>(&reading.layout, &mut reading.left);
        if row.is_err() {
            self.end();
        }
        Some(row)
    }

    fn end(&mut self) {
        self.page = None;
        self.fetch = Fetch::Ended;
    }

    /// The next row, for callers without a stream library.
    ///
    /// # Errors
    ///
    /// As `Query::all`; nothing follows an error.
    #[inline]
    pub async fn next(&mut self) -> Option<Result<T>>
    where
        T: Unpin,
    {
        if let Some(row) = self.next_of_page() {
            return Some(row);
        }
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: for<'a> DecodeRow<'a> + Send + Unpin + 'static> Stream for RowStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.next_of_page() {
                return Poll::Ready(Some(row));
            }
            self.page = None;
            let Some(page) = ready!(self.poll_page(cx)) else { return Poll::Ready(None) };
            match page.and_then(|page| Ok((page.layout::<T>()?, page))) {
                Ok((layout, page)) => {
                    let left = page.all_left();
                    self.page = Some(PageInReading { page, layout: Box::new(layout), left });
                }
                Err(error) => {
                    self.end();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<T: RowLayout> fmt::Debug for RowStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.page.as_ref().map_or(0, |reading| reading.left.rows);
        f.debug_struct("RowStream").field("left_of_page", &left).finish_non_exhaustive()
    }
}
