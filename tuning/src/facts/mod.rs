//! Everything the checks look at and everything that belongs beside a measured result, read once: a plain value.
//!
//! The named fields are for people and for result files; knobs decide on the [`Snapshot`] that the fields were taken from, so that the paths that
//! a knob declares are exactly what it can see. Callers: the checks, the bench harness (host section of a result), `coreline-tune check --json`.

mod block;
mod net;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use block::{Disk, DiskKind};
pub use net::{Interrupt, Nic};

use crate::ballast;
use crate::knob;
use crate::platform::{self, Mount, Platform};
use crate::snapshot::Snapshot;
use crate::sysfs::{Root, bracketed};
use crate::value::cpu_list;

/// Time that reading a host may take; what is not read by then is reported as not seen. `check` promises to end within 0.5 s.
const READ_TIME_MAX: Duration = Duration::from_millis(350);

/// Where the broker keeps its data when nobody says otherwise.
pub const DATA_DIR: &str = "/var/lib/coreline";

/// Paths beyond those of the knobs and of the platform.
const READS: &[&str] = &[
    "/proc/cmdline",
    "/proc/meminfo",
    "/proc/pressure/*",
    "/proc/self/cgroup",
    "/proc/self/limits",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/random/boot_id",
    "/sys/devices/system/cpu/cpu0/cpuidle/state*/disable",
    "/sys/devices/system/cpu/cpu0/cpuidle/state*/latency",
    "/sys/devices/system/cpu/cpu0/cpuidle/state*/name",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_driver",
    "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/vulnerabilities/*",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpuset.cpus.effective",
    "/sys/fs/cgroup/memory.max",
];

/// An idle state of the first CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IdleState {
    /// Its name.
    pub name: String,
    /// Time to leave it, microseconds.
    pub exit_latency_us: u64,
    /// Switched off.
    pub disabled: bool,
}

/// Facts of a host. `None` or empty means that it could not be read or is not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Kernel release, such as `6.18.1`.
    pub kernel_release: Option<String>,
    /// The kernel's command line.
    pub kernel_command_line: Option<String>,
    /// Changes at every start of the host.
    pub boot_id: Option<String>,
    /// Bare metal, virtual machine, container, WSL, with the evidence.
    pub platform: Platform,
    /// `kernel.io_uring_disabled`: 0 allowed, 1 restricted, 2 disabled.
    pub io_uring_disabled: Option<u64>,
    /// Hard limit of locked memory in bytes, to which the broker raises its own; `u64::MAX` is unlimited.
    pub memlock_hard: Option<u64>,
    /// Hard limit of open files.
    pub nofile_hard: Option<u64>,
    /// The CPU's name.
    pub cpu_model: Option<String>,
    /// Online CPUs, as the kernel lists them.
    pub cpus_online: Option<String>,
    /// Frequency governors in use; empty where the host has none (most virtual machines).
    pub governors: Vec<String>,
    /// Driver of the frequency control.
    pub frequency_driver: Option<String>,
    /// Idle states of the first CPU.
    pub idle_states: Vec<IdleState>,
    /// Two threads per core in use.
    pub smt_active: Option<bool>,
    /// Number of NUMA nodes.
    pub numa_nodes: usize,
    /// Mitigation per CPU vulnerability.
    pub mitigations: BTreeMap<String, String>,
    /// The clock source in use.
    pub clocksource: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Transparent huge pages: always, madvise or never.
    pub huge_pages: Option<String>,
    /// `vm.swappiness`.
    pub swappiness: Option<u64>,
    /// Whether any swap is active.
    pub swap_active: Option<bool>,
    /// (device, scheduler) of each block device that has a queue.
    pub block_schedulers: Vec<(String, String)>,
    /// Block devices that could hold data.
    pub disks: Vec<Disk>,
    /// Network devices with a driver.
    pub network: Vec<Nic>,
    /// Mounts of real devices.
    pub mounts: Vec<Mount>,
    /// Points below `/proc` and `/sys` that are mounted read-only, as in containers.
    pub read_only: Vec<String>,
    /// Points below `/proc` and `/sys` that are mounted so that they can be written.
    #[serde(skip)]
    pub writable: Vec<String>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// Limits of the control group, by file name.
    pub cgroup: BTreeMap<String, String>,
    /// Pressure stall information at the time of reading, by resource.
    pub pressure: BTreeMap<String, String>,
    /// Time that the hypervisor took from this kernel since start, clock ticks.
    pub steal_ticks: Option<u64>,
    /// Directory that the storage checks are about.
    pub data_dir: String,
    /// Paths that exist but could not be read by this user.
    pub not_seen: Vec<String>,
    /// Reading took too long and was cut short.
    pub cut_short: bool,
    /// What was read.
    #[serde(skip)]
    pub snapshot: Snapshot,
}

impl Facts {
    /// Reads the host below `root`, for data in [`DATA_DIR`].
    pub fn read(root: &Root) -> Facts {
        Facts::read_for(root, DATA_DIR)
    }

    /// Reads the host below `root`, for data in `data_dir`. Opens files for reading only, and ends within half a second.
    pub fn read_for(root: &Root, data_dir: &str) -> Facts {
        let patterns = READS.iter().chain(platform::READS).chain(block::READS).chain(net::READS);
        let patterns = patterns.chain(knob::ALL.iter().flat_map(|k| k.reads.iter())).copied();
        let deadline = Instant::now() + READ_TIME_MAX;
        let mut snapshot = Snapshot::read(root, patterns, deadline);
        let ballast_path = ballast::path_in(data_dir);
        if let Ok(bytes) = ballast::read(root, &ballast_path) {
            snapshot.insert(ballast_path, bytes);
        }
        if root.is_host() {
            add_space(&mut snapshot, data_dir);
            crate::ethtool::read_into(&mut snapshot);
        }
        Facts::of(snapshot, data_dir)
    }

    /// The facts in what was read. Pure.
    pub fn of(snapshot: Snapshot, data_dir: &str) -> Facts {
        let text = |path: &str| snapshot.get(path).map(str::to_owned);
        let by_name = |pattern: &str| -> BTreeMap<String, String> {
            snapshot.matching(pattern).map(|(path, e)| (last(path).to_owned(), e.text.clone())).collect()
        };
        let cpuinfo = snapshot.get("/proc/cpuinfo").unwrap_or("");
        let mut cgroup = by_name("/sys/fs/cgroup/*.max");
        cgroup.extend(by_name("/sys/fs/cgroup/cpuset.cpus.effective"));
        let mounts = platform::mounts(snapshot.get("/proc/self/mountinfo").unwrap_or(""));
        let kernel_mounts = |read_only: bool| -> Vec<String> {
            let of_kernel = |point: &str| point.starts_with("/proc") || point.starts_with("/sys");
            mounts.iter().filter(|m| m.read_only == read_only && of_kernel(&m.point)).map(|m| m.point.clone()).collect()
        };
        let facts = Facts {
            read_only: kernel_mounts(true),
            writable: kernel_mounts(false),
            kernel_release: text("/proc/sys/kernel/osrelease"),
            kernel_command_line: text("/proc/cmdline"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            platform: Platform::of(&snapshot),
            io_uring_disabled: snapshot.number("/proc/sys/kernel/io_uring_disabled"),
            memlock_hard: limit(&snapshot, "Max locked memory").map(|(_, hard)| hard),
            nofile_hard: limit(&snapshot, "Max open files").map(|(_, hard)| hard),
            cpu_model: cpuinfo.lines().find(|l| l.starts_with("model name")).and_then(|l| Some(l.split_once(':')?.1.trim().to_owned())),
            cpus_online: text("/sys/devices/system/cpu/online"),
            governors: snapshot.matching("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor").map(|(_, e)| e.text.clone()).collect(),
            frequency_driver: snapshot
                .matching("/sys/devices/system/cpu/cpufreq/policy*/scaling_driver")
                .next()
                .map(|(_, e)| e.text.clone()),
            idle_states: idle_states(&snapshot),
            smt_active: snapshot.number("/sys/devices/system/cpu/smt/active").map(|n| n != 0),
            numa_nodes: snapshot.matching("/sys/devices/system/node/node*/cpulist").count(),
            mitigations: by_name("/sys/devices/system/cpu/vulnerabilities/*"),
            clocksource: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            memory_bytes: meminfo(&snapshot, "MemTotal:"),
            huge_pages: snapshot.choice("/sys/kernel/mm/transparent_hugepage/enabled").map(str::to_owned),
            swappiness: snapshot.number("/proc/sys/vm/swappiness"),
            swap_active: snapshot.get("/proc/swaps").map(|t| t.lines().count() > 1),
            block_schedulers: snapshot
                .matching("/sys/block/*/queue/scheduler")
                .filter(|(path, _)| !block::is_virtual(part(path, 3)))
                .map(|(path, e)| (part(path, 3).to_owned(), bracketed(&e.text).to_owned()))
                .collect(),
            disks: block::disks(&snapshot),
            network: net::nics(&snapshot),
            mounts: mounts.iter().filter(|m| m.device.starts_with("/dev/") || m.kind == "zfs" || m.kind == "overlay").cloned().collect(),
            somaxconn: snapshot.number("/proc/sys/net/core/somaxconn"),
            cgroup,
            pressure: by_name("/proc/pressure/*"),
            steal_ticks: snapshot.get("/proc/stat").and_then(|s| s.lines().next()?.split_whitespace().nth(8)?.parse().ok()),
            data_dir: data_dir.to_owned(),
            not_seen: snapshot.denied().map(str::to_owned).collect(),
            cut_short: snapshot.cut_short,
            snapshot: Snapshot::default(),
        };
        Facts { snapshot, ..facts }
    }

    /// Numbers of the online CPUs.
    pub fn cpus(&self) -> Vec<usize> {
        self.cpus_online.as_deref().and_then(cpu_list).unwrap_or_default()
    }

    /// The mount that holds the data directory.
    pub fn data_mount(&self) -> Option<&Mount> {
        platform::mount_of(&self.mounts, &self.data_dir)
    }

    /// True when irqbalance runs.
    pub fn runs_irqbalance(&self) -> bool {
        ["/run/irqbalance", "/run/irqbalance.pid", "/run/irqbalance/irqbalance.pid"].iter().any(|path| self.snapshot.exists(path))
    }

    /// Whether this process has a capability, by its number in `linux/capability.h`; where the kernel does not tell, root has it.
    pub fn has_capability(&self, number: u32) -> bool {
        let status = self.snapshot.get("/proc/self/status").unwrap_or("");
        let set = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        set.map_or(self.platform.root_user, |set| set >> number & 1 == 1)
    }

    /// Why `path` cannot be written here: its mount is read-only, or its mode lets nobody.
    pub fn unwritable(&self, path: &str) -> Option<&'static str> {
        let depth = |points: &[String]| points.iter().filter(|p| platform::is_below(path, p)).map(String::len).max();
        // The nearest mount above the path decides.
        if depth(&self.read_only) > depth(&self.writable) {
            return Some("mounted read-only here, as in a container: set it on the host");
        }
        self.snapshot.entry(path).filter(|e| e.read_only).map(|_| "the kernel manages it: nobody may write it")
    }
}

/// Soft and hard limit by the name in `/proc/self/limits`; unlimited is `u64::MAX`.
pub fn limit(snapshot: &Snapshot, name: &str) -> Option<(u64, u64)> {
    let line = snapshot.get("/proc/self/limits")?.lines().find_map(|l| l.strip_prefix(name))?;
    let mut values = line.split_whitespace().map(|v| if v == "unlimited" { Some(u64::MAX) } else { v.parse().ok() });
    Some((values.next()??, values.next()??))
}

/// A line of `/proc/meminfo` in bytes.
pub fn meminfo(snapshot: &Snapshot, name: &str) -> Option<u64> {
    let line = snapshot.get("/proc/meminfo")?.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The `n`-th name of a path; `/sys/block/sda`: 1 is `sys`, 3 is `sda`.
pub fn part(path: &str, n: usize) -> &str {
    path.split('/').nth(n).unwrap_or("")
}

/// The last name of a path.
pub fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or("")
}

fn idle_states(snapshot: &Snapshot) -> Vec<IdleState> {
    let names = snapshot.matching("/sys/devices/system/cpu/cpu0/cpuidle/state*/name");
    names
        .map(|(path, name)| {
            let of = |file: &str| snapshot.number(&path.replace("/name", file)).unwrap_or(0);
            IdleState { name: name.text.clone(), exit_latency_us: of("/latency"), disabled: of("/disable") != 0 }
        })
        .collect()
}

/// Free and total space of the file system that holds the data directory or its nearest parent that is there.
fn add_space(snapshot: &mut Snapshot, data_dir: &str) {
    let mut dir = std::path::Path::new(data_dir);
    loop {
        if let Ok(stat) = nix::sys::statvfs::statvfs(dir) {
            let unit = stat.fragment_size();
            snapshot.insert("/@space", format!("{} {}", stat.blocks_available() * unit, stat.blocks() * unit));
            return;
        }
        match dir.parent() {
            Some(parent) => dir = parent,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_memory_are_read_by_name() {
        let snapshot = Snapshot::parse(
            "/proc/self/limits = Limit  Soft Limit  Hard Limit  Units\\nMax open files            1024     524288     files\\nMax locked memory  unlimited  unlimited bytes\n/proc/meminfo = MemTotal:  2048 kB\\nMemFree: 1 kB\n",
        )
        .expect("parses");
        assert_eq!(limit(&snapshot, "Max open files"), Some((1024, 524_288)));
        assert_eq!(limit(&snapshot, "Max locked memory"), Some((u64::MAX, u64::MAX)));
        assert_eq!(meminfo(&snapshot, "MemTotal:"), Some(2 << 20));
        assert_eq!(limit(&snapshot, "Max nothing"), None);
    }

    #[test]
    fn this_host_is_read_in_time() {
        // A busy machine may be late once.
        let reads: Vec<Facts> = (0..3).map(|_| Facts::read(&Root::at("/"))).collect();
        assert!(reads[0].kernel_release.is_some() && reads[0].boot_id.is_some());
        assert!(reads.iter().any(|facts| !facts.cut_short));
    }
}
