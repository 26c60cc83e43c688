//! `LogState`: everything one log knows, in memory, and the relations between its parts.
//!
//! `log start <= durable end <= settled end <= log end`, `saved point <= durable end`. No I/O and no waiting: whoever holds it borrowed never awaits.

use std::collections::VecDeque;

use bytes::Bytes;

use super::settling::Settling;
use super::tail::{Tail, TailBatch};
use crate::checkpoint::{CheckpointEntry, RecoveryPoint};
use crate::journal::Ticket;
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::ProducerTable;
use crate::segment::Segment;
use crate::segment::set::SegmentSet;
use crate::segment::sums::SavedSums;

/// The bytes of a segment's last block that is partly filled and on the disk.
#[derive(Clone, Debug)]
pub struct BlockHead {
    /// Segment it belongs to.
    pub segment_base: i64,
    /// Aligned position of the block.
    pub start: u32,
    /// Its bytes up to the end of the last batch in it; never empty.
    pub bytes: Bytes,
}

impl BlockHead {
    /// Position behind its bytes.
    pub fn end(&self) -> u32 {
        self.start + self.bytes.len() as u32
    }
}

/// State of one log.
#[derive(Debug)]
pub struct LogState {
    /// Segments, the last one active.
    pub segments: SegmentSet,
    /// Batches in memory.
    pub tail: Tail,
    /// Partly filled last block as written; what the next write of that block and its image in the journal need.
    pub written_head: Option<BlockHead>,
    /// Partly filled last block as flushed; what readers need of it when the tail was evicted.
    pub flushed_head: Option<BlockHead>,
    /// The partly filled last block is on the disk and was not read since the log was opened: no append and no read of it before that.
    pub head_missing: bool,
    /// The next append must put the image of `written_head` into the journal first.
    pub image_needed: bool,
    /// Producers.
    pub producers: ProducerTable,
    /// The producers are on the disk and were not read since the log was opened: no append before that.
    pub producers_missing: bool,
    /// Producers changed since they were last captured for a checkpoint.
    pub producers_changed: bool,
    /// Leader epochs.
    pub epochs: LeaderEpochs,
    /// First offset a client may read.
    pub log_start: i64,
    /// Offset behind the last durable batch.
    pub durable_end: i64,
    /// What acknowledgements wait for.
    pub settling: Settling,
    /// What the broker said last.
    pub high_watermark: i64,
    /// Ticket of the newest batch.
    pub last_ticket: Ticket,
    /// What the checkpoint on the disk says.
    pub saved: CheckpointEntry,
    /// Ends of recent reads: (offset, segment, position), so that a sequential reader needs no lookup.
    pub read_marks: VecDeque<(i64, i64, u32)>,
    /// Every record below this offset was looked at by a compaction; `None` when nobody has asked yet.
    pub cleaned_to: Option<i64>,
    /// A compaction met an error: none until the next start.
    pub uncompactable: bool,
    /// Takes no more appends (deleted or shut down).
    pub closed: bool,
    /// Deleted: its memory is gone and its files go.
    pub deleted: bool,
}

impl LogState {
    /// State of a log whose segments are all on the disk, as `saved` says (epochs and producers are filled in by the loader).
    pub fn new(segments: SegmentSet, saved: CheckpointEntry) -> LogState {
        LogState {
            tail: Tail::default(),
            written_head: None,
            flushed_head: None,
            head_missing: false,
            image_needed: false,
            producers: ProducerTable::default(),
            producers_missing: false,
            producers_changed: false,
            epochs: saved.epochs.clone(),
            log_start: saved.log_start,
            durable_end: segments.active().next_offset,
            settling: Settling::new(segments.active().next_offset),
            high_watermark: saved.high_watermark,
            last_ticket: Ticket(0),
            read_marks: VecDeque::new(),
            cleaned_to: None,
            uncompactable: false,
            closed: false,
            deleted: false,
            segments,
            saved,
        }
    }

    /// Offset behind the last batch.
    pub fn log_end(&self) -> i64 {
        self.segments.active().next_offset
    }

    /// First batch in memory that the saved checkpoint does not cover: what still needs the journal.
    pub fn first_live(&self) -> Option<&TailBatch> {
        let point = &self.saved.point;
        self.tail.batches_from_position(point.segment_base, point.position).next().map(|(_, batch)| batch)
    }

    /// True when the saved checkpoint does not cover everything.
    pub fn is_dirty(&self) -> bool {
        let point = &self.saved.point;
        point.offset != self.log_end() || point.segment_base != self.segments.active().base_offset || self.saved.log_start != self.log_start
    }

    /// Begins a new segment although nothing is appended; not when the active one is empty.
    pub fn roll_active(&mut self) {
        if self.segments.active().size > 0 {
            self.segments.roll();
            // The next append begins a block of its own.
            self.image_needed = false;
            self.head_missing = false;
        }
    }

    /// Below this offset no transaction is open and nothing can be taken back: what compaction may touch. Without transactions that is the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.high_watermark.min(self.durable_end)
    }

    /// The recovery point that the flushed bytes allow: the end of the last batch that lies wholly in them. It does not leave a sealed segment before that
    /// was cut to its exact size, because from then on the file's size is all that says where its batches end.
    pub fn flushed_point(&self) -> RecoveryPoint {
        let at_end = |s: &Segment| RecoveryPoint { segment_base: s.base_offset, position: s.size, offset: s.next_offset };
        let Some(segment) =
            self.segments.iter().find(|s| s.flushed < s.size || (s.sealed && !s.trimmed && !planted!(PointLeavesUntrimmed)))
        else {
            return at_end(self.segments.active());
        };
        if segment.flushed == segment.size {
            return at_end(segment);
        }
        match self.tail.batches_from_position(segment.base_offset, segment.flushed).next() {
            Some((segment_base, batch)) if planted!(RecoveryPointOffByOne) => {
                RecoveryPoint { segment_base, position: batch.end, offset: batch.next_offset }
            }
            Some((segment_base, batch)) => RecoveryPoint { segment_base, position: batch.position, offset: batch.base_offset },
            // Unflushed bytes are always in memory; if that were broken, staying at the old point is safe.
            None => self.saved.point,
        }
    }

    /// Checksums of the bytes before a recovery point, for the checkpoint.
    pub fn saved_sums(&self, point: &RecoveryPoint) -> SavedSums {
        let found = self.segments.get(point.segment_base).map(|s| s.sums.to_saved(point.position, s.sum_marks.sum_at(point.position)));
        let found = found.unwrap_or_default();
        if found.prefix.is_none() && self.saved.point == *point { self.saved.sums.clone() } else { found }
    }

    /// Drops the oldest chunk if it is the one with this id and all of it is flushed; answers with its capacity in bytes.
    pub fn evict_front(&mut self, id: u64) -> Option<usize> {
        let front = self.tail.front().filter(|c| c.id == id)?;
        let capacity = front.capacity();
        let end = front.end();
        let evictable = self.segments.get(front.segment_base).is_none_or(|segment| {
            let whole = segment.sealed && segment.flushed == segment.size;
            // The rest of a partly filled block is then served from `flushed_head`; without one, `flushed` is a block boundary.
            let head = self.flushed_head.as_ref().filter(|h| h.segment_base == segment.base_offset);
            end <= segment.flushed && (whole || head.is_none_or(|h| end <= h.end()))
        });
        if !evictable {
            return None;
        }
        self.tail.pop_front();
        Some(capacity)
    }

    /// Lets all chunks of segments up to this one go; they are flushed. Answers with their ids.
    pub fn drop_chunks_up_to(&mut self, segment_base: i64) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Some(front) = self.tail.front().filter(|front| front.segment_base <= segment_base) {
            ids.push(front.id);
            self.tail.pop_front();
        }
        ids
    }

    /// Slices of what a range of a segment has in memory; `mark` is the segment's send mark, above which everything is in memory.
    pub fn memory_slices(&self, segment_base: i64, from: u32, to: u32, mark: u32) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut from = from.max(mark);
        let held_from = match self.tail.first_position() {
            Some((base, position)) if base == segment_base => position,
            Some((base, _)) if base < segment_base => 0,
            _ => u32::MAX,
        };
        if from < to && from < held_from {
            // What was evicted above the mark lies in the partly filled block.
            if let Some(head) = self.flushed_head.as_ref().filter(|h| h.segment_base == segment_base && h.start <= from && from < h.end()) {
                let end = to.min(head.end()).min(held_from);
                slices.push(head.bytes.slice((from - head.start) as usize..(end - head.start) as usize));
                from = end;
            }
        }
        if from < to {
            slices.extend(self.tail.slices(segment_base, from, to));
        }
        slices
    }

    /// Moves the settled end as far as the marks allow; answers with it when it has moved.
    pub fn settle(&mut self) -> Option<i64> {
        let (durable_end, log_end) = (self.durable_end, self.log_end());
        self.settling.advance(durable_end, log_end)
    }

    /// Remembers where a read ended.
    pub fn note_read_end(&mut self, offset: i64, segment_base: i64, position: u32) {
        if self.read_marks.iter().any(|m| m.0 == offset) {
            return;
        }
        if self.read_marks.len() == READ_MARKS_MAX {
            self.read_marks.pop_front();
        }
        self.read_marks.push_back((offset, segment_base, position));
    }

    /// Checks the standing relations; panics in tests and logs nothing otherwise.
    pub fn debug_check(&self) {
        debug_assert!(self.log_start <= self.durable_end, "log start {} above durable end {}", self.log_start, self.durable_end);
        debug_assert!(
            self.settling.settled_end() >= self.durable_end && self.settling.settled_end() <= self.log_end(),
            "{:?}",
            self.settling
        );
        debug_assert!(self.durable_end <= self.log_end(), "durable end {} above log end {}", self.durable_end, self.log_end());
        debug_assert!(self.segments.iter().all(|s| s.flushed <= s.written && s.written <= s.size));
    }
}

/// Ends of reads remembered per log.
const READ_MARKS_MAX: usize = 8;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::io::ChunkPool;

    /// A log with these segments and nothing in memory.
    pub(crate) fn state_with(segments: SegmentSet, saved: CheckpointEntry) -> LogState {
        let end = segments.active().next_offset;
        let mut state = LogState::new(segments, saved);
        state.durable_end = end;
        state.settling = Settling::new(end);
        state
    }

    /// Appends a batch of `bytes` bytes to the tail and the active segment.
    pub(crate) fn tail_batch(state: &mut LogState, segment_base: i64, position: u32, bytes: u32, base_offset: i64, next_offset: i64) {
        let pool = ChunkPool::new(1 << 20);
        state.tail.reserve(&pool, base_offset as u64, segment_base, position, bytes as usize, 1 << 16).unwrap();
        state.tail.write(&vec![base_offset as u8; bytes as usize]);
        let ticket = Ticket(base_offset as u64 + 1);
        state.tail.commit(TailBatch {
            position,
            end: position + bytes,
            base_offset,
            next_offset,
            max_timestamp_ms: 0,
            ticket_first: ticket,
            ticket,
        });
        state.segments.active_mut().add_batch(bytes, next_offset, base_offset, 0, 0, 0);
    }

    fn three_batches() -> LogState {
        let mut state = state_with(SegmentSet::new(Segment::new(0)), CheckpointEntry::empty(0));
        for i in 0..3 {
            tail_batch(&mut state, 0, i * 3000, 3000, i64::from(i), i64::from(i) + 1);
        }
        state
    }

    #[test]
    fn the_recovery_point_is_the_last_batch_wholly_flushed() {
        let mut state = three_batches();
        for (flushed, position, offset) in [(0, 0, 0), (4096, 3000, 1), (8192, 6000, 2), (9000, 9000, 3)] {
            let segment = state.segments.active_mut();
            (segment.written, segment.flushed) = (flushed, flushed);
            assert_eq!(state.flushed_point(), RecoveryPoint { segment_base: 0, position, offset });
        }
    }

    #[test]
    fn the_recovery_point_waits_for_a_sealed_segment_to_be_cut() {
        let mut state = three_batches();
        let segment = state.segments.active_mut();
        (segment.written, segment.flushed) = (9000, 9000);
        state.segments.roll();
        tail_batch(&mut state, 3, 0, 3000, 3, 4);
        assert_eq!(state.flushed_point(), RecoveryPoint { segment_base: 0, position: 9000, offset: 3 });
        state.segments.get_mut(0).unwrap().trimmed = true;
        assert_eq!(state.flushed_point(), RecoveryPoint { segment_base: 3, position: 0, offset: 3 });
    }

    #[test]
    fn what_needs_the_journal_starts_behind_the_saved_point() {
        let mut state = three_batches();
        assert_eq!(state.first_live().unwrap().base_offset, 0);
        state.saved.point = RecoveryPoint { segment_base: 0, position: 6000, offset: 2 };
        assert_eq!(state.first_live().unwrap().base_offset, 2);
        assert!(state.is_dirty());
        state.saved.point = RecoveryPoint { segment_base: 0, position: 9000, offset: 3 };
        assert!(state.first_live().is_none() && !state.is_dirty());
    }

    #[test]
    fn chunks_leave_only_when_the_rest_can_be_served() {
        let mut state = three_batches();
        let first = state.tail.front().unwrap().id;
        assert_eq!(state.evict_front(first), None, "not flushed");
        let segment = state.segments.active_mut();
        (segment.written, segment.flushed) = (9000, 9000);
        state.flushed_head = Some(BlockHead { segment_base: 0, start: 8192, bytes: Bytes::from(vec![2; 808]) });
        assert_eq!(state.evict_front(first + 1), None, "not the oldest");
        while let Some(front) = state.tail.front() {
            let id = front.id;
            assert!(state.evict_front(id).is_some());
        }
        let slices = state.memory_slices(0, 8192, 9000, 8192);
        assert_eq!(slices.concat(), vec![2; 808]);
    }
}
