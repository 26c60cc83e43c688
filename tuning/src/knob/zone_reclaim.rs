//! Whether a NUMA node frees its cache before it uses memory of another node.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/vm/zone_reclaim_mode";

pub(super) const KNOB: Knob = Knob {
    id: "zone_reclaim",
    group: "memory",
    class: Class::Check,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 0, min: 0, max: 0, unit: "(off)" },
    effect: "page cache of the local node is thrown away while other nodes have free memory",
    why: "The page cache serves consumers that read behind; remote memory is far faster than a disk.",
    risk: "None for a broker.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel vm sysctl.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
