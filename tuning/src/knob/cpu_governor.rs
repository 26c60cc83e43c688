//! The frequency governor of every policy.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "cpu_governor",
    group: "cpu",
    class: Class::Auto,
    reads: &["/sys/devices/system/cpu/cpufreq/policy*/scaling_governor", "/sys/devices/system/cpu/cpufreq/policy*/scaling_available_governors"],
    writes: &[Write::plain("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")],
    effect: "a core that clocked down adds its ramp-up to the first requests after a pause",
    why: "A broker is idle between bursts; the governor sees idleness and lowers the clock just before the next burst.",
    risk: "Power and heat; a laptop on battery lasts less.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel cpufreq; rpk and tuned set it (rpk per core, so that it misses policies of SMT siblings).",
    probes: &[ProbeKind::TimerJitter, ProbeKind::WakeUp, ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let governors = facts.snapshot.matching("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor");
    let settings = governors.filter_map(|(path, _)| {
        let available = facts.snapshot.get(&path.replace("scaling_governor", "scaling_available_governors"));
        // A driver that does not know the word would refuse it.
        if available.is_some_and(|a| !a.split_whitespace().any(|g| g == "performance")) {
            return None;
        }
        Some((crate::facts::part(path, 6).to_owned(), Setting { path: path.to_owned(), wanted: "performance".to_owned() }))
    });
    Look::each(&facts.snapshot, Format::Plain, settings, "no frequency control here")
}
