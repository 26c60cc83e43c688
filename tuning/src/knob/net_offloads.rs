//! What the network device does for the kernel: segments on the way out, merged packets on the way in.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::{Facts, part};
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_offloads",
    group: "network",
    class: Class::OptIn,
    reads: &[
        "/@ethtool/*/features/rx-gro",
        "/@ethtool/*/features/rx-lro",
        "/@ethtool/*/features/tx-generic-segmentation",
        "/@ethtool/*/features/tx-tcp-segmentation",
    ],
    writes: &[
        Write::plain("/@ethtool/*/features/rx-gro"),
        Write::plain("/@ethtool/*/features/rx-lro"),
        Write::plain("/@ethtool/*/features/tx-generic-segmentation"),
        Write::plain("/@ethtool/*/features/tx-tcp-segmentation"),
    ],
    effect: "the kernel cuts or merges packets one by one on the shard's core, or the device holds them back to merge",
    why: "Segmentation in the device lets an answer of many kilobytes leave in one go; GRO merges what has arrived already. LRO merges in the \
          device, waits for more, and breaks forwarding.",
    risk: "Some drivers have bugs in one of them, and hosts that forward packets may have switched them off on purpose: prove it.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel segmentation-offloads; ethtool netlink (-K); tuned [net] features.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    // Only what the device can switch is told, see `ethtool`.
    let wants = |name: &str| match name {
        "rx-lro" => Some("0"),
        "rx-gro" | "tx-generic-segmentation" | "tx-tcp-segmentation" => Some("1"),
        _ => None,
    };
    let settings = facts.snapshot.matching("/@ethtool/*/features/*").filter_map(|(path, _)| {
        let (device, name) = (part(path, 2), part(path, 4));
        Some((format!("{device} {name}"), Setting { path: path.to_owned(), wanted: wants(name)?.to_owned() }))
    });
    let look = Look::each(&facts.snapshot, Format::Plain, settings, "no device that tells");
    Look { wanted: if look.wanted.is_empty() { String::new() } else { "GRO and segmentation on, LRO off".to_owned() }, ..look }
}
