//! A wake-up for tasks of one shard: "something has changed since generation n".
//!
//! Single-threaded. A waiter reads `generation`, checks its condition, then awaits `changed(generation)`: a change in between is never missed.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The wake-up.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    generation: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Number of changes so far.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Wakes everyone who waits.
    pub(crate) fn notify(&self) {
        self.generation.set(self.generation.get() + 1);
        // Taken out first: a waker may run code that waits again.
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in wakers {
            waker.wake();
        }
    }

    /// Waits until the generation is not `since` any more.
    pub(crate) async fn changed(&self, since: u64) {
        poll_fn(|cx| {
            if self.generation.get() != since {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|w| w.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_change_before_the_wait_is_not_missed() {
        let notify = Notify::default();
        let since = notify.generation();
        assert!(block_on(poll_once(notify.changed(since))).is_none());
        notify.notify();
        assert!(block_on(poll_once(notify.changed(since))).is_some());
        assert!(block_on(poll_once(notify.changed(notify.generation()))).is_none());
    }
}
