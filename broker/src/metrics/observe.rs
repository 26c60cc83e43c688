//! Takes over what the storage layer counts itself: totals at each snapshot, durations frame by frame.

use coreline_storage::journal::FrameCost;
use coreline_storage::store::StoreStats;

use super::registry::{Counter, Gauge, Timing};
use super::shard::ShardMetrics;

impl ShardMetrics {
    /// Brings the counts of the journal and the tails up to date; called before a snapshot.
    pub fn observe_store(&self, stats: &StoreStats) {
        self.total(Counter::JournalFrames, stats.journal_stats.frames);
        self.total(Counter::JournalBytes, stats.journal_stats.bytes);
        self.total(Counter::JournalFlushes, stats.journal_stats.flushes);
        self.total(Counter::AppendWaits, stats.backpressure);
        self.total(Counter::Checkpoints, stats.checkpoints);
        self.total(Counter::SegmentBytes, stats.segment_bytes_written);
        self.total(Counter::DamagedBlocks, stats.damaged_blocks);
        self.total(Counter::ChecksumsRebuilt, stats.sidecars_rebuilt);
        self.set(Gauge::DiskFreeBytes, gauge(stats.free_bytes));
        self.set(Gauge::SpaceLow, i64::from(stats.space_low));
        self.total(Counter::SegmentsRemoved, stats.cleaned.segments_removed);
        self.total(Counter::SegmentBytesRemoved, stats.cleaned.bytes_removed);
        self.total(Counter::LogsRemoved, stats.cleaned.logs_removed);
        self.total(Counter::Compactions, stats.cleaned.compactions);
        self.total(Counter::CompactionBytesRead, stats.cleaned.compaction_bytes_read);
        self.total(Counter::CompactionBytesWritten, stats.cleaned.compaction_bytes_written);
        self.total(Counter::RecordsCompacted, stats.cleaned.records_compacted);
        self.total(Counter::ScrubbedBytes, stats.cleaned.scrubbed_bytes);
        self.set(Gauge::Partitions, gauge(stats.logs as u64));
        self.set(Gauge::JournalUsedBytes, gauge(stats.journal.bytes_used));
        let costs = &stats.journal_costs;
        self.set(Gauge::ReplicatedCostP50, gauge(costs.written.p50_ns));
        self.set(Gauge::ReplicatedCostP99, gauge(costs.written.p99_ns));
        self.set(Gauge::DurableCostP50, gauge(costs.durable.p50_ns));
        self.set(Gauge::DurableCostP99, gauge(costs.durable.p99_ns));
        self.set(Gauge::TailBytes, gauge(stats.tail_bytes as u64));
        self.set(Gauge::UnflushedBytes, gauge(stats.unflushed_bytes));
        self.set(Gauge::OpenSegmentFiles, gauge(stats.open_files as u64));
    }

    /// Records what one group commit cost; the hook of `Store::set_on_frame`.
    pub fn observe_frame(&self, cost: FrameCost) {
        self.time(Timing::JournalQueue, cost.queued_ns / 1000);
        self.time(Timing::JournalWrite, cost.write_ns / 1000);
        if cost.flush_ns > 0 {
            self.time(Timing::JournalFlush, cost.flush_ns / 1000);
        }
    }
}

fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_timed_by_its_parts() {
        let metrics = ShardMetrics::new(0);
        metrics.observe_frame(FrameCost { bytes: 4096, entries: 1, queued_ns: 5_000, write_ns: 70_000, flush_ns: 0 });
        metrics.observe_frame(FrameCost { bytes: 4096, entries: 1, queued_ns: 5_000, write_ns: 30_000, flush_ns: 900_000 });
        let timings = metrics.snapshot().timings;
        let sum = |t: Timing| timings[t as usize].as_ref().map_or((0, 0), |b| (b.count, b.sum_us));
        assert_eq!((sum(Timing::JournalQueue), sum(Timing::JournalWrite), sum(Timing::JournalFlush)), ((2, 10), (2, 100), (1, 900)));
    }
}
