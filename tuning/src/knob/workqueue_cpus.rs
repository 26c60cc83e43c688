//! CPUs on which the kernel runs its deferred work.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value, cpu_list, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "workqueue_cpus",
    group: "cpu",
    class: Class::OptIn,
    reads: &["/sys/devices/virtual/workqueue/cpumask", "/sys/devices/system/cpu/isolated", "/sys/devices/system/cpu/online"],
    writes: &[Write::plain("/sys/devices/virtual/workqueue/cpumask").spelled(Format::Mask)],
    effect: "kernel work items (write-back, discards) run on the CPUs of shards",
    why: "Where some CPUs are isolated for the broker, deferred work belongs on the others.",
    risk: "Too few CPUs for the work make write-back slow.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel workqueue documentation; tuned cpu-partitioning.",
    probes: &[ProbeKind::TimerJitter],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const PATH: &str = "/sys/devices/virtual/workqueue/cpumask";
    let isolated = facts.snapshot.get("/sys/devices/system/cpu/isolated").and_then(cpu_list).unwrap_or_default();
    let others: Vec<usize> = facts.cpus().into_iter().filter(|c| !isolated.contains(c)).collect();
    if isolated.is_empty() || others.is_empty() {
        return Look::inapplicable("no CPU is set apart");
    }
    let setting = Setting { path: PATH.to_owned(), wanted: mask_of(others) };
    Look::each(&facts.snapshot, Format::Mask, [("workqueues".to_owned(), setting)], "not told here")
}
