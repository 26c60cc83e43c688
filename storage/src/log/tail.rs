//! The end of a log in memory: batches in chunks, each at the segment position it has or will have.
//!
//! A chunk fills with whole batches that follow each other without a gap, so any run of them is one reference-counted slice. Chunks start small and
//! double while a partition stays busy; they leave from the front once their bytes are on the disk. An idle partition whose chunks were evicted
//! holds none. Memory comes from the shard's `ChunkPool`, which has the budget.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::io::{Chunk, ChunkPool};
use crate::journal::Ticket;

/// One batch in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailBatch {
    /// Its position in the segment.
    pub position: u32,
    /// Position behind it.
    pub end: u32,
    /// Its first offset.
    pub base_offset: i64,
    /// Offset behind its last.
    pub next_offset: i64,
    /// Its largest timestamp, ms.
    pub max_timestamp_ms: i64,
    /// Journal frame of the first entry it needs (its own, or the block image before it).
    pub ticket_first: Ticket,
    /// Journal frame that makes it durable.
    pub ticket: Ticket,
}

/// One allocation with whole batches of one segment.
#[derive(Debug)]
pub struct TailChunk {
    /// Its age among all chunks of the shard.
    pub id: u64,
    /// Base offset of the segment its batches belong to.
    pub segment_base: i64,
    start: u32,
    batches: Vec<TailBatch>,
    memory: Chunk,
}

impl TailChunk {
    /// Position behind its last batch.
    pub fn end(&self) -> u32 {
        self.start + self.memory.len() as u32
    }

    /// Memory it takes, bytes.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    fn next_offset(&self) -> i64 {
        self.batches.last().map_or(i64::MIN, |b| b.next_offset)
    }
}

/// Chunks of one log, oldest first.
#[derive(Debug, Default)]
pub struct Tail {
    chunks: VecDeque<TailChunk>,
}

impl Tail {
    /// Makes sure that the newest chunk takes `bytes` at `position` of the segment. `Ok(true)` when a chunk was added (with `id`), `Err` when the
    /// budget has no room for one.
    pub fn reserve(
        &mut self,
        pool: &ChunkPool,
        id: u64,
        segment_base: i64,
        position: u32,
        bytes: usize,
        chunk_bytes_max: usize,
    ) -> Result<bool, NoRoom> {
        if let Some(last) = self.chunks.back()
            && last.segment_base == segment_base
            && last.end() == position
            && last.memory.remaining() >= bytes
        {
            return Ok(false);
        }
        let doubled = self.chunks.back().map_or(CHUNK_BYTES_MIN, |last| last.memory.capacity().saturating_mul(2));
        let capacity = doubled.min(chunk_bytes_max).max(bytes);
        let memory = pool.chunk(capacity).or_else(|| pool.chunk(bytes)).ok_or(NoRoom { bytes })?;
        self.drop_empty_newest();
        self.chunks.push_back(TailChunk { id, segment_base, start: position, batches: Vec::new(), memory });
        Ok(true)
    }

    /// Copies bytes behind the newest chunk's. `reserve` has made the room.
    pub fn write(&mut self, bytes: &[u8]) {
        let chunk = self.chunks.back_mut().expect("reserved before");
        let taken = chunk.memory.append(bytes);
        assert_eq!(taken, bytes.len(), "a batch was written beyond the room reserved for it");
    }

    /// The newest chunk's bytes from a position on.
    pub fn written_from(&self, position: u32) -> &[u8] {
        let chunk = self.chunks.back().expect("written before");
        &chunk.memory.bytes()[(position - chunk.start) as usize..]
    }

    /// Notes the batch that was written last.
    pub fn commit(&mut self, batch: TailBatch) {
        let chunk = self.chunks.back_mut().expect("written before");
        debug_assert_eq!(chunk.end(), batch.end);
        chunk.batches.push(batch);
    }

    /// Closes the newest chunk after a batch was written to it that did not become part of the log.
    pub fn abandon(&mut self) {
        let Some(chunk) = self.chunks.back_mut() else { return };
        // The bytes cannot be taken back; the next batch goes to a new chunk, because this one's end is no longer the log's.
        if chunk.batches.is_empty() {
            self.chunks.pop_back();
        }
    }

    /// Drops the oldest chunk.
    pub fn pop_front(&mut self) {
        self.chunks.pop_front();
    }

    /// The oldest chunk.
    pub fn front(&self) -> Option<&TailChunk> {
        self.chunks.front()
    }

    /// First offset held.
    pub fn first_offset(&self) -> Option<i64> {
        self.chunks.front().and_then(|c| c.batches.first()).map(|b| b.base_offset)
    }

    /// Segment and position of the first byte held.
    pub fn first_position(&self) -> Option<(i64, u32)> {
        self.chunks.front().map(|c| (c.segment_base, c.start))
    }

    /// Batches from the one that contains `offset` (or the first behind it) on, each with its segment's base offset.
    pub fn batches_from_offset(&self, offset: i64) -> impl Iterator<Item = (i64, &TailBatch)> {
        let chunk = self.chunks.partition_point(|c| c.next_offset() <= offset);
        let batch = self.chunks.get(chunk).map_or(0, |c| c.batches.partition_point(|b| b.next_offset <= offset));
        self.batches_from(chunk, batch)
    }

    /// Batches of a segment whose end lies behind `position`, and all of later segments.
    pub fn batches_from_position(&self, segment_base: i64, position: u32) -> impl Iterator<Item = (i64, &TailBatch)> {
        let from = (segment_base, position);
        let chunk = self.chunks.partition_point(|c| c.batches.last().is_none_or(|b| (c.segment_base, b.end) <= from));
        let batch = self.chunks.get(chunk).map_or(0, |c| c.batches.partition_point(|b| (c.segment_base, b.end) <= from));
        self.batches_from(chunk, batch)
    }

    fn batches_from(&self, chunk: usize, batch: usize) -> impl Iterator<Item = (i64, &TailBatch)> {
        self.chunks.iter().skip(chunk).flat_map(|c| c.batches.iter().map(|b| (c.segment_base, b))).skip(batch)
    }

    /// Slices that hold the bytes of a range of positions of a segment, in order. The range must be held in memory; whatever of it is not, is left out.
    pub fn slices(&self, segment_base: i64, from: u32, to: u32) -> impl Iterator<Item = Bytes> {
        self.pieces(segment_base, from, to).map(|(chunk, start, end)| chunk.memory.slice(start..end))
    }

    /// Copies the bytes of a range of positions of a segment into `out`, where `out[0]` stands for position `from`. Returns how many were held.
    pub fn copy_to(&self, segment_base: i64, from: u32, to: u32, out: &mut [u8]) -> usize {
        let mut copied = 0;
        for (chunk, start, end) in self.pieces(segment_base, from, to) {
            let at = (chunk.start as usize + start) - from as usize;
            out[at..at + (end - start)].copy_from_slice(&chunk.memory.bytes()[start..end]);
            copied += end - start;
        }
        copied
    }

    fn pieces(&self, segment_base: i64, from: u32, to: u32) -> impl Iterator<Item = (&TailChunk, usize, usize)> {
        let first = self.chunks.partition_point(|c| (c.segment_base, c.end()) <= (segment_base, from));
        self.chunks.iter().skip(first).take_while(move |c| c.segment_base == segment_base && c.start < to).filter_map(move |c| {
            // Bytes behind the last batch belong to an append that failed.
            let filled = c.batches.last().map_or(c.start, |b| b.end);
            let start = from.max(c.start);
            let end = to.min(filled);
            (start < end).then(|| (c, (start - c.start) as usize, (end - c.start) as usize))
        })
    }

    fn drop_empty_newest(&mut self) {
        if self.chunks.back().is_some_and(|c| c.batches.is_empty()) {
            self.chunks.pop_back();
        }
    }
}

/// The budget has no room for a chunk of this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Bytes that were asked for.
    pub bytes: usize,
}

/// Smallest chunk.
const CHUNK_BYTES_MIN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tail: &mut Tail, pool: &ChunkPool, segment: i64, position: u32, offset: i64, len: usize) -> Result<bool, NoRoom> {
        let added = tail.reserve(pool, offset as u64, segment, position, len, 64 << 10)?;
        tail.write(&vec![offset as u8; len]);
        tail.commit(TailBatch {
            position,
            end: position + len as u32,
            base_offset: offset,
            next_offset: offset + 1,
            max_timestamp_ms: 0,
            ticket_first: Ticket(0),
            ticket: Ticket(0),
        });
        Ok(added)
    }

    #[test]
    fn batches_are_found_by_offset_and_position() {
        let pool = ChunkPool::new(1 << 20);
        let mut tail = Tail::default();
        for offset in 0..100 {
            push(&mut tail, &pool, 0, offset * 1000, i64::from(offset), 1000).unwrap();
        }
        assert!(pool.used_bytes() >= 100_000);
        assert_eq!(tail.batches_from_offset(0).map(|(_, b)| b.base_offset).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(tail.batches_from_offset(57).next().unwrap().1.position, 57_000);
        assert_eq!(tail.batches_from_position(0, 56_999).next().unwrap().1.base_offset, 56);
        assert_eq!(tail.batches_from_position(0, 57_000).next().unwrap().1.base_offset, 57);
        assert_eq!(tail.batches_from_position(1, 0).count(), 0);
        while tail.front().is_some() {
            tail.pop_front();
        }
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn ranges_are_few_slices_and_equal_copies() {
        let pool = ChunkPool::new(1 << 20);
        let mut tail = Tail::default();
        for offset in 0..60 {
            push(&mut tail, &pool, 0, offset * 1000, i64::from(offset), 1000).unwrap();
        }
        push(&mut tail, &pool, 60, 0, 60, 50).unwrap();
        let expected: Vec<u8> = (0..60_000u32).map(|at| (at / 1000) as u8).collect();
        let slices: Vec<Bytes> = tail.slices(0, 1500, 58_700).collect();
        assert!(slices.len() < 10, "{}", slices.len());
        assert_eq!(slices.concat(), expected[1500..58_700]);
        let mut out = vec![0; 57_200];
        assert_eq!(tail.copy_to(0, 1500, 58_700, &mut out), 57_200);
        assert_eq!(out, expected[1500..58_700]);
        let newest: Vec<Bytes> = tail.slices(60, 0, 50).collect();
        assert_eq!(newest.concat(), [60; 50]);
        assert_eq!(newest[0].as_ptr(), tail.written_from(0).as_ptr(), "a reader gets the chunk's own memory, not a copy");
    }

    #[test]
    fn an_abandoned_batch_leaves_no_trace() {
        let pool = ChunkPool::new(1 << 20);
        let mut tail = Tail::default();
        push(&mut tail, &pool, 0, 0, 0, 10).unwrap();
        assert_eq!(tail.reserve(&pool, 1, 0, 10, 20, 4096), Ok(false));
        tail.write(&[9; 20]);
        tail.abandon();
        assert_eq!(push(&mut tail, &pool, 0, 10, 1, 30), Ok(true));
        assert_eq!(tail.slices(0, 0, 40).collect::<Vec<_>>().concat(), [vec![0; 10], vec![1; 30]].concat());
    }

    #[test]
    fn the_budget_is_a_bound() {
        let pool = ChunkPool::new(64 << 10);
        let mut tail = Tail::default();
        push(&mut tail, &pool, 0, 0, 0, 60_000).unwrap();
        assert!(push(&mut tail, &pool, 0, 60_000, 1, 9_000).is_err());
        tail.pop_front();
        push(&mut tail, &pool, 0, 60_000, 1, 9_000).unwrap();
    }

    #[test]
    fn a_new_segment_starts_a_new_chunk() {
        let pool = ChunkPool::new(1 << 20);
        let mut tail = Tail::default();
        assert_eq!(push(&mut tail, &pool, 0, 0, 0, 10), Ok(true));
        assert_eq!(push(&mut tail, &pool, 0, 10, 1, 10), Ok(false));
        assert_eq!(push(&mut tail, &pool, 2, 0, 2, 10), Ok(true));
        assert_eq!(tail.batches_from_position(0, 10).next().unwrap().1.base_offset, 1);
        assert_eq!(tail.first_position(), Some((0, 0)));
    }
}
