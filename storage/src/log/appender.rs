//! Does an append plan: copies the batch into the tail with its offsets stamped, pushes it to the journal, updates what the log knows.
//!
//! Two copies of the bytes: into the tail chunk and into the journal's frame. Synchronous; on an error nothing has changed.

use std::rc::Rc;

use coreline_wire::record::ValidBatch;
use coreline_wire::record::batch::{HEADER_BYTES, patch_base_offset, patch_leader_epoch, patch_log_append_time};

use super::append_plan::{self, AppendPlan, AppendView, Placement};
use super::state::LogState;
use super::tail::{NoRoom, TailBatch};
use super::{AppendContext, AppendError, AppendOrigin, Appended, LogInner};
use crate::config::{DurabilityClass, LogConfig};
use crate::error::StorageError;
use crate::io::Disk;
use crate::journal::{EntryHeader, EntryKind, Ticket};
use crate::producer_state::BatchMark;
use crate::store::{EVICT_SCAN_MAX, StoreInner};

/// Appends a batch.
pub(super) fn append<D: Disk>(
    log: &Rc<LogInner<D>>,
    store: &StoreInner<D>,
    batch: &ValidBatch,
    ctx: &AppendContext,
) -> Result<Appended, AppendError> {
    store.poison.check()?;
    match try_append(log, store, batch, ctx) {
        Err(Refusal::NoMemory(NoRoom { bytes })) => {
            if bytes > store.pool.budget_bytes() {
                return Err(AppendError::LargerThanSegment { bytes, bytes_max: store.pool.budget_bytes() });
            }
            // Old bytes that are on the disk already make room for new ones.
            // More than this batch needs, so that the search is not made again for the next one.
            store.evict(bytes.max(store.pool.budget_bytes() / 64), EVICT_SCAN_MAX);
            match try_append(log, store, batch, ctx) {
                Err(Refusal::NoMemory(_)) => backpressure(store),
                Err(Refusal::Error(error)) => Err(error),
                Ok(appended) => Ok(appended),
            }
        }
        Err(Refusal::Error(AppendError::Backpressure)) => backpressure(store),
        Err(Refusal::Error(error)) => Err(error),
        Ok(appended) => Ok(appended),
    }
}

fn backpressure<D: Disk>(store: &StoreInner<D>) -> Result<Appended, AppendError> {
    store.note_backpressure();
    Err(AppendError::Backpressure)
}

enum Refusal {
    NoMemory(NoRoom),
    Error(AppendError),
}

impl<E: Into<AppendError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal::Error(error.into())
    }
}

fn try_append<D: Disk>(log: &Rc<LogInner<D>>, store: &StoreInner<D>, batch: &ValidBatch, ctx: &AppendContext) -> Result<Appended, Refusal> {
    let mut state = log.state.borrow_mut();
    let state = &mut *state;
    if state.closed {
        return Err(StorageError::Closed.into());
    }
    if state.head_missing || state.producers_missing {
        return Err(AppendError::NotLoaded.into());
    }
    let config = log.config.borrow();
    let header = batch.header();
    let view = AppendView {
        config: &config,
        producers: &state.producers,
        active: state.segments.active(),
        latest_epoch: state.epochs.latest(),
        salt: log.salt(),
    };
    let place = match append_plan::plan(&view, header, ctx)? {
        AppendPlan::Duplicate(mark) => return Ok(duplicate(state, &mark)),
        AppendPlan::Append(place) => place,
    };
    let bytes = batch.size_bytes();
    if ctx.origin == AppendOrigin::Client && !store.room.admits(bytes as u64, store.unflushed_bytes.get()) {
        return Err(AppendError::DiskFull { free_bytes: store.room.free_bytes() }.into());
    }
    if !store.journal.try_reserve(store.journal_bytes(bytes)) {
        return Err(AppendError::Backpressure.into());
    }
    let active = state.segments.active();
    let (segment_base, position) = if place.roll { (place.base_offset, 0) } else { (active.base_offset, active.size) };
    let id = store.next_chunk_id();
    let chunk_added =
        state.tail.reserve(&store.pool, id, segment_base, position, bytes, store.config.tail_chunk_bytes_max).map_err(Refusal::NoMemory)?;
    write_stamped(state, batch, &place);
    let class = config.durability;
    let durable = class == DurabilityClass::Durable || flush_due(state, &config, &place, ctx.now_ms);
    let pushed = push(log, store, state, &place, segment_base, position, durable);
    let (ticket_first, ticket) = match pushed {
        Ok(tickets) => tickets,
        Err(error) => {
            state.tail.abandon();
            return Err(match error {
                StorageError::Full => AppendError::Backpressure.into(),
                other => other.into(),
            });
        }
    };
    if place.roll {
        state.segments.roll();
    }
    // Cannot overflow: the plan keeps a segment below 2^31 bytes.
    let end = position + bytes as u32;
    state.tail.commit(TailBatch {
        position,
        end,
        base_offset: place.base_offset,
        next_offset: place.next_offset,
        max_timestamp_ms: place.max_timestamp_ms,
        ticket_first,
        ticket,
    });
    // The image, if one was needed, lies before this batch in the journal.
    state.image_needed = false;
    let interval = config.index_interval_bytes;
    state.segments.active_mut().add_batch(bytes as u32, place.next_offset, place.base_offset, place.max_timestamp_ms, interval, ctx.now_ms);
    state.epochs.observe(place.leader_epoch, place.base_offset);
    if let Some(producer) = &place.producer {
        state.producers.apply(producer, place.base_offset, place.max_timestamp_ms, ctx.now_ms, config.producers_max as usize);
        state.producers_changed = true;
    }
    state.last_ticket = ticket;
    state.settling.appended(class, place.next_offset);
    store.note_append(log, ticket, place.next_offset, bytes, class);
    if chunk_added {
        store.note_chunk(id, log);
    }
    Ok(Appended {
        base_offset: place.base_offset,
        last_offset: place.next_offset - 1,
        log_append_time_ms: place.log_append_time_ms,
        log_start_offset: state.log_start,
        duplicate: false,
        ticket,
    })
}

/// Whether `flush.messages` or `flush.ms` ask for a flush of this batch, which its class does not.
fn flush_due(state: &mut LogState, config: &LogConfig, place: &Placement, now_ms: i64) -> bool {
    let records = place.next_offset - place.base_offset;
    state.settling.flush_due(records, now_ms, config.flush_messages, config.flush_ms)
}

/// A retry: the original offsets, durable when everything up to now is. The time is the one of the batch that is kept, whoever gave it, as in
/// Kafka.
fn duplicate(state: &LogState, mark: &BatchMark) -> Appended {
    Appended {
        base_offset: mark.base_offset,
        last_offset: mark.last_offset,
        log_append_time_ms: (mark.timestamp_ms >= 0).then_some(mark.timestamp_ms),
        log_start_offset: state.log_start,
        duplicate: true,
        ticket: state.last_ticket,
    }
}

/// Copies the batch into the tail with its offset, epoch and perhaps time stamped.
fn write_stamped(state: &mut LogState, batch: &ValidBatch, place: &Placement) {
    let bytes = batch.bytes();
    if let Some(now_ms) = place.log_append_time_ms {
        // The checksum covers the timestamps, so this needs the whole batch in one piece.
        let mut copy = bytes.to_vec();
        patch_base_offset(&mut copy, place.base_offset);
        patch_leader_epoch(&mut copy, place.leader_epoch);
        patch_log_append_time(&mut copy, now_ms);
        state.tail.write(&copy);
        return;
    }
    let (fixed, records) = bytes.split_at(HEADER_BYTES);
    let mut header = [0u8; HEADER_BYTES];
    header.copy_from_slice(fixed);
    patch_base_offset(&mut header, place.base_offset);
    patch_leader_epoch(&mut header, place.leader_epoch);
    state.tail.write(&header);
    state.tail.write(records);
}

/// Pushes the batch, and before it the image of the block it shares with bytes that only the segment has. Answers with the tickets of the first and
/// the last entry.
fn push<D: Disk>(
    log: &LogInner<D>,
    store: &StoreInner<D>,
    state: &LogState,
    place: &Placement,
    segment_base: i64,
    position: u32,
    durable: bool,
) -> Result<(Ticket, Ticket), StorageError> {
    let entry = EntryHeader {
        partition: log.tp,
        segment_base,
        position: u64::from(position),
        base_offset: place.base_offset,
        last_offset: place.next_offset - 1,
        leader_epoch: place.leader_epoch,
        kind: EntryKind::Batch,
    };
    let mut ticket_first = None;
    if state.image_needed
        && !place.roll
        && let Some(head) = &state.written_head
    {
        debug_assert_eq!((head.segment_base, head.end()), (segment_base, position));
        let image = EntryHeader {
            position: u64::from(head.start),
            base_offset: place.base_offset,
            last_offset: place.base_offset - 1,
            kind: EntryKind::BlockImage,
            ..entry
        };
        ticket_first = Some(store.journal.push_as(image, &head.bytes, durable)?);
    }
    let ticket = store.journal.push_as(entry, state.tail.written_from(position), durable)?;
    Ok((ticket_first.unwrap_or(ticket), ticket))
}
