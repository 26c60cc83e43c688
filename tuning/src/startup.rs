//! The read-only checks of the broker's start: one line per finding, and whether to go on. Callers: the broker.

use crate::sysfs::Root;
use crate::{Facts, Severity, report};

/// A line for the broker's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The broker must not start: io_uring, locked memory or open files.
    pub fatal: bool,
    /// The knob.
    pub id: &'static str,
    /// One sentence: what is, what is wanted, what it costs, what to do.
    pub text: String,
}

/// Open files below which the broker does not start: enough for a few hundred partitions and connections.
pub const OPEN_FILES_MIN: u64 = 1024;
/// Open files below which it warns: enough for 10,000 partitions with 10,000 clients.
pub const OPEN_FILES_WANTED: u64 = 65_536;
/// Locked memory below which no executor starts, bytes.
pub const LOCKED_BYTES_MIN: u64 = 512 * 1024;
/// Locked memory that a shard registers with its three rings, bytes. With less it copies more.
pub const LOCKED_BYTES_PER_SHARD: u64 = 3 * 256 * 1024;

/// Knobs that may stop a start; nothing else ever does.
pub const FATAL: &[&str] = &["io_uring", "memlock", "open_files"];

/// Checks the host for data in `data_dir`; takes less than half a second and writes nothing.
pub fn check(root: &Root, data_dir: &str) -> Vec<Line> {
    lines(&Facts::read_for(root, data_dir))
}

/// The lines for a host: fatal ones first. Pure.
pub fn lines(facts: &Facts) -> Vec<Line> {
    let mut lines: Vec<Line> = report(facts)
        .into_iter()
        .filter(|f| f.severity >= Severity::Advice)
        .map(|f| Line {
            fatal: f.severity == Severity::Fatal && FATAL.contains(&f.id),
            id: f.id,
            text: format!("{} is {} (wanted: {}): {}. {}", f.id, f.current, f.wanted, f.effect, f.remedy),
        })
        .collect();
    lines.sort_by_key(|l| !l.fatal);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Snapshot;

    #[test]
    fn only_three_knobs_are_fatal_and_each_finding_is_one_line() {
        let text = "/proc/sys/kernel/io_uring_disabled = 2\n/proc/sys/net/core/somaxconn = 128\n\
                    /proc/self/limits = Max locked memory 65536 65536 bytes\\nMax open files 1023 1023 files\n";
        let lines = lines(&Facts::of(Snapshot::parse(text).expect("parses"), "/data"));
        let fatal: Vec<&str> = lines.iter().filter(|l| l.fatal).map(|l| l.id).collect();
        assert_eq!(fatal, FATAL);
        assert!(lines.iter().any(|l| l.id == "accept_backlog" && !l.fatal && l.text.contains("somaxconn")), "{lines:#?}");
        assert!(lines.iter().all(|l| !l.text.contains('\n')));
    }
}
