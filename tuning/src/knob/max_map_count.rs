//! How many memory maps a process may have.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/vm/max_map_count";

pub(super) const KNOB: Knob = Knob {
    id: "max_map_count",
    group: "memory",
    class: Class::Check,
    reads: &[PATH],
    writes: &[Write::plain(PATH).raising()],
    param: Param::Number { default: 262144, min: 65530, max: 2147483647, unit: "maps" },
    effect: "allocations fail although memory is free, when rings, buffers and files map many ranges",
    why: "The default of 65530 is enough for thousands of partitions here (files are not mapped), other brokers on the host need more.",
    risk: "A runaway program can use more kernel memory.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel vm sysctl; Kafka operations guide.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::AtLeast),
    ..Knob::BASE
};
