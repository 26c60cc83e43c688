//! Automatic NUMA balancing: the kernel moves pages after threads.

use super::{Class, Direction, Knob, Look, ProbeKind, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/kernel/numa_balancing";

pub(super) const KNOB: Knob = Knob {
    id: "numa_balancing",
    group: "kernel",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 0, min: 0, max: 0, unit: "(off)" },
    effect: "pages are unmapped to see who uses them; each costs the shard a fault",
    why: "Shards are pinned and allocate on their own node, so there is nothing to learn from sampling.",
    risk: "Other programs on the host that rely on it become slower.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel sysctl; tuned latency profiles.",
    probes: &[ProbeKind::TimerJitter, ProbeKind::WakeUp],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
