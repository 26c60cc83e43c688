//! On which CPU a finished request is completed.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_rq_affinity",
    group: "disk",
    class: Class::OptIn,
    reads: &["/sys/block/*/queue/rq_affinity"],
    writes: &[Write::plain("/sys/block/*/queue/rq_affinity")],
    effect: "a completion runs on another core of the group than the one that asked",
    why: "2 completes on exactly the CPU that asked, which is the shard that waits.",
    risk: "More interrupts between processors.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel queue-sysfs.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::RandomDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    Look::disks(facts, |d| d.is_fast(), "rq_affinity", "2", Format::Plain, "no fast disk to see")
}
