//! Receive packet steering: more CPUs for a device with fewer queues than CPUs.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "net_rps",
    group: "network",
    class: Class::OptIn,
    reads: &["/sys/class/net/*/queues/rx-*/rps_cpus"],
    writes: &[Write::plain("/sys/class/net/*/queues/rx-*/rps_cpus").spelled(Format::Mask)],
    effect: "packets of all connections are handled by as many cores as the device has queues",
    why: "The kernel spreads packets by a hash of the connection where the device cannot.",
    risk: "An interrupt between processors per batch of packets; hurts where one core has enough: prove it.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel scaling.rst; rpk and perftune.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let cpus = facts.cpus();
    let few = |name: &str| facts.network.iter().any(|n| n.name == name && n.rx_queues < cpus.len());
    let files = facts.snapshot.matching("/sys/class/net/*/queues/rx-*/rps_cpus").filter(|(path, _)| few(crate::facts::part(path, 4)));
    let settings = files.map(|(path, _)| {
        let name = format!("{} {}", crate::facts::part(path, 4), crate::facts::part(path, 6));
        (name, Setting { path: path.to_owned(), wanted: mask_of(cpus.iter().copied()) })
    });
    Look::each(&facts.snapshot, Format::Mask, settings, "no device with fewer queues than CPUs")
}
