//! The stall detector: how long each turn of a shard holds it. A turn is one poll of one task; nothing else of the shard runs meanwhile.
//!
//! Measured on the wall clock, so that a turn that waits for the disk inside the kernel counts in full; so does one that loses its CPU to another
//! process, which is why the figures of a shared host are upper bounds. The start is not counted: nobody waits for a shard before it serves.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::metrics::{Counter, Gauge, ShardMetrics, Timing};

/// A turn at least this long is a stall: counted, and logged at `debug`.
pub const STALL: Duration = Duration::from_millis(2);
/// The longest turn is that of the last one or two of these, so that a stall of long ago does not hide the present.
const WINDOW: Duration = Duration::from_secs(30);

/// What one shard's turns took.
#[derive(Default)]
pub struct StallDetector {
    metrics: OnceCell<Rc<ShardMetrics>>,
    longest: Longest,
}

impl StallDetector {
    /// Counts from now on, into these metrics.
    pub fn count_into(&self, metrics: Rc<ShardMetrics>) {
        // A second call changes nothing: a shard has one set of metrics.
        let _ = self.metrics.set(metrics);
    }

    /// Adds to a counter of the shard.
    pub fn count(&self, counter: Counter, n: u64) {
        if let Some(metrics) = self.metrics.get() {
            metrics.add(counter, n);
        }
    }

    /// A turn that began at `began` is over.
    pub fn turn_over(&self, began: Instant, queue: &'static str) {
        let Some(metrics) = self.metrics.get() else { return };
        let took = began.elapsed();
        metrics.time(Timing::Turn, took.as_micros() as u64);
        if took >= STALL {
            metrics.inc(Counter::Stalls);
            tracing::debug!(queue, us = took.as_micros() as u64, "a task held its shard");
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
