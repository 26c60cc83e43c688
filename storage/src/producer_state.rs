//! Idempotence per producer: its epoch and its last five batches, so that a retry gets its original offset (KIP-98, KIP-360).
//!
//! A sans-I/O table: `check` decides, `apply` records what was appended (also at replay, where nothing is refused), `expire` forgets the idle.
//! Saved as a producer snapshot (`encode`/`decode`); rebuilt by applying the batches above the snapshot's offset. Open transactions will live here too.

use std::collections::VecDeque;

use hashbrown::HashMap;

/// Batches remembered per producer: what a client may have in flight at once.
pub const BATCHES_KEPT: usize = 5;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMark {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Its greatest timestamp, ms since 1970: the append time under `LogAppendTime`. -1 without timestamps, and for batches of `CreateTime` in
    /// files from before 2026-11-23.
    pub timestamp_ms: i64,
}

/// What one batch says about its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Producer id, not negative.
    pub producer_id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence of the first record.
    pub first_sequence: i32,
    /// Records in the batch less one.
    pub last_offset_delta: i32,
}

impl ProducerBatch {
    /// Sequence of the last record.
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.first_sequence, self.last_offset_delta)
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerVerdict {
    /// Append it.
    Append,
    /// It is in the log already: answer with this.
    Duplicate(BatchMark),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// The sequence is not the one that follows the last.
    #[error("sequence {found} where {expected} follows")]
    OutOfOrderSequence {
        /// Sequence that would have been right.
        expected: i32,
        /// Sequence of the batch.
        found: i32,
    },
    /// A newer epoch of this producer has been seen.
    #[error("producer epoch {found} below {current}")]
    InvalidProducerEpoch {
        /// Newest epoch seen.
        current: i16,
        /// Epoch of the batch.
        found: i16,
    },
}

/// What is remembered of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record, -1 when no batch is remembered.
    pub last_sequence: i32,
    /// Greatest timestamp of its last batch, ms since 1970; when it was seen last where that is not known.
    pub last_timestamp_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_seen_ms: i64,
    marks: VecDeque<BatchMark>,
}

/// The producers of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: HashMap<i64, Producer>,
}

impl ProducerTable {
    /// Number of producers known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// True when none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Producers with the offset of their last record: the batches that hold them stay when a log is compacted.
    pub fn last_offsets(&self) -> impl Iterator<Item = (i64, i64)> {
        self.producers.iter().filter_map(|(id, p)| p.marks.back().map(|mark| (*id, mark.last_offset)))
    }

    /// What is remembered of each producer, by id.
    pub fn active(&self) -> Vec<ActiveProducer> {
        let one = |(id, p): (&i64, &Producer)| ActiveProducer {
            producer_id: *id,
            epoch: p.epoch,
            last_sequence: p.marks.back().map_or(-1, |mark| mark.last_sequence),
            last_timestamp_ms: p.marks.back().map(|mark| mark.timestamp_ms).filter(|ms| *ms >= 0).unwrap_or(p.last_seen_ms),
        };
        let mut all: Vec<_> = self.producers.iter().map(one).collect();
        all.sort_unstable_by_key(|producer| producer.producer_id);
        all
    }

    /// Decides about a batch of a client.
    pub fn check(&self, batch: &ProducerBatch) -> Result<ProducerVerdict, ProducerError> {
        // KIP-360: a producer without state (new, expired, deleted) may start with any sequence.
        let Some(producer) = self.producers.get(&batch.producer_id) else { return Ok(ProducerVerdict::Append) };
        if batch.epoch < producer.epoch {
            return Err(ProducerError::InvalidProducerEpoch { current: producer.epoch, found: batch.epoch });
        }
        if batch.epoch > producer.epoch {
            return match batch.first_sequence {
                0 => Ok(ProducerVerdict::Append),
                found => Err(ProducerError::OutOfOrderSequence { expected: 0, found }),
            };
        }
        let last_sequence = batch.last_sequence();
        if let Some(mark) = producer.marks.iter().find(|m| m.first_sequence == batch.first_sequence && m.last_sequence == last_sequence) {
            return Ok(ProducerVerdict::Duplicate(*mark));
        }
        match producer.marks.back() {
            None => Ok(ProducerVerdict::Append),
            Some(last) => {
                let expected = sequence_after(last.last_sequence, 1);
                if batch.first_sequence == expected {
                    Ok(ProducerVerdict::Append)
                } else {
                    Err(ProducerError::OutOfOrderSequence { expected, found: batch.first_sequence })
                }
            }
        }
    }

    /// Records an appended batch, whose greatest timestamp is `timestamp_ms`; never refuses. `producers_max` bounds the table: beyond it the longest idle sixteenth is forgotten.
    pub fn apply(&mut self, batch: &ProducerBatch, base_offset: i64, timestamp_ms: i64, now_ms: i64, producers_max: usize) {
        if !self.producers.contains_key(&batch.producer_id) && self.producers.len() >= producers_max {
            self.forget_idlest(producers_max);
        }
        let producer = self.producers.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            last_seen_ms: now_ms,
            marks: VecDeque::new(),
        });
        if producer.epoch != batch.epoch {
            producer.epoch = batch.epoch;
            producer.marks.clear();
        }
        producer.last_seen_ms = producer.last_seen_ms.max(now_ms);
        if producer.marks.len() == BATCHES_KEPT {
            producer.marks.pop_front();
        }
        producer.marks.push_back(BatchMark {
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(batch.last_offset_delta),
            timestamp_ms,
        });
    }

    /// Forgets producers that were not seen for `expiration_ms`.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, p| now_ms.saturating_sub(p.last_seen_ms) < expiration_ms);
    }

    /// Forgets batches at or above `end` (a log that was cut).
    pub fn truncate_back(&mut self, end: i64) {
        for producer in self.producers.values_mut() {
            producer.marks.retain(|m| m.last_offset < end);
        }
        self.producers.retain(|_, p| !p.marks.is_empty());
    }

    fn forget_idlest(&mut self, producers_max: usize) {
        let mut by_age: Vec<(i64, i64)> = self.producers.iter().map(|(id, p)| (p.last_seen_ms, *id)).collect();
        by_age.sort_unstable();
        let surplus = self.producers.len() + 1 - producers_max;
        for (_, id) in by_age.iter().take(surplus.max(producers_max / 16)) {
            self.producers.remove(id);
        }
    }

    /// Bytes of a producer snapshot: `offset` is the end of what the table covers. Producers in the order of their ids.
    pub fn encode(&self, offset: i64) -> Vec<u8> {
        let mut ids: Vec<i64> = self.producers.keys().copied().collect();
        ids.sort_unstable();
        let mut out = Vec::with_capacity(12 + ids.len() * (PRODUCER_BYTES + MARK_BYTES * BATCHES_KEPT));
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        for id in ids {
            let producer = &self.producers[&id];
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&producer.last_seen_ms.to_le_bytes());
            out.extend_from_slice(&producer.epoch.to_le_bytes());
            out.extend_from_slice(&(producer.marks.len() as u16).to_le_bytes());
            for mark in &producer.marks {
                out.extend_from_slice(&mark.first_sequence.to_le_bytes());
                out.extend_from_slice(&mark.last_sequence.to_le_bytes());
                out.extend_from_slice(&mark.base_offset.to_le_bytes());
                out.extend_from_slice(&mark.last_offset.to_le_bytes());
                out.extend_from_slice(&mark.timestamp_ms.to_le_bytes());
            }
        }
        out
    }

    /// Reads a producer snapshot: the table and the offset it covers. An error text for anything that `encode` cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<(ProducerTable, i64), &'static str> {
        let mut rest = Fields { bytes };
        let offset = rest.i64()?;
        let count = rest.u32()? as usize;
        if count > rest.bytes.len() / PRODUCER_BYTES {
            return Err("more producers than bytes");
        }
        let mut producers = HashMap::with_capacity(count);
        for _ in 0..count {
            let id = rest.i64()?;
            let last_seen_ms = rest.i64()?;
            let epoch = rest.i16()?;
            let marks_len = rest.i16()?;
            if !(0..=BATCHES_KEPT as i16).contains(&marks_len) {
                return Err("more batches than are kept");
            }
            let mut marks = VecDeque::with_capacity(marks_len as usize);
            for _ in 0..marks_len {
                marks.push_back(BatchMark {
                    first_sequence: rest.i32()?,
                    last_sequence: rest.i32()?,
                    base_offset: rest.i64()?,
                    last_offset: rest.i64()?,
                    timestamp_ms: rest.i64()?,
                });
            }
            if producers.insert(id, Producer { epoch, last_seen_ms, marks }).is_some() {
                return Err("a producer twice");
            }
        }
        if rest.bytes.is_empty() { Ok((ProducerTable { producers }, offset)) } else { Err("bytes after the last producer") }
    }
}

/// Bytes of a producer without its batches.
const PRODUCER_BYTES: usize = 20;
/// Bytes of a remembered batch.
const MARK_BYTES: usize = 32;

/// The sequence `steps` after `sequence`; 2^31 - 1 is followed by 0.
pub fn sequence_after(sequence: i32, steps: i32) -> i32 {
    ((i64::from(sequence) + i64::from(steps)) & i64::from(i32::MAX)) as i32
}

struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or("cut short")?;
        self.bytes = rest;
        Ok(*head)
    }
    fn i64(&mut self) -> Result<i64, &'static str> {
        Ok(i64::from_le_bytes(self.take()?))
    }
    fn i32(&mut self) -> Result<i32, &'static str> {
        Ok(i32::from_le_bytes(self.take()?))
    }
    fn u32(&mut self) -> Result<u32, &'static str> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    fn i16(&mut self) -> Result<i16, &'static str> {
        Ok(i16::from_le_bytes(self.take()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, first_sequence: i32, records: i32) -> ProducerBatch {
        ProducerBatch { producer_id: 7, epoch, first_sequence, last_offset_delta: records - 1 }
    }

    fn table(batches: &[(i16, i32, i32)]) -> ProducerTable {
        let mut t = ProducerTable::default();
        let mut offset = 100;
        for &(epoch, first, records) in batches {
            t.apply(&batch(epoch, first, records), offset, -1, 0, 10);
            offset += i64::from(records);
        }
        t
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere() {
        assert_eq!(ProducerTable::default().check(&batch(3, 77, 2)), Ok(ProducerVerdict::Append));
    }

    #[test]
    fn any_of_the_last_five_is_answered_with_its_first_offset() {
        let t = table(&[(0, 0, 1), (0, 1, 2), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 6, 1)]);
        let Ok(ProducerVerdict::Duplicate(mark)) = t.check(&batch(0, 1, 2)) else { panic!("not a duplicate") };
        assert_eq!((mark.base_offset, mark.last_offset), (101, 102));
        // The sixth last is forgotten, and an inexact overlap is no duplicate.
        assert_eq!(t.check(&batch(0, 0, 1)), Err(ProducerError::OutOfOrderSequence { expected: 7, found: 0 }));
        assert_eq!(t.check(&batch(0, 1, 1)), Err(ProducerError::OutOfOrderSequence { expected: 7, found: 1 }));
    }

    #[test]
    fn the_next_sequence_wraps() {
        let t = table(&[(0, i32::MAX - 1, 2)]);
        assert_eq!(t.check(&batch(0, 0, 1)), Ok(ProducerVerdict::Append));
        let t = table(&[(0, i32::MAX, 3)]);
        assert_eq!(t.check(&batch(0, 2, 1)), Ok(ProducerVerdict::Append));
        assert_eq!(t.check(&batch(0, i32::MAX, 1)), Err(ProducerError::OutOfOrderSequence { expected: 2, found: i32::MAX }));
    }

    #[test]
    fn epochs_fence_and_restart_at_zero() {
        let mut t = table(&[(4, 0, 3)]);
        assert_eq!(t.check(&batch(3, 3, 1)), Err(ProducerError::InvalidProducerEpoch { current: 4, found: 3 }));
        assert_eq!(t.check(&batch(5, 3, 1)), Err(ProducerError::OutOfOrderSequence { expected: 0, found: 3 }));
        assert_eq!(t.check(&batch(5, 0, 3)), Ok(ProducerVerdict::Append));
        t.apply(&batch(5, 0, 3), 200, -1, 0, 10);
        let Ok(ProducerVerdict::Duplicate(mark)) = t.check(&batch(5, 0, 3)) else { panic!("not a duplicate") };
        assert_eq!(mark.base_offset, 200);
    }

    #[test]
    fn idle_producers_expire_and_the_table_is_bounded() {
        let mut t = ProducerTable::default();
        for id in 0..100 {
            t.apply(&ProducerBatch { producer_id: id, epoch: 0, first_sequence: 0, last_offset_delta: 0 }, id, -1, id, 32);
            assert!(t.len() <= 32);
        }
        assert!(t.producers.contains_key(&99) && !t.producers.contains_key(&0));
        t.expire(1000, 902);
        assert_eq!(t.len(), 1);
        t.expire(1001, 902);
        assert!(t.is_empty());
    }

    #[test]
    fn a_snapshot_round_trips_and_any_cut_is_refused() {
        let t = table(&[(2, 0, 1), (2, 1, 5)]);
        let bytes = t.encode(106);
        assert_eq!(ProducerTable::decode(&bytes), Ok((t, 106)));
        for cut in 0..bytes.len() {
            assert!(ProducerTable::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut many = bytes.clone();
        many[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ProducerTable::decode(&many).is_err());
    }

    #[test]
    fn producers_are_told_by_id_with_their_last_sequence() {
        let mut t = ProducerTable::default();
        for (producer_id, at) in [(9, 50), (3, 60)] {
            t.apply(&ProducerBatch { producer_id, epoch: 1, first_sequence: 4, last_offset_delta: 2 }, 0, -1, at, 10);
        }
        let told: Vec<_> = t.active().iter().map(|p| (p.producer_id, p.epoch, p.last_sequence, p.last_timestamp_ms)).collect();
        assert_eq!(told, [(3, 1, 6, 60), (9, 1, 6, 50)]);
    }

    #[test]
    fn a_cut_log_forgets_what_was_cut() {
        let mut t = table(&[(0, 0, 1), (0, 1, 1), (0, 2, 1)]);
        t.truncate_back(102);
        assert_eq!(t.check(&batch(0, 2, 1)), Ok(ProducerVerdict::Append));
        t.truncate_back(0);
        assert!(t.is_empty());
    }
}
