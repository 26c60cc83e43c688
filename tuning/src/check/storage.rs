//! Block devices: the I/O scheduler.

use super::About;
use crate::{Facts, Finding, Severity};

pub(super) fn block_scheduler(facts: &Facts) -> Finding {
    let about = About {
        id: "block_scheduler",
        wanted: "none or mq-deadline",
        effect: "a fair-queueing scheduler adds CPU time and delay to every journal write",
        remedy: "echo none > /sys/block/DEVICE/queue/scheduler (solid-state devices)",
    };
    if facts.block_schedulers.is_empty() {
        return about.finding(Severity::Unknown, "no block device to see");
    }
    let off: Vec<String> = facts
        .block_schedulers
        .iter()
        .filter(|(_, s)| !matches!(s.as_str(), "none" | "mq-deadline"))
        .map(|(device, s)| format!("{device}: {s}"))
        .collect();
    match off.is_empty() {
        true => about.finding(Severity::Ok, format!("{} devices", facts.block_schedulers.len())),
        false => about.finding(Severity::Advice, off.join(", ")),
    }
}
