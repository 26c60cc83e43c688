//! On which CPUs the disks interrupt.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "disk_irq",
    group: "disk",
    class: Class::Check,
    reads: &["/sys/kernel/irq/*/actions", "/proc/irq/*/smp_affinity"],
    effect: "completions of all shards arrive on one core",
    why: "NVMe drivers have a queue per CPU whose interrupt the kernel places and nobody may move: nothing to do. Only older controllers are worth a look.",
    source: "kernel genirq affinity; rpk writes these files and fails on managed ones.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let (mut managed, mut free) = (0, Vec::new());
    for (path, actions) in facts.snapshot.matching("/sys/kernel/irq/*/actions") {
        let a = actions.text.as_str();
        let disk = (a.starts_with("nvme") && !a.ends_with("q0")) || (a.starts_with("virtio") && a.contains("req")) || a.contains("ahci") || a.contains("megasas") || a.contains("mpt");
        if disk {
            let number = crate::facts::part(path, 4);
            match facts.snapshot.entry(&format!("/proc/irq/{number}/smp_affinity")) {
                Some(entry) if !entry.read_only => free.push(number),
                _ => managed += 1,
            }
        }
    }
    if managed == 0 && free.is_empty() {
        return Look::inapplicable("no disk interrupt to see");
    }
    // The mode tells on kernels since 6.10 only; older ones refuse the write.
    let text = if free.is_empty() { format!("{managed} placed by the kernel") } else { format!("{managed} placed by the kernel, movable: {}", free.join(" ")) };
    Look::ok(text).wanting("one per CPU, placed by the kernel")
}
