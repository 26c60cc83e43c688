//! Unsent bytes that a socket takes before it says that it is full.

use super::{Class, Direction, Knob, Look, ProbeKind, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/net/ipv4/tcp_notsent_lowat";

pub(super) const KNOB: Knob = Knob {
    id: "tcp_notsent",
    group: "network",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 131072, min: 16384, max: 1073741824, unit: "bytes" },
    effect: "slow consumers hold megabytes of kernel memory each, and fresh answers queue behind old ones",
    why: "With a low mark the broker keeps the data (in the page cache, unsent) and the kernel holds only what is in flight.",
    risk: "More wake-ups per byte for fast consumers: prove it.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; Cloudflare and Apple on notsent_lowat.",
    probes: &[ProbeKind::Loopback],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::AtMost),
    ..Knob::BASE
};
