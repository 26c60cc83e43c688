//! Statistics of a comparison: ratios of pairs, their interval by bootstrap over blocks and by Student's t, and the verdict. Pure.
//!
//! A *block* is one measured run of one target, tens of seconds long; samples inside a block are correlated and never resampled. Two blocks that
//! ran next to each other make a *pair*, and the logarithm of the pair's ratio is the one value that it contributes. The interval that is reported
//! is the wider of two: the percentile bootstrap over pairs (no assumption on shape, too narrow for few pairs) and Student's t (wide for few pairs,
//! assumes a shape). Everything here is repeatable: the resampling is seeded.

use serde::{Deserialize, Serialize};

/// Fewest pairs for which a verdict is given: three pairs all point one way by chance once in four times.
pub const PAIRS_MIN: usize = 4;
/// Resamples of the bootstrap.
const RESAMPLES: usize = 4_000;

/// A ratio B / A with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Geometric mean of the pairs' ratios.
    pub point: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval; infinite for one pair, which JSON writes as null.
    #[serde(deserialize_with = "null_is_infinite")]
    pub high: f64,
    /// Pairs that it is made of.
    pub pairs: usize,
}

/// JSON has no infinity.
fn null_is_infinite<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::<f64>::deserialize(deserializer).map(|value| value.unwrap_or(f64::INFINITY))
}

/// Which way better lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Latency, cost, memory.
    Lower,
    /// Throughput.
    Higher,
}

/// What a ratio says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A is better.
    A,
    /// B is better.
    B,
    /// The interval covers 1: this run cannot tell them apart.
    CoversOne,
    /// The interval does not cover 1, but comparing A with itself showed differences as large.
    WithinNoise,
    /// Fewer pairs than [`PAIRS_MIN`].
    TooFewPairs,
    /// One of the targets has no figure.
    NotMeasured,
}

/// The ratio B / A of pairs `(a, b)`. `None` when there is no pair or a figure is not a positive number.
pub fn ratio(pairs: &[(f64, f64)], seed: u64) -> Option<Ratio> {
    let usable = |value: f64| value.is_finite() && value > 0.0;
    if pairs.is_empty() || !pairs.iter().all(|(a, b)| usable(*a) && usable(*b)) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (b / a).ln()).collect();
    let mean = mean(&logs);
    let (boot_low, boot_high) = bootstrap(&logs, seed);
    let half = student_half_width(&logs);
    Some(Ratio { point: mean.exp(), low: boot_low.min(mean - half).exp(), high: boot_high.max(mean + half).exp(), pairs: pairs.len() })
}

/// The verdict on a ratio, given what the same figure did when A was compared with itself.
pub fn verdict(ratio: Option<Ratio>, noise: Option<Ratio>, better: Better) -> Verdict {
    let Some(ratio) = ratio else { return Verdict::NotMeasured };
    if ratio.pairs < PAIRS_MIN {
        return Verdict::TooFewPairs;
    }
    if ratio.low <= 1.0 && ratio.high >= 1.0 {
        return Verdict::CoversOne;
    }
    if noise.is_some_and(|noise| ratio.point.ln().abs() <= noise_floor(noise)) {
        return Verdict::WithinNoise;
    }
    let b_is_lower = ratio.point < 1.0;
    if b_is_lower == (better == Better::Lower) { Verdict::B } else { Verdict::A }
}

/// The largest difference that A showed from itself, as a logarithm of a ratio: how far its mean lay from 1.
///
/// The mean and not the end of the interval: few A/A pairs have a wide interval by construction, which says nothing of the machine.
pub fn noise_floor(noise: Ratio) -> f64 {
    noise.point.ln().abs()
}

/// The percentile bootstrap's 95 % interval of the mean.
fn bootstrap(values: &[f64], seed: u64) -> (f64, f64) {
    let mut random = SplitMix64(seed);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..values.len()).map(|_| values[random.below(values.len())]).sum::<f64>() / values.len() as f64).collect();
    means.sort_by(f64::total_cmp);
    let at = |q: f64| means[((RESAMPLES - 1) as f64 * q).round() as usize];
    (at(0.025), at(0.975))
}

/// Half the width of Student's 95 % interval of the mean; infinite for one value.
fn student_half_width(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::INFINITY;
    }
    student_975(values.len() - 1) * standard_deviation(values) / (values.len() as f64).sqrt()
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The geometric mean of positive numbers; `None` of nothing.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    (!logs.is_empty()).then(|| mean(&logs).exp())
}

/// The sample standard deviation; 0 of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Slope of the least-squares line through `(x, y)`, and half the width of its 95 % interval. `None` for fewer than three points or equal x.
pub fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let n = points.len() as f64;
    if points.len() < 3 {
        return None;
    }
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    if sxx == 0.0 {
        return None;
    }
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / sxx;
    let rest: f64 = points.iter().map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2)).sum();
    Some((slope, student_975(points.len() - 2) * (rest / (n - 2.0) / sxx).sqrt()))
}

/// The 97.5th percentile of Student's t. Between the rows of the table the smaller number of degrees of freedom counts: too wide, never too narrow.
fn student_975(degrees: usize) -> f64 {
    const TABLE: [(usize, f64); 20] = [
        (1, 12.706),
        (2, 4.303),
        (3, 3.182),
        (4, 2.776),
        (5, 2.571),
        (6, 2.447),
        (7, 2.365),
        (8, 2.306),
        (9, 2.262),
        (10, 2.228),
        (11, 2.201),
        (12, 2.179),
        (14, 2.145),
        (16, 2.120),
        (18, 2.101),
        (20, 2.086),
        (25, 2.060),
        (30, 2.042),
        (60, 2.000),
        (120, 1.980),
    ];
    TABLE.iter().rev().find(|(at, _)| *at <= degrees).map_or(f64::INFINITY, |(_, t)| *t)
}

/// Sebastiano Vigna's SplitMix64: the same numbers from the same seed on every machine and in every version of this program.
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, within: f64) -> bool {
        (a - b).abs() <= within
    }

    #[test]
    fn the_generator_gives_its_published_numbers() {
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    /// Ten pairs whose logarithms are 0.1, 0.2 .. 1.0: mean 0.55, deviation 0.30277, Student's half width 2.262 * 0.30277 / sqrt(10) = 0.21657.
    #[test]
    fn ten_pairs_have_the_interval_of_the_books() {
        let pairs: Vec<(f64, f64)> = (1..=10).map(|i| (2.0, 2.0 * (f64::from(i) / 10.0).exp())).collect();
        let r = ratio(&pairs, 7).expect("pairs");
        assert!(close(r.point.ln(), 0.55, 1e-12) && r.pairs == 10, "{r:?}");
        assert!(close(r.low.ln(), 0.55 - 0.216_57, 1e-4) && close(r.high.ln(), 0.55 + 0.216_57, 1e-4), "{r:?}");
        // The bootstrap alone: standard error sqrt(0.0825 / 10) = 0.0908, times 1.96.
        let (low, high) = bootstrap(&(1..=10).map(|i| f64::from(i) / 10.0).collect::<Vec<_>>(), 7);
        assert!(close(low, 0.55 - 0.178, 0.01) && close(high, 0.55 + 0.178, 0.01), "{low} {high}");
        assert_eq!(ratio(&pairs, 7), Some(r), "the same seed, the same interval");
    }

    #[test]
    fn json_keeps_a_ratio_of_one_pair() {
        let one = ratio(&[(1.0, 2.0)], 1).expect("a pair");
        let text = serde_json::to_string(&one).expect("writes");
        assert_eq!(serde_json::from_str::<Ratio>(&text).expect("reads"), one, "{text}");
    }

    #[test]
    fn a_ratio_and_its_inverse_mirror_each_other() {
        let pairs = [(1.0, 1.3), (1.1, 1.2), (0.9, 1.4), (1.0, 1.25), (1.05, 1.1)];
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (*b, *a)).collect();
        let (r, inverse) = (ratio(&pairs, 1).expect("pairs"), ratio(&turned, 1).expect("pairs"));
        assert!(close(r.point * inverse.point, 1.0, 1e-12));
        assert!(close(r.low.ln(), -inverse.high.ln(), 0.02), "{r:?} {inverse:?}");
    }

    #[test]
    fn what_has_no_ratio_gets_none() {
        for bad in [&[][..], &[(1.0, 0.0)], &[(0.0, 1.0)], &[(1.0, f64::NAN)], &[(1.0, 1.0), (-1.0, 1.0)]] {
            assert_eq!(ratio(bad, 1), None, "{bad:?}");
        }
    }

    #[test]
    fn no_winner_is_called_when_the_interval_covers_one() {
        let even = ratio(&[(1.0, 1.2), (1.0, 0.8), (1.0, 1.1), (1.0, 0.95), (1.0, 1.05)], 1);
        assert_eq!(verdict(even, None, Better::Lower), Verdict::CoversOne);
        let same = ratio(&[(1.0, 1.0); 6], 1);
        assert_eq!(verdict(same, None, Better::Lower), Verdict::CoversOne, "an interval of no width at 1 covers it");
        let lower = ratio(&[(1.0, 0.50), (1.0, 0.52), (1.0, 0.49), (1.0, 0.51)], 1);
        assert_eq!(verdict(lower, None, Better::Lower), Verdict::B);
        assert_eq!(verdict(lower, None, Better::Higher), Verdict::A);
        assert_eq!(verdict(ratio(&[(1.0, 0.5); 3], 1), None, Better::Lower), Verdict::TooFewPairs);
        assert_eq!(verdict(None, None, Better::Lower), Verdict::NotMeasured);
    }

    #[test]
    fn a_difference_that_a_shows_from_itself_is_no_win() {
        let slightly = ratio(&[(1.0, 0.95), (1.0, 0.951), (1.0, 0.949), (1.0, 0.95)], 1);
        let quiet = ratio(&[(1.0, 1.01), (1.0, 0.99)], 1);
        let noisy = ratio(&[(1.0, 1.10), (1.0, 1.08)], 1);
        assert_eq!(verdict(slightly, quiet, Better::Lower), Verdict::B);
        assert_eq!(verdict(slightly, noisy, Better::Lower), Verdict::WithinNoise);
    }

    /// The interval must cover the truth about as often as it says: 200 comparisons of two equal targets, six pairs each.
    #[test]
    fn equal_targets_are_rarely_told_apart() {
        let mut random = SplitMix64(42);
        let mut normal = || (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let wrong = (0..200u64)
            .filter(|i| {
                let pairs: Vec<(f64, f64)> = (0..6).map(|_| ((0.1 * normal()).exp(), (0.1 * normal()).exp())).collect();
                verdict(ratio(&pairs, *i), None, Better::Lower) != Verdict::CoversOne
            })
            .count();
        assert!((2..=20).contains(&wrong), "{wrong} of 200; 10 are expected");
    }

    /// Blocks as a shared machine gives them: noise, and now and then one that a neighbour made several times slower. B is `truth` times A.
    fn called(truth: f64, pairs: usize, noise_pairs: usize, comparisons: u64) -> (usize, usize) {
        let mut random = SplitMix64(7);
        let mut uniform = move || random.next() as f64 / u64::MAX as f64;
        let mut block = move |level: f64| {
            let normal = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            let disturbed = if uniform() < 0.1 { 1.0 + 4.0 * uniform() } else { 1.0 };
            level * (0.05 * normal).exp() * disturbed
        };
        let (mut a, mut b) = (0, 0);
        for seed in 0..comparisons {
            let mut some = |count: usize, to: f64| -> Vec<(f64, f64)> { (0..count).map(|_| (block(100.0), block(100.0 * to))).collect() };
            let (noise, measured) = (some(noise_pairs, 1.0), some(pairs, truth));
            match verdict(ratio(&measured, seed), ratio(&noise, seed), Better::Lower) {
                Verdict::A => a += 1,
                Verdict::B => b += 1,
                _ => {}
            }
        }
        (a, b)
    }

    #[test]
    fn disturbed_blocks_make_it_careful_and_not_wrong() {
        for pairs in [4, 10] {
            let (a, b) = called(1.0, pairs, 2, 60);
            assert!(a + b <= 5, "{pairs} pairs of equal targets: A {a}, B {b} of 60; 3 are what 95 % lets through");
        }
        let (a, b) = called(0.5, 10, 2, 30);
        assert!(a == 0 && b >= 25, "B takes half the time: A {a}, B {b} of 30");
        let (a, b) = called(1.5, 10, 2, 30);
        assert!(b == 0 && a >= 12, "B takes half as long again: A {a}, B {b} of 30");
    }

    #[test]
    fn slopes_and_medians() {
        let (rising, half) = slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]).expect("points");
        assert!(close(rising, 2.0, 1e-12) && close(half, 0.0, 1e-9));
        // By hand: slope 2.5 / 5, residuals squared sum to 1.5, two degrees of freedom: t = 4.303.
        let (s, half) = slope(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 3.0)]).expect("points");
        assert!(close(s, 0.5, 1e-12) && close(half, 4.303 * (1.5_f64 / 2.0 / 5.0).sqrt(), 1e-9), "{s} {half}");
        assert_eq!(slope(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(geometric_mean(&[]), None);
        assert!(geometric_mean(&[1.0, 100.0]).is_some_and(|m| close(m, 10.0, 1e-9)));
        assert_eq!((median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (None, Some(2.0), Some(2.5)));
    }
}
