//! What kind of host this is: bare metal, virtual machine, container or WSL, told by several sources that vote.
//!
//! One source is not enough: images leave `/.dockerenv` behind in machines that are no containers, bare-metal cloud hosts carry the DMI names of
//! their cloud, and a container sees the CPU flags of whatever it runs on. The two questions (is the kernel virtual, is this a container in it)
//! are asked apart. Pure.

use serde::Serialize;

use crate::snapshot::Snapshot;

/// Paths that [`Platform::of`] looks at.
pub const READS: &[&str] = &[
    "/.dockerenv?",
    "/run/.containerenv?",
    "/run/systemd/container",
    "/run/systemd/system?",
    "/proc/1/cgroup",
    "/proc/cpuinfo",
    "/proc/self/mountinfo",
    "/proc/self/status",
    "/proc/sys/fs/binfmt_misc/WSLInterop?",
    "/proc/sys/kernel/osrelease",
    "/proc/device-tree/hypervisor/compatible",
    "/sys/hypervisor/type",
    "/sys/class/dmi/id/product_name",
    "/sys/class/dmi/id/sys_vendor",
    "/sys/class/power_supply/*/type",
    "/sys/class/dmi/id/chassis_type",
    "/sys/devices/system/clocksource/clocksource0/available_clocksource",
    "/sys/bus/virtio/devices/*/vendor",
    "/sys/bus/vmbus/devices?",
];

/// The kind of host, in the word that decides which knobs apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The kernel runs on the hardware.
    #[default]
    BareMetal,
    /// The kernel runs on a hypervisor.
    VirtualMachine,
    /// This process sees a container's tree; the settings are the host's.
    Container,
    /// Windows Subsystem for Linux.
    Wsl,
}

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::BareMetal => "bare metal",
            Kind::VirtualMachine => "virtual machine",
            Kind::Container => "container",
            Kind::Wsl => "WSL",
        }
    }
}

/// The kind of host with what it was told by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// Container before virtual machine: what limits a user most.
    pub kind: Kind,
    /// The kernel runs on a hypervisor (also below a container).
    pub virtual_kernel: bool,
    /// The hypervisor's name where a source gives one.
    pub hypervisor: Option<String>,
    /// The machine runs on battery at times.
    pub laptop: bool,
    /// systemd runs the host.
    pub systemd: bool,
    /// Effective user id 0.
    pub root_user: bool,
    /// Each source with what it says.
    pub evidence: Vec<String>,
}

impl Platform {
    /// Decides from what was read.
    pub fn of(snapshot: &Snapshot) -> Platform {
        let mut evidence = Vec::new();
        let (virtual_kernel, hypervisor) = virtual_kernel(snapshot, &mut evidence);
        let container = container(snapshot, &mut evidence);
        let wsl = wsl(snapshot, &mut evidence);
        let laptop = laptop(snapshot);
        let kind = match (wsl, container, virtual_kernel) {
            (true, _, _) => Kind::Wsl,
            (_, true, _) => Kind::Container,
            (_, _, true) => Kind::VirtualMachine,
            _ => Kind::BareMetal,
        };
        let root_user =
            snapshot.get("/proc/self/status").and_then(|s| status_line(s, "Uid:")).and_then(|uids| uids.split_whitespace().nth(1))
                == Some("0");
        Platform { kind, virtual_kernel, hypervisor, laptop, systemd: snapshot.exists("/run/systemd/system"), root_user, evidence }
    }
}

/// A line of `/proc/self/status` after its name.
pub fn status_line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Names that only hypervisors give their machines.
const VIRTUAL_PRODUCTS: &[(&str, &str)] = &[
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("Virtual Machine", "hyper-v"),
    ("Google Compute Engine", "kvm"),
    ("HVM domU", "xen"),
    ("Bochs", "qemu"),
    ("Parallels", "parallels"),
    ("Cloud Hypervisor", "kvm"),
    ("Amazon EC2", "kvm"),
];

fn virtual_kernel(snapshot: &Snapshot, evidence: &mut Vec<String>) -> (bool, Option<String>) {
    let mut votes = 0;
    let mut name = None;
    let mut say = |source: &str, found: &str, hypervisor: Option<&str>, weight: i32| {
        evidence.push(format!("{source}: {found}"));
        votes += weight;
        if name.is_none() {
            name = hypervisor.map(str::to_owned);
        }
    };
    if let Some(kind) = snapshot.get("/sys/hypervisor/type").filter(|t| !t.is_empty()) {
        say("/sys/hypervisor/type", kind, Some(kind), 2);
    }
    if let Some(kind) = snapshot.get("/proc/device-tree/hypervisor/compatible") {
        say("device tree", kind, Some("kvm"), 2);
    }
    let product = snapshot.get("/sys/class/dmi/id/product_name").unwrap_or("");
    let vendor = snapshot.get("/sys/class/dmi/id/sys_vendor").unwrap_or("");
    // Bare-metal cloud hosts say `m7i.metal-24xl`: their vendor is a cloud, their kernel is not virtual.
    if !product.contains("metal")
        && let Some((text, kind)) = VIRTUAL_PRODUCTS.iter().find(|(text, _)| product.contains(text) || vendor.contains(text))
    {
        say("DMI", text, Some(kind), 1);
    } else if !product.is_empty() {
        say("DMI", product, None, 0);
    }
    let clocks = snapshot.get("/sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or("");
    for (clock, kind) in [("kvm-clock", "kvm"), ("hyperv", "hyper-v"), ("xen", "xen")] {
        if clocks.contains(clock) {
            say("clock sources", clock, Some(kind), 1);
        }
    }
    if snapshot.exists("/sys/bus/vmbus/devices") {
        say("/sys/bus/vmbus", "present", Some("hyper-v"), 1);
    }
    if snapshot.matching("/sys/bus/virtio/devices/*/vendor").next().is_some() {
        say("/sys/bus/virtio", "has devices", Some("virtio"), 1);
    }
    let cpuinfo = snapshot.get("/proc/cpuinfo").unwrap_or("");
    match cpuinfo.lines().find(|l| l.starts_with("flags")) {
        Some(flags) if flags.split_whitespace().any(|f| f == "hypervisor") => say("CPU flags", "hypervisor", None, 3),
        Some(_) => say("CPU flags", "no hypervisor", None, -2),
        // Other architectures have no such flag.
        None => {}
    }
    if evidence.is_empty() {
        evidence.push("none of the sources says that the kernel is virtual".to_owned());
    }
    (votes >= 1, name.filter(|_| votes >= 1))
}

fn container(snapshot: &Snapshot, evidence: &mut Vec<String>) -> bool {
    let mut votes = 0;
    let mut say = |source: &str, found: &str, weight: i32| {
        evidence.push(format!("{source}: {found}"));
        votes += weight;
    };
    for (path, weight) in [("/.dockerenv", 1), ("/run/.containerenv", 2)] {
        if snapshot.exists(path) {
            say(path, "present", weight);
        }
    }
    if let Some(kind) = snapshot.get("/run/systemd/container").filter(|t| !t.is_empty()) {
        say("/run/systemd/container", kind, 3);
    }
    let cgroup = snapshot.get("/proc/1/cgroup").unwrap_or("");
    if let Some(word) = ["docker", "kubepods", "containerd", "lxc", "libpod", "crio", "garden"].iter().find(|w| cgroup.contains(**w)) {
        say("cgroup of process 1", word, 2);
    }
    let mounts = mounts(snapshot.get("/proc/self/mountinfo").unwrap_or(""));
    if let Some(root) = mounts.iter().rev().find(|m| m.point == "/") {
        if matches!(root.kind.as_str(), "overlay" | "aufs" | "fuse-overlayfs") {
            say("root file system", &root.kind, 2);
        } else if root.device.starts_with("/dev/") {
            say("root file system", &format!("on {}", root.device), -1);
        }
    }
    // Runtimes hide parts of /proc by mounts of their own and bind single files into the tree.
    if mounts.iter().any(|m| m.point == "/proc/kcore" || m.point == "/proc/acpi" || m.point == "/proc/timer_list") {
        say("/proc", "has masked parts", 2);
    }
    if mounts.iter().any(|m| m.point == "/sys" && m.read_only) {
        say("/sys", "mounted read-only", 1);
    }
    votes >= 2
}

fn wsl(snapshot: &Snapshot, evidence: &mut Vec<String>) -> bool {
    let release = snapshot.get("/proc/sys/kernel/osrelease").unwrap_or("").to_ascii_lowercase();
    let interop = snapshot.exists("/proc/sys/fs/binfmt_misc/WSLInterop");
    let named = release.contains("microsoft") && release.contains("wsl");
    if named {
        evidence.push(format!("kernel release: {release}"));
    }
    if interop {
        evidence.push("binfmt_misc: WSLInterop".to_owned());
    }
    named || interop
}

fn laptop(snapshot: &Snapshot) -> bool {
    // SMBIOS chassis types: 8 portable, 9 laptop, 10 notebook, 14 sub-notebook, 31 convertible, 32 detachable.
    let chassis = snapshot.number("/sys/class/dmi/id/chassis_type").is_some_and(|t| matches!(t, 8 | 9 | 10 | 14 | 31 | 32));
    chassis || snapshot.matching("/sys/class/power_supply/*/type").any(|(_, e)| e.text == "Battery")
}

/// A line of `mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where.
    pub point: String,
    /// File system type.
    pub kind: String,
    /// Device or other source.
    pub device: String,
    /// Options of the mount and of the file system.
    pub options: String,
    /// Mounted read-only here (the file system itself may be writable elsewhere).
    pub read_only: bool,
}

/// Parses `mountinfo`; lines that make no sense are left out.
pub fn mounts(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let options = format!("{},{}", left.get(5)?, right.get(2).unwrap_or(&""));
        let read_only = left.get(5)?.split(',').any(|o| o == "ro");
        Some(Mount {
            point: left.get(4)?.replace("\\040", " "),
            kind: (*right.first()?).to_owned(),
            device: (*right.get(1)?).to_owned(),
            options,
            read_only,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// True when `path` is `point` or lies below it.
pub fn is_below(path: &str, point: &str) -> bool {
    point == "/" || path.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The mount that `path` lies on: the last of the longest points above it.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let above =
        |m: &&Mount| m.point == "/" || path == m.point || path.strip_prefix(m.point.as_str()).is_some_and(|rest| rest.starts_with('/'));
    mounts.iter().filter(above).max_by_key(|m| m.point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(recording: &str) -> Platform {
        Platform::of(&Snapshot::parse(recording).expect("parses"))
    }

    #[test]
    fn a_left_over_dockerenv_does_not_make_a_container() {
        let vm = of(
            "/.dockerenv? = present\n/proc/cpuinfo = flags : fpu hypervisor\n/proc/self/mountinfo = 27 1 254:0 / / rw - ext4 /dev/vda rw\n",
        );
        assert_eq!(vm.kind, Kind::VirtualMachine, "{vm:?}");
        let container = of(
            "/.dockerenv? = present\n/proc/cpuinfo = flags : fpu hypervisor\n/proc/self/mountinfo = 1 0 0:50 / / rw - overlay overlay rw\n",
        );
        assert_eq!((container.kind, container.virtual_kernel), (Kind::Container, true), "{container:?}");
    }

    #[test]
    fn a_bare_metal_cloud_host_is_bare_metal() {
        let metal =
            "/sys/class/dmi/id/sys_vendor = Amazon EC2\n/sys/class/dmi/id/product_name = m7i.metal-24xl\n/proc/cpuinfo = flags : fpu vmx\n";
        assert_eq!(of(metal).kind, Kind::BareMetal);
        // A vendor's name alone is outvoted by the CPU as well.
        assert_eq!(of("/sys/class/dmi/id/sys_vendor = Amazon EC2\n/proc/cpuinfo = flags : fpu vmx\n").kind, Kind::BareMetal);
        assert_eq!(of("/sys/class/dmi/id/sys_vendor = Amazon EC2\n/proc/cpuinfo = flags : fpu hypervisor\n").kind, Kind::VirtualMachine);
    }

    #[test]
    fn an_arm_machine_without_flags_is_told_by_others() {
        assert_eq!(of("/proc/cpuinfo = Features : fp asimd\n/sys/class/dmi/id/sys_vendor = QEMU\n").hypervisor.as_deref(), Some("qemu"));
        assert_eq!(of("/proc/cpuinfo = Features : fp asimd\n").kind, Kind::BareMetal);
    }

    #[test]
    fn wsl_is_told_by_its_kernel() {
        assert_eq!(of("/proc/sys/kernel/osrelease = 5.15.153.1-microsoft-standard-WSL2\n").kind, Kind::Wsl);
    }

    #[test]
    fn the_longest_mount_point_wins() {
        let text = "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n2 1 0:5 / /sys ro,nosuid - sysfs sysfs rw\n3 1 8:2 / /data rw,noatime - xfs /dev/nvme0n1 rw,noquota\nbad\n";
        let all = mounts(text);
        assert_eq!(all.len(), 3);
        assert_eq!(mount_of(&all, "/data/x").map(|m| (m.kind.as_str(), m.options.as_str())), Some(("xfs", "rw,noatime,rw,noquota")));
        assert_eq!(mount_of(&all, "/database").map(|m| m.point.as_str()), Some("/"));
        assert!(mount_of(&all, "/sys/block").is_some_and(|m| m.read_only));
    }
}
