//! Opens single logs from what recovery saw, and reads later what the first append or the first read of the last block needs.
//!
//! Files that contradict the checkpoint keep one log closed, by an error that names them; the others go on.

use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use coreline_wire::ids::TopicPartition;

use crate::checkpoint::{CheckpointEntry, SavedProducers};
use crate::compaction::swap;
use crate::config::LogConfig;
use crate::error::StorageError;
use crate::io::{Disk, DiskFile};
use crate::loader::load_producers;
use crate::log::append_plan::producer_batch;
use crate::log::flusher::segment_file;
use crate::log::state::{BlockHead, LogState};
use crate::log::{Log, LogInner, scan};
use crate::producer_state::ProducerTable;
use crate::segment::Segment;
use crate::segment::name::{self, FileKind};
use crate::segment::set::SegmentSet;
use crate::segment::sums::{SUM_BLOCK_BYTES, SavedSums, SegmentSums};
use crate::store::StoreInner;

/// Opens one log: `entry` is what the base table says, `None` for a partition that has none yet; `listed` are its segments when they are known. What
/// the first append or the first read of the last block needs is left to `load`.
pub(crate) async fn open_log<D: Disk>(
    store: &Rc<StoreInner<D>>,
    tp: TopicPartition,
    entry: Option<CheckpointEntry>,
    listed: Option<Vec<(i64, u64)>>,
    config: LogConfig,
) -> Result<Log<D>, StorageError> {
    let dir = store.dir.partition(tp);
    let known = entry.is_some();
    let files = match listed {
        Some(files) => files,
        None => {
            store.disk.create_dir(&dir).await?;
            let mut files = store.disk.list_dir(&dir).await?;
            if swap::settle(&store.disk, &dir, &files).await? {
                files = store.disk.list_dir(&dir).await?;
            }
            let logs =
                files.iter().filter_map(|f| if let FileKind::Log(base) = name::parse(&f.name) { Some((base, f.size_bytes)) } else { None });
            logs.collect()
        }
    };
    let entry = entry.unwrap_or_else(|| CheckpointEntry::empty(0));
    let mut files = files;
    files.sort_unstable();
    // A crash may have brought back what was removed below the log start.
    while let [(old, _), (next, _), ..] = files[..]
        && next <= entry.log_start.min(entry.point.segment_base)
    {
        for file in [name::log_file(old), name::offset_index_file(old), name::time_index_file(old), name::sums_file(old)] {
            store.disk.remove_file(&dir.join(file)).await?;
        }
        files.remove(0);
    }
    let segments = order_segments(&dir, &entry, known, files)?;
    let mut state = LogState::new(segments, entry);
    let size = state.segments.active().size;
    let sums_known = state.saved.sums.prefix.is_some() || size.is_multiple_of(SUM_BLOCK_BYTES);
    state.head_missing = !size.is_multiple_of(store.disk.alignment() as u32) || !sums_known;
    if !state.head_missing {
        let sums = SegmentSums::from_saved(&state.saved.sums, size);
        let active = state.segments.active_mut();
        (active.sum_marks, active.sums) = (sums.marks(), sums);
    }
    match &state.saved.producers {
        SavedProducers::None => {}
        SavedProducers::Inline(bytes) => match ProducerTable::decode(bytes) {
            Ok((table, _)) => state.producers = table,
            Err(_) => state.producers_missing = true,
        },
        SavedProducers::File(_) => state.producers_missing = true,
    }
    Ok(Log::new(store, tp, state, config))
}

/// Reads what opening has left: the last block, and the producers when they are in a file or must be rebuilt. Several may do it at once.
pub(crate) async fn load<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>) -> Result<(), StorageError> {
    load_head(store, log).await?;
    let saved = {
        let state = log.state.borrow();
        if !state.producers_missing {
            return Ok(());
        }
        state.saved.producers.clone()
    };
    let (table, rebuilt) = match load_producers(&store.disk, &log.dir, &saved).await {
        Ok(Some((table, _))) => (table, false),
        Ok(None) => (rebuild_producers(store, log).await?, true),
        Err(error @ StorageError::NewerFormat { .. }) => return Err(error),
        Err(error) => {
            tracing::warn!(partition = %log.tp, %error, "producer state is rebuilt from the log");
            (rebuild_producers(store, log).await?, true)
        }
    };
    let mut state = log.state.borrow_mut();
    // Nothing is appended while they are missing, so whoever comes first has read the same.
    if std::mem::take(&mut state.producers_missing) {
        state.producers = table;
        state.producers_changed |= rebuilt;
    }
    Ok(())
}

/// The segments on the disk: all but the last are sealed and exactly as long as their files.
fn order_segments(dir: &Path, entry: &CheckpointEntry, known: bool, files: Vec<(i64, u64)>) -> Result<SegmentSet, StorageError> {
    let point = entry.point;
    let damaged = |base: i64, why: String| StorageError::corrupt(&dir.join(name::log_file(base)), None, why);
    if !known && let Some((base, size)) = files.iter().find(|(_, size)| *size > 0) {
        return Err(damaged(*base, format!("{size} bytes, but no checkpoint knows this partition")));
    }
    if let Some((base, _)) = files.iter().find(|(base, _)| *base > point.segment_base) {
        return Err(damaged(*base, format!("lies behind the checkpoint at offset {}", point.offset)));
    }
    let first = files.first().map_or(point.segment_base, |(base, _)| *base);
    if first > entry.log_start {
        return Err(damaged(
            first,
            format!("it is the first segment, and the log starts at offset {}: segments are missing", entry.log_start),
        ));
    }
    let mut segments = Vec::with_capacity(files.len().max(1));
    for (index, &(base, size)) in files.iter().enumerate() {
        if base == point.segment_base {
            if size < u64::from(point.position) {
                return Err(damaged(base, format!("{size} bytes, the checkpoint says {}", point.position)));
            }
            let mut active = Segment::on_disk(base, point.offset, point.position, false);
            active.allocated = size;
            segments.push(active);
        } else {
            let next = files.get(index + 1).map_or(point.segment_base, |(next, _)| *next);
            let size = u32::try_from(size).map_err(|_| damaged(base, format!("{size} bytes are too many for a segment")))?;
            if size == 0 {
                return Err(damaged(base, format!("it is empty, and the log goes on at offset {next}")));
            }
            segments.push(Segment::on_disk(base, next, size, true));
        }
    }
    if segments.last().is_none_or(|s| s.base_offset != point.segment_base) {
        if point.position > 0 {
            return Err(damaged(point.segment_base, format!("missing, the checkpoint says {} bytes", point.position)));
        }
        segments.push(Segment::new(point.segment_base));
    }
    SegmentSet::from_segments(segments).ok_or_else(|| damaged(point.segment_base, "segments overlap".into()))
}

/// `load_head`, for a read up to `to` of a segment, when that comes so far.
pub(crate) async fn load_head_for<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, to: u32) -> Result<(), StorageError> {
    let needed = {
        let state = log.state.borrow();
        let active = state.segments.active();
        state.head_missing && active.base_offset == base && to > active.size - active.size % SUM_BLOCK_BYTES
    };
    if needed { load_head(store, log).await } else { Ok(()) }
}

/// Reads the partly filled last block: the next append needs its image, the next write and readers its bytes. They must be what the checkpoint says was
/// written, because they are written again.
pub(crate) async fn load_head<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>) -> Result<(), StorageError> {
    let (base, size, saved) = {
        let state = log.state.borrow();
        if !state.head_missing {
            return Ok(());
        }
        (state.segments.active().base_offset, state.segments.active().size, state.saved.sums.clone())
    };
    let alignment = store.disk.alignment() as u32;
    // From where its checksum begins.
    let from = size - size % SUM_BLOCK_BYTES;
    let file = segment_file(store, log, base).await?;
    let bytes = file.read_at(u64::from(from), (size - from) as usize).await?;
    let damaged = |position: u32, why: String| Err(StorageError::corrupt(&log.path(&name::log_file(base)), Some(u64::from(position)), why));
    if bytes.len() != (size - from) as usize {
        return damaged(from + bytes.len() as u32, format!("ends before its checkpoint at {size}"));
    }
    let mut sums = SegmentSums::from_saved(&SavedSums { prefix: None, ..saved.clone() }, from);
    sums.extend(from, &bytes, alignment, size);
    if saved.prefix.is_some_and(|sum| sum != sums.marks().end.sum) {
        if store.note_damage(log.tp, base, from / SUM_BLOCK_BYTES) {
            tracing::error!(partition = %log.tp, segment = base, from, to = size, "damaged data: the last block is not what was written");
        }
        return damaged(from, format!("bytes {from}..{size} are not what was written there"));
    }
    let mut state = log.state.borrow_mut();
    // Nothing is appended while it is missing; somebody else may have been faster, and appends may have followed.
    if std::mem::take(&mut state.head_missing) {
        let active = state.segments.active_mut();
        (active.sum_marks, active.sums) = (sums.marks(), sums);
        let start = size & !(alignment - 1);
        if start < size {
            let head = BlockHead { segment_base: base, start, bytes: Bytes::from(bytes).slice((start - from) as usize..) };
            state.written_head = Some(head.clone());
            state.flushed_head = Some(head);
            state.image_needed = true;
        }
    }
    Ok(())
}

/// Reads every batch header of the log: only when the saved producers are lost.
async fn rebuild_producers<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>) -> Result<ProducerTable, StorageError> {
    let segments: Vec<(i64, u32)> = log.state.borrow().segments.iter().map(|s| (s.base_offset, s.size)).collect();
    let producers_max = log.config.borrow().producers_max as usize;
    let mut table = ProducerTable::default();
    for (base, size) in segments {
        scan::scan(store, log, base, 0, size, |batch| {
            if let Some(producer) = producer_batch(&batch.header) {
                let time = batch.header.max_timestamp;
                table.apply(&producer, batch.header.base_offset, time, time, producers_max);
            }
            true
        })
        .await?;
    }
    Ok(table)
}
