//! What the whole host did between two moments: busy CPU time, steal, pressure stalls.

use std::fs;

use serde::{Deserialize, Serialize};

use super::process::TICKS_PER_SECOND;

/// Counters of the host at one moment. `None` where the host does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostCounts {
    busy_us: Option<u64>,
    steal_us: Option<u64>,
    /// Microseconds that some task waited for CPU, I/O, memory.
    pressure_us: [Option<u64>; 3],
}

/// What the host did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostLoad {
    /// CPU seconds that were not idle, of all CPUs: user, nice, system, interrupts, without steal.
    pub busy_cpu_s: Option<f64>,
    /// CPU seconds that the hypervisor gave to others while this host wanted them.
    pub steal_s: Option<f64>,
    /// Share of the time that some task waited for a CPU, percent (PSI).
    pub cpu_pressure_percent: Option<f64>,
    /// Share of the time that some task waited for I/O, percent.
    pub io_pressure_percent: Option<f64>,
    /// Share of the time that some task waited for memory, percent.
    pub memory_pressure_percent: Option<f64>,
}

impl HostCounts {
    /// Reads them.
    pub fn read() -> HostCounts {
        let (busy_us, steal_us) = fs::read_to_string("/proc/stat").ok().and_then(|text| cpu(&text)).unzip();
        let pressure = |what: &str| fs::read_to_string(format!("/proc/pressure/{what}")).ok().and_then(|text| stalled(&text));
        HostCounts { busy_us, steal_us, pressure_us: ["cpu", "io", "memory"].map(pressure) }
    }

    /// What happened since `before`, `seconds` ago.
    pub fn since(&self, before: &HostCounts, seconds: f64) -> HostLoad {
        let spent = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?) as f64 / 1e6);
        let share = |i: usize| spent(self.pressure_us[i], before.pressure_us[i]).filter(|_| seconds > 0.0).map(|s| 100.0 * s / seconds);
        HostLoad {
            busy_cpu_s: spent(self.busy_us, before.busy_us),
            steal_s: spent(self.steal_us, before.steal_us),
            cpu_pressure_percent: share(0),
            io_pressure_percent: share(1),
            memory_pressure_percent: share(2),
        }
    }
}

/// What the hypervisor took so far from these CPUs, of all together where there are none, in ticks of the kernel's (10 ms mostly); `None` where the
/// host does not tell.
pub fn steal_ticks(cpus: &[usize]) -> Option<u64> {
    stolen(&fs::read_to_string("/proc/stat").ok()?, cpus)
}

fn stolen(stat: &str, cpus: &[usize]) -> Option<u64> {
    let of = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.split_whitespace().nth(7)?.parse::<u64>().ok()
    };
    if cpus.is_empty() { of("cpu") } else { cpus.iter().map(|cpu| of(&format!("cpu{cpu}"))).sum() }
}

/// Busy and stolen time of all CPUs together, microseconds.
fn cpu(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let at = |i: usize| ticks.get(i).copied().unwrap_or(0);
    let tick_us = 1_000_000 / TICKS_PER_SECOND;
    // user nice system idle iowait irq softirq steal
    (ticks.len() >= 4).then(|| ((at(0) + at(1) + at(2) + at(5) + at(6)) * tick_us, at(7) * tick_us))
}

/// `total` of the `some` line.
fn stalled(pressure: &str) -> Option<u64> {
    pressure.lines().find(|line| line.starts_with("some "))?.rsplit_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_counters_are_read() {
        let tick_us = 1_000_000 / TICKS_PER_SECOND;
        assert_eq!(cpu("cpu  10 1 20 900 50 2 3 7 0 0\ncpu0 1 1 1 1\n"), Some((36 * tick_us, 7 * tick_us)));
        assert_eq!(cpu("intr 5\n"), None);
        let stat =
            "cpu  10 1 20 900 50 2 3 17 0 0\ncpu0 1 1 1 1 1 1 1 5 0 0\ncpu1 1 1 1 1 1 1 1 9 0 0\ncpu11 1 1 1 1 1 1 1 3 0 0\nintr 5\n";
        assert_eq!((stolen(stat, &[]), stolen(stat, &[1]), stolen(stat, &[0, 11])), (Some(17), Some(9), Some(8)));
        assert_eq!((stolen(stat, &[2]), stolen("cpu  1 2 3 4\n", &[])), (None, None), "no such CPU, no such column");
        assert_eq!(stalled("some avg10=2.03 avg60=1.51 avg300=2.87 total=5419243973\nfull avg10=0.00 total=0\n"), Some(5_419_243_973));
        assert_eq!(stalled(""), None);
    }

    #[test]
    fn differences_are_shares_of_the_time() {
        let before = HostCounts { busy_us: Some(1_000_000), steal_us: None, pressure_us: [Some(0), None, Some(5)] };
        let now = HostCounts { busy_us: Some(3_500_000), steal_us: Some(1), pressure_us: [Some(500_000), Some(1), Some(5)] };
        let load = now.since(&before, 2.0);
        assert_eq!((load.busy_cpu_s, load.steal_s, load.cpu_pressure_percent), (Some(2.5), None, Some(25.0)));
        assert_eq!((load.io_pressure_percent, load.memory_pressure_percent), (None, Some(0.0)));
    }
}
