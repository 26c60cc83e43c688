//! On which CPUs the disks interrupt.

use std::collections::BTreeMap;

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::Severity;
use crate::facts::{Facts, part};
use crate::value::{Format, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "disk_irq",
    group: "disk",
    class: Class::Check,
    reads: &["/sys/kernel/irq/*/actions", "/proc/irq/*/smp_affinity"],
    writes: &[Write::plain("/proc/irq/*/smp_affinity").spelled(Format::Mask)],
    effect: "completions of all shards arrive on one core",
    why: "NVMe drivers have a queue per CPU whose interrupt the kernel places and nobody may move: nothing to do. The queues of an \
          older controller are spread over the CPUs on request.",
    source: "kernel genirq affinity; rpk writes these files and fails on managed ones.",
    risk: "Load moves to cores that had none; a driver may refuse, and then the batch is undone.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart.",
    probes: &[ProbeKind::RandomDisk, ProbeKind::WriteFlush],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let cpus = facts.cpus();
    let (mut managed, mut movable) = (0, BTreeMap::<&str, Vec<(&str, String)>>::new());
    for (path, actions) in facts.snapshot.matching("/sys/kernel/irq/*/actions") {
        let action = actions.text.as_str();
        let Some(driver) = driver(action) else { continue };
        let affinity = format!("/proc/irq/{}/smp_affinity", part(path, 4));
        match facts.snapshot.entry(&affinity) {
            // The mode tells on kernels since 6.10 only; older ones refuse the write.
            Some(entry) if !entry.read_only && driver != "nvme" => movable.entry(driver).or_default().push((action, affinity)),
            _ => managed += 1,
        }
    }
    // One interrupt of a controller may go anywhere already.
    movable.retain(|_, interrupts| interrupts.len() > 1);
    let settings = movable.values().flat_map(|interrupts| {
        interrupts.iter().zip(cpus.iter().cycle()).map(|((action, path), cpu)| {
            ((*action).to_owned(), Setting { path: path.clone(), wanted: mask_of([*cpu]) })
        })
    });
    let look = Look::each(&facts.snapshot, Format::Mask, settings, "no disk interrupt to see");
    match look.severity {
        Severity::Inapplicable if managed > 0 => Look::ok(format!("{managed} placed by the kernel")).wanting("one per CPU, placed by the kernel"),
        // Written on request only: `--with disk_irq`.
        Severity::Advice => Look { severity: Severity::Hint, wanted: "one per CPU".to_owned(), ..look },
        _ => look,
    }
}

/// The disk driver of an interrupt's action; the administration queue of NVMe carries no load.
fn driver(action: &str) -> Option<&'static str> {
    let virtio = action.starts_with("virtio") && action.contains("req");
    match action {
        _ if action.starts_with("nvme") && !action.ends_with("q0") => Some("nvme"),
        _ if virtio => Some("virtio"),
        _ => ["ahci", "megasas", "mpt"].into_iter().find(|name| action.contains(name)),
    }
}
