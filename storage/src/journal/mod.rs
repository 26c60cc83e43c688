//! The journal of a shard: one sequence of frames, in pre-written files that are recycled for ever, for the appends of all its partitions.
//!
//! `push` copies an entry into the frame being built and answers with the frame's sequence number, its [`Ticket`]; the writer
//! ([`Journal::run`]) writes whole frames, one device write per group commit, and reports tickets in order once they are durable. Frame bytes:
//! `frame.rs`; placement and reuse of files: `recycle.rs`; the writer: `writer.rs`; reading back: `replay.rs`; all byte by byte in `FORMAT.md`.
//!
//! Invariants: no write is ever in flight over a block that holds reported bytes; frame n + `in_flight_max` is sent only after frame n was
//! reported; a frame never spans two files; each open starts a generation that was never used before, so old frames cannot be read as new.

use std::path::{Path, PathBuf};

use coreline_wire::ids::TopicPartition;

use crate::error::{StorageError, StorageResult};
use crate::io::{Disk, Poison};

/// Sequence number of a frame within a journal's generation: everything pushed under it is durable when [`Journal::completed`] reaches it.
/// `Ticket(0)` stands for "nothing": it is always complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch, to be put at its position behind what is there.
    Batch = 1,
    /// The image of a segment's last, partly filled block, taken before it is written in place.
    BlockImage = 2,
}

/// Where an entry's bytes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The partition.
    pub partition: TopicPartition,
    /// Base offset of the segment.
    pub segment_base: i64,
    /// Byte position in the segment.
    pub position: u64,
    /// First offset in the bytes.
    pub base_offset: i64,
    /// Last offset in the bytes.
    pub last_offset: i64,
    /// Leader epoch of the bytes.
    pub leader_epoch: i32,
    /// What the bytes are.
    pub kind: EntryKind,
}

/// How a frame is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Measure both when the journal opens and take the faster.
    Probe,
    /// Each write is durable by itself (`O_DSYNC`): one request where the device has FUA.
    Dsync,
    /// Plain writes and a flush (`fdatasync`) shared by the frames in flight.
    Flush,
}

/// Settings of a journal.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// Size of a file in bytes: 1 MiB to 4 GiB, a multiple of 64 KiB. Default 64 MiB.
    pub file_bytes: u64,
    /// Bound of all files together in bytes, at least two files; what goes beyond whole files is not used. Default 256 MiB. At the bound `push` says `Full`.
    pub journal_bytes_max: u64,
    /// Frames in flight, 1 to 16. Default 2.
    pub in_flight_max: usize,
    /// Bytes pushed and not yet sent to the device before `push` says `Full`. Default 16 MiB. One entry is always taken when nothing waits.
    pub pending_bytes_max: usize,
    /// How frames are made durable.
    pub sync_mode: SyncMode,
    /// Where device errors are remembered; share one per data directory.
    pub poison: Poison,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig {
            file_bytes: 64 << 20,
            journal_bytes_max: 256 << 20,
            in_flight_max: 2,
            pending_bytes_max: 16 << 20,
            sync_mode: SyncMode::Probe,
            poison: Poison::new(),
        }
    }
}

/// How full a journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalUsage {
    /// Bytes of frames that are not released yet (counted in steps, rounded up).
    pub bytes_used: u64,
    /// Bound in bytes.
    pub bytes_limit: u64,
    /// Oldest frame that is not released.
    pub oldest: Ticket,
    /// Newest frame pushed into.
    pub newest: Ticket,
}

/// Counters of a journal since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Frames that became durable.
    pub frames: u64,
    /// Their bytes, with padding.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of the entries' data.
    pub data_bytes: u64,
    /// Flushes (0 with `Dsync`).
    pub flushes: u64,
    /// Times a file was used again.
    pub files_recycled: u64,
    /// Files written for the first time.
    pub files_created: u64,
    /// Pushes that found the journal full.
    pub pushes_refused: u64,
}

/// What one group commit cost, given to the hook of [`Journal::set_on_frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCost {
    /// Bytes of the frame.
    pub bytes: u64,
    /// Entries in it.
    pub entries: u32,
    /// From its first entry to the start of its write, in nanoseconds.
    pub queued_ns: u64,
    /// The write, in nanoseconds (with `Dsync` this includes the flush).
    pub write_ns: u64,
    /// The flush, in nanoseconds; 0 with `Dsync`.
    pub flush_ns: u64,
}

/// Where a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayEnd {
    /// There was nothing to read: no frame of the last generation.
    Empty,
    /// The last frame is followed by nothing of its generation: a clean end, or a frame that never reached the disk.
    End,
    /// The frame after the last good one is damaged and was never reported: the write that a crash interrupted.
    Torn {
        /// File of the damaged frame.
        file: PathBuf,
        /// Its position.
        position: u64,
    },
    /// A frame that had been reported durable is damaged or missing: later frames prove that it was complete.
    Corrupt {
        /// File where it should be (or the journal's directory when a whole file is missing).
        file: PathBuf,
        /// Position, where known.
        position: u64,
        /// The frame that is missing.
        expected: Ticket,
        /// The newest frame found that proves it.
        proof: Ticket,
    },
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayReport {
    /// The generation that was read.
    pub generation: u64,
    /// Frames read.
    pub frames: u64,
    /// Whole entries given to the visitor.
    pub entries: u64,
    /// Bytes of their data.
    pub data_bytes: u64,
    /// First frame read (`Ticket(0)`: none).
    pub first: Ticket,
    /// Last good frame.
    pub last: Ticket,
    /// How it ended.
    pub end: ReplayEnd,
}

/// The journal of one shard. Clones share it; single-threaded.
pub struct Journal<D: Disk>(std::marker::PhantomData<D>);

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Journal(std::marker::PhantomData)
    }
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in `dir` (created when missing) under a generation never used before. What was in it must have been replayed and made
    /// durable elsewhere: it is never read again.
    pub async fn open(_disk: D, _dir: PathBuf, _config: JournalConfig) -> StorageResult<Journal<D>> {
        Err(StorageError::Closed)
    }

    /// Copies an entry into the frame being built. Synchronous; the order of pushes is the order of replay. `Full` when the journal or its queue is at
    /// the bound (nothing was written), `EntryTooLarge`, `Poisoned`, `Closed`.
    pub fn push(&self, _header: EntryHeader, _data: &[u8]) -> StorageResult<Ticket> {
        Err(StorageError::Closed)
    }

    /// Whether a push of `bytes` bytes of data would be taken now. Reserves nothing.
    pub fn try_reserve(&self, _bytes: usize) -> bool {
        false
    }

    /// Waits until `try_reserve(bytes)` holds. `Poisoned`, `Closed` and `EntryTooLarge` end the wait.
    pub async fn wait_space(&self, _bytes: usize) -> StorageResult<()> {
        Err(StorageError::Closed)
    }

    /// Every frame up to and including this one is durable.
    pub fn completed(&self) -> Ticket {
        Ticket(0)
    }

    /// Waits until `ticket` is durable. `Poisoned` after a device error; `Closed` when the journal ended before.
    pub async fn wait(&self, _ticket: Ticket) -> StorageResult<()> {
        Err(StorageError::Closed)
    }

    /// The writer: runs until `close` (everything pushed is written first) or a device error, which has then poisoned the journal. `on_complete` is called
    /// with each new value of `completed`, in order; it may push.
    pub async fn run(&self, _on_complete: impl FnMut(Ticket)) -> StorageResult<()> {
        Err(StorageError::Closed)
    }

    /// Says that frames up to and including `up_to` are not needed any more (their bytes are durable elsewhere); files wholly below are used again.
    pub fn release(&self, _up_to: Ticket) {}

    /// Resolves when half of the bound is used: the flusher should make room. Resolves at once while that holds.
    pub async fn pressure(&self) -> StorageResult<()> {
        Err(StorageError::Closed)
    }

    /// How full it is.
    pub fn usage(&self) -> JournalUsage {
        JournalUsage { bytes_used: 0, bytes_limit: 0, oldest: Ticket(0), newest: Ticket(0) }
    }

    /// Counters since it was opened.
    pub fn stats(&self) -> JournalStats {
        JournalStats::default()
    }

    /// Calls `hook` after each frame with what it cost. It must not push.
    pub fn set_on_frame(&self, _hook: impl FnMut(FrameCost) + 'static) {}

    /// The mode in use (never `Probe`).
    pub fn sync_mode(&self) -> SyncMode {
        SyncMode::Dsync
    }

    /// Where this journal remembers device errors.
    pub fn poison(&self) -> Poison {
        Poison::new()
    }

    /// Takes no more pushes; `run` ends when everything pushed is durable.
    pub fn close(&self) {}
}

/// Reads the frames of the last generation in `dir`, in order, and gives each whole entry to `visit`; stops at the first bad or missing frame and says
/// in the report why. Frames known to be released may be left out. An error of `visit` ends the replay and is returned.
pub async fn replay<D: Disk>(
    _disk: &D,
    _dir: &Path,
    _visit: &mut dyn FnMut(EntryHeader, &[u8]) -> StorageResult<()>,
) -> StorageResult<ReplayReport> {
    Err(StorageError::Closed)
}
