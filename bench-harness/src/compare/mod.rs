//! `compare`: two targets measured in interleaved blocks, the noise of the machine first, ratios with intervals, and no winner without one.
//!
//! First A is measured against itself (A A pairs); then pairs of A and B whose order turns from pair to pair (A B, B A, ...), so that a drift of
//! the machine falls on both. Each block is a run of its own: the server is started on an empty directory, warmed, measured and stopped. With
//! `keep` both servers live through all blocks and the one that is not measured is stopped in its tracks (SIGSTOP): a virtual machine that compiles
//! while it runs is then warm in every block. A block that is invalid only because the generator was late says nothing of the server: it is measured
//! again in its place, a few times at most, and what was put aside is told. Whatever a server did is never repeated away.

mod levels;
mod order;
mod rows;

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
use crate::stats::Better;

pub use levels::{Level, Levels, parse_levels};
pub use order::{Block, Side, blocks};
pub use rows::Row;

use rows::{complaints, rows};

/// How a comparison is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Pairs of A and B.
    pub pairs: usize,
    /// Pairs of A and A before them.
    pub noise_pairs: usize,
    /// Servers live through all blocks; seconds of load that each gets before the first.
    pub keep: Option<u32>,
    /// Percent of the slower target's capacity to measure at, ascending; none measures the scenario as it is.
    pub levels: Vec<u32>,
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

impl Measured {
    /// A block of which nothing is known yet.
    fn of(block: Block) -> Measured {
        Measured {
            block,
            figures: BTreeMap::new(),
            verdict: Default::default(),
            errors: BTreeMap::new(),
            started_unix_ms: 0,
            steal_s: None,
            repeated: false,
        }
    }
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
    /// Why it ended before its pairs were complete, when a target failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What speaks against quoting it.
    pub complaints: Vec<String>,
    /// What a reader should know though it does not make it invalid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Capacity of both, and the loads that were measured as shares of it; `None` when the comparison had no levels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
    /// The blocks that told the capacity, in order; they count nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_blocks: Vec<Measured>,
    /// Ratios, in the order of a report.
    pub rows: Vec<Row>,
    /// Latency of all of A's and all of B's blocks together; of a comparison with levels each level has its own.
    pub latency: BTreeMap<Metric, [Latency; 2]>,
    /// Stages of a Coreline in its last block: side and report.
    pub stages: Vec<(Side, serde_json::Value)>,
    /// Every block that counts, in order.
    pub blocks: Vec<Measured>,
    /// Blocks that were measured again, in order.
    #[serde(default)]
    pub repeated: Vec<Measured>,
    /// The first 16 digits of the SHA-256 of this program's executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_sha256: Option<String>,
    /// Fingerprint of the host.
    pub host: serde_json::Value,
    /// Disk probe before and after.
    pub disk: Option<DiskProbes>,
}

/// Compares. `tell` hears of every block when it is over, and what it was. Raising `flag` ends it with the pairs that are complete, and so does a
/// target that fails when some are.
pub fn run(
    scenario: &Scenario,
    servers: &mut [Server; 2],
    plan: &Plan,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
    tell: &mut dyn FnMut(&str, &Measured),
) -> Result<CompareResult, BenchError> {
    check(scenario, plan)?;
    let probe_dir = servers.iter().find_map(Server::local).map_or_else(|| plan.around.probe_dir.clone(), |local| local.place().dir.clone());
    let probe = || plan.probe.and_then(|time| probe::disk_unless(flag, &probe_dir, time));
    let before = probe();
    let keep = plan.keep.filter(|_| scenario.start_up.is_none() && scenario.restart.is_none());
    let mut collected = Collected::default();
    for (target, server) in collected.targets.iter_mut().zip(servers.iter_mut()) {
        target.name = server.target().name();
    }
    let done = InTurns { servers, plan, keep, flag, progress, tell }.all(scenario, &mut collected);
    match done {
        Ok(()) | Err(BenchError::Interrupted) => {}
        // What was measured until then is not thrown away.
        Err(error) if !collected.blocks.is_empty() => collected.ended = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    let interrupted = interrupt::is_raised(flag);
    for server in servers.iter_mut() {
        // Of a target that failed nothing more is asked than to be gone.
        let ended = if interrupted { Ok(()) } else { server.thaw() }.and(server.stop());
        if collected.ended.is_none() {
            ended?;
        }
    }
    let disk = before.map(|before| DiskProbes { before, after: if interrupted { None } else { probe() } });
    Ok(collected.finish(scenario, plan, keep.is_some(), interrupted, disk))
}

/// Refuses what cannot be compared, before anything is started.
pub fn check(scenario: &Scenario, plan: &Plan) -> Result<(), BenchError> {
    match levels::refused(scenario).filter(|_| !plan.levels.is_empty()) {
        Some(why) => Err(BenchError::Config(format!("--load-levels and scenario {}: {why}", scenario.name))),
        None => Ok(()),
    }
}

/// The comparison that was interrupted before its servers were ready: what was to be compared, and that nothing was measured.
pub fn interrupted(scenario: &Scenario, targets: [&str; 2], plan: &Plan) -> CompareResult {
    let targets = targets.map(|name| TargetInfo { name: name.to_string(), ..TargetInfo::default() });
    Collected { targets, ..Collected::default() }.finish(scenario, plan, plan.keep.is_some(), true, None)
}

/// Two servers whose blocks take turns.
struct InTurns<'a> {
    servers: &'a mut [Server; 2],
    plan: &'a Plan,
    keep: Option<u32>,
    flag: &'a Flag,
    progress: &'a mut dyn FnMut(Progress<'_>),
    tell: &'a mut dyn FnMut(&str, &Measured),
}

impl InTurns<'_> {
    /// Warms the servers, where they live on, asks for their capacity, where levels are shares of it, and measures block after block.
    fn all(&mut self, scenario: &Scenario, collected: &mut Collected) -> Result<(), BenchError> {
        if self.keep.is_none() && scenario.start_up.is_none() {
            // Its first block may be many minutes away.
            self.servers[Side::B as usize].try_out(self.flag)?;
        }
        if let Some(warm_s) = self.keep {
            for side in [Side::A, Side::B] {
                self.warm(scenario, side, warm_s)?;
            }
        }
        if self.plan.levels.is_empty() {
            return blocks(self.plan.pairs, self.plan.noise_pairs).try_for_each(|block| self.block(scenario, block, collected));
        }
        let closed = levels::loaded(scenario, None);
        for (pair, side) in levels::CAPACITY_ORDER.into_iter().take(2 * self.plan.pairs).enumerate() {
            let result = self.one(&closed, side)?;
            let measured = collected.capacity(Block { side, pair: pair / 2, noise: false, level: None }, result);
            (self.tell)(&format!("capacity {side}"), measured);
        }
        let (capacity, slower) = levels::capacity(&collected.capacity_blocks).map_err(|side| {
            let why = "nothing was acknowledged as fast as it would go, so that there is no capacity of which levels are shares";
            BenchError::target(&collected.targets[side as usize].name, why)
        })?;
        let at = levels::levels_of(capacity[slower as usize], &self.plan.levels);
        let loads: Vec<(u32, Scenario)> = at.iter().map(|level| (level.percent, levels::loaded(scenario, Some(level.rate)))).collect();
        collected.levels = Some(Levels { capacity, slower, at });
        // Every pair at every level before the next pair, so that a drift of the machine falls on all of them.
        let all: Vec<Block> = blocks(self.plan.pairs, self.plan.noise_pairs).collect();
        for pair in all.chunks(2) {
            for (percent, scenario) in &loads {
                pair.iter().try_for_each(|block| self.block(scenario, Block { level: Some(*percent), ..*block }, collected))?;
            }
        }
        Ok(())
    }

    /// A block, and again while nothing speaks against it but that the generator was late.
    fn block(&mut self, scenario: &Scenario, block: Block, collected: &mut Collected) -> Result<(), BenchError> {
        for attempt in 0.. {
            let result = self.one(scenario, block.side)?;
            let again = attempt < self.plan.repeat_late && run::is_only_late(&result.verdict);
            let died = result.target.died.clone().filter(|_| self.keep.is_some());
            let measured = collected.add(block, again, result);
            (self.tell)(&block.to_string(), measured);
            if let Some(why) = died {
                // Its data and its warmth are gone; a block of a server that was started anew would be of another one.
                return Err(BenchError::target(&collected.targets[block.side as usize].name, why));
            }
            if !again {
                break;
            }
        }
        Ok(())
    }

    /// One run of one side.
    fn one(&mut self, scenario: &Scenario, side: Side) -> Result<RunResult, BenchError> {
        interrupt::check(self.flag)?;
        let server = &mut self.servers[side as usize];
        let result = match self.keep {
            Some(_) => {
                server.thaw()?;
                let result = session::measure(scenario, server, &self.plan.around, self.flag, self.progress);
                server.freeze();
                result?
            }
            None => session::run_fresh(scenario, server, &Around { probe: None, ..self.plan.around.clone() }, self.flag, self.progress)?,
        };
        if result.interrupted { Err(BenchError::Interrupted) } else { Ok(result) }
    }

    /// Starts a server, gives it load that nobody measures, and stops it in its tracks.
    fn warm(&mut self, scenario: &Scenario, side: Side, warm_s: u32) -> Result<(), BenchError> {
        let server = &mut self.servers[side as usize];
        server.start_fresh()?;
        if warm_s > 0 {
            let warm_up = Scenario { warmup_s: 0, warmup_max_s: 0, duration_s: warm_s, ..scenario.clone() };
            session::measure(&warm_up, server, &Around { probe: None, ..Around::default() }, self.flag, self.progress)?;
        }
        server.freeze();
        interrupt::check(self.flag)
    }
}

#[derive(Default)]
struct Collected {
    blocks: Vec<Measured>,
    repeated: Vec<Measured>,
    capacity_blocks: Vec<Measured>,
    levels: Option<Levels>,
    targets: [TargetInfo; 2],
    latency: BTreeMap<Metric, [Latency; 2]>,
    stages: BTreeMap<Side, serde_json::Value>,
    better: Vec<(String, Better)>,
    durability: String,
    ended: Option<String>,
}

impl Collected {
    fn add(&mut self, block: Block, repeated: bool, result: RunResult) -> &Measured {
        let measured = Measured { repeated, ..self.kept(block, &result) };
        if !repeated {
            let level = self.levels.iter_mut().flat_map(|levels| &mut levels.at).find(|level| Some(level.percent) == block.level);
            let latency = level.map_or(&mut self.latency, |level| &mut level.latency);
            for (metric, some) in result.measured.latency {
                latency.entry(metric).or_default()[block.side as usize].merge(&some);
            }
            if let Some(stages) = result.stages {
                self.stages.insert(block.side, stages);
            }
        }
        let list = if repeated { &mut self.repeated } else { &mut self.blocks };
        list.push(measured);
        &list[list.len() - 1]
    }

    /// A block that only says what a target can do.
    fn capacity(&mut self, block: Block, result: RunResult) -> &Measured {
        let measured = self.kept(block, &result);
        self.capacity_blocks.push(measured);
        &self.capacity_blocks[self.capacity_blocks.len() - 1]
    }

    fn kept(&mut self, block: Block, result: &RunResult) -> Measured {
        let mut kept = BTreeMap::new();
        for figure in figures::comparable(result) {
            let name = format!("{} {}", figure.name, figure.unit).trim().to_string();
            if !self.better.iter().any(|(known, _)| *known == name) {
                self.better.push((name.clone(), figure.better));
            }
            kept.insert(name, figure.value);
        }
        let steal_s = result.server_cost.as_ref().and_then(|cost| cost.get("host")?.get("steal_s")?.as_f64());
        self.targets[block.side as usize] = result.target.clone();
        self.durability.clone_from(&result.durability);
        let (verdict, errors, started_unix_ms) = (result.verdict.clone(), result.errors.clone(), result.started_unix_ms);
        Measured { figures: kept, verdict, errors, started_unix_ms, steal_s, ..Measured::of(block) }
    }

    fn finish(self, scenario: &Scenario, plan: &Plan, kept: bool, interrupted: bool, disk: Option<DiskProbes>) -> CompareResult {
        let rows = rows(&self.blocks, &self.better, plan.seed);
        let notes = notes(scenario, plan, kept, &self.targets);
        let mut against = complaints(&self.blocks);
        against.extend(complaints(&self.capacity_blocks).into_iter().map(|complaint| format!("capacity: {complaint}")));
        against.extend(self.ended.iter().map(|why| format!("it ended before its pairs were complete: {why}")));
        let [a, b] = self.targets;
        CompareResult {
            schema: 1,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            scenario: scenario.name.clone(),
            title: scenario.title.clone(),
            settings: scenario.settings.clone(),
            overrides: scenario.overrides.clone(),
            durability: self.durability,
            complaints: against,
            notes,
            levels: self.levels,
            capacity_blocks: self.capacity_blocks,
            a,
            b,
            kept,
            seed: plan.seed,
            interrupted,
            ended: self.ended,
            rows,
            latency: self.latency,
            stages: self.stages.into_iter().collect(),
            blocks: self.blocks,
            repeated: self.repeated,
            tool_sha256: probe::own_sha256(),
            host: probe::host(),
            disk,
        }
    }
}

/// Pairs and seconds of a block that a figure to be argued over needs, and the seconds of load that a virtual machine which compiles needs first.
const GOOD: (usize, u32, u32) = (10, 20, 60);

/// What a reader should know of how much was measured.
fn notes(scenario: &Scenario, plan: &Plan, kept: bool, targets: &[TargetInfo; 2]) -> Vec<String> {
    if scenario.start_up.is_some() {
        return Vec::new();
    }
    let (pairs, seconds, warm) = GOOD;
    let mut notes = Vec::new();
    if plan.pairs < pairs || scenario.duration_s < seconds {
        let plural = if plan.pairs == 1 { "" } else { "s" };
        notes.push(format!(
            "{} pair{plural} of {} s: small differences need {pairs} pairs of {seconds} s and more",
            plan.pairs, scenario.duration_s
        ));
    }
    let before = scenario.warmup_s + plan.keep.filter(|_| kept).unwrap_or(0);
    if before < warm && targets.iter().any(|target| target.name.starts_with("kafka")) {
        notes.push(format!(
            "Apache Kafka had {before} s of load before its first block was measured; a JVM goes on compiling for {warm} s and more"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, load};

    #[test]
    fn what_was_measured_too_shortly_is_said() {
        let scenario = |duration_s, warmup_s| {
            load("latency", &Overrides { duration_s: Some(duration_s), warmup_s: Some(warmup_s), ..Overrides::default() })
                .expect("committed")
        };
        let plan = |pairs, keep| Plan {
            pairs,
            noise_pairs: 0,
            keep,
            levels: Vec::new(),
            repeat_late: 0,
            seed: 1,
            around: Around::default(),
            probe: None,
        };
        let named = |name: &str| TargetInfo { name: name.into(), ..TargetInfo::default() };
        let targets = [named("kafka,durable"), named("coreline")];
        assert_eq!(notes(&scenario(20, 60), &plan(10, None), false, &targets), Vec::<String>::new());
        assert_eq!(notes(&scenario(20, 10), &plan(10, Some(50)), true, &targets), Vec::<String>::new());
        let short = notes(&scenario(4, 1), &plan(4, Some(8)), true, &targets);
        assert!(short[0].starts_with("4 pairs of 4 s:") && short[1].contains("had 9 s of load") && short.len() == 2, "{short:?}");
        assert_eq!(notes(&scenario(20, 1), &plan(10, None), false, &[named("coreline"), named("coreline")]), Vec::<String>::new());
    }
}
