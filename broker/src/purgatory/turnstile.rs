//! A first-come-first-served gate for tasks of one shard.
//!
//! Appends pass it one at a time: when the journal or the tail memory is full the first one waits inside, and those that came later
//! wait behind it, so that backpressure never changes the order of a producer's batches. The place in the line is taken when
//! [`Turnstile::enter`] is called, not when the future is first polled. Single-threaded; the line is bounded by the requests in flight.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// Places not yet served, in order; the first of them is inside (or may go in).
    places: VecDeque<(u64, Option<Waker>)>,
}

impl Line {
    fn leave(&mut self, place: u64) {
        let was_first = self.places.front().is_some_and(|p| p.0 == place);
        self.places.retain(|p| p.0 != place);
        if was_first && let Some((_, Some(waker))) = self.places.front() {
            waker.wake_by_ref();
        }
    }
}

/// The gate; clones share the line.
#[derive(Clone, Debug, Default)]
pub struct Turnstile {
    line: Rc<RefCell<Line>>,
}

/// A place in the line; resolves when it is first. Dropping it gives the place up.
#[derive(Debug)]
#[must_use = "the place is given up when dropped"]
pub struct Enter {
    line: Rc<RefCell<Line>>,
    place: Option<u64>,
}

/// Being inside; the next one may enter when it is dropped.
#[derive(Debug)]
pub struct Inside {
    line: Rc<RefCell<Line>>,
    place: u64,
}

impl Turnstile {
    /// Takes the next place in the line.
    pub fn enter(&self) -> Enter {
        let mut line = self.line.borrow_mut();
        let place = line.next;
        line.next += 1;
        line.places.push_back((place, None));
        Enter { line: self.line.clone(), place: Some(place) }
    }

    /// How many are inside or in the line.
    pub fn len(&self) -> usize {
        self.line.borrow().places.len()
    }

    /// True when nobody is inside or waiting.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Future for Enter {
    type Output = Inside;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Inside> {
        let place = self.place.expect("not polled after it resolved");
        let mut line = self.line.borrow_mut();
        if line.places.front().is_some_and(|p| p.0 == place) {
            drop(line);
            self.place = None;
            return Poll::Ready(Inside { line: self.line.clone(), place });
        }
        if let Some(slot) = line.places.iter_mut().find(|p| p.0 == place) {
            slot.1 = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.line.borrow_mut().leave(place);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.line.borrow_mut().leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn places_are_served_in_the_order_they_were_taken() {
        block_on(async {
            let gate = Turnstile::default();
            let (first, mut second, mut third) = (gate.enter(), gate.enter(), gate.enter());
            assert!(poll_once(&mut third).await.is_none(), "polled first, but third in line");
            assert!(poll_once(&mut second).await.is_none());
            let inside = first.await;
            assert!(poll_once(&mut second).await.is_none());
            drop(inside);
            let inside = second.await;
            drop(third);
            drop(inside);
            assert!(gate.is_empty());
        });
    }

    #[test]
    fn one_who_gives_up_lets_the_next_in() {
        block_on(async {
            let gate = Turnstile::default();
            let first = gate.enter();
            let mut second = gate.enter();
            assert!(poll_once(&mut second).await.is_none());
            drop(first);
            let _inside = second.await;
            assert_eq!(gate.len(), 1);
        });
    }
}
