//! Whether the kernel flushes the cache of a disk: never ours to change.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "disk_write_cache",
    group: "disk",
    class: Class::Never,
    reads: &["/sys/block/*/queue/write_cache", "/sys/block/*/queue/fua"],
    effect: "none: a flush costs what the disk needs to be safe",
    why: "Saying `write through` makes the kernel drop flushes. On a disk whose cache is lost with the power, acknowledged data is lost with it.",
    risk: "Data loss. Only right where the device itself is power-safe and lies about it, which nobody can see from here.",
    source: "kernel queue-sysfs; rpk does it on Google local SSDs.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let caches: Vec<String> = facts.disks.iter().filter_map(|d| Some(format!("{}: {}", d.name, d.queue.get("write_cache")?))).collect();
    if caches.is_empty() { Look::inapplicable("no disk to see") } else { Look::ok(caches.join(", ")).wanting("as the disk says") }
}
