//! Hints to the processor on speed or saving: energy preference and bias, lowest performance.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "cpu_energy",
    group: "cpu",
    class: Class::OptIn,
    reads: &["/sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference", "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor", "/sys/devices/system/cpu/cpu*/power/energy_perf_bias", "/sys/devices/system/cpu/intel_pstate/min_perf_pct", "/sys/firmware/acpi/platform_profile", "/sys/firmware/acpi/platform_profile_choices"],
    writes: &[
        Write::plain("/sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference"),
        Write::plain("/sys/devices/system/cpu/cpu*/power/energy_perf_bias"),
        Write::plain("/sys/devices/system/cpu/intel_pstate/min_perf_pct"),
        Write::plain("/sys/firmware/acpi/platform_profile"),
    ],
    effect: "the processor trades speed for power on its own, below the governor",
    why: "With hardware-managed frequencies the governor is only a wish; these are the knobs that the firmware listens to.",
    risk: "Power and heat.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel intel_pstate, amd-pstate, energy_perf_bias; tuned latency-performance.",
    probes: &[ProbeKind::TimerJitter, ProbeKind::WakeUp, ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const EPP: &str = "/sys/devices/system/cpu/cpufreq/policy*/energy_performance_preference";
    const BIAS: &str = "/sys/devices/system/cpu/cpu*/power/energy_perf_bias";
    let every = |pattern: &'static str, n: usize, wanted: &'static str| {
        facts.snapshot.matching(pattern).map(move |(path, _)| {
            (crate::facts::part(path, n).to_owned(), Setting { path: path.to_owned(), wanted: wanted.to_owned() })
        })
    };
    // Under the performance governor the preference is fixed and the kernel refuses to change it.
    let preference = every(EPP, 6, "performance").filter(|(_, setting)| {
        facts.snapshot.get(&setting.path.replace("energy_performance_preference", "scaling_governor")) != Some("performance")
    });
    let profiles = facts.snapshot.get("/sys/firmware/acpi/platform_profile_choices").unwrap_or("");
    let platform = every("/sys/firmware/acpi/platform_profile", 4, "performance").filter(|_| profiles.contains("performance"));
    let floor = every("/sys/devices/system/cpu/intel_pstate/min_perf_pct", 6, "100");
    let settings = preference.chain(every(BIAS, 5, "0")).chain(floor).chain(platform);
    Look::each(&facts.snapshot, Format::Plain, settings, "no such hints here")
}
