//! How many requests may wait in the kernel for a disk.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_nr_requests",
    group: "disk",
    class: Class::OptIn,
    reads: &["/sys/block/*/queue/nr_requests"],
    writes: &[Write::plain("/sys/block/*/queue/nr_requests")],
    param: Param::Number { default: 256, min: 4, max: 4096, unit: "requests" },
    effect: "too few: submitters sleep; too many: a flush waits behind a flood of write-back",
    why: "Worth a proof in both directions; depends on the disk.",
    risk: "Longer queues make the tail longer.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel queue-sysfs.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::RandomDisk, ProbeKind::SequentialDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    Look::disks(facts, |d| d.is_fast(), "nr_requests", &wish.number().to_string(), Format::Plain, "no fast disk to see")
}
