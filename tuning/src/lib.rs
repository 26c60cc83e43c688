//! Host facts for a low-latency broker: read-only checks of limits and kernel settings, as values.
//!
//! A [`Finding`] says what was read, what is wanted, why it matters and how to change it. Nothing here writes; nothing knows Kafka.
//! Callers: `coreline-tune check`, the broker's start-up (one warning line per finding).

pub mod check;
pub mod facts;
pub mod sysfs;

use serde::Serialize;

pub use facts::Facts;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As wanted.
    Ok,
    /// Could not be read here (no permission, not this kind of host).
    Unknown,
    /// Works, with worse latency or throughput.
    Advice,
    /// The broker cannot run well or at all.
    Fatal,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the check.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was read, or why it could not be.
    pub current: String,
    /// What is wanted.
    pub wanted: String,
    /// What it costs to leave it, in one line.
    pub effect: &'static str,
    /// How to change it, for a person to review.
    pub remedy: &'static str,
}

/// Runs all checks on what was read of the host. Pure.
pub fn report(facts: &Facts) -> Vec<Finding> {
    check::ALL.iter().map(|check| check(facts)).collect()
}

/// The worst severity of a report; `Unknown` does not count.
pub fn worst(findings: &[Finding]) -> Severity {
    findings.iter().map(|f| f.severity).filter(|&s| s != Severity::Unknown).max().unwrap_or(Severity::Ok)
}
