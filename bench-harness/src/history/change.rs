//! Where a series of figures moved. Pure.
//!
//! Two tests, because results carry more or less. Results with an interval (comparisons) are held against the one before: where the two 95 %
//! intervals do not touch, the figure moved; equal results do that less than once in a hundred times. And the whole series, whatever its results
//! carry, is split where the ranks on both sides differ most, if 2,000 seeded shuffles of it hardly ever (p <= 0.01) have a split as sharp; then the
//! halves again. Ranks, so that one bad day is no step; ten results at least, because fewer cannot be that unlikely.

use serde::{Deserialize, Serialize};

use crate::stats::SplitMix64;

/// Fewest results for which a series is split.
pub const RESULTS_MIN: usize = 10;
/// Fewest results on either side of a split: one or two are a bad day.
const SIDE_MIN: usize = 3;
/// Shuffles of a series.
const SHUFFLES: usize = 2_000;
/// A split as sharp may come up by chance this often.
const CHANCE: f64 = 0.01;

/// One result's figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The value; above 0.
    pub value: f64,
    /// Its 95 % interval, where the result carries one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<(f64, f64)>,
}

/// What tells that a figure moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Its interval and that of the result before lie apart.
    Intervals,
    /// The ranks before and behind differ; as sharp a split comes up by chance this often.
    Ranks(f64),
}

/// A place where a figure moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Index of the first result behind it.
    pub at: usize,
    /// Typical value (geometric mean) from the change before to here.
    pub from: f64,
    /// Typical value from here to the next change.
    pub to: f64,
    /// What tells.
    pub by: By,
}

/// Where a series moved, in order. The same from the same series.
pub(super) fn changes(series: &[Figure]) -> Vec<Change> {
    let mut found: Vec<(usize, By)> = Vec::new();
    for (i, pair) in series.windows(2).enumerate() {
        if let (Some(before), Some(after)) = (pair[0].interval, pair[1].interval)
            && (before.1 < after.0 || after.1 < before.0)
        {
            found.push((i + 1, By::Intervals));
        }
    }
    let values: Vec<f64> = series.iter().map(|figure| figure.value).collect();
    let mut splits = Vec::new();
    split(&values, 0, &mut SplitMix64::new(1), &mut splits);
    // An interval says it of the very result; ranks may be off by one or two.
    splits.retain(|(at, _)| found.iter().all(|(known, _)| at.abs_diff(*known) > 2));
    found.extend(splits.into_iter().map(|(at, p)| (at, By::Ranks(p))));
    found.sort_by_key(|(at, _)| *at);
    let ends: Vec<usize> = std::iter::once(0).chain(found.iter().map(|(at, _)| *at)).chain([series.len()]).collect();
    let typical = |from: usize, to: usize| (values[from..to].iter().map(|value| value.ln()).sum::<f64>() / (to - from) as f64).exp();
    let change = |(i, (at, by)): (usize, &(usize, By))| Change {
        at: *at,
        from: typical(ends[i], ends[i + 1]),
        to: typical(ends[i + 1], ends[i + 2]),
        by: *by,
    };
    found.iter().enumerate().map(change).collect()
}

/// Splits where the ranks differ most, as long as that is no chance; `from` is where `values` begin in the series.
fn split(values: &[f64], from: usize, random: &mut SplitMix64, out: &mut Vec<(usize, f64)>) {
    if values.len() < RESULTS_MIN {
        return;
    }
    let mut ranks = ranks(values);
    let (at, sharpness) = sharpest(&ranks);
    let mut as_sharp = 1;
    for _ in 0..SHUFFLES {
        for i in (1..ranks.len()).rev() {
            ranks.swap(i, random.below(i + 1));
        }
        as_sharp += usize::from(sharpest(&ranks).1 >= sharpness - 1e-9);
    }
    let p = as_sharp as f64 / (SHUFFLES + 1) as f64;
    if p <= CHANCE && sharpness > 0.0 {
        split(&values[..at], from, random, out);
        out.push((from + at, p));
        split(&values[at..], from + at, random, out);
    }
}

/// Ranks; equal values share the middle of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal - 1) as f64 / 2.0
    };
    values.iter().map(rank).collect()
}

/// The split between whose sides the ranks differ most, and by how much: the sum of squares between the sides.
fn sharpest(ranks: &[f64]) -> (usize, f64) {
    let (n, sum) = (ranks.len() as f64, ranks.iter().sum::<f64>());
    let (mut left, mut best) = (0.0, (0, 0.0));
    for at in 1..=ranks.len() - SIDE_MIN {
        left += ranks[at - 1];
        if at < SIDE_MIN {
            continue;
        }
        let (l, r) = (at as f64, n - at as f64);
        let between = l * r / n * (left / l - (sum - left) / r).powi(2);
        if between > best.1 {
            best = (at, between);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(values: &[f64]) -> Vec<Figure> {
        values.iter().map(|value| Figure { value: *value, interval: None }).collect()
    }

    /// 100 and a few percent of noise, from a fixed seed.
    fn noisy(random: &mut SplitMix64, level: f64, n: usize) -> Vec<f64> {
        (0..n).map(|_| level * (1.0 + 0.1 * (random.below(1_000) as f64 / 1_000.0 - 0.5))).collect()
    }

    #[test]
    fn intervals_that_lie_apart_are_a_move_and_those_that_touch_are_none() {
        let with = |value: f64, low: f64, high: f64| Figure { value, interval: Some((low, high)) };
        let series = [with(1.0, 0.9, 1.1), with(1.05, 0.95, 1.15), with(1.4, 1.3, 1.5), with(1.35, 1.2, 1.5), with(0.7, 0.6, 0.8)];
        let found = changes(&series);
        assert_eq!(found.iter().map(|c| (c.at, c.by)).collect::<Vec<_>>(), [(2, By::Intervals), (4, By::Intervals)]);
        assert!(
            (found[0].from - 1.0_f64.midpoint(1.05)).abs() < 0.01 && (found[0].to - 1.375).abs() < 0.01 && found[1].to == 0.7,
            "{found:?}"
        );
        assert_eq!(changes(&plain(&[1.0, 9.0, 1.0, 9.0])), [], "without intervals a few results tell nothing");
        assert_eq!(changes(&[]), []);
    }

    #[test]
    fn steps_are_found_where_they_are() {
        let mut random = SplitMix64::new(3);
        let mut values = noisy(&mut random, 100.0, 12);
        values.extend(noisy(&mut random, 120.0, 12));
        values.extend(noisy(&mut random, 90.0, 12));
        let found = changes(&plain(&values));
        assert_eq!(found.iter().map(|c| c.at).collect::<Vec<_>>(), [12, 24], "{found:?}");
        assert!((found[0].from - 100.0).abs() < 3.0 && (found[0].to - 120.0).abs() < 3.0 && (found[1].to - 90.0).abs() < 3.0, "{found:?}");
        assert_eq!(changes(&plain(&values)), found, "the same from the same series");
    }

    #[test]
    fn noise_and_a_bad_day_are_no_step() {
        let mut random = SplitMix64::new(9);
        let called = (0..60).filter(|_| !changes(&plain(&noisy(&mut random, 100.0, 14))).is_empty()).count();
        assert!(called <= 3, "{called} of 60 series of nothing but noise; less than one is what chance lets through");
        let mut one = noisy(&mut random, 100.0, 15);
        one[7] = 5_000.0;
        assert_eq!(changes(&plain(&one)), [], "one result, however bad");
        assert_eq!(changes(&plain(&[5.0; 20])), [], "equal results");
    }
}
