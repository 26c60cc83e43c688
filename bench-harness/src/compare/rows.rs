//! From blocks to rows: a ratio with its interval for each figure and level, and what speaks against quoting them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Measured, Side};
use crate::stats::{self, Better, Ratio, Verdict};

/// One figure of both targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Name and unit.
    pub figure: String,
    /// Percent of the slower target's capacity that the load was; `None` when the comparison had no levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Which way better lies.
    pub better: Better,
    /// Geometric mean over A's blocks in whole pairs, so that B / A is the ratio; the median of all its blocks where there is no ratio.
    pub a: Option<f64>,
    /// The same of B.
    pub b: Option<f64>,
    /// B / A.
    pub ratio: Option<Ratio>,
    /// A / A.
    pub noise: Option<Ratio>,
    /// What that says.
    pub verdict: Verdict,
}

/// What speaks against quoting these blocks: each kind of reason once for each side and level.
pub(super) fn complaints(blocks: &[Measured]) -> Vec<String> {
    // By level, side and the words before the figures.
    let mut all: BTreeMap<(Option<u32>, Side, &str), (usize, &str)> = BTreeMap::new();
    for measured in blocks.iter().filter(|measured| !measured.verdict.valid) {
        for reason in &measured.verdict.reasons {
            let kind = reason.split([':', ',']).next().unwrap_or(reason);
            all.entry((measured.block.level, measured.block.side, kind)).or_insert((0, reason)).0 += 1;
        }
    }
    let of = |level, side| blocks.iter().filter(|measured| measured.block.level == level && measured.block.side == side).count();
    let shown = |((level, side, _), (count, reason)): ((Option<u32>, Side, &str), (usize, &str))| {
        let at = level.map_or(String::new(), |percent| format!("at {percent} %: "));
        format!("{at}{side}, {count} of {} blocks: {reason}", of(level, side))
    };
    all.into_iter().map(shown).collect()
}

/// A ratio per level and figure, from whole pairs only.
pub(super) fn rows(blocks: &[Measured], better: &[(String, Better)], seed: u64) -> Vec<Row> {
    let levels: BTreeSet<Option<u32>> = blocks.iter().map(|measured| measured.block.level).collect();
    levels.into_iter().flat_map(|level| rows_at(level, blocks, better, seed)).collect()
}

fn rows_at(level: Option<u32>, blocks: &[Measured], better: &[(String, Better)], seed: u64) -> Vec<Row> {
    let blocks: Vec<&Measured> = blocks.iter().filter(|measured| measured.block.level == level).collect();
    // A figure that only other levels have, such as a quantile that few records do not carry, is no row here.
    let better = better.iter().filter(|(figure, _)| blocks.iter().any(|measured| measured.figures.contains_key(figure)));
    let row = |(figure, better): &(String, Better)| {
        let value = |measured: &Measured| measured.figures.get(figure).copied();
        let side = |side: Side| {
            let values: Vec<f64> = blocks.iter().filter(|m| m.block.side == side).filter_map(|m| value(m)).collect();
            stats::median(&values)
        };
        let pairs = |noise: bool| -> Vec<(f64, f64)> {
            let mut pairs: BTreeMap<usize, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
            for measured in blocks.iter().filter(|m| m.block.noise == noise) {
                let (first, second) = pairs.entry(measured.block.pair).or_default();
                // Of A and A the order tells which one stands for B.
                let as_b = if noise { !first.is_empty() } else { measured.block.side == Side::B };
                if as_b { second.extend(value(measured)) } else { first.extend(value(measured)) }
            }
            pairs.values().filter_map(|(a, b)| Some((*a.first()?, *b.first()?))).collect()
        };
        let whole = pairs(false);
        let (ratio, noise) = (stats::ratio(&whole, seed), stats::ratio(&pairs(true), seed));
        let (a, b): (Vec<f64>, Vec<f64>) = whole.into_iter().unzip();
        let typical = |values: &[f64], of| if ratio.is_some() { stats::geometric_mean(values) } else { side(of) };
        Row {
            figure: figure.clone(),
            level,
            better: *better,
            a: typical(&a, Side::A),
            b: typical(&b, Side::B),
            ratio,
            noise,
            verdict: stats::verdict(ratio, noise, *better),
        }
    };
    better.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Block, blocks};
    use super::*;

    fn measured(block: Block, name: &str, value: f64) -> Measured {
        Measured { figures: BTreeMap::from([(name.to_string(), value)]), ..Measured::of(block) }
    }

    fn compared(pairs: usize, noise_pairs: usize, value: impl Fn(usize, Block) -> f64) -> Row {
        let all: Vec<Measured> =
            blocks(pairs, noise_pairs).enumerate().map(|(i, block)| measured(block, "p99 us", value(i, block))).collect();
        rows(&all, &[("p99 us".into(), Better::Lower)], 1).remove(0)
    }

    #[test]
    fn a_drift_of_the_machine_falls_on_both_sides() {
        // Everything gets 10 % slower from block to block; B is not different.
        let row = compared(6, 2, |i, _| 100.0 * 1.1_f64.powi(i as i32));
        assert_eq!(row.verdict, Verdict::CoversOne, "{row:?}");
        let ratio = row.ratio.expect("pairs").point;
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn a_real_difference_is_called_and_named_for_its_side() {
        let row = compared(5, 2, |i, block| (if block.side == Side::B { 40.0 } else { 100.0 }) * (1.0 + 0.01 * (i % 3) as f64));
        assert_eq!(row.verdict, Verdict::B, "{row:?}");
        let (ratio, noise) = (row.ratio.expect("pairs"), row.noise.expect("pairs"));
        assert!((ratio.point - 0.4).abs() < 0.02 && ratio.high < 0.5 && noise.pairs == 2, "{row:?}");
        assert!(row.a.is_some_and(|a| (100.0..103.0).contains(&a)) && row.b.is_some_and(|b| (40.0..41.2).contains(&b)));
    }

    #[test]
    fn a_pair_that_was_cut_short_does_not_count() {
        let mut all: Vec<Measured> = blocks(5, 0).map(|block| measured(block, "x", 1.0)).collect();
        all.pop();
        let row = rows(&all, &[("x".into(), Better::Lower)], 1).remove(0);
        assert_eq!(row.ratio.map(|r| r.pairs), Some(4));
    }

    #[test]
    fn levels_are_rows_of_their_own() {
        let on = |level| move |block: Block| Block { level: Some(level), ..block };
        let all: Vec<Measured> = blocks(4, 1)
            .map(on(30))
            .chain(blocks(4, 1).map(on(90)))
            .map(|block| {
                let slower = block.side == Side::B && block.level == Some(90);
                let mut measured = measured(block, "p99 us", if slower { 30.0 } else { 10.0 });
                measured.verdict.valid = !slower;
                measured.verdict.reasons.extend(slower.then(|| "the schedule was not kept: 90 %".to_string()));
                if block.level == Some(90) {
                    measured.figures.insert("p99.9 us".into(), 50.0);
                }
                measured
            })
            .collect();
        let rows = rows(&all, &[("p99 us".into(), Better::Lower), ("p99.9 us".into(), Better::Lower)], 1);
        let of: Vec<_> = rows.iter().map(|row| (row.level, row.figure.as_str(), row.verdict)).collect();
        assert_eq!(
            of,
            [(Some(30), "p99 us", Verdict::CoversOne), (Some(90), "p99 us", Verdict::A), (Some(90), "p99.9 us", Verdict::CoversOne)]
        );
        assert_eq!(rows[0].ratio.map(|ratio| ratio.pairs), Some(4), "pairs of one level only");
        assert_eq!(complaints(&all), ["at 90 %: B, 4 of 4 blocks: the schedule was not kept: 90 %"]);
    }

    #[test]
    fn invalid_blocks_are_complained_about_once_each_way() {
        let mut all: Vec<Measured> = blocks(2, 0).map(|block| measured(block, "x", 1.0)).collect();
        for (i, measured) in all.iter_mut().enumerate() {
            measured.verdict.valid = measured.block.side == Side::B;
            measured.verdict.reasons = vec![format!("records were lost: {i}")];
        }
        assert_eq!(complaints(&all), ["A, 2 of 2 blocks: records were lost: 0"]);
    }
}
