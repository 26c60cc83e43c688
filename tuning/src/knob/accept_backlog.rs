//! The accept queue: how many connections may wait for a shard to take them.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/net/core/somaxconn";

pub(super) const KNOB: Knob = Knob {
    id: "accept_backlog",
    group: "network",
    class: Class::Auto,
    reads: &[PATH],
    writes: &[Write::plain(PATH).raising()],
    param: Param::Number { default: 4096, min: 128, max: 65535, unit: "connections" },
    effect: "a burst of reconnecting clients sees dropped connection attempts",
    why: "After a broker restart all clients come back within a second; a full accept queue drops their SYN and each waits a second to retry.",
    risk: "None known: memory is used only while connections wait.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl, listen(2); tuned network profiles use 2048 or more, rpk and perftune 4096.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::AtLeast),
    ..Knob::BASE
};
