//! `Store`: all logs of one shard, their journal, the memory they share, and the tasks behind them.
//!
//! The shell spawns `run_journal` and `run_flusher` once each. Appends are synchronous (`log/appender.rs`); the flusher (`log/flusher.rs`) moves bytes into
//! segments, the checkpointer (`checkpointer.rs`) makes that durable and releases the journal. Single-threaded; no borrow is held across an await.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use coreline_wire::ids::TopicPartition;
use futures_util::future::{Either, select};
use futures_util::lock::Mutex;

use crate::checkpoint::{BASE_NAME, CheckpointFile, CheckpointTable, checkpoint_dir, journal_table_name};
use crate::claims::Claims;
use crate::config::{DurabilityClass, LogConfig, StoreConfig};
use crate::data_dir::{DataDir, JournalId};
use crate::error::StorageError;
use crate::io::buffers::Buffers;
use crate::io::{ChunkPool, Disk, Poison};
use crate::journal::{FrameCost, Journal, JournalConfig, JournalCosts, JournalStats, JournalUsage, Ticket};
use crate::loader::SegmentListing;
use crate::log::{Log, LogInner};
use crate::notify::Notify;
use crate::pending::Pending;
use crate::room::Room;
use crate::segment::files::{FileCache, IndexCache};

/// Counters and gauges of a store.
#[derive(Clone, Copy, Debug)]
pub struct StoreStats {
    /// Open logs.
    pub logs: usize,
    /// Logs with bytes that are not checkpointed.
    pub dirty_logs: usize,
    /// Memory in tail chunks, bytes, slices held by readers included.
    pub tail_bytes: usize,
    /// Its bound, bytes.
    pub tail_bytes_max: usize,
    /// Bytes of batches that are not flushed to segments.
    pub unflushed_bytes: u64,
    /// How full the journal is.
    pub journal: JournalUsage,
    /// What the journal did.
    pub journal_stats: JournalStats,
    /// What writes and durable writes of the journal have cost of late.
    pub journal_costs: JournalCosts,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes written to segments, padding included.
    pub segment_bytes_written: u64,
    /// Open segment files.
    pub open_files: usize,
    /// Appends refused because the journal or the tail budget was full.
    pub backpressure: u64,
    /// Blocks of segments that were found to be other than what was written; each is refused to readers.
    pub damaged_blocks: u64,
    /// Free bytes of the device as of the last look, 0 before the first.
    pub free_bytes: u64,
    /// Clients' appends are refused because little space is left.
    pub space_low: bool,
    /// Sidecars of checksums that could not be used and were made anew.
    pub sidecars_rebuilt: u64,
    /// What retention, deletion and compaction did.
    pub cleaned: CleanedStats,
}

/// What retention, deletion and compaction did since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanedStats {
    /// Segments removed below a log start.
    pub segments_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Directories of deleted logs removed.
    pub logs_removed: u64,
    /// Compactions that replaced segments.
    pub compactions: u64,
    /// Bytes that compaction read.
    pub compaction_bytes_read: u64,
    /// Bytes that compaction wrote.
    pub compaction_bytes_written: u64,
    /// Records that compaction left out.
    pub records_compacted: u64,
    /// Bytes of finished segments that the scrubber has looked at.
    pub scrubbed_bytes: u64,
}

/// The counters behind [`CleanedStats`].
#[derive(Default)]
pub(crate) struct Cleaned(Cell<CleanedStats>);

impl Cleaned {
    /// Changes some of them.
    pub(crate) fn update(&self, change: impl FnOnce(&mut CleanedStats)) {
        let mut stats = self.0.get();
        change(&mut stats);
        self.0.set(stats);
    }

    /// A segment's file was removed below the log start.
    pub(crate) fn segment_removed(&self, bytes: u32) {
        self.update(|stats| {
            stats.segments_removed += 1;
            stats.bytes_removed += u64::from(bytes);
        });
    }
}

/// All logs of one shard. Clones share it.
pub struct Store<D: Disk> {
    pub(crate) inner: Rc<StoreInner<D>>,
}

impl<D: Disk> Clone for Store<D> {
    fn clone(&self) -> Self {
        Store { inner: self.inner.clone() }
    }
}

pub(crate) struct StoreInner<D: Disk> {
    pub(crate) disk: D,
    pub(crate) dir: DataDir,
    pub(crate) config: StoreConfig,
    pub(crate) journal: Journal<D>,
    pub(crate) poison: Poison,
    pub(crate) pool: ChunkPool,
    /// For large writes to segments.
    pub(crate) flush_buffers: RefCell<Buffers<D>>,
    pub(crate) logs: RefCell<BTreeMap<TopicPartition, Log<D>>>,
    /// What the base checkpoint says of logs that were not opened yet.
    pub(crate) recovered: RefCell<CheckpointTable>,
    /// What recovery saw in the directories, for as long as logs are opened at the start.
    listing: RefCell<Option<Arc<SegmentListing>>>,
    /// Logs that the checkpoint does not cover.
    pub(crate) dirty: RefCell<BTreeSet<TopicPartition>>,
    pending: Pending<D>,
    /// Those of them that are acknowledged when their frame is written.
    pending_write: Pending<D>,
    more_to_settle: Notify,
    chunks: RefCell<BTreeMap<u64, Weak<LogInner<D>>>>,
    next_chunk: Cell<u64>,
    pub(crate) files: RefCell<FileCache<D>>,
    pub(crate) indexes: RefCell<IndexCache>,
    pub(crate) unflushed_bytes: Cell<u64>,
    /// The flusher is woken when `unflushed_bytes` comes here.
    pub(crate) wake_at: Cell<u64>,
    /// One checkpoint (or write-behind pass) at a time.
    pub(crate) checkpoint: Mutex<CheckpointFile>,
    pub(crate) journal_id: JournalId,
    /// Frames of the journal up to here are not needed beside what is saved; changes under the lock of `checkpoint`.
    pub(crate) covered: Cell<Ticket>,
    /// Directories of deleted logs, to be removed by the flusher.
    pub(crate) deleted: RefCell<Vec<TopicPartition>>,
    pub(crate) wake_flusher: Notify,
    pub(crate) space: Notify,
    pub(crate) space_waiters: Cell<usize>,
    pub(crate) send_supported: Cell<bool>,
    pub(crate) closing: Cell<bool>,
    pub(crate) checkpoints: Cell<u64>,
    pub(crate) segment_bytes_written: Cell<u64>,
    backpressure: Cell<u64>,
    pub(crate) room: Room,
    damaged: RefCell<BTreeSet<(TopicPartition, i64, u32)>>,
    damaged_blocks: Cell<u64>,
    pub(crate) sidecars_rebuilt: Cell<u64>,
    pub(crate) cleaned: Cleaned,
    /// The log that is being compacted: its directory stays until that is over.
    pub(crate) compacting: Cell<Option<TopicPartition>>,
    /// Compactions give up.
    pub(crate) cleaning_stopped: Cell<bool>,
}

impl<D: Disk> Store<D> {
    /// Opens the shard's journal (its content was recovered before) and the checkpoint. `recover` must have run in this process.
    /// Device errors poison this store alone: see `open_sharing`.
    pub async fn open(disk: D, dir: &DataDir, journal: JournalId, config: StoreConfig) -> Result<Self, StorageError> {
        Store::open_sharing(disk, dir, journal, config, Poison::new(), Claims::default()).await
    }

    /// As `open`, with a place for device errors, and a count of what is taken of the disk's room, that all stores of a data directory share.
    pub async fn open_sharing(
        disk: D,
        dir: &DataDir,
        journal: JournalId,
        config: StoreConfig,
        poison: Poison,
        claims: Claims,
    ) -> Result<Self, StorageError> {
        config.validate().map_err(|why| StorageError::InvalidConfig { name: "store", value: 0, why })?;
        let (base, recovered) = CheckpointFile::open(&disk, dir, BASE_NAME).await?;
        let recovered =
            recovered.ok_or_else(|| StorageError::corrupt(&checkpoint_dir(dir).join(BASE_NAME), None, "missing: recovery has not run"))?;
        let (mut table, _) = CheckpointFile::open(&disk, dir, &journal_table_name(journal)).await?;
        table.start_after(base.sequence());
        let journal_id = journal;
        let journal_config = JournalConfig { base_table: base.sequence(), ..config.journal(poison.clone(), claims.clone()) };
        let journal = Journal::open(disk.clone(), dir.journal(journal_id), journal_config).await?;
        let without_reserve = config.free_bytes_min == Some(0);
        let inner = StoreInner {
            pool: ChunkPool::new(config.tail_budget_bytes),
            flush_buffers: RefCell::new(Buffers::new(
                config.flush_chunk_bytes.next_multiple_of(disk.alignment()),
                config.flush_concurrency,
            )),
            files: RefCell::new(FileCache::new(config.open_files_max)),
            disk,
            dir: dir.clone(),
            send_supported: Cell::new(config.sendfile),
            config,
            journal,
            poison,
            logs: RefCell::default(),
            recovered: RefCell::new(recovered),
            listing: RefCell::default(),
            dirty: RefCell::default(),
            pending: Pending::default(),
            pending_write: Pending::default(),
            more_to_settle: Notify::default(),
            chunks: RefCell::default(),
            next_chunk: Cell::new(0),
            indexes: RefCell::default(),
            unflushed_bytes: Cell::new(0),
            wake_at: Cell::new(0),
            checkpoint: Mutex::new(table),
            journal_id,
            covered: Cell::new(Ticket(0)),
            deleted: RefCell::default(),
            wake_flusher: Notify::default(),
            space: Notify::default(),
            space_waiters: Cell::new(0),
            closing: Cell::new(false),
            checkpoints: Cell::new(0),
            segment_bytes_written: Cell::new(0),
            backpressure: Cell::new(0),
            room: Room::new(claims, without_reserve),
            damaged: RefCell::default(),
            damaged_blocks: Cell::new(0),
            sidecars_rebuilt: Cell::new(0),
            cleaned: Cleaned::default(),
            compacting: Cell::new(None),
            cleaning_stopped: Cell::new(false),
        };
        Ok(Store { inner: Rc::new(inner) })
    }

    /// Logs opened from now on need not look at their directories: this is what recovery, in this process, left there. `None` ends that; a log that
    /// is created, deleted or written to after recovery must not be opened by an old listing.
    pub fn know_segments(&self, listing: Option<Arc<SegmentListing>>) {
        *self.inner.listing.borrow_mut() = listing;
    }

    /// Opens a partition's log, or creates it.
    pub async fn open_log(&self, tp: TopicPartition, config: LogConfig) -> Result<Log<D>, StorageError> {
        let log = self.open_log_unloaded(tp, config).await?;
        log.load().await?;
        Ok(log)
    }

    /// The same without reading the end of an existing log, so that many are opened quickly: the first append gets `NotLoaded`.
    pub async fn open_log_unloaded(&self, tp: TopicPartition, config: LogConfig) -> Result<Log<D>, StorageError> {
        config.validate().map_err(|why| StorageError::InvalidConfig { name: "log", value: 0, why })?;
        if let Some(log) = self.log(tp) {
            log.update_config(config);
            return Ok(log);
        }
        let entry = self.inner.recovered.borrow().get(&tp).cloned();
        // Only with an entry: what recovery did not know may have come since.
        let listed = entry.as_ref().and_then(|_| self.inner.listing.borrow().as_ref()?.get(&tp).cloned());
        let log = crate::opener::open_log(&self.inner, tp, entry, listed, config).await?;
        if self.inner.closing.get() {
            return Err(StorageError::Closed);
        }
        // Two openers may have met at the await: the first one's log stays.
        let log = self.inner.logs.borrow_mut().entry(tp).or_insert(log).clone();
        self.inner.recovered.borrow_mut().remove(&tp);
        Ok(log)
    }

    /// The open log of a partition.
    pub fn log(&self, tp: TopicPartition) -> Option<Log<D>> {
        self.inner.logs.borrow().get(&tp).cloned()
    }

    /// Closes a partition's log and removes its files in the background. Also for a partition that is not open, when only its files are left.
    pub async fn delete_log(&self, tp: TopicPartition) -> Result<(), StorageError> {
        let inner = &self.inner;
        if let Some(log) = inner.logs.borrow_mut().remove(&tp) {
            let unflushed = log.close();
            inner.unflushed_bytes.set(inner.unflushed_bytes.get().saturating_sub(unflushed));
        }
        inner.recovered.borrow_mut().remove(&tp);
        inner.dirty.borrow_mut().remove(&tp);
        inner.files.borrow_mut().remove_partition(tp);
        inner.deleted.borrow_mut().push(tp);
        inner.wake_flusher.notify();
        Ok(())
    }

    /// Waits until the journal and the tail budget take an append of `bytes` again. Somebody else may take the place first: try, and wait again.
    pub async fn wait_space(&self, bytes: usize) -> Result<(), StorageError> {
        /// Also a wait that is given up is over.
        struct Waiter<'a>(&'a Cell<usize>);
        impl Drop for Waiter<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let inner = &self.inner;
        inner.space_waiters.set(inner.space_waiters.get() + 1);
        let _waiter = Waiter(&inner.space_waiters);
        inner.wait_space(bytes).await
    }

    /// Waits until a ticket is durable.
    pub async fn wait_durable(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.inner.wait_durable(ticket).await
    }

    /// The journal's writer: spawn it once. Ends after `shutdown`, or with the device's error.
    pub async fn run_journal(&self) -> Result<(), StorageError> {
        let inner = self.inner.clone();
        let weak = Rc::downgrade(&inner);
        inner.journal.set_on_written(move |ticket| {
            if let Some(inner) = weak.upgrade() {
                inner.on_written(ticket);
            }
        });
        let writing = std::pin::pin!(self.inner.journal.run(|ticket| inner.on_complete(ticket)));
        let settling = std::pin::pin!(self.inner.settle_the_rest());
        let result = match select(writing, settling).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => match never {},
        };
        while self.inner.settle_some() {}
        self.inner.wake_everyone();
        result
    }

    /// The flusher and checkpointer: spawn it once. Ends after `shutdown`, or with the device's error.
    pub async fn run_flusher(&self) -> Result<(), StorageError> {
        let result = crate::checkpointer::run(&self.inner).await;
        if let Err(error) = &result {
            // Also an error that is no failed write ends the flusher, and without it nothing can be promised for long.
            self.inner.poison.set(error);
            self.inner.wake_everyone();
        }
        result
    }

    /// Takes no more appends, flushes everything, writes the last checkpoint; `run_journal` and `run_flusher` end. `run_journal` must be running.
    pub async fn shutdown(&self) -> Result<(), StorageError> {
        let inner = &self.inner;
        inner.closing.set(true);
        for log in inner.open_logs() {
            log.inner().state.borrow_mut().closed = true;
        }
        inner.wake_everyone();
        let result = crate::checkpointer::final_checkpoint(inner).await;
        inner.journal.close();
        inner.journal.wait_ended().await;
        inner.files.borrow_mut().clear();
        inner.pending.clear();
        inner.pending_write.clear();
        result
    }

    /// Counters and gauges.
    pub fn stats(&self) -> StoreStats {
        let inner = &self.inner;
        StoreStats {
            logs: inner.logs.borrow().len(),
            dirty_logs: inner.dirty.borrow().len(),
            tail_bytes: inner.pool.used_bytes(),
            tail_bytes_max: inner.pool.budget_bytes(),
            unflushed_bytes: inner.unflushed_bytes.get(),
            journal: inner.journal.usage(),
            journal_stats: inner.journal.stats(),
            journal_costs: inner.journal.costs(),
            checkpoints: inner.checkpoints.get(),
            segment_bytes_written: inner.segment_bytes_written.get(),
            open_files: inner.files.borrow().len(),
            backpressure: inner.backpressure.get(),
            free_bytes: inner.room.free_bytes(),
            space_low: inner.room.is_low(),
            damaged_blocks: inner.damaged_blocks.get(),
            sidecars_rebuilt: inner.sidecars_rebuilt.get(),
            cleaned: inner.cleaned.0.get(),
        }
    }

    /// Calls `hook` after each group commit with what it cost.
    pub fn set_on_frame(&self, hook: impl FnMut(FrameCost) + 'static) {
        self.inner.journal.set_on_frame(hook);
    }
}

impl<D: Disk> StoreInner<D> {
    /// All open logs, in the order of their partitions.
    pub(crate) fn open_logs(&self) -> Vec<Log<D>> {
        self.logs.borrow().values().cloned().collect()
    }

    /// Open logs that the checkpoint does not cover.
    pub(crate) fn dirty_logs(&self) -> Vec<Log<D>> {
        let logs = self.logs.borrow();
        self.dirty.borrow().iter().filter_map(|tp| logs.get(tp).cloned()).collect()
    }

    /// Whoever waits for space or durability must hear of a device error, and of the end.
    fn wake_everyone(&self) {
        self.space.notify();
        self.wake_flusher.notify();
        for log in self.open_logs() {
            log.inner().durable.notify();
        }
    }

    /// Notes an append: its log is dirty and waits for its ticket.
    pub(crate) fn note_append(&self, log: &Rc<LogInner<D>>, ticket: Ticket, end_offset: i64, bytes: usize, class: DurabilityClass) {
        self.unflushed_bytes.set(self.unflushed_bytes.get() + bytes as u64);
        self.room.accepted(bytes as u64);
        if self.unflushed_bytes.get() >= self.wake_at.get() {
            self.wake_at.set(u64::MAX);
            self.wake_flusher.notify();
        }
        self.dirty.borrow_mut().insert(log.tp);
        self.pending.push(ticket, log, end_offset);
        if class == DurabilityClass::Replicated {
            self.pending_write.push(ticket, log, end_offset);
        }
    }

    /// Unflushed bytes from which on the flusher writes behind.
    pub(crate) fn write_behind_bytes(&self) -> u64 {
        2 * self.config.flush_chunk_bytes as u64
    }

    /// Age for a new chunk.
    pub(crate) fn next_chunk_id(&self) -> u64 {
        let id = self.next_chunk.get();
        self.next_chunk.set(id + 1);
        id
    }

    /// Registers a chunk for eviction.
    pub(crate) fn note_chunk(&self, id: u64, log: &Rc<LogInner<D>>) {
        self.chunks.borrow_mut().insert(id, Rc::downgrade(log));
    }

    /// Counts a damaged block of a segment; true when it was not known before.
    pub(crate) fn note_damage(&self, tp: TopicPartition, base: i64, block: u32) -> bool {
        let mut damaged = self.damaged.borrow_mut();
        let new = damaged.len() < DAMAGED_MAX && damaged.insert((tp, base, block));
        self.damaged_blocks.set(self.damaged_blocks.get() + u64::from(new));
        new
    }

    /// A chunk left in another way than by eviction.
    pub(crate) fn forget_chunk(&self, id: u64) {
        self.chunks.borrow_mut().remove(&id);
    }

    /// Counts a refused append and pushes the flusher.
    pub(crate) fn note_backpressure(&self) {
        self.backpressure.set(self.backpressure.get() + 1);
        self.wake_flusher.notify();
    }

    /// Lets flushed chunks go, oldest first over all partitions, until `bytes` of memory would be free. Looks at no more than `scan_max` chunks. No
    /// log's state may be borrowed.
    pub(crate) fn evict(&self, bytes: usize, scan_max: usize) -> bool {
        let mut chunks = self.chunks.borrow_mut();
        let free = |freed: usize| (self.pool.budget_bytes() + freed).saturating_sub(self.pool.used_bytes());
        let mut gone: Vec<u64> = Vec::new();
        let mut held_by_readers = 0;
        for (&id, log) in chunks.iter().take(scan_max) {
            if free(held_by_readers) >= bytes {
                break;
            }
            let Some(log) = log.upgrade() else {
                gone.push(id);
                continue;
            };
            let before = self.pool.used_bytes();
            if let Some(capacity) = log.state.borrow_mut().evict_front(id) {
                gone.push(id);
                // Slices that readers hold free their memory later; they count as free here, so that one slow reader does not empty the cache.
                held_by_readers += capacity - (before - self.pool.used_bytes()).min(capacity);
            }
        }
        for id in gone {
            chunks.remove(&id);
        }
        free(0) >= bytes
    }

    /// What the journal must have room for before a batch of `bytes` is taken: the batch, the image of a block before it, their headers, and the padding when
    /// they come to lie in two frames. So that no push is refused behind one that was taken.
    pub(crate) fn journal_bytes(&self, bytes: usize) -> usize {
        bytes + 4 * self.disk.alignment()
    }

    async fn wait_space(&self, bytes: usize) -> Result<(), StorageError> {
        let journal_bytes = self.journal_bytes(bytes);
        if bytes > self.pool.budget_bytes() {
            return Err(StorageError::EntryTooLarge { bytes: bytes as u64, bytes_max: self.pool.budget_bytes() as u64 });
        }
        loop {
            let since = self.space.generation();
            self.poison.check()?;
            if self.closing.get() {
                return Err(StorageError::Closed);
            }
            if !self.journal.try_reserve(journal_bytes) {
                self.wake_flusher.notify();
                self.journal.wait_space(journal_bytes).await?;
                continue;
            }
            if self.evict(bytes.next_multiple_of(4096).min(self.pool.budget_bytes()), EVICT_SCAN_MAX) {
                return Ok(());
            }
            self.wake_flusher.notify();
            self.space.changed(since).await;
        }
    }

    /// Frames up to the ticket are durable: moves durable ends forward, in order, and tells those who asked.
    fn on_complete(&self, ticket: Ticket) {
        self.pending.reached(ticket);
        self.settle_first();
    }

    /// The same for logs whose appends are acknowledged when they are written.
    fn on_written(&self, ticket: Ticket) {
        self.pending_write.reached(ticket);
        self.settle_first();
    }

    /// What one frame carries for very many partitions is told in several turns: see `settle_the_rest`.
    fn settle_first(&self) {
        if self.settle_some() {
            self.more_to_settle.notify();
        }
    }

    /// Tells some of what is durable or written; true while there is more.
    fn settle_some(&self) -> bool {
        let more = self.pending.tell_some(|log, end| log.set_durable_end(end));
        self.pending_write.tell_some(|log, end| log.set_written_end(end)) || more
    }

    /// Tells all of it, in steps that give way.
    async fn settle_completed(&self) {
        while self.settle_some() {
            self.disk.sleep(Duration::ZERO).await;
        }
    }

    async fn settle_the_rest(&self) -> Infallible {
        loop {
            let since = self.more_to_settle.generation();
            self.settle_completed().await;
            self.more_to_settle.changed(since).await;
        }
    }

    /// Waits until a ticket is durable and every log that it concerns knows.
    pub(crate) async fn wait_durable(&self, ticket: Ticket) -> Result<(), StorageError> {
        self.journal.wait(ticket).await?;
        self.settle_completed().await;
        Ok(())
    }
}

/// Damaged blocks that are told apart; more are refused all the same, but neither told nor counted.
const DAMAGED_MAX: usize = 10_000;
/// Chunks looked at by one eviction on the append path.
pub(crate) const EVICT_SCAN_MAX: usize = 256;
