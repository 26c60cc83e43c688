//! Checks what the disk gives back against a segment's checksums, once per process and block; loads, completes and saves the sidecar.
//!
//! A block that is not as it was written is never served: every read fails that touches it, with an error that names file, position and offset. A sidecar
//! that is missing, unreadable or behind is completed from the data, of which every batch is checked on the way.

use std::ops::Range;

use bytes::Bytes;
use coreline_wire::record::batch::HEADER_BYTES;
use coreline_wire::record::{BatchHeader, Origin, RawBatch};

use super::flusher::segment_file;
use super::{LogInner, reader, scan};
use crate::error::StorageError;
use crate::io::{Disk, DiskFile};
use crate::opener;
use crate::segment::name;
use crate::segment::sums::{SUM_BLOCK_BYTES, SUMS_FILE_BYTES_MAX, SegmentSums, Sidecar, decode_signed, extend_sum, sign};
use crate::store::StoreInner;

/// Makes sure that the bytes `from..to` of a segment's file, below its send mark, are what was written there. Fine if the segment is gone.
pub(crate) async fn ensure_verified<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    from: u32,
    to: u32,
) -> Result<(), StorageError> {
    opener::load_head_for(store, log, base, to).await?;
    let mut unknown = 0;
    loop {
        let Some(blocks) = unverified(store, log, base, from, to) else { return Ok(()) };
        load(store, log, base).await?;
        let swaps = log.swaps.get();
        // What is expected, as of one moment; the log may grow while the disk is read.
        let Some((expected, end)) = expected(store, log, base, blocks.clone()) else {
            // They were forgotten meanwhile, for want of memory.
            unknown += 1;
            if unknown < ATTEMPTS_MAX {
                continue;
            }
            debug_assert!(false, "blocks {blocks:?} of segment {base} have no sums");
            return Err(StorageError::corrupt(&log.path(&name::sums_file(base)), None, "its checksums are not to be had"));
        };
        let found = found(store, log, base, &expected, end).await;
        if log.swaps.get() != swaps {
            // Compaction has put another file in its place: what was expected is not what was read.
            continue;
        }
        let found = found?;
        let Some(found) = found else { return Ok(()) };
        for ((block, sum), found) in expected.into_iter().zip(found) {
            let block_end = (block + 1).saturating_mul(SUM_BLOCK_BYTES).min(end);
            if sum != found {
                return Err(damaged(store, log, base, block, block_end));
            }
            if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
                segment.verified.note(block, block_end);
            }
        }
    }
}

/// The next blocks to check, at most a step's.
fn unverified<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, from: u32, to: u32) -> Option<Range<u32>> {
    let state = log.state.borrow();
    let segment = state.segments.get(base).filter(|_| !state.deleted)?;
    let to = to.min(segment.send_mark(store.disk.alignment() as u32));
    let blocks = segment.verified.missing(from.min(to), to)?;
    Some(blocks.start..blocks.end.min(blocks.start + STEP_BLOCKS))
}

/// Sums of blocks that can be checked now, and the position up to which the last of them goes.
pub(super) fn expected<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, blocks: Range<u32>) -> Option<(Vec<(u32, u32)>, u32)> {
    let state = log.state.borrow();
    let segment = state.segments.get(base).filter(|_| !state.deleted)?;
    let mark = segment.send_mark(store.disk.alignment() as u32);
    let end = blocks.end.saturating_mul(SUM_BLOCK_BYTES).min(mark);
    let mut expected = Vec::new();
    for block in blocks {
        let whole = (block + 1).saturating_mul(SUM_BLOCK_BYTES) <= end;
        let sum = if whole { segment.sums.block(block) } else { segment.sum_marks.sum_at(end) };
        expected.push((block, sum?));
    }
    Some((expected, end))
}

/// Sums of what the disk has. Through the page cache and off this thread where `sendfile` will read; `None` when the segment is gone.
async fn found<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    blocks: &[(u32, u32)],
    end: u32,
) -> Result<Option<Vec<u32>>, StorageError> {
    let (Some((first, _)), Some((last, _))) = (blocks.first(), blocks.last()) else { return Ok(Some(Vec::new())) };
    let from = first * SUM_BLOCK_BYTES;
    let file = if store.send_supported.get() { reader::send_file(store, log, base).await? } else { None };
    let (sums, bytes) = match file {
        Some(file) => {
            store.disk.block_sums(file.held(), &log.path(&name::log_file(base)), u64::from(from)..u64::from(end), SUM_BLOCK_BYTES).await?
        }
        None if store.send_supported.get() => return Ok(None),
        None => {
            let bytes = segment_file(store, log, base).await?.read_at(u64::from(from), (end - from) as usize).await?;
            (bytes.chunks(SUM_BLOCK_BYTES as usize).map(|block| extend_sum(0, block)).collect(), bytes.len() as u64)
        }
    };
    if bytes != u64::from(end - from) || sums.len() != (last - first) as usize + 1 {
        return Err(StorageError::corrupt(&log.path(&name::log_file(base)), Some(u64::from(from) + bytes), format!("ends before {end}")));
    }
    Ok(Some(sums))
}

/// A block is not what was written: tells it once and counts it.
pub(super) fn damaged<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64, block: u32, end: u32) -> StorageError {
    let start = block * SUM_BLOCK_BYTES;
    let offset = {
        let state = log.state.borrow();
        let near = state.segments.get(base).and_then(|s| s.index.offsets.floor_by_position(start));
        base + near.map_or(0, |entry| i64::from(entry.relative_offset))
    };
    let path = log.path(&name::log_file(base));
    let why = format!("bytes {start}..{end} are not what was written there, from about offset {offset} on; they are not served");
    let error = StorageError::corrupt(&path, Some(u64::from(start)), why);
    if store.note_damage(log.tp, base, block) {
        tracing::error!(partition = %log.tp, %error, "damaged data");
    }
    error
}

/// Makes sure that all of a segment's sums are known. Fine if the segment is gone.
pub(super) async fn load<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<(), StorageError> {
    let Some(wanted) = missing_to(log, base) else { return Ok(()) };
    let swaps = log.steady().await;
    let loaded = load_wanted(store, log, base, wanted).await;
    if log.swaps.get() != swaps {
        // Compaction has put another file in its place, with sums of its own.
        return Ok(());
    }
    let Some((head, saved)) = loaded? else { return Ok(()) };
    let mut state = log.state.borrow_mut();
    let Some(segment) = state.segments.get_mut(base) else { return Ok(()) };
    if wanted.whole && segment.sums.end() == 0 {
        segment.sum_marks = head.marks();
        segment.sums = head;
        segment.sums_saved = saved;
    } else if !wanted.whole && segment.sums.first() == wanted.first {
        segment.sums.prepend(head);
        segment.sums_saved = segment.sums_saved.max(saved);
    }
    Ok(())
}

/// The sums that are wanted, and how far the sidecar had them.
async fn load_wanted<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    wanted: Wanted,
) -> Result<Option<(SegmentSums, u32)>, StorageError> {
    let path = log.path(&name::sums_file(base));
    let Sidecar { sums: mut head, resume, .. } = match store.disk.read_file(&path, SUMS_FILE_BYTES_MAX).await {
        Ok(None) => Sidecar::default(),
        Ok(Some(file)) => match decode_signed(base, log.tp, &file) {
            Ok(sidecar) => reach(sidecar, wanted).map_err(|why| StorageError::corrupt(&log.path(&name::log_file(base)), None, why))?,
            Err(why) => {
                tracing::warn!(file = %path.display(), why, "checksums are taken from the log again");
                store.sidecars_rebuilt.set(store.sidecars_rebuilt.get() + 1);
                Sidecar::default()
            }
        },
        // Like one that is missing: what it would say is in the data, as far as the batches' own checksums go.
        Err(error) => {
            tracing::warn!(%error, "checksums are taken from the log again");
            store.sidecars_rebuilt.set(store.sidecars_rebuilt.get() + 1);
            Sidecar::default()
        }
    };
    let saved = head.end();
    complete(store, log, base, &mut head, resume, wanted.to).await?;
    Ok(Some((head, saved)))
}

/// What of a segment's sums is not known.
#[derive(Clone, Copy)]
struct Wanted {
    /// Everything: nothing was hashed in this process.
    whole: bool,
    /// First block that is known.
    first: u32,
    /// Sums are wanted up to this position.
    to: u32,
    /// Where the next segment begins.
    next_offset: i64,
}

fn missing_to<D: Disk>(log: &LogInner<D>, base: i64) -> Option<Wanted> {
    let state = log.state.borrow();
    let segment = state.segments.get(base).filter(|_| !state.deleted)?;
    if segment.sums.end() < segment.written {
        return Some(Wanted { whole: true, first: 0, to: segment.size, next_offset: segment.next_offset });
    }
    let first = segment.sums.first();
    (first > 0).then_some(Wanted { whole: false, first, to: first * SUM_BLOCK_BYTES, next_offset: 0 })
}

/// Of a sidecar that goes beyond what is wanted of it only the whole blocks are used. One of a sealed segment tells where that ended: an error text when
/// the file or the segment behind it does not agree.
fn reach(sidecar: Sidecar, wanted: Wanted) -> Result<Sidecar, String> {
    let Sidecar { sums, next_offset, resume } = sidecar;
    if wanted.whole && sums.end() > wanted.to {
        return Err(format!("{} bytes long, {} were written", wanted.to, sums.end()));
    }
    if wanted.whole && sums.end() == wanted.to && next_offset != wanted.next_offset {
        return Err(format!(
            "it ends before offset {next_offset} and the next segment begins at {}: segments are missing",
            wanted.next_offset
        ));
    }
    if sums.end() <= wanted.to {
        return Ok(Sidecar { sums, next_offset, resume });
    }
    Ok(Sidecar { sums: sums.cut(wanted.first), next_offset, resume: wanted.to })
}

/// Hashes the log's own bytes from where `sums` ends up to `to`; every batch on the way is checked. `resume` is the start of a batch at or before the end.
async fn complete<D: Disk>(
    store: &StoreInner<D>,
    log: &LogInner<D>,
    base: i64,
    sums: &mut SegmentSums,
    resume: u32,
    to: u32,
) -> Result<(), StorageError> {
    let (mut position, mut offset, mut window) = (resume, base, WINDOW_BYTES);
    while sums.end() < to {
        let size = log.state.borrow().segments.get(base).map_or(0, |s| s.size);
        let end = size.min(position.saturating_add(window));
        let Some(bytes) = scan::read_raw(store, log, base, position, end).await? else { return Ok(()) };
        let taken = check_batches(&bytes, base, &mut offset).map_err(|(at, why)| {
            let path = log.path(&name::log_file(base));
            StorageError::corrupt(&path, Some(u64::from(position) + at as u64), why)
        })?;
        match taken {
            Taken::Bytes(taken) => {
                let upto = taken.min((to - position.min(to)) as usize);
                let skip = (sums.end().saturating_sub(position) as usize).min(upto);
                sums.extend(position + skip as u32, &bytes[skip..upto], SUM_BLOCK_BYTES, position + upto as u32);
                (position, window) = (position + taken as u32, WINDOW_BYTES);
            }
            Taken::Needs(len) if end < size => window = u32::try_from(len).unwrap_or(u32::MAX),
            Taken::Needs(_) => {
                let path = log.path(&name::log_file(base));
                return Err(StorageError::corrupt(&path, Some(u64::from(position)), "the last batch is not whole"));
            }
        }
    }
    Ok(())
}

/// What a look at the front of some bytes gives.
enum Taken {
    /// Whole batches of this length.
    Bytes(usize),
    /// The first batch needs this many.
    Needs(usize),
}

/// Checks the whole batches at the front of `bytes`: checksum, and offsets that do not go back. On an error: where and why.
fn check_batches(bytes: &Bytes, base: i64, next_offset: &mut i64) -> Result<Taken, (usize, String)> {
    let mut at = 0;
    while bytes.len() - at >= HEADER_BYTES {
        let header = BatchHeader::parse(&bytes[at..]).map_err(|e| (at, e.to_string()))?;
        let size = header.size_bytes();
        if bytes.len() - at < size {
            break;
        }
        RawBatch::new(bytes.slice(at..at + size)).validate(Origin::Log).map_err(|e| (at, e.to_string()))?;
        if header.base_offset < *next_offset || header.base_offset < base {
            return Err((at, format!("a batch at offset {} where {next_offset} follows", header.base_offset)));
        }
        *next_offset = header.next_offset();
        at += size;
    }
    if at > 0 {
        return Ok(Taken::Bytes(at));
    }
    let size = BatchHeader::parse(bytes).map_or(HEADER_BYTES, |header| header.size_bytes());
    Ok(Taken::Needs(size))
}

/// Saves a segment's sidecar; durable with the next sync of the file system.
pub(crate) async fn save<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<(), StorageError> {
    match load(store, log, base).await {
        // A segment that cannot be read goes without; whoever reads it is told.
        Err(error) if error.is_of_one_log() => {
            tracing::error!(partition = %log.tp, %error, "checksums cannot be completed");
            return Ok(());
        }
        other => other?,
    }
    let encoded = {
        let state = log.state.borrow();
        let Some(segment) = state.segments.get(base).filter(|_| !state.deleted) else { return Ok(()) };
        let end = segment.sums.end();
        let near = segment.index.offsets.floor_by_position(end).map_or(0, |entry| entry.position);
        let resume = if end == segment.size { end } else { near };
        segment.sums.encode(base, segment.next_offset, resume).map(|bytes| (sign(bytes, log.tp), end))
    };
    let Some((bytes, end)) = encoded else { return Ok(()) };
    match store.disk.write_file_unsynced(&log.path(&name::sums_file(base)), &bytes).await {
        // What is in memory stays in the checkpoint.
        Err(error) if error.is_disk_full() => return Ok(()),
        written => store.poison.guard(written)?,
    }
    if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
        segment.sums_saved = segment.sums_saved.max(end);
        segment.sums.forget_below(segment.sums_saved);
    }
    Ok(())
}

/// Times that sums are looked for.
const ATTEMPTS_MAX: usize = 16;
/// Blocks checked in one step.
const STEP_BLOCKS: u32 = 16;
/// Bytes read at once while a sidecar is completed.
const WINDOW_BYTES: u32 = 256 << 10;
