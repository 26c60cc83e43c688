//! Latency at shares of the slower target's capacity: which shares, what the capacity was, and the loads that follow from it. Pure.
//!
//! A latency says little without the load it was measured at, and a load that one target can hardly bear measures its queue. So both targets are
//! first loaded as fast as they take it (a closed loop, in the order A B B A), and what the slower one acknowledged is the whole of which the levels
//! are shares. Both targets then get the same rates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Measured, Side};
use crate::latency::Latency;
use crate::result::Metric;
use crate::scenario::{Scenario, Shape};
use crate::stats;

/// Most levels of a comparison.
const LEVELS_MAX: usize = 10;
/// The figure that capacity is told by.
const CAPACITY: &str = "acknowledged records/s";
/// Who is loaded as fast as possible, in turn; of a comparison of one pair only the first two.
pub(super) const CAPACITY_ORDER: [Side; 4] = [Side::A, Side::B, Side::B, Side::A];

/// What the targets can do, and what they were loaded with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Levels {
    /// Records per second that A and B acknowledged in a closed loop: geometric means of `capacity_blocks` of the comparison.
    pub capacity: [f64; 2],
    /// The target with the smaller one.
    pub slower: Side,
    /// The loads, ascending.
    pub at: Vec<Level>,
}

/// One load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Level {
    /// Percent of the slower target's capacity.
    pub percent: u32,
    /// Records per second.
    pub rate: f64,
    /// Latency of all of A's and all of B's blocks at it.
    pub latency: BTreeMap<Metric, [Latency; 2]>,
}

/// Reads a list such as `30,50,70,90`: percent, in any order. The error says what is wrong.
pub fn parse_levels(text: &str) -> Result<Vec<u32>, String> {
    let percent = |part: &str| {
        let number = part.trim().parse::<u32>().ok().filter(|percent| (1..=100).contains(percent));
        number.ok_or_else(|| format!("`{}` is no level; a list of percents from 1 to 100 reads as 30,50,70,90", part.trim()))
    };
    let mut levels: Vec<u32> = text.split(',').map(percent).collect::<Result<_, _>>()?;
    levels.sort_unstable();
    if let Some(twice) = levels.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{} % stands there twice", twice[0]));
    }
    if levels.len() > LEVELS_MAX {
        return Err(format!("{} levels, at most {LEVELS_MAX} are possible", levels.len()));
    }
    Ok(levels)
}

/// Why a scenario cannot be measured at levels, if it cannot.
pub(super) fn refused(scenario: &Scenario) -> Option<&'static str> {
    match () {
        () if scenario.start_up.is_some() || scenario.producers.count == 0 => Some("the scenario sends no records at a rate"),
        () if scenario.restart.is_some() => Some("the scenario restarts the server, which has no capacity while it is down"),
        () if scenario.overrides.contains_key("load.rate") => Some("the levels are the rates; leave --rate out"),
        () => None,
    }
}

/// The scenario as a closed loop (`None`), or at so many records per second.
pub(super) fn loaded(scenario: &Scenario, rate: Option<f64>) -> Scenario {
    let mut scenario = scenario.clone();
    (scenario.load.rate, scenario.load.shape) = (rate, Shape::Constant);
    scenario.settings.insert("load.rate".into(), rate.map_or("max".into(), |rate| rate.to_string()));
    scenario.settings.insert("load.shape".into(), "constant".into());
    scenario
}

/// Capacity of A and B, and which is the slower one; `Err` with the side that has none.
pub(super) fn capacity(blocks: &[Measured]) -> Result<([f64; 2], Side), Side> {
    let of = |side: Side| {
        let values: Vec<f64> = blocks
            .iter()
            .filter(|measured| measured.block.side == side)
            .filter_map(|measured| measured.figures.get(CAPACITY).copied())
            .collect();
        stats::geometric_mean(&values).ok_or(side)
    };
    let (a, b) = (of(Side::A)?, of(Side::B)?);
    Ok(([a, b], if b < a { Side::B } else { Side::A }))
}

/// The loads that follow from a capacity: whole records per second where there are some.
pub(super) fn levels_of(capacity: f64, percents: &[u32]) -> Vec<Level> {
    let rate = |percent: u32| {
        let rate = capacity * f64::from(percent) / 100.0;
        if rate >= 10.0 { rate.round() } else { rate.max(0.001) }
    };
    percents.iter().map(|percent| Level { percent: *percent, rate: rate(*percent), latency: BTreeMap::new() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Block;
    use super::*;
    use crate::scenario::{Overrides, load};

    #[test]
    fn lists_of_levels_are_read_and_bad_ones_refused() {
        assert_eq!(parse_levels("30, 90,50,70"), Ok(vec![30, 50, 70, 90]));
        for (text, words) in [
            ("", "is no level"),
            ("30,", "is no level"),
            ("0", "`0`"),
            ("101", "`101`"),
            ("50%", "`50%`"),
            ("5,5", "twice"),
            ("-3", "`-3`"),
        ] {
            let why = parse_levels(text).expect_err(text);
            assert!(why.contains(words), "{text}: {why}");
        }
        let many: Vec<String> = (1..=11).map(|percent| percent.to_string()).collect();
        assert!(parse_levels(&many.join(",")).is_err_and(|why| why.contains("at most 10")));
    }

    fn block(side: Side, records: f64) -> Measured {
        let block = Block { side, pair: 0, noise: false, level: None };
        Measured { figures: BTreeMap::from([(CAPACITY.to_string(), records)]), ..Measured::of(block) }
    }

    #[test]
    fn levels_are_shares_of_what_the_slower_one_can_do() {
        let blocks = [block(Side::A, 40_000.0), block(Side::B, 9_000.0), block(Side::B, 16_000.0), block(Side::A, 40_000.0)];
        let ([a, b], slower) = capacity(&blocks).expect("both");
        assert!((a - 40_000.0).abs() < 1e-6 && (b - 12_000.0).abs() < 1e-6 && slower == Side::B);
        let rates: Vec<f64> = levels_of(b, &[30, 50, 90]).iter().map(|level| level.rate).collect();
        assert_eq!(rates, [3_600.0, 6_000.0, 10_800.0]);
        assert_eq!(levels_of(5.0, &[30])[0].rate, 1.5, "few records per second keep their fraction");
        assert_eq!(capacity(&blocks[..1]), Err(Side::B), "nothing of B");
    }

    #[test]
    fn a_level_is_the_scenario_at_its_rate_and_says_so() {
        let of = |name: &str, overrides: Overrides| load(name, &overrides).expect("committed");
        let scenario = of("shape-burst", Overrides::default());
        let at = loaded(&scenario, Some(1_500.0));
        assert_eq!((at.load.rate, &at.load.shape), (Some(1_500.0), &Shape::Constant));
        assert_eq!(at.settings.get("load.rate").and_then(|text| text.parse().ok()), Some(1_500.0), "what its figures go by");
        assert_eq!(loaded(&scenario, None).settings.get("load.rate").map(String::as_str), Some("max"));
        for (name, words) in [("start-up", "no records"), ("idle", "no records"), ("restart", "restarts")] {
            assert!(refused(&of(name, Overrides::default())).is_some_and(|why| why.contains(words)), "{name}");
        }
        assert_eq!(refused(&of("latency", Overrides::default())), None);
        assert!(refused(&of("latency", Overrides { rate: Some("5".into()), ..Overrides::default() })).is_some());
    }
}
