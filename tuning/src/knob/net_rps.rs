//! Receive packet steering: more CPUs for a device with fewer queues than CPUs.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::{Facts, part};
use crate::value::{Format, Param, Value, mask_of};

pub(super) const KNOB: Knob = Knob {
    id: "net_rps",
    group: "network",
    class: Class::Auto,
    reads: &["/sys/class/net/*/queues/rx-*/rps_cpus"],
    writes: &[Write::plain("/sys/class/net/*/queues/rx-*/rps_cpus").spelled(Format::Mask)],
    param: Param::Word { default: "multi-queue", choices: &["multi-queue", "all"] },
    effect: "packets of all connections are handled by as many cores as the device has queues",
    why: "The kernel spreads packets by a hash of the connection where the device has several queues and fewer than CPUs. A device with one queue \
          belongs to a small host, where one core mostly has enough: `all` takes those as well.",
    risk: "An interrupt between processors per batch of packets; for `all` prove it.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel scaling.rst; rpk and perftune.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let cpus = facts.cpus();
    let takes = |n: &&crate::facts::Nic| n.rx_queues < cpus.len() && (n.is_multi_queue() || wish.word() == "all");
    let settings = facts.network.iter().filter(takes).flat_map(|nic| {
        let files = facts.snapshot.matching("/sys/class/net/*/queues/rx-*/rps_cpus").filter(|(path, _)| part(path, 4) == nic.name);
        files.map(|(path, _)| {
            let setting = Setting { path: path.to_owned(), wanted: mask_of(cpus.iter().copied()) };
            (format!("{} {}", nic.name, part(path, 6)), setting)
        })
    });
    Look::each(&facts.snapshot, Format::Mask, settings, "no device with several queues and fewer than CPUs")
}
