//! A rate over a sliding window, as Kafka measures it, in atomics that all shards add to.
//!
//! The window is `samples` parts of `part_ms`; the oldest part is dropped as a whole. The time a rate is taken over is the full parts and
//! what has passed of the present one, from the first record on: a quiet client may use nearly a window's worth at once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shape of a window: `quota.window.num` and `quota.window.size.seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Parts, at least 2.
    pub samples: u32,
    /// Length of a part, milliseconds, at least 1.
    pub part_ms: u64,
}

impl WindowSpec {
    /// From the settings; both are at least 1 there.
    pub fn new(samples: i32, part_seconds: i32) -> WindowSpec {
        WindowSpec { samples: u32::try_from(samples).unwrap_or(0).max(2), part_ms: u64::try_from(part_seconds).unwrap_or(0).max(1) * 1000 }
    }

    /// The full parts, milliseconds: what a client that was quiet may use at once is a rate times this.
    pub fn full_ms(&self) -> u64 {
        u64::from(self.samples - 1) * self.part_ms
    }
}

/// Bits of a part's amount: a tebibyte, or 18 minutes in nanoseconds, within one part; more counts as that.
const AMOUNT_BITS: u32 = 40;
const AMOUNT_MAX: u64 = (1 << AMOUNT_BITS) - 1;

/// The amounts of one entity. Every part is one word: the low bits are the amount, the high ones say which part it is.
#[derive(Debug)]
pub struct SharedRate {
    spec: WindowSpec,
    parts: Box<[AtomicU64]>,
}

impl SharedRate {
    /// Nothing used.
    pub fn new(spec: WindowSpec) -> SharedRate {
        SharedRate { spec, parts: (0..spec.samples).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds an amount.
    pub fn record(&self, now_ms: u64, amount: u64) {
        self.change(now_ms, |held| held.saturating_add(amount).min(AMOUNT_MAX));
    }

    /// Takes back what was recorded just now.
    pub fn unrecord(&self, now_ms: u64, amount: u64) {
        self.change(now_ms, |held| held.saturating_sub(amount));
    }

    fn change(&self, now_ms: u64, with: impl Fn(u64) -> u64) {
        let number = now_ms / self.spec.part_ms;
        let tag = tag_of(number);
        let Some(part) = self.parts.get((number % u64::from(self.spec.samples)) as usize) else { return };
        // Only the sum matters, and nothing else is read because of it: no ordering between the words is needed.
        let _ = part.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
            let held = if word >> AMOUNT_BITS == tag { word & AMOUNT_MAX } else { 0 };
            Some(tag << AMOUNT_BITS | with(held))
        });
    }

    /// What was used within the window.
    pub fn used(&self, now_ms: u64) -> u64 {
        let number = now_ms / self.spec.part_ms;
        let oldest = (number + 1).saturating_sub(u64::from(self.spec.samples));
        let parts = (oldest..=number).filter_map(|n| {
            let word = self.parts.get((n % u64::from(self.spec.samples)) as usize)?.load(Ordering::Relaxed);
            (word >> AMOUNT_BITS == tag_of(n)).then_some(word & AMOUNT_MAX)
        });
        parts.sum()
    }

    /// Milliseconds until the rate is back at `per_second`; 0 while it is not above it.
    pub fn over_ms(&self, now_ms: u64, per_second: f64) -> u64 {
        let span_ms = (self.spec.full_ms() + now_ms % self.spec.part_ms) as f64;
        let due_ms = self.used(now_ms) as f64 * 1000.0 / per_second;
        if due_ms > span_ms { (due_ms - span_ms).round().min(THROTTLE_MS_MAX) as u64 } else { 0 }
    }
}

/// Longest throttle time that is computed, milliseconds: an hour. Kafka has no bound.
const THROTTLE_MS_MAX: f64 = 3_600_000.0;

/// A part's number as far as a word holds it; never that of an unused word.
fn tag_of(number: u64) -> u64 {
    number % ((1 << (64 - AMOUNT_BITS)) - 1) + 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SPEC: WindowSpec = WindowSpec { samples: 11, part_ms: 1000 };

    #[test]
    fn a_quiet_client_may_use_ten_seconds_worth_then_waits_for_what_is_above() {
        let rate = SharedRate::new(SPEC);
        rate.record(500_000, 10_000_000);
        assert_eq!(rate.over_ms(500_000, 1e6), 0, "exactly the quota is not above it");
        rate.record(500_000, 1_000_000);
        // 11 MB over 10 s are 1.1 MB/s: 10 % above, for a window of 10 s.
        assert_eq!(rate.over_ms(500_000, 1e6), 1000);
        assert_eq!(rate.over_ms(500_400, 1e6), 600);
        assert_eq!(rate.over_ms(501_000, 1e6), 1000, "a part that ends takes its time with it");
        assert_eq!((rate.used(510_999), rate.used(511_000)), (11_000_000, 0));
        rate.unrecord(500_000, 50_000_000);
        assert_eq!(rate.used(500_000), 0);
    }

    #[test]
    fn who_obeys_gets_the_rate_in_virtual_time() {
        for (request, per_second) in [(16_384, 1e6), (1_000_000, 1e6), (300, 5_000.0), (1_000_000, 50e6)] {
            let rate = SharedRate::new(SPEC);
            let (mut now, mut sent) = (7_777u64, 0u64);
            let end = now + 120_000;
            while now < end {
                rate.record(now, request);
                sent += request;
                // A millisecond per request, and what the broker says.
                now += 1 + rate.over_ms(now, per_second);
            }
            let ratio = sent as f64 / 120.0 / per_second;
            // At the start a window's worth: 10 of 120 seconds.
            assert!((0.95..1.15).contains(&ratio), "{request} bytes at {per_second}/s: {ratio}");
        }
    }

    #[test]
    fn shards_add_to_one_sum() {
        let rate = Arc::new(SharedRate::new(SPEC));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let rate = Arc::clone(&rate);
                std::thread::spawn(move || (0..10_000u64).for_each(|i| rate.record(1_000_000 + i / 2, 3)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(rate.used(1_005_000), 120_000);
    }

    #[test]
    fn amounts_and_times_at_their_ends_do_not_wrap() {
        let rate = SharedRate::new(SPEC);
        rate.record(0, u64::MAX);
        rate.record(0, u64::MAX);
        assert_eq!(rate.used(0), AMOUNT_MAX);
        assert_eq!(rate.over_ms(0, 1.0), 3_600_000);
        let late = u64::MAX - 5_000;
        rate.record(late, 7);
        assert_eq!(rate.used(late), 7);
        assert_eq!(WindowSpec::new(1, 0), WindowSpec { samples: 2, part_ms: 1000 });
    }
}
