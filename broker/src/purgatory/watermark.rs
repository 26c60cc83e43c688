//! A number that only grows (a high watermark) and the requests that wait for it to pass a threshold.
//!
//! Delayed produces wait for `high watermark >= last offset + 1`, delayed fetches for `high watermark > fetch offset`. A waiter is
//! completed exactly once: by the advance that passes its threshold, by `close`, or by being dropped. Single-threaded.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use coreline_wire::ids::Offset;

/// The value and its waiters. The number of waiters is bounded by the requests in flight, which `limits.rs` bounds.
#[derive(Debug)]
pub struct Watermark {
    value: Cell<Offset>,
    closed: Cell<bool>,
    next_key: Cell<u64>,
    waiters: RefCell<Vec<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    key: u64,
    at_least: Offset,
    waker: Waker,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The value is at or above the threshold.
    Yes,
    /// The watermark was closed: the partition is gone or its log is poisoned.
    Closed,
}

impl Watermark {
    /// Starts at `value`.
    pub fn new(value: Offset) -> Watermark {
        Watermark { value: Cell::new(value), closed: Cell::new(false), next_key: Cell::new(0), waiters: RefCell::new(Vec::new()) }
    }

    /// The current value.
    pub fn get(&self) -> Offset {
        self.value.get()
    }

    /// Waiters now parked.
    pub fn waiting(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Moves the value up and wakes whoever waited for it.
    ///
    /// Panics if the value would go back: a high watermark never does within a leader epoch.
    pub fn advance(&self, value: Offset) {
        let before = self.value.get();
        assert!(value >= before, "high watermark regression {before} -> {value}");
        if value == before {
            return;
        }
        self.value.set(value);
        let mut due = Vec::new();
        self.waiters.borrow_mut().retain(|w| {
            let keep = w.at_least > value;
            if !keep {
                due.push(w.waker.clone());
            }
            keep
        });
        due.into_iter().for_each(Waker::wake);
    }

    /// Ends all waits, now and later, with [`Reached::Closed`].
    pub fn close(&self) {
        self.closed.set(true);
        let due: Vec<Waiter> = self.waiters.borrow_mut().drain(..).collect();
        due.into_iter().for_each(|w| w.waker.wake());
    }

    /// True once closed.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Waits until the value is at least `at_least`.
    pub fn at_least(&self, at_least: Offset) -> AtLeast<'_> {
        AtLeast { watermark: self, at_least, key: None }
    }
}

/// The wait; dropping it takes the waiter out.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct AtLeast<'a> {
    watermark: &'a Watermark,
    at_least: Offset,
    key: Option<u64>,
}

impl Future for AtLeast<'_> {
    type Output = Reached;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reached> {
        let w = self.watermark;
        if w.value.get() >= self.at_least {
            return Poll::Ready(Reached::Yes);
        }
        if w.closed.get() {
            return Poll::Ready(Reached::Closed);
        }
        let mut waiters = w.waiters.borrow_mut();
        match self.key.and_then(|key| waiters.iter_mut().find(|x| x.key == key)) {
            Some(waiter) => waiter.waker.clone_from(cx.waker()),
            None => {
                let key = w.next_key.get();
                w.next_key.set(key + 1);
                waiters.push(Waiter { key, at_least: self.at_least, waker: cx.waker().clone() });
                drop(waiters);
                self.key = Some(key);
            }
        }
        Poll::Pending
    }
}

impl Drop for AtLeast<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut waiters = self.watermark.waiters.borrow_mut();
            if let Some(i) = waiters.iter().position(|w| w.key == key) {
                waiters.swap_remove(i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(f: &mut AtLeast<'_>, count: &Arc<Count>) -> Poll<Reached> {
        let waker = Waker::from(count.clone());
        Pin::new(f).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_waiter_is_woken_once_by_the_advance_that_passes_it() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let w = Watermark::new(5);
        let mut at7 = w.at_least(7);
        let mut at9 = w.at_least(9);
        assert_eq!(poll(&mut at7, &count), Poll::Pending);
        assert_eq!(poll(&mut at7, &count), Poll::Pending, "polling again keeps one registration");
        assert_eq!(poll(&mut at9, &count), Poll::Pending);
        assert_eq!(w.waiting(), 2);
        w.advance(6);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        w.advance(8);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(&mut at7, &count), Poll::Ready(Reached::Yes));
        assert_eq!(w.waiting(), 1);
        drop(at9);
        assert_eq!(w.waiting(), 0, "a dropped wait leaves nothing behind");
    }

    #[test]
    fn close_ends_every_wait() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let w = Watermark::new(0);
        let mut wait = w.at_least(1);
        assert_eq!(poll(&mut wait, &count), Poll::Pending);
        w.close();
        assert_eq!(poll(&mut wait, &count), Poll::Ready(Reached::Closed));
        assert_eq!(poll(&mut w.at_least(3), &count), Poll::Ready(Reached::Closed));
        assert_eq!(poll(&mut w.at_least(0), &count), Poll::Ready(Reached::Yes), "what was reached stays reached");
    }

    #[test]
    #[should_panic(expected = "regression")]
    fn going_back_is_a_programmers_error() {
        Watermark::new(5).advance(4);
    }
}
