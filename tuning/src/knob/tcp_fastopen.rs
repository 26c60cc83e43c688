//! TCP Fast Open: data in the first packet of a connection.

use super::{Class, Direction, Knob, Look, Write};
use crate::value::Param;

const PATH: &str = "/proc/sys/net/ipv4/tcp_fastopen";

pub(super) const KNOB: Knob = Knob {
    id: "tcp_fastopen",
    group: "network",
    class: Class::OptIn,
    reads: &[PATH],
    writes: &[Write::plain(PATH)],
    param: Param::Number { default: 3, min: 0, max: 3, unit: "(bits: 1 client, 2 server)" },
    effect: "nothing for clients that stay connected; one round trip for those that reconnect often",
    why: "Kafka clients keep their connections and few can use it; here for completeness.",
    risk: "Some middleboxes drop such packets.",
    undo: "`coreline-tune rollback`, or write the old number back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; RFC 7413.",
    probes: &[],
    look: |facts, wish| Look::number(facts, PATH, wish.number(), Direction::Exactly),
    ..Knob::BASE
};
