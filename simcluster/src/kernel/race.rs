//! Waits for the first of two futures, in a fixed order: tokio's `select!` would draw the order at random.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Which of two futures was done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First<A, B> {
    /// The first one, also if both were ready.
    Left(A),
    /// The second one.
    Right(B),
}

/// Waits until one of two futures is done, and drops the other. If both are ready, the first one wins.
pub async fn race<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(move |context| {
        if let Poll::Ready(output) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(output));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::paused_runtime;
    use std::future::{pending, ready};

    #[test]
    fn first_ready_future_wins_and_the_left_one_of_two() {
        let runtime = paused_runtime().unwrap();

        assert_eq!(runtime.block_on(race(ready(1), ready(2))), First::Left(1));
        assert_eq!(runtime.block_on(race(pending::<()>(), ready(2))), First::Right(2));
    }
}
