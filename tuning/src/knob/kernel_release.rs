//! The age of the kernel.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "kernel_release",
    group: "start",
    class: Class::Check,
    reads: &["/proc/sys/kernel/osrelease"],
    effect: "without cachestat(2) cold reads are found by a slower probe; before 5.19 rings lack features",
    why: "The broker uses what io_uring learned up to 6.1 and cachestat(2) of 6.5 where they are there.",
    source: "cachestat(2); liburing release notes.",
    look,
    ..Knob::BASE
};

/// First kernel with `cachestat(2)`, which keeps cold reads off the shards.
const WANTED: (u32, u32) = (6, 5);

fn look(facts: &Facts, _: &Value) -> Look {
    let Some(release) = &facts.kernel_release else { return Look::unseen("not readable here") };
    match version(release) {
        Some(v) if v >= WANTED => Look::ok(release).wanting(">= 6.5"),
        Some(_) => Look::off(release, ">= 6.5").by("run a newer kernel"),
        None => Look::unseen(format!("{release:?} has no version")),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
