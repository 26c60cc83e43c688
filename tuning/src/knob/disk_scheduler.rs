//! The I/O scheduler of each fast disk.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_scheduler",
    group: "disk",
    class: Class::Auto,
    reads: &["/sys/block/*/queue/scheduler", "/sys/block/*/queue/rotational", "/sys/block/*/queue/nr_requests", "/sys/block/*/queue/wbt_lat_usec"],
    writes: &[Write::plain("/sys/block/*/queue/scheduler").spelled(Format::Choice).leading(&["nr_requests", "wbt_lat_usec"])],
    effect: "a scheduler adds CPU time and delay to every journal write",
    why: "Fast disks order their own queues; what the broker writes is already in order and in large pieces.",
    risk: "A slow disk shared with other programs loses fairness. The kernel resets nr_requests and the write-back throttle when it changes: both are put back with it.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel blk-mq; rpk and perftune set none or noop for all devices.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::RandomDisk, ProbeKind::SequentialDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    // A rotating disk needs its scheduler; a disk that does not know `none` has no queues to bypass.
    let chosen = |d: &crate::facts::Disk| {
        d.is_fast() && facts.snapshot.get(&d.attribute("scheduler")).is_some_and(|s| s.split(['[', ']', ' ']).any(|w| w == "none"))
    };
    Look::disks(facts, chosen, "scheduler", "none", Format::Choice, "no fast disk to see")
}
