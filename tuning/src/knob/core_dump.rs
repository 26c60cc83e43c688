//! Where core dumps go: not ours to change.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "core_dump",
    group: "kernel",
    class: Class::Never,
    reads: &["/proc/sys/kernel/core_pattern"],
    effect: "none",
    why: "Another tool installs a world-writable script that the kernel runs as root at each crash. Use systemd-coredump.",
    risk: "A program that anybody may change and root runs.",
    source: "kernel core(5); rpk coredump.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    match facts.snapshot.get("/proc/sys/kernel/core_pattern") {
        None => Look::unseen("not readable here"),
        Some(pattern) => Look::ok(pattern).wanting("as the owner likes"),
    }
}
