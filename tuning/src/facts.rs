//! Everything the checks look at, read once: a plain value that a test can write by hand.

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::sysfs::{Root, bracketed};

/// Facts of a host. `None` means that it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Kernel release, such as `6.18.1`.
    pub kernel_release: Option<String>,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 restricted, 2 disabled.
    pub io_uring_disabled: Option<u64>,
    /// Soft limit of locked memory in bytes; `u64::MAX` is unlimited.
    pub memlock_bytes: Option<u64>,
    /// Hard limit of open files.
    pub nofile_hard: Option<u64>,
    /// Online CPUs, as the kernel lists them.
    pub cpus_online: Option<String>,
    /// Frequency governors in use; empty where the host has none (most virtual machines).
    pub governors: Vec<String>,
    /// The clock source in use.
    pub clocksource: Option<String>,
    /// Transparent huge pages: always, madvise or never.
    pub huge_pages: Option<String>,
    /// `vm.swappiness`.
    pub swappiness: Option<u64>,
    /// Whether any swap is active.
    pub swap_active: Option<bool>,
    /// (device, scheduler) of each block device that has a queue.
    pub block_schedulers: Vec<(String, String)>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
}

impl Facts {
    /// Reads the host below `root`; limits are those of this process.
    pub fn read(root: &Root) -> Facts {
        let number = |path: &str| root.read(path).and_then(|t| t.parse().ok());
        let governors = root
            .list("/sys/devices/system/cpu/cpufreq")
            .iter()
            .filter_map(|policy| root.read(&format!("/sys/devices/system/cpu/cpufreq/{policy}/scaling_governor")))
            .collect();
        let block_schedulers = root
            .list("/sys/block")
            .into_iter()
            .filter(|device| !device.starts_with("loop") && !device.starts_with("ram"))
            .filter_map(|device| {
                let scheduler = root.read(&format!("/sys/block/{device}/queue/scheduler"))?;
                Some((device, bracketed(&scheduler).to_owned()))
            })
            .collect();
        Facts {
            kernel_release: root.read("/proc/sys/kernel/osrelease"),
            io_uring_disabled: number("/proc/sys/kernel/io_uring_disabled"),
            memlock_bytes: getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft),
            nofile_hard: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(_, hard)| hard),
            cpus_online: root.read("/sys/devices/system/cpu/online"),
            governors,
            clocksource: root.read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            huge_pages: root.read("/sys/kernel/mm/transparent_hugepage/enabled").map(|t| bracketed(&t).to_owned()),
            swappiness: number("/proc/sys/vm/swappiness"),
            swap_active: root.read("/proc/swaps").map(|t| t.lines().count() > 1),
            block_schedulers,
            somaxconn: number("/proc/sys/net/core/somaxconn"),
        }
    }
}
