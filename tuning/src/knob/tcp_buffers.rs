//! How far the buffers of one connection may grow.

use super::{Class, Knob, Look, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Param, Value};

pub(super) const KNOB: Knob = Knob {
    id: "tcp_buffers",
    group: "network",
    class: Class::Check,
    reads: &["/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"],
    writes: &[Write::plain("/proc/sys/net/ipv4/tcp_rmem").spelled(Format::Words).raising(), Write::plain("/proc/sys/net/ipv4/tcp_wmem").spelled(Format::Words).raising()],
    param: Param::Number { default: 4194304, min: 65536, max: 1073741824, unit: "bytes" },
    effect: "one connection over a long path is limited to its window per round trip",
    why: "Three sizes: least, first, most. 4 MiB is enough for 1 Gbit/s at 32 ms; replication between regions needs more.",
    risk: "More kernel memory per slow connection.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; tuned uses 16 MiB.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, wish: &Value) -> Look {
    let mut settings = Vec::new();
    let mut seen = 0;
    for name in ["tcp_rmem", "tcp_wmem"] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        let Some(now) = facts.snapshot.get(&path) else { continue };
        let sizes: Vec<u64> = now.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [least, first, most] = sizes[..] else { return Look::unseen(format!("{name} {now:?} has no three sizes")) };
        seen += 1;
        if most < wish.number() {
            settings.push((name.to_owned(), Setting { path, wanted: format!("{least} {first} {}", wish.number()) }));
        }
    }
    if seen == 0 {
        return Look::unseen("not there");
    }
    if settings.is_empty() {
        return Look::ok(format!("{} KiB or more", wish.number() >> 10));
    }
    Look::each(&facts.snapshot, Format::Words, settings, "not there")
}
