//! Facts about this process, read from `/proc`; the parsing is pure.

/// What `/metrics` says about the process.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ProcessFacts {
    /// CPU time, user and system, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Most file descriptors.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Start of the process, seconds since 1970.
    pub start_seconds: f64,
}

impl ProcessFacts {
    /// Reads `/proc`; what cannot be read is 0. Takes tens of microseconds and never touches a disk.
    pub fn read() -> ProcessFacts {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        ProcessFacts { open_fds: open_fds(), ..parse(&text("/proc/self/stat"), &text("/proc/self/limits"), &text("/proc/stat")) }
    }
}

/// The size of the directory, since Linux 6.2; before, its entries are counted, which takes milliseconds with ten thousand of them.
fn open_fds() -> u64 {
    match std::fs::metadata("/proc/self/fd").map_or(0, |directory| directory.len()) {
        // The directory being listed is one of them.
        0 => std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64).saturating_sub(1),
        told => told,
    }
}

/// Ticks per second in `/proc`: fixed at 100 by the kernel's user interface on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

fn parse(stat: &str, limits: &str, system: &str) -> ProcessFacts {
    // The second field is the program's name in parentheses and may hold blanks and parentheses itself; fields count from the last one.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    // `man 5 proc`: the field after the name is number 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let boot_seconds = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok()).unwrap_or(0);
    let max_fds = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    ProcessFacts {
        cpu_seconds: (field(14) + field(15)) as f64 / TICKS_PER_SECOND,
        threads: field(20),
        start_seconds: boot_seconds as f64 + field(22) as f64 / TICKS_PER_SECOND,
        virtual_bytes: field(23),
        resident_bytes: field(24) * PAGE_BYTES,
        max_fds,
        open_fds: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_process_is_read() {
        let stat = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194560 2000 0 1 0 250 150 0 0 20 0 5 0 12345 104857600 7680 18446744073709551615 1 1";
        let limits = "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 524288               files\n";
        let facts = parse(stat, limits, "cpu  1 2 3\nbtime 1700000000\nprocesses 5\n");
        assert_eq!(
            facts,
            ProcessFacts {
                cpu_seconds: 4.0,
                resident_bytes: 7680 * 4096,
                virtual_bytes: 104_857_600,
                open_fds: 0,
                max_fds: 1024,
                threads: 5,
                start_seconds: 1_700_000_123.45
            }
        );
        assert_eq!(parse("", "", ""), ProcessFacts::default());
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes > 100_000 && facts.threads >= 1 && facts.open_fds >= 3 && facts.start_seconds > 1e9, "{facts:?}");
    }
}
