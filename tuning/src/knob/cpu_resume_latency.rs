//! The deepest idle state of each CPU, by a file that stays written.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "cpu_resume_latency",
    group: "cpu",
    class: Class::OptIn,
    reads: &["/sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us", "/sys/devices/system/cpu/cpu0/cpuidle/state*/latency"],
    writes: &[Write::plain("/sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us")],
    param: Param::Number { default: 10, min: 1, max: 1000, unit: "us" },
    effect: "a sleeping core needs 10 to 100 microseconds to wake from its deep states",
    why: "The same as cpu_dma_latency, per CPU and without a holder: for hosts where only some cores serve the broker.",
    risk: "Idle power; stays after the broker ended until rolled back.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel PM QoS, Documentation/ABI/testing/sysfs-devices-power.",
    probes: &[ProbeKind::WakeUp, ProbeKind::TimerJitter, ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let wanted = wish.number();
    if facts.idle_states.iter().all(|s| s.exit_latency_us <= wanted) {
        return Look::inapplicable("no idle state here is deeper than that");
    }
    // 0 means no bound at all; a bound that is closer already stays.
    let files: Vec<_> = facts.snapshot.matching("/sys/devices/system/cpu/cpu*/power/pm_qos_resume_latency_us").collect();
    if files.is_empty() {
        return Look::inapplicable("no per-CPU bound here");
    }
    let loose = files.into_iter().filter(|(_, e)| e.text != "n/a" && e.text.parse::<u64>().is_ok_and(|now| now == 0 || now > wanted));
    let settings =
        loose.map(|(path, _)| (crate::facts::part(path, 5).to_owned(), Setting { path: path.to_owned(), wanted: wanted.to_string() }));
    let settings: Vec<_> = settings.collect();
    if settings.is_empty() {
        return Look::ok(format!("bounded on all CPUs by {wanted} us or less")).wanting(format!("<= {wanted} us"));
    }
    Look::each(&facts.snapshot, Format::Plain, settings, "no per-CPU bound here")
}
