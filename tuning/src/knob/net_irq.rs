//! On which CPUs the network interrupts: one queue per CPU.

use super::{irqbalance, Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "net_irq",
    group: "network",
    class: Class::Auto,
    reads: &["/proc/irq/*/smp_affinity", "/sys/kernel/irq/*/actions", "/run/irqbalance?", "/run/irqbalance.pid?", "/run/irqbalance/irqbalance.pid?"],
    writes: &[Write::plain("/proc/irq/*/smp_affinity").spelled(Format::Mask)],
    param: Param::Word { default: "spread", choices: &["spread", "dedicated"] },
    effect: "packets of all connections are handled by few cores while others wait",
    why: "Queues are spread over the CPUs in order, receive and send of one pair on the same core. `dedicated` puts them all \
          on the first CPU of each sixteen, for hosts whose shards run on the others (`--cpus`).",
    risk: "Moves load to cores that had none. A running irqbalance would move it back: then nothing is written, unless it was told not to (`irqbalance`).",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel genirq affinity; rpk and perftune (modes mq, sq, sq_split).",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let cpus = facts.cpus();
    if cpus.len() < 2 {
        return Look::inapplicable("one CPU");
    }
    let multi: Vec<_> = facts.network.iter().filter(|n| n.is_multi_queue()).collect();
    if multi.is_empty() {
        return Look::inapplicable("no network device with several queues");
    }
    if facts.runs_irqbalance() && !irqbalance::is_told(facts) {
        return Look::hint("irqbalance runs and would undo it", "one queue per CPU")
            .by("coreline-tune explain irqbalance: a drop-in bans the network devices there");
    }
    // As perftune has it: one core for interrupts of sixteen. Up to four CPUs all share them.
    let cpus = if wish.word() == "dedicated" && cpus.len() > 4 { cpus[..cpus.len().div_ceil(16)].to_vec() } else { cpus };
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
