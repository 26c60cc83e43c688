//! What the journal's callers see: tickets, entries, settings, counters and reports.

use std::path::PathBuf;

use coreline_wire::ids::TopicPartition;

use crate::claims::Claims;
use crate::error::{StorageError, StorageResult};
use crate::io::Poison;
use crate::limits::{
    ALIGNMENT_MAX, JOURNAL_FILE_BYTES_MAX, JOURNAL_FILE_BYTES_MIN, JOURNAL_FILES_MAX, JOURNAL_FILES_MIN, JOURNAL_FRAME_BYTES_MAX,
    JOURNAL_FRAMES_PER_FILE_MIN, JOURNAL_IN_FLIGHT_MAX,
};

/// Sequence number of a frame within a journal's generation: everything pushed under it is durable when `Journal::completed` reaches it.
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
    /// What is taken of the disk's room; share one per data directory. Two files there are in any case, more only as far as there is room to take.
    pub claims: Claims,
    /// Sequence of the checkpoint table `base` that has everything of earlier generations; noted in the journal, so that a start finds an older table out. 0: none.
    pub base_table: u64,
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
            claims: Claims::default(),
            base_table: 0,
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
    /// Frames written, each by one device write.
    pub frames: u64,
    /// Their bytes, with padding.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of the entries' data.
    pub data_bytes: u64,
    /// Flushes (0 with `Dsync`, unless entries that may wait for a flush were among the pushed).
    pub flushes: u64,
    /// Times a file was used again.
    pub files_recycled: u64,
    /// Files written for the first time.
    pub files_created: u64,
    /// Pushes that found the journal full.
    pub pushes_refused: u64,
}

/// What one group commit cost, given to the hook of `Journal::set_on_frame`.
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
    /// From the end of the write until a flush covered it, in nanoseconds; 0 when the write was durable by itself, or nobody waits for a flush.
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
    /// A frame that had been reported durable is damaged or missing: later frames or the journal's state prove that it was complete.
    Corrupt {
        /// File where it should be (or the journal's directory when a whole file is missing).
        file: PathBuf,
        /// Position, where known.
        position: u64,
        /// The frame that is missing.
        expected: Ticket,
        /// What proves it.
        proof: Proof,
    },
}

/// What proves that a missing frame was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// This frame, the newest that was found to say so.
    Frame(Ticket),
    /// The journal's state file, which says that frames up to this one were durable.
    State(Ticket),
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Proof::Frame(frame) => write!(f, "frame {} says that it was durable", frame.0),
            Proof::State(reached) => write!(f, "the journal's state says that frames up to {} were durable", reached.0),
        }
    }
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayReport {
    /// The generation that was read.
    pub generation: u64,
    /// Sequence of the checkpoint table `base` behind which that generation was opened; 0 when it is not known.
    pub base_table: u64,
    /// Sequence of the newest checkpoint table that the journal knows of its own; 0 when it knows of none.
    pub newest_table: u64,
    /// The newest frame known to be released in that generation.
    pub released: Ticket,
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

impl JournalConfig {
    /// Checks each setting against its range and against the others.
    pub fn validate(&self) -> StorageResult<()> {
        let check = |good: bool, name: &'static str, value: u64, why: &'static str| {
            if good { Ok(()) } else { Err(StorageError::InvalidConfig { name, value, why }) }
        };
        let file_bytes_good = (JOURNAL_FILE_BYTES_MIN..=JOURNAL_FILE_BYTES_MAX).contains(&self.file_bytes);
        let whole = self.file_bytes.is_multiple_of(ALIGNMENT_MAX as u64);
        check(file_bytes_good && whole, "journal file size", self.file_bytes, "must be 1 MiB to 4 GiB and a multiple of 64 KiB")?;
        let files = self.journal_bytes_max / self.file_bytes;
        let files_good = (JOURNAL_FILES_MIN..=JOURNAL_FILES_MAX).contains(&files);
        check(files_good, "journal size", self.journal_bytes_max, "must be 2 to 4096 journal files")?;
        let in_flight_good = (1..=JOURNAL_IN_FLIGHT_MAX).contains(&self.in_flight_max);
        check(in_flight_good, "journal frames in flight", self.in_flight_max as u64, "must be 1 to 16")?;
        check(self.pending_bytes_max > 0, "journal queue", self.pending_bytes_max as u64, "must not be 0")
    }

    /// Largest frame in bytes: 4 MiB, or a quarter of a file if that is less.
    pub(super) fn frame_bytes_max(&self) -> usize {
        let quarter = self.file_bytes / JOURNAL_FRAMES_PER_FILE_MIN;
        let quarter = quarter - quarter % ALIGNMENT_MAX as u64;
        quarter.min(JOURNAL_FRAME_BYTES_MAX as u64) as usize
    }
}
