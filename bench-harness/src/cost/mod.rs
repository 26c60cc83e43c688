//! What a run costs the server and the host: CPU, memory, context switches, I/O and system calls between two moments.
//!
//! CPU seconds come from the server's own control group where it has one (exact, dead processes included), else from `/proc` (10 ms steps, the
//! server and its children). On loopback the receiving side of a socket is paid by whoever sends, so the whole host's CPU time stands beside the
//! server's; per GB and per million records both. A GB is 10^9 bytes of keys and values, in and out together.

mod cgroup;
mod host_counts;
mod memory_group;
mod process;
mod syscalls;

use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use cgroup::{Cgroup, remove_group};
pub use host_counts::{HostCounts, HostLoad, steal_ticks};
pub use memory_group::{MemoryGroup, parse_size};
pub use process::ProcessCounts;
pub use syscalls::SyscallCounter;

/// Figures of a server at one moment.
#[derive(Clone, Debug)]
pub struct Moment {
    at: Instant,
    group_us: Option<(u64, u64, u64)>,
    process: Option<ProcessCounts>,
    host: HostCounts,
}

impl Moment {
    /// Now. `pid` is the server's process, `None` when it is not on this host.
    pub fn now(pid: Option<u32>, cgroup: Option<&Cgroup>) -> Moment {
        let processes = match (cgroup, pid) {
            (Some(group), Some(pid)) => {
                // The supervisor is in the group too; it sleeps, but its memory is not the server's.
                let inside = process::descendants(pid);
                group.processes().into_iter().filter(|p| inside.contains(p)).collect()
            }
            (None, Some(pid)) => process::descendants(pid),
            (_, None) => Vec::new(),
        };
        Moment {
            at: Instant::now(),
            group_us: cgroup.and_then(Cgroup::cpu_us),
            process: ProcessCounts::of(&processes),
            host: HostCounts::read(),
        }
    }
}

/// What the server and the host spent between two moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    /// Seconds between the moments.
    pub seconds: f64,
    /// The server's CPU seconds, and where the figure comes from; `None` for a server elsewhere.
    pub server: Option<ServerSpent>,
    /// The whole host.
    pub host: HostLoad,
    /// Bytes of keys and values in and out, and records in and out, that the costs below are shared among.
    pub bytes: u64,
    /// Records in and out.
    pub records: u64,
    /// The server's CPU seconds per GB.
    pub server_cpu_s_per_gb: Option<f64>,
    /// The server's CPU seconds per million records.
    pub server_cpu_s_per_million: Option<f64>,
    /// The host's busy CPU seconds per GB, generator and everything else included.
    pub host_cpu_s_per_gb: Option<f64>,
    /// The host's busy CPU seconds per million records.
    pub host_cpu_s_per_million: Option<f64>,
}

/// What the server itself spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSpent {
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// Of these, user.
    pub cpu_user_s: f64,
    /// Of these, system.
    pub cpu_system_s: f64,
    /// Share of one core, percent.
    pub cpu_percent: f64,
    /// `cgroup` or `proc`.
    pub cpu_source: String,
    /// Resident memory at the end, bytes.
    pub rss_bytes: u64,
    /// Most resident memory since the process started, bytes.
    pub rss_peak_bytes: u64,
    /// Threads at the end.
    pub threads: u64,
    /// Times it gave up the CPU by itself: waits. Of threads that lived to the end.
    pub voluntary_switches: u64,
    /// Times the CPU was taken from it.
    pub involuntary_switches: u64,
    /// Bytes read from block devices.
    pub disk_read_bytes: u64,
    /// Bytes that it caused to be written to block devices.
    pub disk_written_bytes: u64,
    /// Bytes through read-like calls, page cache and sockets included (not io_uring's).
    pub read_call_bytes: u64,
    /// Bytes through write-like calls (not io_uring's).
    pub write_call_bytes: u64,
    /// System calls of all kinds; `None` when they were not counted.
    pub system_calls: Option<u64>,
    /// Why system calls were not counted.
    pub system_calls_missing: Option<String>,
}

impl ServerCost {
    /// Between two moments that carried `records` records with `bytes` bytes. `calls` are system calls, or why they were not counted.
    pub fn between(begin: &Moment, end: &Moment, records: u64, bytes: u64, calls: Result<u64, String>) -> ServerCost {
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        let server = end.process.as_ref().map(|_| spent(begin, end, seconds, calls));
        let host = end.host.since(&begin.host, seconds);
        let per = |cpu_s: Option<f64>, n: u64, unit: f64| cpu_s.filter(|_| n > 0).map(|cpu_s| cpu_s / (n as f64 / unit));
        let (server_cpu, host_cpu) = (server.as_ref().map(|s| s.cpu_s), host.busy_cpu_s);
        ServerCost {
            seconds,
            server_cpu_s_per_gb: per(server_cpu, bytes, 1e9),
            server_cpu_s_per_million: per(server_cpu, records, 1e6),
            host_cpu_s_per_gb: per(host_cpu, bytes, 1e9),
            host_cpu_s_per_million: per(host_cpu, records, 1e6),
            server,
            host,
            bytes,
            records,
        }
    }
}

fn spent(begin: &Moment, end: &Moment, seconds: f64, calls: Result<u64, String>) -> ServerSpent {
    let now = end.process.clone().unwrap_or_default();
    // A server that was started again in between begins from zero.
    let before = begin.process.clone().filter(|before| before.first == now.first).unwrap_or_default();
    let (cpu_us, user_us, system_us, source) = match (begin.group_us, end.group_us) {
        (Some(b), Some(e)) => (e.0.saturating_sub(b.0), e.1.saturating_sub(b.1), e.2.saturating_sub(b.2), "cgroup"),
        _ => {
            let (user, system) = (now.user_us.saturating_sub(before.user_us), now.system_us.saturating_sub(before.system_us));
            (user + system, user, system, "proc")
        }
    };
    let cpu_s = cpu_us as f64 / 1e6;
    let (system_calls, system_calls_missing) = match calls {
        Ok(calls) => (Some(calls), None),
        Err(why) => (None, Some(why)),
    };
    ServerSpent {
        cpu_s,
        cpu_user_s: user_us as f64 / 1e6,
        cpu_system_s: system_us as f64 / 1e6,
        cpu_percent: if seconds > 0.0 { 100.0 * cpu_s / seconds } else { 0.0 },
        cpu_source: source.into(),
        rss_bytes: now.rss_bytes,
        rss_peak_bytes: now.rss_peak_bytes,
        threads: now.threads,
        voluntary_switches: now.voluntary_switches.saturating_sub(before.voluntary_switches),
        involuntary_switches: now.involuntary_switches.saturating_sub(before.involuntary_switches),
        disk_read_bytes: now.disk_read_bytes.saturating_sub(before.disk_read_bytes),
        disk_written_bytes: now.disk_written_bytes.saturating_sub(before.disk_written_bytes),
        read_call_bytes: now.read_call_bytes.saturating_sub(before.read_call_bytes),
        write_call_bytes: now.write_call_bytes.saturating_sub(before.write_call_bytes),
        system_calls,
        system_calls_missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that only burns user time and prints a byte: its cost must show, and not this process's.
    #[test]
    #[allow(clippy::disallowed_methods)] // Between looks at the counters of a busy child.
    fn a_childs_cpu_time_is_seen_and_shared_among_records() {
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let begin = Moment::now(Some(child.id()), None);
        let burnt = || process::ProcessCounts::of(&[child.id()]).map_or(0, |p| p.user_us + p.system_us);
        let deadline = Instant::now() + std::time::Duration::from_secs(30);
        while burnt() < 50_000 && Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let cost = ServerCost::between(&begin, &Moment::now(Some(child.id()), None), 1_000_000, 500_000_000, Err("not asked for".into()));
        let _ = child.kill().and_then(|()| child.wait());
        let server = cost.server.expect("a process here");
        assert!(server.cpu_s >= 0.04 && server.cpu_source == "proc" && server.rss_bytes > 0 && server.threads == 1, "{server:?}");
        assert_eq!(cost.server_cpu_s_per_million, Some(server.cpu_s));
        assert!((cost.server_cpu_s_per_gb.expect("bytes") - 2.0 * server.cpu_s).abs() < 1e-9);
        assert!(cost.host.busy_cpu_s.expect("this host has /proc/stat") > 0.0 && server.system_calls_missing.is_some());
    }

    #[test]
    fn a_server_elsewhere_has_no_cost_of_its_own() {
        let cost = ServerCost::between(&Moment::now(None, None), &Moment::now(None, None), 0, 0, Err("elsewhere".into()));
        assert_eq!((cost.server, cost.host_cpu_s_per_gb), (None, None));
    }
}
