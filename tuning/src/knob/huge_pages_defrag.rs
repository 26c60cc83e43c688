//! Whether a page fault stops to compact memory for a huge page.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "huge_pages_defrag",
    group: "memory",
    class: Class::OptIn,
    reads: &["/sys/kernel/mm/transparent_hugepage/defrag"],
    writes: &[Write::plain("/sys/kernel/mm/transparent_hugepage/defrag").spelled(Format::Choice)],
    effect: "a fault in advised memory may compact for milliseconds before it returns",
    why: "`defer` leaves compaction to a kernel thread; a fault takes a small page when no huge one is free.",
    risk: "Huge pages come later.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel transhuge.",
    probes: &[ProbeKind::TimerJitter],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/defrag";
    match facts.snapshot.choice(PATH) {
        None => Look::inapplicable("this kernel has none"),
        Some(now @ ("defer" | "never")) => Look::ok(now).wanting("defer or never"),
        Some(_) => {
            let setting = Setting { path: PATH.to_owned(), wanted: "defer".to_owned() };
            Look::each(&facts.snapshot, Format::Choice, [("faults".to_owned(), setting)], "this kernel has none")
        }
    }
}
