//! Counted permits handed out in the order in which they were asked for, and a place for one waiting task.
//!
//! Single-threaded. Callers: the mesh (open requests of a lane), the network side (memory of a shard).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Counted permits, first come first served.
pub(crate) struct Credits {
    available: Cell<usize>,
    waiters: RefCell<VecDeque<Rc<CreditWaiter>>>,
    open: Cell<bool>,
}

#[derive(Default)]
struct CreditWaiter {
    granted: Cell<bool>,
    dropped: Cell<bool>,
    waker: WakerCell,
}

impl Credits {
    pub(crate) fn new(available: usize) -> Self {
        Credits { available: Cell::new(available), waiters: RefCell::default(), open: Cell::new(false) }
    }

    pub(crate) async fn take(&self) {
        if self.open.get() {
            return;
        }
        if self.available.get() > 0 && self.waiters.borrow().is_empty() {
            self.available.set(self.available.get() - 1);
            return;
        }
        let waiter = Rc::new(CreditWaiter::default());
        self.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        let guard = CreditGuard { credits: self, waiter };
        guard.waiter.waker.wait_until(|| guard.waiter.granted.get()).await;
        // Used: the guard has nothing to give back.
        guard.waiter.granted.set(false);
    }

    pub(crate) fn give(&self) {
        if self.open.get() {
            return;
        }
        while let Some(waiter) = { self.waiters.borrow_mut().pop_front() } {
            if !waiter.dropped.get() {
                waiter.granted.set(true);
                waiter.waker.wake();
                return;
            }
        }
        self.available.set(self.available.get() + 1);
    }

    pub(crate) fn open_all(&self) {
        self.open.set(true);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waiter in waiters {
            waiter.granted.set(true);
            waiter.waker.wake();
        }
    }
}

struct CreditGuard<'a> {
    credits: &'a Credits,
    waiter: Rc<CreditWaiter>,
}

impl Drop for CreditGuard<'_> {
    fn drop(&mut self) {
        self.waiter.dropped.set(true);
        // Granted but never used: the next one gets it.
        if self.waiter.granted.get() {
            self.credits.give();
        }
    }
}

/// A place for one waiting task of this shard.
#[derive(Default)]
pub(crate) struct WakerCell(RefCell<Option<Waker>>);

impl WakerCell {
    pub(crate) fn wake(&self) {
        let waker = self.0.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) async fn wait_until(&self, ready: impl Fn() -> bool) {
        std::future::poll_fn(|cx| {
            if ready() {
                return Poll::Ready(());
            }
            *self.0.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for the next `wake`.
    pub(crate) async fn wait_once(&self) {
        let mut registered = false;
        std::future::poll_fn(|cx| {
            if registered && self.0.borrow().is_none() {
                return Poll::Ready(());
            }
            registered = true;
            *self.0.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn permits_go_out_in_the_order_asked_for() {
        let credits = Credits::new(1);
        assert!(credits.take().now_or_never().is_some());
        let mut second = Box::pin(credits.take());
        let mut third = Box::pin(credits.take());
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        credits.give();
        assert!((&mut third).now_or_never().is_none(), "the third must not overtake the second");
        assert!((&mut second).now_or_never().is_some());
        credits.give();
        assert!((&mut third).now_or_never().is_some());
        assert_eq!(credits.available.get(), 0);
    }

    #[test]
    fn a_waiter_that_goes_away_loses_no_permit() {
        let credits = Credits::new(1);
        assert!(credits.take().now_or_never().is_some());
        let mut granted_then_dropped = Box::pin(credits.take());
        let mut next = Box::pin(credits.take());
        assert!((&mut granted_then_dropped).now_or_never().is_none());
        assert!((&mut next).now_or_never().is_none());
        credits.give();
        drop(granted_then_dropped);
        assert!((&mut next).now_or_never().is_some());
        credits.give();
        assert_eq!(credits.available.get(), 1);
    }
}
