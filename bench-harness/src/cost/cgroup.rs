//! A control group (v2) of a server's own: CPU time to the microsecond, of every process that ever was in it.
//!
//! Made below this process's own group where that is allowed, which needs no controller: `cpu.stat` counts time in every group. Where it is not
//! allowed there is none, and `/proc` has to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Prefix of the directories' names; the process id of their maker follows.
pub(super) const PREFIX: &str = "coreline-bench-";

/// A control group; removed when dropped.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes one, or none where the host does not let us.
    pub fn create() -> Option<Cgroup> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let parent = own_group()?;
        remove_leftovers(&parent);
        let path = parent.join(format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).ok()?;
        let group = Cgroup { path };
        // The kernel lists what a group offers; without these it is of no use.
        (group.path.join("cgroup.procs").exists() && group.cpu_us().is_some()).then_some(group)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// CPU time so far, microseconds: all, user, system.
    pub fn cpu_us(&self) -> Option<(u64, u64, u64)> {
        parse_cpu_stat(&fs::read_to_string(self.path.join("cpu.stat")).ok()?)
    }

    /// Processes in it now.
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_group(&self.path);
    }
}

/// Removes a group. What was killed leaves it a moment later.
#[allow(clippy::disallowed_methods)] // No shard here.
pub fn remove_group(path: &Path) {
    for _ in 0..40 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(5)),
            _ => return,
        }
    }
}

/// Directory of the v2 group that this process is in.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(mount_point(&mounts)?.join(own.trim_start_matches('/')))
}

/// Where the v2 hierarchy is mounted; the first that may be written.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let point = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let fields: Vec<&str> = left.split(' ').collect();
        let writable = fields.get(5)?.split(',').any(|option| option == "rw");
        (right.starts_with("cgroup2 ") && writable).then(|| PathBuf::from(fields[4]))
    };
    mountinfo.lines().find_map(point)
}

/// Removes the groups of runs that were killed; a group that is still in use cannot be removed.
pub(super) fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn parse_cpu_stat(text: &str) -> Option<(u64, u64, u64)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((field("usage_usec ")?, field("user_usec ")?, field("system_usec ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_mount_is_found_in_every_layout() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      38 30 0:34 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let pure = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mount_point(pure), Some("/sys/fs/cgroup".into()));
        let container = "30 25 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n";
        assert_eq!(mount_point(container), None);
    }

    #[test]
    fn cpu_time_is_read_by_name() {
        assert_eq!(parse_cpu_stat("usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 0\n"), Some((12, 7, 5)));
        assert_eq!(parse_cpu_stat("usage_usec x\n"), None);
    }
}
