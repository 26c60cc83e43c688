//! Waits for the first of many futures: the delayed fetch, which ends when any of its partitions has news.
//!
//! Unlike a join it polls every pending member on each wake; the member count is bounded by the partitions of one request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Resolves with the index and output of the first member that is ready; never resolves when empty.
#[must_use = "a wait does nothing unless awaited"]
#[derive(Debug)]
pub struct FirstOf<F> {
    members: Vec<Pin<Box<F>>>,
}

/// Waits for the first of `members`.
pub fn first_of<F: Future>(members: impl IntoIterator<Item = F>) -> FirstOf<F> {
    FirstOf { members: members.into_iter().map(Box::pin).collect() }
}

impl<F: Future> Future for FirstOf<F> {
    type Output = (usize, F::Output);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for (i, member) in self.members.iter_mut().enumerate() {
            if let Poll::Ready(out) = member.as_mut().poll(cx) {
                return Poll::Ready((i, out));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::purgatory::Watermark;

    #[test]
    fn the_member_that_moves_ends_the_wait() {
        let marks = [Watermark::new(0), Watermark::new(0)];
        block_on(async {
            let mut wait = first_of(marks.iter().map(|m| m.at_least(1)));
            assert!(poll_once(&mut wait).await.is_none());
            marks[1].advance(1);
            assert_eq!(wait.await.0, 1);
        });
        assert!(marks.iter().all(|m| m.waiting() == 0));
    }
}
