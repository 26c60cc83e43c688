//! How readily the kernel swaps.

use super::{Class, Direction, Knob, Look, Write};
use crate::facts::Facts;
use crate::value::{Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "swappiness",
    group: "memory",
    class: Class::Auto,
    reads: &["/proc/sys/vm/swappiness", "/proc/swaps"],
    writes: &[Write::plain("/proc/sys/vm/swappiness")],
    param: Param::Number { default: 1, min: 0, max: 200, unit: "(0 to 200)" },
    effect: "a swapped-out tail is read back page by page on the shard's own core",
    why: "Only with swap present. Better still: no swap for the unit (MemorySwapMax=0), which `persist` writes.",
    risk: "Other programs keep more of their idle memory in RAM.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel vm sysctl; rpk sets 1, tuned 10.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    match facts.swap_active {
        Some(false) => Look::ok("no swap").wanting("<= 1, or no swap"),
        _ => Look::number(facts, "/proc/sys/vm/swappiness", wish.number(), Direction::AtMost),
    }
}
