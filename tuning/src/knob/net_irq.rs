//! On which CPUs the network interrupts: one queue per CPU.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "net_irq",
    group: "network",
    class: Class::Auto,
    reads: &["/proc/irq/*/smp_affinity", "/sys/kernel/irq/*/actions", "/run/irqbalance?", "/run/irqbalance.pid?", "/run/irqbalance/irqbalance.pid?"],
    writes: &[Write::plain("/proc/irq/*/smp_affinity").spelled(Format::Mask)],
    effect: "packets of all connections are handled by few cores while others wait",
    why: "Queues are spread over the CPUs in order, receive and send of one pair on the same core.",
    risk: "Moves load to cores that had none. A running irqbalance would move it back: then nothing is written.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel genirq affinity; rpk and perftune (modes mq, sq, sq_split).",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const BALANCERS: &[&str] = &["/run/irqbalance", "/run/irqbalance.pid", "/run/irqbalance/irqbalance.pid"];
    let cpus = facts.cpus();
    if cpus.len() < 2 {
        return Look::inapplicable("one CPU");
    }
    let multi: Vec<_> = facts.network.iter().filter(|n| n.is_multi_queue()).collect();
    if multi.is_empty() {
        return Look::inapplicable("no network device with several queues");
    }
    if BALANCERS.iter().any(|path| facts.snapshot.exists(path)) {
        return Look::hint("irqbalance runs and would undo it", "one queue per CPU")
            .by("systemctl disable --now irqbalance, or ban the interrupts there (IRQBALANCE_ARGS on Debian and Ubuntu, not OPTIONS)");
    }
    let mut settings = Vec::new();
    for nic in multi {
        let mut next = 0;
        for (i, irq) in nic.interrupts.iter().enumerate().filter(|(_, irq)| !irq.managed) {
            // virtio names `input.N` and `output.N`: both of a pair belong on one CPU.
            let queue = irq.action.rsplit(['.', '-']).next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(next);
            next = i + 1;
            let setting = Setting { path: format!("/proc/irq/{}/smp_affinity", irq.number), wanted: mask_of([cpus[queue % cpus.len()]]) };
            settings.push((format!("{} {}", nic.name, irq.number), setting));
        }
    }
    Look::each(&facts.snapshot, Format::Mask, settings, "the kernel places them all")
}
