//! Turbo frequencies: left as they are.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "cpu_boost",
    group: "cpu",
    class: Class::Check,
    reads: &["/sys/devices/system/cpu/cpufreq/boost", "/sys/devices/system/cpu/intel_pstate/no_turbo"],
    effect: "none known: turbo helps bursts, fixed clocks help comparisons",
    why: "One tool switches turbo off, another on. Off gives steadier numbers, on gives lower latency: the choice is the owner's.",
    source: "rpk sets cpufreq/boost=0, tuned intel_pstate/no_turbo=0: they disagree.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let boost = facts.snapshot.number("/sys/devices/system/cpu/cpufreq/boost");
    let turbo = facts.snapshot.number("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| 1 - off.min(1));
    match boost.or(turbo) {
        Some(0) => Look::ok("off").wanting("as the owner likes"),
        Some(_) => Look::ok("on").wanting("as the owner likes"),
        None => Look::inapplicable("no turbo control here"),
    }
}
