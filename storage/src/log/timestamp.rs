//! Finds records by time, exact to the record: the time index leads to a batch, the batch is decompressed and looked through.

use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::record::batch::HEADER_BYTES;
use coreline_wire::record::compression::decompress;
use coreline_wire::record::iter::Records;
use coreline_wire::record::validate::timestamp_of;
use coreline_wire::record::{Compression, TimestampType};

use super::scan::{self, ScannedBatch};
use super::{LogInner, TimestampOffset, index_loader};
use crate::error::StorageError;
use crate::io::Disk;
use crate::segment::name;
use crate::store::StoreInner;

/// First record in `log start..upper` whose timestamp is at least `timestamp_ms`.
pub(super) async fn first_at_or_after<D: Disk>(
    log: &Rc<LogInner<D>>,
    timestamp_ms: i64,
    upper: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    for _ in 0..ATTEMPTS_MAX {
        let swaps = log.steady().await;
        let found = try_first_at_or_after(log, timestamp_ms, upper).await;
        // Compaction may have exchanged the files that were looked at.
        if log.swaps.get() == swaps {
            return found;
        }
    }
    try_first_at_or_after(log, timestamp_ms, upper).await
}

async fn try_first_at_or_after<D: Disk>(
    log: &Rc<LogInner<D>>,
    timestamp_ms: i64,
    upper: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    let store = log.store()?;
    let mut next = log.state.borrow().log_start;
    // Segment by segment, by offset, because segments may come and go between awaits.
    while let Some((base, known_max)) = segment_at(log, next) {
        let older = match known_max {
            Some(max) => max < timestamp_ms,
            None => {
                index_loader::ensure(&store, log, base).await?;
                let state = log.state.borrow();
                state.segments.get(base).and_then(|s| s.index.max_timestamp).is_none_or(|(max, _)| max < timestamp_ms)
            }
        };
        if base >= upper {
            return Ok(None);
        }
        if !older && let Some(found) = first_in_segment(&store, log, base, timestamp_ms, upper).await? {
            return Ok(Some(found));
        }
        let end = log.state.borrow().segments.get(base).map_or(base + 1, |s| s.next_offset);
        if end <= next && log.state.borrow().segments.after(base).is_none() {
            return Ok(None);
        }
        next = end.max(next + 1);
    }
    Ok(None)
}

/// First record with the largest timestamp of `log start..upper`.
pub(super) async fn largest<D: Disk>(log: &Rc<LogInner<D>>, upper: i64) -> Result<Option<TimestampOffset>, StorageError> {
    for _ in 0..ATTEMPTS_MAX {
        let swaps = log.steady().await;
        let found = try_largest(log, upper).await;
        if log.swaps.get() == swaps {
            return found;
        }
    }
    try_largest(log, upper).await
}

async fn try_largest<D: Disk>(log: &Rc<LogInner<D>>, upper: i64) -> Result<Option<TimestampOffset>, StorageError> {
    let store = log.store()?;
    let bases: Vec<i64> = log.state.borrow().segments.iter().map(|s| s.base_offset).collect();
    let mut best: Option<i64> = None;
    for base in bases {
        index_loader::ensure(&store, log, base).await?;
        let state = log.state.borrow();
        let Some((max, _)) = state.segments.get(base).and_then(|s| s.index.max_timestamp) else { continue };
        best = best.max(Some(max));
    }
    // The first record that is as late as the largest timestamp is the answer, unless it lies outside the bounds: then the largest within them is not
    // known to the indexes, and the batches tell.
    let Some(max) = best else { return Ok(None) };
    match first_at_or_after(log, max, upper).await? {
        Some(found) => Ok(Some(found)),
        None => largest_by_headers(&store, log, upper).await,
    }
}

/// The largest timestamp by the headers of all batches within the bounds: only needed when the record that the indexes know as the latest is outside.
async fn largest_by_headers<D: Disk>(
    store: &StoreInner<D>,
    log: &Rc<LogInner<D>>,
    upper: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    let start = log.state.borrow().log_start;
    let bases: Vec<(i64, u32)> = log.state.borrow().segments.iter().map(|s| (s.base_offset, s.size)).collect();
    let mut best: Option<i64> = None;
    let mut across_start: Option<(i64, ScannedBatch)> = None;
    for (base, size) in bases {
        scan::scan(store, log, base, 0, size, |batch| {
            if batch.header.next_offset() > upper {
                return false;
            }
            if batch.header.record_count == 0 {
                return true;
            }
            if batch.header.base_offset >= start {
                best = best.max(Some(batch.header.max_timestamp));
            } else if batch.header.next_offset() > start {
                across_start = Some((base, *batch));
            }
            true
        })
        .await?;
    }
    if let Some((base, batch)) = across_start
        && let Some(bytes) = scan::read_range(store, log, base, batch.position, batch.end).await?
    {
        walk_records(&batch, &bytes, |offset, timestamp_ms| {
            if offset >= start {
                best = best.max(Some(timestamp_ms));
            }
            true
        })
        .map_err(|why| damaged(log, base, &batch, why))?;
    }
    match best {
        Some(max) => first_at_or_after(log, max, upper).await,
        None => Ok(None),
    }
}

fn segment_at<D: Disk>(log: &LogInner<D>, offset: i64) -> Option<(i64, Option<i64>)> {
    let state = log.state.borrow();
    let segment = state
        .segments
        .floor(offset)
        .filter(|s| offset < s.next_offset)
        .or_else(|| state.segments.iter().find(|s| s.base_offset > offset))?;
    Some((segment.base_offset, segment.max_timestamp_ms.filter(|_| segment.sealed)))
}

async fn first_in_segment<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    timestamp_ms: i64,
    upper: i64,
) -> Result<Option<TimestampOffset>, StorageError> {
    index_loader::ensure(store, log, base).await?;
    let (mut from, size, log_start) = {
        let state = log.state.borrow();
        let Some(segment) = state.segments.get(base) else { return Ok(None) };
        let from = if segment.index_from == 0 { segment.index.times.search_start(timestamp_ms) } else { 0 };
        (from, segment.size, state.log_start)
    };
    loop {
        let mut candidate: Option<ScannedBatch> = None;
        scan::scan(store, log, base, from, size, |batch| {
            let reached = batch.header.max_timestamp >= timestamp_ms && batch.header.next_offset() > log_start;
            if reached {
                candidate = Some(*batch);
            }
            !reached && batch.header.next_offset() <= upper
        })
        .await?;
        let Some(batch) = candidate.filter(|b| b.header.next_offset() <= upper) else { return Ok(None) };
        let Some(bytes) = scan::read_range(store, log, base, batch.position, batch.end).await? else { return Ok(None) };
        let found = first_in_batch(&batch, &bytes, timestamp_ms, log_start).map_err(|why| damaged(log, base, &batch, why))?;
        if found.is_some() {
            return Ok(found);
        }
        from = batch.end;
    }
}

/// First record of a batch that is late enough and not below the log start.
fn first_in_batch(batch: &ScannedBatch, bytes: &Bytes, timestamp_ms: i64, log_start: i64) -> Result<Option<TimestampOffset>, String> {
    let leader_epoch = batch.header.partition_leader_epoch;
    let mut found = None;
    walk_records(batch, bytes, |offset, timestamp| {
        if timestamp >= timestamp_ms && offset >= log_start {
            found = Some(TimestampOffset { offset, timestamp_ms: timestamp, leader_epoch });
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Calls `visit` with offset and timestamp of each record of a batch until it says stop.
fn walk_records(batch: &ScannedBatch, bytes: &Bytes, mut visit: impl FnMut(i64, i64) -> bool) -> Result<(), String> {
    let header = &batch.header;
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime && header.record_count - 1 == header.last_offset_delta {
        // One time for all records, and compaction has left no gaps.
        let mut offsets = header.base_offset..header.next_offset();
        offsets.all(|offset| visit(offset, header.max_timestamp));
        return Ok(());
    }
    let payload = &bytes[HEADER_BYTES..];
    let mut unpacked = Vec::new();
    let records = match header.compression() {
        Some(Compression::None) => payload,
        Some(codec) => {
            decompress(codec, payload, BATCH_BYTES_MAX, &mut unpacked).map_err(|e| e.to_string())?;
            &unpacked
        }
        None => return Err("unknown codec".into()),
    };
    for record in Records::new(records, header.record_count).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        if !visit(header.base_offset + i64::from(record.offset_delta), timestamp_of(header, &record)) {
            break;
        }
    }
    Ok(())
}

fn damaged<D: Disk>(log: &LogInner<D>, base: i64, batch: &ScannedBatch, why: String) -> StorageError {
    StorageError::corrupt(&log.path(&name::log_file(base)), Some(u64::from(batch.position)), why)
}

/// Lookups made anew because files were exchanged meanwhile.
const ATTEMPTS_MAX: usize = 4;
/// Largest size that one batch may unpack to for a lookup, bytes.
const BATCH_BYTES_MAX: usize = 128 << 20;
