//! Whether io_uring may be used: without it no shard starts.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::platform::status_line;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "io_uring",
    group: "start",
    class: Class::Check,
    reads: &["/proc/sys/kernel/io_uring_disabled", "/proc/sys/kernel/io_uring_group", "/proc/self/status"],
    effect: "the broker does all its I/O through io_uring and cannot start without it",
    why: "Some distributions and container runtimes switch io_uring off by default (1: only for a group or the privileged, 2: for all).",
    source: "kernel sysctl kernel.io_uring_disabled (since 6.6); no other tool checks it.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    const SECCOMP: &str =
        "the broker tries when it starts and says so; with Docker: --security-opt seccomp=PROFILE that allows io_uring_setup, _enter and _register";
    const REMEDY: &str = "sysctl -w kernel.io_uring_disabled=0; in a container also allow io_uring_* in its seccomp profile";
    // A filter is not to be read, only that there is one; runtimes of containers forbid io_uring by default.
    let filtered = facts.snapshot.get("/proc/self/status").is_some_and(|s| status_line(s, "Seccomp:") == Some("2"));
    match facts.io_uring_disabled {
        None | Some(0) if filtered => {
            Look::hint("a seccomp filter is in force here and may forbid it", "0, and no filter in the way").by(SECCOMP)
        }
        Some(0) => Look::ok("allowed").wanting("0"),
        Some(1) if facts.platform.root_user => Look::ok("allowed for root").wanting("0"),
        Some(1) => Look::fatal("1 (only for io_uring_group and the privileged)", "0").by(REMEDY),
        Some(n) => Look::fatal(format!("{n} (for nobody)"), "0").by(REMEDY),
        // Kernels before 6.6 have no such switch; the broker itself tries a ring when it starts.
        None => Look::unseen("no such switch in this kernel").wanting("0"),
    }
}
