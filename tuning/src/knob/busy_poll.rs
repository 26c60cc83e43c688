//! How long a reader looks for packets itself before it sleeps.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "busy_poll",
    group: "network",
    class: Class::OptIn,
    reads: &["/proc/sys/net/core/busy_poll", "/proc/sys/net/core/busy_read"],
    writes: &[Write::plain("/proc/sys/net/core/busy_poll"), Write::plain("/proc/sys/net/core/busy_read")],
    param: Param::Number { default: 50, min: 1, max: 1000, unit: "us" },
    effect: "each message waits for an interrupt and a wake-up",
    why: "Some ten microseconds less per message for a core that has nothing else to do.",
    risk: "CPU time is burnt while waiting.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel net sysctl; tuned network-latency uses 50.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let settings = ["busy_poll", "busy_read"].map(|name| {
        (name.to_owned(), Setting { path: format!("/proc/sys/net/core/{name}"), wanted: wish.number().to_string() })
    });
    Look::each(&facts.snapshot, Format::Plain, settings, "not told here: of the host, not of a network namespace")
}
