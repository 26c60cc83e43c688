//! The files of the metadata log: `quorum/<first sequence, 16 hex digits>.log`, written one flushed frame at a time.
//!
//! A file begins with a `State` frame that repeats what older files said beside entries, so that they can be removed once their entries
//! are in a snapshot. Files are pre-written with zeros in steps, and opened so that each write is durable when it completes: an append is
//! one overwrite. A file ends at a size; the next append begins the next one. After a failed write nothing is written any more.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use coreline_storage::error::{StorageError, StorageResult};
use coreline_storage::io::{Disk, DiskBuffer, DiskFile, OpenMode};

use super::frame::{self, BLOCK_BYTES, BODY_BYTES_MAX, Scan, ScanError};
use super::log_content::{FrameError, LogContent};
use super::stored::FrameBody;

/// Sizes of the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFileConfig {
    /// A file of this many bytes takes no more frames.
    pub file_bytes_max: u64,
    /// Zeros written ahead of the frames, in bytes; a multiple of 4096.
    pub prewrite_bytes: usize,
}

impl Default for LogFileConfig {
    fn default() -> Self {
        LogFileConfig { file_bytes_max: 4 * 1024 * 1024, prewrite_bytes: 256 * 1024 }
    }
}

/// The files, open for appending.
pub struct LogFiles<D: Disk> {
    disk: D,
    dir: PathBuf,
    node: u64,
    config: LogFileConfig,
    sealed: VecDeque<Sealed>,
    active: Option<Active<D::File>>,
    next_sequence: u64,
    /// For salts: drawn once per process, then counted.
    salt: u64,
    failed: Option<Arc<str>>,
    bytes_written: u64,
}

struct Sealed {
    path: PathBuf,
    /// Highest index of its entries, if it has any.
    last_index: Option<u64>,
}

struct Active<F> {
    file: F,
    path: PathBuf,
    salt: u64,
    end: u64,
    prewritten: u64,
    last_index: Option<u64>,
}

impl<D: Disk> LogFiles<D> {
    /// Reads all files below `dir` (created if absent), cuts a torn tail, and opens the last file for appending.
    ///
    /// # Errors
    /// `Corrupt` names the file and position of damage before the last frame; `WrongIdentity` when the log is another node's;
    /// `NewerFormat`; `Io`.
    pub async fn open(disk: D, dir: &Path, node: u64, salt: u64, config: LogFileConfig) -> StorageResult<(LogFiles<D>, LogContent)> {
        let alignment = disk.alignment();
        if !BLOCK_BYTES.is_multiple_of(alignment) {
            let why = "the metadata log writes blocks of 4096 bytes: use a device of that block size or less";
            return Err(StorageError::InvalidConfig { name: "device alignment", value: alignment as u64, why });
        }
        disk.create_dir(dir).await?;
        if let Some(parent) = dir.parent() {
            disk.sync_dir(parent).await?;
        }
        let mut files = LogFiles {
            disk,
            dir: dir.to_path_buf(),
            node,
            config,
            sealed: VecDeque::new(),
            active: None,
            next_sequence: 0,
            salt,
            failed: None,
            bytes_written: 0,
        };
        let content = files.recover().await?;
        Ok((files, content))
    }

    async fn recover(&mut self) -> StorageResult<LogContent> {
        let mut content = LogContent::default();
        let mut names: Vec<(u64, PathBuf)> = Vec::new();
        for entry in self.disk.list_dir(&self.dir).await? {
            let number = entry.name.strip_suffix(".log").and_then(|stem| u64::from_str_radix(stem, 16).ok());
            if let Some(number) = number.filter(|_| !entry.is_dir) {
                names.push((number, self.dir.join(&entry.name)));
            }
        }
        names.sort_unstable();
        let count = names.len();
        for (place, (number, path)) in names.into_iter().enumerate() {
            let last = place + 1 == count;
            if place > 0 && number != self.next_sequence {
                let why = format!("the log goes on at frame {number}, frame {} is missing", self.next_sequence);
                return Err(StorageError::corrupt(&path, None, why));
            }
            let len_max = self.config.file_bytes_max as usize + BODY_BYTES_MAX + self.config.prewrite_bytes;
            let bytes = self.disk.read_file(&path, len_max).await?.unwrap_or_default();
            let scan = scan_file(&path, &bytes, number)?;
            if let Some(why) = scan.torn.as_ref().filter(|_| !last) {
                return Err(StorageError::corrupt(&path, Some(scan.end), format!("{why}, and a later file exists")));
            }
            if scan.frames.is_empty() {
                // Created, but its first frame was never flushed: nothing was acknowledged from it. The next append begins it anew.
                if !last {
                    return Err(StorageError::corrupt(&path, Some(0), "it is empty, and a later file exists"));
                }
                tracing::warn!(path = %path.display(), "an unfinished metadata log file is removed");
                self.disk.remove_file(&path).await?;
                self.disk.sync_dir(&self.dir).await?;
                self.next_sequence = self.next_sequence.max(number);
                break;
            }
            let last_index = self.take_frames(&path, &scan, &mut content)?;
            self.next_sequence = scan.frames.last().map_or(number, |frame| frame.sequence) + 1;
            self.add_file(path, &scan, bytes.len(), last_index, last).await?;
        }
        if content.missing > content.purged {
            let why = format!("entries up to {:?} are missing and no snapshot holds them", content.missing.map(|id| id.index));
            return Err(StorageError::corrupt(&self.dir, None, why));
        }
        content.missing = None;
        if let Some(committed) = content.committed.filter(|committed| Some(*committed) > content.last()) {
            let why = format!("entry {committed} was committed, the last one found is {:?}", content.last().map(|id| id.index));
            return Err(StorageError::corrupt(&self.dir, None, why));
        }
        Ok(content)
    }

    fn take_frames(&self, path: &Path, scan: &Scan, content: &mut LogContent) -> StorageResult<Option<u64>> {
        let mut last_index = None;
        for (place, frame) in scan.frames.iter().enumerate() {
            let is_state = matches!(frame.body, FrameBody::State { .. });
            if is_state != (place == 0) {
                return Err(StorageError::corrupt(path, Some(frame.position), "a file begins with its state, and only there"));
            }
            if let FrameBody::Entries { entries, .. } = &frame.body {
                last_index = last_index.max(entries.last().map(|entry| entry.id.index));
            }
            content.take(&frame.body, self.node).map_err(|error| match error {
                FrameError::WrongNode(found) => StorageError::WrongIdentity {
                    path: self.dir.clone(),
                    found: format!("node {found}"),
                    expected: format!("node {}", self.node),
                },
                FrameError::Contradiction(why) => StorageError::corrupt(path, Some(frame.position), why),
            })?;
        }
        Ok(last_index)
    }

    async fn add_file(&mut self, path: PathBuf, scan: &Scan, len: usize, last_index: Option<u64>, last: bool) -> StorageResult<()> {
        if !last {
            self.sealed.push_back(Sealed { path, last_index });
            return Ok(());
        }
        let file = self.disk.open(&path, OpenMode::ReadWriteDsync).await?;
        let prewritten = (len / BLOCK_BYTES * BLOCK_BYTES) as u64;
        if let Some(why) = &scan.torn {
            tracing::warn!(
                path = %path.display(), position = scan.end, why,
                "the metadata log ends in a frame that was never acknowledged: it is cut"
            );
            // Zeroed rather than left, so that no later start takes its remains for damage.
            let mut position = scan.end;
            while position < prewritten {
                let step = (prewritten - position).min(self.config.prewrite_bytes as u64) as usize;
                file.write_at(Rc::new(self.disk.buffer(step)), position).await?;
                position += step as u64;
            }
        }
        let salt = scan.frames.first().map_or(0, |frame| frame.salt);
        self.active = Some(Active { file, path, salt, end: scan.end, prewritten: prewritten.max(scan.end), last_index });
        Ok(())
    }

    /// Writes frames that describe a change of `content` (which still is as before the change). Durable when it returns.
    ///
    /// # Errors
    /// `Io`; `Poisoned` ever after.
    pub async fn append(&mut self, bodies: &[FrameBody], content: &LogContent) -> StorageResult<()> {
        if let Some(cause) = &self.failed {
            return Err(StorageError::Poisoned { cause: Arc::clone(cause) });
        }
        let result = self.write(bodies, content).await;
        if let Err(error) = &result {
            self.failed = Some(Arc::from(error.to_string()));
        }
        result
    }

    async fn write(&mut self, bodies: &[FrameBody], content: &LogContent) -> StorageResult<()> {
        if self.active.as_ref().is_some_and(|active| active.end >= self.config.file_bytes_max)
            && let Some(full) = self.active.take()
        {
            self.sealed.push_back(Sealed { path: full.path, last_index: full.last_index });
        }
        let fresh = self.active.is_none();
        let mut bytes = Vec::new();
        let salt = match &self.active {
            Some(active) => active.salt,
            None => {
                self.salt = self.salt.wrapping_add(1);
                self.salt
            }
        };
        let mut sequence = self.next_sequence;
        let state = fresh.then(|| content.state_frame(self.node));
        for body in state.iter().chain(bodies) {
            frame::encode(&mut bytes, sequence, salt, body);
            sequence += 1;
        }
        if fresh {
            self.create(salt, &bytes).await?;
        } else {
            self.extend(&bytes).await?;
        }
        self.next_sequence = sequence;
        self.bytes_written += bytes.len() as u64;
        if let Some(active) = &mut self.active {
            active.end += bytes.len() as u64;
            for body in bodies {
                if let FrameBody::Entries { entries, .. } = body {
                    active.last_index = active.last_index.max(entries.last().map(|entry| entry.id.index));
                }
            }
        }
        Ok(())
    }

    async fn create(&mut self, salt: u64, bytes: &[u8]) -> StorageResult<()> {
        let path = self.dir.join(format!("{:016x}.log", self.next_sequence));
        let file = self.disk.open(&path, OpenMode::CreateNew).await?;
        let len = bytes.len().next_multiple_of(self.config.prewrite_bytes);
        file.write_at(self.padded(bytes, len), 0).await?;
        file.sync().await?;
        self.disk.sync_dir(&self.dir).await?;
        let file = self.disk.open(&path, OpenMode::ReadWriteDsync).await?;
        self.active = Some(Active { file, path, salt, end: 0, prewritten: len as u64, last_index: None });
        Ok(())
    }

    async fn extend(&mut self, bytes: &[u8]) -> StorageResult<()> {
        let Some(active) = &self.active else { return Ok(()) };
        let (file, end) = (active.file.clone(), active.end);
        let needed = end + bytes.len() as u64;
        let len = if needed <= active.prewritten { bytes.len() } else { bytes.len() + self.config.prewrite_bytes };
        file.write_at(self.padded(bytes, len), end).await?;
        if let Some(active) = &mut self.active {
            active.prewritten = active.prewritten.max(end + len as u64);
        }
        Ok(())
    }

    fn padded(&self, bytes: &[u8], len: usize) -> Rc<D::Buffer> {
        let mut buffer = self.disk.buffer(len);
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Rc::new(buffer)
    }

    /// Removes the files all of whose entries have an index up to `index`, the oldest first.
    pub async fn remove_through(&mut self, index: u64) -> StorageResult<()> {
        let mut removed = false;
        while self.sealed.front().is_some_and(|oldest| oldest.last_index.is_none_or(|last| last <= index))
            && let Some(oldest) = self.sealed.pop_front()
        {
            self.disk.remove_file(&oldest.path).await?;
            removed = true;
        }
        if removed {
            self.disk.sync_dir(&self.dir).await?;
        }
        Ok(())
    }

    /// Bytes of frames written since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Number of files.
    pub fn file_count(&self) -> usize {
        self.sealed.len() + usize::from(self.active.is_some())
    }
}

fn scan_file(path: &Path, bytes: &[u8], number: u64) -> StorageResult<Scan> {
    frame::scan(bytes, Some(number)).map_err(|error| match error {
        ScanError::Damaged { position, why } => StorageError::corrupt(path, Some(position), why),
        ScanError::NewerFormat { found } => StorageError::NewerFormat { path: path.to_path_buf(), found, supported: frame::FORMAT_VERSION },
    })
}
