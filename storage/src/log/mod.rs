//! `Log`: one partition's log on one shard. Append, read, look up by time and epoch, move the log start.
//!
//! Standing relations: `log start <= durable end <= settled end <= log end`; `recovery point <= durable end`. `append` is synchronous and ordered; what it
//! placed is what its durability class promises when `settled_end_offset` passes it, and durable when `durable_end_offset` does. Reads never block the thread. Callers: the broker's partition, the coordinators' driver.

pub mod append_plan;
mod appender;
pub(crate) mod flusher;
pub(crate) mod index_loader;
pub mod read_plan;
mod reader;
pub(crate) mod scan;
pub mod scrub;
pub mod settling;
pub mod state;
pub(crate) mod sums;
pub mod tail;
mod timestamp;

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use coreline_wire::ids::TopicPartition;
use coreline_wire::record::ValidBatch;

use crate::config::{DurabilityClass, LogConfig};
use crate::error::StorageError;
use crate::io::{Disk, closer};
use crate::journal::Ticket;
use crate::notify::Notify;
use crate::producer_state::ActiveProducer;
use crate::store::StoreInner;
use read_plan::ReadRequest;
use state::LogState;
use tail::Tail;

/// Who hands in a batch, which decides what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: everything is checked, offsets are assigned.
    Client,
    /// A coordinator of this broker: offsets are assigned, timestamps are not checked.
    Coordinator,
    /// A leader: offsets and epochs are kept and must follow on.
    Replica,
}

/// What an append needs to know besides the batch.
#[derive(Clone, Copy, Debug)]
pub struct AppendContext {
    /// Wall clock, ms since 1970.
    pub now_ms: i64,
    /// Leader epoch under which a client's or coordinator's batch is written.
    pub leader_epoch: i32,
    /// Who hands it in.
    pub origin: AppendOrigin,
}

/// Where a batch was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The broker's time stamped on it, ms; `None` for `CreateTime`.
    pub log_append_time_ms: Option<i64>,
    /// Log start offset at that moment.
    pub log_start_offset: i64,
    /// It was in the log already (a retry of an idempotent producer); nothing was written.
    pub duplicate: bool,
    /// Durable when the journal has completed this ticket; `durable_end_offset` is then above `last_offset`.
    pub ticket: Ticket,
}

/// Why a batch was not appended. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    #[error("producer {producer_id}: sequence {found} where {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// Sequence that would have been right.
        expected: i32,
        /// Sequence of the batch.
        found: i32,
    },
    /// Kafka's INVALID_PRODUCER_EPOCH (47).
    #[error("producer {producer_id}: epoch {found} below {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// Newest epoch seen.
        current: i16,
        /// Epoch of the batch.
        found: i16,
    },
    /// Larger than `max.message.bytes`: MESSAGE_TOO_LARGE (10).
    #[error("batch of {bytes} bytes, {bytes_max} allowed")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// Limit.
        bytes_max: usize,
    },
    /// Larger than a segment: RECORD_LIST_TOO_LARGE (18).
    #[error("batch of {bytes} bytes, a segment holds {bytes_max}")]
    LargerThanSegment {
        /// Size of the batch.
        bytes: usize,
        /// Limit.
        bytes_max: usize,
    },
    /// A timestamp too far from the broker's clock, or a timestamp type that only the broker may set: INVALID_TIMESTAMP (32).
    #[error("timestamp {timestamp_ms} outside {min_ms}..={max_ms}")]
    InvalidTimestamp {
        /// The timestamp.
        timestamp_ms: i64,
        /// Smallest allowed.
        min_ms: i64,
        /// Largest allowed.
        max_ms: i64,
    },
    /// A replica's batch does not follow on.
    #[error("batch at offset {found} where {expected} follows")]
    OffsetMismatch {
        /// The log end offset.
        expected: i64,
        /// Base offset of the batch.
        found: i64,
    },
    /// A leader epoch below the one of the batch before.
    #[error("leader epoch {found} below {current}")]
    EpochBackwards {
        /// Epoch of the last batch.
        current: i32,
        /// Epoch handed in.
        found: i32,
    },
    /// The journal or the tail budget is full: await `Store::wait_space` and try again.
    #[error("no space in the journal or in memory yet")]
    Backpressure,
    /// The log was opened without reading its end: await `Log::load` and try again.
    #[error("the end of the log was not read yet")]
    NotLoaded,
    /// Little space is left on the device: try again when some was freed.
    #[error("the disk has {free_bytes} bytes left, appends are refused until space is freed")]
    DiskFull {
        /// Free bytes.
        free_bytes: u64,
    },
    /// Offsets are used up, or the batch cannot be counted.
    #[error("offset {0} cannot be counted further")]
    OffsetOverflow(i64),
    /// The disk or the journal has failed, or the log was closed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a read was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE (1).
    #[error("offset {offset} outside {log_start}..={log_end}")]
    OffsetOutOfRange {
        /// Asked for.
        offset: i64,
        /// First offset.
        log_start: i64,
        /// Offset behind the last.
        log_end: i64,
    },
    /// The disk failed or its bytes are damaged.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A segment opened through the page cache, for `sendfile` of ranges that never change again.
#[derive(Debug)]
pub struct SendFile {
    /// `None` while it is dropped.
    fd: Option<Arc<OwnedFd>>,
}

impl SendFile {
    /// Takes a read-only descriptor whose bytes never change where spans name them.
    pub fn new(fd: Arc<OwnedFd>) -> SendFile {
        SendFile { fd: Some(fd) }
    }

    fn held(&self) -> &Arc<OwnedFd> {
        self.fd.as_ref().expect("held until it is dropped")
    }
}

impl Drop for SendFile {
    /// The last descriptor of a file that was removed frees its space when it closes: never on the thread of a shard.
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            closer::close(fd);
        }
    }
}

impl AsFd for SendFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held().as_fd()
    }
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum ReadSpan {
    /// Bytes in memory.
    Memory(Bytes),
    /// Bytes of a file.
    File {
        /// The file.
        file: Arc<SendFile>,
        /// Position of the first byte.
        position: u64,
        /// Number of bytes.
        len: u32,
        /// Bytes behind them that a reader in sequence will want next and that never change either; 0 when it is not known to read in sequence.
        ahead: u32,
    },
}

impl ReadSpan {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        match self {
            ReadSpan::Memory(bytes) => bytes.len(),
            ReadSpan::File { len, .. } => *len as usize,
        }
    }
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whole batches of a log, in order. `Send`: it may cross to the shard that owns the connection.
#[derive(Clone, Debug)]
#[must_use]
pub struct ReadPlan {
    /// The pieces, in order.
    pub spans: Vec<ReadSpan>,
    /// Bytes in all pieces.
    pub bytes: usize,
    /// Offset to read from next; the asked offset when nothing was there.
    pub next_offset: i64,
}

impl ReadPlan {
    /// An answer without batches.
    pub fn empty(offset: i64) -> ReadPlan {
        ReadPlan { spans: Vec::new(), bytes: 0, next_offset: offset }
    }
}

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, ms.
    pub timestamp_ms: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

/// One partition's log. Clones share it.
pub struct Log<D: Disk>(Rc<LogInner<D>>);

pub(crate) struct LogInner<D: Disk> {
    pub(crate) tp: TopicPartition,
    /// Directory of the partition.
    pub(crate) dir: PathBuf,
    store: Weak<StoreInner<D>>,
    pub(crate) state: RefCell<LogState>,
    pub(crate) config: RefCell<LogConfig>,
    on_settled: RefCell<Option<SettledCallback>>,
    /// One more at the beginning and at the end of each exchange of files by compaction: odd while files are renamed.
    pub(crate) swaps: Cell<u64>,
    /// An exchange has ended.
    swapped: Notify,
    /// The durable end has moved, or the log was closed.
    pub(crate) durable: Notify,
    /// Durable (or written) end that a journal frame has brought and that was not told yet.
    pub(crate) completed_end: Cell<Option<i64>>,
}

type SettledCallback = Rc<dyn Fn(i64)>;

impl<D: Disk> Clone for Log<D> {
    fn clone(&self) -> Self {
        Log(self.0.clone())
    }
}

impl<D: Disk> std::fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("partition", &self.0.tp).finish_non_exhaustive()
    }
}

impl<D: Disk> Log<D> {
    pub(crate) fn new(store: &Rc<StoreInner<D>>, tp: TopicPartition, state: LogState, config: LogConfig) -> Log<D> {
        Log(Rc::new(LogInner {
            tp,
            dir: store.dir.partition(tp),
            store: Rc::downgrade(store),
            state: RefCell::new(state),
            config: RefCell::new(config),
            on_settled: RefCell::default(),
            swaps: Cell::new(0),
            swapped: Notify::default(),
            durable: Notify::default(),
            completed_end: Cell::new(None),
        }))
    }

    pub(crate) fn inner(&self) -> &Rc<LogInner<D>> {
        &self.0
    }

    /// The log was deleted: takes no more appends, lets its memory go; answers with the bytes that were not flushed.
    pub(crate) fn close(&self) -> u64 {
        let mut state = self.0.state.borrow_mut();
        state.closed = true;
        state.deleted = true;
        state.tail = Tail::default();
        let unflushed = state.segments.iter().map(|s| u64::from(s.size - s.flushed)).sum();
        drop(state);
        self.0.durable.notify();
        unflushed
    }

    /// The partition.
    pub fn topic_partition(&self) -> TopicPartition {
        self.0.tp
    }

    /// The synchronous, ordered part: checks, assigns offsets, puts the bytes into the tail and the journal's frame. On an error nothing was written.
    pub fn append(&self, batch: &ValidBatch, ctx: AppendContext) -> Result<Appended, AppendError> {
        let store = self.0.store()?;
        let appended = appender::append(&self.0, &store, batch, &ctx)?;
        if self.0.config.borrow().durability == DurabilityClass::Memory {
            self.0.settle();
        }
        Ok(appended)
    }

    /// Reads what `Store::open_log_unloaded` has left on the disk and appends need. Cheap when nothing is left.
    pub async fn load(&self) -> Result<(), StorageError> {
        let store = self.0.store()?;
        crate::opener::load(&store, &self.0).await
    }

    /// First offset a client may read.
    pub fn log_start_offset(&self) -> i64 {
        self.0.state.borrow().log_start
    }

    /// Offset behind the last batch.
    pub fn log_end_offset(&self) -> i64 {
        self.0.state.borrow().log_end()
    }

    /// Offset behind the last durable batch.
    pub fn durable_end_offset(&self) -> i64 {
        self.0.state.borrow().durable_end
    }

    /// Offset behind the last batch that is what its durability class promises: everything below may be acknowledged and read. Never below the durable end.
    pub fn settled_end_offset(&self) -> i64 {
        self.0.state.borrow().settling.settled_end()
    }

    /// The high watermark as of the last checkpoint, never below the log start; what the broker starts from.
    pub fn recovered_high_watermark(&self) -> i64 {
        let state = self.0.state.borrow();
        state.high_watermark.clamp(state.log_start, state.durable_end)
    }

    /// Tells the next checkpoint the high watermark.
    pub fn set_high_watermark(&self, offset: i64) {
        self.0.state.borrow_mut().high_watermark = offset;
    }

    /// Calls `f` with the new settled end whenever it has advanced. Replaces an earlier one. `f` may append.
    pub fn on_settled(&self, f: impl Fn(i64) + 'static) {
        *self.0.on_settled.borrow_mut() = Some(Rc::new(f));
    }

    /// Waits until the durable end is at least `offset`, asking for a flush where the class does without. `Poisoned` after a device error, `Closed` after the log was deleted or the store shut down.
    pub async fn wait_durable(&self, offset: i64) -> Result<(), StorageError> {
        loop {
            let since = self.0.durable.generation();
            if self.durable_end_offset() >= offset {
                return Ok(());
            }
            let store = self.0.store()?;
            store.poison.check()?;
            if self.0.state.borrow().closed {
                return Err(StorageError::Closed);
            }
            store.journal.want_durable(self.0.state.borrow().last_ticket);
            self.0.durable.changed(since).await;
        }
    }

    /// Whole batches from the one that contains `offset` on, below `upper` (exclusive), at most `max_bytes`; with `at_least_one` the first batch is
    /// taken whatever its size. Empty when `offset` is at or above `upper` but not above the log end.
    pub async fn read(&self, offset: i64, max_bytes: u32, upper: i64, at_least_one: bool) -> Result<ReadPlan, ReadError> {
        reader::read(&self.0, ReadRequest { offset, max_bytes, upper, at_least_one }).await
    }

    /// The same as `read` when the answer lies in memory (or is empty, or an error); `None` when it needs the disk.
    pub fn read_cached(&self, offset: i64, max_bytes: u32, upper: i64, at_least_one: bool) -> Option<Result<ReadPlan, ReadError>> {
        reader::read_cached(&self.0, ReadRequest { offset, max_bytes, upper, at_least_one })
    }

    /// First record below `upper` whose timestamp is at least `timestamp_ms`, exact to the record.
    pub async fn offset_for_timestamp(&self, timestamp_ms: i64, upper: i64) -> Result<Option<TimestampOffset>, StorageError> {
        timestamp::first_at_or_after(&self.0, timestamp_ms, upper).await
    }

    /// First record with the largest timestamp below `upper`.
    pub async fn max_timestamp(&self, upper: i64) -> Result<Option<TimestampOffset>, StorageError> {
        timestamp::largest(&self.0, upper).await
    }

    /// Answer to OffsetForLeaderEpoch: (largest epoch not above the asked one, where it ended); (-1, -1) when unknown.
    pub fn epoch_end_offset(&self, epoch: i32) -> (i32, i64) {
        let state = self.0.state.borrow();
        state.epochs.end_offset(epoch, state.log_end())
    }

    /// Leader epoch of the batch at `offset`, -1 when unknown.
    pub fn leader_epoch_at(&self, offset: i64) -> i32 {
        self.0.state.borrow().epochs.at(offset)
    }

    /// Newest leader epoch in the log, -1 for none.
    pub fn latest_epoch(&self) -> i32 {
        self.0.state.borrow().epochs.latest()
    }

    /// Moves the log start up to `before` and answers with the log start once that is durable. Never moves back; beyond the durable end is
    /// `OffsetOutOfRange`. Segments wholly below it are removed in the background.
    pub async fn delete_records(&self, before: i64) -> Result<i64, ReadError> {
        crate::checkpointer::move_log_start(&self.0, before).await
    }

    /// The same for many logs of one store with one write, answered in order.
    pub async fn delete_records_of_many(moves: &[(&Log<D>, i64)]) -> Result<Vec<Result<i64, ReadError>>, StorageError> {
        let Some((first, _)) = moves.first() else { return Ok(Vec::new()) };
        let moves: Vec<_> = moves.iter().map(|(log, before)| (log.0.clone(), *before)).collect();
        crate::checkpointer::delete_before(&first.0.store()?, &moves).await
    }

    /// Bytes of batches, in memory and on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.0.state.borrow().segments.size_bytes()
    }

    /// Number of segments, the active one included.
    pub fn segment_count(&self) -> usize {
        self.0.state.borrow().segments.count()
    }

    /// Configuration for what is appended from now on. An invalid one is refused by name and the old one stays. With a stronger durability class what was
    /// appended before is flushed too.
    pub fn update_config(&self, config: LogConfig) {
        match config.validate() {
            Ok(()) => {
                let before = self.0.config.replace(config);
                if self.0.config.borrow().durability < before.durability
                    && let Ok(store) = self.0.store()
                {
                    store.journal.want_durable(self.0.state.borrow().last_ticket);
                }
            }
            Err(why) => tracing::error!(partition = %self.0.tp, why, "log configuration refused"),
        }
    }

    /// The producers that the log remembers, by id.
    pub async fn producers(&self) -> Result<Vec<ActiveProducer>, StorageError> {
        self.load().await?;
        Ok(self.0.state.borrow().producers.active())
    }

    /// Forgets producers idle for longer than the configured time. Call now and then.
    pub fn expire_producers(&self, now_ms: i64) {
        let expiration_ms = self.0.config.borrow().producer_id_expiration_ms;
        let mut state = self.0.state.borrow_mut();
        if state.producers_missing {
            return;
        }
        let before = state.producers.len();
        state.producers.expire(now_ms, expiration_ms);
        state.producers_changed |= state.producers.len() != before;
    }
}

impl<D: Disk> LogInner<D> {
    /// The store, while it lives.
    pub(crate) fn store(&self) -> Result<Rc<StoreInner<D>>, StorageError> {
        self.store.upgrade().ok_or(StorageError::Closed)
    }

    /// Moves the durable end forward and tells those who asked.
    pub(crate) fn set_durable_end(&self, end: i64) {
        {
            let mut state = self.state.borrow_mut();
            if state.closed && end > state.log_end() || end <= state.durable_end {
                return;
            }
            state.durable_end = end;
        }
        self.settle();
        self.durable.notify();
    }

    /// Batches of class replicated are written up to `end`.
    pub(crate) fn set_written_end(&self, end: i64) {
        {
            let mut state = self.state.borrow_mut();
            if state.closed && end > state.log_end() {
                return;
            }
            state.settling.written(end);
        }
        self.settle();
    }

    /// Moves the settled end and tells who asked.
    fn settle(&self) {
        let settled = {
            let mut state = self.state.borrow_mut();
            let settled = state.settle();
            state.debug_check();
            settled
        };
        if let Some(end) = settled {
            let callback = self.on_settled.borrow().clone();
            if let Some(callback) = callback {
                callback(end);
            }
        }
    }

    /// A number that differs between logs and is the same at every start.
    pub(crate) fn salt(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.tp.topic.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ (self.tp.partition as u64) << 32
    }

    /// Begins an exchange of files: who has to open one waits until the answer is dropped.
    pub(crate) fn begin_swap(&self) -> SwapGate<'_, D> {
        self.swaps.set(self.swaps.get() + 1);
        SwapGate(self)
    }

    /// Waits while files are renamed. What is opened then fits the log's segments if `swaps` is still the answer afterwards.
    pub(crate) async fn steady(&self) -> u64 {
        loop {
            let since = self.swapped.generation();
            let swaps = self.swaps.get();
            if swaps.is_multiple_of(2) {
                return swaps;
            }
            self.swapped.changed(since).await;
        }
    }

    /// Path of a file of this partition.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// An exchange of files is going on.
pub(crate) struct SwapGate<'a, D: Disk>(&'a LogInner<D>);

impl<D: Disk> Drop for SwapGate<'_, D> {
    fn drop(&mut self) {
        self.0.swaps.set(self.0.swaps.get() + 1);
        self.0.swapped.notify();
    }
}
