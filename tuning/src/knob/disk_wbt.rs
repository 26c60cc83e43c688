//! The write-back throttle: slows buffered writers when reads get slow.

use super::{Class, Knob, Look, ProbeKind, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "disk_wbt",
    group: "disk",
    class: Class::OptIn,
    reads: &["/sys/block/*/queue/wbt_lat_usec"],
    writes: &[Write::plain("/sys/block/*/queue/wbt_lat_usec")],
    effect: "the kernel holds back writes for the sake of reads",
    why: "0 switches it off. With writes past the page cache it only adds bookkeeping; with chatty neighbours it protects reads.",
    risk: "A neighbour that writes much through the page cache slows reads.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel queue-sysfs, block/blk-wbt.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::SequentialDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    Look::disks(facts, |d| d.is_fast(), "wbt_lat_usec", "0", Format::Plain, "no disk with a throttle to see")
}
