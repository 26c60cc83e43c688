//! `Store`: all logs of one shard, their journal, the background flush and the checkpoint.

use std::marker::PhantomData;
use std::rc::Rc;

use coreline_wire::ids::TopicPartition;

use crate::config::{LogConfig, StoreConfig};
use crate::data_dir::{DataDir, JournalId};
use crate::error::StorageError;
use crate::io::Disk;
use crate::journal::{FrameCost, JournalStats, JournalUsage, Ticket};
use crate::log::Log;

/// Counters and gauges of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreStats {
    /// Open logs.
    pub logs: usize,
    /// Logs with bytes that are not checkpointed.
    pub dirty_logs: usize,
    /// Memory in tail chunks, bytes.
    pub tail_bytes: usize,
    /// Its bound, bytes.
    pub tail_bytes_max: usize,
    /// How full the journal is.
    pub journal: JournalUsage,
    /// What the journal did.
    pub journal_stats: JournalStats,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes written to segments.
    pub segment_bytes_written: u64,
    /// Open segment files.
    pub open_files: usize,
}

/// All logs of one shard. Clones share it.
pub struct Store<D: Disk> {
    inner: Rc<PhantomData<D>>,
}

impl<D: Disk> Clone for Store<D> {
    fn clone(&self) -> Self {
        Store { inner: self.inner.clone() }
    }
}

impl<D: Disk> Store<D> {
    /// Opens the shard's journal (its content was recovered before) and the checkpoint. `recover` must have run in this process.
    pub async fn open(_disk: D, _dir: &DataDir, _journal: JournalId, _config: StoreConfig) -> Result<Self, StorageError> {
        Err(StorageError::Closed)
    }

    /// Opens a partition's log, or creates it.
    pub async fn open_log(&self, _tp: TopicPartition, _config: LogConfig) -> Result<Log<D>, StorageError> {
        Err(StorageError::Closed)
    }

    /// The open log of a partition.
    pub fn log(&self, _tp: TopicPartition) -> Option<Log<D>> {
        None
    }

    /// Closes a partition's log and removes its files in the background.
    pub async fn delete_log(&self, _tp: TopicPartition) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Waits until the journal and the tail budget take an append of `bytes` again.
    pub async fn wait_space(&self, _bytes: usize) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Waits until a ticket is durable.
    pub async fn wait_durable(&self, _ticket: Ticket) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// The journal's writer: spawn it once. Ends after `shutdown`, or with the device's error.
    pub async fn run_journal(&self) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// The flusher and checkpointer: spawn it once. Ends after `shutdown`, or with the device's error.
    pub async fn run_flusher(&self) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Takes no more appends, flushes everything, writes the last checkpoint; `run_journal` and `run_flusher` end.
    pub async fn shutdown(&self) -> Result<(), StorageError> {
        Err(StorageError::Closed)
    }

    /// Counters and gauges.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            logs: 0,
            dirty_logs: 0,
            tail_bytes: 0,
            tail_bytes_max: 0,
            journal: JournalUsage { bytes_used: 0, bytes_limit: 0, oldest: Ticket(0), newest: Ticket(0) },
            journal_stats: JournalStats::default(),
            checkpoints: 0,
            segment_bytes_written: 0,
            open_files: 0,
        }
    }

    /// Calls `hook` after each group commit with what it cost.
    pub fn set_on_frame(&self, _hook: impl FnMut(FrameCost) + 'static) {}
}
