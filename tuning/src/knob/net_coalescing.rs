//! How long a network device waits before it interrupts.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_coalescing",
    group: "network",
    class: Class::OptIn,
    reads: &["/@ethtool/*/coalesce/rx_usecs", "/@ethtool/*/coalesce/adaptive_rx"],
    writes: &[Write { rank: 0, ..Write::plain("/@ethtool/*/coalesce/adaptive_rx") }, Write::plain("/@ethtool/*/coalesce/rx_usecs")],
    param: Param::Number { default: 8, min: 0, max: 1000, unit: "us" },
    effect: "the device collects packets for tens of microseconds before it tells",
    why: "A fixed short wait makes latency steady; adaptive coalescing follows load and so is late at each change.",
    risk: "More interrupts per second and more CPU under load: prove it.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "ethtool netlink; tuned [net].",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let adaptive = facts.snapshot.matching("/@ethtool/*/coalesce/adaptive_rx").map(|(path, _)| (path, "0".to_owned()));
    // A device that tells sooner already stays as it is.
    let slow = |text: &str| text.parse::<u64>().is_ok_and(|now| now > wish.number());
    let usecs = facts.snapshot.matching("/@ethtool/*/coalesce/rx_usecs");
    let usecs = usecs.filter(|(_, e)| slow(&e.text)).map(|(path, _)| (path, wish.number().to_string()));
    let settings = adaptive.chain(usecs).map(|(path, wanted)| (crate::facts::part(path, 2).to_owned(), Setting { path: path.to_owned(), wanted }));
    Look::each(&facts.snapshot, Format::Plain, settings, "no device that tells")
}
