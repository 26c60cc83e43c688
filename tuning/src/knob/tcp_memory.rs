//! How much memory all TCP sockets may use.

use super::{Class, Knob, Look, Setting, Write};
use crate::facts::Facts;
use crate::value::{Format, Value};

pub(super) const KNOB: Knob = Knob {
    id: "tcp_memory",
    group: "network",
    class: Class::Check,
    reads: &["/proc/sys/net/ipv4/tcp_mem", "/proc/meminfo"],
    writes: &[Write::plain("/proc/sys/net/ipv4/tcp_mem").spelled(Format::Words).raising()],
    effect: "under many slow consumers the kernel shrinks windows, then drops",
    why: "Three marks in pages. The kernel starts at about 4.6, 6.2 and 9.3 percent of memory, which is right for a broker: lower is a finding.",
    risk: "Memory for sockets is missing elsewhere.",
    undo: "`coreline-tune rollback`, or write the old value back; gone after a restart unless persisted.",
    source: "kernel ip-sysctl; perftune uses 3 percent as the low mark.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const PATH: &str = "/proc/sys/net/ipv4/tcp_mem";
    let Some(memory) = facts.memory_bytes else { return Look::unseen("not readable here") };
    let Some(marks) = facts.snapshot.get(PATH) else { return Look::inapplicable("not told here: of the host, not of a network namespace") };
    let high = marks.split_whitespace().nth(2).and_then(|n| n.parse::<u64>().ok());
    let pages = memory / 4096;
    match high {
        None => Look::unseen(format!("{marks:?} has no three marks")),
        Some(high) if high >= pages / 20 => Look::ok(format!("up to {} MiB", high / 256)).wanting(">= 5 percent of memory"),
        Some(high) => {
            let wanted = format!("{} {} {}", pages * 45 / 1000, pages * 6 / 100, pages * 9 / 100);
            let settings = vec![Setting { path: PATH.to_owned(), wanted }];
            Look { settings, ..Look::off(format!("up to {} MiB", high / 256), ">= 5 percent of memory") }
        }
    }
}
