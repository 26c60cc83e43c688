//! A bound on a server's memory, page cache included: a control group with a limit, so that two servers compared on one host have the same.
//!
//! Where the server has a group (v2) with the memory controller, the limit is that group's. On hosts whose memory controller is still one of version
//! 1, a group is made there, below this process's own. Both count the page cache of what the server reads and writes: a limit also makes old data cold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::cgroup::{Cgroup, PREFIX, remove_group, remove_leftovers};

/// A group of version 1 with a limit; removed when dropped.
#[derive(Debug)]
pub struct MemoryGroup {
    path: PathBuf,
}

impl MemoryGroup {
    /// Limits the server's group, or makes one of version 1 that the server has to join. The error says why there is no limit.
    pub fn limit(group: Option<&Cgroup>, bytes: u64) -> io::Result<Option<MemoryGroup>> {
        let max = group.map(|group| group.path().join("memory.max")).filter(|path| path.exists());
        if let Some(max) = max {
            fs::write(&max, bytes.to_string())?;
            // What does not fit would only move to the swap.
            let swap = max.with_file_name("memory.swap.max");
            return if swap.exists() { fs::write(swap, "0").map(|()| None) } else { Ok(None) };
        }
        let none = || {
            io::Error::other("no control group with the memory controller can be made here (cgroup v2 must hand it down, or v1 have it)")
        };
        let parent =
            version_one(&fs::read_to_string("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/cgroup")?).ok_or_else(none)?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_leftovers(&parent);
        let path = parent.join(format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path)?;
        let group = MemoryGroup { path };
        fs::write(group.path.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(Some(group))
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        remove_group(&self.path);
    }
}

/// Directory of the group of version 1's memory controller that this process is in.
fn version_one(mountinfo: &str, membership: &str) -> Option<PathBuf> {
    let has_memory = |list: &str| list.split(',').any(|name| name == "memory");
    let mount = mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let fields: Vec<&str> = left.split(' ').collect();
        let is_memory = right.starts_with("cgroup ") && has_memory(right.rsplit(' ').next()?);
        // Of a group that is mounted as another's root its own path is not known.
        (is_memory && fields.get(3) == Some(&"/")).then(|| PathBuf::from(fields[4]))
    })?;
    let own = membership.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        has_memory(controllers).then_some(path)
    })?;
    Some(mount.join(own.trim_start_matches('/')))
}

/// Reads a size: bytes, or with `k`, `m`, `g` behind it powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let power = [('k', 10), ('m', 20), ('g', 30)].into_iter().find_map(|(unit, power)| lower.ends_with(unit).then_some(power));
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    let sound = lower.len() - digits.len() <= 1;
    let bytes = digits.parse::<u64>().ok().filter(|_| sound).and_then(|number| number.checked_mul(1 << power.unwrap_or(0)));
    bytes.filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| format!("`{text}` is no size; 1m and more, such as 512m or 4g"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_version_one_is_found() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                      33 30 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n38 30 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "5:cpu,cpuacct:/\n4:memory:/user/one\n0::/\n";
        assert_eq!(version_one(mounts, own), Some("/sys/fs/cgroup/memory/user/one".into()));
        assert_eq!(version_one(mounts, "0::/\n"), None);
        assert_eq!(version_one("38 30 0:34 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", own), None);
        assert_eq!(version_one(&mounts.replace("0:29 /", "0:29 /docker/x"), own), None, "its own path is not known");
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!((parse_size("512m"), parse_size("4G"), parse_size("1048576")), (Ok(512 << 20), Ok(4 << 30), Ok(1 << 20)));
        for text in ["", "g", "0", "5k", "-1g", "1.5g", "4gg", "99999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
