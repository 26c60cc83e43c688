//! How far the kernel reads ahead in files.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_read_ahead",
    group: "disk",
    class: Class::OptIn,
    reads: &["/sys/block/*/queue/read_ahead_kb"],
    writes: &[Write::plain("/sys/block/*/queue/read_ahead_kb").raising()],
    param: Param::Number { default: 1024, min: 0, max: 16384, unit: "KiB" },
    effect: "consumers that catch up wait for the disk at every small piece",
    why: "Catch-up reads go through the page cache in order: a longer read-ahead makes fewer and larger requests.",
    risk: "Random readers on the same disk read more than they need.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel queue-sysfs; tuned sets 4096.",
    probes: &[ProbeKind::SequentialDisk, ProbeKind::RandomDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let short = |d: &crate::facts::Disk| facts.snapshot.number(&d.attribute("read_ahead_kb")).is_some_and(|now| now < wish.number());
    if !facts.disks.is_empty() && !facts.disks.iter().any(short) {
        return Look::ok(format!("{} KiB or more", wish.number()));
    }
    Look::disks(facts, short, "read_ahead_kb", &wish.number().to_string(), Format::Plain, "no disk to see")
}
