//! `coreline-bench compare`.

use std::path::PathBuf;

use clap::Args;

use super::progress::Live;
use super::{ScenarioArguments, ServerArguments, check_writable, interrupt, print, spec, to_json, write_files};
use crate::compare::{self, Plan};
use crate::error::{BenchError, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK, EXIT_TARGET};
use crate::probe;
use crate::report::{html_compare, terminal};
use crate::run::Progress;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenario: ScenarioArguments,
    /// The first target; ratios are B / A.
    #[arg(long)]
    a: String,
    /// The second target.
    #[arg(long)]
    b: String,
    /// Pairs of blocks; fewer than 4 give no verdict.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Pairs of A with itself before them, for the noise.
    #[arg(long, default_value_t = 2)]
    noise_pairs: usize,
    /// Start each server once and warm it with this many seconds of load; the one that is not measured is stopped in its tracks.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    keep: Option<u32>,
    /// Measure at these percents of what the slower target can do, such as 30,50,70,90: both are first loaded as fast as they take it.
    #[arg(long, value_name = "LIST")]
    load_levels: Option<String>,
    /// Measure a block again, this often at most, when nothing speaks against it but that the generator was late.
    #[arg(long, value_name = "TIMES", default_value_t = 2)]
    repeat_late: usize,
    /// Seed of the resampling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    server: ServerArguments,
    /// Writes the whole comparison.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a report for a browser; needs nothing but the file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Most pairs of a comparison.
const PAIRS_MAX: usize = 1000;

pub(super) fn run(arguments: &Arguments) -> Result<u8, BenchError> {
    let scenario = arguments.scenario.load()?;
    if !(1..=PAIRS_MAX).contains(&arguments.pairs) || arguments.noise_pairs > PAIRS_MAX {
        return Err(BenchError::Config(format!("--pairs {}: 1 to {PAIRS_MAX} are possible", arguments.pairs)));
    }
    let levels = arguments.load_levels.as_deref().map_or(Ok(Vec::new()), compare::parse_levels);
    let levels = levels.map_err(|why| BenchError::Config(format!("--load-levels: {why}")))?;
    let targets = [spec(&arguments.a)?, spec(&arguments.b)?];
    arguments.server.check(&[&targets[0], &targets[1]])?;
    let plan = Plan {
        pairs: arguments.pairs,
        noise_pairs: arguments.noise_pairs,
        keep: arguments.keep,
        levels,
        repeat_late: arguments.repeat_late,
        seed: arguments.seed,
        around: arguments.server.around(),
        probe: arguments.server.probe_time(),
    };
    compare::check(&scenario, &plan)?;
    check_writable(&[&arguments.json, &arguments.html])?;
    let flag = interrupt()?;
    // Read before anything is measured, and not while somebody waits for the end.
    let _ = probe::own_sha256();
    let live = std::cell::RefCell::new(Live::new(arguments.server.quiet));
    live.borrow_mut().line(&format!("{}: {}\nA {}, B {}", scenario.name, scenario.title, arguments.a, arguments.b));
    let [a, b] = &targets;
    let both = arguments.server.prepare(a, &flag).and_then(|a| Ok([a, arguments.server.prepare(b, &flag)?]));
    let outcome = both.and_then(|mut servers| {
        let mut show = |event: Progress<'_>| live.borrow_mut().show(&event);
        compare::run(&scenario, &mut servers, &plan, &flag, &mut show, &mut |what, measured| live.borrow_mut().line(&line(what, measured)))
    });
    live.borrow_mut().end();
    let result = match outcome {
        Err(BenchError::Interrupted) => compare::interrupted(&scenario, [&a.to_string(), &b.to_string()], &plan),
        outcome => outcome?,
    };
    print(&terminal::compare(&result))?;
    write_files(&[(&arguments.json, &|| to_json(&result)), (&arguments.html, &|| Ok(html_compare::page_of(&result)))])?;
    Ok(match (result.interrupted, &result.ended, result.complaints.is_empty()) {
        (true, _, _) => EXIT_INTERRUPTED,
        (false, Some(_), _) => EXIT_TARGET,
        (false, None, true) => EXIT_OK,
        (false, None, false) => EXIT_INVALID,
    })
}

fn line(what: &str, measured: &compare::Measured) -> String {
    let shown = |name: &str| measured.figures.get(name).map_or(String::new(), |value| format!("  {name} {value:.4}"));
    let invalid = if measured.verdict.valid { String::new() } else { format!("  INVALID: {}", measured.verdict.reasons.join("; ")) };
    let invalid = if measured.repeated { format!("{invalid}; measured again") } else { invalid };
    format!("{what}{}{}{}{invalid}", shown("acknowledged records/s"), shown("produce p99 us"), shown("server CPU s/GB"))
}
