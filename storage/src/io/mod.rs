//! The only door to the kernel: the traits `Disk`, `DiskFile` and `DiskBuffer`.
//!
//! Every write is direct I/O (aligned position, aligned length), every barrier is a call of its own, so that a simulated disk can
//! record operations and decide what survives a crash. Single-threaded: futures are not `Send`.

use std::future::Future;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::room::DiskSpace;

pub mod aligned;
pub(crate) mod buffers;
pub(crate) mod closer;
pub mod glommio;
#[cfg(test)]
mod glommio_tests;
pub mod in_flight;
pub mod offline;
pub mod poison;
pub mod probe;
pub(crate) mod regular;
pub mod sim;
mod sleep;

pub use aligned::{Chunk, ChunkPool};
pub use glommio::GlommioDisk;
/// The disk of this host, as the broker uses it: callers name no engine.
pub use glommio::GlommioDisk as HostDisk;
pub use in_flight::JournalIo;
pub use offline::OfflineDisk;
pub use poison::Poison;
pub use probe::DiskProbe;
pub use sim::SimDisk;
pub use sleep::{ReactorTurn, Sleep};

/// What was being done when an I/O error happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoOp {
    /// Opening or creating a file.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Flushing a file, a directory or the file system.
    Sync,
    /// Renaming a file.
    Rename,
    /// Removing a file or directory.
    Remove,
    /// Creating a directory.
    CreateDir,
    /// Listing a directory or reading its metadata.
    List,
    /// Reserving space.
    Allocate,
    /// Changing a file's size.
    Truncate,
}

impl std::fmt::Display for IoOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IoOp::Open => "open",
            IoOp::Read => "read",
            IoOp::Write => "write",
            IoOp::Sync => "flush",
            IoOp::Rename => "rename",
            IoOp::Remove => "remove",
            IoOp::CreateDir => "create directory",
            IoOp::List => "list",
            IoOp::Allocate => "reserve space",
            IoOp::Truncate => "truncate",
        })
    }
}

/// An operating-system error with the file and position it happened at.
#[derive(Debug, thiserror::Error)]
#[error("{op} of {}{}: {source}", path.display(), position.map(|p| format!(" at byte {p}")).unwrap_or_default())]
pub struct IoError {
    /// The operation.
    pub op: IoOp,
    /// The file or directory.
    pub path: PathBuf,
    /// Byte position, where there is one.
    pub position: Option<u64>,
    /// The operating system's error.
    pub source: std::io::Error,
}

impl IoError {
    /// An error of `op` on `path`.
    pub fn new(op: IoOp, path: &Path, position: Option<u64>, source: std::io::Error) -> IoError {
        IoError { op, path: path.to_path_buf(), position, source }
    }

    /// True when the device is out of space or quota.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG))
    }

    /// True when the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == std::io::ErrorKind::NotFound
    }
}

/// Result of a disk operation.
pub type IoResult<T> = Result<T, IoError>;

/// How to open a file for direct I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, read only.
    Read,
    /// Existing file, read and write.
    ReadWrite,
    /// New file (an error if it exists), read and write.
    CreateNew,
    /// Existing file, read and write, each write durable when it completes (`O_DSYNC`).
    ReadWriteDsync,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without its directory.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
    /// Size in bytes (0 for a directory).
    pub size_bytes: u64,
}

/// An aligned, zero-filled buffer for direct I/O.
pub trait DiskBuffer: 'static {
    /// Length in bytes, a multiple of the disk's alignment.
    fn len(&self) -> usize;
    /// True when the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes.
    fn bytes(&self) -> &[u8];
    /// The bytes, for filling.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Cuts the buffer to `len` bytes, a multiple of the disk's alignment and not more than it has; it cannot grow again.
    fn shorten(&mut self, len: usize);
}

/// An open file. Clones share the descriptor; it is closed with the last clone.
pub trait DiskFile: Clone + 'static {
    /// The buffers it writes.
    type Buffer: DiskBuffer;
    /// Writes the whole buffer at an aligned position; complete or an error, never short.
    fn write_at(&self, buffer: Rc<Self::Buffer>, position: u64) -> impl Future<Output = IoResult<()>>;
    /// Reads up to `len` bytes from any position; shorter only at the end of the file.
    fn read_at(&self, position: u64, len: usize) -> impl Future<Output = IoResult<Vec<u8>>>;
    /// Makes everything written to this file durable (`fdatasync`).
    fn sync(&self) -> impl Future<Output = IoResult<()>>;
    /// Size in bytes.
    fn size(&self) -> impl Future<Output = IoResult<u64>>;
    /// Reserves space without changing the file's size.
    fn allocate(&self, position: u64, len: u64) -> impl Future<Output = IoResult<()>>;
    /// Cuts or extends the file. Never below bytes that were handed to `sendfile`.
    fn truncate(&self, size: u64) -> impl Future<Output = IoResult<()>>;
    /// Path it was opened by (a rename since then does not show).
    fn path(&self) -> &Path;
    /// Its name is about to be removed: the space that its last clone frees when it closes is not to be freed on this thread.
    fn will_be_removed(&self) {}
}

/// A file system below a data directory.
pub trait Disk: Clone + 'static {
    /// Its files.
    type File: DiskFile<Buffer = Self::Buffer>;
    /// Its buffers.
    type Buffer: DiskBuffer;

    /// Alignment in bytes of positions and lengths of direct I/O, a power of two, at least 4096.
    fn alignment(&self) -> usize;
    /// Whether a write that is durable by itself (`O_DSYNC`) is one request to the device, without a flush behind it; `None` when that cannot be told.
    fn durable_write_is_one_request(&self) -> Option<bool> {
        None
    }
    /// A zero-filled buffer; `len` is a multiple of the alignment.
    fn buffer(&self, len: usize) -> Self::Buffer;
    /// Like `buffer` with unspecified content (perhaps of an earlier buffer): the caller fills every byte it writes.
    fn buffer_for_overwrite(&self, len: usize) -> Self::Buffer;
    /// Monotonic time since an arbitrary start; virtual on a simulated disk.
    fn now(&self) -> Duration;
    /// Opens or creates a file for direct I/O.
    fn open(&self, path: &Path, mode: OpenMode) -> impl Future<Output = IoResult<Self::File>>;
    /// A read-only descriptor through the page cache, for `sendfile`; `Unsupported` on a simulated disk.
    fn open_for_send(&self, path: &Path) -> impl Future<Output = IoResult<Arc<OwnedFd>>>;
    /// CRC-32 of each `block` bytes of a range of a file opened by `open_for_send`, and how many bytes were there. Reads through the page cache, off this
    /// thread; `Unsupported` on a simulated disk.
    fn block_sums(
        &self,
        file: &Arc<OwnedFd>,
        path: &Path,
        range: Range<u64>,
        block: u32,
    ) -> impl Future<Output = IoResult<(Vec<u32>, u64)>>;
    /// Reads a small file whole; an error if it is longer than `len_max` bytes. `None` when it does not exist.
    fn read_file(&self, path: &Path, len_max: usize) -> impl Future<Output = IoResult<Option<Vec<u8>>>>;
    /// Creates or replaces a small file's content and makes the content durable; the directory entry is durable only after `sync_dir`.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> impl Future<Output = IoResult<()>>;
    /// Like `write_file` without the flush: durable after the next `sync_all`.
    fn write_file_unsynced(&self, path: &Path, bytes: &[u8]) -> impl Future<Output = IoResult<()>>;
    /// Renames within the file system.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = IoResult<()>>;
    /// Removes a file; fine if it does not exist.
    fn remove_file(&self, path: &Path) -> impl Future<Output = IoResult<()>>;
    /// Creates a directory; fine if it exists.
    fn create_dir(&self, path: &Path) -> impl Future<Output = IoResult<()>>;
    /// Removes a directory and all that is in it; fine if it does not exist.
    fn remove_dir_all(&self, path: &Path) -> impl Future<Output = IoResult<()>>;
    /// Entries of a directory, sorted by name.
    fn list_dir(&self, path: &Path) -> impl Future<Output = IoResult<Vec<DirEntry>>>;
    /// Entries of many directories, in the order asked for.
    fn list_dirs(&self, paths: &[PathBuf]) -> impl Future<Output = Vec<IoResult<Vec<DirEntry>>>> {
        async move {
            let mut lists = Vec::with_capacity(paths.len());
            for path in paths {
                lists.push(self.list_dir(path).await);
            }
            lists
        }
    }
    /// Makes a directory's entries durable (`fsync`).
    fn sync_dir(&self, path: &Path) -> impl Future<Output = IoResult<()>>;
    /// Makes everything written below the data directory durable (`syncfs`).
    fn sync_all(&self) -> impl Future<Output = IoResult<()>>;
    /// Runs a computation that may take long, not on the thread of a shard; a simulated disk runs it in place.
    fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
        async move { work() }
    }
    /// How much room there is.
    fn space(&self) -> impl Future<Output = IoResult<DiskSpace>>;
    /// Waits; for no time, gives way to the reactor and to all other tasks of the shard. Simulated disks may use virtual time.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}
