//! Waiting for time on a shard: the only place where the broker meets a timer of the executor.
//!
//! All waits of a shard hang on one of the executor's timers, which is set to the earliest of them (`deadlines.rs`). The executor looks
//! at each of its timers on every turn, and keeps one more per poll of a wait that is not over: with a timer for every produce request
//! in flight that took two thirds of a busy shard's CPU time (DESIGN.md). On a thread that is no shard each wait has a timer of its own.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use super::deadlines::{DeadlineKey, Deadlines};
use super::task_queue::{self, Queue, Task};

/// The executor counts whole milliseconds and drops the rest; a timer set this much later is never early, which would make it spin.
const TIMER_SLACK: Duration = Duration::from_millis(1);
/// Waits that are ended before the loop gives way.
const WAKES_PER_TURN: usize = 256;

/// What the waits of one shard share.
#[derive(Debug)]
struct ShardClock {
    origin: Instant,
    deadlines: RefCell<Deadlines>,
    /// What the executor's timer is set to; an earlier deadline wakes the driver to set it anew.
    armed_us: Cell<Option<u64>>,
    driver: RefCell<Option<Waker>>,
}

thread_local! {
    static CLOCK: RefCell<Option<Rc<ShardClock>>> = const { RefCell::new(None) };
}

/// Makes this thread's waits share one timer until the task is cancelled. Called once per shard, behind `task_queue::create`.
pub fn start() -> Task<()> {
    let clock = Rc::new(ShardClock {
        origin: Instant::now(),
        deadlines: RefCell::default(),
        armed_us: Cell::new(None),
        driver: RefCell::new(None),
    });
    CLOCK.with(|place| *place.borrow_mut() = Some(Rc::clone(&clock)));
    task_queue::spawn(Queue::Net, Driver { clock, timer: None })
}

/// Waits that are set on this shard; 0 on a thread that is no shard.
pub fn waiting() -> usize {
    CLOCK.with(|place| place.borrow().as_ref().map_or(0, |clock| clock.deadlines.borrow().len()))
}

impl ShardClock {
    fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn rouse(&self) {
        let driver = self.driver.borrow().clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// Holds the shard's one timer and ends the waits that are over.
struct Driver {
    clock: Rc<ShardClock>,
    timer: Option<Timer>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let clock = &this.clock;
        *clock.driver.borrow_mut() = Some(cx.waker().clone());
        for _ in 0..WAKES_PER_TURN {
            let due = clock.deadlines.borrow_mut().pop_due(clock.now_us());
            match due {
                Some(waker) => waker.wake(),
                None => break,
            }
        }
        let next_us = clock.deadlines.borrow().next_us();
        let now_us = clock.now_us();
        if next_us.is_some_and(|next_us| next_us <= now_us) {
            // More than one turn's worth is due, or something came due meanwhile.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let armed_us = clock.armed_us.get().filter(|armed_us| *armed_us > now_us && this.timer.is_some());
        // A timer that is earlier than needed stays: setting it anew with each request that ends would cost more than one idle wake-up.
        if let Some(next_us) = next_us
            && armed_us.is_none_or(|armed_us| next_us < armed_us)
        {
            let mut timer = Timer::new(Duration::from_micros(next_us - now_us) + TIMER_SLACK);
            match Pin::new(&mut timer).poll(cx) {
                Poll::Ready(_) => cx.waker().wake_by_ref(),
                Poll::Pending => {}
            }
            this.timer = Some(timer);
            clock.armed_us.set(Some(next_us));
        } else if next_us.is_none() && armed_us.is_none() {
            this.timer = None;
            clock.armed_us.set(None);
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        CLOCK.with(|place| {
            if let Ok(mut place) = place.try_borrow_mut() {
                place.take();
            }
        });
        // Whoever still waits goes on with a timer of its own.
        let mut deadlines = std::mem::take(&mut *self.clock.deadlines.borrow_mut());
        while let Some(waker) = deadlines.pop_due(u64::MAX) {
            waker.wake();
        }
    }
}

/// A wait for time. Dropping it ends it.
#[derive(Debug)]
#[must_use = "a wait does nothing unless awaited"]
pub struct Sleep {
    until: Instant,
    set: Registered,
}

#[derive(Debug)]
enum Registered {
    Not,
    Shared(Rc<ShardClock>, DeadlineKey),
    Own { _timer: Timer },
}

/// Waits this long. What is further away than the clock can tell is never reached.
pub fn sleep(duration: Duration) -> Sleep {
    let now = Instant::now();
    Sleep { until: now.checked_add(duration).unwrap_or_else(|| now + FAR), set: Registered::Not }
}

/// Farther than any process lives: a hundred years.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Sleep {
    fn unset(&mut self) {
        if let Registered::Shared(clock, key) = &self.set {
            clock.deadlines.borrow_mut().clear(*key);
        }
        self.set = Registered::Not;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        if now >= self.until {
            self.unset();
            return Poll::Ready(());
        }
        let shared = CLOCK.with(|place| place.borrow().clone());
        if let (Registered::Shared(clock, key), Some(shared)) = (&self.set, &shared)
            && Rc::ptr_eq(clock, shared)
        {
            clock.deadlines.borrow_mut().set_waker(*key, cx.waker());
            return Poll::Pending;
        }
        self.unset();
        match shared {
            Some(clock) => {
                let until = self.until.saturating_duration_since(clock.origin);
                // Rounded up: never early.
                let at_us = u64::try_from(until.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
                let key = clock.deadlines.borrow_mut().set(at_us, cx.waker().clone());
                if clock.armed_us.get().is_none_or(|armed_us| at_us < armed_us) {
                    clock.rouse();
                }
                self.set = Registered::Shared(clock, key);
            }
            None => {
                // A new one each time: the executor keeps the old one otherwise.
                let mut timer = Timer::new(self.until - now + TIMER_SLACK);
                if Pin::new(&mut timer).poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.set = Registered::Own { _timer: timer };
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unset();
    }
}

/// `Some` if the future ends first, `None` after `limit`. The future is tried first, so what is ready costs no timer.
pub async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    if let Poll::Ready(out) = futures_util::poll!(future.as_mut()) {
        return Some(out);
    }
    if limit.is_zero() {
        return None;
    }
    futures_lite::future::or(async { Some(future.await) }, async {
        sleep(limit).await;
        None
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::rescue::Pulse;

    fn on_a_shard<T: 'static>(test: impl Future<Output = T> + 'static) -> T {
        glommio::LocalExecutorBuilder::default().make().unwrap().run(async move {
            task_queue::create(Pulse::for_shards(1).remove(0)).unwrap();
            let driver = start();
            let out = test.await;
            driver.cancel().await;
            task_queue::forget();
            out
        })
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn waits_end_in_order_and_none_is_early() {
        let ended = on_a_shard(async {
            let ended = Rc::new(RefCell::new(Vec::new()));
            let waits: Vec<_> = [40u64, 5, 20, 5, 0]
                .into_iter()
                .map(|ms| {
                    let ended = Rc::clone(&ended);
                    task_queue::spawn(Queue::Net, async move {
                        let began = Instant::now();
                        sleep(millis(ms)).await;
                        assert!(began.elapsed() >= millis(ms), "{ms} ms was over after {:?}", began.elapsed());
                        ended.borrow_mut().push(ms);
                    })
                })
                .collect();
            for wait in waits {
                wait.await;
            }
            assert_eq!(waiting(), 0);
            ended.borrow().clone()
        });
        assert_eq!(ended, [0, 5, 5, 20, 40]);
    }

    #[test]
    fn a_wait_that_is_polled_often_or_dropped_leaves_nothing_behind() {
        on_a_shard(async {
            for _ in 0..1000 {
                let mut wait = sleep(Duration::from_secs(30));
                for _ in 0..5 {
                    assert!(futures_util::poll!(Pin::new(&mut wait)).is_pending());
                }
                assert_eq!(waiting(), 1);
            }
            assert_eq!(waiting(), 0);
        });
    }

    #[test]
    fn an_earlier_wait_does_not_wait_for_a_later_one() {
        on_a_shard(async {
            let late = task_queue::spawn(Queue::Net, sleep(Duration::from_secs(60)));
            sleep(millis(5)).await;
            let began = Instant::now();
            sleep(millis(5)).await;
            assert!(began.elapsed() < Duration::from_secs(30));
            assert_eq!(within(millis(5), std::future::pending::<()>()).await, None);
            assert_eq!(within(Duration::from_secs(60), async { 7 }).await, Some(7));
            assert_eq!(within(Duration::MAX, async { 8 }).await, Some(8));
            late.cancel().await;
            assert_eq!(waiting(), 0);
        });
    }

    #[test]
    fn waits_go_on_without_the_driver() {
        on_a_shard(async {
            let wait = task_queue::spawn(Queue::Net, sleep(millis(30)));
            task_queue::reactor_turn().await;
            assert_eq!(waiting(), 1);
            CLOCK.with(|place| place.borrow_mut().take());
            wait.await;
        });
        glommio::LocalExecutorBuilder::default().make().unwrap().run(async {
            let began = Instant::now();
            sleep(millis(3)).await;
            assert!(began.elapsed() >= millis(3));
            assert_eq!(within(millis(3), std::future::pending::<()>()).await, None);
        });
    }
}
