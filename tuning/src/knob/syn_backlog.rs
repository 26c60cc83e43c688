//! The queue of half-open connections.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/net/ipv4/tcp_max_syn_backlog";

pub(super) const KNOB: Knob = Knob {
    id: "syn_backlog",
    group: "network",
    class: Class::Auto,
    reads: &[PATH],
    writes: &[Write::plain(PATH).raising()],
    param: Param::Number { default: 4096, min: 128, max: 65536, unit: "connections" },
    effect: "half-open connections of a reconnect burst are dropped or answered by SYN cookies",
    why: "The other half of the accept queue; SYN cookies lose window scaling and so throughput on long paths.",
    risk: "None known.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; rpk and perftune set 4096.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::AtLeast),
    ..Knob::BASE
};
