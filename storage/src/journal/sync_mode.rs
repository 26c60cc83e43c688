//! How a journal makes its frames durable on this device, when nobody has said: what the device says of itself, and what both ways cost here.

use std::rc::Rc;
use std::time::Duration;

use super::SyncMode;
use super::costs::Costs;
use crate::error::StorageResult;
use crate::io::{Disk, DiskFile, OpenMode, Poison};

/// Rounds of each mode when probing.
const PROBE_ROUNDS: usize = 12;
/// How many times as long the shared flush may take where a durable write is two requests; see [`choose`].
const FLUSH_SLOWER_MAX: u32 = 2;

/// Measures both modes on the first block of a file whose content is dead, and chooses.
pub(super) async fn probe<D: Disk>(disk: &D, plain: &D::File, poison: &Poison, costs: &mut Costs) -> StorageResult<SyncMode> {
    let dsync = disk.open(plain.path(), OpenMode::ReadWriteDsync).await?;
    let block = Rc::new(disk.buffer(disk.alignment()));
    let (mut dsync_times, mut flush_times) = (Vec::new(), Vec::new());
    for _ in 0..PROBE_ROUNDS {
        let start = disk.now();
        poison.guard(dsync.write_at(block.clone(), 0).await)?;
        let middle = disk.now();
        poison.guard(plain.write_at(block.clone(), 0).await)?;
        costs.plain.push(disk.now().saturating_sub(middle).as_nanos() as u64);
        poison.guard(plain.sync().await)?;
        dsync_times.push(middle.saturating_sub(start));
        flush_times.push(disk.now().saturating_sub(middle));
    }
    dsync_times.sort();
    flush_times.sort();
    let (dsync, flush) = (dsync_times[PROBE_ROUNDS / 2], flush_times[PROBE_ROUNDS / 2]);
    let one_request = disk.durable_write_is_one_request();
    let mode = choose(one_request, dsync, flush);
    let times = if mode == SyncMode::Dsync { dsync_times } else { flush_times };
    times.iter().for_each(|time| costs.durable.push(time.as_nanos() as u64));
    let (dsync_us, flush_us) = (dsync.as_micros() as u64, flush.as_micros() as u64);
    tracing::info!(dsync_us, flush_us, ?one_request, ?mode, "journal sync mode chosen");
    Ok(mode)
}

/// The faster of both medians, a durable write on a tie. Where a durable write is followed by a flush of its own (no FUA, a volatile cache), the
/// kernel makes that flush on a worker of the CPU that took the interrupt, behind whatever runs there, or on the submitting thread itself: the
/// shared flush is taken, which waits for neither, unless it takes more than [`FLUSH_SLOWER_MAX`] times as long.
fn choose(one_request: Option<bool>, dsync: Duration, flush: Duration) -> SyncMode {
    let flush = if one_request == Some(false) { flush / FLUSH_SLOWER_MAX } else { flush };
    if dsync <= flush { SyncMode::Dsync } else { SyncMode::Flush }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faster_is_chosen_and_the_flush_where_both_flush() {
        let us = Duration::from_micros;
        for told in [None, Some(true)] {
            assert_eq!(choose(told, us(100), us(150)), SyncMode::Dsync);
            assert_eq!(choose(told, us(100), us(100)), SyncMode::Dsync, "one request instead of two");
            assert_eq!(choose(told, us(150), us(100)), SyncMode::Flush);
        }
        assert_eq!(choose(Some(false), us(100), us(150)), SyncMode::Flush);
        assert_eq!(choose(Some(false), us(100), us(199)), SyncMode::Flush);
        assert_eq!(choose(Some(false), us(100), us(200)), SyncMode::Dsync, "twice as long is too long");
    }
}
