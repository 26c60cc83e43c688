//! Decides which bytes answer a read: whole batches, from the one that contains the offset. Pure.
//!
//! From memory when the offset is there; otherwise from one segment, by its index. When the index is not loaded, or a batch boundary is not known
//! exactly, it says what is needed; the reader gets it and asks again. Caller: `log/reader.rs`.

use super::ReadError;
use super::state::LogState;
use crate::error::StorageError;

/// A read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// First offset wanted.
    pub offset: i64,
    /// Bytes wanted at most.
    pub max_bytes: u32,
    /// Only batches that end below or at this offset (exclusive bound of records).
    pub upper: i64,
    /// The first batch is taken whatever its size.
    pub at_least_one: bool,
}

/// Bytes of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    /// The segment.
    pub segment_base: i64,
    /// First position.
    pub from: u32,
    /// Position behind the last.
    pub to: u32,
}

/// A batch whose place is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownBatch {
    /// First position.
    pub position: u32,
    /// Position behind it.
    pub end: u32,
    /// Offset behind its last record.
    pub next_offset: i64,
}

/// Batches in a row that a scan has found, starting with the one that contains the asked offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanHint {
    /// Their segment.
    pub segment_base: i64,
    /// The batches.
    pub batches: Vec<KnownBatch>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ReadDecision {
    /// Nothing to answer with (yet).
    Empty,
    /// Answer from the tail.
    Memory {
        /// In order; one range per segment.
        ranges: Vec<SegmentRange>,
        /// Offset behind the last batch.
        next_offset: i64,
    },
    /// Answer from one segment, through its file where its bytes do not change any more.
    Segment {
        /// The bytes.
        range: SegmentRange,
        /// Offset behind the last batch.
        next_offset: i64,
    },
    /// Load this segment's index and ask again.
    NeedIndex {
        /// The segment.
        segment_base: i64,
    },
    /// Scan this segment from a batch's start until the batch that contains the offset, and on from there, and ask again with the hint.
    NeedScan {
        /// The segment.
        segment_base: i64,
        /// Start of a batch.
        from: u32,
    },
}

/// Decides.
pub fn plan(state: &LogState, request: &ReadRequest, hint: Option<&ScanHint>) -> Result<ReadDecision, ReadError> {
    let ReadRequest { offset, upper, .. } = *request;
    let log_end = state.log_end();
    if state.deleted {
        return Err(StorageError::Closed.into());
    }
    if offset < state.log_start || offset > log_end {
        return Err(ReadError::OffsetOutOfRange { offset, log_start: state.log_start, log_end });
    }
    if offset >= upper.min(log_end) {
        return Ok(ReadDecision::Empty);
    }
    if state.tail.first_offset().is_some_and(|first| first <= offset) {
        return Ok(from_memory(state, request));
    }
    from_segment(state, request, hint)
}

fn from_memory(state: &LogState, request: &ReadRequest) -> ReadDecision {
    let mut ranges: Vec<SegmentRange> = Vec::new();
    let mut next_offset = request.offset;
    let mut bytes = 0u64;
    for (segment_base, batch) in state.tail.batches_from_offset(request.offset) {
        let size = u64::from(batch.end - batch.position);
        let fits = bytes + size <= u64::from(request.max_bytes) || (ranges.is_empty() && request.at_least_one);
        if !fits || batch.next_offset > request.upper {
            break;
        }
        bytes += size;
        next_offset = batch.next_offset;
        match ranges.last_mut() {
            Some(last) if last.segment_base == segment_base && last.to == batch.position => last.to = batch.end,
            _ => ranges.push(SegmentRange { segment_base, from: batch.position, to: batch.end }),
        }
    }
    if ranges.is_empty() { ReadDecision::Empty } else { ReadDecision::Memory { ranges, next_offset } }
}

fn from_segment(state: &LogState, request: &ReadRequest, hint: Option<&ScanHint>) -> Result<ReadDecision, ReadError> {
    let ReadRequest { offset, upper, .. } = *request;
    // Between two segments of a compacted log there may be offsets that no batch has: then the next segment answers.
    let Some(segment) =
        state.segments.floor(offset).filter(|s| offset < s.next_offset).or_else(|| state.segments.iter().find(|s| s.base_offset > offset))
    else {
        return Ok(ReadDecision::Empty);
    };
    // A reader that has come to the end of a segment whose last offsets compaction has left out goes on in the next one.
    let at_end = |m: &&(i64, i64, u32)| m.0 <= offset && m.1 == segment.base_offset && m.2 >= segment.size;
    let segment = match state.read_marks.iter().find(at_end).filter(|_| segment.sealed) {
        Some(_) => match state.segments.after(segment.base_offset) {
            Some(next) => next,
            None => return Ok(ReadDecision::Empty),
        },
        None => segment,
    };
    let base = segment.base_offset;
    let need_index = || ReadDecision::NeedIndex { segment_base: base };
    if segment.index_from > 0 {
        return Ok(need_index());
    }
    let hint = hint.filter(|h| h.segment_base == base);
    let relative = (offset.max(base) - base).min(i64::from(u32::MAX)) as u32;
    let floor = segment.index.offsets.floor_by_offset(relative);
    let known = hint.and_then(|h| h.batches.first()).filter(|b| b.next_offset > offset);
    let start = if let Some(batch) = known {
        batch.position
    } else if let Some(mark) = state.read_marks.iter().find(|m| m.0 == offset && m.1 == base) {
        mark.2
    } else if let Some(entry) = floor.filter(|e| e.relative_offset == relative) {
        entry.position
    } else {
        return Ok(ReadDecision::NeedScan { segment_base: base, from: floor.map_or(0, |e| e.position) });
    };
    let limit = start.saturating_add(request.max_bytes);
    let found =
        |to: u32, next_offset: i64| ReadDecision::Segment { range: SegmentRange { segment_base: base, from: start, to }, next_offset };
    if limit >= segment.size && upper >= segment.next_offset {
        return Ok(found(segment.size, segment.next_offset));
    }
    // Every entry is the start of a batch: what lies before it is whole batches, and ends at its offset.
    let by_position = segment.index.offsets.floor_by_position(limit);
    let by_offset = segment.index.offsets.floor_by_offset((upper - base).clamp(0, i64::from(u32::MAX)) as u32);
    if let (Some(a), Some(b)) = (by_position, by_offset) {
        let entry = if a.position <= b.position { a } else { b };
        if entry.position > start {
            return Ok(found(entry.position, base + i64::from(entry.relative_offset)));
        }
    }
    let Some(hint) = hint.filter(|h| h.batches.first().is_some_and(|b| b.position == start)) else {
        return Ok(ReadDecision::NeedScan { segment_base: base, from: start });
    };
    let mut best = None;
    for batch in &hint.batches {
        let fits = batch.end <= limit || (best.is_none() && request.at_least_one);
        if !fits || batch.next_offset > upper {
            break;
        }
        best = Some(found(batch.end, batch.next_offset));
    }
    Ok(best.unwrap_or(ReadDecision::Empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::CheckpointEntry;
    use crate::log::state::tests::{state_with, tail_batch};
    use crate::segment::Segment;
    use crate::segment::set::SegmentSet;

    const ALL: ReadRequest = ReadRequest { offset: 0, max_bytes: u32::MAX, upper: i64::MAX, at_least_one: true };

    /// Ten batches of five records and 1000 bytes in segment 0 (indexed every second), then five in segment 50 that are in memory.
    fn state() -> LogState {
        let mut sealed = Segment::new(0);
        for i in 0..10 {
            sealed.add_batch(1000, (i + 1) * 5, i * 5, 0, 2000, 0);
        }
        sealed.sealed = true;
        (sealed.written, sealed.flushed) = (10_000, 10_000);
        let mut state = state_with(SegmentSet::new(sealed), CheckpointEntry::empty(0));
        state.segments.roll();
        for i in 0..5 {
            let offset = 50 + i * 5;
            tail_batch(&mut state, 50, i as u32 * 1000, 1000, offset, offset + 5);
        }
        state
    }

    fn range(decision: ReadDecision) -> (i64, u32, u32, i64) {
        match decision {
            ReadDecision::Segment { range: r, next_offset } => (r.segment_base, r.from, r.to, next_offset),
            ReadDecision::Memory { ranges, next_offset } => (ranges[0].segment_base, ranges[0].from, ranges[0].to, next_offset),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bounds() {
        let s = state();
        assert!(matches!(plan(&s, &ReadRequest { offset: 76, ..ALL }, None), Err(ReadError::OffsetOutOfRange { log_end: 75, .. })));
        assert_eq!(plan(&s, &ReadRequest { offset: 75, ..ALL }, None).unwrap(), ReadDecision::Empty);
        assert_eq!(plan(&s, &ReadRequest { offset: 60, upper: 60, ..ALL }, None).unwrap(), ReadDecision::Empty);
    }

    #[test]
    fn memory_answers_whole_batches() {
        let s = state();
        assert_eq!(range(plan(&s, &ReadRequest { offset: 52, ..ALL }, None).unwrap()), (50, 0, 5000, 75));
        assert_eq!(range(plan(&s, &ReadRequest { offset: 55, max_bytes: 2999, ..ALL }, None).unwrap()), (50, 1000, 3000, 65));
        assert_eq!(range(plan(&s, &ReadRequest { offset: 55, max_bytes: 10, ..ALL }, None).unwrap()), (50, 1000, 2000, 60));
        assert_eq!(range(plan(&s, &ReadRequest { offset: 55, upper: 69, ..ALL }, None).unwrap()), (50, 1000, 3000, 65));
        let strict = ReadRequest { offset: 55, max_bytes: 10, at_least_one: false, ..ALL };
        assert_eq!(plan(&s, &strict, None).unwrap(), ReadDecision::Empty);
    }

    #[test]
    fn the_index_gives_boundaries_without_reading() {
        let s = state();
        assert_eq!(range(plan(&s, &ALL, None).unwrap()), (0, 0, 10_000, 50));
        assert_eq!(range(plan(&s, &ReadRequest { max_bytes: 5000, ..ALL }, None).unwrap()), (0, 0, 4000, 20));
        assert_eq!(range(plan(&s, &ReadRequest { offset: 10, upper: 35, ..ALL }, None).unwrap()), (0, 2000, 6000, 30));
    }

    #[test]
    fn between_two_entries_a_scan_is_asked_for() {
        let mut s = state();
        let odd = ReadRequest { offset: 17, max_bytes: 1500, ..ALL };
        assert_eq!(plan(&s, &odd, None).unwrap(), ReadDecision::NeedScan { segment_base: 0, from: 2000 });
        let batches = (3..6).map(|i| KnownBatch { position: i * 1000, end: (i + 1) * 1000, next_offset: i64::from(i + 1) * 5 }).collect();
        let hint = ScanHint { segment_base: 0, batches };
        assert_eq!(range(plan(&s, &odd, Some(&hint)).unwrap()), (0, 3000, 4000, 20));
        assert_eq!(range(plan(&s, &ReadRequest { max_bytes: 1, ..odd }, Some(&hint)).unwrap()), (0, 3000, 4000, 20));
        assert_eq!(plan(&s, &ReadRequest { max_bytes: 1, at_least_one: false, ..odd }, Some(&hint)).unwrap(), ReadDecision::Empty);
        s.note_read_end(15, 0, 3000);
        assert_eq!(range(plan(&s, &ReadRequest { offset: 15, max_bytes: 5000, ..ALL }, None).unwrap()), (0, 3000, 8000, 40));
    }

    #[test]
    fn behind_the_last_batch_of_a_compacted_segment_comes_the_next_segment() {
        let mut s = state();
        // The last batches of segment 0 are gone.
        s.segments.get_mut(0).unwrap().size = 8000;
        s.note_read_end(40, 0, 8000);
        assert_eq!(range(plan(&s, &ReadRequest { offset: 40, ..ALL }, None).unwrap()), (50, 0, 5000, 75));
        assert_eq!(range(plan(&s, &ReadRequest { offset: 47, ..ALL }, None).unwrap()), (50, 0, 5000, 75));
    }

    #[test]
    fn an_unloaded_index_is_asked_for() {
        let mut s = state();
        s.segments.get_mut(0).unwrap().unload_index();
        assert_eq!(plan(&s, &ALL, None).unwrap(), ReadDecision::NeedIndex { segment_base: 0 });
    }
}
