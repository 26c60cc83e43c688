//! `run`: one run of one scenario against one target, from set-up to verdict.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::BenchError;
use crate::latency::Latency;
use crate::result::{Counts, Metric, RunResult};
use crate::scenario::Scenario;
use crate::target::Target;

/// What a caller sees while a run goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A step of the set-up, in words.
    SettingUp(&'a str),
    /// A phase begins: `warmup`, `measured`, `drain`. Server-side cost is sampled here, and at [`Progress::PhaseEnded`].
    PhaseStarted(&'static str),
    /// A phase is over.
    PhaseEnded(&'static str),
    /// A second has passed. Records of it that are still under way are missing.
    Second(&'a SecondSeen<'a>),
}

/// What is known of a second when it has just passed.
#[derive(Debug)]
pub struct SecondSeen<'a> {
    /// Seconds from the start of the schedule.
    pub second: u32,
    /// Phase it belongs to.
    pub phase: &'static str,
    /// What happened in it.
    pub counts: Counts,
    /// Latencies completed so far of records intended in it.
    pub latency: &'a std::collections::BTreeMap<Metric, Latency>,
}

/// Runs `scenario` against `target`, which serves already (scenarios that start it themselves excepted). `interrupt` ends it early, with what
/// it has. A result that is invalid is still a result; see its verdict.
pub fn run(
    scenario: &Scenario,
    target: &mut dyn Target,
    interrupt: &Arc<AtomicBool>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<RunResult, BenchError> {
    let _ = (scenario, interrupt, progress);
    Err(BenchError::target(target.name(), "the engine is not there yet"))
}
