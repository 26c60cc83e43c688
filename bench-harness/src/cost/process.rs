//! Counts of a group of processes from `/proc`: CPU time, memory, context switches, I/O.

use std::collections::BTreeMap;
use std::fs;

/// Sums over processes. A process or figure that cannot be read counts as zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessCounts {
    /// The first process and when it started (clock ticks since boot): tells one server from the next with the same id.
    pub first: (u32, u64),
    /// User CPU time, microseconds, waited-for children included.
    pub user_us: u64,
    /// System CPU time, microseconds.
    pub system_us: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Most resident memory of each process, summed, bytes.
    pub rss_peak_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Voluntary context switches of live threads.
    pub voluntary_switches: u64,
    /// Involuntary context switches of live threads.
    pub involuntary_switches: u64,
    /// Bytes from block devices.
    pub disk_read_bytes: u64,
    /// Bytes to block devices.
    pub disk_written_bytes: u64,
    /// Bytes through read-like calls.
    pub read_call_bytes: u64,
    /// Bytes through write-like calls.
    pub write_call_bytes: u64,
}

impl ProcessCounts {
    /// Sums over live processes; `None` when the first of them is gone or there is none.
    pub fn of(processes: &[u32]) -> Option<ProcessCounts> {
        let mut sum = ProcessCounts::default();
        let mut seen = false;
        for pid in processes {
            let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| Stat::parse(&text)) else { continue };
            if !seen {
                sum.first = (*pid, stat.start_ticks);
                seen = true;
            }
            let tick_us = 1_000_000 / TICKS_PER_SECOND;
            sum.user_us += stat.user_ticks * tick_us;
            sum.system_us += stat.system_ticks * tick_us;
            sum.add_status(*pid);
            let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
            sum.disk_read_bytes += field(&io, "read_bytes:");
            sum.disk_written_bytes += field(&io, "write_bytes:");
            sum.read_call_bytes += field(&io, "rchar:");
            sum.write_call_bytes += field(&io, "wchar:");
        }
        seen.then_some(sum)
    }

    fn add_status(&mut self, pid: u32) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        self.rss_bytes += field(&status, "VmRSS:") * 1024;
        self.rss_peak_bytes += field(&status, "VmHWM:") * 1024;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            self.threads += 1;
            self.voluntary_switches += field(&status, "voluntary_ctxt_switches:");
            self.involuntary_switches += field(&status, "nonvoluntary_ctxt_switches:");
        }
    }
}

/// A process and all its descendants, itself first.
pub(super) fn descendants(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(stat) = fs::read_to_string(entry.path().join("stat")).ok().and_then(|text| Stat::parse(&text)) {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let (mut all, mut next) = (vec![pid], 0);
    while let Some(parent) = all.get(next) {
        all.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    all
}

struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    /// Fields by position behind the name, which may hold blanks and parentheses itself.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |position: usize| fields.get(position)?.parse::<u64>().ok();
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            user_ticks: number(11)? + number(13)?,
            system_ticks: number(12)? + number(14)?,
            start_ticks: number(19)?,
        })
    }
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Clock ticks per second in `/proc` (USER_HZ): 100 on every architecture this builds for.
pub(super) const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_stat_is_read_whatever_the_name_is() {
        let text = "77 (a) b (c) S 5 77 77 0 -1 4194560 100 0 0 0 11 22 3 4 20 0 9 0 123456 1000 200 18446744073709551615\n";
        let stat = Stat::parse(text).expect("reads");
        assert_eq!((stat.parent, stat.user_ticks, stat.system_ticks, stat.start_ticks), (5, 14, 26, 123_456));
        assert!(Stat::parse("77 (cut").is_none() && Stat::parse("").is_none());
    }

    #[test]
    fn this_process_is_its_own_first_descendant() {
        let own = std::process::id();
        assert_eq!(descendants(own).first(), Some(&own));
        let counts = ProcessCounts::of(&[own]).expect("alive");
        assert!(
            counts.rss_bytes > 0 && counts.rss_peak_bytes >= counts.rss_bytes / 2 && counts.threads >= 1 && counts.first.1 > 0,
            "{counts:?}"
        );
        assert_eq!(ProcessCounts::of(&[]), None);
    }
}
