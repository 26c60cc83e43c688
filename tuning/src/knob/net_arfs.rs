//! Accelerated receive flow steering: the device itself sends a connection's packets to the queue of the CPU that reads them.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_arfs",
    group: "network",
    class: Class::Auto,
    reads: &["/@ethtool/*/features/rx-ntuple-filter"],
    writes: &[Write::plain("/@ethtool/*/features/rx-ntuple-filter")],
    effect: "a connection's packets arrive on one core and are moved to the one that reads them",
    why: "With `net_rfs` the kernel tells the device which queue the reader's core has, and no packet changes cores any more.",
    risk: "A filter in the device per connection; when its table is full the kernel steers as before.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel scaling.rst (aRFS); ethtool netlink; perftune (ethtool -K ntuple on).",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let multi = facts.network.iter().filter(|n| n.is_multi_queue());
    let settings = multi.map(|nic| {
        let path = format!("/@ethtool/{}/features/rx-ntuple-filter", nic.name);
        (nic.name.clone(), Setting { path, wanted: "1".to_owned() })
    });
    Look::each(&facts.snapshot, Format::Plain, settings, "no device with several queues that can")
}
