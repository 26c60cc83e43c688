//! The stall detector: how long each turn of a shard holds it. A turn is one poll of one task; nothing else of the shard runs meanwhile.
//!
//! Measured on the wall clock, so that a turn that waits for the disk inside the kernel counts in full; so does one that loses its CPU to another
//! thread. That part is taken off in a second distribution, the shard's own time, by what the scheduler counts (`RunDelay`): a long turn that is
//! long in both is the broker's doing, one that is short in the second is the host's. The start is not counted: nobody waits for a shard before
//! it serves.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::metrics::{Counter, Gauge, ShardMetrics, Timing};

/// A turn at least this long is a stall: counted, and logged at `debug`.
pub const STALL: Duration = Duration::from_millis(2);
/// The longest turn is that of the last one or two of these, so that a stall of long ago does not hide the present.
const WINDOW: Duration = Duration::from_secs(30);
/// Only of turns at least this long is it asked how much of them was another thread's.
const LONG: Duration = Duration::from_millis(1);
/// What the scheduler has counted is read when a turn begins this long after the last reading. It bounds both the cost (about 1 us each) and what
/// a long turn may be charged too much.
const READ_EVERY: Duration = Duration::from_micros(500);

/// What one shard's turns took.
#[derive(Default)]
pub struct StallDetector {
    metrics: OnceCell<Rc<ShardMetrics>>,
    longest: Longest,
    others: RunDelay,
}

impl StallDetector {
    /// Counts from now on, into these metrics.
    pub fn count_into(&self, metrics: Rc<ShardMetrics>) {
        // A second call changes nothing: a shard has one set of metrics.
        let _ = self.metrics.set(metrics);
        self.others.of_this_thread();
    }

    /// Adds to a counter of the shard.
    pub fn count(&self, counter: Counter, n: u64) {
        if let Some(metrics) = self.metrics.get() {
            metrics.add(counter, n);
        }
    }

    /// A turn begins. Returns when.
    pub fn turn(&self) -> Instant {
        let began = Instant::now();
        self.others.turn(began);
        began
    }

    /// A turn that began at `began` is over.
    pub fn turn_over(&self, began: Instant, queue: &'static str) {
        let Some(metrics) = self.metrics.get() else { return };
        let took = began.elapsed();
        let own = if took >= LONG { took.saturating_sub(self.others.within(began, began + took)) } else { took };
        metrics.time(Timing::Turn, took.as_micros() as u64);
        metrics.time(Timing::TurnOwn, own.as_micros() as u64);
        if took >= STALL {
            metrics.inc(Counter::Stalls);
            metrics.add(Counter::OwnStalls, u64::from(own >= STALL));
            tracing::debug!(queue, us = took.as_micros() as u64, own_us = own.as_micros() as u64, "a task held its shard");
        }
        self.longest.add(began, took);
    }

    /// Brings the gauge up to date; called before a snapshot.
    pub fn observe(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.set(Gauge::LongestTurn, self.longest.get(Instant::now()).as_micros() as i64);
        }
    }
}

/// For how long this thread could have run and did not, because its CPU ran another: counted by the scheduler, read now and then. Where the
/// kernel does not tell, it is nothing.
#[derive(Default)]
struct RunDelay {
    schedstat: OnceCell<File>,
    /// The last reading: when, and the total until then.
    read: Cell<Option<(Instant, Duration)>>,
}

impl RunDelay {
    /// Counts for the thread that calls this.
    fn of_this_thread(&self) {
        if let Ok(file) = File::open("/proc/thread-self/schedstat") {
            let _ = self.schedstat.set(file);
        }
    }

    /// A turn begins: reads, if the last reading is old.
    fn turn(&self, now: Instant) {
        if self.read.get().is_none_or(|(at, _)| now.saturating_duration_since(at) >= READ_EVERY) {
            self.read_at(now);
        }
    }

    /// How much of the time between two moments was another thread's, at least; the second moment is now. What was lost between the last reading
    /// and the first moment cannot be told apart: all of that time is taken for lost.
    fn within(&self, from: Instant, to: Instant) -> Duration {
        let Some((read_at, before)) = self.read.get() else { return Duration::ZERO };
        self.read_at(to);
        let total = self.read.get().map_or(before, |(_, total)| total);
        lost(total.saturating_sub(before), from.saturating_duration_since(read_at))
    }

    fn read_at(&self, now: Instant) {
        let Some(file) = self.schedstat.get() else { return };
        // Three numbers: nanoseconds on the CPU, nanoseconds waiting for it, time slices.
        let mut text = [0; 80];
        let told = file.read_at(&mut text, 0).ok().and_then(|len| delay_ns(text.get(..len)?));
        if let Some(ns) = told {
            self.read.set(Some((now, Duration::from_nanos(ns))));
        }
    }
}

/// What a turn lost of `lost_since_reading`, when it began `before_it` after the reading.
fn lost(lost_since_reading: Duration, before_it: Duration) -> Duration {
    lost_since_reading.saturating_sub(before_it)
}

fn delay_ns(schedstat: &[u8]) -> Option<u64> {
    std::str::from_utf8(schedstat).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The longest of the recent turns: of the window that runs and of the one before it.
#[derive(Default)]
struct Longest {
    window: Cell<Option<Instant>>,
    now: Cell<Duration>,
    before: Cell<Duration>,
}

impl Longest {
    fn add(&self, at: Instant, took: Duration) {
        // Short turns, nearly all, cost one comparison.
        if took > self.now.get() || self.window.get().is_none() {
            self.turn_to(at);
            self.now.set(self.now.get().max(took));
        }
    }

    fn get(&self, at: Instant) -> Duration {
        self.turn_to(at);
        self.now.get().max(self.before.get())
    }

    /// Moves on to the window of `at`.
    fn turn_to(&self, at: Instant) {
        let Some(began) = self.window.get() else { return self.window.set(Some(at)) };
        let age = at.saturating_duration_since(began);
        if age >= WINDOW {
            self.before.set(if age < 2 * WINDOW { self.now.get() } else { Duration::ZERO });
            self.now.set(Duration::ZERO);
            self.window.set(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_turn_is_that_of_the_last_two_windows() {
        let longest = Longest::default();
        let start = Instant::now();
        let ms = Duration::from_millis;
        longest.add(start, ms(3));
        longest.add(start + ms(1), ms(9));
        longest.add(start + ms(2), ms(1));
        assert_eq!(longest.get(start + ms(3)), ms(9));
        assert_eq!(longest.get(start + WINDOW), ms(9), "the window before counts");
        longest.add(start + WINDOW + ms(1), ms(2));
        assert_eq!(longest.get(start + WINDOW + ms(2)), ms(9));
        assert_eq!(longest.get(start + 2 * WINDOW), ms(2));
        longest.add(start + 2 * WINDOW + ms(1), ms(4));
        assert_eq!(longest.get(start + 5 * WINDOW), Duration::ZERO, "after a quiet time nothing is left");
    }

    #[test]
    fn what_others_took_is_never_more_than_the_scheduler_says() {
        let ms = Duration::from_millis;
        assert_eq!(lost(ms(5), ms(0)), ms(5));
        assert_eq!(lost(ms(5), ms(2)), ms(3), "it may have been before the turn");
        assert_eq!(lost(ms(1), ms(2)), ms(0));
        assert_eq!(delay_ns(b"47479429 60340473 88\n"), Some(60_340_473));
        assert_eq!((delay_ns(b""), delay_ns(b"12"), delay_ns(b"1 x 2")), (None, None, None));
    }

    #[test]
    fn turns_are_counted_once_there_are_metrics() {
        let detector = StallDetector::default();
        detector.turn_over(Instant::now() - STALL, "test");
        let metrics = Rc::new(ShardMetrics::new(0));
        detector.count_into(Rc::clone(&metrics));
        detector.turn_over(Instant::now(), "test");
        detector.turn_over(Instant::now() - 3 * STALL, "test");
        detector.observe();
        assert_eq!(metrics.counter(Counter::Stalls), 1);
        assert!(metrics.gauge(Gauge::LongestTurn) >= 6_000);
        let turns = metrics.snapshot().timings[Timing::Turn as usize].clone().map(|b| b.count);
        assert_eq!(turns, Some(2));
    }
}
