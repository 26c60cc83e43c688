//! The file system of the data directory.

use super::{Class, Knob, Look};
use crate::facts::Facts;
use crate::value::Value;

pub(super) const KNOB: Knob = Knob {
    id: "filesystem",
    group: "disk",
    class: Class::Check,
    reads: &["/proc/self/mountinfo"],
    effect: "some file systems do not keep what direct I/O and flushes promise, or make them slow",
    why: "XFS and ext4 are tested. overlayfs, tmpfs and network file systems lose data or order; ZFS and Btrfs copy on write, which makes journals slow.",
    source: "kernel file systems; rpk checks for XFS only.",
    look,
    ..Knob::BASE
};

fn look(facts: &Facts, _: &Value) -> Look {
    let mounts = crate::platform::mounts(facts.snapshot.get("/proc/self/mountinfo").unwrap_or(""));
    let Some(mount) = crate::platform::mount_of(&mounts, &facts.data_dir) else { return Look::unseen("no mount to see") };
    let text = format!("{} at {}", mount.kind, mount.point);
    match mount.kind.as_str() {
        "xfs" | "ext4" => Look::ok(text).wanting("xfs or ext4"),
        "btrfs" | "zfs" | "f2fs" | "bcachefs" => Look::off(text, "xfs or ext4").by(format!("mkfs.xfs a disk of its own and mount it at {}", facts.data_dir)),
        "tmpfs" | "overlay" | "nfs" | "nfs4" | "cifs" | "9p" | "virtiofs" | "fuse" => {
            Look::off(text, "xfs or ext4 on a disk").by("a volume on a local disk (in containers: a bind mount or a volume, not the image's layer)")
        }
        _ => Look::off(text, "xfs or ext4").by("not tested with this file system"),
    }
}
