//! `coreline-bench run`.

use std::path::PathBuf;

use clap::Args;

use super::progress::Live;
use super::{ScenarioArguments, ServerArguments, check_writable, interrupt, print, spec, to_json, write_files};
use crate::error::{BenchError, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK, EXIT_TARGET};
use crate::report::{hdr, html, omb, openmetrics, terminal};
use crate::{probe, run as runs, session};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scenario: ScenarioArguments,
    /// `coreline[:PATH]`, `kafka[:DIR]`, `cmd:COMMAND` or `HOST:PORT`; see README.md.
    #[arg(long, default_value = "coreline")]
    target: String,
    #[command(flatten)]
    server: ServerArguments,
    /// Writes the whole result.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a report for a browser; needs nothing but the file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes a result as OpenMessaging Benchmark does.
    #[arg(long, value_name = "FILE")]
    omb: Option<PathBuf>,
    /// Writes the histograms of every window as an HdrHistogram log.
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Writes the figures as OpenMetrics text.
    #[arg(long, value_name = "FILE")]
    openmetrics: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, BenchError> {
    let scenario = arguments.scenario.load()?;
    check_writable(&[&arguments.json, &arguments.html, &arguments.omb, &arguments.hdr, &arguments.openmetrics])?;
    let target = spec(&arguments.target)?;
    arguments.server.check(&[&target])?;
    let flag = interrupt()?;
    // Read before anything is measured, and not while somebody waits for the end.
    let _ = probe::own_sha256();
    let mut live = Live::new(arguments.server.quiet);
    live.line(&format!("{}: {}\ntarget {}", scenario.name, scenario.title, arguments.target));
    let mut server = None;
    let outcome = arguments.server.prepare(&target, &flag).and_then(|prepared| {
        session::run_fresh(&scenario, server.insert(prepared), &arguments.server.around(), &flag, &mut |event| live.show(&event))
    });
    live.end();
    let result = match outcome {
        Err(BenchError::Interrupted) => runs::interrupted(&scenario, &target.to_string()),
        outcome => outcome?,
    };
    print(&terminal::run(&result))?;
    write_files(&[
        (&arguments.json, &|| to_json(&result)),
        (&arguments.html, &|| Ok(html::run(&result))),
        (&arguments.omb, &|| to_json(&omb::export(&result))),
        (&arguments.hdr, &|| hdr::log(&result).map_err(|error| BenchError::host("writing an HdrHistogram log", error))),
        (&arguments.openmetrics, &|| Ok(openmetrics::text(&result))),
    ])?;
    Ok(match (result.interrupted, &result.target.died, result.verdict.valid) {
        (true, _, _) => EXIT_INTERRUPTED,
        (false, Some(_), _) => EXIT_TARGET,
        (false, None, true) => EXIT_OK,
        (false, None, false) => EXIT_INVALID,
    })
}
