//! Memory per CPU: whether a shard has room for its buffers and its page cache.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "memory_size",
    group: "memory",
    class: Class::Check,
    reads: &["/proc/meminfo", "/sys/devices/system/cpu/online"],
    effect: "buffers, tails and page cache of a shard do not fit",
    why: "A shard wants 2 GiB: its tails and buffers, and page cache so that consumers just behind read from memory.",
    source: "rpk check: 2 GB per core.",
    look,
    ..Knob::BASE
};

/// Per online CPU, bytes; a little less than 2 GiB, since the kernel keeps a part for itself.
const WANTED: u64 = 1_800 << 20;

fn look(facts: &Facts, _: &Value) -> Look {
    let (Some(bytes), cpus @ 1..) = (facts.memory_bytes, facts.cpus().len() as u64) else { return Look::unseen("not readable here") };
    let text = format!("{} MiB for {cpus} CPUs", bytes >> 20);
    if bytes / cpus >= WANTED { Look::ok(text) } else { Look::off(text, "2 GiB per CPU").by("fewer shards, or more memory") }
}
