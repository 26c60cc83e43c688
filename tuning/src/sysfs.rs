//! Reads `/proc` and `/sys` below a root prefix, so that recorded trees can stand in for the host. Has no way to write.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes; what is longer is cut. Settings are far shorter; a list of mounts can have thousands of lines.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The first processor is enough, and each further one costs the kernel time.
const CPUINFO_BYTES_MAX: u64 = 8 * 1024;

/// A tree that looks like `/`.
#[derive(Clone, Debug)]
pub struct Root {
    prefix: PathBuf,
}

impl Root {
    /// The host itself is `Root::at("/")`.
    pub fn at(prefix: impl Into<PathBuf>) -> Root {
        Root { prefix: prefix.into() }
    }

    /// True for the host itself, where facts that lie in no file may be asked of the kernel as well.
    pub fn is_host(&self) -> bool {
        self.prefix == Path::new("/")
    }

    /// Where `path` lies below the prefix.
    pub fn path(&self, path: &str) -> PathBuf {
        self.prefix.join(path.trim_start_matches('/'))
    }

    /// The trimmed content of a setting, or `None` when it is not there or not readable.
    pub fn read(&self, path: &str) -> Option<String> {
        self.try_read(path).ok().map(|(text, _)| text)
    }

    /// The trimmed content of a setting and whether its mode lets nobody write it (as with kernel-managed interrupts).
    pub fn try_read(&self, path: &str) -> io::Result<(String, bool)> {
        // A FIFO in a forged tree must not make a check wait.
        let metadata = std::fs::metadata(self.path(path))?;
        if !metadata.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let file = File::open(self.path(path))?;
        let mut bytes = Vec::new();
        let most = if path == "/proc/cpuinfo" { CPUINFO_BYTES_MAX } else { FILE_BYTES_MAX };
        file.take(most).read_to_end(&mut bytes)?;
        Ok((String::from_utf8_lossy(&bytes).trim().to_owned(), metadata.mode() & 0o222 == 0))
    }

    /// Names in a directory, sorted; empty when it is not there.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// True when the path exists.
    pub fn exists(&self, path: &str) -> bool {
        Path::exists(&self.path(path))
    }

    /// The last name of the path that a symbolic link points to.
    pub fn link(&self, path: &str) -> Option<String> {
        Some(std::fs::read_link(self.path(path)).ok()?.file_name()?.to_str()?.to_owned())
    }
}

/// The chosen word of a setting shown as `a [b] c`; the whole text when nothing is bracketed.
pub fn bracketed(text: &str) -> &str {
    text.split_whitespace().find_map(|w| w.strip_prefix('[')?.strip_suffix(']')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_word_is_the_choice() {
        assert_eq!(bracketed("always [madvise] never"), "madvise");
        assert_eq!(bracketed("none"), "none");
    }

    #[test]
    fn reads_stay_below_the_prefix() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir_all(dir.path().join("proc/sys/vm")).expect("create");
        std::fs::write(dir.path().join("proc/sys/vm/swappiness"), "60\n").expect("write");
        let root = Root::at(dir.path());
        assert_eq!(root.read("/proc/sys/vm/swappiness").as_deref(), Some("60"));
        assert_eq!(root.read("/proc/sys/vm/absent"), None);
        assert_eq!(root.read("/proc/sys"), None, "a directory is not a setting");
        assert_eq!(root.list("/proc/sys"), ["vm"]);
    }
}
