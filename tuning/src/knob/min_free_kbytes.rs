//! Memory that the kernel keeps free for itself.

use super::{Class, Direction, Knob, Look, Write};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "min_free_kbytes",
    group: "memory",
    class: Class::Check,
    reads: &["/proc/sys/vm/min_free_kbytes", "/proc/meminfo"],
    writes: &[Write::plain("/proc/sys/vm/min_free_kbytes").raising()],
    effect: "when memory is full of page cache, an allocation in a network interrupt stalls or fails",
    why: "A broker fills memory with page cache by design; the reserve must cover bursts of packets until reclaim has caught up.",
    risk: "Memory that programs cannot use.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel vm sysctl.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const PATH: &str = "/proc/sys/vm/min_free_kbytes";
    let Some(memory) = facts.memory_bytes else { return Look::unseen("not readable here") };
    // 0.2 percent, 16 MiB to 1 GiB.
    let wanted = (memory / 512 / 1024).clamp(16 << 10, 1 << 20);
    let look = Look::number(facts, PATH, wanted, Direction::AtLeast);
    if look.severity == crate::Severity::Advice { Look { severity: crate::Severity::Hint, ..look } } else { look }
}
