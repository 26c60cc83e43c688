//! Gets a segment's sparse indexes into memory: from its index files where they are good, by a scan for the rest; and saves them.
//!
//! Index files are a cache. They are written only for bytes that are durable, so after a crash they never say more than the log has.

use super::LogInner;
use super::scan;
use crate::error::StorageError;
use crate::io::Disk;
use crate::segment::offset_index::OffsetIndex;
use crate::segment::time_index::TimeIndex;
use crate::segment::{
    INDEX_HEADER_BYTES, IndexFileHeader, OFFSET_INDEX_MAGIC, SegmentIndex, TIME_INDEX_MAGIC, decode_index_file, encode_index_file, name,
};
use crate::store::StoreInner;

/// Makes sure that the segment's indexes are loaded. Fine if the segment is gone.
pub(crate) async fn ensure<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<(), StorageError> {
    let Some((missing, interval)) = missing_part(log, base) else { return Ok(()) };
    let swaps = log.steady().await;
    let (mut head, mut covered) = match load(store, log, base, missing).await? {
        Some((head, covered)) => (head, covered),
        None => (SegmentIndex::default(), 0),
    };
    if log.swaps.get() != swaps {
        return Ok(());
    }
    scan::scan(store, log, base, covered, missing, |batch| {
        let header = &batch.header;
        let relative = (header.base_offset - base).clamp(0, i64::from(u32::MAX)) as u32;
        // The largest timestamp of a batch that compaction has emptied belongs to no record.
        let newest = if header.record_count > 0 { header.max_timestamp } else { i64::MIN };
        head.add_batch(relative, batch.position, batch.end - batch.position, header.base_offset, newest, interval);
        covered = batch.end;
        true
    })
    .await?;
    let loaded_bytes = {
        let mut state = log.state.borrow_mut();
        if log.swaps.get() != swaps {
            return Ok(());
        }
        let Some(segment) = state.segments.get_mut(base).filter(|s| s.index_from == missing) else { return Ok(()) };
        segment.index.prepend(head);
        segment.index_from = 0;
        segment.index_saved = segment.index_saved.max(covered);
        segment.max_timestamp_ms = Some(segment.index.max_timestamp.map_or(i64::MIN, |(max, _)| max));
        segment.index.memory_bytes()
    };
    keep_within_bound(store, log, base, loaded_bytes);
    Ok(())
}

/// Notes an index that may be unloaded when memory is short, and unloads those that must go. Whatever is unloaded can be loaded again, also for the
/// active segment: what is appended meanwhile is indexed from there on.
pub(crate) fn keep_within_bound<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, bytes: usize) {
    let surplus = store.indexes.borrow_mut().add((log.tp, base), bytes, store.config.index_cache_bytes);
    for (tp, base) in surplus {
        let other = store.logs.borrow().get(&tp).map(|log| log.inner().clone());
        if let Some(other) = other
            && let Some(segment) = other.state.borrow_mut().segments.get_mut(base)
        {
            segment.unload_index();
        }
    }
}

/// How much of the segment is not indexed in memory, and the interval for indexing it.
fn missing_part<D: Disk>(log: &LogInner<D>, base: i64) -> Option<(u32, u32)> {
    let state = log.state.borrow();
    let segment = state.segments.get(base).filter(|s| s.index_from > 0)?;
    Some((segment.index_from, log.config.borrow().index_interval_bytes))
}

/// Reads the index files; `None` when one is missing or bad, or covers more than `missing` bytes.
async fn load<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    missing: u32,
) -> Result<Option<(SegmentIndex, u32)>, StorageError> {
    let offset_path = log.path(&name::offset_index_file(base));
    let time_path = log.path(&name::time_index_file(base));
    let offset_file = store.disk.read_file(&offset_path, INDEX_FILE_BYTES_MAX).await;
    let time_file = store.disk.read_file(&time_path, INDEX_FILE_BYTES_MAX).await;
    let (offset_file, time_file) = match (offset_file, time_file) {
        (Ok(Some(offset_file)), Ok(Some(time_file))) => (offset_file, time_file),
        (Ok(_), Ok(_)) => return Ok(None),
        // A cache that cannot be read is rebuilt like one that is missing.
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "index is rebuilt from the log");
            return Ok(None);
        }
    };
    // The index of a large segment has megabytes: checking and decoding them would hold the shard.
    let decoded = if offset_file.len() + time_file.len() <= IN_PLACE_BYTES_MAX {
        decode(base, &offset_file, &time_file, missing)
    } else {
        store.disk.compute(move || decode(base, &offset_file, &time_file, missing)).await
    };
    match decoded {
        Ok(found) => Ok(Some(found)),
        Err(why) => {
            tracing::warn!(file = %offset_path.display(), why, "index is rebuilt from the log");
            Ok(None)
        }
    }
}

fn decode(base: i64, offset_file: &[u8], time_file: &[u8], missing: u32) -> Result<(SegmentIndex, u32), &'static str> {
    let (header, offsets) = decode_index_file(OFFSET_INDEX_MAGIC, base, OffsetIndex::ENTRY_BYTES, offset_file)?;
    let (time_header, times) = decode_index_file(TIME_INDEX_MAGIC, base, TimeIndex::ENTRY_BYTES, time_file)?;
    if header != time_header {
        return Err("the two index files were not written together");
    }
    if header.covered > missing {
        return Err("covers more than the segment has");
    }
    let index = SegmentIndex::from_parts(
        OffsetIndex::decode(offsets, header.covered)?,
        TimeIndex::decode(times, header.covered)?,
        header.max_timestamp,
    );
    Ok((index, header.covered))
}

/// What both index files of a segment will say.
pub(crate) struct IndexToSave {
    header: IndexFileHeader,
    offsets: OffsetIndex,
    times: TimeIndex,
}

/// Takes a copy of a segment's index, when it is loaded, for saving.
pub(crate) fn capture<D: Disk>(log: &LogInner<D>, base: i64) -> Option<IndexToSave> {
    let state = log.state.borrow();
    let segment = state.segments.get(base).filter(|s| s.index_from == 0)?;
    let header = IndexFileHeader {
        base_offset: base,
        covered: segment.size,
        next_offset: segment.next_offset,
        max_timestamp: segment.index.max_timestamp,
    };
    Some(IndexToSave { header, offsets: segment.index.offsets.clone(), times: segment.index.times.clone() })
}

impl IndexToSave {
    /// The bytes of the two files.
    fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut entries = Vec::new();
        self.offsets.encode(&mut entries);
        let offsets = encode_index_file(OFFSET_INDEX_MAGIC, &self.header, OffsetIndex::ENTRY_BYTES, &entries);
        entries.clear();
        self.times.encode(&mut entries);
        let times = encode_index_file(TIME_INDEX_MAGIC, &self.header, TimeIndex::ENTRY_BYTES, &entries);
        (offsets, times)
    }
}

/// Saves a segment's index files; durable with the next sync of the file system. The caller has waited until everything in them is durable.
pub(crate) async fn save<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, index: IndexToSave) -> Result<(), StorageError> {
    let covered = index.header.covered;
    let (offsets, times) =
        if index.offsets.size_bytes() <= IN_PLACE_BYTES_MAX { index.encode() } else { store.disk.compute(move || index.encode()).await };
    for (file, bytes) in [(name::offset_index_file(base), &offsets), (name::time_index_file(base), &times)] {
        match store.disk.write_file_unsynced(&log.path(&file), bytes).await {
            // A cache: done without it.
            Err(error) if error.is_disk_full() => return Ok(()),
            written => store.poison.guard(written)?,
        }
    }
    if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
        segment.index_saved = segment.index_saved.max(covered);
    }
    Ok(())
}

/// Largest index file that is read, bytes: one entry per smallest batch of a full segment would be 500 MiB; beyond this it is rebuilt.
const INDEX_FILE_BYTES_MAX: usize = INDEX_HEADER_BYTES + (64 << 20);
/// Bytes of index entries that are encoded or decoded on the shard's own thread: tens of microseconds.
const IN_PLACE_BYTES_MAX: usize = 128 << 10;
