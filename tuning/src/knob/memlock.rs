//! Locked memory for rings and registered buffers.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::startup::{LOCKED_BYTES_MIN, LOCKED_BYTES_PER_SHARD};
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "memlock",
    group: "start",
    class: Class::Check,
    reads: &["/proc/self/limits", "/proc/self/status"],
    effect: "rings and registered buffers do not fit; shards fail to start or copy more",
    why: "Each shard registers its I/O memory with three rings; the kernel counts it against RLIMIT_MEMLOCK of the user.",
    source: "io_uring_register(2), getrlimit(2); packaging is where others leave it.",
    look,
    ..Knob::BASE
};

/// The right to raise a hard limit, by its number.
const CAP_SYS_RESOURCE: u32 = 24;

fn look(facts: &Facts, _: &Value) -> Look {
    const REMEDY: &str =
        "LimitMEMLOCK=infinity in the unit (`coreline-tune persist` writes one), or `ulimit -l unlimited`, or docker run --ulimit memlock=-1";
    let wanted = LOCKED_BYTES_MIN.max(facts.cpus().len() as u64 * LOCKED_BYTES_PER_SHARD);
    let (text, wanted_text) = (|n: u64| format!("{} KiB", n / 1024), format!(">= {} KiB, 768 per shard", wanted / 1024));
    match facts.memlock_hard {
        None => Look::unseen("not readable here"),
        Some(u64::MAX) => Look::ok("unlimited").wanting(wanted_text),
        Some(n) if n >= wanted => Look::ok(text(n)).wanting(wanted_text),
        Some(n) if facts.has_capability(CAP_SYS_RESOURCE) => Look::ok(format!("{}, and this user may raise it", text(n))).wanting(wanted_text),
        Some(n) if n < LOCKED_BYTES_MIN => Look::fatal(text(n), wanted_text).by(REMEDY),
        Some(n) => Look::off(text(n), wanted_text).by(REMEDY),
    }
}
