//! `run`: one run of one scenario against one target, from set-up to verdict.

mod conduct;
mod setup;
mod start_up;
mod timeline;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use conduct::{Conductor, Length, Outcome, Places};

use crate::client::admin::Admin;
use crate::client::topology::Topology;
use crate::clock::{now_ns, unix_ms};
use crate::delivery::Sent;
use crate::error::BenchError;
use crate::interrupt::{self, Flag};
use crate::latency::Latency;
use crate::load::reader::ReaderSet;
use crate::load::shared::Plan;
use crate::result::{Counts, Metric, RunResult, SCHEMA, TargetInfo};
use crate::scenario::{Acks, Preload, Scenario, Shape};
use crate::target::Target;

pub use verdict::is_only_late;

/// How long an interrupted run waits for each answer while it deletes its topics.
const CLEAN_WAIT: Duration = Duration::from_millis(300);

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
    pub latency: &'a BTreeMap<Metric, Latency>,
}

/// Runs `scenario` against `target`, which serves already (scenarios that start it themselves excepted). Raising `flag` ends it early, within a
/// second, with what it has: a result that says so. A result that is invalid is still a result; see its verdict.
pub fn run(
    scenario: &Scenario,
    target: &mut dyn Target,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<RunResult, BenchError> {
    let started_unix_ms = unix_ms();
    let run_id = (now_ns() ^ (u64::from(std::process::id()) << 20)) as u32 | 1;
    let p = &scenario.producers;
    let sockets = u64::from(p.count) + u64::from(scenario.background.connections) + readers(scenario) * 2;
    setup::raise_file_limit(sockets + 256)?;

    if scenario.restart.is_some() && target.pid().is_none() {
        let why = "the scenario restarts the server, which this one is only the address of; give a target that the harness starts";
        return Err(BenchError::target(target.bootstrap(), why));
    }
    let mut run = Run { scenario, target, flag, progress, run_id, found: Found::default() };
    let done = run.attempt();
    let Run { target, found, .. } = run;

    // A dead server would only cost the time of an answer that never comes; one that was started here for an interrupted run is thrown away.
    let died = matches!(&done, Ok((outcome, ..)) if outcome.died.is_some());
    let thrown_away = interrupt::is_raised(flag) && target.pid().is_some();
    let cleaned = if scenario.topic.keep || died || thrown_away { Ok(()) } else { clean(target, &found.topics, flag) };
    let (mut outcome, plan, preload) = match done {
        Err(BenchError::Interrupted) => cut_short(scenario, run_id),
        done => done?,
    };
    outcome.notes.extend(found.notes);
    outcome.preload_errors = found.preload_errors;
    if let Err(e) = cleaned {
        outcome.notes.push(format!("the topics were not deleted: {e}"));
    }
    let mut result = compose(scenario, &plan, &mut outcome, preload);
    result.started_unix_ms = started_unix_ms;
    result.run_id = run_id;
    result.target = TargetInfo {
        name: target.name(),
        bootstrap: target.bootstrap(),
        pid: target.pid(),
        brokers: found.brokers,
        died: outcome.died.clone(),
        ..Default::default()
    };
    result.figures.extend(found.figures);
    Ok(result)
}

/// Connects to a target and says no more, to know that it is there.
pub fn greet(target: &mut dyn Target, flag: &Flag) -> Result<(), BenchError> {
    setup::connect(target, flag).map(drop)
}

/// The result of a run that was interrupted before it had begun: what was to be run, and that nothing was measured.
pub fn interrupted(scenario: &Scenario, target: &str) -> RunResult {
    let (mut outcome, plan, preload) = cut_short(scenario, 0);
    let target = TargetInfo { name: target.to_string(), ..Default::default() };
    RunResult { started_unix_ms: unix_ms(), target, ..compose(scenario, &plan, &mut outcome, preload) }
}

fn cut_short(scenario: &Scenario, run_id: u32) -> (Outcome, Plan, Vec<Sent>) {
    (Outcome { interrupted: true, ..Outcome::default() }, Plan::new(scenario, run_id, None, u64::MAX), Vec::new())
}

/// Connections of readers, at most.
fn readers(scenario: &Scenario) -> u64 {
    scenario.consumers.iter().map(|c| u64::from(c.copies) * u64::from(c.members)).sum()
}

/// Deletes the topics of a run. One that was interrupted asks for it and does not wait long for the answer.
fn clean(target: &dyn Target, topics: &[String], flag: &Flag) -> Result<(), BenchError> {
    let fail = |e: std::io::Error| BenchError::target(target.bootstrap(), e.to_string());
    if topics.is_empty() {
        return Ok(());
    }
    // Once more from the start: the server may have been restarted meanwhile.
    let address = crate::client::admin::resolve(&target.bootstrap(), flag).map_err(fail)?;
    let admin = if interrupt::is_raised(flag) { Admin::connect_within(address, CLEAN_WAIT) } else { Admin::connect(address, flag) };
    admin.and_then(|mut admin| admin.delete_topics(topics)).map_err(fail)
}

/// What a run carries along.
struct Run<'a> {
    scenario: &'a Scenario,
    target: &'a mut dyn Target,
    flag: &'a Flag,
    progress: &'a mut dyn FnMut(Progress<'_>),
    run_id: u32,
    found: Found,
}

/// What a run found out on its way; there also when it was interrupted.
#[derive(Default)]
struct Found {
    notes: Vec<String>,
    figures: BTreeMap<String, f64>,
    preload_errors: BTreeMap<String, u64>,
    /// Topics that were created, or asked for.
    topics: Vec<String>,
    brokers: u32,
}

impl Run<'_> {
    /// Connects, creates the topics, and measures.
    fn attempt(&mut self) -> Result<(Outcome, Plan, Vec<Sent>), BenchError> {
        if self.scenario.start_up.is_some() && self.target.pid().is_none() {
            // Starts are the scenario's own affair.
            self.target.start()?;
        }
        (self.progress)(Progress::SettingUp("connecting"));
        let (mut admin, address) = setup::connect(self.target, self.flag)?;
        let name = self.target.bootstrap();
        (self.progress)(Progress::SettingUp("creating topics"));
        let begun = Instant::now();
        let topology = setup::create_topics(&mut admin, self.scenario, self.run_id, &mut self.found.topics, &name, self.flag)?;
        self.found.figures.insert("create_topics_s".to_string(), begun.elapsed().as_secs_f64());
        self.found.brokers = topology.nodes.len() as u32;
        self.measure(&mut admin, address, &topology)
    }

    /// Preload, places, load; or starts instead of load. Returns what the preload sent as well.
    fn measure(
        &mut self,
        admin: &mut Admin,
        address: std::net::SocketAddr,
        topology: &Topology,
    ) -> Result<(Outcome, Plan, Vec<Sent>), BenchError> {
        let s = self.scenario;
        let mut preloaded = Vec::new();
        let preload_id = s.preload.map(|_| self.run_id ^ 0x8000_0000);
        if let Some(preload) = s.preload {
            // Leaders that the metadata names may not know it yet, and would answer with errors only.
            setup::offsets_patiently(topology, -1, &self.target.bootstrap(), self.flag)?;
            preloaded = self.preload(admin, topology, preload)?;
        }
        let name = self.target.bootstrap();
        let plan = Plan::new(s, self.run_id, preload_id, u64::MAX);
        if let Some(start_up) = s.start_up {
            let (seconds, outcome) = start_up::measure(s, start_up, topology, address, self.target, self.flag, self.progress)?;
            self.start_figures(seconds);
            return Ok((outcome, plan, preloaded));
        }
        // The preload may have restarted the server.
        *admin = setup::connect(self.target, self.flag)?.0;
        let places = Places {
            first: setup::offsets_patiently(topology, -2, &name, self.flag)?,
            end: setup::offsets_patiently(topology, -1, &name, self.flag)?,
            coordinators: setup::coordinators(admin, s, self.run_id, &name, self.flag)?,
        };
        let ids = self.producer_ids(admin)?;
        (self.progress)(Progress::SettingUp("starting the load"));
        let conductor = Conductor::new(plan, topology.clone(), ids, places, self.target, self.flag, self.progress)?;
        let plan = Arc::clone(&conductor.plan);
        let outcome = conductor.run(Length::Phases)?;
        self.load_figures(&outcome);
        let plan = Plan::new(&plan.scenario, plan.run_id, plan.preload_id, plan.records_max);
        Ok((outcome, plan, preloaded))
    }

    fn producer_ids(&mut self, admin: &mut Admin) -> Result<Vec<(i64, i16)>, BenchError> {
        let p = &self.scenario.producers;
        let count = if p.idempotent { p.count } else { 0 };
        let name = self.target.bootstrap();
        let id = |_| admin.producer_id().map_err(|e| setup::failed(&name, self.flag, e));
        (0..count).map(id).collect()
    }

    /// Writes the backlog as fast as the server takes it, and makes it cold.
    fn preload(&mut self, admin: &mut Admin, topology: &Topology, preload: Preload) -> Result<Vec<Sent>, BenchError> {
        (self.progress)(Progress::SettingUp("writing the backlog"));
        let mut s = self.scenario.clone();
        (s.load.rate, s.load.shape) = (None, Shape::Constant);
        s.consumers.clear();
        s.background.connections = 0;
        s.producers.count = s.producers.count.max(1);
        if s.producers.acks == Acks::None {
            s.producers.acks = Acks::Leader;
        }
        let record = u64::from(s.producers.value_bytes + s.producers.key_bytes);
        let each = preload.bytes.div_ceil(record).div_ceil(u64::from(s.producers.count));
        let plan = Plan::new(&s, self.run_id ^ 0x8000_0000, None, each);
        let ids = self.producer_ids(admin)?;
        let begun = std::time::Instant::now();
        let conductor = Conductor::new(plan, topology.clone(), ids, Places::default(), self.target, self.flag, self.progress)?;
        let plan = Arc::clone(&conductor.plan);
        let outcome = conductor.run(Length::Records)?;
        if outcome.interrupted {
            return Err(BenchError::Interrupted);
        }
        if let Some(why) = &outcome.died {
            return Err(BenchError::target(self.target.bootstrap(), format!("died while the backlog was written: {why}")));
        }
        self.found.preload_errors = verdict::errors(&outcome);
        let seconds = begun.elapsed().as_secs_f64();
        self.found.figures.insert("preload.mb_per_s".to_string(), preload.bytes as f64 / 1e6 / seconds);
        if preload.drop_caches {
            (self.progress)(Progress::SettingUp("dropping caches"));
            self.found.notes.extend(setup::drop_caches(self.target, self.flag)?);
        }
        Ok(verdict::streams(&plan, &outcome, Vec::new()).0)
    }

    fn start_figures(&mut self, mut seconds: Vec<f64>) {
        seconds.sort_by(f64::total_cmp);
        for (i, s) in seconds.iter().enumerate() {
            self.found.figures.insert(format!("start_to_first_ack_s.{i:03}"), *s);
        }
        let figures = [
            ("start_to_first_ack_s", seconds.get(seconds.len() / 2)),
            ("start_to_first_ack_s.min", seconds.first()),
            ("start_to_first_ack_s.max", seconds.last()),
        ];
        self.found.figures.extend(figures.into_iter().filter_map(|(name, s)| Some((name.to_string(), *s?))));
    }

    fn load_figures(&mut self, outcome: &Outcome) {
        let mut put = |name: String, value: f64| self.found.figures.insert(name, value);
        if outcome.down_ns > 0 && outcome.first_ack_ns > 0 {
            put("restart.first_ack_s".to_string(), (outcome.first_ack_ns - outcome.down_ns) as f64 / 1e9);
        }
        let rebalances: u64 = outcome.reports.iter().map(|r| r.rebalances).sum();
        if rebalances > 0 {
            put("group.rejoins".to_string(), rebalances as f64);
        }
        for (name, parts) in verdict::sets(outcome) {
            let Some((rate, seconds)) = ReaderSet::backlog(&parts, outcome.ended_ns) else { continue };
            put(format!("consumer.{name}.mb_per_s"), rate);
            if let Some(seconds) = seconds {
                put(format!("consumer.{name}.backlog_s"), seconds);
            }
        }
    }
}

/// Puts everything together.
fn compose(scenario: &Scenario, plan: &Plan, outcome: &mut Outcome, preload: Vec<Sent>) -> RunResult {
    let quiet = verdict::quiet(outcome);
    let outcome = &*outcome;
    let (from, to) = outcome.measured;
    let mut measured = outcome.timeline.between(from, to);
    measured.generator_cpu_s = outcome.cpu_s;
    let (sent, mut delivery) = verdict::streams(plan, outcome, preload);
    verdict::delivery(plan, outcome, &sent, &mut delivery);
    let generator = verdict::generator(scenario, &measured, outcome, quiet);
    let errors = verdict::errors(outcome);
    let mut verdict = verdict::judge(scenario, outcome, &measured, &delivery, &generator, &errors);
    if scenario.start_up.is_some() {
        // Nothing but starts was measured.
        verdict.reasons.retain(|r| r.contains("interrupted") || r.contains("died"));
        verdict.valid = verdict.reasons.is_empty();
    }
    RunResult {
        schema: SCHEMA,
        tool_version: env!("CARGO_PKG_VERSION").to_string(),
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        settings: scenario.settings.clone(),
        overrides: scenario.overrides.clone(),
        durability: verdict::durability(scenario),
        interrupted: outcome.interrupted,
        verdict,
        phases: outcome.phases.clone(),
        measured,
        timeline: outcome.timeline.windows(scenario.window_s),
        delivery,
        errors,
        generator,
        ..Default::default()
    }
}
