//! A request that waits for something that may take long (a long poll) is no work that the rescue thread expects to progress, until it is
//! woken: from then to its next poll it is, so that a wake-up that the executor slept through is made good within milliseconds.
//!
//! The future is polled with a waker of its own, which notes the wake-up and passes it on. One small allocation per wait.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

use super::rescue::Pulse;

/// Waits; counts as work of the shard from each wake-up to the poll that answers it.
pub async fn parked<T>(pulse: Arc<Pulse>, wait: impl Future<Output = T>) -> T {
    let noted = Arc::new(Noted { pulse, woken: AtomicBool::new(false), task: AtomicWaker::new() });
    Parked { waker: Waker::from(Arc::clone(&noted)), noted, wait: pin!(wait) }.await
}

struct Noted {
    pulse: Arc<Pulse>,
    /// Woken and not polled since.
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Noted {
    fn answered(&self) {
        if self.woken.swap(false, Ordering::AcqRel) {
            self.pulse.end_work();
        }
    }
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.pulse.begin_work();
        }
        self.task.wake();
    }
}

struct Parked<'a, F> {
    noted: Arc<Noted>,
    waker: Waker,
    wait: Pin<&'a mut F>,
}

impl<F: Future> Future for Parked<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.noted.task.register(cx.waker());
        self.noted.answered();
        let this = &mut *self;
        this.wait.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

impl<F> Drop for Parked<'_, F> {
    fn drop(&mut self) {
        // Whoever wakes it later finds no task, and must not leave work behind that nobody ends.
        self.noted.task.take();
        if self.noted.woken.swap(true, Ordering::AcqRel) {
            self.noted.pulse.end_work();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;

    use super::*;

    #[test]
    fn it_is_work_from_the_wake_up_to_the_poll() {
        let pulse = Pulse::for_shards(1).remove(0);
        let (tell, told) = oneshot::channel::<u32>();
        let mut waiting = pin!(parked(Arc::clone(&pulse), told));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert_eq!(pulse.work_outstanding(), 0, "a wait is no work");
        tell.send(7).expect("it waits");
        assert_eq!(pulse.work_outstanding(), 1, "woken and not polled");
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(7)));
        assert_eq!(pulse.work_outstanding(), 0);
    }

    #[test]
    fn a_wait_that_is_given_up_leaves_no_work() {
        let pulse = Pulse::for_shards(1).remove(0);
        let mut cx = Context::from_waker(Waker::noop());
        let wakers = std::cell::RefCell::new(Vec::<Waker>::new());
        for woken_before in [false, true] {
            let mut waiting = Box::pin(parked(
                Arc::clone(&pulse),
                std::future::poll_fn(|cx| {
                    wakers.borrow_mut().push(cx.waker().clone());
                    Poll::<()>::Pending
                }),
            ));
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            let waker = wakers.borrow_mut().pop().expect("registered");
            if woken_before {
                waker.wake_by_ref();
                assert_eq!(pulse.work_outstanding(), 1);
            }
            drop(waiting);
            waker.wake();
            assert_eq!(pulse.work_outstanding(), 0, "woken before it was given up: {woken_before}");
        }
    }
}
