//! Transmit packet steering: which CPUs send through which queue.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "net_xps",
    group: "network",
    class: Class::Auto,
    reads: &["/sys/class/net/*/queues/tx-*/xps_cpus", "/sys/class/net/*/queues/tx-*/tx_timeout"],
    writes: &[Write::plain("/sys/class/net/*/queues/tx-*/xps_cpus").spelled(Format::Mask)],
    effect: "shards share send queues and wait for their locks",
    why: "Each CPU gets a queue of its own (or shares it with as few as possible), the one whose interrupt it takes.",
    risk: "None known; drivers that do it themselves are left alone.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel scaling.rst; rpk and perftune.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let cpus = facts.cpus();
    let multi = facts.network.iter().filter(|n| n.tx_queues > 1);
    let mut settings = Vec::new();
    for nic in multi {
        let path = |queue: usize| format!("/sys/class/net/{}/queues/tx-{queue}/xps_cpus", nic.name);
        let masks: Vec<String> = (0..nic.tx_queues).filter_map(|q| Some(Format::Mask.normal(facts.snapshot.get(&path(q))?))).collect();
        // The driver or somebody else has set them up.
        if masks.iter().any(|m| m != "0") {
            continue;
        }
        for queue in 0..masks.len().min(cpus.len()) {
            let own = cpus.iter().copied().enumerate().filter(|(i, _)| i % masks.len() == queue).map(|(_, cpu)| cpu);
            settings.push((format!("{} tx-{queue}", nic.name), Setting { path: path(queue), wanted: mask_of(own) }));
        }
    }
    if settings.is_empty() && facts.network.iter().any(|n| n.tx_queues > 1) {
        return Look::ok("set up already");
    }
    Look::each(&facts.snapshot, Format::Mask, settings, "no network device with several send queues")
}
