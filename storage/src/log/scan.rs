//! Walks batch headers of a segment, wherever its bytes are: file below the flushed mark, memory above it.

use bytes::Bytes;
use coreline_wire::record::BatchHeader;
use coreline_wire::record::batch::HEADER_BYTES;

use super::flusher::segment_file;
use super::{LogInner, sums};
use crate::error::StorageError;
use crate::io::{Disk, DiskFile};
use crate::opener;
use crate::segment::name;
use crate::store::StoreInner;

/// A batch found by a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedBatch {
    /// Its position in the segment.
    pub position: u32,
    /// Position behind it.
    pub end: u32,
    /// Its header.
    pub header: BatchHeader,
}

/// Reads bytes `from..to` of a segment, which are what was written there; `to` must not be above the segment's size. `None` when the segment is gone.
pub(crate) async fn read_range<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    from: u32,
    to: u32,
) -> Result<Option<Bytes>, StorageError> {
    // The caller's positions are of this generation: nobody else had a turn in between.
    let generation = generation(log, base);
    sums::ensure_verified(store, log, base, from, to).await?;
    read_generation(store, log, base, generation, from, to).await
}

/// Reads bytes `from..to` of a segment, unchecked; `to` must not be above the segment's size. `None` when the segment is gone.
pub(crate) async fn read_raw<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    from: u32,
    to: u32,
) -> Result<Option<Bytes>, StorageError> {
    let generation = generation(log, base);
    read_generation(store, log, base, generation, from, to).await
}

/// What tells positions of a segment before a compaction from those after it; `None` when it is gone.
pub(crate) fn generation<D: Disk>(log: &LogInner<D>, base: i64) -> Option<u32> {
    log.state.borrow().segments.get(base).map(|s| s.generation)
}

async fn read_generation<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    wanted: Option<u32>,
    from: u32,
    to: u32,
) -> Result<Option<Bytes>, StorageError> {
    let alignment = store.disk.alignment() as u32;
    if generation(log, base) != wanted {
        return Ok(None);
    }
    opener::load_head_for(store, log, base, to).await?;
    let (mark, memory) = {
        let state = log.state.borrow();
        let Some(segment) = state.segments.get(base).filter(|s| !state.deleted && Some(s.generation) == wanted) else {
            return Ok(None);
        };
        let mark = segment.send_mark(alignment);
        (mark, state.memory_slices(base, from.max(mark), to, mark))
    };
    if from >= mark {
        return Ok(Some(concat(memory)));
    }
    let file_end = to.min(mark);
    let file = match segment_file(store, log, base).await {
        Ok(file) => file,
        // Removed between the look and the open.
        Err(StorageError::Io(error)) if error.is_not_found() && generation(log, base) != wanted => return Ok(None),
        Err(error) => return Err(error),
    };
    if generation(log, base) != wanted {
        return Ok(None);
    }
    let mut bytes = file.read_at(u64::from(from), (file_end - from) as usize).await?;
    if bytes.len() != (file_end - from) as usize {
        let path = log.path(&name::log_file(base));
        return Err(StorageError::corrupt(&path, Some(u64::from(from) + bytes.len() as u64), format!("ends before {file_end}")));
    }
    if memory.is_empty() {
        return Ok(Some(bytes.into()));
    }
    for slice in memory {
        bytes.extend_from_slice(&slice);
    }
    Ok(Some(bytes.into()))
}

fn concat(mut slices: Vec<Bytes>) -> Bytes {
    match slices.len() {
        0 => Bytes::new(),
        1 => slices.swap_remove(0),
        _ => slices.concat().into(),
    }
}

/// Walks batches from `from` (a batch's start) up to `to`, calling `visit` for each; it says whether to go on. Stops at `to` even within a batch.
pub(crate) async fn scan<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    from: u32,
    to: u32,
    mut visit: impl FnMut(&ScannedBatch) -> bool,
) -> Result<(), StorageError> {
    let begun = generation(log, base);
    let mut position = from;
    let mut window_bytes = WINDOW_BYTES_MIN;
    while position < to {
        let window_end = to.min(position.saturating_add(window_bytes));
        if generation(log, base) != begun {
            // Compaction has put another file in its place: positions mean nothing any more. Callers look at `LogInner::swaps`.
            return Ok(());
        }
        let Some(window) = read_range(store, log, base, position, window_end).await? else { return Ok(()) };
        window_bytes = (window_bytes * 4).min(WINDOW_BYTES_MAX);
        let start = position;
        // Headers that lie wholly in the window.
        while position < to && (position - start) as usize + HEADER_BYTES <= window.len() {
            let header =
                BatchHeader::parse(&window[(position - start) as usize..]).map_err(|e| damaged(log, base, position, e.to_string()))?;
            let size = u32::try_from(header.size_bytes()).ok().filter(|size| position.checked_add(*size).is_some());
            let size = size.ok_or_else(|| damaged(log, base, position, "a batch longer than a segment".into()))?;
            let batch = ScannedBatch { position, end: position + size, header };
            if !visit(&batch) {
                return Ok(());
            }
            position = batch.end;
        }
        if position == start {
            return Err(damaged(log, base, position, format!("{} bytes are too few for a batch", to - position)));
        }
    }
    Ok(())
}

fn damaged<D: Disk>(log: &LogInner<D>, base: i64, position: u32, why: String) -> StorageError {
    StorageError::corrupt(&log.path(&name::log_file(base)), Some(u64::from(position)), why)
}

const WINDOW_BYTES_MIN: u32 = 16 << 10;
const WINDOW_BYTES_MAX: u32 = 256 << 10;
