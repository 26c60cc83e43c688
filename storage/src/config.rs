//! Configuration of a log and of a shard's store: every field with unit, default and range.
//!
//! `LogConfig` carries the topic configuration that storage obeys; the broker resolves overrides and defaults. `StoreConfig` belongs to a shard.
//! `validate` refuses what is out of range, so the rest of the crate may rely on it.

use std::time::Duration;

use crate::claims::Claims;
use crate::io::Poison;
use crate::journal::{JournalConfig, SyncMode};
use crate::limits::JOURNAL_FILE_BYTES_MIN;

pub use coreline_wire::record::TimestampType;

/// What happens to old data (`cleanup.policy`); executed by `retention` and `compaction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Whole segments are deleted by age and size.
    pub delete: bool,
    /// Only the newest record of a key is kept.
    pub compact: bool,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        CleanupPolicy { delete: true, compact: false }
    }
}

/// What an acknowledgement promises (`durability.class`), strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DurabilityClass {
    /// Flushed on every in-sync replica: survives a power cut of all of them.
    #[default]
    Durable,
    /// Written to the device of every in-sync replica, not flushed: survives the end of all processes.
    Replicated,
    /// In the memory of every in-sync replica: survives the end of all processes but one. Written and flushed in the background all the same.
    Memory,
}

/// Configuration of one partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Largest size of a segment file, bytes (`segment.bytes`). Default 1 GiB, range 1 MiB (tests: 4 KiB) to 2^31 - 1.
    pub segment_bytes: u32,
    /// Age by timestamps at which a segment is rolled even when not full, milliseconds (`segment.ms`). Default 7 days, at least 1.
    pub segment_ms: i64,
    /// Most that is taken off `segment_ms`, differently for each segment, milliseconds (`segment.jitter.ms`). Default 0.
    pub segment_jitter_ms: i64,
    /// Bytes of batches between two entries of the sparse indexes (`index.interval.bytes`). Default 4096, 0 = every batch.
    pub index_interval_bytes: u32,
    /// Largest size of a segment's offset index, bytes (`segment.index.bytes`); full = the segment is rolled. Default 10 MiB, at least 1 KiB.
    pub segment_index_bytes: u32,
    /// Which clock timestamps come from (`message.timestamp.type`). Default `CreateTime`.
    pub timestamp_type: TimestampType,
    /// How far before the broker's clock a producer's timestamp may lie, milliseconds (`message.timestamp.before.max.ms`). Default: no limit.
    pub timestamp_before_max_ms: i64,
    /// How far after the broker's clock a producer's timestamp may lie, milliseconds (`message.timestamp.after.max.ms`). Default 1 h (KIP-1030).
    pub timestamp_after_max_ms: i64,
    /// Largest batch as it lies in the log, bytes (`max.message.bytes`). Default 1,048,588, range 61 to `segment_bytes`.
    pub max_message_bytes: u32,
    /// Age at which segments are deleted, milliseconds, -1 = never (`retention.ms`). Default 7 days.
    pub retention_ms: i64,
    /// Size above which old segments are deleted, bytes, -1 = never (`retention.bytes`). Default -1.
    pub retention_bytes: i64,
    /// How long a deleted segment's file stays, milliseconds (`file.delete.delay.ms`). Default 60,000. Carried: whoever reads a file keeps its
    /// bytes until it is done, so the file goes at once.
    pub file_delete_delay_ms: i64,
    /// Delete, compact or both (`cleanup.policy`). Default delete.
    pub cleanup_policy: CleanupPolicy,
    /// How long a tombstone or transaction marker stays after the first compaction that met it, milliseconds (`delete.retention.ms`). Default 1 day.
    pub delete_retention_ms: i64,
    /// Records with a timestamp younger than this are not compacted, milliseconds (`min.compaction.lag.ms`). Default 0.
    pub min_compaction_lag_ms: i64,
    /// Records older than this are compacted whatever the share of new ones, milliseconds (`max.compaction.lag.ms`). Default: no limit.
    pub max_compaction_lag_ms: i64,
    /// Share of bytes that must be new before a log is compacted, in millionths (`min.cleanable.dirty.ratio`). Default 500,000.
    pub min_cleanable_dirty_ppm: u32,
    /// What an acknowledgement promises (`durability.class`). Default `Durable`.
    pub durability: DurabilityClass,
    /// Records after which a class below `Durable` is flushed, beside the flush of each checkpoint (`flush.messages`). Default: none.
    pub flush_messages: i64,
    /// Age of the oldest unflushed record at which the next append flushes in a class below `Durable`, milliseconds (`flush.ms`). Default: none.
    pub flush_ms: i64,
    /// Idle time after which a producer's sequence state is forgotten, milliseconds (`producer.id.expiration.ms`). Default 1 day, at least 1.
    pub producer_id_expiration_ms: i64,
    /// Largest number of producers whose state is kept; beyond it the one idle longest is forgotten. Default 10,000, range 1 to 1,000,000.
    pub producers_max: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            segment_index_bytes: 10 << 20,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 60 * 60 * 1000,
            max_message_bytes: 1_048_588,
            retention_ms: 7 * DAY_MS,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            cleanup_policy: CleanupPolicy::default(),
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ppm: 500_000,
            durability: DurabilityClass::default(),
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            producer_id_expiration_ms: DAY_MS,
            producers_max: 10_000,
        }
    }
}

impl LogConfig {
    /// Age at which a segment is rolled, ms: of a compacted log no more than `max_compaction_lag_ms`, or its records could not be compacted in time.
    pub fn roll_ms(&self) -> i64 {
        if self.cleanup_policy.compact { self.segment_ms.min(self.max_compaction_lag_ms) } else { self.segment_ms }
    }

    /// Refuses values out of their range; the text names the field.
    pub fn validate(&self) -> Result<(), &'static str> {
        check(self.segment_bytes >= 4096 && self.segment_bytes <= i32::MAX as u32, "segment_bytes outside 4096..2^31-1")?;
        check(self.segment_ms >= 1, "segment_ms below 1")?;
        check(self.segment_jitter_ms >= 0, "segment_jitter_ms below 0")?;
        check(self.delete_retention_ms >= 0, "delete_retention_ms below 0")?;
        check(self.min_compaction_lag_ms >= 0, "min_compaction_lag_ms below 0")?;
        check(self.max_compaction_lag_ms >= 1, "max_compaction_lag_ms below 1")?;
        check(self.min_cleanable_dirty_ppm <= 1_000_000, "min_cleanable_dirty_ppm above 1,000,000")?;
        check(self.segment_index_bytes >= 1024, "segment_index_bytes below 1024")?;
        check(self.timestamp_before_max_ms >= 0, "timestamp_before_max_ms below 0")?;
        check(self.timestamp_after_max_ms >= 0, "timestamp_after_max_ms below 0")?;
        check(self.max_message_bytes >= 61, "max_message_bytes below 61")?;
        check(self.producer_id_expiration_ms >= 1, "producer_id_expiration_ms below 1")?;
        check(self.producers_max >= 1 && self.producers_max <= 1_000_000, "producers_max outside 1..1,000,000")
    }
}

/// Configuration of one shard's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Size of one journal file, bytes, a multiple of 4096. Default 64 MiB, range 64 KiB to 1 GiB; rounded up to what the journal takes (at least 1 MiB).
    pub journal_file_bytes: u64,
    /// Bound of the journal, bytes; at the bound appends wait. Default 512 MiB, at least three files.
    pub journal_bytes_max: u64,
    /// How journal frames are made durable. Default: measured when the journal opens.
    pub journal_sync_mode: SyncMode,
    /// Memory for tail chunks of all partitions of the shard, bytes; unflushed data counts, flushed data stays cached within it. Default 256 MiB, at least 1 MiB.
    pub tail_budget_bytes: usize,
    /// Largest chunk of memory a partition's tail takes at once, bytes, a multiple of 4096. Default 256 KiB, range 4 KiB to 16 MiB.
    pub tail_chunk_bytes_max: usize,
    /// Size of one write to a segment, bytes, a multiple of 4096. Default 1 MiB, range 4 KiB to 16 MiB.
    pub flush_chunk_bytes: usize,
    /// How often data that waits in the journal is checkpointed although nothing presses. Default 2 s, at least 1 ms.
    pub flush_interval: Duration,
    /// Partitions written to at the same time by the flusher. Default 8, range 1 to 256.
    pub flush_concurrency: usize,
    /// Open segment files, for writing, reading and `sendfile` together. Default 1024, at least 8.
    pub open_files_max: usize,
    /// Memory for the indexes of sealed segments, bytes. Default 32 MiB, at least 64 KiB.
    pub index_cache_bytes: usize,
    /// Free bytes below which clients' appends are refused; `None` = by the size of the file system, 0 = never. Default `None`.
    pub free_bytes_min: Option<u64>,
    /// Free bytes from which on they are taken again, at least `free_bytes_min`; `None` = a quarter more than that. Default `None`.
    pub free_bytes_resume: Option<u64>,
    /// Largest step in which a growing segment's space is reserved ahead, bytes; 0 = never. Default 64 MiB.
    pub preallocate_step_bytes: u64,
    /// Whether reads below the flushed mark are answered as file spans. Default true; without, or where the disk has no `sendfile`, they go through memory.
    pub sendfile: bool,
    /// Largest answer of one read that has to go through memory (no `sendfile`), bytes. Default 1 MiB, at least 4 KiB.
    pub copied_read_bytes_max: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            journal_file_bytes: 64 << 20,
            journal_bytes_max: 512 << 20,
            journal_sync_mode: SyncMode::Probe,
            tail_budget_bytes: 256 << 20,
            tail_chunk_bytes_max: 256 << 10,
            flush_chunk_bytes: 1 << 20,
            flush_interval: Duration::from_secs(2),
            flush_concurrency: 8,
            open_files_max: 1024,
            index_cache_bytes: 32 << 20,
            free_bytes_min: None,
            free_bytes_resume: None,
            preallocate_step_bytes: 64 << 20,
            sendfile: true,
            copied_read_bytes_max: 1 << 20,
        }
    }
}

impl StoreConfig {
    /// Refuses values out of their range; the text names the field.
    pub fn validate(&self) -> Result<(), &'static str> {
        check(self.journal_file_bytes >= 64 << 10 && self.journal_file_bytes <= 1 << 30, "journal_file_bytes outside 64 KiB..1 GiB")?;
        check(self.journal_file_bytes.is_multiple_of(4096), "journal_file_bytes not a multiple of 4096")?;
        check(self.journal_bytes_max >= 3 * self.journal_file_bytes, "journal_bytes_max below three files")?;
        check(self.tail_budget_bytes >= 1 << 20, "tail_budget_bytes below 1 MiB")?;
        check(is_block_size(self.tail_chunk_bytes_max), "tail_chunk_bytes_max not a multiple of 4096 within 4 KiB..16 MiB")?;
        check(is_block_size(self.flush_chunk_bytes), "flush_chunk_bytes not a multiple of 4096 within 4 KiB..16 MiB")?;
        check(self.flush_interval >= Duration::from_millis(1), "flush_interval below 1 ms")?;
        check(self.flush_concurrency >= 1 && self.flush_concurrency <= 256, "flush_concurrency outside 1..256")?;
        check(self.open_files_max >= 8, "open_files_max below 8")?;
        check(self.index_cache_bytes >= 64 << 10, "index_cache_bytes below 64 KiB")?;
        check(self.copied_read_bytes_max >= 4096, "copied_read_bytes_max below 4096")
    }
}

impl StoreConfig {
    /// The journal's part of it.
    pub(crate) fn journal(&self, poison: Poison, claims: Claims) -> JournalConfig {
        let file_bytes = self.journal_file_bytes.max(JOURNAL_FILE_BYTES_MIN).next_multiple_of(64 << 10);
        JournalConfig {
            file_bytes,
            journal_bytes_max: self.journal_bytes_max.max(3 * file_bytes),
            sync_mode: self.journal_sync_mode,
            poison,
            claims,
            ..JournalConfig::default()
        }
    }
}

fn is_block_size(bytes: usize) -> bool {
    (4096..=16 << 20).contains(&bytes) && bytes.is_multiple_of(4096)
}

fn check(ok: bool, why: &'static str) -> Result<(), &'static str> {
    if ok { Ok(()) } else { Err(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(LogConfig::default().validate(), Ok(()));
        assert_eq!(StoreConfig::default().validate(), Ok(()));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let log = LogConfig { segment_bytes: 100, ..LogConfig::default() };
        assert!(log.validate().unwrap_err().contains("segment_bytes"));
        let store = StoreConfig { journal_bytes_max: 64 << 20, ..StoreConfig::default() };
        assert!(store.validate().unwrap_err().contains("journal_bytes_max"));
        let store = StoreConfig { flush_chunk_bytes: 5000, ..StoreConfig::default() };
        assert!(store.validate().unwrap_err().contains("flush_chunk_bytes"));
    }
}
