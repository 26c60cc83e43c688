//! `GlommioDisk`: the disk of production, direct I/O through glommio's ring; one per shard, made on the shard's executor.
//!
//! On the ring: open, aligned reads and writes, `fdatasync`, reserving space. On glommio's blocking pool: small files, rename, unlink, directories,
//! `fsync` of directories, `syncfs`. Nothing else blocks the shard's thread (glommio itself asks `statfs` once per open).

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::room::DiskSpace;

use super::probe::{DiskProbe, FLUSH_FILE};
use super::{DirEntry, Disk, DiskBuffer, DiskFile, IoError, IoOp, IoResult, OpenMode, ReactorTurn, Sleep, closer, regular};

/// Largest single read submitted to the ring, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;
/// Reads of one long range that are in flight together.
const READS_AT_ONCE: usize = 4;
/// Counters of one shard's disk since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Direct writes completed.
    pub writes: u64,
    /// Bytes they wrote.
    pub bytes_written: u64,
    /// Direct reads completed.
    pub reads: u64,
    /// Bytes they read.
    pub bytes_read: u64,
    /// Flushes: of files, directories and the file system.
    pub syncs: u64,
    /// Operations that failed.
    pub errors: u64,
}

/// Direct I/O through glommio. Clones share it. Must be used on the executor it was opened on.
#[derive(Clone)]
pub struct GlommioDisk(Rc<Inner>);

struct Inner {
    probe: DiskProbe,
    started: Instant,
    stats: Cell<DiskStats>,
    /// Kept open since before the first write, so that `syncfs` reports every write-back error since then.
    root: Arc<File>,
    flush_file: Arc<File>,
    turn: ReactorTurn,
}

/// A file open for direct I/O. Clones share the descriptor.
#[derive(Clone)]
pub struct GlommioFile(Rc<FileInner>);

struct FileInner {
    file: DmaFile,
    path: Arc<Path>,
    disk: Rc<Inner>,
    /// Its name is gone, or about to be.
    removed: Cell<bool>,
}

impl Drop for FileInner {
    /// The executor closes it on this thread at its next turn. Where that would free the space of a removed file, a copy of the descriptor outlasts it.
    fn drop(&mut self) {
        if self.removed.get()
            && let Ok(copy) = self.file.as_fd().try_clone_to_owned()
        {
            closer::close_later(copy);
        }
    }
}

impl DiskBuffer for DmaBuffer {
    fn len(&self) -> usize {
        DmaBuffer::len(self)
    }

    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }

    fn shorten(&mut self, len: usize) {
        self.trim_to_size(len);
    }
}

impl GlommioDisk {
    /// Opens the disk below `root`, an existing directory: asks the device for its alignment and keeps descriptors for flushing.
    /// Everything below `root` must be on one file system.
    pub async fn open(root: &Path) -> IoResult<GlommioDisk> {
        let path = root.to_path_buf();
        let (probe, dir, flush_file) = blocking(IoOp::Open, root, move || {
            let dir = File::open(&path)?;
            let flush_file = regular::open(File::options().write(true).create(true).truncate(false), &path.join(FLUSH_FILE));
            let flush_file = flush_file.map_err(|e| match e.kind() {
                io::ErrorKind::InvalidData => io::Error::new(e.kind(), format!("{FLUSH_FILE}: {e}")),
                _ => e,
            })?;
            let probe = DiskProbe::of(&path)?;
            // From a thread of the pool, which is bound to no processor.
            closer::start();
            Ok((probe, dir, flush_file))
        })
        .await?;
        let turn = ReactorTurn::new().map_err(|e| IoError::new(IoOp::Open, root, None, e))?;
        Ok(GlommioDisk(Rc::new(Inner {
            probe,
            started: Instant::now(),
            stats: Cell::default(),
            root: Arc::new(dir),
            flush_file: Arc::new(flush_file),
            turn,
        })))
    }

    /// What the device said about itself.
    pub fn probe(&self) -> &DiskProbe {
        &self.0.probe
    }

    /// Counters since the disk was opened.
    pub fn stats(&self) -> DiskStats {
        self.0.stats.get()
    }

    fn count<T>(&self, result: IoResult<T>, syncs: u64) -> IoResult<T> {
        self.0.count(result, |stats, _| stats.syncs += syncs)
    }
}

impl Inner {
    fn count<T>(&self, result: IoResult<T>, done: impl FnOnce(&mut DiskStats, &T)) -> IoResult<T> {
        let mut stats = self.stats.get();
        match &result {
            Ok(value) => done(&mut stats, value),
            Err(_) => stats.errors += 1,
        }
        self.stats.set(stats);
        result
    }
}

impl Disk for GlommioDisk {
    type File = GlommioFile;
    type Buffer = DmaBuffer;

    fn alignment(&self) -> usize {
        self.0.probe.alignment
    }

    fn durable_write_is_one_request(&self) -> Option<bool> {
        self.0.probe.durable_write_is_one_request()
    }

    fn buffer(&self, len: usize) -> DmaBuffer {
        let mut buffer = self.buffer_for_overwrite(len);
        buffer.as_bytes_mut().fill(0);
        buffer
    }

    fn buffer_for_overwrite(&self, len: usize) -> DmaBuffer {
        assert!(len > 0 && len.is_multiple_of(self.alignment()), "buffer of {len} bytes is not aligned");
        glommio::allocate_dma_buffer(len)
    }

    fn now(&self) -> Duration {
        self.0.started.elapsed()
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> IoResult<GlommioFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true).mode(0o640);
            }
            OpenMode::ReadWriteDsync => {
                options.write(true).custom_flags(libc::O_DSYNC);
            }
        }
        // glommio unwraps its `statfs` by path: a file that vanishes while it is opened would end the shard.
        let opened = AssertUnwindSafe(options.dma_open(path)).catch_unwind().await;
        let opened = match opened {
            Ok(result) => result.map_err(|e| IoError::new(IoOp::Open, path, None, os_error(e))),
            Err(_) => Err(IoError::new(IoOp::Open, path, None, io::Error::other("the file vanished while it was opened"))),
        };
        let file = self.count(opened, 0)?;
        Ok(GlommioFile(Rc::new(FileInner { file, path: Arc::from(path), disk: self.0.clone(), removed: Cell::new(false) })))
    }

    async fn open_for_send(&self, path: &Path) -> IoResult<Arc<OwnedFd>> {
        let owned = path.to_path_buf();
        let file = blocking(IoOp::Open, path, move || {
            let file = File::options().read(true).custom_flags(libc::O_NOATIME).open(&owned).or_else(|e| {
                // Only the owner may ask for O_NOATIME.
                if e.raw_os_error() == Some(libc::EPERM) { File::open(&owned) } else { Err(e) }
            })?;
            // The kernel reads nothing ahead by itself: what is read ahead is decided by who knows how far the bytes are final, and pages on their
            // way, which would be waited for, are then known. A refusal costs only that.
            let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
            Ok(file)
        })
        .await;
        Ok(Arc::new(OwnedFd::from(self.count(file, 0)?)))
    }

    async fn block_sums(&self, file: &Arc<OwnedFd>, path: &Path, range: Range<u64>, block: u32) -> IoResult<(Vec<u32>, u64)> {
        let file = file.clone();
        let read = blocking(IoOp::Read, path, move || {
            let (mut sums, mut at) = (Vec::new(), range.start);
            let mut buffer = vec![0; block as usize];
            // All of it goes to the device at once: by itself this descriptor reads nothing ahead.
            let (from, len) = (range.start as libc::off_t, (range.end - range.start) as libc::off_t);
            let _ = posix_fadvise(&*file, from, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
            while at < range.end {
                let want = (range.end - at).min(u64::from(block)) as usize;
                let mut have = 0;
                while have < want {
                    match nix::sys::uio::pread(&*file, &mut buffer[have..want], (at + have as u64) as libc::off_t) {
                        Ok(0) => return Ok((sums, at + have as u64 - range.start)),
                        Ok(read) => have += read,
                        Err(nix::errno::Errno::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                sums.push(crc32fast::hash(&buffer[..want]));
                at += want as u64;
            }
            Ok((sums, range.end - range.start))
        })
        .await;
        self.count(read, 0)
    }

    async fn read_file(&self, path: &Path, len_max: usize) -> IoResult<Option<Vec<u8>>> {
        let owned = path.to_path_buf();
        let read = blocking(IoOp::Read, path, move || {
            let file = match regular::open(File::options().read(true), &owned) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            };
            let len = file.metadata()?.len();
            if len > len_max as u64 {
                return Err(too_long(len, len_max));
            }
            // The file may grow meanwhile: never read more than the limit.
            let mut bytes = Vec::with_capacity(len as usize + 1);
            file.take(len_max as u64 + 1).read_to_end(&mut bytes)?;
            if bytes.len() > len_max {
                return Err(too_long(bytes.len() as u64, len_max));
            }
            Ok(Some(bytes))
        })
        .await;
        self.count(read, 0)
    }

    async fn write_file(&self, path: &Path, bytes: &[u8]) -> IoResult<()> {
        let result = write_small(path, bytes, true).await;
        self.count(result, 1)
    }

    async fn write_file_unsynced(&self, path: &Path, bytes: &[u8]) -> IoResult<()> {
        let result = write_small(path, bytes, false).await;
        self.count(result, 0)
    }

    async fn rename(&self, from: &Path, to: &Path) -> IoResult<()> {
        let (source, target) = (from.to_path_buf(), to.to_path_buf());
        let result = blocking(IoOp::Rename, from, move || std::fs::rename(source, target)).await;
        self.count(result, 0)
    }

    async fn remove_file(&self, path: &Path) -> IoResult<()> {
        let owned = path.to_path_buf();
        let result = blocking(IoOp::Remove, path, move || fine_if_absent(std::fs::remove_file(owned))).await;
        self.count(result, 0)
    }

    async fn create_dir(&self, path: &Path) -> IoResult<()> {
        let owned = path.to_path_buf();
        let result = blocking(IoOp::CreateDir, path, move || match std::fs::create_dir(&owned) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && owned.is_dir() => Ok(()),
            other => other,
        })
        .await;
        self.count(result, 0)
    }

    async fn remove_dir_all(&self, path: &Path) -> IoResult<()> {
        let owned = path.to_path_buf();
        let result = blocking(IoOp::Remove, path, move || fine_if_absent(std::fs::remove_dir_all(owned))).await;
        self.count(result, 0)
    }

    async fn list_dir(&self, path: &Path) -> IoResult<Vec<DirEntry>> {
        let owned = path.to_path_buf();
        let result = blocking(IoOp::List, path, move || regular::list(&owned)).await;
        self.count(result, 0)
    }

    async fn list_dirs(&self, paths: &[PathBuf]) -> Vec<IoResult<Vec<DirEntry>>> {
        // One trip to the pool for all.
        let owned = paths.to_vec();
        let listed =
            blocking(IoOp::List, &self.0.probe.root, move || Ok(owned.iter().map(|path| regular::list(path)).collect::<Vec<_>>())).await;
        let whole = |path: &PathBuf, list: io::Result<_>| self.count(list.map_err(|e| IoError::new(IoOp::List, path, None, e)), 0);
        match listed {
            Ok(lists) => paths.iter().zip(lists).map(|(path, list)| whole(path, list)).collect(),
            Err(error) => paths.iter().map(|path| whole(path, Err(io::Error::other(error.to_string())))).collect(),
        }
    }

    async fn sync_dir(&self, path: &Path) -> IoResult<()> {
        let owned = path.to_path_buf();
        // `fsync`, not `fdatasync`: the latter is all that glommio's own `Directory::sync` does.
        let result = blocking(IoOp::Sync, path, move || File::open(owned)?.sync_all()).await;
        self.count(result, 1)
    }

    async fn sync_all(&self) -> IoResult<()> {
        let (root, flush_file) = (self.0.root.clone(), self.0.flush_file.clone());
        let result = blocking(IoOp::Sync, &self.0.probe.root, move || {
            nix::unistd::syncfs(&*root)?;
            // When direct overwrites left no metadata behind, XFS finds its log clean and `syncfs` sends the device no flush;
            // `fdatasync` of a regular file always does (as it does on ext4).
            flush_file.sync_data()
        })
        .await;
        self.count(result, 1)
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // A panic in a pool thread must not leave the shard waiting.
        let outcome = glommio::executor().spawn_blocking(move || std::panic::catch_unwind(AssertUnwindSafe(work))).await;
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    async fn space(&self) -> IoResult<DiskSpace> {
        let root = self.0.root.clone();
        let found = blocking(IoOp::List, &self.0.probe.root, move || {
            let found = nix::sys::statvfs::fstatvfs(&*root)?;
            let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
            Ok(DiskSpace { free: bytes(found.blocks_available()), total: bytes(found.blocks()) })
        })
        .await;
        self.count(found, 0)
    }

    async fn sleep(&self, duration: Duration) {
        // Nothing to wait for is a wish to give way, which a wait that is over at once would not do.
        if duration.is_zero() {
            return self.0.turn.take().await;
        }
        Sleep::new(duration).await;
    }
}

impl FileInner {
    fn error(&self, op: IoOp, position: Option<u64>, source: io::Error) -> IoError {
        IoError::new(op, &self.path, position, source)
    }

    fn check_aligned(&self, op: IoOp, position: u64, len: usize) -> IoResult<()> {
        let alignment = self.disk.probe.alignment;
        if position.is_multiple_of(alignment as u64) && len.is_multiple_of(alignment) {
            return Ok(());
        }
        let why = format!("{len} bytes at {position} are not aligned to {alignment}");
        Err(self.error(op, Some(position), io::Error::new(io::ErrorKind::InvalidInput, why)))
    }

    async fn write_whole(&self, buffer: Rc<DmaBuffer>, position: u64) -> IoResult<u64> {
        self.check_aligned(IoOp::Write, position, buffer.as_bytes().len())?;
        let len = buffer.as_bytes().len();
        let wrap = |at: usize, e: io::Error| self.error(IoOp::Write, Some(position + at as u64), e);
        let mut done = self.file.write_rc_at(buffer.clone(), position).await.map_err(|e| wrap(0, os_error(e)))?;
        // A short write is rare (a device nearly full, a signal): the rest goes through a copy.
        while done < len {
            let alignment = self.disk.probe.alignment;
            let from = done - done % alignment;
            let mut rest = glommio::allocate_dma_buffer(len - from);
            rest.as_bytes_mut().copy_from_slice(&buffer.as_bytes()[from..]);
            let written = self.file.write_at(rest, position + from as u64).await.map_err(|e| wrap(from, os_error(e)))?;
            if from + written <= done {
                return Err(wrap(done, io::Error::from(io::ErrorKind::WriteZero)));
            }
            done = from + written;
        }
        Ok(len as u64)
    }

    async fn read_some(&self, position: u64, len: usize) -> IoResult<Vec<u8>> {
        let alignment = self.disk.probe.alignment as u64;
        let (start, end) = (position - position % alignment, (position + len as u64).next_multiple_of(alignment));
        // Memory grows with what is there, not with what was asked for.
        let mut bytes = Vec::with_capacity(len.min(READS_AT_ONCE * READ_BYTES_MAX));
        let pieces = (start..end).step_by(READ_BYTES_MAX).map(async |at| {
            let want = READ_BYTES_MAX.min((end - at) as usize);
            (at, want, self.file.read_at_aligned(at, want).await)
        });
        let mut reads = std::pin::pin!(futures_util::stream::iter(pieces).buffered(READS_AT_ONCE));
        while let Some((at, want, read)) = reads.next().await {
            let read = read.map_err(|e| self.error(IoOp::Read, Some(at), os_error(e)))?;
            let skip = position.saturating_sub(at) as usize;
            if read.len() <= skip {
                break;
            }
            let take = (read.len() - skip).min(len - bytes.len());
            bytes.extend_from_slice(&read[skip..skip + take]);
            if read.len() < want {
                break;
            }
        }
        Ok(bytes)
    }
}

impl DiskFile for GlommioFile {
    type Buffer = DmaBuffer;

    async fn write_at(&self, buffer: Rc<DmaBuffer>, position: u64) -> IoResult<()> {
        let written = self.0.write_whole(buffer, position).await;
        let written = self.0.disk.count(written, |stats, bytes| {
            stats.writes += 1;
            stats.bytes_written += bytes;
        });
        written.map(drop)
    }

    async fn read_at(&self, position: u64, len: usize) -> IoResult<Vec<u8>> {
        let read = self.0.read_some(position, len).await;
        self.0.disk.count(read, |stats, bytes| {
            stats.reads += 1;
            stats.bytes_read += bytes.len() as u64;
        })
    }

    async fn sync(&self) -> IoResult<()> {
        let result = self.0.file.fdatasync().await;
        let result = result.map_err(|e| self.0.error(IoOp::Sync, None, os_error(e)));
        self.0.disk.count(result, |stats, _| stats.syncs += 1)
    }

    async fn size(&self) -> IoResult<u64> {
        let result = self.0.file.file_size().await;
        result.map_err(|e| self.0.error(IoOp::List, None, os_error(e)))
    }

    async fn allocate(&self, position: u64, len: u64) -> IoResult<()> {
        // The ring's FALLOCATE starts at 0; what is already there stays as it is.
        let result = self.0.file.pre_allocate(position + len, true).await;
        let result = match result.map_err(os_error) {
            // File systems without reservation (tmpfs has it, NFS and others may not) simply go without.
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            other => other,
        };
        let result = result.map_err(|e| self.0.error(IoOp::Allocate, Some(position), e));
        self.0.disk.count(result, |_, _| ())
    }

    async fn truncate(&self, size: u64) -> IoResult<()> {
        let result = self.0.file.truncate(size).await;
        let result = result.map_err(|e| self.0.error(IoOp::Truncate, Some(size), os_error(e)));
        self.0.disk.count(result, |_, _| ())
    }

    fn path(&self) -> &Path {
        &self.0.path
    }

    fn will_be_removed(&self) {
        self.0.removed.set(true);
    }
}

/// Runs a blocking call on glommio's pool; a panic in it becomes an error.
async fn blocking<T: Send + 'static>(op: IoOp, path: &Path, call: impl FnOnce() -> io::Result<T> + Send + 'static) -> IoResult<T> {
    let outcome = glommio::executor().spawn_blocking(move || std::panic::catch_unwind(AssertUnwindSafe(call))).await;
    outcome.unwrap_or_else(|_| Err(io::Error::other("the blocking call panicked"))).map_err(|e| IoError::new(op, path, None, e))
}

async fn write_small(path: &Path, bytes: &[u8], sync: bool) -> IoResult<()> {
    let (owned, bytes): (PathBuf, Vec<u8>) = (path.to_path_buf(), bytes.to_vec());
    let write = move || {
        let file = regular::open(File::options().write(true).create(true).truncate(true).mode(0o640), &owned);
        let mut file = file.map_err(|e| (IoOp::Open, e))?;
        file.write_all(&bytes).map_err(|e| (IoOp::Write, e))?;
        if sync { file.sync_all().map_err(|e| (IoOp::Sync, e)) } else { Ok(()) }
    };
    let outcome = blocking(IoOp::Write, path, move || Ok(write())).await?;
    outcome.map_err(|(op, e)| IoError::new(op, path, None, e))
}

fn fine_if_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn too_long(len: u64, len_max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes long, more than the {len_max} such a file can have"))
}

/// The operating system's error inside glommio's, with its number.
fn os_error<T: std::fmt::Debug>(error: GlommioError<T>) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}
