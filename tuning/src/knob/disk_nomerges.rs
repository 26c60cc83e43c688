//! Whether the kernel looks for requests to merge.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_nomerges",
    group: "disk",
    class: Class::OptIn,
    reads: &["/sys/block/*/queue/nomerges"],
    writes: &[Write::plain("/sys/block/*/queue/nomerges")],
    effect: "each request is compared with those that wait",
    why: "Requests of the broker are large already; the look-up is work for nothing.",
    risk: "Small sequential buffered I/O of other programs gets slower.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel queue-sysfs; rpk and perftune set 2.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::RandomDisk, ProbeKind::SequentialDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    Look::disks(facts, |d| d.is_fast(), "nomerges", "2", Format::Plain, "no fast disk to see")
}
