//! Live progress on standard error: one line that is rewritten on a terminal, a line per phase elsewhere.

use std::io::{self, IsTerminal, Write};

use crate::objective::show_time;
use crate::result::Metric;
use crate::run::{Progress, SecondSeen};

/// Shows what a run does.
pub(super) struct Live {
    quiet: bool,
    terminal: bool,
    /// Put before every line: which block or trial this is.
    pub(super) label: String,
    open_line: bool,
}

impl Live {
    pub(super) fn new(quiet: bool) -> Live {
        Live { quiet, terminal: io::stderr().is_terminal(), label: String::new(), open_line: false }
    }

    /// Takes an event of a run.
    pub(super) fn show(&mut self, event: &Progress<'_>) {
        match event {
            Progress::SettingUp(step) => self.passing(step),
            Progress::PhaseStarted(phase) if self.terminal => self.passing(phase),
            Progress::PhaseStarted(phase) => self.line(phase),
            Progress::PhaseEnded(_) => {}
            Progress::Second(seen) => self.passing(&second(seen)),
        }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        if !self.quiet {
            let clear = if self.open_line { "\r\x1b[K" } else { "" };
            let _ = writeln!(io::stderr(), "{clear}{}{text}", self.label);
            self.open_line = false;
        }
    }

    /// A line that the next one takes the place of.
    fn passing(&mut self, text: &str) {
        if !self.quiet && self.terminal {
            let mut err = io::stderr();
            let _ = write!(err, "\r\x1b[K{}{text}", self.label).and_then(|()| err.flush());
            self.open_line = true;
        }
    }

    /// Clears what would not stay.
    pub(super) fn end(&mut self) {
        if self.open_line {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.open_line = false;
        }
    }
}

fn second(seen: &SecondSeen<'_>) -> String {
    let quantile = |metric: Metric| seen.latency.get(&metric).and_then(|h| h.quantile(0.99).or_else(|| h.quantile(0.5)));
    let shown = |name: &str, metric| quantile(metric).map_or(String::new(), |ns| format!("  {name} p99 {}", show_time(ns as f64)));
    let errors = if seen.counts.errors > 0 { format!("  {} errors", seen.counts.errors) } else { String::new() };
    format!(
        "{} {:>4} s  sent {:>8}  acked {:>8}  received {:>8}{}{}{errors}",
        seen.phase,
        seen.second,
        seen.counts.sent,
        seen.counts.acked,
        seen.counts.received,
        shown("produce", Metric::ProduceResponse),
        shown("e2e", Metric::E2eResponse)
    )
}
