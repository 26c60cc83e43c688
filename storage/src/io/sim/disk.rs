//! The traits `Disk` and `DiskFile` on the simulated disk: each call becomes events of the model, with the checks a real file system would make.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::model::{Node, Op};
use super::{SIM_ALIGNMENT, SLEEP_POLLS, SimBuffer, SimDisk, SimFile, yield_now};
use crate::io::{DirEntry, Disk, DiskFile, IoError, IoOp, IoResult, OpenMode};
use crate::room::DiskSpace;

impl Disk for SimDisk {
    type File = SimFile;
    type Buffer = SimBuffer;

    fn alignment(&self) -> usize {
        SIM_ALIGNMENT
    }

    fn buffer(&self, len: usize) -> SimBuffer {
        assert!(len > 0 && len.is_multiple_of(SIM_ALIGNMENT), "buffer of {len} bytes is not aligned");
        SimBuffer(vec![0; len])
    }

    fn buffer_for_overwrite(&self, len: usize) -> SimBuffer {
        // Old bytes on purpose: whoever relies on zeros is found out.
        let mut buffer = self.buffer(len);
        buffer.0.fill(0xa5);
        buffer
    }

    fn now(&self) -> Duration {
        self.0.borrow().clock
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> IoResult<SimFile> {
        self.look(IoOp::Open, path, None).await?;
        let inode = match (self.node(path), mode) {
            (None, OpenMode::CreateNew) => {
                self.check_parent(path, IoOp::Open)?;
                let inode = self.new_inode();
                let create = Op::Create { path: path.to_path_buf(), inode };
                self.perform(create, IoOp::Open, path, None).await?;
                inode
            }
            (Some(_), OpenMode::CreateNew) => {
                return Err(IoError::new(IoOp::Open, path, None, io::Error::from_raw_os_error(libc::EEXIST)));
            }
            (Some(Node::File(inode)), _) => inode,
            (Some(Node::Dir), _) => {
                return Err(IoError::new(IoOp::Open, path, None, io::Error::from_raw_os_error(libc::EISDIR)));
            }
            (None, _) => return Err(not_found(IoOp::Open, path)),
        };
        Ok(SimFile {
            disk: self.clone(),
            inode,
            path: Rc::from(path),
            writable: mode != OpenMode::Read,
            dsync: mode == OpenMode::ReadWriteDsync,
        })
    }

    async fn open_for_send(&self, path: &Path) -> IoResult<Arc<OwnedFd>> {
        Err(IoError::new(IoOp::Open, path, None, io::Error::from(io::ErrorKind::Unsupported)))
    }

    async fn block_sums(&self, _file: &Arc<OwnedFd>, path: &Path, _range: Range<u64>, _block: u32) -> IoResult<(Vec<u32>, u64)> {
        Err(IoError::new(IoOp::Read, path, None, io::Error::from(io::ErrorKind::Unsupported)))
    }

    async fn read_file(&self, path: &Path, len_max: usize) -> IoResult<Option<Vec<u8>>> {
        self.look(IoOp::Read, path, None).await?;
        let bytes = match self.node(path) {
            None => return Ok(None),
            Some(Node::Dir) => return Err(IoError::new(IoOp::Read, path, None, io::Error::from_raw_os_error(libc::EISDIR))),
            Some(Node::File(inode)) => self.0.borrow().model.content(inode).map(|c| c.read(0, usize::MAX)).unwrap_or_default(),
        };
        if bytes.len() > len_max {
            let why = format!("{} bytes long, more than the {len_max} such a file can have", bytes.len());
            return Err(IoError::new(IoOp::Read, path, None, io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        Ok(Some(bytes))
    }

    async fn write_file(&self, path: &Path, bytes: &[u8]) -> IoResult<()> {
        self.write_small(path, bytes, true).await
    }

    async fn write_file_unsynced(&self, path: &Path, bytes: &[u8]) -> IoResult<()> {
        self.write_small(path, bytes, false).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> IoResult<()> {
        self.check_parent(to, IoOp::Rename)?;
        match self.node(from) {
            Some(Node::File(_)) => {}
            Some(Node::Dir) => {
                let why = io::Error::new(io::ErrorKind::Unsupported, "the simulated disk renames files only");
                return Err(IoError::new(IoOp::Rename, from, None, why));
            }
            None => return Err(not_found(IoOp::Rename, from)),
        }
        let op = Op::Rename { from: from.to_path_buf(), to: to.to_path_buf() };
        self.perform(op, IoOp::Rename, from, None).await
    }

    async fn remove_file(&self, path: &Path) -> IoResult<()> {
        match self.node(path) {
            None => self.look(IoOp::Remove, path, None).await,
            Some(_) => self.perform(Op::Remove { path: path.to_path_buf() }, IoOp::Remove, path, None).await,
        }
    }

    async fn create_dir(&self, path: &Path) -> IoResult<()> {
        self.check_parent(path, IoOp::CreateDir)?;
        match self.node(path) {
            Some(Node::Dir) => self.look(IoOp::CreateDir, path, None).await,
            Some(Node::File(_)) => Err(IoError::new(IoOp::CreateDir, path, None, io::Error::from_raw_os_error(libc::EEXIST))),
            None => self.perform(Op::CreateDir { path: path.to_path_buf() }, IoOp::CreateDir, path, None).await,
        }
    }

    async fn remove_dir_all(&self, path: &Path) -> IoResult<()> {
        match self.node(path) {
            None => self.look(IoOp::Remove, path, None).await,
            Some(_) => self.perform(Op::RemoveDirAll { path: path.to_path_buf() }, IoOp::Remove, path, None).await,
        }
    }

    async fn list_dir(&self, path: &Path) -> IoResult<Vec<DirEntry>> {
        self.look(IoOp::List, path, None).await?;
        if self.node(path) != Some(Node::Dir) {
            return Err(not_found(IoOp::List, path));
        }
        let state = self.0.borrow();
        let children = state.model.names().iter().filter(|(name, _)| name.parent() == Some(path));
        let entries = children.map(|(name, node)| DirEntry {
            name: name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            is_dir: *node == Node::Dir,
            size_bytes: match node {
                Node::File(inode) => state.model.content(*inode).map_or(0, |c| c.size()),
                Node::Dir => 0,
            },
        });
        Ok(entries.collect())
    }

    async fn sync_dir(&self, path: &Path) -> IoResult<()> {
        if self.node(path) != Some(Node::Dir) {
            return Err(not_found(IoOp::Sync, path));
        }
        self.perform(Op::SyncDir { path: path.to_path_buf() }, IoOp::Sync, path, None).await
    }

    async fn sync_all(&self) -> IoResult<()> {
        self.perform(Op::SyncAll, IoOp::Sync, Path::new("/"), None).await
    }

    async fn space(&self) -> IoResult<DiskSpace> {
        self.look(IoOp::List, Path::new("/"), None).await?;
        Ok(self.room())
    }

    async fn sleep(&self, duration: Duration) {
        let sleeper = {
            let state = &mut *self.0.borrow_mut();
            state.next_sleeper += 1;
            let key = (state.clock + duration, state.next_sleeper);
            state.sleepers.insert(key);
            Sleeper { disk: self.clone(), key }
        };
        let mut polls = 0;
        loop {
            yield_now().await;
            polls += 1;
            let state = &mut *self.0.borrow_mut();
            if state.is_halted() {
                continue;
            }
            let mine = sleeper.key.0;
            if state.clock_runs && polls >= SLEEP_POLLS && state.sleepers.first() == Some(&sleeper.key) {
                state.clock = state.clock.max(mine);
            }
            if state.clock >= mine {
                break;
            }
        }
    }
}

/// Takes a sleeper off the list when it wakes or is dropped.
struct Sleeper {
    disk: SimDisk,
    key: (Duration, u64),
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.disk.0.borrow_mut().sleepers.remove(&self.key);
    }
}

impl SimFile {
    fn check_writable(&self, op: IoOp, position: u64) -> IoResult<()> {
        if self.writable {
            return Ok(());
        }
        Err(IoError::new(op, &self.path, Some(position), io::Error::from_raw_os_error(libc::EBADF)))
    }
}

impl DiskFile for SimFile {
    type Buffer = SimBuffer;

    async fn write_at(&self, buffer: Rc<SimBuffer>, position: u64) -> IoResult<()> {
        self.check_writable(IoOp::Write, position)?;
        if !position.is_multiple_of(SIM_ALIGNMENT as u64) || !buffer.0.len().is_multiple_of(SIM_ALIGNMENT) {
            let why = format!("{} bytes at {position} are not aligned to {SIM_ALIGNMENT}", buffer.0.len());
            return Err(IoError::new(IoOp::Write, &self.path, Some(position), io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let end = position + buffer.0.len() as u64;
        self.disk.check_space(Some(self.inode), end, IoOp::Write, &self.path)?;
        let write = Op::Write { inode: self.inode, position, data: Rc::from(&buffer.0[..]), dsync: self.dsync };
        self.disk.perform(write, IoOp::Write, &self.path, Some(position)).await
    }

    async fn read_at(&self, position: u64, len: usize) -> IoResult<Vec<u8>> {
        self.disk.look(IoOp::Read, &self.path, Some(position)).await?;
        let state = self.disk.0.borrow();
        Ok(state.model.content(self.inode).map(|c| c.read(position, len)).unwrap_or_default())
    }

    async fn sync(&self) -> IoResult<()> {
        let op = Op::SyncFile { inode: self.inode };
        self.disk.perform(op, IoOp::Sync, &self.path, None).await
    }

    async fn size(&self) -> IoResult<u64> {
        self.disk.look(IoOp::List, &self.path, None).await?;
        Ok(self.disk.0.borrow().model.content(self.inode).map_or(0, |c| c.size()))
    }

    async fn allocate(&self, position: u64, len: u64) -> IoResult<()> {
        self.check_writable(IoOp::Allocate, position)?;
        self.disk.look(IoOp::Allocate, &self.path, Some(position)).await?;
        self.disk.check_space(Some(self.inode), position + len, IoOp::Allocate, &self.path)
    }

    async fn truncate(&self, size: u64) -> IoResult<()> {
        self.check_writable(IoOp::Truncate, size)?;
        let op = Op::SetSize { inode: self.inode, size };
        self.disk.perform(op, IoOp::Truncate, &self.path, Some(size)).await
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn not_found(op: IoOp, path: &Path) -> IoError {
    IoError::new(op, path, None, io::Error::from_raw_os_error(libc::ENOENT))
}
