//! Retention: moves the log start past segments that are too old or too many. Their files go with the next checkpoint, off the append path.
//!
//! `plan.rs` decides, this does: one table write for all logs of a sweep. The broker calls it every `log.retention.check.interval.ms`.

pub mod plan;

use std::rc::Rc;

use coreline_wire::record::BatchHeader;
use coreline_wire::record::batch::HEADER_BYTES;

use crate::checkpointer::move_log_starts;
use crate::error::StorageError;
use crate::io::Disk;
use crate::log::{LogInner, index_loader, scan};
use crate::store::{Store, StoreInner};
use plan::{RetentionPlan, SegmentAge, plan};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Logs whose start moved.
    pub logs: usize,
    /// Segments below the new starts.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl<D: Disk> Store<D> {
    /// Applies time and size retention to every open log, as of `now_ms` (wall clock). A log that cannot be read is passed over and logged.
    pub async fn apply_retention(&self, now_ms: i64) -> Result<RetentionReport, StorageError> {
        let store = &self.inner;
        let mut report = RetentionReport::default();
        let mut moves: Vec<(Rc<LogInner<D>>, i64)> = Vec::new();
        for (index, log) in store.open_logs().into_iter().enumerate() {
            if index % LOGS_PER_TURN == LOGS_PER_TURN - 1 {
                store.disk.sleep(std::time::Duration::ZERO).await;
            }
            if store.closing.get() {
                return Err(StorageError::Closed);
            }
            let log = log.inner().clone();
            match decide(store, &log, now_ms).await {
                Ok(Some((to, segments, bytes))) => {
                    report.logs += 1;
                    report.segments += segments;
                    report.bytes += bytes;
                    moves.push((log, to));
                }
                Ok(None) => {}
                Err(error) => tracing::error!(partition = %log.tp, %error, "retention cannot look at the log"),
            }
        }
        if !moves.is_empty() {
            move_log_starts(store, &moves).await?;
            tracing::info!(logs = report.logs, segments = report.segments, bytes = report.bytes, "retention moved the start of logs");
        }
        Ok(report)
    }
}

/// New log start of one log with what goes: segments, bytes. Rolls the active segment when it goes too.
async fn decide<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>, now_ms: i64) -> Result<Option<(i64, usize, u64)>, StorageError> {
    look_at_first_batch(store, log).await?;
    for _ in 0..SEGMENTS_MAX {
        let decision = {
            let mut state = log.state.borrow_mut();
            if state.closed {
                return Ok(None);
            }
            // A segment whose records have no timestamps ages from the moment on that somebody has seen it.
            for segment in state.segments.iter_mut().filter(|s| s.last_append_ms.is_none()) {
                segment.last_append_ms = Some(now_ms);
            }
            let ages: Vec<SegmentAge> = state
                .segments
                .iter()
                .map(|s| SegmentAge {
                    base_offset: s.base_offset,
                    next_offset: s.next_offset,
                    size: s.size,
                    max_timestamp_ms: s.max_timestamp_ms,
                    last_append_ms: s.last_append_ms.unwrap_or(now_ms),
                })
                .collect();
            let high_watermark = state.high_watermark.min(state.durable_end);
            let decision = plan(&log.config.borrow(), &ages, state.log_start, high_watermark, now_ms);
            if let RetentionPlan::MoveLogStart { roll: true, .. } = decision {
                state.roll_active();
            }
            decision
        };
        match decision {
            RetentionPlan::Keep => return Ok(None),
            RetentionPlan::NeedTimestamp { segment_base } => index_loader::ensure(store, log, segment_base).await?,
            RetentionPlan::MoveLogStart { to, segments, bytes, .. } => return Ok(Some((to, segments, bytes))),
        }
    }
    Ok(None)
}

/// After a restart nobody knows the time of the active segment's first batch, by which it will be rolled: looks once.
async fn look_at_first_batch<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>) -> Result<(), StorageError> {
    let base = {
        let state = log.state.borrow();
        let active = state.segments.active();
        if active.size == 0 || active.first_timestamp_ms.is_some() {
            return Ok(());
        }
        active.base_offset
    };
    let first = first_timestamp(store, log, base).await?;
    if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
        segment.first_timestamp_ms = first;
    }
    Ok(())
}

/// Largest timestamp of a segment's first batch, ms; `None` when the segment is empty or gone.
pub(crate) async fn first_timestamp<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<Option<i64>, StorageError> {
    let size = log.state.borrow().segments.get(base).map_or(0, |s| s.size);
    if (size as usize) < HEADER_BYTES {
        return Ok(None);
    }
    let Some(bytes) = scan::read_range(store, log, base, 0, HEADER_BYTES as u32).await? else { return Ok(None) };
    match BatchHeader::parse(&bytes) {
        Ok(header) => Ok(Some(header.max_timestamp)),
        Err(why) => Err(StorageError::corrupt(&log.path(&crate::segment::name::log_file(base)), Some(0), why.to_string())),
    }
}

/// Logs looked at in one turn of the shard.
const LOGS_PER_TURN: usize = 64;
/// Largest number of segments whose timestamps are looked up in one sweep of a log; the rest waits for the next.
const SEGMENTS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
