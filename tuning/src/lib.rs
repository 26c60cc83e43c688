//! Host tuning for a low-latency broker: facts, checks, and changes that are planned, journalled, proved and undone.
//!
//! The way of a change: [`sysfs::Root`] (reads, cannot write) -> [`snapshot::Snapshot`] -> [`Facts`] -> a knob's `look` (pure) -> [`plan`] (pure) ->
//! [`transaction`] (the only writer, through [`tree::Tree`]) -> [`journal`]. What a knob reads and writes is declared in its file under `knob/`:
//! nothing else is ever read or written for it. Nothing here knows Kafka.
//! Callers: `coreline-tune`, the broker's start-up ([`startup`]), the bench harness (facts beside each result).

#![forbid(unsafe_code)]

mod ballast;
pub mod cli;
mod ethtool;
pub mod facts;
pub mod hold;
pub mod journal;
pub mod knob;
pub mod persist;
pub mod plan;
pub mod platform;
pub mod profile;
pub mod prove;
pub mod snapshot;
pub mod startup;
pub mod sysfs;
pub mod transaction;
pub mod tree;
pub mod value;

use serde::Serialize;

pub use facts::Facts;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As wanted.
    Ok,
    /// Not a question on this kind of host (no frequency control in a virtual machine): neither good nor bad.
    Inapplicable,
    /// Could not be read here (no permission, not there).
    Unknown,
    /// Could be better on request, for a price that the knob explains; does not count as a finding.
    Hint,
    /// Works, with worse latency or throughput.
    Advice,
    /// The broker cannot run well or at all.
    Fatal,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the knob.
    pub id: &'static str,
    /// Part of the host that it belongs to.
    pub group: &'static str,
    /// What is done about it unasked: auto, opt-in, check or never.
    pub class: knob::Class,
    /// How much it matters.
    pub severity: Severity,
    /// What was read, or why it could not be.
    pub current: String,
    /// What is wanted.
    pub wanted: String,
    /// What it costs to leave it, in one line.
    pub effect: &'static str,
    /// How to change it, for a person to review.
    pub remedy: String,
}

/// Runs all checks on what was read of the host, with the default wishes. Pure.
pub fn report(facts: &Facts) -> Vec<Finding> {
    knob::ALL.iter().map(|knob| knob.finding(facts, &knob.param.default_value())).collect()
}

/// The worst severity of a report; what is unknown or only a hint does not count.
pub fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|f| f.severity).filter(|&s| s >= Severity::Advice).max().unwrap_or(Severity::Ok)
}
