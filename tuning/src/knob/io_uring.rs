//! Whether io_uring may be used: without it no shard starts.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "io_uring",
    group: "start",
    class: Class::Check,
    reads: &["/proc/sys/kernel/io_uring_disabled", "/proc/sys/kernel/io_uring_group"],
    effect: "the broker does all its I/O through io_uring and cannot start without it",
    why: "Some distributions and container runtimes switch io_uring off by default (1: only for a group or the privileged, 2: for all).",
    source: "kernel sysctl kernel.io_uring_disabled (since 6.6); no other tool checks it.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const REMEDY: &str = "sysctl -w kernel.io_uring_disabled=0; in a container also allow io_uring_* in its seccomp profile";
    match facts.io_uring_disabled {
        Some(0) => Look::ok("allowed").wanting("0"),
        Some(1) if facts.platform.root_user => Look::ok("allowed for root").wanting("0"),
        Some(1) => Look::fatal("1 (only for io_uring_group and the privileged)", "0").by(REMEDY),
        Some(n) => Look::fatal(format!("{n} (for nobody)"), "0").by(REMEDY),
        // Kernels before 6.6 have no such switch; the broker itself tries a ring when it starts.
        None => Look::unseen("no such switch in this kernel").wanting("0"),
    }
}
