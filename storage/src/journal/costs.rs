//! What a write of a frame, and a durable one, have cost of late: the price of the next stronger durability class on this host.
//!
//! Samples of the last frames, kept in two small rings; before there are any, those of the probe at opening.

/// Samples kept of each kind.
const SAMPLES: usize = 256;

/// Half of the samples were at most this long, and 99 in 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostRange {
    /// Median in nanoseconds; 0 without samples.
    pub p50_ns: u64,
    /// 99th percentile in nanoseconds; 0 without samples.
    pub p99_ns: u64,
}

/// Cost on the device of what an acknowledgement waits for, over the last 256 of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCosts {
    /// A write without flush: what `replicated` waits for.
    pub written: CostRange,
    /// A write and the flush after it, or one durable write: what `durable` waits for.
    pub durable: CostRange,
}

/// The samples.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) plain: Recent,
    pub(super) durable: Recent,
}

impl Costs {
    pub(super) fn summary(&self) -> JournalCosts {
        let range = |samples: &Recent| CostRange { p50_ns: samples.quantile(0.5), p99_ns: samples.quantile(0.99) };
        JournalCosts { written: range(&self.plain), durable: range(&self.durable) }
    }
}

/// The last samples, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    samples: Vec<u64>,
    next: usize,
}

impl Recent {
    pub(super) fn push(&mut self, ns: u64) {
        if self.samples.len() < SAMPLES {
            self.samples.push(ns);
        } else {
            self.samples[self.next] = ns;
        }
        self.next = (self.next + 1) % SAMPLES;
    }

    /// The newest sample; 0 without one.
    pub(super) fn last(&self) -> u64 {
        let newest = (self.next + SAMPLES - 1) % SAMPLES;
        self.samples.get(newest).copied().unwrap_or(0)
    }

    /// The smallest sample that at least this share of all does not exceed; 0 without samples.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_samples() {
        let mut recent = Recent::default();
        assert_eq!(recent.quantile(0.5), 0);
        (1..=100).for_each(|ns| recent.push(ns));
        assert_eq!((recent.quantile(0.5), recent.quantile(0.99), recent.quantile(1.0), recent.last()), (50, 99, 100, 100));
        (0..SAMPLES).for_each(|_| recent.push(7));
        assert_eq!((recent.quantile(0.5), recent.quantile(0.99)), (7, 7));
    }
}
