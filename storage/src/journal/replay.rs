//! Reading a journal back after a crash: every entry of the last generation that was not released, in order, up to the first bad or missing frame.
//!
//! Each frame says which frames were durable when it was sent. So a bad frame can be told apart: when any valid frame of the generation knows it as
//! durable, or the journal's state does, the disk has lost acknowledged bytes ([`ReplayEnd::Corrupt`]); otherwise it is a write that the crash interrupted ([`ReplayEnd::Torn`]).

use std::path::{Path, PathBuf};

use super::frame::{self, FRAME_HEADER_BYTES, FrameHeader};
use super::recycle::{self, JournalState};
use super::{EntryHeader, Proof, ReplayEnd, ReplayReport, Ticket};
use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, DiskFile, OpenMode};
use crate::limits::ALIGNMENT_MIN;

/// Bytes read at once from the file that is being read.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Bytes read at once when only the first frame of a file is looked at.
const FIRST_READ_BYTES: usize = 4096;

type Visit<'a> = &'a mut dyn FnMut(EntryHeader, &[u8]) -> StorageResult<()>;

/// Reads the frames of the last generation in `dir`, in order, and gives each whole entry to `visit`; stops at the first bad or missing frame and says
/// in the report why. Frames that were released are left out as far as that is known. An error of `visit` ends the replay and is returned. Changes nothing
/// on the disk. A directory that does not exist or was never opened as a journal has nothing to read.
pub async fn replay<D: Disk>(disk: &D, dir: &Path, visit: Visit<'_>) -> StorageResult<ReplayReport> {
    let mut report = ReplayReport {
        generation: 0,
        base_table: 0,
        newest_table: 0,
        released: Ticket(0),
        frames: 0,
        entries: 0,
        data_bytes: 0,
        first: Ticket(0),
        last: Ticket(0),
        end: ReplayEnd::Empty,
    };
    let found = match recycle::list(disk, dir).await {
        Err(StorageError::Io(e)) if e.is_not_found() => return Ok(report),
        other => other?,
    };
    let (_, state) = JournalState::read(disk, dir).await?;
    let Some((mut state, state_damaged)) = state else {
        if found.is_empty() {
            return Ok(report);
        }
        return Err(StorageError::corrupt(dir, None, "there are frames but no journal state"));
    };
    let mut files = Vec::new();
    for (_, path, size) in found {
        files.push(FrameFile::open(disk, path, size, state).await?);
    }
    let generation = files.iter().filter_map(|f| f.first).map(|f| f.generation).max().unwrap_or(0);
    if generation > state.generation {
        if !state_damaged {
            let why = format!("the journal state says generation {}, there are frames of {generation}", state.generation);
            return Err(StorageError::corrupt(dir, None, why));
        }
        // The damaged copy was the newer one; the frames say what it said.
        state = JournalState { generation, released: 0, reached: 0, base: 0, table: 0, ..state };
        files.iter_mut().for_each(|f| f.state = state);
    }
    (report.generation, report.base_table, report.newest_table) = (state.generation, state.base, state.table);
    Replay { dir, released: state.released, reached: state.reached, report, visit, entry: None, state_damaged }.read(files).await
}

struct Replay<'a> {
    dir: &'a Path,
    released: u64,
    /// Frames up to here were durable.
    reached: u64,
    report: ReplayReport,
    visit: Visit<'a>,
    /// An entry of which not all fragments were seen.
    entry: Option<(EntryHeader, u32, Vec<u8>)>,
    state_damaged: bool,
}

impl Replay<'_> {
    async fn read<D: Disk>(mut self, mut files: Vec<FrameFile<D>>) -> StorageResult<ReplayReport> {
        files.sort_by_key(|f| f.first_sequence().unwrap_or(u64::MAX));
        self.released = files.iter().filter_map(|f| f.first).map(|f| f.released).fold(self.released, u64::max);
        if self.state_damaged {
            // The copy that cannot be read may have been the newer one: the frames say what it said.
            for file in &mut files {
                self.released = self.released.max(file.newest_released().await?);
            }
        }
        self.report.released = Ticket(self.released);
        // A file is wholly released when the next begins at or below the first frame that is not.
        let released = self.released;
        let begins_released = |f: &FrameFile<D>| f.first_sequence().is_some_and(|s| s <= released + 1);
        let begin = files.iter().filter(|f| begins_released(f)).count().saturating_sub(1);
        let mut chain: Vec<FrameFile<D>> = files.split_off(begin);

        let mut expected = match chain.first().and_then(FrameFile::first_sequence) {
            None => self.released + 1,
            Some(first) => first.min(self.released + 1),
        };
        let mut stopped: Option<(usize, u64)> = None;
        for (index, file) in chain.iter_mut().enumerate() {
            if file.first_sequence() != Some(expected) {
                break;
            }
            let position = self.read_file(file, 0, &mut expected).await?;
            file.close_window();
            stopped = Some((index, position));
        }
        if stopped.is_none() || expected <= self.released {
            // What is missing is not needed any more: go on with the first frame that is, wherever it lies.
            expected = expected.max(self.released + 1);
            stopped = self.read_from(&mut chain, &mut expected).await?;
        }
        self.report.end = self.classify(&mut chain, stopped, expected).await?;
        Ok(self.report)
    }

    /// Looks for frame `expected` anywhere and reads on from it; where reading stopped, when it was there.
    async fn read_from<D: Disk>(&mut self, chain: &mut [FrameFile<D>], expected: &mut u64) -> StorageResult<Option<(usize, u64)>> {
        let mut stopped = None;
        let mut found = true;
        // A file whose first frame is damaged stands behind all others: what follows its frames may be in a file before it.
        while std::mem::take(&mut found) {
            for (index, file) in chain.iter_mut().enumerate() {
                if file.first_sequence().is_some_and(|first| first > *expected) {
                    continue;
                }
                let mut position = 0;
                while position < file.size {
                    let Some((header, _)) = file.frame_at(position).await? else {
                        position += ALIGNMENT_MIN as u64;
                        continue;
                    };
                    if header.sequence == *expected {
                        position = self.read_file(file, position, expected).await?;
                        stopped = Some((index, position));
                        found = true;
                        break;
                    }
                    position += u64::from(header.len);
                }
                file.close_window();
            }
        }
        Ok(stopped)
    }

    /// Reads frames from a position on while they follow each other; returns the position behind the last.
    async fn read_file<D: Disk>(&mut self, file: &mut FrameFile<D>, from: u64, expected: &mut u64) -> StorageResult<u64> {
        let mut position = from;
        loop {
            let path = file.path.clone();
            let Some((header, bytes)) = file.frame_at(position).await? else {
                return Ok(position);
            };
            if header.sequence != *expected && !planted!(SequenceNotChecked) {
                return Ok(position);
            }
            self.report.released = self.report.released.max(Ticket(header.released));
            self.take_frame(&path, position, &header, bytes)?;
            *expected += 1;
            position += u64::from(header.len);
        }
    }

    fn take_frame(&mut self, path: &Path, position: u64, header: &FrameHeader, bytes: &[u8]) -> StorageResult<()> {
        if header.sequence <= self.released {
            return Ok(());
        }
        if self.report.first == Ticket(0) {
            self.report.first = Ticket(header.sequence);
        }
        self.report.last = Ticket(header.sequence);
        self.report.frames += 1;
        for entry in frame::entries(bytes, header) {
            let (entry, fragment, data) = entry.map_err(|why| StorageError::corrupt(path, Some(position), why))?;
            if fragment.at == 0 && data.len() == fragment.total as usize {
                self.entry = None;
                self.give(entry, data)?;
            } else if fragment.at == 0 {
                self.entry = Some((entry, fragment.total, data.to_vec()));
            } else if let Some((first, total, mut gathered)) = self.entry.take() {
                if (first, total, gathered.len()) != (entry, fragment.total, fragment.at as usize) {
                    return Err(StorageError::corrupt(path, Some(position), "fragments of an entry do not follow each other"));
                }
                gathered.extend_from_slice(data);
                if gathered.len() == total as usize {
                    self.give(entry, &gathered)?;
                } else {
                    self.entry = Some((entry, total, gathered));
                }
            }
            // A later fragment without its first: the first is in a released frame, so all of the entry is not needed.
        }
        Ok(())
    }

    fn give(&mut self, header: EntryHeader, data: &[u8]) -> StorageResult<()> {
        self.report.entries += 1;
        self.report.data_bytes += data.len() as u64;
        (self.visit)(header, data)
    }

    /// Why reading stopped before frame `expected`: looks for later frames, and for one that knows `expected` as durable.
    async fn classify<D: Disk>(
        &self,
        chain: &mut [FrameFile<D>],
        stopped: Option<(usize, u64)>,
        expected: u64,
    ) -> StorageResult<ReplayEnd> {
        let (mut proof, mut later) = (None, false);
        for (index, file) in chain.iter_mut().enumerate() {
            let from = match stopped {
                Some((last, position)) if index == last => position,
                // All of it comes before.
                Some(_) if file.first_sequence().is_some_and(|first| first < expected) => continue,
                _ => 0,
            };
            let mut position = from;
            while position < file.size {
                let Some((header, _)) = file.frame_at(position).await? else {
                    position += ALIGNMENT_MIN as u64;
                    continue;
                };
                if header.sequence >= expected {
                    later = true;
                    if header.completed >= expected {
                        proof = proof.max(Some(header.sequence));
                    }
                }
                position += u64::from(header.len);
            }
            file.close_window();
        }
        let (file, position) = match stopped {
            Some((index, position)) => (chain[index].path.clone(), position),
            None => (self.dir.to_path_buf(), 0),
        };
        let proof = proof.map(|frame| Proof::Frame(Ticket(frame)));
        if let Some(proof) = proof.or_else(|| (expected <= self.reached).then_some(Proof::State(Ticket(self.reached)))) {
            return Ok(ReplayEnd::Corrupt { file, position, expected: Ticket(expected), proof });
        }
        let begun = match stopped {
            Some((index, position)) => chain[index].peek_at(position).await?.is_some_and(|h| h.sequence == expected),
            None => false,
        };
        Ok(match (begun || later, stopped) {
            (true, _) => ReplayEnd::Torn { file, position },
            (false, Some(_)) => ReplayEnd::End,
            (false, None) => ReplayEnd::Empty,
        })
    }
}

/// A file of frames, read through a window.
struct FrameFile<D: Disk> {
    path: PathBuf,
    file: D::File,
    size: u64,
    state: JournalState,
    /// Its first frame, when that is valid and of this journal; of the last generation or a later one.
    first: Option<FrameHeader>,
    /// One piece of the file; empty while the file is not being read.
    window: Vec<u8>,
    window_start: u64,
    read_bytes: usize,
}

impl<D: Disk> FrameFile<D> {
    async fn open(disk: &D, path: PathBuf, size: u64, state: JournalState) -> StorageResult<FrameFile<D>> {
        let file = disk.open(&path, OpenMode::Read).await?;
        let mut opened =
            FrameFile { path, file, size, state, first: None, window: Vec::new(), window_start: 0, read_bytes: FIRST_READ_BYTES };
        opened.first = opened.any_frame_at(0).await?.map(|(header, _)| header).filter(|h| h.generation >= state.generation);
        opened.close_window();
        opened.read_bytes = READ_BYTES;
        Ok(opened)
    }

    /// The newest released mark in any of its frames.
    async fn newest_released(&mut self) -> StorageResult<u64> {
        let (mut newest, mut position) = (0, 0);
        while position < self.size {
            let header = self.frame_at(position).await?.map(|(header, _)| header);
            newest = newest.max(header.map_or(0, |h| h.released));
            position += header.map_or(ALIGNMENT_MIN as u64, |h| u64::from(h.len));
        }
        self.close_window();
        Ok(newest)
    }

    /// Gives the window's memory back: there may be thousands of files.
    fn close_window(&mut self) {
        self.window = Vec::new();
    }

    fn first_sequence(&self) -> Option<u64> {
        self.first.filter(|f| f.generation == self.state.generation).map(|f| f.sequence)
    }

    /// The header at `position`, unchecked but of this journal's last generation.
    async fn peek_at(&mut self, position: u64) -> StorageResult<Option<FrameHeader>> {
        let Some(head) = self.bytes(position, FRAME_HEADER_BYTES).await? else {
            return Ok(None);
        };
        let header = frame::peek(head);
        Ok(header.filter(|h| h.journal == self.state.journal && h.generation == self.state.generation))
    }

    /// The valid frame of the last generation at `position`.
    async fn frame_at(&mut self, position: u64) -> StorageResult<Option<(FrameHeader, &[u8])>> {
        let generation = self.state.generation;
        let found = self.any_frame_at(position).await?;
        Ok(found.filter(|(h, _)| h.generation == generation || planted!(GenerationNotChecked)))
    }

    async fn any_frame_at(&mut self, position: u64) -> StorageResult<Option<(FrameHeader, &[u8])>> {
        let journal = self.state.journal;
        let Some(head) = self.bytes(position, FRAME_HEADER_BYTES).await? else {
            return Ok(None);
        };
        let Some(header) = frame::peek(head).filter(|h| h.journal == journal) else {
            return Ok(None);
        };
        let Some(bytes) = self.bytes(position, header.len as usize).await? else {
            return Ok(None);
        };
        Ok(frame::check(bytes).map(|header| (header, bytes)))
    }

    /// `len` bytes at `position`; `None` when the file ends before.
    async fn bytes(&mut self, position: u64, len: usize) -> StorageResult<Option<&[u8]>> {
        let inside = position >= self.window_start && position + len as u64 <= self.window_start + self.window.len() as u64;
        if !inside {
            if position + len as u64 > self.size {
                return Ok(None);
            }
            self.window = self.file.read_at(position, len.max(self.read_bytes)).await?;
            self.window_start = position;
            if self.window.len() < len {
                return Ok(None);
            }
        }
        let start = (position - self.window_start) as usize;
        Ok(Some(&self.window[start..start + len]))
    }
}
