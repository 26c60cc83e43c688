//! The background of a store: write-behind, the checkpoint cycle, removal of deleted logs and of segments below the log start.
//!
//! A cycle: write what the journal must not keep any longer, cut sealed segments to size, save indexes and producers, ONE sync of the file system, write
//! the checkpoint table, release the journal, let memory go. Cycles start under journal or memory pressure, after `flush_interval` when something is
//! dirty, and at shutdown. Nothing here runs on the append path.

use std::collections::BTreeMap;
use std::rc::Rc;

use coreline_wire::ids::TopicPartition;
use futures_util::future::{Either, select};
use futures_util::lock::MutexGuard;

use crate::checkpoint::{self, CheckpointEntry, CheckpointFile, Covered, RecoveryPoint, SavedProducers};
use crate::error::StorageError;
use crate::io::{Disk, DiskFile, IoOp};
use crate::journal::Ticket;
use crate::log::flusher::{FlushMode, flush_all, segment_file};
use crate::log::state::BlockHead;
use crate::log::{Log, LogInner, ReadError, index_loader, sums};
use crate::room;
use crate::segment::name;
use crate::segment::sums::SumMarks;
use crate::snapshot_file::{SnapshotKind, seal_envelope};
use crate::store::StoreInner;

/// The background task: ends when the store closes, or with the device's error.
pub(crate) async fn run<D: Disk>(store: &Rc<StoreInner<D>>) -> Result<(), StorageError> {
    let mut last_cycle = store.disk.now();
    let mut last_completed = Ticket(0);
    let mut last_released = None;
    loop {
        let since = store.wake_flusher.generation();
        if store.closing.get() {
            return Ok(());
        }
        store.poison.check()?;
        let more_deleted = remove_deleted(store).await?;
        room::refresh(store).await;
        let usage = store.journal.usage();
        let journal_pressed = usage.bytes_used.saturating_mul(2) >= usage.bytes_limit;
        let memory_pressed = store.unflushed_bytes.get().saturating_mul(2) >= store.config.tail_budget_bytes as u64;
        let due = store.disk.now().saturating_sub(last_cycle) >= store.config.flush_interval;
        let waited_for = store.space_waiters.get() > 0;
        let dirty = !store.dirty.borrow().is_empty();
        if dirty && (journal_pressed || memory_pressed || due || waited_for) {
            // What no acknowledgement waited for becomes durable here, at the latest.
            store.journal.flush_written().await?;
            // Under pressure everything durable goes; otherwise only what was durable a whole interval ago, so that busy partitions keep their last block.
            let completed = store.journal.completed();
            let horizon = if due && !journal_pressed && !memory_pressed && !waited_for { last_completed } else { completed };
            let file = store.checkpoint.lock().await;
            match cycle(store, file, horizon, false).await {
                Err(error) if error.is_disk_full() && !store.poison.is_poisoned() => {
                    store.room.note_full(&error);
                    wait_for_room(store).await;
                    continue;
                }
                done => done?,
            }
            last_completed = completed;
            last_cycle = store.disk.now();
            store.space.notify();
            // Without progress (everything is in flight) wait for the journal instead of turning in a circle.
            let released = store.journal.usage().oldest;
            if last_released == Some(released) {
                wait(store, since).await;
            }
            last_released = Some(released);
            continue;
        }
        if store.unflushed_bytes.get() >= store.write_behind_bytes() {
            store.journal.flush_written().await?;
            let _lock = store.checkpoint.lock().await;
            match flush_all(store, &store.dirty_logs(), FlushMode::WriteBehind).await {
                Err(error) if error.is_disk_full() && !store.poison.is_poisoned() => {
                    store.room.note_full(&error);
                    wait_for_room(store).await;
                }
                done => done?,
            }
        }
        store.wake_at.set(store.unflushed_bytes.get() + store.write_behind_bytes());
        if !dirty {
            store.pool.shrink();
            store.flush_buffers.borrow_mut().clear();
        }
        if !more_deleted {
            wait(store, since).await;
        }
    }
}

/// Waits a while before a write is repeated for which the device had no room; logs that are deleted meanwhile make some.
async fn wait_for_room<D: Disk>(store: &StoreInner<D>) {
    store.disk.sleep(FULL_RETRY).await;
}

/// Waits for a wake-up, for pressure in the journal, or for a while.
async fn wait<D: Disk>(store: &StoreInner<D>, since: u64) {
    let pause = (store.config.flush_interval / 4).clamp(PAUSE_MIN, PAUSE_MAX);
    let wake = std::pin::pin!(store.wake_flusher.changed(since));
    let sleep = std::pin::pin!(store.disk.sleep(pause));
    match select(wake, sleep).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

/// Flushes everything and writes the last checkpoint. Appends have stopped.
pub(crate) async fn final_checkpoint<D: Disk>(store: &Rc<StoreInner<D>>) -> Result<(), StorageError> {
    let file = store.checkpoint.lock().await;
    let newest = store.journal.usage().newest;
    store.wait_durable(newest).await?;
    cycle(store, file, newest, true).await
}

/// One checkpoint. Partly filled blocks are written where they hold bytes of frames up to `horizon`.
async fn cycle<D: Disk>(
    store: &Rc<StoreInner<D>>,
    mut file: MutexGuard<'_, CheckpointFile>,
    horizon: Ticket,
    last: bool,
) -> Result<(), StorageError> {
    let logs = store.dirty_logs();
    flush_all(store, &logs, FlushMode::Checkpoint(horizon)).await?;
    let mut flushed: Vec<Flushed<D>> = Vec::with_capacity(logs.len());
    for (index, log) in logs.iter().enumerate() {
        give_way(store, index).await;
        let log = log.inner();
        let trimmed = trim_sealed(store, log).await?;
        save_active_index(store, log, last).await?;
        save_active_sums(store, log).await?;
        let producers = capture_producers(store, log).await?;
        flushed.push(Flushed::capture(log, trimmed, producers));
    }
    if !planted!(CheckpointBeforeFlush) {
        store.poison.guard(store.disk.sync_all().await)?;
    }
    let mut stale_snapshots = Vec::new();
    for (index, done) in flushed.into_iter().enumerate() {
        give_way(store, index).await;
        stale_snapshots.extend(done.apply(store));
    }
    if last {
        for log in store.open_logs() {
            let mut state = log.inner().state.borrow_mut();
            state.saved.high_watermark = state.high_watermark;
        }
    }
    for _ in 0..TABLES_PER_CYCLE {
        store.covered.set(needless(store));
        write_table(store, &mut file, &BTreeMap::new()).await?;
        store.dirty.borrow_mut().retain(|tp| store.logs.borrow().get(tp).is_some_and(|log| log.inner().state.borrow().is_dirty()));
        // Only what the table says is durable: a start compares the two.
        store.journal.release(store.covered.get());
        // What a log held that was deleted meanwhile must not wait for the next append: there may be no room for it.
        if !store.dirty.borrow().is_empty() || needless(store) == store.covered.get() {
            break;
        }
    }
    for (index, log) in logs.iter().enumerate() {
        give_way(store, index).await;
        bound_idle_index(store, log.inner());
    }
    // Of what is flushed a quarter of the budget stays in memory for readers. More would only be memory that is touched for the first time, page by page.
    let wanted_free = store.pool.budget_bytes() - store.pool.budget_bytes() / CACHED_PART;
    while !store.evict(wanted_free, EVICTED_PER_TURN) {
        let before = store.pool.used_bytes();
        store.disk.sleep(std::time::Duration::ZERO).await;
        store.evict(wanted_free, EVICTED_PER_TURN);
        if store.pool.used_bytes() >= before {
            break;
        }
    }
    store.checkpoints.set(store.checkpoints.get() + 1);
    for path in stale_snapshots {
        store.poison.guard(store.disk.remove_file(&path).await)?;
    }
    remove_segments_below_start(store, &logs).await
}

/// Lets other tasks run now and then in a loop over many logs, by way of the reactor.
async fn give_way<D: Disk>(store: &StoreInner<D>, index: usize) {
    if index % LOGS_PER_TURN == LOGS_PER_TURN - 1 {
        store.disk.sleep(std::time::Duration::ZERO).await;
    }
}

/// A log that has come to rest counts with its active segment's index among those that may be unloaded.
fn bound_idle_index<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>) {
    let (base, bytes) = {
        let state = log.state.borrow();
        if state.is_dirty() {
            return;
        }
        (state.segments.active().base_offset, state.segments.active().index.memory_bytes())
    };
    if bytes > IDLE_INDEX_BYTES {
        index_loader::keep_within_bound(store, log, base, bytes);
    }
}

/// What of one log will be durable after the sync.
struct Flushed<D: Disk> {
    log: Rc<LogInner<D>>,
    written: Vec<(i64, u32, SumMarks)>,
    /// `None` for a log whose end was not read: then it did not change either.
    head: Option<Option<BlockHead>>,
    trimmed: Vec<i64>,
    producers: Option<SavedProducers>,
}

impl<D: Disk> Flushed<D> {
    fn capture(log: &Rc<LogInner<D>>, trimmed: Vec<i64>, producers: Option<SavedProducers>) -> Flushed<D> {
        let state = log.state.borrow();
        let written = state.segments.iter().filter(|s| s.flushed < s.written).map(|s| (s.base_offset, s.written, s.sums.marks())).collect();
        let head = (!state.head_missing).then(|| state.written_head.clone());
        Flushed { log: log.clone(), written, head, trimmed, producers }
    }

    /// After the sync: moves the flushed marks and what the next table says. Answers with producer snapshots that no table will name any more.
    fn apply(self, store: &StoreInner<D>) -> Option<std::path::PathBuf> {
        let mut state = self.log.state.borrow_mut();
        let state = &mut *state;
        let mut newly = 0u64;
        for (base, written, marks) in self.written {
            if let Some(segment) = state.segments.get_mut(base) {
                newly += u64::from(written.saturating_sub(segment.flushed));
                segment.flushed = segment.flushed.max(written);
                segment.sum_marks = marks;
            }
        }
        if !state.deleted {
            store.unflushed_bytes.set(store.unflushed_bytes.get().saturating_sub(newly));
        }
        for base in self.trimmed {
            if let Some(segment) = state.segments.get_mut(base) {
                segment.trimmed = true;
                segment.allocated = u64::from(segment.size);
            }
        }
        if let Some(head) = self.head {
            state.flushed_head = head;
        }
        let point = state.flushed_point();
        let mut epochs = state.epochs.clone();
        epochs.truncate_back(point.offset);
        let stale = match (&self.producers, &state.saved.producers) {
            (Some(new), SavedProducers::File(old)) if *new != SavedProducers::File(*old) => {
                Some(self.log.path(&name::producer_snapshot_file(*old)))
            }
            _ => None,
        };
        state.saved = CheckpointEntry {
            log_start: state.log_start,
            high_watermark: state.high_watermark,
            sums: state.saved_sums(&point),
            point,
            epochs,
            producers: self.producers.unwrap_or_else(|| std::mem::take(&mut state.saved.producers)),
        };
        state.debug_check();
        stale
    }
}

/// Cuts completely written sealed segments to their exact size and saves their indexes. Answers with those that will be finished by the sync.
async fn trim_sealed<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>) -> Result<Vec<i64>, StorageError> {
    let ready: Vec<(i64, u32, u64)> = {
        let state = log.state.borrow();
        state
            .segments
            .iter()
            .filter(|s| s.sealed && !s.trimmed && s.written == s.size)
            .map(|s| (s.base_offset, s.size, s.allocated))
            .collect()
    };
    for &(base, size, allocated) in &ready {
        if !size.is_multiple_of(store.disk.alignment() as u32) || allocated > u64::from(size) {
            let file = segment_file(store, log, base).await?;
            store.poison.guard(file.truncate(u64::from(size)).await)?;
        }
        if !indexed(store, log, base).await? {
            continue;
        }
        // Sealed and written means that all of it is durable in the journal: the index may be saved.
        if let Some(index) = index_loader::capture(log, base) {
            index_loader::save(store, log, base, index).await?;
        }
        sums::save(store, log, base).await?;
        let bytes = log.state.borrow_mut().segments.get_mut(base).map(|segment| {
            segment.max_timestamp_ms = Some(segment.index.max_timestamp.map_or(i64::MIN, |(max, _)| max));
            segment.index.memory_bytes()
        });
        if let Some(bytes) = bytes {
            index_loader::keep_within_bound(store, log, base, bytes);
        }
    }
    Ok(ready.into_iter().map(|(base, _, _)| base).collect())
}

/// Makes sure that a segment's index is loaded. False when what it is made from cannot be read: that is a matter of this log alone, and of its readers.
async fn indexed<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>, base: i64) -> Result<bool, StorageError> {
    match index_loader::ensure(store, log, base).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_of_one_log() => {
            tracing::error!(partition = %log.tp, segment = base, %error, "no index can be made");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Saves the active segment's index when it has grown a lot, and at shutdown.
async fn save_active_index<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>, last: bool) -> Result<(), StorageError> {
    let (base, grown, loaded) = {
        let state = log.state.borrow();
        let active = state.segments.active();
        (active.base_offset, active.size - active.index_saved.min(active.size), active.index_from == 0)
    };
    if grown < if last && loaded { INDEX_SAVE_BYTES_LAST } else { INDEX_SAVE_BYTES } {
        return Ok(());
    }
    if !indexed(store, log, base).await? {
        return Ok(());
    }
    let index = index_loader::capture(log, base);
    let ticket = log.state.borrow().last_ticket;
    store.wait_durable(ticket).await?;
    match index {
        Some(index) => index_loader::save(store, log, base, index).await,
        None => Ok(()),
    }
}

/// Saves the active segment's sidecar when much is in memory (and in the checkpoint) that it does not have.
async fn save_active_sums<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>) -> Result<(), StorageError> {
    let (base, grown) = {
        let state = log.state.borrow();
        let active = state.segments.active();
        (active.base_offset, active.sums.memory_bytes())
    };
    if grown < SUMS_SAVE_BYTES { Ok(()) } else { sums::save(store, log, base).await }
}

/// Takes a snapshot of the producers when they have changed, waits until every batch in it is durable, and writes it if it is large.
async fn capture_producers<D: Disk>(store: &StoreInner<D>, log: &Rc<LogInner<D>>) -> Result<Option<SavedProducers>, StorageError> {
    let (bytes, offset, ticket) = {
        let mut state = log.state.borrow_mut();
        if !state.producers_changed {
            return Ok(None);
        }
        state.producers_changed = false;
        if state.producers.is_empty() {
            return Ok(Some(SavedProducers::None));
        }
        let end = state.log_end();
        (state.producers.encode(end), end, state.last_ticket)
    };
    // A batch in the snapshot that a crash takes back would make its retry look like a duplicate.
    if !planted!(ProducersBeforeDurable) {
        store.wait_durable(ticket).await?;
    }
    if bytes.len() <= PRODUCERS_INLINE_BYTES_MAX {
        return Ok(Some(SavedProducers::Inline(bytes)));
    }
    let path = log.path(&name::producer_snapshot_file(offset));
    let content = seal_envelope(PRODUCERS_KIND, PRODUCERS_VERSION, offset as u64, &bytes);
    match store.disk.write_file_unsynced(&path, &content).await {
        // The one before still holds; recovery and the journal have the rest.
        Err(error) if error.is_disk_full() => {
            log.state.borrow_mut().producers_changed = true;
            return Ok(None);
        }
        written => store.poison.guard(written)?,
    }
    Ok(Some(SavedProducers::File(offset)))
}

/// Writes the table of all open logs, with entries replaced by `instead`.
async fn write_table<D: Disk>(
    store: &StoreInner<D>,
    file: &mut CheckpointFile,
    instead: &BTreeMap<TopicPartition, CheckpointEntry>,
) -> Result<(), StorageError> {
    let sequence = file.sequence() + 1;
    let generation = store.journal.generation();
    let head = file.head(sequence, vec![Covered { journal: store.journal_id.0, generation, up_to: store.covered.get().0 }]);
    // What is saved of a log changes only under the checkpoint lock, which the caller holds, so the entries fit together although others run in
    // between. A log that comes meanwhile has all it has in the journal; one that goes leaves an entry that nobody asks for.
    let mut entries: Vec<(TopicPartition, CheckpointEntry)> = Vec::new();
    for (index, log) in store.open_logs().iter().enumerate() {
        give_way(store, index).await;
        let tp = log.inner().tp;
        let entry = instead.get(&tp).cloned();
        entries.push((tp, entry.unwrap_or_else(|| log.inner().state.borrow().saved.clone())));
    }
    let encode = move || checkpoint::encode(&head, entries.iter().map(|(tp, entry)| (*tp, entry)));
    let content = if store.logs.borrow().len() <= LOGS_PER_TURN { encode() } else { store.disk.compute(encode).await };
    let written = file.write(&store.disk, sequence, &content).await;
    if written.is_ok() {
        store.journal.note_table(sequence);
    }
    if let Err(error) = &written
        && !is_full_before_rename(error)
    {
        // Whatever failed: after it nobody knows which table a restart would find.
        store.poison.set(error);
    }
    written
}

/// No space for the new generation of a table: the one before is untouched, and the write can be repeated.
fn is_full_before_rename(error: &StorageError) -> bool {
    matches!(error, StorageError::Io(e) if e.is_disk_full() && e.op != IoOp::Rename && e.path.extension().is_some_and(|end| end == "new"))
}

/// Up to where no log needs the journal any more for its recovery, when the table says what is saved of each.
fn needless<D: Disk>(store: &StoreInner<D>) -> Ticket {
    let logs = store.dirty_logs();
    let first_live = logs.iter().filter_map(|log| log.inner().state.borrow().first_live().map(|batch| batch.ticket_first)).min();
    let completed = store.journal.completed();
    let first_live = if planted!(JournalReleasedTooEarly) { None } else { first_live };
    first_live.map_or(completed, |ticket| Ticket(ticket.0.saturating_sub(1)).min(completed))
}

/// Moves a log's start and answers when that is durable.
pub(crate) async fn move_log_start<D: Disk>(log: &Rc<LogInner<D>>, before: i64) -> Result<i64, ReadError> {
    let mut moved = delete_before(&log.store()?, &[(log.clone(), before)]).await?;
    moved.pop().unwrap_or(Err(StorageError::Closed.into()))
}

/// Moves the starts of many logs with one table write, each as far as it may be; answers, in order, when that is durable.
pub(crate) async fn delete_before<D: Disk>(
    store: &Rc<StoreInner<D>>,
    moves: &[(Rc<LogInner<D>>, i64)],
) -> Result<Vec<Result<i64, ReadError>>, StorageError> {
    // Readable in a class below durable: a log must not start behind what a crash leaves of it.
    let unflushed = moves.iter().filter_map(|(log, before)| {
        let state = log.state.borrow();
        (*before > state.durable_end && *before <= state.settling.settled_end()).then_some(state.last_ticket)
    });
    if let Some(newest) = unflushed.max() {
        store.wait_durable(newest).await?;
    }
    let mut file = store.checkpoint.lock().await;
    store.poison.check()?;
    let mut entries: BTreeMap<TopicPartition, CheckpointEntry> = BTreeMap::new();
    let mut answers = Vec::with_capacity(moves.len());
    for (index, (log, before)) in moves.iter().enumerate() {
        give_way(store, index).await;
        let (state, before) = (log.state.borrow(), *before);
        answers.push(if before > state.durable_end || before < 0 {
            Err(ReadError::OffsetOutOfRange { offset: before, log_start: state.log_start, log_end: state.durable_end })
        } else if before > state.log_start && state.closed {
            Err(StorageError::Closed.into())
        } else {
            // A log that is named twice goes as far as it was asked to.
            if before > state.log_start && entries.get(&log.tp).is_none_or(|entry| entry.log_start < before) {
                entries.insert(log.tp, CheckpointEntry { log_start: before, ..state.saved.clone() });
            }
            Ok(before)
        });
    }
    if !entries.is_empty() && !planted!(LogStartNotPersisted) {
        write_table(store, &mut file, &entries).await?;
    }
    for (index, ((log, _), answer)) in moves.iter().zip(&mut answers).enumerate() {
        give_way(store, index).await;
        if let Ok(start) = answer {
            if *start > log.state.borrow().log_start {
                log_start_moved(store, log, *start);
            }
            *start = log.state.borrow().log_start;
        }
    }
    Ok(answers)
}

/// Moves the starts of many logs with one table write; one that is deleted or further already is passed over.
pub(crate) async fn move_log_starts<D: Disk>(store: &Rc<StoreInner<D>>, moves: &[(Rc<LogInner<D>>, i64)]) -> Result<(), StorageError> {
    let mut file = store.checkpoint.lock().await;
    store.poison.check()?;
    let mut entries = BTreeMap::new();
    for (log, to) in moves {
        let state = log.state.borrow();
        if !state.closed && *to > state.log_start && *to <= state.durable_end {
            entries.insert(log.tp, CheckpointEntry { log_start: *to, ..state.saved.clone() });
        }
    }
    if !planted!(RetentionNotPersisted) {
        write_table(store, &mut file, &entries).await?;
    }
    for (log, to) in moves.iter().filter(|(log, _)| entries.contains_key(&log.tp)) {
        log_start_moved(store, log, *to);
    }
    Ok(())
}

/// The table that says so is durable.
fn log_start_moved<D: Disk>(store: &StoreInner<D>, log: &LogInner<D>, to: i64) {
    let mut state = log.state.borrow_mut();
    state.log_start = state.log_start.max(to);
    state.saved.log_start = state.log_start;
    state.epochs.truncate_front(to);
    state.high_watermark = state.high_watermark.max(to);
    drop(state);
    // The flusher removes what lies below.
    store.dirty.borrow_mut().insert(log.tp);
    store.wake_flusher.notify();
}

/// Removes sealed segments that lie wholly below the log start. The table that says so is durable.
async fn remove_segments_below_start<D: Disk>(store: &StoreInner<D>, logs: &[Log<D>]) -> Result<(), StorageError> {
    for log in logs {
        let log = log.inner();
        loop {
            let taken = {
                let mut state = log.state.borrow_mut();
                let start = state.saved.log_start;
                let point: RecoveryPoint = state.saved.point;
                // The recovery point's segment must stay: recovery begins there.
                let droppable = state.segments.iter().next().is_some_and(|s| s.base_offset < point.segment_base);
                if droppable { state.segments.take_below(start) } else { None }
            };
            let Some(segment) = taken else { break };
            let base = segment.base_offset;
            // Whoever reads it holds a descriptor of its own: the bytes stay until it is done.
            store.files.borrow_mut().remove((log.tp, base));
            store.cleaned.segment_removed(segment.size);
            for file in [name::offset_index_file(base), name::time_index_file(base), name::sums_file(base), name::log_file(base)] {
                store.poison.guard(store.disk.remove_file(&log.path(&file)).await)?;
            }
        }
    }
    Ok(())
}

/// Removes the directories of some deleted logs; true while there may be more. Some, so that the removal of very many keeps no checkpoint waiting,
/// and with it the appends that wait for room in the journal.
async fn remove_deleted<D: Disk>(store: &StoreInner<D>) -> Result<bool, StorageError> {
    for _ in 0..REMOVED_AT_ONCE {
        let free = |tp: &TopicPartition| store.compacting.get() != Some(*tp);
        let next = store.deleted.borrow().iter().position(free);
        let Some(tp) = next.map(|at| store.deleted.borrow_mut().swap_remove(at)) else { return Ok(false) };
        // Not while a cycle might still write into it.
        let _lock = store.checkpoint.lock().await;
        if store.logs.borrow().contains_key(&tp) {
            continue;
        }
        store.files.borrow_mut().remove_partition(tp);
        store.poison.guard(store.disk.remove_dir_all(&store.dir.partition(tp)).await)?;
        store.cleaned.update(|stats| stats.logs_removed += 1);
    }
    Ok(true)
}

/// Part of the tail's budget that flushed bytes may keep after a checkpoint.
const CACHED_PART: usize = 4;
/// Tables that one cycle may write.
const TABLES_PER_CYCLE: usize = 2;
/// Directories of deleted logs removed between two looks at what else there is to do: some tens of milliseconds.
const REMOVED_AT_ONCE: usize = 64;
/// Logs handled in one turn of the shard.
const LOGS_PER_TURN: usize = 64;
/// Chunks of memory looked at in one turn of the shard when memory is given back.
const EVICTED_PER_TURN: usize = 4096;
/// An index up to this size stays loaded even when its log is idle.
const IDLE_INDEX_BYTES: usize = 2048;
/// Kind of a producer snapshot file.
pub(crate) const PRODUCERS_KIND: SnapshotKind = *b"PROD";
/// Version of its content.
pub(crate) const PRODUCERS_VERSION: u32 = 1;
/// A producer snapshot up to this size lies in the checkpoint table itself, which saves a file per partition and cycle.
pub(crate) const PRODUCERS_INLINE_BYTES_MAX: usize = 1024;
/// Memory of an active segment's checksums from which on they are saved: those of 2 MiB of batches.
const SUMS_SAVE_BYTES: usize = 128;
/// Growth of the active segment after which its index is saved again.
const INDEX_SAVE_BYTES: u32 = 16 << 20;
/// The same at shutdown.
const INDEX_SAVE_BYTES_LAST: u32 = 64 << 10;
/// Between two attempts on a full device.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_millis(250);
const PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(1);
const PAUSE_MAX: std::time::Duration = std::time::Duration::from_millis(250);
