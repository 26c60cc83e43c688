//! One pass over a log: learns the keys of its dirty part, writes its segments anew without what is superseded, and has them exchanged.
//!
//! Reading and writing go through the disk's own queue; decompressing, hashing and compressing happen on pool threads, a chunk at a time, so the shard's loop only waits.
//! Bytes per second are bounded. Until the exchange nothing of the log has changed; whatever ends the pass early leaves only files that the next start removes.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use coreline_wire::record::BatchHeader;
use coreline_wire::record::batch::HEADER_BYTES;
use hashbrown::HashSet;

use super::filter::{Filtered, Pass, Stop, TransactionScan};
use super::key_map::KeyMap;
use super::plan::{Dirty, SegmentFacts, groups};
use super::swap::{self, NewSegment, SwapFile};
use super::{CompactionConfig, CompactionReport, facts};
use crate::error::StorageError;
use crate::io::Disk;
use crate::log::{LogInner, scan};
use crate::segment::name;
use crate::store::StoreInner;

/// Makes the pass. `None` when the log was changed meanwhile (deleted, shortened): nothing was done.
pub(super) async fn run<D: Disk>(
    store: &Rc<StoreInner<D>>,
    log: &Rc<LogInner<D>>,
    dirty: Dirty,
    now_ms: i64,
    config: &CompactionConfig,
) -> Result<Option<CompactionReport>, StorageError> {
    // Producers may not have been read since the start.
    crate::opener::load(store, log).await?;
    let mut io = Throttle::new(store, config);
    let sources: Vec<SegmentFacts> = facts(log).into_iter().filter(|s| s.settled && s.base_offset < dirty.end).collect();
    let mut aborted = None;
    // Twice at most: again when the first try has met a transaction.
    for _ in 0..2 {
        let pass = Pass {
            // As many keys as there can be records.
            keys: KeyMap::new(config.keys_bytes, config.load_factor, u64::try_from(dirty.end - dirty.from).unwrap_or(0)),
            now_ms,
            delete_retention_ms: log.config.borrow().delete_retention_ms,
            last_of_producer: log.state.borrow().producers.last_offsets().collect(),
            aborted: aborted.take(),
            open_transactions: HashSet::new(),
            scratch: Vec::new(),
        };
        let ended = match compact(store, log, &sources, dirty, pass, &mut io).await {
            Ok(report) => return Ok(report),
            Err(ended) => ended,
        };
        if let Err(error) = swap::discard(store, log).await {
            tracing::warn!(partition = %log.tp, %error, "files of a compaction that ended early are left to the next start");
        }
        match ended {
            Ended::Gone => return Ok(None),
            Ended::Failed(error) => return Err(error),
            Ended::NeedTransactions => aborted = Some(find_aborted(store, log, &sources, &mut io).await?),
        }
    }
    Ok(None)
}

/// Why a try ended without an exchange.
enum Ended {
    /// The log was changed meanwhile.
    Gone,
    /// There are transactions.
    NeedTransactions,
    /// An error.
    Failed(StorageError),
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Self {
        Ended::Failed(error)
    }
}

async fn compact<D: Disk>(
    store: &Rc<StoreInner<D>>,
    log: &Rc<LogInner<D>>,
    sources: &[SegmentFacts],
    dirty: Dirty,
    mut pass: Pass,
    io: &mut Throttle<'_, D>,
) -> Result<Option<CompactionReport>, Ended> {
    let mut complete = true;
    'learn: for source in sources.iter().filter(|s| s.next_offset > dirty.from) {
        let mut chunks = Chunks::new(source);
        while let Some(chunk) = chunks.next(store, log, io).await? {
            let at = chunks.position;
            let (back, learnt) = store
                .disk
                .compute(move || {
                    let learnt = pass.learn(chunk, dirty.from);
                    (pass, learnt)
                })
                .await;
            pass = back;
            if !learnt.map_err(|stop| ended(log, source, at, stop))? {
                complete = false;
                break 'learn;
            }
        }
    }
    if complete {
        // What lies behind the last batch of the part is a gap.
        pass.keys.set_latest(dirty.end - 1);
    }
    let cleaned_to = pass.keys.latest() + 1;
    if cleaned_to <= dirty.from {
        return Ok(None);
    }
    let sources: Vec<SegmentFacts> = sources.iter().copied().filter(|s| s.base_offset < cleaned_to).collect();
    let groups = groups(&log.config.borrow(), &sources);
    let interval = log.config.borrow().index_interval_bytes;
    let mut swap_file = SwapFile::open(&store.disk, &log.dir).await?;
    let mut new_segments: Vec<NewSegment<D>> = Vec::new();
    let mut dropped = 0;
    // Where the next new segment begins: earlier than its group when nothing is left of the groups before it, so that there is never a gap at the front.
    let mut begins = sources.first().map(|s| s.base_offset);
    for group in groups {
        let group = &sources[group];
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let base = match begins.take() {
            Some(base) if last.next_offset - base <= i64::from(i32::MAX) => base,
            Some(base) => {
                // Too far for one segment.
                let mut empty = NewSegment::new(base, first.base_offset, interval);
                empty.finish_empty(store, log, swap_file.next_generation()).await?;
                new_segments.push(empty);
                first.base_offset
            }
            None => first.base_offset,
        };
        let mut new = NewSegment::new(base, last.next_offset, interval);
        for source in group {
            let mut chunks = Chunks::new(source);
            while let Some(chunk) = chunks.next(store, log, io).await? {
                let at = chunks.position;
                let (back, filtered) = store
                    .disk
                    .compute(move || {
                        let filtered = pass.filter(chunk);
                        (pass, filtered)
                    })
                    .await;
                pass = back;
                let Filtered { bytes, batches, dropped: left_out } = filtered.map_err(|stop| ended(log, source, at, stop))?;
                dropped += left_out;
                io.spend(bytes.len()).await?;
                store.cleaned.update(|stats| stats.compaction_bytes_written += bytes.len() as u64);
                new.push(store, log, swap_file.next_generation(), &bytes, &batches).await?;
            }
        }
        if new.finish(store).await? {
            new_segments.push(new);
        } else if let Some(before) = new_segments.last_mut() {
            // Nothing is left of the group: the one before reaches up to the next.
            before.reach(last.next_offset);
        } else {
            begins = Some(base);
        }
    }
    drop(pass);
    if let (Some(base), Some(last)) = (begins, sources.last()) {
        // Nothing is left at all: an empty segment keeps the place.
        let mut new = NewSegment::new(base, last.next_offset, interval);
        new.finish_empty(store, log, swap_file.next_generation()).await?;
        new_segments.push(new);
    }
    let (segments_after, bytes_after) = (new_segments.len(), new_segments.iter().map(NewSegment::size_bytes).sum());
    let done = swap::exchange(store, log, &mut swap_file, &sources, new_segments, cleaned_to).await?;
    if !done {
        return Err(Ended::Gone);
    }
    store.cleaned.update(|stats| {
        stats.compactions += 1;
        stats.records_compacted += dropped;
    });
    Ok(Some(CompactionReport {
        partition: log.tp,
        segments_before: sources.len(),
        segments_after,
        bytes_before: sources.iter().map(|s| u64::from(s.size)).sum(),
        bytes_after,
        records_dropped: dropped,
        cleaned_to,
    }))
}

async fn find_aborted<D: Disk>(
    store: &Rc<StoreInner<D>>,
    log: &Rc<LogInner<D>>,
    sources: &[SegmentFacts],
    io: &mut Throttle<'_, D>,
) -> Result<Vec<super::filter::Aborted>, StorageError> {
    let mut scan = TransactionScan::default();
    for source in sources {
        let mut chunks = Chunks::new(source);
        loop {
            let chunk = match chunks.next(store, log, io).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(Ended::Failed(error)) => return Err(error),
                Err(_) => return Ok(scan.aborted),
            };
            let at = chunks.position;
            if let Err(stop) = scan.look(chunk)
                && let Ended::Failed(error) = ended(log, source, at, stop)
            {
                return Err(error);
            }
        }
    }
    Ok(scan.aborted)
}

fn ended<D: Disk>(log: &LogInner<D>, source: &SegmentFacts, chunk_at: u32, stop: Stop) -> Ended {
    match stop {
        Stop::NeedTransactions => Ended::NeedTransactions,
        Stop::Damaged(at, why) => {
            let path = log.path(&name::log_file(source.base_offset));
            Ended::Failed(StorageError::corrupt(&path, Some(u64::from(chunk_at) + at as u64), why))
        }
    }
}

/// Whole batches of a segment, some at a time.
struct Chunks<'a> {
    source: &'a SegmentFacts,
    /// Where the last chunk began.
    position: u32,
    next: u32,
}

impl<'a> Chunks<'a> {
    fn new(source: &'a SegmentFacts) -> Chunks<'a> {
        Chunks { source, position: 0, next: 0 }
    }

    async fn next<D: Disk>(&mut self, store: &StoreInner<D>, log: &LogInner<D>, io: &mut Throttle<'_, D>) -> Result<Option<Bytes>, Ended> {
        let Chunks { source, next: from, .. } = *self;
        if from >= source.size {
            return Ok(None);
        }
        let mut to = source.size.min(from.saturating_add(io.read_bytes));
        loop {
            // The log may have been deleted, or the segment removed by retention.
            let size = log.state.borrow().segments.get(source.base_offset).map(|s| s.size);
            if size != Some(source.size) {
                return Err(Ended::Gone);
            }
            io.spend((to - from) as usize).await?;
            let Some(bytes) = scan::read_range(store, log, source.base_offset, from, to).await? else { return Err(Ended::Gone) };
            store.cleaned.update(|stats| stats.compaction_bytes_read += bytes.len() as u64);
            let damaged = |at: usize, why: String| {
                let path = log.path(&name::log_file(source.base_offset));
                Ended::Failed(StorageError::corrupt(&path, Some(u64::from(from) + at as u64), why))
            };
            let mut whole = 0;
            let mut needed = 0;
            while whole + HEADER_BYTES <= bytes.len() {
                let header = BatchHeader::parse(&bytes[whole..]).map_err(|e| damaged(whole, e.to_string()))?;
                needed = header.size_bytes();
                if whole + needed > bytes.len() {
                    break;
                }
                whole += needed;
            }
            if whole > 0 {
                self.position = from;
                self.next = from + whole as u32;
                return Ok(Some(bytes.slice(..whole)));
            }
            // One batch larger than the window.
            let end = u32::try_from(needed.max(HEADER_BYTES)).ok().and_then(|n| from.checked_add(n)).filter(|end| *end <= source.size);
            match end {
                Some(end) if end > to => to = end,
                _ => return Err(damaged(0, format!("a batch of {needed} bytes does not fit into the rest of the segment"))),
            }
        }
    }
}

/// Bounds the bytes per second, and lets everybody else run between two steps.
pub(super) struct Throttle<'a, D: Disk> {
    store: &'a StoreInner<D>,
    bytes_per_second: f64,
    read_bytes: u32,
    /// When the bytes spent so far are paid for.
    paid: Duration,
}

impl<'a, D: Disk> Throttle<'a, D> {
    fn new(store: &'a StoreInner<D>, config: &CompactionConfig) -> Throttle<'a, D> {
        Throttle {
            store,
            bytes_per_second: config.bytes_per_second.max(BYTES_PER_SECOND_MIN),
            read_bytes: config.read_bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX),
            paid: store.disk.now(),
        }
    }

    /// Waits until `bytes` more may be read or written. `Closed` when the shard is about to stop.
    async fn spend(&mut self, bytes: usize) -> Result<(), StorageError> {
        let now = self.store.disk.now();
        let wait = self.paid.saturating_sub(now);
        self.paid = self.paid.max(now) + Duration::from_secs_f64((bytes as f64 / self.bytes_per_second).min(3600.0));
        // Also without a bound: this goes through the reactor, so others get their turn. In short steps, so that a stop is not kept waiting.
        let mut left = wait;
        loop {
            if self.store.cleaning_stopped.get() || self.store.closing.get() {
                return Err(StorageError::Closed);
            }
            self.store.poison.check()?;
            let step = left.min(WAIT_STEP);
            self.store.disk.sleep(step).await;
            left -= step;
            if left.is_zero() {
                return Ok(());
            }
        }
    }
}

const WAIT_STEP: Duration = Duration::from_millis(100);
const BYTES_PER_SECOND_MIN: f64 = 1024.0;
const READ_BYTES_MIN: u32 = 64 << 10;
const READ_BYTES_MAX: u32 = 8 << 20;
