//! How many queues a network device uses.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_channels",
    group: "network",
    class: Class::OptIn,
    reads: &["/@ethtool/*/channels/combined", "/@ethtool/*/channels/combined_max"],
    writes: &[Write::plain("/@ethtool/*/channels/combined").raising()],
    param: Param::Number { default: 64, min: 1, max: 256, unit: "queues" },
    effect: "connections share the queues that are on",
    why: "One queue per CPU lets each core serve its own connections; more than CPUs only costs memory.",
    risk: "The link goes down for a moment with some drivers: not while clients are connected.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "ethtool netlink; tuned [net], perftune (channels).",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let now = facts.snapshot.matching("/@ethtool/*/channels/combined");
    let settings = now.filter_map(|(path, entry)| {
        let most = facts.snapshot.number(&format!("{path}_max"))?;
        let wanted = wish.number().min(most).min(facts.cpus().len() as u64);
        let low = entry.text.parse::<u64>().is_ok_and(|n| n < wanted);
        low.then(|| (crate::facts::part(path, 2).to_owned(), Setting { path: path.to_owned(), wanted: wanted.to_string() }))
    });
    let settings: Vec<_> = settings.collect();
    if settings.is_empty() && facts.snapshot.matching("/@ethtool/*/channels/combined").next().is_some() {
        return Look::ok("as many as wanted, or as the device has");
    }
    Look::each(&facts.snapshot, Format::Plain, settings, "no device that tells")
}
