//! Block devices that could hold data, with the attributes that decide how they behave. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::part;
use crate::snapshot::Snapshot;
use crate::sysfs::bracketed;

/// Paths that are read for each device.
pub(super) const READS: &[&str] = &[
    "/sys/block/*/device/model",
    "/sys/block/*/queue/discard_max_bytes",
    "/sys/block/*/queue/fua",
    "/sys/block/*/queue/io_poll",
    "/sys/block/*/queue/logical_block_size",
    "/sys/block/*/queue/nomerges",
    "/sys/block/*/queue/nr_requests",
    "/sys/block/*/queue/physical_block_size",
    "/sys/block/*/queue/read_ahead_kb",
    "/sys/block/*/queue/rotational",
    "/sys/block/*/queue/rq_affinity",
    "/sys/block/*/queue/scheduler",
    "/sys/block/*/queue/wbt_lat_usec",
    "/sys/block/*/queue/write_cache",
];

/// How a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// NVMe.
    Nvme,
    /// A hypervisor's device; what lies behind it is not seen (its `rotational` says nothing).
    Virtual,
    /// Another solid-state device.
    Solid,
    /// A rotating disk.
    Rotating,
}

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Name below `/sys/block`.
    pub name: String,
    /// How it answers.
    pub kind: DiskKind,
    /// Attributes of its queue, by file name.
    pub queue: BTreeMap<String, String>,
}

impl Disk {
    /// The path of a queue attribute.
    pub fn attribute(&self, name: &str) -> String {
        format!("/sys/block/{}/queue/{name}", self.name)
    }

    /// True when seeks cost nothing.
    pub fn is_fast(&self) -> bool {
        self.kind != DiskKind::Rotating
    }
}

/// Devices that have no queue of their own or hold no data.
pub(super) fn is_virtual(name: &str) -> bool {
    ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "drbd"].iter().any(|prefix| name.starts_with(prefix))
}

pub(super) fn disks(snapshot: &Snapshot) -> Vec<Disk> {
    let mut disks: BTreeMap<String, Disk> = BTreeMap::new();
    for (path, entry) in snapshot.matching("/sys/block/*/queue/*") {
        let name = part(path, 3);
        if is_virtual(name) {
            continue;
        }
        let disk =
            disks.entry(name.to_owned()).or_insert_with(|| Disk { name: name.to_owned(), kind: DiskKind::Solid, queue: BTreeMap::new() });
        disk.queue.insert(part(path, 5).to_owned(), bracketed(&entry.text).to_owned());
    }
    for disk in disks.values_mut() {
        let rotational = disk.queue.get("rotational").is_some_and(|r| r == "1");
        disk.kind = match disk.name.as_str() {
            n if n.starts_with("nvme") => DiskKind::Nvme,
            n if n.starts_with("vd") || n.starts_with("xvd") => DiskKind::Virtual,
            _ if rotational => DiskKind::Rotating,
            _ => DiskKind::Solid,
        };
    }
    disks.into_values().collect()
}
