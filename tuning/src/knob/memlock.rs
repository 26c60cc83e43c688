//! Locked memory for rings and registered buffers.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "memlock",
    group: "start",
    class: Class::Check,
    reads: &["/proc/self/limits"],
    effect: "rings and registered buffers do not fit; shards fail to start or copy more",
    why: "Each shard registers its I/O memory with three rings; the kernel counts it against RLIMIT_MEMLOCK of the user.",
    source: "io_uring_register(2), getrlimit(2); packaging is where others leave it.",
    look,
    ..Knob::BASE
};

/// Locked memory that rings and registered buffers of one shard may need, in bytes.
const WANTED: u64 = 8 << 20;

fn look(facts: &Facts, _: &Value) -> Look {
    match facts.memlock_bytes {
        None => Look::unseen("not readable here"),
        Some(u64::MAX) => Look::ok("unlimited").wanting(">= 8 MiB"),
        Some(n) if n >= WANTED => Look::ok(format!("{} KiB", n / 1024)).wanting(">= 8 MiB"),
        Some(n) => Look::fatal(format!("{} KiB", n / 1024), ">= 8 MiB")
            .by("LimitMEMLOCK=infinity in the unit (`coreline-tune persist` writes one), or `ulimit -l unlimited`, or docker run --ulimit memlock=-1"),
    }
}
