//! Compaction: of each key only the newest record stays; offsets, order and everything a reader relies on stay as they are.
//!
//! | file | owns |
//! |---|---|
//! | `plan.rs` | which part of which log is due, which segments become one; pure |
//! | `key_map.rs` | the newest offset of each key, in bounded memory |
//! | `filter.rs` | what stays of a batch; pure |
//! | `pass.rs` | one pass over a log: reads, filters on pool threads, writes new segment files |
//! | `swap.rs` | the crash-safe exchange of old files for new ones, also at the next start |
//!
//! Nothing here runs on the append path, touches the active segment, or anything at or above the last stable offset and the recovery point.

pub mod filter;
pub mod key_map;
mod pass;
pub mod plan;
pub(crate) mod swap;

use std::rc::Rc;

use coreline_wire::TopicPartition;

use crate::error::StorageError;
use crate::io::Disk;
use crate::log::{LogInner, index_loader};
use crate::retention::first_timestamp;
use crate::store::{Store, StoreInner};
use plan::{Dirty, Judgement, LogFacts, SegmentFacts, judge};

/// Bounds of compaction, per shard.
#[derive(Clone, Copy, Debug)]
pub struct CompactionConfig {
    /// Memory for keys while a log is compacted, bytes; more keys than fit need several passes (`log.cleaner.dedupe.buffer.size`).
    pub keys_bytes: usize,
    /// How full that memory may become, 0.1 to 0.99 (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes read and filtered at a time, 64 KiB to 8 MiB; a larger batch is read whole (`log.cleaner.io.buffer.size`).
    pub read_bytes: u32,
    /// Bytes read and written in a second at most (`log.cleaner.io.max.bytes.per.second`).
    pub bytes_per_second: f64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        CompactionConfig { keys_bytes: 128 << 20, load_factor: 0.9, read_bytes: 512 << 10, bytes_per_second: f64::MAX }
    }
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionReport {
    /// The log.
    pub partition: TopicPartition,
    /// Segments before.
    pub segments_before: usize,
    /// Segments that took their place.
    pub segments_after: usize,
    /// Their bytes before.
    pub bytes_before: u64,
    /// Their bytes after.
    pub bytes_after: u64,
    /// Records left out.
    pub records_dropped: u64,
    /// Every record below this offset was looked at.
    pub cleaned_to: i64,
}

impl<D: Disk> Store<D> {
    /// Makes one pass over the log that needs it most, as of `now_ms` (wall clock); `None` when none is due. A log that cannot be read or written is passed
    /// over until the next start; an error is one of the disk or of the process' end.
    pub async fn compact_next(&self, now_ms: i64, config: &CompactionConfig) -> Result<Option<CompactionReport>, StorageError> {
        let store = &self.inner;
        let Some((log, dirty)) = find_dirtiest(store, now_ms).await? else { return Ok(None) };
        store.compacting.set(Some(log.tp));
        let outcome = pass::run(store, &log, dirty, now_ms, config).await;
        store.compacting.set(None);
        // A deletion may have waited for the end.
        store.wake_flusher.notify();
        match outcome {
            Ok(report) => Ok(report),
            Err(error) if log.state.borrow().closed || store.cleaning_stopped.get() => {
                tracing::debug!(partition = %log.tp, %error, "compaction was given up");
                Ok(None)
            }
            Err(error) => {
                if !error.is_disk_full() {
                    log.state.borrow_mut().uncompactable = true;
                    tracing::error!(partition = %log.tp, %error, "the log will not be compacted until the next start");
                }
                Err(error)
            }
        }
    }

    /// Compactions give up at their next step, for good: the shard is about to stop.
    pub fn stop_cleaning(&self) {
        self.inner.cleaning_stopped.set(true);
    }
}

/// The log with the largest dirty share among those that are due.
async fn find_dirtiest<D: Disk>(store: &StoreInner<D>, now_ms: i64) -> Result<Option<(Rc<LogInner<D>>, Dirty)>, StorageError> {
    let mut best: Option<(Rc<LogInner<D>>, Dirty)> = None;
    for (index, log) in store.open_logs().into_iter().enumerate() {
        if index % LOGS_PER_TURN == LOGS_PER_TURN - 1 {
            store.disk.sleep(std::time::Duration::ZERO).await;
        }
        if store.cleaning_stopped.get() || store.closing.get() {
            return Ok(None);
        }
        let log = log.inner();
        if !log.config.borrow().cleanup_policy.compact {
            continue;
        }
        let dirty = match judge_log(store, log, now_ms).await {
            Ok(dirty) => dirty,
            Err(error) => {
                tracing::error!(partition = %log.tp, %error, "compaction cannot look at the log");
                log.state.borrow_mut().uncompactable = true;
                continue;
            }
        };
        if let Some(dirty) = dirty.filter(|d| d.due && best.as_ref().is_none_or(|(_, b)| b.dirty_ppm < d.dirty_ppm)) {
            best = Some((log.clone(), dirty));
        }
    }
    Ok(best)
}

async fn judge_log<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>, now_ms: i64) -> Result<Option<Dirty>, StorageError> {
    let known = log.state.borrow().cleaned_to;
    let cleaned_to = match known {
        Some(offset) => offset,
        None => swap::cleaned_to(&store.disk, &log.dir).await?,
    };
    log.state.borrow_mut().cleaned_to = Some(cleaned_to);
    for _ in 0..SEGMENTS_MAX {
        let judgement = {
            let state = log.state.borrow();
            if state.closed || state.uncompactable {
                return Ok(None);
            }
            let segments = facts(log);
            judge(&LogFacts {
                config: &log.config.borrow(),
                segments: &segments,
                log_start: state.log_start,
                cleaned_to,
                last_stable: state.last_stable_offset(),
                now_ms,
            })
        };
        match judgement {
            Judgement::Clean => return Ok(None),
            Judgement::Dirty(dirty) => return Ok(Some(dirty)),
            Judgement::NeedTimestamps { segment_base } => {
                index_loader::ensure(store, log, segment_base).await?;
                let first = first_timestamp(store, log, segment_base).await?;
                if let Some(segment) = log.state.borrow_mut().segments.get_mut(segment_base) {
                    segment.first_timestamp_ms = Some(first.unwrap_or(-1));
                    segment.max_timestamp_ms = Some(segment.max_timestamp_ms.unwrap_or(i64::MIN));
                }
            }
        }
    }
    Ok(None)
}

/// What there is to know about a log's segments.
fn facts<D: Disk>(log: &LogInner<D>) -> Vec<SegmentFacts> {
    let state = log.state.borrow();
    let below = state.saved.point.segment_base;
    let fact = |s: &crate::segment::Segment| SegmentFacts {
        base_offset: s.base_offset,
        next_offset: s.next_offset,
        size: s.size,
        max_timestamp_ms: s.max_timestamp_ms,
        first_timestamp_ms: s.first_timestamp_ms,
        settled: s.sealed && s.trimmed && s.base_offset < below,
    };
    state.segments.iter().map(fact).collect()
}

/// Logs looked at in one turn of the shard.
const LOGS_PER_TURN: usize = 64;
/// Largest number of segments whose timestamps are looked up in one look at a log.
const SEGMENTS_MAX: usize = 4096;

#[cfg(test)]
mod tests;
