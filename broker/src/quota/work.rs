//! The account of a request's work: who is charged for what the shard's thread does right now, on the shard of the connection and on others.
//!
//! While a charged future is polled, its account is the thread's current one. The mesh takes it along: a call to another shard that is made
//! then is measured there, and its time comes back with the answer. Two clock readings per poll, none without a request quota.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

/// Who is charged.
pub trait Account {
    /// The request has held a shard's thread for so long, nanoseconds.
    fn charge(&self, ns: u64);
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<dyn Account>>> = const { RefCell::new(None) };
}

/// The account of what runs on this thread now, if somebody counts it.
pub fn current() -> Option<Rc<dyn Account>> {
    CURRENT.with_borrow(Option::clone)
}

/// Polls a future and charges the time of each poll to the account.
pub fn charged<F: Future + Unpin>(account: Rc<dyn Account>, mut future: F) -> impl Future<Output = F::Output> + Unpin {
    poll_fn(move |cx| {
        let outer = Outer(CURRENT.replace(Some(Rc::clone(&account))));
        let began = Instant::now();
        let polled = Pin::new(&mut future).poll(cx);
        account.charge(nanoseconds(began));
        drop(outer);
        polled
    })
}

/// Polls a future and adds the time of each poll; as it is without a place to add to.
pub fn measured<F: Future + Unpin>(into: Option<Rc<Cell<u64>>>, mut future: F) -> impl Future<Output = F::Output> + Unpin {
    poll_fn(move |cx| {
        let Some(into) = &into else { return Pin::new(&mut future).poll(cx) };
        let began = Instant::now();
        let polled = Pin::new(&mut future).poll(cx);
        into.set(into.get().saturating_add(nanoseconds(began)));
        polled
    })
}

fn nanoseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Puts back whose turn it was before, also when a poll panics.
struct Outer(Option<Rc<dyn Account>>);

impl Drop for Outer {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;

    use super::*;

    #[derive(Default)]
    struct Sum(Cell<u64>);

    impl Account for Sum {
        fn charge(&self, ns: u64) {
            self.0.set(self.0.get() + ns);
        }
    }

    fn busy() {
        let began = Instant::now();
        while began.elapsed().as_micros() < 200 {}
    }

    #[test]
    fn whose_turn_it_is_is_charged_and_the_outer_one_comes_back() {
        let (outer, inner) = (Rc::new(Sum::default()), Rc::new(Sum::default()));
        let is_current = |sum: &Rc<Sum>| current().is_some_and(|now| std::ptr::addr_eq(Rc::as_ptr(&now), Rc::as_ptr(sum)));
        let nested = charged(
            inner.clone(),
            poll_fn(|_| {
                assert!(is_current(&inner));
                busy();
                std::task::Poll::Ready(())
            }),
        );
        let mut nested = nested;
        let whole = charged(
            outer.clone(),
            poll_fn(|cx| {
                assert!(is_current(&outer));
                let polled = Pin::new(&mut nested).poll(cx);
                assert!(is_current(&outer));
                polled
            }),
        );
        assert_eq!(whole.now_or_never(), Some(()));
        assert!(current().is_none());
        assert!(inner.0.get() >= 200_000 && outer.0.get() >= inner.0.get());
    }

    #[test]
    fn a_poll_that_panics_leaves_no_account_behind() {
        let sum = Rc::new(Sum::default());
        let failing = charged(sum, poll_fn(|_| -> std::task::Poll<()> { panic!("planted") }));
        assert!(catch_unwind(AssertUnwindSafe(|| failing.now_or_never())).is_err());
        assert!(current().is_none());
        let time = Rc::new(Cell::new(0));
        assert_eq!(measured(Some(time.clone()), std::future::ready(7).inspect(|_| busy())).now_or_never(), Some(7));
        assert!(time.get() >= 200_000);
    }
}
