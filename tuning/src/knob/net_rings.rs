//! How many packets fit the receive and send rings.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_rings",
    group: "network",
    class: Class::OptIn,
    reads: &["/@ethtool/*/rings/rx", "/@ethtool/*/rings/rx_max"],
    writes: &[Write::plain("/@ethtool/*/rings/rx").raising()],
    param: Param::Number { default: 4096, min: 64, max: 16384, unit: "packets" },
    effect: "bursts are dropped by the device before the kernel sees them",
    why: "A longer ring survives a burst while the core is busy elsewhere; a shorter one keeps the cache warm.",
    risk: "The link goes down for a moment with some drivers. Longer rings can hide overload.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "ethtool netlink; tuned [net], perftune (channels).",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let now = facts.snapshot.matching("/@ethtool/*/rings/rx");
    let settings = now.filter_map(|(path, entry)| {
        let most = facts.snapshot.number(&format!("{path}_max"))?;
        let wanted = wish.number().min(most);
        let low = entry.text.parse::<u64>().is_ok_and(|n| n < wanted);
        low.then(|| (crate::facts::part(path, 2).to_owned(), Setting { path: path.to_owned(), wanted: wanted.to_string() }))
    });
    let settings: Vec<_> = settings.collect();
    if settings.is_empty() && facts.snapshot.matching("/@ethtool/*/rings/rx").next().is_some() {
        return Look::ok("as many as wanted, or as the device has");
    }
    Look::each(&facts.snapshot, Format::Plain, settings, "no device that tells")
}
