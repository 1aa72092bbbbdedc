//! One request and the wait for its answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::in_flight::StreamId;
use super::shared::Shared;
use super::{Answered, CallError};
use crate::env::Instant;
use crate::protocol::request::EncodeRequest;

/// A request that is sent at the first poll. Dropping it gives the request up.
#[must_use = "nothing is sent before the first poll"]
pub struct Call<'a, R: ?Sized> {
    shared: &'a Shared,
    request: &'a R,
    deadline: Option<Instant>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    Waiting(StreamId),
    Done,
}

impl<'a, R: EncodeRequest + ?Sized> Call<'a, R> {
    pub(super) fn new(shared: &'a Shared, request: &'a R, deadline: Option<Instant>) -> Self {
        Self { shared, request, deadline, stage: Stage::New }
    }
}

impl<R: EncodeRequest + ?Sized> Future for Call<'_, R> {
    type Output = Result<Answered, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match self.stage {
            Stage::New => match self.shared.start(self.request, self.deadline, cx.waker()) {
                Ok(id) => {
                    self.stage = Stage::Waiting(id);
                    return Poll::Pending;
                }
                Err(error) => Poll::Ready(Err(error)),
            },
            Stage::Waiting(id) => self.shared.lock().in_flight.poll_take(id, cx.waker()),
            // Polled after its end, which futures may answer as they like.
            Stage::Done => return Poll::Pending,
        };
        if outcome.is_ready() {
            self.stage = Stage::Done;
        }
        outcome
    }
}

impl<R: ?Sized> Drop for Call<'_, R> {
    fn drop(&mut self) {
        if let Stage::Waiting(id) = self.stage {
            self.shared.give_up(id);
        }
    }
}

impl<R: ?Sized> fmt::Debug for Call<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}
