//! Latency histograms: a dense one per thread to record into, a sparse one to merge, keep and write as JSON. Merging loses nothing.
//!
//! Values are nanoseconds; buckets are at most 0.1 % wide (grouping power 10) up to 2^40 ns (18 minutes), above which a value counts as the
//! highest. A quantile is given only when at least [`SAMPLES_BEYOND`] samples lie beyond it: p99 needs 1,000 samples, p99.99 needs 100,000.

use histogram::{Config, Histogram, SparseHistogram};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Buckets per power of two, as a power of two.
pub const GROUPING_POWER: u8 = 10;
/// Highest value, as a power of two of nanoseconds.
pub const MAX_VALUE_POWER: u8 = 40;
/// Samples that must lie beyond a quantile for it to be given.
pub const SAMPLES_BEYOND: f64 = 10.0;

const MAX_VALUE: u64 = (1 << MAX_VALUE_POWER) - 1;
const QUANTILES: [f64; 8] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];

fn config() -> Config {
    Config::new(GROUPING_POWER, MAX_VALUE_POWER).expect("constant powers are in range")
}

/// A dense histogram to record into, about 250 KB.
#[derive(Clone, Debug)]
pub struct Recorder {
    dense: Histogram,
    count: u64,
    /// Smallest and greatest value recorded, so that taking looks only at what was used.
    range: (u64, u64),
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { dense: Histogram::with_config(&config()), count: 0, range: (u64::MAX, 0) }
    }
}

/// The bucket of a value, as the histogram counts them.
fn index_of(value: u64) -> usize {
    let power = value.max(1).ilog2();
    match power.checked_sub(u32::from(GROUPING_POWER) + 1) {
        None => value as usize,
        Some(above) => ((2 + above as usize) << GROUPING_POWER) + ((value - (1 << power)) >> (power - u32::from(GROUPING_POWER))) as usize,
    }
}

impl Recorder {
    /// Records `count` samples of `ns`.
    #[inline]
    pub fn record(&mut self, ns: u64, count: u64) {
        // Cannot fail: the value is clamped into the range.
        let ns = ns.min(MAX_VALUE);
        let _ = self.dense.add(ns, count);
        self.count += count;
        self.range = (self.range.0.min(ns), self.range.1.max(ns));
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes what was recorded and starts anew; `None` when that is nothing.
    pub fn take(&mut self) -> Option<Latency> {
        if self.count == 0 {
            return None;
        }
        let (from, to) = (index_of(self.range.0), index_of(self.range.1));
        let (mut index, mut count) = (Vec::new(), Vec::new());
        for (i, n) in self.dense.as_mut_slice()[from..=to].iter_mut().enumerate().filter(|(_, n)| **n > 0) {
            index.push((from + i) as u32);
            count.push(std::mem::take(n));
        }
        self.count = 0;
        self.range = (u64::MAX, 0);
        // Indices ascend and lie in the histogram they come from.
        let sparse = SparseHistogram::from_parts(config(), index, count).ok()?;
        Some(Latency { sparse })
    }
}

/// A sparse histogram of nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    sparse: SparseHistogram,
}

impl Default for Latency {
    fn default() -> Self {
        Latency { sparse: SparseHistogram::with_config(&config()) }
    }
}

impl Latency {
    /// Adds all samples of `other`. Counts saturate nowhere: an overflow of 64 bits leaves `self` as it was.
    pub fn merge(&mut self, other: &Latency) {
        if let Ok(sum) = self.sparse.checked_add(&other.sparse) {
            self.sparse = sum;
        }
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.sparse.count().iter().sum()
    }

    /// The quantile `q` (0 to 1) in nanoseconds, as the highest value of its bucket; `None` when the sample is too small to carry it.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if !(0.0..=1.0).contains(&q) || count as f64 * (1.0 - q) < SAMPLES_BEYOND - 1e-6 {
            return None;
        }
        let rank = ((q * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.buckets().find_map(|(_, high, n)| {
            seen += n;
            (seen >= rank).then_some(high)
        })
    }

    /// The quantiles that are usually shown and that the sample carries, as (quantile, nanoseconds).
    pub fn quantiles(&self) -> Vec<(f64, u64)> {
        QUANTILES.iter().filter_map(|q| Some((*q, self.quantile(*q)?))).collect()
    }

    /// Greatest value, as the highest of its bucket.
    pub fn max(&self) -> Option<u64> {
        self.buckets().last().map(|(_, high, _)| high)
    }

    /// Smallest value, as the lowest of its bucket.
    pub fn min(&self) -> Option<u64> {
        self.buckets().next().map(|(low, _, _)| low)
    }

    /// Mean from the middles of the buckets.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        let sum: f64 = self.buckets().map(|(low, high, n)| (low as f64 + high as f64) / 2.0 * n as f64).sum();
        (count > 0).then(|| sum / count as f64)
    }

    /// How many samples lie above `ns` (a bucket counts as a whole, by its lowest value).
    pub fn count_above(&self, ns: u64) -> u64 {
        self.buckets().filter(|(low, _, _)| *low > ns).map(|(_, _, n)| n).sum()
    }

    /// The same as (index, count): below 2048 the value itself, then 1024 per power of two, as HdrHistogram counts them for three digits.
    pub fn indices(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.sparse.index().iter().copied().zip(self.sparse.count().iter().copied())
    }

    /// The buckets that hold something: (lowest, highest, count), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.sparse.iter().map(|b| (b.start(), b.end(), b.count()))
    }
}

/// As JSON: the powers, and the buckets as pairs of (gap to the index before, count) in one flat array. Lossless.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    grouping_power: u8,
    max_value_power: u8,
    gap_count: Vec<u64>,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut gap_count = Vec::with_capacity(self.sparse.len() * 2);
        let mut before = 0;
        for (index, count) in self.sparse.index().iter().zip(self.sparse.count()) {
            gap_count.extend([u64::from(index - before), *count]);
            before = *index;
        }
        OnDisk { grouping_power: GROUPING_POWER, max_value_power: MAX_VALUE_POWER, gap_count }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let read = OnDisk::deserialize(deserializer)?;
        if (read.grouping_power, read.max_value_power) != (GROUPING_POWER, MAX_VALUE_POWER) || read.gap_count.len() % 2 != 0 {
            return Err(D::Error::custom("histogram of another shape"));
        }
        let (mut index, mut count, mut at) = (Vec::new(), Vec::new(), 0u64);
        for pair in read.gap_count.chunks_exact(2) {
            at = at.saturating_add(pair[0]);
            index.push(u32::try_from(at).map_err(|_| D::Error::custom("bucket index out of range"))?);
            count.push(pair[1]);
        }
        let sparse = SparseHistogram::from_parts(config(), index, count).map_err(|e| D::Error::custom(format!("histogram: {e:?}")))?;
        Ok(Latency { sparse })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Latency {
        let mut recorder = Recorder::default();
        values.into_iter().for_each(|v| recorder.record(v, 1));
        recorder.take().expect("samples")
    }

    #[test]
    fn a_quantile_is_within_a_thousandth_and_only_given_when_the_sample_carries_it() {
        let l = of((1..=100_000).map(|i| i * 1_000));
        for q in [0.5, 0.9, 0.99, 0.999, 0.9999] {
            let (got, exact) = (l.quantile(q).expect("carried") as f64, q * 1e8);
            assert!((got - exact).abs() / exact < 0.0011, "p{q}: {got} for {exact}");
        }
        assert_eq!(l.quantile(0.99999), None);
        assert_eq!(of(0..999).quantile(0.99), None, "999 samples do not carry p99");
        assert!(of(0..1000).quantile(0.99).is_some());
        assert_eq!(of(0..99_999).quantile(0.9999), None);
    }

    #[test]
    fn merging_and_json_lose_nothing() {
        let (a, b) = (of((0..5000).map(|i| i * i)), of((0..700).map(|i| 1 << (i % 45))));
        let mut sum = a.clone();
        sum.merge(&b);
        assert_eq!(sum, of((0..5000).map(|i| i * i).chain((0..700).map(|i| 1 << (i % 45)))));
        assert_eq!(sum.count(), 5700);
        let text = serde_json::to_string(&sum).expect("serializes");
        assert_eq!(serde_json::from_str::<Latency>(&text).expect("reads"), sum);
        assert!(serde_json::from_str::<Latency>(r#"{"grouping_power":7,"max_value_power":40,"gap_count":[]}"#).is_err());
        assert!(serde_json::from_str::<Latency>(r#"{"grouping_power":10,"max_value_power":40,"gap_count":[9999999,1]}"#).is_err());
    }

    #[test]
    fn taking_finds_every_bucket_whatever_the_range() {
        let mut recorder = Recorder::default();
        for power in 0..MAX_VALUE_POWER {
            for value in [1u64 << power, (1 << power) + 1, (2 << power) - 1, (1 << power) * 3 / 2] {
                let mut exact = Histogram::with_config(&config());
                for v in [value, MAX_VALUE.min(value * 7), value / 5] {
                    recorder.record(v, 3);
                    exact.add(v, 3).expect("in range");
                }
                let got = recorder.take().expect("samples");
                assert_eq!(got, Latency { sparse: SparseHistogram::from(&exact) }, "{value}");
                assert_eq!(recorder.take(), None, "nothing is left behind");
            }
        }
    }

    #[test]
    fn a_value_beyond_the_range_counts_as_the_highest() {
        assert_eq!(of([u64::MAX]).max(), Some(MAX_VALUE));
    }
}
