//! Bugs planted on purpose, so that the crash explorer can be held to finding them; without the feature `planted-bugs` nothing of this is built.
//!
//! `planted!(Name)` stands where the bug would be and is false in every normal build. One bug at a time, chosen per thread with [`plant`].
//! What finds each of them, and how fast: `PROOFS.md`.

use std::cell::Cell;

macro_rules! bugs {
    ($($(#[doc = $text:literal])+ $name:ident,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $text])+ $name,)+
        }

        impl Bug {
            /// All of them, in order.
            pub const ALL: &'static [Bug] = &[$(Bug::$name),+];
        }
    };
}

bugs! {
    /// Flush mode: a frame is reported durable without a flush behind its write.
    JournalFlushSkipped,
    /// Dsync mode: frames are written without `O_DSYNC`.
    JournalDsyncSkipped,
    /// A flush that began before a frame's write had completed counts for it.
    AckBeforeFlush,
    /// The directory is not flushed behind a new journal file.
    JournalDirSyncSkipped,
    /// Replay takes whatever valid frame comes next.
    SequenceNotChecked,
    /// Replay takes frames of earlier openings.
    GenerationNotChecked,
    /// Replay does not look at a frame's checksum.
    FrameCrcNotChecked,
    /// A journal opens under the generation it had before.
    GenerationNotRaised,
    /// Released journal files are used again before the released mark is durable.
    RecycledBeforeMark,
    /// The journal's state says that frames are durable which are not yet.
    ReachedAhead,
    /// A checkpoint releases every durable frame, needed or not.
    JournalReleasedTooEarly,
    /// The checkpoint table is written before the segments are flushed.
    CheckpointBeforeFlush,
    /// The recovery point covers the batch that is only partly flushed.
    RecoveryPointOffByOne,
    /// The recovery point leaves a sealed segment before that was cut to size.
    PointLeavesUntrimmed,
    /// No image of a partly written block goes before the next append.
    BlockImageOmitted,
    /// A snapshot file is renamed into place before its content is flushed.
    RenameBeforeFsync,
    /// The directory is not flushed behind the rename of a snapshot file.
    SnapshotDirSyncSkipped,
    /// Of two generations of a snapshot file the older is read.
    OlderGenerationRead,
    /// Of two tables with the same partition the older entry holds.
    TableOrderReversed,
    /// Deleted records are answered before the new log start is durable.
    LogStartNotPersisted,
    /// A producer snapshot is saved although its newest batch is not durable yet.
    ProducersBeforeDurable,
    /// Recovery leaves a sealed segment as long as its last block.
    TornTailNotCut,
    /// Recovery writes its table before the segments are flushed.
    RecoveryTableBeforeSync,
    /// Retention moves log starts, and its segments go, without the table that says so.
    RetentionNotPersisted,
    /// Compacted segments are not flushed before the exchange.
    CompactedNotFlushed,
    /// A start takes compacted files of whatever exchange for those that count.
    UndecidedExchangeTaken,
    /// A start removes the compacted files of the exchange that was decided.
    DecidedExchangeUndone,
    /// Compaction leaves tombstones out at once, before readers had their time.
    TombstonesAtOnce,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in everything that runs on this thread, or takes it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
