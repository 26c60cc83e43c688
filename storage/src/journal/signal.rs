//! `Signal`: lets tasks of one thread wait until a condition holds; whoever changes what the condition reads calls `notify`.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes everybody who waits, for each to look again.
#[derive(Default)]
pub(crate) struct Signal {
    wakers: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Waits until `look` gives something. `look` is called once at first and once after each `notify`.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|w| w.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Wakes everybody who waits.
    pub(crate) fn notify(&self) {
        let mut woken = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in woken.drain(..) {
            waker.wake();
        }
        // The list's memory is kept for the next waiters.
        let mut wakers = self.wakers.borrow_mut();
        if wakers.capacity() == 0 {
            *wakers = woken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, zip};
    use std::cell::Cell;

    #[test]
    fn a_waiter_looks_again_after_each_notify() {
        let (signal, value, looks) = (Signal::default(), Cell::new(0), Cell::new(0));
        let waiter = signal.until(|| {
            looks.set(looks.get() + 1);
            (value.get() == 2).then_some("two")
        });
        let changer = async {
            for n in 1..=2 {
                value.set(n);
                signal.notify();
                futures_lite::future::yield_now().await;
            }
        };
        assert_eq!(block_on(zip(waiter, changer)).0, "two");
        assert!(looks.get() >= 2);
    }
}
