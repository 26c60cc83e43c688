//! The only door to the kernel's settings: read one, write one. The host's, or one in memory for tests and dry runs.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};

use crate::sysfs::Root;
use crate::{ballast, ethtool, knob};

/// Settings that can be read and written.
pub trait Tree {
    /// The trimmed text of a setting.
    fn read(&mut self, path: &str) -> io::Result<String>;
    /// Writes a setting in one system call. The kernel may refuse, or quietly do otherwise: read it back.
    fn write(&mut self, path: &str, text: &str) -> io::Result<()>;
}

/// The tree below a root.
#[derive(Debug)]
pub struct HostTree {
    root: Root,
}

impl HostTree {
    /// The settings below `root`.
    pub fn new(root: Root) -> HostTree {
        HostTree { root }
    }
}

impl Tree for HostTree {
    fn read(&mut self, path: &str) -> io::Result<String> {
        if self.root.is_host() && path.starts_with("/@ethtool/") {
            return ethtool::read(path);
        }
        if ballast::is_ballast(path) {
            return ballast::read(&self.root, path);
        }
        self.root.try_read(path).map(|(text, _)| text)
    }

    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        // Whatever a damaged journal or a forged plan says: only what a knob declares, and no way out of it.
        if !is_declared(path) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "no knob declares this path"));
        }
        if self.root.is_host() && path.starts_with("/@ethtool/") {
            return ethtool::write(path, text);
        }
        if ballast::is_ballast(path) {
            return ballast::write(&self.root, path, text);
        }
        // No `create`: a setting that is not there is an error. The kernel ignores `truncate`; a recorded tree needs it.
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.root.path(path))?;
        let line = format!("{text}\n");
        match file.write(line.as_bytes())? {
            n if n == line.len() => Ok(()),
            // A second call would start a new value.
            n => Err(io::Error::new(io::ErrorKind::WriteZero, format!("the kernel took {n} of {} bytes", line.len()))),
        }
    }
}

/// True when some knob declares to write `path`, or the kernel changes it when a declared neighbour is written.
pub fn is_declared(path: &str) -> bool {
    if path.split('/').any(|name| name == ".." || name == ".") {
        return false;
    }
    let Some((dir, name)) = path.rsplit_once('/') else { return false };
    knob::ALL.iter().flat_map(|k| k.writes).any(|write| {
        let Some((pattern_dir, _)) = write.pattern.rsplit_once('/') else { return false };
        crate::snapshot::fits(write.pattern, path) || (write.resets.contains(&name) && crate::snapshot::fits(pattern_dir, dir))
    })
}

/// A setting's path for people: what is no file is named by what it is.
pub fn shown(path: &str) -> String {
    if let Some(file) = ballast::shown(path) {
        return format!("size of {file}");
    }
    match path.strip_prefix("/@ethtool/") {
        Some(rest) => format!("ethtool {}", rest.replace('/', " ")),
        None => path.to_owned(),
    }
}

/// A tree in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryTree {
    /// Text by path.
    pub settings: BTreeMap<String, String>,
}

impl Tree for MemoryTree {
    fn read(&mut self, path: &str) -> io::Result<String> {
        self.settings.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, path: &str, text: &str) -> io::Result<()> {
        match self.settings.get_mut(path) {
            Some(slot) => text.clone_into(slot),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_paths_are_written() {
        for path in [
            "/proc/sys/net/core/somaxconn",
            "/sys/block/nvme0n1/queue/scheduler",
            "/sys/block/vda/queue/nr_requests",
            "/proc/sys/vm/dirty_ratio",
        ] {
            assert!(is_declared(path), "{path}");
        }
        for path in [
            "/etc/passwd",
            "/sys/block/vda/queue/write_cache",
            "/proc/sys/kernel/core_pattern",
            "/sys/block/../queue/scheduler",
            "/proc/sysrq-trigger",
            "relative",
        ] {
            assert!(!is_declared(path), "{path}");
        }
        let mut host = HostTree::new(Root::at("/"));
        assert_eq!(shown("/@ethtool/eth0/rings/rx"), "ethtool eth0 rings rx");
        assert_eq!(shown(&ballast::path_in("/var/lib/coreline")), "size of /var/lib/coreline/ballast");
        assert_eq!(shown("/proc/sys/vm/swappiness"), "/proc/sys/vm/swappiness");
        assert!(host.write("/etc/passwd", "x").is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied));
    }
}
