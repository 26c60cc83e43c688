//! Slow start after idle: whether a quiet connection keeps its window.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/net/ipv4/tcp_slow_start_after_idle";

pub(super) const KNOB: Knob = Knob {
    id: "tcp_slow_start",
    group: "network",
    class: Class::Auto,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 0, min: 0, max: 0, unit: "(off)" },
    effect: "a consumer that was idle gets its first megabytes at the speed of a new connection",
    why: "Broker connections are long-lived and bursty; falling back to ten packets after each pause adds round trips to every catch-up read.",
    risk: "Bursts into a path that became narrower meanwhile; loss recovery handles it as usual.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; RFC 2861; tuned throughput-performance.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
