//! `slo`: the highest rate at which a target keeps an objective, searched, confirmed, and said how sure that is.

mod search;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adapter::Server;
use crate::error::BenchError;
use crate::figures::metric;
use crate::interrupt::{self, Flag};
use crate::objective::{Figures, Objective, Outcome, share_percent};
use crate::result::RunResult;
use crate::run::Progress;
use crate::scenario::{Scenario, Shape};
use crate::session::{self, Around};
use crate::stats;

pub use search::{Answer, Purpose, Search, Step, Sure};

/// Share of the schedule that a rate must deliver, whatever the objective says.
const DELIVERED_MIN: f64 = 0.995;
/// Longest trial, seconds: what a low rate may need to carry a high quantile.
const TRIAL_SECONDS_MAX: f64 = 300.0;
/// A trial is this much longer than the samples of its highest quantile need.
const SPARE: f64 = 1.2;

/// How a search is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Lowest rate that is tried, records per second.
    pub floor: f64,
    /// Highest rate that is tried.
    pub ceiling: f64,
    /// Seconds of each trial; longer where a quantile needs more samples.
    pub trial_s: u32,
    /// Seconds of warm-up before each trial but the first, which has the scenario's.
    pub warmup_s: u32,
}

/// One trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Records per second that were scheduled.
    pub rate: f64,
    /// Seconds measured.
    pub seconds: f64,
    /// What it was for.
    pub purpose: Purpose,
    /// Whether everything below held.
    pub met: bool,
    /// The objective's terms.
    pub terms: Vec<Outcome>,
    /// Acknowledged over scheduled.
    pub delivered: f64,
    /// Growth of the backlog, records per second; `None` with too few windows to tell.
    pub backlog_slope: Option<f64>,
    /// Why it counts as missed though the terms held, or why the run was invalid.
    pub reasons: Vec<String>,
}

/// A finished search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SloResult {
    /// Version of this schema.
    pub schema: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// What a scenario's acknowledgement promises.
    pub durability: String,
    /// Name of the target.
    pub target: String,
    /// The objective as it was written.
    pub objective: String,
    /// What was found.
    pub answer: Answer,
    /// True when the search was cut short.
    pub interrupted: bool,
    /// Why it ended before there was an answer, when the target failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Every trial in order.
    pub trials: Vec<Trial>,
    /// When it began, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<i64>,
    /// What the command line changed of the scenario.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, String>,
    /// As of a run's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_sha256: Option<String>,
    /// The first 16 digits of the SHA-256 of this program's executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_sha256: Option<String>,
    /// Fingerprint of the host.
    pub host: serde_json::Value,
}

/// Refuses an objective that this scenario cannot answer, before anything is started.
pub fn check(scenario: &Scenario, objective: &Objective, plan: &Plan) -> Result<(), BenchError> {
    let refuse = |what: String| Err(BenchError::Config(format!("objective `{}` and scenario {}: {what}", objective.text, scenario.name)));
    if scenario.start_up.is_some() || scenario.producers.count == 0 {
        return refuse("the scenario sends no records at a rate".into());
    }
    let reads = scenario.consumers.iter().any(|consumers| consumers.latency);
    if let Some(latency) = objective.latencies().find(|l| metric(*l) == crate::result::Metric::E2eResponse).filter(|_| !reads) {
        return refuse(format!(
            "impossible: {latency} is asked for and nothing of it is measured; the scenario needs [consumers.NAME] with latency = true"
        ));
    }
    if objective.text.contains("loss") && scenario.consumers.is_empty() {
        return refuse("impossible: loss is asked for and the scenario has no consumers that would notice".into());
    }
    if plan.floor > plan.ceiling {
        return refuse(format!("the lowest rate {} lies above the highest {}", plan.floor, plan.ceiling));
    }
    let needed = seconds_for(objective, plan.ceiling);
    if needed > TRIAL_SECONDS_MAX {
        return refuse(format!(
            "impossible: p{} needs {:.0} s of samples even at {} records/s",
            crate::objective::percent(objective.highest_quantile()),
            needed,
            plan.ceiling
        ));
    }
    Ok(())
}

/// Seconds that the samples of the objective's highest quantile take at a rate.
fn seconds_for(objective: &Objective, rate: f64) -> f64 {
    match objective.highest_quantile() {
        0.0 => 0.0,
        q => SPARE * crate::latency::SAMPLES_BEYOND / (1.0 - q) / rate,
    }
}

/// Searches. The server must serve; it goes on serving throughout. `tell` hears of every trial when it is over. Raising `flag` ends it with the
/// trials that are complete, and so does a target that fails after the first.
pub fn run(
    scenario: &Scenario,
    objective: &Objective,
    plan: &Plan,
    server: &mut Server,
    flag: &Flag,
    progress: &mut dyn FnMut(Progress<'_>),
    tell: &mut dyn FnMut(&Trial),
) -> Result<SloResult, BenchError> {
    check(scenario, objective, plan)?;
    let begun = interrupted_before(scenario, objective, &server.target().name());
    // Below this rate a trial would take longer than anybody waits.
    let floor = plan.floor.max(seconds_for(objective, 1.0) / TRIAL_SECONDS_MAX);
    let mut search = Search::new(scenario.load.rate.unwrap_or(plan.floor.max(1000.0)), floor, plan.ceiling);
    let around = Around { probe: None, ..Around::default() };
    let (mut trials, mut durability) = (Vec::new(), String::new());
    let (answer, interrupted, ended) = loop {
        let (rate, purpose) = match search.next() {
            Step::Done(answer) => break (answer, false, None),
            Step::Try { rate, purpose } => (rate, purpose),
        };
        let scenario = at_rate(scenario, rate, objective, plan, trials.is_empty());
        let result = match session::measure(&scenario, server, &around, flag, progress) {
            Err(error) if !trials.is_empty() && !interrupt::is_raised(flag) => break (no_answer(FAILED), false, Some(error.to_string())),
            result => result?,
        };
        durability.clone_from(&result.durability);
        if result.interrupted || interrupt::is_raised(flag) {
            break (no_answer(INTERRUPTED), true, None);
        }
        let trial = judge(&result, objective, rate, purpose);
        search.record(rate, purpose, trial.met);
        tell(&trial);
        trials.push(trial);
        if let Some(why) = result.target.died {
            // Every further trial would only find that nobody is there.
            break (no_answer(FAILED), false, Some(format!("the target died: {why}")));
        }
    };
    let target_sha256 = server.local().and_then(|local| local.sha256()).map(str::to_string);
    Ok(SloResult { durability, answer, interrupted, ended, trials, target_sha256, ..begun })
}

const INTERRUPTED: &str = "interrupted before the search was over";
const FAILED: &str = "the target failed before the search was over";

fn no_answer(why: &str) -> Answer {
    Answer { rate: None, sure: Sure::Unsteady, confirmed: Vec::new(), why: why.to_string() }
}

/// The search that was interrupted before its server was ready: what was to be searched, and no trial.
pub fn interrupted_before(scenario: &Scenario, objective: &Objective, target: &str) -> SloResult {
    SloResult {
        schema: 1,
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        durability: String::new(),
        target: target.to_string(),
        objective: objective.text.clone(),
        answer: no_answer(INTERRUPTED),
        interrupted: true,
        ended: None,
        trials: Vec::new(),
        started_unix_ms: Some(crate::clock::unix_ms()),
        overrides: scenario.overrides.clone(),
        target_sha256: None,
        tool_sha256: crate::probe::own_sha256(),
        host: crate::probe::host(),
    }
}

fn at_rate(scenario: &Scenario, rate: f64, objective: &Objective, plan: &Plan, first: bool) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.load.rate = Some(rate);
    scenario.load.shape = Shape::Constant;
    scenario.duration_s = f64::from(plan.trial_s).max(seconds_for(objective, rate)).ceil() as u32;
    if !first {
        scenario.warmup_s = plan.warmup_s;
        scenario.warmup_max_s = plan.warmup_s;
    }
    scenario
}

/// Whether a run met the objective, delivered, and kept up.
pub fn judge(result: &RunResult, objective: &Objective, rate: f64, purpose: Purpose) -> Trial {
    let terms = objective.judge(result);
    let delivered = result.figure(crate::objective::Figure::Delivered).unwrap_or(0.0);
    let mut reasons = result.verdict.reasons.clone();
    if delivered < DELIVERED_MIN {
        reasons.push(format!(
            "{} % of the schedule was delivered, {} % is the least",
            share_percent(delivered),
            share_percent(DELIVERED_MIN)
        ));
    }
    let slope = backlog_slope(result);
    if let Some((slope, half)) = slope
        && slope - half > 0.0
        && slope * result.measured.seconds > (1.0 - DELIVERED_MIN) * result.measured.counts.scheduled as f64
    {
        reasons.push(format!("the backlog grows by {slope:.0} records/s"));
    }
    let met = reasons.is_empty() && result.verdict.valid && terms.iter().all(|term| term.met);
    Trial { rate, seconds: result.measured.seconds, purpose, met, terms, delivered, backlog_slope: slope.map(|(slope, _)| slope), reasons }
}

/// Slope of what was scheduled and not acknowledged over the measured phase, with half its interval, records per second.
fn backlog_slope(result: &RunResult) -> Option<(f64, f64)> {
    let phase = result.phases.iter().find(|phase| phase.name == "measured")?;
    let mut backlog = 0.0;
    let windows = result.timeline.iter().filter(|window| window.from_s >= phase.from_s && window.from_s + window.seconds <= phase.to_s);
    let points: Vec<(f64, f64)> = windows
        .map(|window| {
            backlog += window.counts.scheduled as f64 - window.counts.acked as f64 - window.counts.failed as f64;
            (f64::from(window.from_s + window.seconds), backlog)
        })
        .collect();
    stats::slope(&points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Phase, Verdict, Window};
    use crate::scenario::{Overrides, load};

    fn result(acked_per_s: u64) -> RunResult {
        let mut result = RunResult { verdict: Verdict { valid: true, ..Verdict::default() }, ..RunResult::default() };
        result.phases = vec![Phase { name: "measured".into(), from_s: 5, to_s: 15, steady: None }];
        for second in 0..20 {
            let mut window = Window { from_s: second, seconds: 1, ..Window::default() };
            window.counts.scheduled = 1000;
            window.counts.acked = acked_per_s + u64::from(second % 2) * 2;
            if (5..15).contains(&second) {
                result.measured.counts.add(&window.counts);
            }
            result.timeline.push(window);
        }
        result.measured.seconds = 10.0;
        result
    }

    #[test]
    fn a_target_that_falls_behind_misses_whatever_the_objective_says() {
        let objective = Objective::parse("errors == 0").expect("parses");
        let met = |acked| judge(&result(acked), &objective, 1000.0, Purpose::Climb);
        assert!(met(999).met, "{:?}", met(999));
        let behind = met(900);
        assert!(!behind.met && behind.reasons.iter().any(|r| r.contains("backlog grows")), "{behind:?}");
        assert!(behind.reasons.iter().any(|r| r.contains("of the schedule was delivered")), "{behind:?}");
        let mut invalid = result(999);
        invalid.verdict = Verdict { valid: false, reasons: vec!["the generator was late".into()], notes: Vec::new() };
        assert!(!judge(&invalid, &objective, 1000.0, Purpose::Climb).met);
    }

    #[test]
    fn an_objective_that_the_scenario_cannot_answer_is_refused_before_the_start() {
        let plan = Plan { floor: 10.0, ceiling: 1e6, trial_s: 10, warmup_s: 2 };
        let refused = |scenario: &str, text: &str| {
            let scenario = load(scenario, &Overrides::default()).expect("committed");
            check(&scenario, &Objective::parse(text).expect("parses"), &plan).err().map(|error| error.to_string())
        };
        assert!(refused("latency", "p99(e2e) <= 5ms").is_some_and(|why| why.contains("latency = true")));
        assert!(refused("latency", "loss == 0").is_some_and(|why| why.contains("no consumers")));
        assert!(refused("start-up", "errors == 0").is_some_and(|why| why.contains("no records at a rate")));
        assert!(refused("latency", "p99.9999999(produce) <= 5ms").is_some_and(|why| why.contains("of samples even at")));
        assert_eq!(refused("latency", "p99(produce) <= 5ms"), None);
        assert_eq!(refused("end-to-end", "p99.9(e2e) <= 5ms and errors == 0"), None);
    }

    #[test]
    fn a_high_quantile_at_a_low_rate_makes_a_trial_longer() {
        let scenario = load("latency", &Overrides::default()).expect("committed");
        let objective = Objective::parse("p99.9(produce) <= 5ms").expect("parses");
        let plan = Plan { floor: 10.0, ceiling: 1e6, trial_s: 10, warmup_s: 2 };
        let duration = |rate| at_rate(&scenario, rate, &objective, &plan, false).duration_s;
        assert_eq!(duration(100_000.0), 10);
        assert!((120..=121).contains(&duration(100.0)), "{}", duration(100.0));
    }
}
