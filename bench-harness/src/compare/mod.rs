//! `compare`: two targets measured in interleaved blocks, the noise of the machine first, ratios with intervals, and no winner without one.
//!
//! First A is measured against itself (A A pairs); then pairs of A and B whose order turns from pair to pair (A B, B A, ...), so that a drift of
//! the machine falls on both. Each block is a run of its own: the server is started on an empty directory, warmed, measured and stopped. With
//! `keep` both servers live through all blocks and the one that is not measured is stopped in its tracks (SIGSTOP): a virtual machine that compiles
//! while it runs is then warm in every block. A block that is invalid only because the generator was late says nothing of the server: it is measured
//! again in its place, a few times at most, and what was put aside is told. Whatever a server did is never repeated away.

mod order;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::adapter::Server;
use crate::error::BenchError;
use crate::figures;
use crate::interrupt::{self, Flag};
use crate::latency::Latency;
use crate::probe::{self, DiskProbes};
use crate::result::{Metric, RunResult, TargetInfo};
use crate::run::{self, Progress};
use crate::scenario::Scenario;
use crate::session::{self, Around};
use crate::stats::{self, Better, Ratio, Verdict};

pub use order::{Block, Side, blocks};

/// How a comparison is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Pairs of A and B.
    pub pairs: usize,
    /// Pairs of A and A before them.
    pub noise_pairs: usize,
    /// Servers live through all blocks; seconds of load that each gets before the first.
    pub keep: Option<u32>,
    /// How often a block is measured again when nothing spoke against it but that the generator was late.
    pub repeat_late: usize,
    /// Seed of the resampling.
    pub seed: u64,
    /// What surrounds each block.
    pub around: Around,
    /// Where the disk is probed before and after everything; `None` leaves the probes out.
    pub probe: Option<Duration>,
}

/// One block as it is kept: its figures, not its time line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Which.
    pub block: Block,
    /// Figures by name and unit.
    pub figures: BTreeMap<String, f64>,
    /// Whether the run may be quoted.
    pub verdict: crate::result::Verdict,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// When it started, milliseconds since 1970.
    pub started_unix_ms: i64,
    /// CPU seconds stolen by the hypervisor during the measured phase.
    pub steal_s: Option<f64>,
    /// It was measured again, because nothing spoke against it but that the generator was late; its figures are here and count nowhere.
    #[serde(default)]
    pub repeated: bool,
}

/// One figure of both targets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Name and unit.
    pub figure: String,
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

/// A finished comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CompareResult {
    /// Version of this schema.
    pub schema: u32,
    /// Version of the harness.
    pub tool_version: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// Every key with the value in force.
    pub settings: BTreeMap<String, String>,
    /// What the command line changed.
    pub overrides: BTreeMap<String, String>,
    /// What an acknowledgement promised on the wire; what each server makes of it is in its settings.
    pub durability: String,
    /// A.
    pub a: TargetInfo,
    /// B.
    pub b: TargetInfo,
    /// Servers lived through all blocks.
    pub kept: bool,
    /// Seed of the resampling.
    pub seed: u64,
    /// True when it was cut short.
    pub interrupted: bool,
    /// What speaks against quoting it.
    pub complaints: Vec<String>,
    /// Ratios, in the order of a report.
    pub rows: Vec<Row>,
    /// Latency of all of A's and all of B's blocks together.
    pub latency: BTreeMap<Metric, [Latency; 2]>,
    /// Stages of a Coreline in its last block: side and report.
    pub stages: Vec<(Side, serde_json::Value)>,
    /// Every block that counts, in order.
    pub blocks: Vec<Measured>,
    /// Blocks that were measured again, in order.
    #[serde(default)]
    pub repeated: Vec<Measured>,
    /// Fingerprint of the host.
    pub host: serde_json::Value,
    /// Disk probe before and after.
    pub disk: Option<DiskProbes>,
}

/// Compares. `tell` hears of every block when it is over. Raising `flag` ends it with the pairs that are complete.
pub fn run(
    scenario: &Scenario,
    servers: &mut [Server; 2],
    plan: &Plan,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
    tell: &mut dyn FnMut(&Measured),
) -> Result<CompareResult, BenchError> {
    let probe_dir = servers.iter().find_map(Server::local).map_or_else(|| plan.around.probe_dir.clone(), |local| local.place().dir.clone());
    let probe = || plan.probe.and_then(|time| probe::disk_unless(flag, &probe_dir, time));
    let before = probe();
    let keep = plan.keep.filter(|_| scenario.start_up.is_none() && scenario.restart.is_none());
    let mut collected = Collected::default();
    for (target, server) in collected.targets.iter_mut().zip(servers.iter_mut()) {
        target.name = server.target().name();
    }
    let done = in_turns(scenario, servers, plan, keep, flag, progress, tell, &mut collected);
    if !matches!(done, Ok(()) | Err(BenchError::Interrupted)) {
        done?;
    }
    let interrupted = interrupt::is_raised(flag);
    for server in servers.iter_mut() {
        if !interrupted {
            server.thaw()?;
        }
        server.stop()?;
    }
    let disk = before.map(|before| DiskProbes { before, after: if interrupted { None } else { probe() } });
    Ok(collected.finish(scenario, plan, keep.is_some(), interrupted, disk))
}

/// The comparison that was interrupted before its servers were ready: what was to be compared, and that nothing was measured.
pub fn interrupted(scenario: &Scenario, targets: [&str; 2], plan: &Plan) -> CompareResult {
    let targets = targets.map(|name| TargetInfo { name: name.to_string(), ..TargetInfo::default() });
    Collected { targets, ..Collected::default() }.finish(scenario, plan, plan.keep.is_some(), true, None)
}

/// Warms the servers, where they live on, and measures block after block.
#[allow(clippy::too_many_arguments)]
fn in_turns(
    scenario: &Scenario,
    servers: &mut [Server; 2],
    plan: &Plan,
    keep: Option<u32>,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
    tell: &mut dyn FnMut(&Measured),
    collected: &mut Collected,
) -> Result<(), BenchError> {
    if let Some(warm_s) = keep {
        for server in servers.iter_mut() {
            warm(scenario, server, warm_s, flag, progress)?;
        }
    }
    for block in blocks(plan.pairs, plan.noise_pairs) {
        let server = &mut servers[block.side as usize];
        for attempt in 0.. {
            interrupt::check(flag)?;
            let result = match keep {
                Some(_) => {
                    server.thaw()?;
                    let result = session::measure(scenario, server, &plan.around, flag, progress);
                    server.freeze();
                    result?
                }
                None => session::run_fresh(scenario, server, &Around { probe: None, ..plan.around.clone() }, flag, progress)?,
            };
            if result.interrupted {
                return Err(BenchError::Interrupted);
            }
            let again = attempt < plan.repeat_late && run::is_only_late(&result.verdict);
            tell(collected.add(block, again, result));
            if !again {
                break;
            }
        }
    }
    Ok(())
}

/// Starts a server, gives it load that nobody measures, and stops it in its tracks.
fn warm(
    scenario: &Scenario,
    server: &mut Server,
    warm_s: u32,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), BenchError> {
    server.start_fresh()?;
    if warm_s > 0 {
        let warm_up = Scenario { warmup_s: 0, warmup_max_s: 0, duration_s: warm_s, ..scenario.clone() };
        session::measure(&warm_up, server, &Around { probe: None, ..Around::default() }, flag, progress)?;
    }
    server.freeze();
    interrupt::check(flag)
}

#[derive(Default)]
struct Collected {
    blocks: Vec<Measured>,
    repeated: Vec<Measured>,
    targets: [TargetInfo; 2],
    latency: BTreeMap<Metric, [Latency; 2]>,
    stages: BTreeMap<Side, serde_json::Value>,
    better: Vec<(String, Better)>,
    durability: String,
}

impl Collected {
    fn add(&mut self, block: Block, repeated: bool, result: RunResult) -> &Measured {
        let side = block.side as usize;
        let mut kept = BTreeMap::new();
        for figure in figures::comparable(&result) {
            let name = format!("{} {}", figure.name, figure.unit).trim().to_string();
            if !self.better.iter().any(|(known, _)| *known == name) {
                self.better.push((name.clone(), figure.better));
            }
            kept.insert(name, figure.value);
        }
        if !repeated {
            for (metric, latency) in result.measured.latency {
                self.latency.entry(metric).or_default()[side].merge(&latency);
            }
            if let Some(stages) = result.stages {
                self.stages.insert(block.side, stages);
            }
        }
        let steal_s = result.server_cost.as_ref().and_then(|cost| cost.get("host")?.get("steal_s")?.as_f64());
        self.targets[side] = result.target;
        self.durability = result.durability;
        let (verdict, errors, started_unix_ms) = (result.verdict, result.errors, result.started_unix_ms);
        let list = if repeated { &mut self.repeated } else { &mut self.blocks };
        list.push(Measured { block, figures: kept, verdict, errors, started_unix_ms, steal_s, repeated });
        &list[list.len() - 1]
    }

    fn finish(self, scenario: &Scenario, plan: &Plan, kept: bool, interrupted: bool, disk: Option<DiskProbes>) -> CompareResult {
        let rows = rows(&self.blocks, &self.better, plan.seed);
        let [a, b] = self.targets;
        CompareResult {
            schema: 1,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            settings: scenario.settings.clone(),
            overrides: scenario.overrides.clone(),
            durability: self.durability,
            complaints: complaints(&self.blocks),
            a,
            b,
            kept,
            seed: plan.seed,
            interrupted,
            rows,
            latency: self.latency,
            stages: self.stages.into_iter().collect(),
            blocks: self.blocks,
            repeated: self.repeated,
            host: probe::host(),
            disk,
        }
    }
}

fn complaints(blocks: &[Measured]) -> Vec<String> {
    // By side and the words before the figures.
    let mut all: BTreeMap<(Side, &str), (usize, &str)> = BTreeMap::new();
    for measured in blocks.iter().filter(|measured| !measured.verdict.valid) {
        for reason in &measured.verdict.reasons {
            let kind = reason.split([':', ',']).next().unwrap_or(reason);
            all.entry((measured.block.side, kind)).or_insert((0, reason)).0 += 1;
        }
    }
    let of = |side: Side| blocks.iter().filter(|measured| measured.block.side == side).count();
    all.into_iter().map(|((side, _), (count, reason))| format!("{side}, {count} of {} blocks: {reason}", of(side))).collect()
}

/// A ratio per figure from whole pairs only.
fn rows(blocks: &[Measured], better: &[(String, Better)], seed: u64) -> Vec<Row> {
    let row = |(figure, better): &(String, Better)| {
        let value = |measured: &Measured| measured.figures.get(figure).copied();
        let side = |side: Side| {
            let values: Vec<f64> = blocks.iter().filter(|m| m.block.side == side).filter_map(value).collect();
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
            better: *better,
            a: typical(&a, Side::A),
            b: typical(&b, Side::B),
            ratio,
            noise,
            verdict: stats::verdict(ratio, noise, *better),
        }
    };
    better.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(block: Block, name: &str, value: f64) -> Measured {
        let figures = BTreeMap::from([(name.to_string(), value)]);
        Measured {
            block,
            figures,
            verdict: Default::default(),
            errors: BTreeMap::new(),
            started_unix_ms: 0,
            steal_s: None,
            repeated: false,
        }
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
    fn invalid_blocks_are_complained_about_once_each_way() {
        let mut all: Vec<Measured> = blocks(2, 0).map(|block| measured(block, "x", 1.0)).collect();
        for (i, measured) in all.iter_mut().enumerate() {
            measured.verdict.valid = measured.block.side == Side::B;
            measured.verdict.reasons = vec![format!("records were lost: {i}")];
        }
        assert_eq!(complaints(&all), ["A, 2 of 2 blocks: records were lost: 0"]);
    }
}
