//! `DiskProbe`: what the file system and the device below a data directory say about direct I/O.
//!
//! Alignment comes from `statx` (`STATX_DIOALIGN`, Linux 6.1), never below 4096 bytes; FUA from the block queue in sysfs, where it is only a hint.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::limits::{ALIGNMENT_MAX, ALIGNMENT_MIN};

/// A file in the data directory's root whose `fdatasync` after `syncfs` empties the device's write cache; it also answers for the alignment.
pub(super) const FLUSH_FILE: &str = ".flush";

/// What a data directory's device says about itself. Blocking calls: use it on a blocking thread or before the executors start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskProbe {
    /// The directory that was asked about.
    pub root: PathBuf,
    /// Alignment in bytes of positions and lengths of direct I/O: the device's, at least 4096, a power of two.
    pub alignment: usize,
    /// What `statx` said in bytes (memory, offset); `None` when kernel or file system do not say.
    pub reported: Option<(u32, u32)>,
    /// Whether the block queue has FUA (a durable write without a separate flush); `None` when it cannot be told.
    pub fua: Option<bool>,
    /// Whether the device keeps writes in a volatile cache (`queue/write_cache` says "write back"); `None` when it cannot be told.
    pub volatile_cache: Option<bool>,
}

impl DiskProbe {
    /// Asks about the file system below `root`, an existing directory. Directories have no direct-I/O alignment: `.flush` is asked, or a file that is created
    /// and removed again.
    pub fn of(root: &Path) -> io::Result<DiskProbe> {
        let reported = dio_alignment(root)?;
        let (memory, offset) = reported.map_or((0, 0), |(memory, offset)| (memory as usize, offset as usize));
        // Buffers come from glommio's allocator, which aligns to 4096 bytes.
        if memory > ALIGNMENT_MIN || offset > ALIGNMENT_MAX || (offset > 0 && !offset.is_power_of_two()) {
            let why = format!(
                "direct I/O asks for memory aligned to {memory} and positions to {offset} bytes; up to {ALIGNMENT_MIN} and {ALIGNMENT_MAX} are supported"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let fua = queue(root, "fua").map(|text| text.trim() == "1");
        let volatile_cache = queue(root, "write_cache").map(|text| text.trim() == "write back");
        Ok(DiskProbe { root: root.to_path_buf(), alignment: offset.max(ALIGNMENT_MIN), reported, fua, volatile_cache })
    }

    /// Whether a write that is durable by itself is one request: the device has FUA, or no cache that would have to be flushed.
    pub fn durable_write_is_one_request(&self) -> Option<bool> {
        match (self.fua, self.volatile_cache) {
            (Some(true), _) | (_, Some(false)) => Some(true),
            (Some(false), Some(true)) => Some(false),
            _ => None,
        }
    }
}

/// Memory and offset alignment of a fresh file below `root`; `None` when the file system does not say (0 or no support).
fn dio_alignment(root: &Path) -> io::Result<Option<(u32, u32)>> {
    let known = root.join(FLUSH_FILE);
    let asked = if known.exists() {
        statx_dio(&known)
    } else {
        let path = root.join(format!(".probe-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::File::create(&path)?;
        let asked = statx_dio(&path);
        std::fs::remove_file(&path)?;
        asked
    };
    Ok(asked?.filter(|&(memory, offset)| memory > 0 && offset > 0))
}

fn statx_dio(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `path` is NUL-terminated and `out` is valid for writing one `statx`; both outlive the call.
    let result = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, libc::STATX_DIOALIGN, out.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed memory is a valid `statx` (integers only), whether or not the kernel filled it.
    let out = unsafe { out.assume_init() };
    Ok((out.stx_mask & libc::STATX_DIOALIGN != 0).then_some((out.stx_dio_mem_align, out.stx_dio_offset_align)))
}

/// What the block queue of the device below `root` says of itself; for a partition, its parent's.
fn queue(root: &Path, attribute: &str) -> Option<String> {
    let dev = std::fs::metadata(root).ok()?.dev();
    let node = PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(dev), libc::minor(dev)));
    let found = ["queue", "../queue"].map(|queue| std::fs::read_to_string(node.join(queue).join(attribute)).ok());
    found.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_write_is_one_request_with_fua_or_without_a_cache() {
        let probe = |fua, volatile_cache| {
            let root = PathBuf::from("/");
            DiskProbe { root, alignment: 4096, reported: None, fua, volatile_cache }.durable_write_is_one_request()
        };
        assert_eq!(probe(Some(true), Some(true)), Some(true));
        assert_eq!(probe(Some(false), Some(false)), Some(true), "nothing to flush");
        assert_eq!(probe(Some(false), Some(true)), Some(false));
        assert_eq!(probe(Some(false), None), None);
        assert_eq!(probe(None, Some(true)), None, "a network file system has no queue");
    }

    #[test]
    fn a_directory_has_an_alignment_of_at_least_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let probe = DiskProbe::of(dir.path()).unwrap();
        assert!(probe.alignment >= 4096 && probe.alignment.is_power_of_two(), "{probe:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the probe cleans up");
        let missing = DiskProbe::of(&dir.path().join("missing"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
