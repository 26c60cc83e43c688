//! What the disk can do: measured, not read.

use super::{Class, Knob, Look, ProbeKind};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "io_properties",
    group: "disk",
    class: Class::Check,
    effect: "nobody knows what a flush costs on this disk until a client waits for it",
    why: "The time of one write and its flush bounds every acknowledgement. Files of the kernel do not tell it: `prove --baseline` measures it, with \
          large and small reads and writes, and prints percentiles. The broker itself needs no table: it measures its journal when it opens it.",
    source: "iotune measures bandwidth and IOPS for 120 s and no flush; rpk ships a table by instance type.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::SequentialDisk, ProbeKind::RandomDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    if facts.disks.is_empty() {
        return Look::inapplicable("no disk to see");
    }
    Look::ok("not read but measured").by(format!("coreline-tune prove --baseline --probe-ms 3000 --dir {}", facts.data_dir))
}
