//! `OfflineDisk`: reads files as they are, on the caller's thread, without an executor; refuses every change. For tools that look at a stopped broker's directory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{DirEntry, Disk, DiskBuffer, DiskFile, IoError, IoOp, IoResult, OpenMode, regular};
use crate::limits::ALIGNMENT_MIN;
use crate::room::DiskSpace;

/// Reads only.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfflineDisk;

/// A file open for reading.
#[derive(Clone, Debug)]
pub struct OfflineFile(Rc<(File, PathBuf)>);

/// Never written.
#[derive(Debug)]
pub struct OfflineBuffer(Vec<u8>);

impl DiskBuffer for OfflineBuffer {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn shorten(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

fn refuse<T>(op: IoOp, path: &Path) -> IoResult<T> {
    Err(IoError::new(op, path, None, io::Error::from(io::ErrorKind::Unsupported)))
}

fn wrap<T>(op: IoOp, path: &Path, result: io::Result<T>) -> IoResult<T> {
    result.map_err(|e| IoError::new(op, path, None, e))
}

impl Disk for OfflineDisk {
    type File = OfflineFile;
    type Buffer = OfflineBuffer;

    fn alignment(&self) -> usize {
        ALIGNMENT_MIN
    }

    fn buffer(&self, len: usize) -> OfflineBuffer {
        OfflineBuffer(vec![0; len])
    }

    fn buffer_for_overwrite(&self, len: usize) -> OfflineBuffer {
        self.buffer(len)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> IoResult<OfflineFile> {
        if mode != OpenMode::Read {
            return refuse(IoOp::Open, path);
        }
        Ok(OfflineFile(Rc::new((wrap(IoOp::Open, path, regular::open(File::options().read(true), path))?, path.to_path_buf()))))
    }

    async fn open_for_send(&self, path: &Path) -> IoResult<Arc<OwnedFd>> {
        refuse(IoOp::Open, path)
    }

    async fn block_sums(&self, _file: &Arc<OwnedFd>, path: &Path, _range: Range<u64>, _block: u32) -> IoResult<(Vec<u32>, u64)> {
        refuse(IoOp::Read, path)
    }

    async fn read_file(&self, path: &Path, len_max: usize) -> IoResult<Option<Vec<u8>>> {
        let file = match regular::open(File::options().read(true), path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => wrap(IoOp::Open, path, other)?,
        };
        let mut bytes = Vec::new();
        wrap(IoOp::Read, path, file.take(len_max as u64 + 1).read_to_end(&mut bytes))?;
        if bytes.len() > len_max {
            let why = format!("longer than the {len_max} bytes such a file can have");
            return wrap(IoOp::Read, path, Err(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        Ok(Some(bytes))
    }

    async fn write_file(&self, path: &Path, _bytes: &[u8]) -> IoResult<()> {
        refuse(IoOp::Write, path)
    }

    async fn write_file_unsynced(&self, path: &Path, _bytes: &[u8]) -> IoResult<()> {
        refuse(IoOp::Write, path)
    }

    async fn rename(&self, from: &Path, _to: &Path) -> IoResult<()> {
        refuse(IoOp::Rename, from)
    }

    async fn remove_file(&self, path: &Path) -> IoResult<()> {
        refuse(IoOp::Remove, path)
    }

    async fn create_dir(&self, path: &Path) -> IoResult<()> {
        refuse(IoOp::CreateDir, path)
    }

    async fn remove_dir_all(&self, path: &Path) -> IoResult<()> {
        refuse(IoOp::Remove, path)
    }

    async fn list_dir(&self, path: &Path) -> IoResult<Vec<DirEntry>> {
        wrap(IoOp::List, path, regular::list(path))
    }

    async fn sync_dir(&self, path: &Path) -> IoResult<()> {
        refuse(IoOp::Sync, path)
    }

    async fn sync_all(&self) -> IoResult<()> {
        refuse(IoOp::Sync, Path::new("/"))
    }

    async fn space(&self) -> IoResult<DiskSpace> {
        refuse(IoOp::List, Path::new("/"))
    }

    async fn sleep(&self, _duration: Duration) {}
}

impl DiskFile for OfflineFile {
    type Buffer = OfflineBuffer;

    async fn write_at(&self, _buffer: Rc<OfflineBuffer>, _position: u64) -> IoResult<()> {
        refuse(IoOp::Write, &self.0.1)
    }

    async fn read_at(&self, position: u64, len: usize) -> IoResult<Vec<u8>> {
        let (file, path) = &*self.0;
        let size = wrap(IoOp::Read, path, file.metadata())?.len();
        // Memory goes by what is there, not by what was asked for.
        let mut bytes = vec![0; len.min(usize::try_from(size.saturating_sub(position)).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut bytes, position).map_err(|e| IoError::new(IoOp::Read, path, Some(position), e))?;
        Ok(bytes)
    }

    async fn sync(&self) -> IoResult<()> {
        refuse(IoOp::Sync, &self.0.1)
    }

    async fn size(&self) -> IoResult<u64> {
        Ok(wrap(IoOp::List, &self.0.1, self.0.0.metadata())?.len())
    }

    async fn allocate(&self, _position: u64, _len: u64) -> IoResult<()> {
        refuse(IoOp::Allocate, &self.0.1)
    }

    async fn truncate(&self, _size: u64) -> IoResult<()> {
        refuse(IoOp::Truncate, &self.0.1)
    }

    fn path(&self) -> &Path {
        &self.0.1
    }
}
