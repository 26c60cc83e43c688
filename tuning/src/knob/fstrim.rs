//! Telling solid-state disks what was deleted.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "fstrim",
    group: "disk",
    class: Class::Check,
    reads: &["/run/systemd/system?", "/etc/systemd/system/timers.target.wants/fstrim.timer?", "/var/lib/systemd/timers/stamp-fstrim.timer?", "/sys/block/*/queue/discard_max_bytes"],
    effect: "a disk that does not know what is free slows down as it fills",
    why: "Segments are deleted all day; a weekly fstrim tells the disk at once and at a quiet time.",
    source: "fstrim(8); rpk enables the timer or installs its own.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let can = facts.disks.iter().any(|d| d.queue.get("discard_max_bytes").is_some_and(|v| v != "0"));
    if !can {
        return Look::inapplicable("no disk here takes discards");
    }
    if facts.snapshot.exists("/etc/systemd/system/timers.target.wants/fstrim.timer") || facts.snapshot.exists("/var/lib/systemd/timers/stamp-fstrim.timer") {
        return Look::ok("fstrim.timer is on");
    }
    let how = if facts.platform.systemd { "systemctl enable --now fstrim.timer" } else { "run fstrim -av once a week" };
    Look::hint("no fstrim.timer to see", "a weekly fstrim").by(how)
}
