//! Looks again at what nobody reads: every block of finished segments against its checksum, a bounded number of bytes per second.
//!
//! With direct reads, so that it sees what the disk has and not what memory kept of it. A block that is not what was written is told, counted and refused as
//! one that a reader meets (`sums.rs`), until a read finds it good again. Caller: the broker's cleaner.

use std::rc::Rc;
use std::time::Duration;

use super::flusher::segment_file;
use super::{LogInner, sums};
use crate::error::StorageError;
use crate::io::{Disk, DiskFile};
use crate::segment::sums::{SUM_BLOCK_BYTES, extend_sum};
use crate::store::{Store, StoreInner};

/// What a pass has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Segments looked at.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that are not what was written, and places that cannot be read.
    pub damaged: u64,
}

impl<D: Disk> Store<D> {
    /// One pass over the finished segments of all open logs, at most `bytes_per_second` (at least 64 KiB). Ends early after `stop_cleaning`; an error only of the
    /// device's poison. Damage is in the report, the log and the count of damaged blocks.
    pub async fn scrub(&self, bytes_per_second: u64) -> Result<ScrubReport, StorageError> {
        let store = &self.inner;
        let mut report = ScrubReport::default();
        for log in store.open_logs() {
            let log = log.inner();
            let bases: Vec<i64> = {
                let state = log.state.borrow();
                let point = state.saved.point.segment_base;
                state
                    .segments
                    .iter()
                    .filter(|s| s.sealed && s.trimmed && s.base_offset < point && s.size > 0)
                    .map(|s| s.base_offset)
                    .collect()
            };
            for base in bases {
                match scrub_segment(store, log, base, bytes_per_second.max(BYTES_PER_SECOND_MIN), &mut report).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(report),
                    Err(error) if error.is_of_one_log() => {
                        report.damaged += 1;
                        tracing::error!(partition = %log.tp, segment = base, %error, "the scrubber cannot read on in this segment");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(report)
    }
}

/// False when the shard is about to stop. Fine if the segment goes or is exchanged meanwhile.
async fn scrub_segment<D: Disk>(
    store: &Rc<StoreInner<D>>,
    log: &LogInner<D>,
    base: i64,
    bytes_per_second: u64,
    report: &mut ScrubReport,
) -> Result<bool, StorageError> {
    let swaps = log.steady().await;
    let gone = || log.swaps.get() != swaps || log.state.borrow().segments.get(base).is_none();
    let mut block = 0;
    report.segments += 1;
    loop {
        let size = log.state.borrow().segments.get(base).map_or(0, |s| s.size);
        if u64::from(block) * u64::from(SUM_BLOCK_BYTES) >= u64::from(size) {
            break;
        }
        let blocks = block..size.div_ceil(SUM_BLOCK_BYTES).min(block + STEP_BLOCKS);
        let from = u64::from(block * SUM_BLOCK_BYTES);
        if !pause(store, u64::from(STEP_BLOCKS * SUM_BLOCK_BYTES), bytes_per_second).await? {
            return Ok(false);
        }
        let read = async {
            sums::load(store, log, base).await?;
            let Some((expected, end)) = sums::expected(store, log, base, blocks.clone()) else { return Ok(None) };
            let bytes = segment_file(store, log, base).await?.read_at(from, (u64::from(end) - from) as usize).await?;
            Ok::<_, StorageError>(Some((expected, end, bytes)))
        };
        let read = read.await;
        if gone() {
            break;
        }
        block = blocks.end;
        // Sums that were forgotten meanwhile, for want of memory: the next pass.
        let Some((expected, end, bytes)) = read? else { continue };
        report.bytes += bytes.len() as u64;
        store.cleaned.update(|stats| stats.scrubbed_bytes += bytes.len() as u64);
        let mut found = bytes.chunks(SUM_BLOCK_BYTES as usize);
        for (block, sum) in expected {
            let block_end = (block + 1).saturating_mul(SUM_BLOCK_BYTES).min(end);
            let len = (block_end - block * SUM_BLOCK_BYTES) as usize;
            if !found.next().is_some_and(|bytes| bytes.len() == len && extend_sum(0, bytes) == sum) {
                report.damaged += 1;
                // Told, and looked at again before it is served.
                let _ = sums::damaged(store, log, base, block, block_end);
                if let Some(segment) = log.state.borrow_mut().segments.get_mut(base) {
                    segment.verified.forget(block);
                }
            }
        }
    }
    if !gone()
        && let Some(segment) = log.state.borrow_mut().segments.get_mut(base)
    {
        segment.sums.forget_below(segment.sums_saved);
    }
    Ok(true)
}

/// Waits as long as `bytes` take, in short steps, so that a stop is not kept waiting; false then.
async fn pause<D: Disk>(store: &StoreInner<D>, bytes: u64, bytes_per_second: u64) -> Result<bool, StorageError> {
    let until = store.disk.now() + Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
    loop {
        if store.cleaning_stopped.get() || store.closing.get() {
            return Ok(false);
        }
        store.poison.check()?;
        let left = until.saturating_sub(store.disk.now());
        if left.is_zero() {
            return Ok(true);
        }
        store.disk.sleep(left.min(PAUSE_STEP)).await;
    }
}

/// Blocks read at once: 1 MiB.
const STEP_BLOCKS: u32 = 16;
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
const PAUSE_STEP: Duration = Duration::from_millis(200);
