//! How much may wait in the page cache to be written.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "vm_dirty",
    group: "memory",
    class: Class::Check,
    reads: &["/proc/sys/vm/dirty_bytes", "/proc/sys/vm/dirty_background_bytes", "/proc/sys/vm/dirty_ratio", "/proc/sys/vm/dirty_background_ratio", "/proc/meminfo"],
    writes: &[
        Write { not_writable: Some("0"), ..Write::plain("/proc/sys/vm/dirty_bytes").leading(&["dirty_ratio"]) },
        Write { not_writable: Some("0"), ..Write::plain("/proc/sys/vm/dirty_background_bytes").leading(&["dirty_background_ratio"]) },
    ],
    param: Param::Number { default: 1073741824, min: 16777216, max: 1099511627776, unit: "bytes" },
    effect: "buffered writers on the host pile up gigabytes, then everybody waits for the disk",
    why: "The broker writes past the page cache and flushes itself; this is about its neighbours on the same disk.",
    risk: "Smaller bounds slow programs that write in bursts.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel vm sysctl; tuned sets ratios; a 0 cannot be written back (redhat-performance/tuned#882), so the way back goes through the ratio.",
    probes: &[ProbeKind::WriteFlush, ProbeKind::SequentialDisk],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let number = |name: &str| facts.snapshot.number(&format!("/proc/sys/vm/{name}"));
    let (Some(bytes), Some(ratio), Some(memory)) = (number("dirty_bytes"), number("dirty_ratio"), facts.memory_bytes) else {
        return Look::unseen("not readable here");
    };
    let bound = if bytes > 0 { bytes } else { memory / 100 * ratio.min(100) };
    let wanted = format!("<= {} MiB", wish.number() >> 20);
    if bound <= wish.number() {
        return Look::ok(format!("{} MiB", bound >> 20)).wanting(wanted);
    }
    // A quarter of the bound starts the write-back; the larger one first, so that they never cross.
    let of = |name: &str, value: u64| Setting { path: format!("/proc/sys/vm/{name}"), wanted: value.to_string() };
    let settings = vec![of("dirty_background_bytes", wish.number() / 4), of("dirty_bytes", wish.number())];
    Look { settings, ..Look::hint(format!("up to {} MiB", bound >> 20), wanted) }
}
