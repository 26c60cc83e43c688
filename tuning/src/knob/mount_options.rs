//! How the file system of the data directory is mounted.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "mount_options",
    group: "disk",
    class: Class::Check,
    reads: &["/proc/self/mountinfo"],
    effect: "each read updates a time stamp; each delete may wait for the disk to discard",
    why: "`noatime` and `lazytime` spare metadata writes, `discard` at each delete is better done by fstrim in the night.",
    source: "mount(8); kernel ext4 and xfs.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let Some(mount) = facts.data_mount() else { return Look::unseen("no mount of a disk to see") };
    let has = |option: &str| mount.options.split(',').any(|o| o == option);
    let mut add = Vec::new();
    if !has("noatime") {
        add.push("noatime");
    }
    if !has("lazytime") {
        add.push("lazytime");
    }
    if has("discard") {
        add.push("nodiscard");
    }
    if mount.kind == "ext4" && has("data=journal") {
        return Look::off("data=journal: everything is written twice", "data=ordered").by(format!("change it in /etc/fstab for {} and mount anew", mount.point));
    }
    if add.is_empty() {
        return Look::ok(&mount.options);
    }
    let wanted = add.join(",");
    Look::hint(format!("{} could have {wanted}", mount.point), "noatime,lazytime, no discard")
        .by(format!("mount -o remount,{wanted} {} (and in /etc/fstab)", mount.point))
}
