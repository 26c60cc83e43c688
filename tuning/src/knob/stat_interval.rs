//! How often each CPU folds its memory statistics.

use super::{Class, Direction, Knob, Look, ProbeKind, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/vm/stat_interval";

pub(super) const KNOB: Knob = Knob {
    id: "stat_interval",
    group: "kernel",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 10, min: 1, max: 300, unit: "s" },
    effect: "a small timer runs on every shard once a second",
    why: "Fewer interruptions of a busy shard; the numbers in /proc/vmstat are then up to ten seconds old.",
    risk: "Monitoring sees coarser memory numbers.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel vm sysctl; tuned realtime and cpu-partitioning.",
    probes: &[ProbeKind::TimerJitter],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::AtLeast),
    ..Knob::BASE
};
