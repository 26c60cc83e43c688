//! Runs recovery once per process, before the shards open their stores.

use coreline_wire::ids::TopicPartition;

use crate::data_dir::{DataDir, JournalId};
use crate::error::StorageError;
use crate::io::Disk;

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Journals in the data directory, all drained: their ids may be given to `Store::open` again.
    pub journals: Vec<JournalId>,
    /// Partitions that have a log.
    pub partitions: usize,
    /// Journal entries that were put back into segments.
    pub entries_redone: u64,
    /// Their bytes.
    pub bytes_redone: u64,
    /// Journal entries that the segments had already.
    pub entries_skipped: u64,
    /// Partitions on the disk or in a journal that `exists` denied: left alone.
    pub unknown: Vec<TopicPartition>,
    /// What a person should know: torn ends, files set aside.
    pub notes: Vec<String>,
}

/// Brings segments and checkpoint up to what the journals hold. The caller holds the data directory's lock.
pub async fn recover<D: Disk>(
    _disk: &D,
    _dir: &DataDir,
    _exists: &dyn Fn(TopicPartition) -> bool,
    _now_ms: i64,
) -> Result<RecoveryReport, StorageError> {
    Err(StorageError::Closed)
}
