//! The three types that openraft takes from the crate `base2histogram` for statistics about itself, in 4 KiB instead of 29 MB.
//!
//! base2histogram 0.2.3 fills tables for sixteen resolutions when the first histogram is made: 29 MB that stay resident and most of the page
//! faults of a broker's start, for figures that the broker never shows. Here a bucket is computed from the value. The names, fields and
//! meanings are those of the crate, so that the patch in the workspace's manifest replaces it; what openraft does not call is not here.

use std::fmt;
use std::marker::PhantomData;

/// Bits of a value behind its leading one that tell buckets apart: a bucket is at most 1/4 of its values wide.
const MANTISSA_BITS: u32 = 2;
const BUCKETS: usize = (64 - MANTISSA_BITS as usize + 1) << MANTISSA_BITS;

/// Counts of values in buckets of about equal relative width. Memory: 2 KiB once something was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Empty until the first value.
    counts: Vec<u64>,
    unused: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// An empty one; allocates nothing.
    pub fn new() -> Self {
        Histogram { counts: Vec::new(), unused: PhantomData }
    }

    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        if self.counts.is_empty() {
            self.counts.resize(BUCKETS, 0);
        }
        let bucket = &mut self.counts[bucket_of(value)];
        *bucket = bucket.saturating_add(count);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum: u64, &count| sum.saturating_add(count))
    }

    /// The smallest value of the bucket below which the share `p` (0 to 1) of all values lies; 0 when there are none.
    pub fn percentile(&self, p: f64) -> u64 {
        let total = self.total();
        let rank = ((total as f64 * p).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0u64;
        for (bucket, &count) in self.counts.iter().enumerate() {
            below = below.saturating_add(count);
            if below >= rank {
                return least_of(bucket);
            }
        }
        0
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.10),
            p50: self.percentile(0.50),
            p90: self.percentile(0.90),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

fn bucket_of(value: u64) -> usize {
    let leading = 63 - (value | 1).leading_zeros();
    match leading.checked_sub(MANTISSA_BITS) {
        None => value as usize,
        Some(shift) => ((shift as usize + 1) << MANTISSA_BITS) + ((value >> shift) as usize & ((1 << MANTISSA_BITS) - 1)),
    }
}

fn least_of(bucket: usize) -> u64 {
    let mantissa = (bucket & ((1 << MANTISSA_BITS) - 1)) as u64;
    match (bucket >> MANTISSA_BITS).checked_sub(1) {
        None => mantissa,
        Some(shift) => (mantissa | 1 << MANTISSA_BITS) << shift,
    }
}

/// Percentiles of one histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// 0.1 % of the values lie below.
    pub p0_1: u64,
    /// 1 % of the values lie below.
    pub p1: u64,
    /// 5 % of the values lie below.
    pub p5: u64,
    /// 10 % of the values lie below.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// 90 % of the values lie below.
    pub p90: u64,
    /// 99 % of the values lie below.
    pub p99: u64,
    /// 99.9 % of the values lie below.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p1, p50, p90, p99, p99_9, .. } = self;
        write!(f, "[{samples} samples: p1 {p1}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p99_9}]")
    }
}

/// Named histograms, one line of percentiles each.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// No rows.
    pub fn new() -> Self {
        AsciiChart::default()
    }

    /// Adds a row.
    #[must_use]
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.rows.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_their_values() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + (1 << bit) / 2]).chain([u64::MAX]) {
            let bucket = bucket_of(value);
            let least = least_of(bucket);
            assert!(least <= value && value - least <= value / 4, "{value} in bucket {bucket} from {least}");
            assert!(bucket + 1 == BUCKETS || least_of(bucket + 1) > value, "{value} in bucket {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_the_buckets_of_the_ranks() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p99, 0);
        (1..=1000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p50, stats.p99_9), (1000, 1, 448, 896));
        assert_eq!(AsciiChart::new().add("a", histogram).to_string().lines().count(), 1);
    }
}
