//! How eagerly khugepaged makes huge pages of small ones behind a program's back.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::{Facts, last};
use crate::value::{Format, Value};

const DEFRAG: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag";
const NONE_MAX: &str = "/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none";

pub(super) const KNOB: Knob = Knob {
    id: "huge_pages_collapse",
    group: "memory",
    class: Class::OptIn,
    reads: &[DEFRAG, NONE_MAX],
    writes: &[Write::plain(DEFRAG), Write::plain(NONE_MAX)],
    effect: "a kernel thread stops faults of a shard while it copies small pages into huge ones, and fills gaps that were never used",
    why: "With no page missing allowed, memory does not grow by a collapse; without compaction the thread takes free huge pages only.",
    risk: "Programs with advised memory get huge pages later, or only at the first touch.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel transhuge (khugepaged/defrag, max_ptes_none).",
    probes: &[ProbeKind::TimerJitter],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    if facts.huge_pages.as_deref() == Some("never") {
        return Look::inapplicable("huge pages are off");
    }
    let settings = [DEFRAG, NONE_MAX].map(|path| (last(path).to_owned(), Setting { path: path.to_owned(), wanted: "0".to_owned() }));
    Look::each(&facts.snapshot, Format::Plain, settings, "this kernel has none")
}
