//! Whether any of very many waits is over: each of them is polled once with the waker of the news, and whoever waits for news is woken by the
//! first that wakes it. Nothing is polled again, so a wake-up costs the same however many there are.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Comes once.
#[derive(Debug, Default)]
pub struct News {
    come: AtomicBool,
    task: AtomicWaker,
}

impl News {
    /// Polls a wait so that it brings the news when it is over; also when it is over already. Keep the wait: dropped, it brings nothing.
    pub fn expect<F: Future + Unpin>(self: &Arc<Self>, wait: &mut F) {
        let waker = Waker::from(Arc::clone(self));
        if Pin::new(wait).poll(&mut Context::from_waker(&waker)).is_ready() {
            self.wake_by_ref();
        }
    }

    /// Whether there is any.
    pub fn has_come(&self) -> bool {
        self.come.load(Ordering::Acquire)
    }

    /// Waits for it.
    pub async fn come(&self) {
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.has_come() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.come.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::purgatory::Watermark;

    #[test]
    fn the_first_that_moves_brings_it() {
        let marks: Vec<Watermark> = (0..5).map(Watermark::new).collect();
        let news = Arc::new(News::default());
        let mut waits: Vec<_> = marks.iter().map(|mark| mark.at_least(7)).collect();
        waits.iter_mut().for_each(|wait| news.expect(wait));
        block_on(async {
            let mut come = std::pin::pin!(news.come());
            assert!(poll_once(come.as_mut()).await.is_none());
            marks[3].advance(6);
            assert!(poll_once(come.as_mut()).await.is_none(), "that is not enough");
            marks[3].advance(7);
            come.await;
        });
        drop(waits);
        assert!(marks.iter().all(|mark| mark.waiting() == 0));
    }

    #[test]
    fn what_is_over_already_or_closed_is_news_at_once() {
        for close in [false, true] {
            let mark = Watermark::new(3);
            let news = Arc::new(News::default());
            let mut wait = mark.at_least(if close { 4 } else { 3 });
            news.expect(&mut wait);
            assert_eq!(news.has_come(), !close);
            mark.close();
            assert!(news.has_come());
        }
    }
}
