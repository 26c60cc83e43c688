//! The journal's files: opening them under a new generation, writing them full of zeros in the background, giving each slot a file, using released files again.
//!
//! In the directory: `NNNNNNNN.frames`, all of one size, and the snapshot file `journal` with id, generation, released and reached mark. A released file is used
//! again only after the released mark was made durable: replay can then tell a file that was overwritten from one that is lost. A generation is made durable
//! before its first frame: old frames are dead from then on. Soon after the first frame of a file is durable the reached mark says so, off the path of
//! appends: replay then misses that file when it is gone or holds something else.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::costs::Costs;
use super::{Identity, Inner, JournalConfig, JournalStats, SyncMode, sync_mode};
use crate::claims::Claims;
use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, DiskBuffer, DiskFile, OpenMode, Poison};
use crate::limits::{JOURNAL_FILES_MAX, JOURNAL_FILES_MIN, SMALL_FILE_BYTES_MAX};
use crate::snapshot_file::{SnapshotFile, SnapshotKind};

/// First step of writing zeros, in bytes: the first append waits for no more than this.
const FIRST_STEP_BYTES: u64 = 256 * 1024;
/// Further steps, in bytes.
const STEP_BYTES: u64 = 1024 * 1024;
/// Steps between two flushes while nobody waits for the file: each flush of fresh space costs a commit of the file system.
const STEPS_AHEAD: usize = 8;
/// How long to wait for space when the device is full.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// How often it is said that there is still no space.
const FULL_SAID_EVERY: Duration = Duration::from_secs(60);

const STATE_NAME: &str = "journal";
const STATE_KIND: SnapshotKind = *b"JRNL";
/// 2: reached, base. 3: table.
const STATE_VERSION: u32 = 3;
const STATE_BYTES: usize = 48;
/// Of versions 1 and 2.
const STATE_BYTES_BEFORE: [usize; 2] = [24, 40];

/// A file of the journal.
pub(super) struct JournalFile<D: Disk> {
    /// For frames: `O_DSYNC` in that mode.
    pub(super) frames: D::File,
    /// For zeros and for frames that wait for a flush: never `O_DSYNC`.
    pub(super) plain: D::File,
    /// Bytes below are written and flushed once: frames may go there.
    pub(super) prewritten: Cell<u64>,
    /// Frames were written to it since its last flush began.
    pub(super) unflushed: Cell<bool>,
}

/// Which file each slot has, and which are free.
pub(super) struct Files<D: Disk> {
    file_bytes: u64,
    files_max: u64,
    /// Slot of `bound[0]`.
    first_bound: u64,
    bound: VecDeque<Rc<JournalFile<D>>>,
    /// Ready to be used, oldest first.
    free: VecDeque<Rc<JournalFile<D>>>,
    /// Released, waiting for the released mark to be durable.
    retired: Vec<Rc<JournalFile<D>>>,
    total: u64,
    /// Files that may be made: the room for them is taken.
    claimed: u64,
    claims: Claims,
    next_number: u64,
    /// The journal state on the disk knows frames up to here as durable (or could not be written for want of space).
    reached: u64,
}

/// What `open` found and made.
pub(super) struct Opened<D: Disk> {
    pub(super) identity: Identity,
    pub(super) state_file: SnapshotFile,
    pub(super) files: Files<D>,
    pub(super) mode: SyncMode,
    pub(super) stats: JournalStats,
    /// What the probe measured; empty without one.
    pub(super) costs: Costs,
}

/// The content of the snapshot file `journal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalState {
    pub(super) journal: u64,
    pub(super) generation: u64,
    pub(super) released: u64,
    /// Frames up to here were durable when this was written.
    pub(super) reached: u64,
    /// Sequence of the checkpoint table `base` behind which this generation was opened; 0 when it is not known.
    pub(super) base: u64,
    /// Sequence of the newest table of this journal that was durable when this was written; 0 when there was none.
    pub(super) table: u64,
}

impl JournalState {
    fn encode(&self) -> [u8; STATE_BYTES] {
        let mut out = [0; STATE_BYTES];
        out[0..8].copy_from_slice(&self.journal.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..24].copy_from_slice(&self.released.to_le_bytes());
        out[24..32].copy_from_slice(&self.reached.to_le_bytes());
        out[32..40].copy_from_slice(&self.base.to_le_bytes());
        out[40..48].copy_from_slice(&self.table.to_le_bytes());
        out
    }

    fn decode(version: u32, bytes: &[u8]) -> Option<JournalState> {
        let before = usize::try_from(version).ok().and_then(|version| STATE_BYTES_BEFORE.get(version.wrapping_sub(1)));
        if bytes.len() != before.copied().unwrap_or(STATE_BYTES) {
            return None;
        }
        // What older versions do not have is 0: not known.
        let number = |index: usize| bytes.as_chunks::<8>().0.get(index).map_or(0, |eight| u64::from_le_bytes(*eight));
        let (journal, generation) = (number(0), number(1));
        Some(JournalState { journal, generation, released: number(2), reached: number(3), base: number(4), table: number(5) })
    }

    /// Reads the state of the journal in `dir`; the flag says that one of its two copies is damaged, so that this may be the older one.
    pub(super) async fn read<D: Disk>(disk: &D, dir: &Path) -> StorageResult<(SnapshotFile, Option<(JournalState, bool)>)> {
        let (file, found) = SnapshotFile::open(disk, dir, STATE_NAME, STATE_KIND, STATE_VERSION, SMALL_FILE_BYTES_MAX).await?;
        let Some(found) = found else {
            return Ok((file, None));
        };
        let state = JournalState::decode(found.version, &found.bytes);
        let state =
            state.ok_or_else(|| StorageError::corrupt(&found.path, None, format!("{} bytes of journal state", found.bytes.len())))?;
        Ok((file, Some((state, found.damaged.is_some()))))
    }
}

/// Path of file `number`.
fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.frames"))
}

/// Numbers and sizes of the files of frames in `dir`.
pub(super) async fn list<D: Disk>(disk: &D, dir: &Path) -> StorageResult<Vec<(u64, PathBuf, u64)>> {
    let entries = disk.list_dir(dir).await?;
    let mut files = Vec::new();
    for entry in entries {
        let Some(number) = entry.name.strip_suffix(".frames").and_then(|number| number.parse::<u64>().ok()) else { continue };
        let path = dir.join(&entry.name);
        if entry.is_dir {
            return Err(StorageError::corrupt(
                &path,
                None,
                "it is a directory, not a file: move it away, and put the file back from a copy",
            ));
        }
        files.push((number, path, entry.size_bytes));
    }
    if files.len() as u64 > 2 * JOURNAL_FILES_MAX {
        return Err(StorageError::corrupt(dir, None, format!("{} journal files", files.len())));
    }
    Ok(files)
}

/// Opens the files under a new generation, with at least the first step of one file written.
pub(super) async fn open<D: Disk>(disk: &D, dir: &Path, config: &JournalConfig) -> StorageResult<Opened<D>> {
    let poison = &config.poison;
    poison.check()?;
    disk.create_dir(dir).await?;
    if let Some(parent) = dir.parent() {
        poison.guard(disk.sync_dir(parent).await)?;
    }
    let (mut state_file, old) = JournalState::read(disk, dir).await?;
    let found = list(disk, dir).await?;
    if old.is_none() && !found.is_empty() {
        return Err(StorageError::corrupt(dir, None, "there are frames but no journal state"));
    }
    let journal = journal_id(dir);
    // A damaged copy may have named the next generation: leave that one out.
    let raise = u64::from(!planted!(GenerationNotRaised));
    let generation = old.map_or(1, |(state, damaged)| state.generation + raise + u64::from(damaged));
    let state = JournalState { journal, generation, released: 0, reached: 0, base: config.base_table, table: 0 };
    state_file.write(disk, STATE_VERSION, &state.encode()).await.inspect_err(|e| poison.set(e))?;

    let mut files = Files {
        file_bytes: config.file_bytes,
        files_max: config.journal_bytes_max / config.file_bytes,
        first_bound: 0,
        bound: VecDeque::new(),
        free: VecDeque::new(),
        retired: Vec::new(),
        total: 0,
        claimed: 0,
        claims: config.claims.clone(),
        next_number: found.iter().map(|f| f.0 + 1).max().unwrap_or(0),
        reached: 0,
    };
    let mut kept = Vec::new();
    for (_, path, size) in found {
        if size > files.file_bytes || kept.len() as u64 == files.files_max {
            poison.guard(disk.remove_file(&path).await)?;
        } else {
            kept.push((path, size));
        }
    }
    let mut stats = JournalStats::default();
    let mut plain = Vec::new();
    for (path, size) in kept {
        plain.push((disk.open(&path, OpenMode::ReadWrite).await?, size - size % disk.alignment() as u64));
    }
    // The fullest first: appends begin there.
    plain.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    if plain.is_empty() {
        plain.push((files.create(disk, dir, poison).await?, 0));
        stats.files_created += 1;
    }
    if plain[0].1 == 0 {
        plain[0].1 = write_zeros(disk, &RefCell::new(None), &plain[0].0, 0, files.file_bytes, poison).await?;
    }
    let mut costs = Costs::default();
    let mode = match config.sync_mode {
        SyncMode::Probe => sync_mode::probe(disk, &plain[0].0, poison, &mut costs).await?,
        chosen => chosen,
    };
    for (file, prewritten) in plain {
        let file = JournalFile::new(disk, file, prewritten, mode).await?;
        files.free.push_back(Rc::new(file));
        files.total += 1;
    }
    // While one is written the other waits for the flusher.
    while files.countable() < JOURNAL_FILES_MIN {
        files.claim();
    }
    poison.guard(disk.sync_dir(dir).await)?;
    Ok(Opened { identity: Identity { journal, generation }, state_file, files, mode, stats, costs })
}

/// The id of a journal is its directory's name; a name that is not an id (in tests) is hashed.
pub(super) fn journal_id(dir: &Path) -> u64 {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let hashed = || name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    u64::from_str_radix(&name, 16).ok().filter(|_| name.len() == 16).unwrap_or_else(hashed)
}

/// Writes and flushes the next step of zeros at `from`; returns how far the file is written now.
async fn write_zeros<D: Disk>(
    disk: &D,
    zeros: &RefCell<Option<Rc<D::Buffer>>>,
    file: &D::File,
    from: u64,
    file_bytes: u64,
    poison: &Poison,
) -> StorageResult<u64> {
    let to = write_step(disk, zeros, file, from, file_bytes, poison).await?;
    poison.guard(file.sync().await)?;
    Ok(to)
}

/// Writes the next step of zeros at `from`; returns how far the file is written now.
///
/// `zeros` keeps the buffer from step to step; it is given back with the last step of a file.
async fn write_step<D: Disk>(
    disk: &D,
    zeros: &RefCell<Option<Rc<D::Buffer>>>,
    file: &D::File,
    from: u64,
    file_bytes: u64,
    poison: &Poison,
) -> StorageResult<u64> {
    let step = if from == 0 { FIRST_STEP_BYTES } else { STEP_BYTES };
    let len = step.min(file_bytes - from) as usize;
    let kept = zeros.borrow_mut().take().filter(|buffer| buffer.len() == len);
    let buffer = kept.unwrap_or_else(|| Rc::new(disk.buffer(len)));
    if from + (len as u64) < file_bytes {
        *zeros.borrow_mut() = Some(Rc::clone(&buffer));
    }
    match file.write_at(buffer, from).await {
        // Nothing was promised about this range yet: a full device is not a broken one.
        Err(e) if e.is_disk_full() => return Err(StorageError::Io(e)),
        other => poison.guard(other)?,
    }
    Ok(from + len as u64)
}

impl<D: Disk> JournalFile<D> {
    async fn new(disk: &D, plain: D::File, prewritten: u64, mode: SyncMode) -> StorageResult<JournalFile<D>> {
        let frames = match mode {
            SyncMode::Dsync if planted!(JournalDsyncSkipped) => plain.clone(),
            SyncMode::Dsync | SyncMode::Probe => disk.open(plain.path(), OpenMode::ReadWriteDsync).await?,
            SyncMode::Flush => plain.clone(),
        };
        Ok(JournalFile { frames, plain, prewritten: Cell::new(prewritten), unflushed: Cell::new(false) })
    }
}

impl<D: Disk> Files<D> {
    /// Creates the next file with its space reserved; rolled back when the device is full.
    async fn create(&mut self, disk: &D, dir: &Path, poison: &Poison) -> StorageResult<D::File> {
        let number = self.next_number;
        self.next_number += 1;
        create(disk, &file_path(dir, number), self.file_bytes, poison).await
    }

    /// Files that there are or may be made.
    pub(super) fn countable(&self) -> u64 {
        self.total + self.claimed
    }

    /// Whether one more may be made: takes the room for it.
    pub(super) fn claim_another(&mut self) -> bool {
        // As much again stays for what is written to segments.
        let may = self.countable() < self.files_max && self.claims.take(self.file_bytes, self.file_bytes);
        if may {
            self.claim();
        }
        may
    }

    fn claim(&mut self) {
        self.claimed += 1;
        self.claims.claim(0, self.file_bytes);
    }

    /// A file for which room was taken has it now.
    fn settle(&mut self) {
        if self.claimed > 0 {
            self.claimed -= 1;
            self.claims.claim(self.file_bytes, 0);
        }
    }

    /// The file of `slot`: gives it a free one if it is the next to get one. `None`: none is free yet.
    pub(super) fn bind(&mut self, slot: u64) -> Option<Rc<JournalFile<D>>> {
        let index = (slot - self.first_bound) as usize;
        while self.bound.len() <= index {
            self.bound.push_back(self.free.pop_front()?);
        }
        Some(self.bound[index].clone())
    }

    /// The files with frames that a flush which begins now makes durable.
    pub(super) fn take_unflushed(&mut self) -> Vec<Rc<JournalFile<D>>> {
        self.bound.iter().filter(|file| file.unflushed.replace(false)).cloned().collect()
    }

    /// `slot`, the oldest, is released: its file may be used again once that is durable.
    pub(super) fn retire(&mut self, slot: u64) {
        assert_eq!(slot, self.first_bound, "slots are retired in order");
        let file = self.bound.pop_front().expect("a released slot had a file");
        self.first_bound += 1;
        self.retired.push(file);
    }

    /// What to do next, given the slot of the next frame, the first frame there, whether that slot is half full, and which frame is durable.
    fn next_job(&mut self, head_slot: u64, head_first: u64, half_full: bool, completed: u64) -> Option<Job<D>> {
        if !self.retired.is_empty() {
            return Some(Job::Recycle(std::mem::take(&mut self.retired)));
        }
        let unfinished = |file: &&Rc<JournalFile<D>>| file.prewritten.get() < self.file_bytes;
        if let Some(file) = self.bound.iter().find(unfinished) {
            return Some(Job::WriteZeros(file.clone(), 1));
        }
        if self.reached < head_first && head_first <= completed {
            return Some(Job::MarkReached);
        }
        if let Some(file) = self.free.iter().find(unfinished) {
            return Some(Job::WriteZeros(file.clone(), STEPS_AHEAD));
        }
        let slots_bound = self.first_bound + self.bound.len() as u64;
        let wanted = head_slot >= slots_bound || (half_full && head_slot + 1 == slots_bound);
        if wanted && self.free.is_empty() && (self.claimed > 0 || self.claim_another()) {
            self.next_number += 1;
            return Some(Job::Create(self.next_number - 1));
        }
        None
    }
}

impl<D: Disk> Drop for Files<D> {
    fn drop(&mut self) {
        self.claims.claim(self.claimed * self.file_bytes, 0);
    }
}

async fn create<D: Disk>(disk: &D, path: &Path, file_bytes: u64, poison: &Poison) -> StorageResult<D::File> {
    let file = disk.open(path, OpenMode::CreateNew).await?;
    if let Err(e) = file.allocate(0, file_bytes).await {
        drop(file);
        poison.guard(disk.remove_file(path).await)?;
        return Err(StorageError::Io(e));
    }
    Ok(file)
}

enum Job<D: Disk> {
    /// Make the released mark durable, then use these files again.
    Recycle(Vec<Rc<JournalFile<D>>>),
    /// Write the next steps of zeros, so many, and flush them.
    WriteZeros(Rc<JournalFile<D>>, usize),
    /// Create the file of this number.
    Create(u64),
    /// Make durable that the newest file holds frames that are.
    MarkReached,
}

impl<D: Disk> Inner<D> {
    /// Prepares files for as long as the writer runs.
    pub(super) async fn keep_files_ready(&self, state_file: &mut SnapshotFile) -> StorageResult<()> {
        // When it was last said that there is no space.
        let mut said: Option<Duration> = None;
        loop {
            let job = self.work.until(|| {
                let state = &mut *self.state.borrow_mut();
                if state.drained {
                    return Some(None);
                }
                let space = &state.frames.space;
                let completed = state.marks.completed();
                let job = state.files.next_job(space.head_slot(), space.head_first(), space.head_is_half_full(), completed);
                state.frames.space.set_files_now(state.files.countable());
                job.map(Some)
            });
            let Some(job) = job.await else {
                return self.mark_released(state_file).await;
            };
            let done = match job {
                Job::Recycle(files) => self.recycle(files, state_file).await,
                Job::WriteZeros(file, steps) => self.extend(&file, steps).await,
                Job::Create(number) => self.add_file(number).await,
                Job::MarkReached => self.mark_reached(state_file).await,
            };
            match done {
                Ok(()) => self.work.notify(),
                Err(e) if e.is_disk_full() => {
                    let now = self.disk.now();
                    if said.is_none_or(|said| now.saturating_sub(said) >= FULL_SAID_EVERY) {
                        tracing::warn!(journal = %self.dir.display(), error = %e, "no space for the journal's next file, trying on");
                        said = Some(now);
                    }
                    self.disk.sleep(FULL_RETRY).await;
                }
                Err(e) => return Err(e),
            }
        }
    }

    async fn recycle(&self, files: Vec<Rc<JournalFile<D>>>, state_file: &mut SnapshotFile) -> StorageResult<()> {
        let now = self.state_now();
        let marked = match planted!(RecycledBeforeMark) {
            true => Ok(()),
            false => state_file.write(&self.disk, STATE_VERSION, &now.encode()).await,
        };
        let state = &mut *self.state.borrow_mut();
        state.files.reached = now.reached;
        if let Err(e) = marked {
            if e.is_disk_full() {
                state.files.retired.extend(files);
            }
            return Err(e);
        }
        state.stats.files_recycled += files.len() as u64;
        state.files.free.extend(files);
        Ok(())
    }

    fn state_now(&self) -> JournalState {
        let state = self.state.borrow();
        let reached = if planted!(ReachedAhead) { state.frames.newest() } else { state.marks.completed() };
        let Identity { journal, generation } = self.identity;
        let (released, table) = (state.frames.space.released(), state.table);
        JournalState { journal, generation, released, reached, base: self.config.base_table, table }
    }

    /// The first frame of a file is durable: from now on the loss of that file shows.
    async fn mark_reached(&self, state_file: &mut SnapshotFile) -> StorageResult<()> {
        let now = self.state_now();
        self.state.borrow_mut().files.reached = now.reached;
        match state_file.write(&self.disk, STATE_VERSION, &now.encode()).await {
            // Only the loss of this one file would not show.
            Err(e) if e.is_disk_full() => Ok(()),
            other => other,
        }
    }

    /// At the end: what was released is not read again, so that damage to it does no harm.
    async fn mark_released(&self, state_file: &mut SnapshotFile) -> StorageResult<()> {
        let state = self.state_now();
        if state.released == 0 && state.table == 0 {
            return Ok(());
        }
        match state_file.write(&self.disk, STATE_VERSION, &state.encode()).await {
            // The next start reads a little more.
            Err(e) if e.is_disk_full() => Ok(()),
            other => other,
        }
    }

    async fn extend(&self, file: &JournalFile<D>, steps: usize) -> StorageResult<()> {
        let mut to = file.prewritten.get();
        for _ in 0..steps {
            if to < self.config.file_bytes {
                to = write_step(&self.disk, &self.zeros, &file.plain, to, self.config.file_bytes, &self.config.poison).await?;
            }
        }
        self.config.poison.guard(file.plain.sync().await)?;
        file.prewritten.set(to);
        Ok(())
    }

    async fn add_file(&self, number: u64) -> StorageResult<()> {
        let poison = &self.config.poison;
        let path = file_path(&self.dir, number);
        let plain = create(&self.disk, &path, self.config.file_bytes, poison).await?;
        let prewritten = match write_zeros(&self.disk, &self.zeros, &plain, 0, self.config.file_bytes, poison).await {
            Err(e) if e.is_disk_full() => {
                poison.guard(self.disk.remove_file(&path).await)?;
                return Err(e);
            }
            other => other?,
        };
        if !planted!(JournalDirSyncSkipped) {
            poison.guard(self.disk.sync_dir(&self.dir).await)?;
        }
        let file = JournalFile::new(&self.disk, plain, prewritten, self.mode).await?;
        let state = &mut *self.state.borrow_mut();
        state.files.free.push_back(Rc::new(file));
        state.files.total += 1;
        state.files.settle();
        state.stats.files_created += 1;
        Ok(())
    }
}
