//! Free space for data.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "disk_space",
    group: "disk",
    class: Class::Check,
    reads: &["/@space"],
    effect: "a full disk stops the broker",
    why: "Retention works by age and size of each partition; the operator has to leave room for what is not deleted yet.",
    source: "statvfs(3).",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let Some((free, total)) = facts.snapshot.get("/@space").and_then(|t| t.split_once(' ')) else { return Look::unseen("not told here") };
    let (Ok(free), Ok(total @ 1..)) = (free.parse::<u64>(), total.parse::<u64>()) else { return Look::unseen("not told here") };
    let text = format!("{} GiB free of {} GiB", free >> 30, total >> 30);
    if free < total / 10 || free < 5 << 30 {
        return Look::off(text, "10 percent and 5 GiB free").by("a larger disk, or shorter retention");
    }
    Look::ok(text)
}
