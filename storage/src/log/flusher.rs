//! Moves batches from the tail into segment files: whole blocks, large aligned direct writes, in order, only bytes that the journal has made durable.
//!
//! `next_write` decides (pure), `flush_log` does. A partly filled last block is written only for a checkpoint, only while nothing lies behind it,
//! and from then on the next append puts its image into the journal first (see `LogState::image_needed`); so a block that holds acknowledged bytes is
//! never rewritten in place without a copy of them in the journal. Making the writes durable is the checkpointer's part.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::StreamExt;

use super::state::{BlockHead, LogState};
use super::{Log, LogInner};
use crate::error::StorageError;
use crate::io::{Disk, DiskBuffer, DiskFile, OpenMode};
use crate::journal::Ticket;
use crate::room;
use crate::segment::name;
use crate::store::StoreInner;

/// How far a flush goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushMode {
    /// Only large writes of whole blocks.
    WriteBehind,
    /// Whole blocks, and the partly filled last one when it holds bytes whose journal frame is not above the ticket.
    Checkpoint(Ticket),
}

/// One write to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct SegmentWrite {
    /// The segment.
    pub segment_base: i64,
    /// Aligned position of the first byte.
    pub from: u32,
    /// Position behind the last byte of batches; the rest of its block is padding.
    pub to: u32,
    /// More may be appended to the last block: it was written before it was full.
    pub partial: bool,
}

/// The next write a log needs, or `None`. `completed` is the newest durable journal frame; `write_bytes` and `alignment` are powers of two or multiples.
pub(crate) fn next_write(state: &LogState, mode: FlushMode, completed: Ticket, write_bytes: u32, alignment: u32) -> Option<SegmentWrite> {
    let floor = |position: u32| position & !(alignment - 1);
    let segment = state.segments.iter().find(|s| s.written < s.size)?;
    let base = segment.base_offset;
    let from = floor(segment.written);
    if mode == FlushMode::WriteBehind && !segment.sealed && segment.size - from < write_bytes {
        return None;
    }
    let mut durable = segment.written;
    for (segment_base, batch) in state.tail.batches_from_position(base, segment.written) {
        if segment_base != base || batch.ticket > completed {
            break;
        }
        durable = batch.end;
        if durable - from >= write_bytes {
            break;
        }
    }
    if durable - from > write_bytes {
        return Some(SegmentWrite { segment_base: base, from, to: from + write_bytes, partial: false });
    }
    let whole = floor(durable);
    let all = durable == segment.size;
    if all && segment.sealed {
        return Some(SegmentWrite { segment_base: base, from, to: durable, partial: false });
    }
    let ragged = durable > whole.max(segment.written);
    let write_ragged = match mode {
        FlushMode::WriteBehind => {
            let large = whole > segment.written && whole - from >= write_bytes;
            return large.then_some(SegmentWrite { segment_base: base, from, to: whole, partial: false });
        }
        FlushMode::Checkpoint(horizon) => {
            let oldest = state.tail.batches_from_position(base, whole.max(segment.written)).next();
            all && ragged && oldest.is_some_and(|(_, batch)| batch.ticket <= horizon)
        }
    };
    let to = if write_ragged { durable } else { whole };
    (to > segment.written).then_some(SegmentWrite { segment_base: base, from, to, partial: write_ragged })
}

/// Flushes logs, a few at a time. After an error no other log is begun, and those that were are waited for: an operation that is abandoned happens all the
/// same, so that a segment's file would be there that nobody knows of, or a write would come behind its own repetition.
pub(crate) async fn flush_all<D: Disk>(store: &StoreInner<D>, logs: &[Log<D>], mode: FlushMode) -> Result<(), StorageError> {
    let failed: RefCell<Option<StorageError>> = RefCell::new(None);
    let flush = async |log: &Log<D>| {
        if failed.borrow().is_some() {
            return;
        }
        if let Err(error) = flush_log(store, log.inner(), mode).await {
            let mut failed = failed.borrow_mut();
            // What ends the store goes before what is tried again.
            if failed.as_ref().is_none_or(StorageError::is_disk_full) {
                *failed = Some(error);
            }
        }
    };
    futures_util::stream::iter(logs).for_each_concurrent(store.config.flush_concurrency, flush).await;
    failed.into_inner().map_or(Ok(()), Err)
}

/// Writes everything that `mode` asks for. The caller holds the checkpoint lock, so that one log is flushed by one task at a time.
async fn flush_log<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>, mode: FlushMode) -> Result<(), StorageError> {
    let alignment = store.disk.alignment() as u32;
    let write_bytes = (store.config.flush_chunk_bytes as u32).next_multiple_of(alignment);
    // A busy log grows while it is flushed: what comes after this moment is left to the next flush.
    let target = {
        let state = log.state.borrow();
        (state.segments.active().base_offset, state.segments.active().size)
    };
    loop {
        store.poison.check()?;
        let step = {
            let mut state = log.state.borrow_mut();
            let reached = state.segments.iter().find(|s| s.written < s.size).is_none_or(|s| (s.base_offset, s.written) >= target);
            if reached {
                return Ok(());
            }
            if state.deleted {
                return Ok(());
            }
            let Some(step) = next_write(&state, mode, store.journal.completed(), write_bytes, alignment) else { return Ok(()) };
            let buffer = fill(store, &state, &step);
            sum_up(&mut state, &step, buffer.bytes(), alignment);
            let head_before = state.written_head.clone();
            if step.partial {
                // From this moment on, not from the write's end: an append that comes while the write is in flight needs the image already.
                state.written_head = Some(head_of(&step, buffer.bytes(), alignment));
                state.image_needed = !planted!(BlockImageOmitted);
            }
            (step, buffer, head_before)
        };
        let (step, buffer, head_before) = step;
        let written = buffer.len() as u64;
        match write_step(store, log, &step, buffer).await {
            // Nothing is lost: the bytes are in the journal and in memory, and are written again when there is space. What the block holds on the disk is
            // what it held before, and its image lies in the journal before the first batch behind it.
            Err(error) if error.is_disk_full() => {
                let mut state = log.state.borrow_mut();
                state.written_head = head_before;
                state.image_needed = false;
                return Err(error);
            }
            written => written?,
        }
        store.segment_bytes_written.set(store.segment_bytes_written.get() + written);
        room::refresh(store).await;
        let mut state = log.state.borrow_mut();
        let whole_block = !step.partial;
        let Some(segment) = state.segments.get_mut(step.segment_base) else { return Ok(()) };
        segment.written = step.to;
        if whole_block && state.written_head.as_ref().is_some_and(|head| (head.segment_base, head.start) < (step.segment_base, step.to)) {
            state.written_head = None;
        }
    }
}

/// Opens the segment and writes to it. An error but that of a full disk ends the store.
async fn write_step<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, step: &SegmentWrite, buffer: D::Buffer) -> Result<(), StorageError> {
    let file = segment_file(store, log, step.segment_base).await?;
    reserve_space(store, log, &file, step).await;
    let buffer = Rc::new(buffer);
    match file.write_at(buffer.clone(), u64::from(step.from)).await {
        Err(error) if error.is_disk_full() => return Err(error.into()),
        written => store.poison.guard(written)?,
    }
    store.flush_buffers.borrow_mut().put(buffer);
    Ok(())
}

/// The bytes of a write: what the last block held already, then batches from the tail, then padding.
fn fill<D: Disk>(store: &StoreInner<D>, state: &LogState, step: &SegmentWrite) -> D::Buffer {
    let len = (step.to - step.from) as usize;
    let mut buffer = store.flush_buffers.borrow_mut().take(&store.disk, len.next_multiple_of(store.disk.alignment()));
    let bytes = buffer.bytes_mut();
    bytes[len..].fill(0);
    let mut from = step.from;
    if let Some(head) = state.written_head.as_ref().filter(|h| h.segment_base == step.segment_base && h.start == step.from) {
        bytes[..head.bytes.len()].copy_from_slice(&head.bytes);
        from = head.end();
    }
    let at = (from - step.from) as usize;
    let copied = state.tail.copy_to(step.segment_base, from, step.to, &mut bytes[at..]);
    assert_eq!(copied, (step.to - from) as usize, "unflushed bytes of segment {} left the memory", step.segment_base);
    buffer
}

/// Hashes what a write adds to its segment: from memory, so that the sums say what the disk ought to hold.
fn sum_up(state: &mut LogState, step: &SegmentWrite, bytes: &[u8], alignment: u32) {
    let crossing = state.tail.batches_from_position(step.segment_base, step.to).next();
    let boundary = crossing.filter(|(base, batch)| *base == step.segment_base && batch.position < step.to).map(|(_, batch)| batch.position);
    if let Some(segment) = state.segments.get_mut(step.segment_base) {
        segment.sums.extend(step.from, &bytes[..(step.to - step.from) as usize], alignment, boundary.unwrap_or(step.to));
    }
}

fn head_of(step: &SegmentWrite, written: &[u8], alignment: u32) -> BlockHead {
    let start = step.to & !(alignment - 1);
    let bytes = &written[(start - step.from) as usize..(step.to - step.from) as usize];
    BlockHead { segment_base: step.segment_base, start, bytes: Bytes::copy_from_slice(bytes) }
}

/// The segment's file, opened or created.
pub(crate) async fn segment_file<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, base: i64) -> Result<D::File, StorageError> {
    let key = (log.tp, base);
    if let Some(file) = store.files.borrow_mut().direct(key) {
        return Ok(file);
    }
    let path = log.path(&name::log_file(base));
    let exists = log.state.borrow().segments.get(base).is_some_and(|s| s.on_disk);
    let file = if exists {
        loop {
            // Compaction may put another file in its place meanwhile.
            let swaps = log.steady().await;
            let file = store.disk.open(&path, OpenMode::ReadWrite).await?;
            if log.swaps.get() == swaps {
                break file;
            }
        }
    } else {
        let file = store.disk.open(&path, OpenMode::CreateNew).await?;
        if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
            segment.on_disk = true;
        }
        file
    };
    store.files.borrow_mut().put_direct(key, file.clone());
    Ok(file)
}

/// Reserves space ahead of a segment that has grown beyond a megabyte, in doubling steps. A refusal is not an error: the write will tell.
async fn reserve_space<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, file: &D::File, step: &SegmentWrite) {
    let end = u64::from(step.to).next_multiple_of(store.disk.alignment() as u64);
    let (allocated, sealed) = match log.state.borrow().segments.get(step.segment_base) {
        Some(segment) => (segment.allocated, segment.sealed),
        None => return,
    };
    if sealed || end <= allocated || end < RESERVE_FROM_BYTES || store.config.preallocate_step_bytes == 0 {
        return;
    }
    let limit = u64::from(log.config.borrow().segment_bytes).next_multiple_of(store.disk.alignment() as u64);
    let target = (end + end.min(store.config.preallocate_step_bytes)).next_multiple_of(RESERVE_FROM_BYTES).min(limit.max(end));
    if !store.room.may_reserve(target - end) {
        return;
    }
    match file.allocate(allocated, target - allocated).await {
        Ok(()) => {
            if let Some(segment) = log.state.borrow_mut().segments.get_mut(step.segment_base) {
                segment.allocated = target;
            }
        }
        Err(error) if error.is_disk_full() => {
            // What was reserved of it is given back; the write needs less and may still find its place.
            if let Ok(size) = file.size().await
                && let Err(error) = file.truncate(size).await
            {
                store.poison.set(&error);
            }
        }
        Err(error) => tracing::warn!(%error, "space could not be reserved ahead"),
    }
}

/// Segments below this size get no reservation.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointEntry;
    use crate::log::state::tests::{state_with, tail_batch};
    use crate::segment::Segment;
    use crate::segment::set::SegmentSet;

    const ALL: Ticket = Ticket(u64::MAX);

    /// Batches of 3000 bytes; batch n has ticket n + 1.
    fn state(batches: u32) -> LogState {
        let mut state = state_with(SegmentSet::new(Segment::new(0)), CheckpointEntry::empty(0));
        for i in 0..batches {
            tail_batch(&mut state, 0, i * 3000, 3000, i64::from(i), i64::from(i) + 1);
        }
        state
    }

    fn next(state: &LogState, mode: FlushMode, completed: u64) -> Option<(u32, u32, bool)> {
        next_write(state, mode, Ticket(completed), 16 << 10, 4096).map(|w| (w.from, w.to, w.partial))
    }

    #[test]
    fn write_behind_takes_only_large_runs_of_whole_blocks() {
        assert_eq!(next(&state(5), FlushMode::WriteBehind, 9), None);
        assert_eq!(next(&state(6), FlushMode::WriteBehind, 9), Some((0, 16 << 10, false)));
        assert_eq!(next(&state(6), FlushMode::WriteBehind, 5), None, "the sixth is not durable yet");
        let mut sealed = state(2);
        sealed.segments.roll();
        assert_eq!(next(&sealed, FlushMode::WriteBehind, 9), Some((0, 6000, false)));
    }

    #[test]
    fn a_checkpoint_takes_the_last_block_only_when_it_is_old_and_nothing_lies_behind() {
        assert_eq!(next(&state(3), FlushMode::Checkpoint(ALL), 3), Some((0, 9000, true)));
        assert_eq!(next(&state(3), FlushMode::Checkpoint(Ticket(2)), 3), Some((0, 8192, false)), "the third is too young");
        assert_eq!(next(&state(3), FlushMode::Checkpoint(Ticket(3)), 3), Some((0, 9000, true)));
        assert_eq!(next(&state(3), FlushMode::Checkpoint(ALL), 2), Some((0, 4096, false)), "the third is in flight");
        assert_eq!(next(&state(1), FlushMode::Checkpoint(ALL), 0), None);
        let mut written = state(3);
        written.segments.active_mut().written = 9000;
        assert_eq!(next(&written, FlushMode::Checkpoint(ALL), 3), None);
    }

    #[test]
    fn a_block_that_was_written_partly_is_written_again_from_its_start() {
        let mut s = state(4);
        s.segments.active_mut().written = 9000;
        assert_eq!(next(&s, FlushMode::Checkpoint(ALL), 4), Some((8192, 12_000, true)));
        assert_eq!(next(&s, FlushMode::Checkpoint(Ticket(0)), 4), None, "no whole block yet");
    }

    #[test]
    fn a_sealed_segment_is_written_to_its_end_before_the_next_one() {
        let mut s = state(2);
        s.segments.roll();
        tail_batch(&mut s, 2, 0, 3000, 2, 3);
        assert_eq!(next(&s, FlushMode::Checkpoint(Ticket(0)), 3), Some((0, 6000, false)));
        s.segments.get_mut(0).unwrap().written = 6000;
        assert_eq!(next_write(&s, FlushMode::Checkpoint(ALL), Ticket(3), 4096, 4096).unwrap().segment_base, 2);
    }
}
