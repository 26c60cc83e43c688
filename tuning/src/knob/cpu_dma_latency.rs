//! The deepest idle state of all CPUs, by an open file: as long as somebody holds it.

use super::{Class, Knob, Look, ProbeKind};
use crate::facts::Facts;
use crate::value::{Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "cpu_dma_latency",
    group: "cpu",
    class: Class::OptIn,
    reads: &["/dev/cpu_dma_latency?", "/sys/devices/system/cpu/cpu0/cpuidle/state*/latency", "/sys/devices/system/cpu/cpu0/cpuidle/state*/name"],
    param: Param::Number { default: 10, min: 0, max: 1000, unit: "us" },
    effect: "a sleeping core needs 10 to 100 microseconds to wake from its deep states",
    why: "Holding /dev/cpu_dma_latency open with a bound keeps cores out of deeper states and leaves no trace when the holder ends.",
    risk: "Idle power rises by watts per socket; turbo headroom of neighbours shrinks.",
    undo: "Close the file: stop the broker (or `coreline-tune hold`), nothing stays behind.",
    source: "kernel PM QoS; tuned force_latency.",
    probes: &[ProbeKind::WakeUp, ProbeKind::TimerJitter, ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    if !facts.snapshot.exists("/dev/cpu_dma_latency") {
        return Look::inapplicable("no /dev/cpu_dma_latency here");
    }
    let wanted = wish.number();
    match facts.idle_states.iter().filter(|s| !s.disabled).max_by_key(|s| s.exit_latency_us) {
        None => Look::inapplicable("no idle states here (the hypervisor has them)"),
        Some(deepest) if deepest.exit_latency_us <= wanted => {
            Look::ok(format!("deepest state {} leaves in {} us", deepest.name, deepest.exit_latency_us)).wanting(format!("<= {wanted} us"))
        }
        Some(deepest) => Look::hint(format!("{} leaves in {} us", deepest.name, deepest.exit_latency_us), format!("<= {wanted} us"))
            .by(format!("let the broker hold it, or: coreline-tune hold --latency-us {wanted}")),
    }
}
