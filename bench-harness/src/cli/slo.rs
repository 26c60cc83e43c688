//! `coreline-bench slo`.

use std::path::PathBuf;

use clap::Args;

use super::progress::Live;
use super::{ScenarioArguments, ServerArguments, check_writable, interrupt, print, spec, to_json, write_files};
use crate::error::{BenchError, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK, EXIT_TARGET};
use crate::objective::Objective;
use crate::probe;
use crate::report::terminal;
use crate::run::Progress;
use crate::slo::{self, Plan, Sure, Trial};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenario: ScenarioArguments,
    /// What must hold, such as 'p99.9(e2e) <= 5ms and errors == 0'.
    #[arg(long)]
    objective: String,
    /// As for `run`.
    #[arg(long, default_value = "coreline")]
    target: String,
    /// Exit code 1 when the rate found is below this, records per second.
    #[arg(long, value_name = "RATE")]
    at_least: Option<f64>,
    /// Lowest rate that is tried.
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    min_rate: f64,
    /// Highest rate that is tried.
    #[arg(long, value_name = "RATE", default_value_t = 5e6)]
    max_rate: f64,
    /// Seconds of each trial; default --duration, or 10.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    trial: Option<u32>,
    /// Seconds of warm-up before each trial but the first.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    trial_warmup: u32,
    #[command(flatten)]
    server: ServerArguments,
    /// Writes the whole search.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Seconds of a trial unless the command line says.
const TRIAL_S: u32 = 10;

pub(super) fn run(arguments: &Arguments) -> Result<u8, BenchError> {
    let objective = Objective::parse(&arguments.objective).map_err(|error| BenchError::Config(error.to_string()))?;
    let scenario = arguments.scenario.load()?;
    let positive = |name: &str, rate: f64| match rate.is_finite() && rate > 0.0 {
        true => Ok(rate),
        false => Err(BenchError::Config(format!("{name} {rate}: a rate is a number above 0"))),
    };
    let plan = Plan {
        floor: positive("--min-rate", arguments.min_rate)?,
        ceiling: positive("--max-rate", arguments.max_rate)?,
        trial_s: arguments.trial.or(arguments.scenario.duration).unwrap_or(TRIAL_S),
        warmup_s: arguments.trial_warmup,
    };
    arguments.at_least.map_or(Ok(0.0), |rate| positive("--at-least", rate))?;
    slo::check(&scenario, &objective, &plan)?;
    check_writable(&[&arguments.json])?;
    let target = spec(&arguments.target)?;
    arguments.server.check(&[&target])?;
    let flag = interrupt()?;
    // Read before anything is measured, and not while somebody waits for the end.
    let _ = probe::own_sha256();
    let live = std::cell::RefCell::new(Live::new(arguments.server.quiet));
    live.borrow_mut().line(&format!("{}: {}\ntarget {}, objective {}", scenario.name, scenario.title, arguments.target, objective.text));
    let mut server = None;
    let outcome = arguments.server.prepare(&target, &flag).and_then(|prepared| {
        let server = server.insert(prepared);
        server.start_fresh()?;
        let mut show = |event: Progress<'_>| live.borrow_mut().show(&event);
        slo::run(&scenario, &objective, &plan, server, &flag, &mut show, &mut |trial| live.borrow_mut().line(&line(trial)))
    });
    live.borrow_mut().end();
    let result = match outcome {
        Err(BenchError::Interrupted) => slo::interrupted_before(&scenario, &objective, &target.to_string()),
        outcome => outcome?,
    };
    if let Some(server) = &mut server {
        let _ = server.stop();
    }
    print(&terminal::slo(&result))?;
    write_files(&[(&arguments.json, &|| to_json(&result))])?;
    Ok(match result.answer.rate {
        _ if result.interrupted => EXIT_INTERRUPTED,
        _ if result.ended.is_some() => EXIT_TARGET,
        Some(rate) if result.answer.sure != Sure::Never && arguments.at_least.is_none_or(|least| rate >= least) => EXIT_OK,
        _ => EXIT_INVALID,
    })
}

fn line(trial: &Trial) -> String {
    let terms: Vec<String> = trial.terms.iter().map(|term| format!("{} ({})", term.term, term.shown)).collect();
    let reasons = if trial.reasons.is_empty() { String::new() } else { format!("; {}", trial.reasons.join("; ")) };
    format!("{:>10.0}/s {} {}{reasons}", trial.rate, if trial.met { "met   " } else { "missed" }, terms.join(", "))
}
