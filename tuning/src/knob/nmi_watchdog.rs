//! The hard-lockup detector.

use super::{Class, Direction, Knob, Look, ProbeKind, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/kernel/nmi_watchdog";

pub(super) const KNOB: Knob = Knob {
    id: "nmi_watchdog",
    group: "kernel",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 0, min: 0, max: 0, unit: "(off)" },
    effect: "one performance counter is taken and every CPU is interrupted every few seconds",
    why: "The counter is missed by profilers and the interrupt by the tail of latency.",
    risk: "A kernel that hangs with interrupts off is no longer reported.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel lockup-watchdogs; tuned latency profiles.",
    probes: &[ProbeKind::TimerJitter],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
