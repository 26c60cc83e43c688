//! Network devices that have a driver: their queues and their interrupts. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{last, part};
use crate::snapshot::Snapshot;

/// Paths that are read for each device.
pub(super) const READS: &[&str] = &[
    "/proc/irq/*/smp_affinity",
    "/sys/class/net/*/device/driver@",
    "/sys/class/net/*/device@",
    "/sys/class/net/*/device/msi_irqs/*",
    "/sys/class/net/*/device/numa_node",
    "/sys/class/net/*/mtu",
    "/sys/class/net/*/operstate",
    "/sys/class/net/*/queues/rx-*/rps_cpus",
    "/sys/class/net/*/queues/tx-*/tx_timeout",
    "/sys/class/net/*/speed",
    "/sys/kernel/irq/*/actions",
];

/// An interrupt of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// The name that the driver gave it.
    pub action: String,
    /// The CPUs that may take it, as the kernel spells the mask.
    pub affinity: String,
    /// The kernel places it; nobody may write the mask.
    pub managed: bool,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: Option<String>,
    /// Up, down or unknown.
    pub state: Option<String>,
    /// Mb/s where the driver tells.
    pub speed_mbit: Option<u64>,
    /// Node that it is attached to; -1 where the host has one.
    pub numa_node: Option<i64>,
    /// Receive queues.
    pub rx_queues: usize,
    /// Send queues.
    pub tx_queues: usize,
    /// Rings, coalescing and channels as ethtool knows them, such as `rings/rx`.
    pub ethtool: BTreeMap<String, String>,
    /// Interrupts of its queues.
    pub interrupts: Vec<Interrupt>,
}

impl Nic {
    /// More than one receive queue, so that load can be spread.
    pub fn is_multi_queue(&self) -> bool {
        self.rx_queues > 1
    }
}

pub(super) fn nics(snapshot: &Snapshot) -> Vec<Nic> {
    let devices = snapshot.matching("/sys/class/net/*/device@");
    devices.map(|(path, entry)| nic(snapshot, part(path, 4), &entry.text)).collect()
}

fn nic(snapshot: &Snapshot, name: &str, device: &str) -> Nic {
    let dir = format!("/sys/class/net/{name}");
    let text = |file: &str| snapshot.get(&format!("{dir}/{file}")).map(str::to_owned);
    let prefix = format!("/@ethtool/{name}/");
    Nic {
        name: name.to_owned(),
        driver: text("device/driver@"),
        state: text("operstate"),
        // A link that is down says -1.
        speed_mbit: text("speed").and_then(|s| s.parse().ok()),
        numa_node: text("device/numa_node").and_then(|s| s.parse().ok()),
        rx_queues: snapshot.matching(&format!("{dir}/queues/rx-*/rps_cpus")).count(),
        tx_queues: snapshot.matching(&format!("{dir}/queues/tx-*/tx_timeout")).count(),
        ethtool: snapshot
            .matching(&format!("{prefix}*/*"))
            .filter_map(|(path, e)| Some((path.strip_prefix(&prefix)?.to_owned(), e.text.clone())))
            .collect(),
        interrupts: interrupts(snapshot, name, device),
    }
}

/// An interrupt belongs to a device when its message-signalled list says so or its driver named it after the device.
fn interrupts(snapshot: &Snapshot, nic: &str, device: &str) -> Vec<Interrupt> {
    let mut found = Vec::new();
    for (path, actions) in snapshot.matching("/sys/kernel/irq/*/actions") {
        let Ok(number) = part(path, 4).parse::<u32>() else { continue };
        let listed = snapshot.get(&format!("/sys/class/net/{nic}/device/msi_irqs/{number}")).is_some();
        let action = actions.text.as_str();
        // Only queues carry load: not the `config` or `async` vectors of virtio, mlx5 and others.
        let queue = !["config", "async", "ctrl", "control", "adminq", "mgmnt", "misc"].iter().any(|w| action.contains(w)) && action != nic;
        let named = names(action, nic) || (names(action, device) && (action.contains("input") || action.contains("output")));
        if queue && !action.is_empty() && (listed || named) {
            let affinity = snapshot.entry(&format!("/proc/irq/{number}/smp_affinity"));
            found.push(Interrupt {
                number,
                action: action.to_owned(),
                affinity: affinity.map(|e| e.text.clone()).unwrap_or_default(),
                managed: affinity.is_some_and(|e| e.read_only),
            });
        }
    }
    found.sort_by_key(|i| i.number);
    found
}

/// `eth1-TxRx-0` is of `eth1` and not of `eth`.
fn names(action: &str, device: &str) -> bool {
    !device.is_empty() && action.strip_prefix(last(device)).is_some_and(|rest| rest.starts_with(['-', '.', '_', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_found_by_list_and_by_name() {
        let snapshot = Snapshot::parse(
            "/sys/class/net/eth0/device@ = virtio2\n/sys/class/net/eth0/queues/rx-0/rps_cpus = 0\n/sys/class/net/eth0/speed = -1\n\
             /sys/kernel/irq/37/actions = virtio2-config\n/sys/kernel/irq/38/actions = virtio2-input.0\n/proc/irq/38/smp_affinity [ro] = 3\n\
             /sys/kernel/irq/39/actions = virtio21-input.0\n/sys/class/net/lo/mtu = 65536\n\
             /sys/class/net/ens1/device@ = 0000:3b:00.0\n/sys/kernel/irq/90/actions = mlx5_comp0@pci:0000:3b:00.0\n\
             /sys/class/net/ens1/device/msi_irqs/90 = msix\n/@ethtool/ens1/rings/rx = 1024\n",
        )
        .expect("parses");
        let found = nics(&snapshot);
        assert_eq!(found.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["ens1", "eth0"], "lo has no device");
        assert_eq!(found[0].interrupts.iter().map(|i| i.number).collect::<Vec<_>>(), [90]);
        assert_eq!(found[0].ethtool.get("rings/rx").map(String::as_str), Some("1024"));
        assert_eq!(found[1].interrupts.iter().map(|i| (i.number, i.managed)).collect::<Vec<_>>(), [(38, true)]);
        assert_eq!((found[1].rx_queues, found[1].speed_mbit, found[1].is_multi_queue()), (1, None, false));
    }
}
