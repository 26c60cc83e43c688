//! The clock source: what a time stamp costs.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "clocksource",
    group: "cpu",
    class: Class::Check,
    reads: &["/sys/devices/system/clocksource/clocksource0/current_clocksource", "/sys/devices/system/clocksource/clocksource0/available_clocksource"],
    writes: &[Write::plain("/sys/devices/system/clocksource/clocksource0/current_clocksource")],
    effect: "each time stamp costs a system call of about a microsecond",
    why: "Only some clock sources are read without entering the kernel. Any of those is fine: forcing tsc, as others do, is wrong on KVM guests and fails on ARM.",
    risk: "A TSC that the kernel distrusts may run apart between sockets.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel timekeeping; rpk hard-codes tsc and fails on ARM and Azure (redpanda#6446, #15609).",
    probes: &[ProbeKind::TimerJitter, ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Clock sources that are read without a system call, best first.
const FAST: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

fn look(facts: &Facts, _: &Value) -> Look {
    let Some(current) = &facts.clocksource else { return Look::unseen("not there") };
    if FAST.contains(&current.as_str()) {
        return Look::ok(current).wanting("one that is read without a system call");
    }
    let available = facts.snapshot.get("/sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or("");
    let best = FAST.iter().find(|fast| available.split_whitespace().any(|a| a == **fast));
    let look = Look::off(current, best.map_or("one that is read without a system call", |b| b));
    match best {
        Some(best) => Look { settings: vec![Setting { path: PATH.to_owned(), wanted: (*best).to_owned() }], ..look },
        None => look.by("none of the available ones is fast; look for `clocksource: timekeeping watchdog` in the kernel log"),
    }
}
