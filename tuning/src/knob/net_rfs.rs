//! Receive flow steering: packets to the CPU whose shard reads them.

use super::{Class, Knob, Look, ProbeKind, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "net_rfs",
    group: "network",
    class: Class::Auto,
    reads: &["/proc/sys/net/core/rps_sock_flow_entries", "/sys/class/net/*/queues/rx-*/rps_flow_cnt", "/sys/class/net/*/queues/rx-*/rps_cpus"],
    writes: &[Write { rank: 0, ..Write::plain("/proc/sys/net/core/rps_sock_flow_entries").raising() }, Write::plain("/sys/class/net/*/queues/rx-*/rps_flow_cnt").raising()],
    param: Param::Number { default: 32768, min: 1024, max: 1048576, unit: "connections" },
    effect: "a connection's packets are handled on one core and read on another",
    why: "The kernel remembers which core read last from a connection and sends its packets there.",
    risk: "Some memory for the table. A device that steers by itself (`net_arfs`) does it better.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel scaling.rst; rpk and perftune use 32768 entries.",
    probes: &[ProbeKind::Loopback],
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    const TABLE: &str = "/proc/sys/net/core/rps_sock_flow_entries";
    let multi: Vec<_> = facts.network.iter().filter(|n| n.is_multi_queue()).collect();
    if multi.is_empty() {
        return Look::inapplicable("no network device with several queues");
    }
    // The table for all, then its part for each queue.
    let mut settings = vec![("table".to_owned(), Setting { path: TABLE.to_owned(), wanted: wish.number().to_string() })];
    for nic in multi {
        let each = (wish.number() / nic.rx_queues as u64).max(1).next_power_of_two();
        for queue in 0..nic.rx_queues {
            let path = format!("/sys/class/net/{}/queues/rx-{queue}/rps_flow_cnt", nic.name);
            settings.push((format!("{} rx-{queue}", nic.name), Setting { path, wanted: each.to_string() }));
        }
    }
    settings.retain(|(_, s)| facts.snapshot.number(&s.path).is_some_and(|now| now < s.wanted.parse().unwrap_or(0)));
    if settings.is_empty() {
        return Look::ok(format!("{} entries or more", wish.number()));
    }
    Look { wanted: format!(">= {} entries", wish.number()), ..Look::each(&facts.snapshot, Format::Plain, settings, "") }
}
