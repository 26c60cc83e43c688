//! Tests of all knobs together: what they declare, and that each is found when it is off.

use super::*;
use crate::snapshot::Snapshot;

#[test]
fn every_knob_is_declared_whole() {
    for knob in ALL {
        for (what, text) in [("effect", knob.effect), ("why", knob.why), ("risk", knob.risk), ("undo", knob.undo), ("source", knob.source)]
        {
            assert!(!text.is_empty() && !text.contains('\n'), "{}: {what} is {text:?}", knob.id);
        }
        assert!(GROUPS.contains(&knob.group), "{}: group {}", knob.id, knob.group);
        assert_eq!(ALL.iter().filter(|k| k.id == knob.id).count(), 1, "{}", knob.id);
        assert!(knob.class != Class::Never || knob.writes.is_empty(), "{} is never written and so declares nothing to write", knob.id);
        assert!(knob.class != Class::Auto || !knob.writes.is_empty(), "{} is automatic and has nothing to write", knob.id);
        assert!(knob.param.accept("true").is_ok(), "{}: the default is accepted", knob.id);
        // What is written must be readable, or it could not be put back.
        for write in knob.writes {
            assert!(knob.reads.contains(&write.pattern), "{} writes {} and does not read it", knob.id, write.pattern);
            assert!(!write.pattern.contains("write_cache") && !write.pattern.contains("core_pattern"));
        }
    }
}

#[test]
fn no_two_knobs_write_the_same_setting() {
    let all: Vec<(&str, &str)> = ALL.iter().flat_map(|k| k.writes.iter().map(|w| (k.id, w.pattern))).collect();
    for (i, (a, pattern)) in all.iter().enumerate() {
        for (b, other) in &all[i + 1..] {
            // Told apart by the devices that the interrupts belong to; a test over all recorded hosts holds that.
            if [*a, *b] == ["disk_irq", "net_irq"] {
                continue;
            }
            assert!(!crate::snapshot::fits(pattern, other) && !crate::snapshot::fits(other, pattern), "{a} and {b}: {pattern} and {other}");
        }
    }
}

#[test]
fn a_host_that_tells_nothing_is_not_at_fault() {
    let facts = Facts::of(Snapshot::default(), "/var/lib/coreline");
    let findings = crate::report(&facts);
    let faults: Vec<_> = findings.iter().filter(|f| f.severity >= Severity::Advice && f.id != "clock_sync").collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Each knob with a host on which it is off, and what it says.
#[test]
fn each_knob_is_found_when_it_is_off() {
    use Severity::{Advice, Fatal, Hint};
    const CPUS: &str = "/sys/devices/system/cpu/online = 0-7\n";
    const NIC: &str = "/sys/class/net/eth0/device@ = 0000:01:00.0\n/sys/class/net/eth0/queues/rx-0/rps_cpus = 0\n/sys/class/net/eth0/queues/rx-1/rps_cpus = 0\n\
                       /sys/class/net/eth0/queues/tx-0/tx_timeout = 0\n/sys/class/net/eth0/queues/tx-1/tx_timeout = 0\n";
    let cases: &[(&str, Severity, &str)] = &[
        ("io_uring", Fatal, "/proc/sys/kernel/io_uring_disabled = 2\n"),
        ("io_uring", Fatal, "/proc/sys/kernel/io_uring_disabled = 1\n"),
        ("io_uring", Hint, "/proc/sys/kernel/io_uring_disabled = 0\n/proc/self/status = Name: x\\nSeccomp:\t2\n"),
        ("memlock", Fatal, "/proc/self/limits = Max locked memory 65536 65536 bytes\n"),
        ("memlock", Advice, "/proc/self/limits = Max locked memory 65536 1048576 bytes\n"),
        ("open_files", Fatal, "/proc/self/limits = Max open files 1023 1023 files\n"),
        ("open_files", Advice, "/proc/self/limits = Max open files 1024 4096 files\n"),
        ("kernel_release", Advice, "/proc/sys/kernel/osrelease = 5.10.0-28-amd64\n"),
        ("cpu_governor", Advice, "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor = powersave\n"),
        ("cpu_energy", Hint, "/sys/devices/system/cpu/cpu0/power/energy_perf_bias = 6\n"),
        (
            "cpu_dma_latency",
            Hint,
            "/dev/cpu_dma_latency? = present\n/sys/devices/system/cpu/cpu0/cpuidle/state3/name = C6\n/sys/devices/system/cpu/cpu0/cpuidle/state3/latency = 133\n",
        ),
        (
            "cpu_resume_latency",
            Hint,
            "/sys/devices/system/cpu/cpu0/power/pm_qos_resume_latency_us = 0\n/sys/devices/system/cpu/cpu0/cpuidle/state3/name = C6\n/sys/devices/system/cpu/cpu0/cpuidle/state3/latency = 133\n",
        ),
        ("cpu_smt", Hint, "/sys/devices/system/cpu/smt/active = 1\n"),
        ("cpu_isolation", Hint, CPUS),
        (
            "workqueue_cpus",
            Hint,
            "/sys/devices/system/cpu/online = 0-7\n/sys/devices/system/cpu/isolated = 4-7\n/sys/devices/virtual/workqueue/cpumask = ff\n",
        ),
        ("numa_nodes", Hint, "/sys/devices/system/node/node0/cpulist = 0-3\n/sys/devices/system/node/node1/cpulist = 4-7\n"),
        ("clocksource", Advice, "/sys/devices/system/clocksource/clocksource0/current_clocksource = hpet\n"),
        ("huge_pages", Advice, "/sys/kernel/mm/transparent_hugepage/enabled = [always] madvise never\n"),
        ("huge_pages_defrag", Hint, "/sys/kernel/mm/transparent_hugepage/defrag = [always] defer madvise never\n"),
        ("swappiness", Advice, "/proc/sys/vm/swappiness = 60\n/proc/swaps = Filename\\n/swap\n"),
        ("memory_size", Advice, "/proc/meminfo = MemTotal: 4194304 kB\n/sys/devices/system/cpu/online = 0-7\n"),
        ("vm_dirty", Hint, "/proc/meminfo = MemTotal: 67108864 kB\n/proc/sys/vm/dirty_bytes = 0\n/proc/sys/vm/dirty_ratio = 20\n"),
        ("zone_reclaim", Advice, "/proc/sys/vm/zone_reclaim_mode = 1\n"),
        ("min_free_kbytes", Hint, "/proc/meminfo = MemTotal: 67108864 kB\n/proc/sys/vm/min_free_kbytes = 4096\n"),
        ("max_map_count", Advice, "/proc/sys/vm/max_map_count = 65530\n"),
        ("disk_scheduler", Advice, "/sys/block/nvme0n1/queue/scheduler = none [bfq]\n"),
        ("disk_nomerges", Hint, "/sys/block/nvme0n1/queue/nomerges = 0\n"),
        ("disk_nr_requests", Hint, "/sys/block/nvme0n1/queue/nr_requests = 1023\n"),
        ("disk_read_ahead", Hint, "/sys/block/nvme0n1/queue/read_ahead_kb = 128\n"),
        ("disk_rq_affinity", Hint, "/sys/block/nvme0n1/queue/rq_affinity = 1\n"),
        ("disk_wbt", Hint, "/sys/block/nvme0n1/queue/wbt_lat_usec = 2000\n"),
        ("filesystem", Advice, "/proc/self/mountinfo = 1 0 0:50 / / rw - overlay overlay rw\n"),
        ("mount_options", Hint, "/proc/self/mountinfo = 1 0 8:1 / / rw,relatime - xfs /dev/sda1 rw\n"),
        ("disk_space", Advice, "/@space = 1000 1000000000\n"),
        ("fstrim", Hint, "/sys/block/nvme0n1/queue/discard_max_bytes = 2199023255040\n"),
        ("ballast_file", Hint, "/@ballast/%2Fvar%2Flib%2Fcoreline = 0\n/@space = 100000000000 200000000000\n"),
        (
            "disk_irq",
            Hint,
            "/sys/kernel/irq/50/actions = megasas0-msix1\n/sys/kernel/irq/51/actions = megasas0-msix2\n/proc/irq/50/smp_affinity = ff\n/proc/irq/51/smp_affinity = ff\n",
        ),
        ("irqbalance", Hint, "/run/irqbalance? = present\n"),
        ("net_arfs", Advice, "/@ethtool/eth0/features/rx-ntuple-filter = 0\n"),
        ("net_offloads", Hint, "/@ethtool/eth0/features/rx-lro = 1\n/@ethtool/eth0/features/rx-gro = 0\n"),
        (
            "huge_pages_collapse",
            Hint,
            "/sys/kernel/mm/transparent_hugepage/khugepaged/defrag = 1\n/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none = 511\n",
        ),
        ("cpu_partition", Hint, "/sys/fs/cgroup/cgroup.controllers = cpuset cpu io\n"),
        (
            "cpu_partition",
            Hint,
            "/sys/fs/cgroup/cgroup.controllers = cpuset cpu\n/sys/fs/cgroup/coreline.slice/cpuset.cpus = 2-7\n/sys/fs/cgroup/coreline.slice/cpuset.cpus.partition = member\n",
        ),
        (
            "net_irq",
            Advice,
            "/sys/kernel/irq/40/actions = eth0-TxRx-0\n/sys/kernel/irq/41/actions = eth0-TxRx-1\n/proc/irq/40/smp_affinity = ff\n/proc/irq/41/smp_affinity = ff\n",
        ),
        ("net_irq", Hint, "/run/irqbalance? = present\n/sys/kernel/irq/40/actions = eth0-TxRx-0\n/proc/irq/40/smp_affinity = ff\n"),
        ("net_rps", Advice, ""),
        ("net_rfs", Advice, "/proc/sys/net/core/rps_sock_flow_entries = 0\n/sys/class/net/eth0/queues/rx-0/rps_flow_cnt = 0\n"),
        ("net_xps", Advice, "/sys/class/net/eth0/queues/tx-0/xps_cpus = 00\n/sys/class/net/eth0/queues/tx-1/xps_cpus = 00\n"),
        ("net_channels", Hint, "/@ethtool/eth0/channels/combined = 2\n/@ethtool/eth0/channels/combined_max = 16\n"),
        ("net_rings", Hint, "/@ethtool/eth0/rings/rx = 256\n/@ethtool/eth0/rings/rx_max = 4096\n"),
        ("net_coalescing", Hint, "/@ethtool/eth0/coalesce/rx_usecs = 50\n/@ethtool/eth0/coalesce/adaptive_rx = 1\n"),
        ("napi_defer", Hint, "/sys/class/net/eth0/gro_flush_timeout = 0\n/sys/class/net/eth0/napi_defer_hard_irqs = 0\n"),
        ("napi_threaded", Hint, "/sys/class/net/eth0/threaded = 0\n"),
        ("busy_poll", Hint, "/proc/sys/net/core/busy_poll = 0\n/proc/sys/net/core/busy_read = 0\n"),
        ("accept_backlog", Advice, "/proc/sys/net/core/somaxconn = 128\n"),
        ("syn_backlog", Advice, "/proc/sys/net/ipv4/tcp_max_syn_backlog = 128\n"),
        ("tcp_memory", Advice, "/proc/meminfo = MemTotal: 67108864 kB\n/proc/sys/net/ipv4/tcp_mem = 1000 2000 3000\n"),
        ("tcp_buffers", Advice, "/proc/sys/net/ipv4/tcp_rmem = 4096 131072 1048576\n"),
        ("tcp_slow_start", Advice, "/proc/sys/net/ipv4/tcp_slow_start_after_idle = 1\n"),
        ("tcp_notsent", Hint, "/proc/sys/net/ipv4/tcp_notsent_lowat = 4294967295\n"),
        ("tcp_fastopen", Hint, "/proc/sys/net/ipv4/tcp_fastopen = 1\n"),
        ("stat_interval", Hint, "/proc/sys/vm/stat_interval = 1\n"),
        ("numa_balancing", Hint, "/proc/sys/kernel/numa_balancing = 1\n"),
        ("timer_migration", Hint, "/proc/sys/kernel/timer_migration = 1\n"),
        ("nmi_watchdog", Hint, "/proc/sys/kernel/nmi_watchdog = 1\n"),
        ("clock_sync", Advice, ""),
    ];
    for (id, severity, text) in cases {
        let group_of_nic =
            ["net_irq", "irqbalance", "net_rps", "net_rfs", "net_arfs", "net_xps", "napi_defer", "napi_threaded"].contains(id);
        let cpus = if text.contains("cpu/online") { "" } else { CPUS };
        let text = format!("{cpus}{}{text}", if group_of_nic { NIC } else { "" });
        let facts = Facts::of(Snapshot::parse(&text).expect("parses"), "/var/lib/coreline");
        let knob = find(id).unwrap_or_else(|| panic!("no knob {id}"));
        let finding = knob.finding(&facts, &knob.param.default_value());
        assert_eq!(finding.severity, *severity, "{finding:#?}");
        assert!(!finding.current.is_empty() && !finding.remedy.is_empty(), "{finding:#?}");
        // What it would write is declared, and writing it makes the knob fine.
        let look = (knob.look)(&facts, &knob.param.default_value());
        let mut after = facts.snapshot.clone();
        for setting in &look.settings {
            assert!(knob.write_for(&setting.path).is_some(), "{id}: {}", setting.path);
            after.insert(setting.path.clone(), setting.wanted.clone());
        }
        if !look.settings.is_empty() {
            let finding = knob.finding(&Facts::of(after, "/var/lib/coreline"), &knob.param.default_value());
            assert!(matches!(finding.severity, Severity::Ok | Severity::Inapplicable), "after writing: {finding:#?}");
        }
    }
    let silent = ["cpu_boost", "cpu_boot_limits", "disk_io_poll", "disk_write_cache", "io_properties", "aio_events", "core_dump"];
    let covered = |id: &str| cases.iter().any(|(c, ..)| *c == id) || silent.contains(&id);
    assert!(ALL.iter().all(|k| covered(k.id)), "a knob without a case: {:?}", ALL.iter().map(|k| k.id).find(|id| !covered(id)));
}

#[test]
fn the_nearest_name_is_found() {
    assert_eq!(nearest("cpu_governer"), Some("cpu_governor"));
    assert_eq!(nearest("acept_backlock"), Some("accept_backlog"));
    assert_eq!(nearest("nosuch"), None, "nothing is like it");
    assert!(find("cpu_governor").is_some() && find("").is_none());
}

/// Rows of the README's table.
fn rows() -> String {
    let cell = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |knob: &Knob| {
        let raised = |w: &Write| if w.raise_only { " (raised only)" } else { "" };
        let writes = knob.writes.iter().map(|w| format!("`{}`{}", w.pattern, raised(w))).collect::<Vec<_>>().join(", ");
        let profiles = crate::cli::profiles(knob).join(", ");
        let cells = [format!("`{}`", knob.id), knob.class.name().into(), writes, knob.effect.into(), knob.risk.into(), profiles];
        format!("| {} |\n", cells.map(cell).join(" | "))
    };
    ALL.iter().map(row).collect()
}

/// `CORELINE_UPDATE_DOCS=1 cargo test -p coreline-tuning --lib` writes the table anew.
#[test]
fn the_readme_has_a_row_for_every_knob() {
    const HEAD: &str = "| knob | class | writes | left as it is | risk | profiles |\n|---|---|---|---|---|---|\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("the README is there");
    let (before, table) = readme.split_once(HEAD).expect("the README has the table");
    if std::env::var_os("CORELINE_UPDATE_DOCS").is_some() {
        return std::fs::write(&path, format!("{before}{HEAD}{}", rows())).expect("the README is writable");
    }
    for (row, wanted) in table.lines().zip(rows().lines()) {
        assert_eq!(row, wanted);
    }
    assert_eq!(table.lines().count(), ALL.len());
}
