//! Runs a read plan: loads what the plan needs, then builds spans. Nothing here blocks the thread.
//!
//! Bytes below the segment's send mark are answered as a file span for `sendfile` (or read directly where the disk has none); bytes above it are slices of
//! memory. After every await the plan is made anew, because the log may have moved meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use super::read_plan::{self, KnownBatch, ReadDecision, ReadRequest, ScanHint, SegmentRange};
use super::state::LogState;
use super::{LogInner, ReadError, ReadPlan, ReadSpan, SendFile, index_loader, scan, sums};
use crate::error::StorageError;
use crate::io::Disk;
use crate::opener;
use crate::segment::name;
use crate::store::StoreInner;

/// Reads without waiting, when the answer is in memory.
pub(super) fn read_cached<D: Disk>(log: &Rc<LogInner<D>>, request: ReadRequest) -> Option<Result<ReadPlan, ReadError>> {
    let state = log.state.borrow();
    match read_plan::plan(&state, &request, None) {
        Err(error) => Some(Err(error)),
        Ok(ReadDecision::Empty) => Some(Ok(ReadPlan::empty(request.offset))),
        Ok(ReadDecision::Memory { ranges, next_offset }) => Some(Ok(memory_plan(&state, &ranges, next_offset))),
        Ok(_) => None,
    }
}

/// Reads.
pub(super) async fn read<D: Disk>(log: &Rc<LogInner<D>>, mut request: ReadRequest) -> Result<ReadPlan, ReadError> {
    let store = log.store()?;
    let asked = request.offset;
    let mut hint: Option<ScanHint> = None;
    for _ in 0..ATTEMPTS_MAX {
        if !store.send_supported.get() {
            request.max_bytes = request.max_bytes.min(store.config.copied_read_bytes_max);
        }
        let decision = read_plan::plan(&log.state.borrow(), &request, hint.as_ref())?;
        let swaps = log.swaps.get();
        match decision {
            ReadDecision::Empty => return Ok(ReadPlan::empty(asked)),
            ReadDecision::Memory { ranges, next_offset } => return Ok(memory_plan(&log.state.borrow(), &ranges, next_offset)),
            ReadDecision::NeedIndex { segment_base } => index_loader::ensure(&store, log, segment_base).await?,
            ReadDecision::NeedScan { segment_base, from } => {
                let found = scan_for(&store, log, segment_base, from, &request).await?;
                // Compaction may have left no batch between the offset and the next segment.
                let end = found.batches.is_empty().then(|| sealed_end(log, segment_base)).flatten();
                if log.swaps.get() != swaps {
                    hint = None;
                } else if let Some(end) = end {
                    request.offset = request.offset.max(end);
                    hint = None;
                } else {
                    hint = Some(found);
                }
            }
            ReadDecision::Segment { range, next_offset } => {
                let plan = segment_plan(&store, log, range, next_offset).await?;
                if let Some(plan) = plan.filter(|_| log.swaps.get() == swaps) {
                    return Ok(plan);
                }
                hint = hint.filter(|_| log.swaps.get() == swaps);
            }
        }
    }
    // The log was cut or its segments were removed again and again while reading: as if nothing was there yet.
    Ok(ReadPlan::empty(asked))
}

fn memory_plan(state: &LogState, ranges: &[SegmentRange], next_offset: i64) -> ReadPlan {
    let mut spans = Vec::with_capacity(ranges.len());
    let mut bytes = 0;
    for range in ranges {
        for slice in state.tail.slices(range.segment_base, range.from, range.to) {
            bytes += slice.len();
            spans.push(ReadSpan::Memory(slice));
        }
    }
    debug_assert_eq!(bytes, ranges.iter().map(|r| (r.to - r.from) as usize).sum::<usize>());
    ReadPlan { spans, bytes, next_offset }
}

/// Where a sealed segment ends; `None` for the active one.
fn sealed_end<D: Disk>(log: &LogInner<D>, base: i64) -> Option<i64> {
    log.state.borrow().segments.get(base).filter(|s| s.sealed).map(|s| s.next_offset)
}

/// Finds the batch that contains the offset, and some behind it.
async fn scan_for<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    from: u32,
    request: &ReadRequest,
) -> Result<ScanHint, StorageError> {
    let size = log.state.borrow().segments.get(base).map_or(0, |s| s.size);
    let mut batches: Vec<KnownBatch> = Vec::new();
    let mut bytes = 0u32;
    scan::scan(store, log, base, from, size, |batch| {
        if batch.header.next_offset() <= request.offset {
            return true;
        }
        bytes = bytes.saturating_add(batch.end - batch.position);
        batches.push(KnownBatch { position: batch.position, end: batch.end, next_offset: batch.header.next_offset() });
        bytes < request.max_bytes.min(SCAN_AHEAD_BYTES) && batch.header.next_offset() < request.upper
    })
    .await?;
    Ok(ScanHint { segment_base: base, batches })
}

/// Spans of a range of one segment; `None` when the segment went away meanwhile.
async fn segment_plan<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    range: SegmentRange,
    next_offset: i64,
) -> Result<Option<ReadPlan>, StorageError> {
    let SegmentRange { segment_base, from, to } = range;
    opener::load_head_for(store, log, segment_base, to).await?;
    sums::ensure_verified(store, log, segment_base, from, to).await?;
    let file = if store.send_supported.get() { send_file(store, log, segment_base).await? } else { None };
    let Some(file) = file else {
        if store.send_supported.get() {
            return Ok(None);
        }
        if (to - from) > store.config.copied_read_bytes_max && from + store.config.copied_read_bytes_max < to && !single_batch(log, range) {
            return Ok(None);
        }
        let Some(bytes) = scan::read_range(store, log, segment_base, from, to).await? else { return Ok(None) };
        log.state.borrow_mut().note_read_end(next_offset, segment_base, to);
        return Ok(Some(ReadPlan { bytes: bytes.len(), spans: vec![ReadSpan::Memory(bytes)], next_offset }));
    };
    let mut state = log.state.borrow_mut();
    let Some(segment) = state.segments.get(segment_base).filter(|_| !state.deleted) else { return Ok(None) };
    let mark = segment.send_mark(store.disk.alignment() as u32);
    let mut spans = Vec::with_capacity(2);
    if from < mark {
        let end = to.min(mark);
        // Who begins where a read ended, or at the start of a segment, will most likely go on.
        let in_sequence = from == 0 || state.read_marks.iter().any(|m| (m.1, m.2) == (segment_base, from));
        let ahead = if in_sequence { mark - end } else { 0 };
        spans.push(ReadSpan::File { file, position: u64::from(from), len: end - from, ahead });
    }
    spans.extend(state.memory_slices(segment_base, from, to, mark).into_iter().map(ReadSpan::Memory));
    state.note_read_end(next_offset, segment_base, to);
    let bytes = spans.iter().map(ReadSpan::len).sum();
    debug_assert_eq!(bytes, (to - from) as usize, "bytes above the send mark left the memory");
    Ok(Some(ReadPlan { spans, bytes, next_offset }))
}

/// True when the range may be one large batch, which must be answered whole.
fn single_batch<D: Disk>(log: &LogInner<D>, range: SegmentRange) -> bool {
    let state = log.state.borrow();
    let Some(segment) = state.segments.get(range.segment_base) else { return false };
    segment.index.offsets.floor_by_position(range.to.saturating_sub(1)).is_none_or(|entry| entry.position <= range.from)
}

/// The segment's descriptor for `sendfile`; `None` when this disk has none, or when the file is gone.
pub(super) async fn send_file<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<Option<Arc<SendFile>>, StorageError> {
    let key = (log.tp, base);
    if let Some(file) = store.files.borrow_mut().send(key) {
        return Ok(Some(file));
    }
    if !log.state.borrow().segments.get(base).is_some_and(|s| s.on_disk) {
        return Ok(None);
    }
    let swaps = log.steady().await;
    match store.disk.open_for_send(&log.path(&name::log_file(base))).await {
        // Compaction has put another file in its place meanwhile.
        Ok(_) if log.swaps.get() != swaps => Ok(None),
        Ok(fd) => {
            let file = Arc::new(SendFile::new(fd));
            store.files.borrow_mut().put_send(key, file.clone());
            Ok(Some(file))
        }
        Err(error) if error.source.kind() == std::io::ErrorKind::Unsupported => {
            store.send_supported.set(false);
            Ok(None)
        }
        Err(error) if error.is_not_found() && log.state.borrow().segments.get(base).is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Plans made for one read before giving up.
const ATTEMPTS_MAX: usize = 16;
/// Bytes of batches looked at beyond the one that contains the offset.
const SCAN_AHEAD_BYTES: u32 = 256 << 10;
