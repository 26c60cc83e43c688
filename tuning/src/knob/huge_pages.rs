//! Transparent huge pages: for whom.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "huge_pages",
    group: "memory",
    class: Class::Auto,
    reads: &["/sys/kernel/mm/transparent_hugepage/enabled"],
    writes: &[Write::plain("/sys/kernel/mm/transparent_hugepage/enabled").spelled(Format::Choice)],
    effect: "compaction for huge pages stalls a shard for milliseconds and grows its memory",
    why: "With `madvise` the broker asks for huge pages where they pay (its buffers) and nobody else gets them unasked.",
    risk: "Programs that relied on `always` need to advise for themselves.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel transhuge; rpk sets always, tuned network-latency never: madvise serves both.",
    probes: &[ProbeKind::TimerJitter],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    match facts.huge_pages.as_deref() {
        None => Look::inapplicable("this kernel has none"),
        Some(now @ ("madvise" | "never")) => Look::ok(now).wanting("madvise or never"),
        Some(_) => {
            let setting = Setting { path: PATH.to_owned(), wanted: "madvise".to_owned() };
            Look::each(&facts.snapshot, Format::Choice, [("for all".to_owned(), setting)], "this kernel has none")
        }
    }
}
