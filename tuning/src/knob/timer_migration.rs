//! Whether timers move to another CPU when theirs is idle.

use super::{Class, Direction, Knob, Look, ProbeKind, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/kernel/timer_migration";

pub(super) const KNOB: Knob = Knob {
    id: "timer_migration",
    group: "kernel",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 0, min: 0, max: 0, unit: "(off)" },
    effect: "timers of idle CPUs may interrupt a busy shard",
    why: "A shard sets its own timers and runs them where its data is.",
    risk: "Idle CPUs wake more often and use more power.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel timers; tuned cpu-partitioning.",
    probes: &[ProbeKind::TimerJitter],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
