//! How long a quiet network device keeps polling before it turns interrupts on again.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "napi_defer",
    group: "network",
    class: Class::OptIn,
    reads: &["/sys/class/net/*/napi_defer_hard_irqs", "/sys/class/net/*/gro_flush_timeout", "/sys/class/net/*/device@"],
    writes: &[Write::plain("/sys/class/net/*/gro_flush_timeout"), Write { rank: 2, ..Write::plain("/sys/class/net/*/napi_defer_hard_irqs") }],
    param: Param::Number { default: 20, min: 1, max: 1000, unit: "us" },
    effect: "under load each batch of packets starts with an interrupt that breaks into a shard",
    why: "The kernel polls by a timer for a few rounds; packets wait up to the timeout, interrupts nearly vanish.",
    risk: "Adds up to the timeout to the first packet after a pause.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel napi documentation; no other tool sets it.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let settings = facts.network.iter().flat_map(|nic| {
        let of = |file: &str, wanted: u64| {
            (format!("{} {file}", nic.name), Setting { path: format!("/sys/class/net/{}/{file}", nic.name), wanted: wanted.to_string() })
        };
        [of("gro_flush_timeout", wish.number() * 1000), of("napi_defer_hard_irqs", 2)]
    });
    Look::each(&facts.snapshot, Format::Plain, settings, "no network device")
}
