//! Two threads per core.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "cpu_smt",
    group: "cpu",
    class: Class::Check,
    reads: &["/sys/devices/system/cpu/smt/control", "/sys/devices/system/cpu/smt/active"],
    effect: "two shards on one core share its caches and slow each other",
    why: "A shard per physical core gives the steadiest latency; a shard per thread gives some 20 percent more throughput.",
    source: "kernel CPU hotplug; the help of rpk promises to switch it off, no code does.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    match facts.smt_active {
        None => Look::inapplicable("not told here"),
        Some(false) => Look::ok("one thread per core in use"),
        Some(true) => Look::hint("two threads per core", "one shard per core for latency")
            .by("give the broker one CPU of each pair (see /sys/devices/system/cpu/cpu*/topology/thread_siblings_list)"),
    }
}
