//! Network polling in threads of its own.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "napi_threaded",
    group: "network",
    class: Class::OptIn,
    reads: &["/sys/class/net/*/threaded", "/sys/class/net/*/device@"],
    writes: &[Write::plain("/sys/class/net/*/threaded")],
    effect: "packet handling runs inside whatever the core was doing",
    why: "Threads can be placed and weighed by the scheduler; useful where some cores are set apart for the network.",
    risk: "A wake-up per batch: slower where cores are not set apart.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel napi documentation.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let settings = facts.network.iter().map(|nic| {
        (nic.name.clone(), Setting { path: format!("/sys/class/net/{}/threaded", nic.name), wanted: "1".to_owned() })
    });
    Look::each(&facts.snapshot, Format::Plain, settings, "no network device")
}
