//! Decides what recovery puts back into a partition's segments: a pure function of its checkpoint and the journal's entries, in journal order.
//!
//! Redo is physical and idempotent: an entry says where its bytes belong. What the checkpoint covers is skipped; what follows on is taken; the image
//! of a block replaces what a torn write may have left of it; an entry that goes back to an earlier batch boundary cuts what was behind it (a log that
//! was truncated); anything else stops the partition there. Caller: `loader.rs`, which reads, writes and flushes.

use bytes::Bytes;
use coreline_wire::record::{BatchHeader, Origin, RawBatch};

use crate::checkpoint::RecoveryPoint;
use crate::journal::{EntryHeader, EntryKind};
use crate::segment::sums::{SUM_BLOCK_BYTES, SavedSums, SegmentSums};

/// Bytes to write to one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedoSegment {
    /// Its base offset.
    pub base_offset: i64,
    /// Position of the first byte.
    pub start: u32,
    /// Batches, one behind the other.
    pub bytes: Vec<u8>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedoVerdict {
    /// Its bytes will be written.
    Taken,
    /// The segment has them already.
    Skipped,
    /// It does not follow on: this partition takes nothing more.
    Stopped,
}

/// A batch that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedoBatch {
    /// Where it starts.
    pub at: RecoveryPoint,
    /// Its header.
    pub header: BatchHeader,
}

/// Redo of one partition.
#[derive(Clone, Debug)]
pub struct Redo {
    /// What the checkpoint says; `None` when there was none.
    saved: Option<RecoveryPoint>,
    start: RecoveryPoint,
    end: RecoveryPoint,
    epoch: i32,
    segments: Vec<RedoSegment>,
    batches: Vec<RedoBatch>,
    /// Bytes of the block that holds the start, up to the start, from an image.
    head: Option<Vec<u8>>,
    stopped: Option<String>,
    alignment: u32,
}

impl Redo {
    /// Starts at a partition's checkpoint; `epoch` is the newest leader epoch below it.
    pub fn new(saved: Option<RecoveryPoint>, epoch: i32, alignment: u32) -> Redo {
        let start = saved.unwrap_or_default();
        Redo { saved, start, end: start, epoch, segments: Vec::new(), batches: Vec::new(), head: None, stopped: None, alignment }
    }

    /// Where the log begins that is written: the checkpoint, or the first entry of a partition that had none.
    pub fn start(&self) -> RecoveryPoint {
        self.start
    }

    /// Where the log ends.
    pub fn end(&self) -> RecoveryPoint {
        self.end
    }

    /// What is to be written, in order.
    pub fn segments(&self) -> &[RedoSegment] {
        &self.segments
    }

    /// The batches in it.
    pub fn batches(&self) -> &[RedoBatch] {
        &self.batches
    }

    /// The checksums that the checkpoint has of the bytes before its point, carried on over what was taken. They do not come from the disk: what the disk has
    /// damaged below the old point shows against them.
    pub fn sums(&self, saved: &SavedSums) -> SavedSums {
        let Some(last) = self.segments.last() else { return saved.clone() };
        let end = last.start + last.bytes.len() as u32;
        // What is taken begins at the checkpoint, or at the front of a segment.
        let before = if last.start == 0 { SavedSums::empty() } else { saved.clone() };
        if before.prefix.is_none() && !last.start.is_multiple_of(SUM_BLOCK_BYTES) {
            return SavedSums { first: end / SUM_BLOCK_BYTES, ..SavedSums::default() };
        }
        let mut sums = SegmentSums::from_saved(&before, last.start);
        sums.extend(last.start, &last.bytes, SUM_BLOCK_BYTES, end);
        sums.to_saved(end, sums.marks().sum_at(end))
    }

    /// The block that holds the start, up to the start, when the journal has an image of it.
    pub fn head(&self) -> Option<&[u8]> {
        self.head.as_deref()
    }

    /// Why the partition stopped, if it did.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// True when nothing has to be written.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.head.is_none()
    }

    /// After everything was written: what was taken lies below the checkpoint from now on.
    pub fn written(&mut self) {
        self.saved = Some(self.end);
        self.start = self.end;
        self.segments.clear();
        self.batches.clear();
        self.head = None;
    }

    /// Takes the next entry of the journal.
    pub fn offer(&mut self, header: &EntryHeader, data: &[u8]) -> RedoVerdict {
        if self.stopped.is_some() {
            return RedoVerdict::Stopped;
        }
        let verdict = match header.kind {
            EntryKind::Batch => self.offer_batch(header, data),
            EntryKind::BlockImage => self.offer_image(header, data),
        };
        verdict.unwrap_or_else(|why| {
            self.stopped = Some(format!("{:?} at position {} of segment {}: {why}", header.kind, header.position, header.segment_base));
            RedoVerdict::Stopped
        })
    }

    fn offer_batch(&mut self, entry: &EntryHeader, data: &[u8]) -> Result<RedoVerdict, String> {
        let position = u32::try_from(entry.position).map_err(|_| "position beyond a segment".to_string())?;
        let end = u32::try_from(data.len()).ok().and_then(|len| position.checked_add(len)).ok_or("longer than a segment")?;
        if self.saved.is_some_and(|saved| (entry.segment_base, end) <= (saved.segment_base, saved.position)) {
            return Ok(RedoVerdict::Skipped);
        }
        let batch = RawBatch::new(Bytes::copy_from_slice(data)).validate(Origin::Log).map_err(|e| e.to_string())?;
        let header = *batch.header();
        if header.base_offset != entry.base_offset || header.last_offset() != entry.last_offset {
            return Err(format!("holds offset {}, the entry says {}", header.base_offset, entry.base_offset));
        }
        if self.saved.is_none() && self.segments.is_empty() {
            // The first entry of a partition without a checkpoint: it must be the first batch of a segment.
            self.start = RecoveryPoint { segment_base: entry.segment_base, position: 0, offset: entry.segment_base };
            self.end = self.start;
        }
        let at = RecoveryPoint { segment_base: entry.segment_base, position, offset: header.base_offset };
        if at != self.end && !self.rolls_to(&at) {
            self.cut_to(&at)?;
        }
        if header.partition_leader_epoch < self.epoch {
            return Err(format!("leader epoch {} after {}", header.partition_leader_epoch, self.epoch));
        }
        match self.segments.last_mut().filter(|s| s.base_offset == at.segment_base) {
            Some(segment) => segment.bytes.extend_from_slice(data),
            None => self.segments.push(RedoSegment { base_offset: at.segment_base, start: position, bytes: data.to_vec() }),
        }
        self.batches.push(RedoBatch { at, header });
        self.epoch = header.partition_leader_epoch;
        self.end = RecoveryPoint { segment_base: at.segment_base, position: end, offset: header.next_offset() };
        Ok(RedoVerdict::Taken)
    }

    fn rolls_to(&self, at: &RecoveryPoint) -> bool {
        at.position == 0 && at.segment_base > self.end.segment_base && at.segment_base == self.end.offset && at.offset == self.end.offset
    }

    /// Goes back to a batch boundary that this redo has passed.
    fn cut_to(&mut self, at: &RecoveryPoint) -> Result<(), String> {
        let Some(index) = self.batches.iter().position(|b| b.at == *at) else {
            return Err(format!(
                "offset {} does not follow on offset {} at position {} of segment {}",
                at.offset, self.end.offset, self.end.position, self.end.segment_base
            ));
        };
        self.batches.truncate(index);
        self.segments.retain(|s| s.base_offset <= at.segment_base);
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes.truncate((at.position - segment.start) as usize);
        }
        self.epoch = self.batches.last().map_or(-1, |b| b.header.partition_leader_epoch);
        self.end = *at;
        Ok(())
    }

    fn offer_image(&mut self, entry: &EntryHeader, data: &[u8]) -> Result<RedoVerdict, String> {
        let position = u32::try_from(entry.position).map_err(|_| "position beyond a segment".to_string())?;
        let end = u32::try_from(data.len()).ok().and_then(|len| position.checked_add(len)).ok_or("longer than a segment")?;
        let Some(saved) = self.saved else {
            // Nothing was ever checkpointed, so all of the block is in the journal before this.
            return Ok(RedoVerdict::Skipped);
        };
        let covers_start =
            self.start == saved && position == saved.position & !(self.alignment - 1) && entry.segment_base == saved.segment_base;
        let follows = (entry.segment_base, end) == (self.end.segment_base, self.end.position);
        if self.head.is_none() && covers_start && follows && end >= saved.position && saved.position > position {
            self.head = Some(data[..(saved.position - position) as usize].to_vec());
            return Ok(RedoVerdict::Taken);
        }
        // Older than the checkpoint, or of bytes that this redo writes anyway.
        Ok(RedoVerdict::Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coreline_wire::ids::TopicPartition;
    use coreline_wire::record::BatchBuilder;

    fn batch(offset: i64, records: i64, epoch: i32) -> Vec<u8> {
        let mut b = BatchBuilder::new().base_offset(offset).leader_epoch(epoch);
        for i in 0..records {
            b.push(1000 + i, None, Some(b"value"), &[]);
        }
        b.build().unwrap().to_vec()
    }

    fn entry(kind: EntryKind, segment_base: i64, position: u32, base_offset: i64, last_offset: i64) -> EntryHeader {
        EntryHeader {
            partition: TopicPartition::default(),
            segment_base,
            position: u64::from(position),
            base_offset,
            last_offset,
            leader_epoch: 1,
            kind,
        }
    }

    fn offer(redo: &mut Redo, segment_base: i64, position: u32, offset: i64, records: i64, epoch: i32) -> RedoVerdict {
        redo.offer(&entry(EntryKind::Batch, segment_base, position, offset, offset + records - 1), &batch(offset, records, epoch))
    }

    fn point(segment_base: i64, position: u32, offset: i64) -> RecoveryPoint {
        RecoveryPoint { segment_base, position, offset }
    }

    #[test]
    fn what_the_checkpoint_covers_is_skipped_and_the_rest_follows() {
        let size = batch(0, 2, 1).len() as u32;
        let mut redo = Redo::new(Some(point(0, size, 2)), 1, 4096);
        assert_eq!(offer(&mut redo, 0, 0, 0, 2, 1), RedoVerdict::Skipped);
        assert_eq!(offer(&mut redo, 0, size, 2, 2, 1), RedoVerdict::Taken);
        assert_eq!(offer(&mut redo, 4, 0, 4, 2, 1), RedoVerdict::Taken);
        assert_eq!(redo.end(), point(4, size, 6));
        assert_eq!(
            redo.segments().iter().map(|s| (s.base_offset, s.start, s.bytes.len() as u32)).collect::<Vec<_>>(),
            [(0, size, size), (4, 0, size)]
        );
    }

    #[test]
    fn a_partition_without_checkpoint_starts_with_its_first_batch() {
        let mut redo = Redo::new(None, -1, 4096);
        assert_eq!(offer(&mut redo, 7, 0, 7, 1, 0), RedoVerdict::Taken);
        assert_eq!((redo.start(), redo.end().offset), (point(7, 0, 7), 8));
        let mut torn = Redo::new(None, -1, 4096);
        assert_eq!(offer(&mut torn, 7, 100, 9, 1, 0), RedoVerdict::Stopped);
    }

    #[test]
    fn gaps_bad_bytes_and_older_epochs_stop_the_partition() {
        let size = batch(0, 1, 1).len() as u32;
        for (segment, position, offset, epoch) in [(0, size + 1, 1, 1), (0, size, 2, 1), (1, 5, 1, 1), (2, 0, 2, 1), (0, size, 1, 0)] {
            let mut redo = Redo::new(None, -1, 4096);
            assert_eq!(offer(&mut redo, 0, 0, 0, 1, 1), RedoVerdict::Taken);
            assert_eq!(
                offer(&mut redo, segment, position, offset, 1, epoch),
                RedoVerdict::Stopped,
                "{segment} {position} {offset} {epoch}"
            );
            assert_eq!(offer(&mut redo, 0, size, 1, 1, 1), RedoVerdict::Stopped, "nothing is taken behind a stop");
            assert_eq!(redo.end(), point(0, size, 1));
        }
        let mut redo = Redo::new(None, -1, 4096);
        let mut bad = batch(0, 1, 1);
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(redo.offer(&entry(EntryKind::Batch, 0, 0, 0, 0), &bad), RedoVerdict::Stopped);
    }

    #[test]
    fn the_image_of_the_checkpointed_block_is_kept() {
        let size = batch(0, 1, 1).len() as u32;
        let mut redo = Redo::new(Some(point(0, 4096 + 100, 5)), 1, 4096);
        // An older image, of what the checkpoint has overtaken.
        assert_eq!(redo.offer(&entry(EntryKind::BlockImage, 0, 4096, 4, 3), &[1; 50]), RedoVerdict::Skipped);
        assert_eq!(redo.offer(&entry(EntryKind::BlockImage, 0, 4096, 5, 4), &[2; 100]), RedoVerdict::Taken);
        assert_eq!(offer(&mut redo, 0, 4196, 5, 1, 1), RedoVerdict::Taken);
        // A later image of the same block, which was written again by a checkpoint that did not finish.
        let mut again = vec![3; 100];
        again.extend_from_slice(&batch(5, 1, 1));
        assert_eq!(redo.offer(&entry(EntryKind::BlockImage, 0, 4096, 6, 5), &again), RedoVerdict::Skipped);
        assert_eq!(redo.head(), Some(&[2; 100][..]));
        assert_eq!(redo.end(), point(0, 4196 + size, 6));
    }

    #[test]
    fn going_back_to_a_boundary_cuts() {
        let size = batch(0, 1, 1).len() as u32;
        let mut redo = Redo::new(None, -1, 4096);
        for i in 0..3 {
            offer(&mut redo, 0, i * size, i64::from(i), 1, 1);
        }
        assert_eq!(offer(&mut redo, 0, size, 1, 1, 2), RedoVerdict::Taken);
        assert_eq!(redo.end(), point(0, 2 * size, 2));
        assert_eq!(redo.segments()[0].bytes, [batch(0, 1, 1), batch(1, 1, 2)].concat());
    }

    #[test]
    fn the_same_entries_again_change_nothing() {
        let size = batch(0, 1, 1).len() as u32;
        let mut redo = Redo::new(None, -1, 4096);
        for i in 0..3 {
            offer(&mut redo, 0, i * size, i64::from(i), 1, 1);
        }
        redo.written();
        for i in 0..3 {
            assert_eq!(offer(&mut redo, 0, i * size, i64::from(i), 1, 1), RedoVerdict::Skipped);
        }
        assert!(redo.is_empty());
    }
}
