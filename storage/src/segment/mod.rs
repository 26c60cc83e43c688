//! One segment of a log: how far it reaches, how much of it is on the disk, and its sparse indexes.
//!
//! Active -> Sealed -> (deleted). Positions: `flushed <= written <= size`; below `flushed` the file's bytes are durable, and below `send_mark` they never
//! change again. Pure bookkeeping; the flusher and the reader do the I/O. The index files' bytes are described in `FORMAT.md`.

pub(crate) mod files;
pub mod name;
pub mod offset_index;
pub mod set;
pub mod sums;
pub mod time_index;

use offset_index::{OffsetEntry, OffsetIndex};
use sums::{SegmentSums, SumMarks, VerifiedBlocks};
use time_index::{TimeEntry, TimeIndex};

/// State of one segment.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Offset of the first batch it may hold; its name.
    pub base_offset: i64,
    /// Offset behind its last batch.
    pub next_offset: i64,
    /// End of its batches, bytes; what lies behind it in the file is padding.
    pub size: u32,
    /// Below this position the file holds the bytes (not necessarily durable).
    pub written: u32,
    /// Below this position the file's bytes are durable.
    pub flushed: u32,
    /// No more batches will be added.
    pub sealed: bool,
    /// Sealed, flushed, and cut to its exact size.
    pub trimmed: bool,
    /// When its first batch was appended, ms; `None` while empty and after a restart.
    pub first_append_ms: Option<i64>,
    /// Largest timestamp of its first batch, ms; `None` while empty, and after a restart until somebody looked.
    pub first_timestamp_ms: Option<i64>,
    /// When its last batch was appended (after a restart: when retention saw it first), ms; `None` while not known.
    pub last_append_ms: Option<i64>,
    /// One more with each compaction that replaced its file: positions of another generation mean nothing.
    pub generation: u32,
    /// The file exists.
    pub on_disk: bool,
    /// Space reserved in the file, bytes.
    pub allocated: u64,
    /// Sparse indexes of the batches from `index_from` on.
    pub index: SegmentIndex,
    /// Position from which `index` is complete; 0 = all of it.
    pub index_from: u32,
    /// How far the index files reach that were saved last.
    pub index_saved: u32,
    /// Largest timestamp in the whole segment, ms, `i64::MIN` while it is empty; `None` after a restart until its index was loaded.
    pub max_timestamp_ms: Option<i64>,
    /// Checksums of its bytes up to `written`; behind `flushed` while nothing of a segment found on the disk was needed yet.
    pub sums: SegmentSums,
    /// The sums at the end of `flushed`.
    pub sum_marks: SumMarks,
    /// How far the sidecar reaches that was saved last.
    pub sums_saved: u32,
    /// Blocks whose bytes on the disk were found to have their sums.
    pub verified: VerifiedBlocks,
}

impl Segment {
    /// A new segment without a file.
    pub fn new(base_offset: i64) -> Segment {
        Segment {
            base_offset,
            next_offset: base_offset,
            size: 0,
            written: 0,
            flushed: 0,
            sealed: false,
            trimmed: false,
            first_append_ms: None,
            first_timestamp_ms: None,
            last_append_ms: None,
            generation: 0,
            on_disk: false,
            allocated: 0,
            index: SegmentIndex::default(),
            index_from: 0,
            index_saved: 0,
            max_timestamp_ms: Some(i64::MIN),
            sums: SegmentSums::default(),
            sum_marks: SumMarks::default(),
            sums_saved: 0,
            verified: VerifiedBlocks::default(),
        }
    }

    /// A segment that is on the disk with `size` durable bytes; its indexes are not loaded.
    pub fn on_disk(base_offset: i64, next_offset: i64, size: u32, sealed: bool) -> Segment {
        Segment {
            next_offset,
            size,
            written: size,
            flushed: size,
            sealed,
            trimmed: sealed,
            on_disk: true,
            allocated: u64::from(size),
            index_from: size,
            max_timestamp_ms: if size == 0 { Some(i64::MIN) } else { None },
            ..Segment::new(base_offset)
        }
    }

    /// Below this position the file's bytes never change: what `sendfile` may serve.
    pub fn send_mark(&self, alignment: u32) -> u32 {
        if self.sealed && self.flushed == self.size { self.size } else { self.flushed & !(alignment - 1) }
    }

    /// Notes a batch put at the end.
    pub fn add_batch(&mut self, bytes: u32, next_offset: i64, base_offset: i64, max_timestamp_ms: i64, interval_bytes: u32, now_ms: i64) {
        debug_assert!(!self.sealed && base_offset >= self.next_offset && next_offset > base_offset);
        // Appends keep relative offsets within 31 bits: the segment is rolled before.
        let relative_offset = (base_offset - self.base_offset) as u32;
        self.index.add_batch(relative_offset, self.size, bytes, base_offset, max_timestamp_ms, interval_bytes);
        if self.size == 0 {
            self.first_timestamp_ms = Some(max_timestamp_ms);
        }
        self.max_timestamp_ms = self.max_timestamp_ms.map(|max| max.max(max_timestamp_ms));
        self.size += bytes;
        self.next_offset = next_offset;
        self.first_append_ms.get_or_insert(now_ms);
        self.last_append_ms = Some(now_ms);
    }

    /// Forgets the loaded indexes of a sealed segment, and the sums that the sidecar has.
    pub fn unload_index(&mut self) {
        self.sums.forget_below(self.sums_saved);
        self.index = SegmentIndex::default();
        self.index_from = self.size;
    }
}

/// Both indexes of a run of batches and the largest timestamp among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Offset -> position.
    pub offsets: OffsetIndex,
    /// Time -> position.
    pub times: TimeIndex,
    /// Largest timestamp and the base offset of the first batch that has it.
    pub max_timestamp: Option<(i64, i64)>,
    bytes_since_entry: u32,
}

impl SegmentIndex {
    /// Puts together what index files hold.
    pub fn from_parts(offsets: OffsetIndex, times: TimeIndex, max_timestamp: Option<(i64, i64)>) -> SegmentIndex {
        SegmentIndex { offsets, times, max_timestamp, bytes_since_entry: 0 }
    }

    /// Memory it takes, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.offsets.size_bytes() + self.times.entries().len() * TimeIndex::ENTRY_BYTES
    }

    /// Notes a batch at `position`.
    pub fn add_batch(
        &mut self,
        relative_offset: u32,
        position: u32,
        bytes: u32,
        base_offset: i64,
        max_timestamp_ms: i64,
        interval_bytes: u32,
    ) {
        if self.offsets.entries().is_empty() || self.bytes_since_entry >= interval_bytes {
            self.bytes_since_entry = 0;
            self.offsets.push(OffsetEntry { relative_offset, position });
            if let Some((max_timestamp_ms, _)) = self.max_timestamp {
                self.times.push(TimeEntry { max_timestamp_ms, relative_offset, position });
            }
        }
        self.bytes_since_entry = self.bytes_since_entry.saturating_add(bytes);
        if self.max_timestamp.is_none_or(|(max, _)| max < max_timestamp_ms) {
            self.max_timestamp = Some((max_timestamp_ms, base_offset));
        }
    }

    /// Puts the index of the part before this one in front.
    pub fn prepend(&mut self, head: SegmentIndex) {
        let head_max = head.max_timestamp.map_or(i64::MIN, |(max, _)| max);
        self.offsets.prepend(head.offsets);
        self.times.prepend(head.times, head_max);
        if self.max_timestamp.is_none_or(|(max, _)| max <= head_max) {
            self.max_timestamp = head.max_timestamp.or(self.max_timestamp);
        }
    }
}

/// What an index file says besides its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexFileHeader {
    /// Base offset of the segment.
    pub base_offset: i64,
    /// Bytes of the segment that the index covers.
    pub covered: u32,
    /// Offset behind the last batch covered.
    pub next_offset: i64,
    /// Largest timestamp covered and the base offset of the first batch that has it.
    pub max_timestamp: Option<(i64, i64)>,
}

/// Bytes of an index file: which of the two it is, its header, its entries.
pub fn encode_index_file(magic: &[u8; 8], header: &IndexFileHeader, entry_bytes: usize, entries: &[u8]) -> Vec<u8> {
    let (max_timestamp, max_timestamp_offset) = header.max_timestamp.unwrap_or((i64::MIN, -1));
    let mut out = Vec::with_capacity(INDEX_HEADER_BYTES + entries.len());
    out.extend_from_slice(magic);
    out.extend_from_slice(&INDEX_VERSION.to_le_bytes());
    out.extend_from_slice(&(entry_bytes as u16).to_le_bytes());
    out.extend_from_slice(&((entries.len() / entry_bytes) as u32).to_le_bytes());
    out.extend_from_slice(&header.base_offset.to_le_bytes());
    out.extend_from_slice(&header.next_offset.to_le_bytes());
    out.extend_from_slice(&max_timestamp.to_le_bytes());
    out.extend_from_slice(&max_timestamp_offset.to_le_bytes());
    out.extend_from_slice(&header.covered.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(entries);
    let crc = crc32fast::hash(&out);
    out[52..56].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads an index file; an error text when it is not whole, of another kind, of another segment or of another version.
pub fn decode_index_file<'a>(
    magic: &[u8; 8],
    base_offset: i64,
    entry_bytes: usize,
    file: &'a [u8],
) -> Result<(IndexFileHeader, &'a [u8]), &'static str> {
    let (fixed, entries) = file.split_first_chunk::<INDEX_HEADER_BYTES>().ok_or("shorter than its header")?;
    let long = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    let int = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    let short = |at: usize| u16::from_le_bytes(std::array::from_fn(|i| fixed[at + i]));
    if &fixed[..8] != magic {
        return Err("another kind of file");
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&fixed[..52]);
    hasher.update(&[0; 4]);
    hasher.update(&fixed[56..]);
    hasher.update(entries);
    if hasher.finalize() != int(52) {
        return Err("bad checksum");
    }
    if short(8) != INDEX_VERSION || usize::from(short(10)) != entry_bytes {
        return Err("another version");
    }
    if entries.len() != int(12) as usize * entry_bytes {
        return Err("another number of entries than it says");
    }
    if long(16) != base_offset || long(24) < base_offset {
        return Err("of another segment");
    }
    let max_timestamp = (long(40) >= 0).then(|| (long(32), long(40)));
    Ok((IndexFileHeader { base_offset, covered: int(48), next_offset: long(24), max_timestamp }, entries))
}

/// First bytes of an offset index file.
pub const OFFSET_INDEX_MAGIC: &[u8; 8] = b"CLN-OIDX";
/// First bytes of a time index file.
pub const TIME_INDEX_MAGIC: &[u8; 8] = b"CLN-TIDX";
/// Bytes before the first entry.
pub const INDEX_HEADER_BYTES: usize = 60;
const INDEX_VERSION: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Segment {
        let mut s = Segment::new(100);
        for i in 0..10 {
            s.add_batch(1000, 100 + (i + 1) * 5, 100 + i * 5, 1_000 + (i % 4) * 10, 2500, 77);
        }
        s
    }

    #[test]
    fn indexes_grow_by_the_interval() {
        let s = filled();
        assert_eq!(s.size, 10_000);
        assert_eq!(s.next_offset, 150);
        assert_eq!(s.first_append_ms, Some(77));
        assert_eq!(s.index.offsets.entries().iter().map(|e| e.position).collect::<Vec<_>>(), [0, 3000, 6000, 9000]);
        assert_eq!(
            s.index.times.entries().iter().map(|e| (e.max_timestamp_ms, e.position)).collect::<Vec<_>>(),
            [(1020, 3000), (1030, 6000)]
        );
        assert_eq!(s.index.max_timestamp, Some((1030, 115)));
    }

    #[test]
    fn an_index_built_in_two_parts_finds_the_same() {
        let whole = filled();
        let mut head = SegmentIndex::default();
        let mut tail = SegmentIndex::default();
        for i in 0..10u32 {
            let part = if i < 5 { &mut head } else { &mut tail };
            part.add_batch(i * 5, i * 1000, 1000, 100 + i64::from(i) * 5, 1_000 + i64::from(i % 4) * 10, 2500);
        }
        tail.prepend(head);
        assert_eq!(tail.max_timestamp, whole.index.max_timestamp);
        for ts in [990, 1000, 1015, 1030, 1031] {
            assert!(tail.times.search_start(ts) <= 3000 || ts > 1030);
        }
    }

    #[test]
    fn index_files_round_trip_and_any_changed_byte_is_found() {
        let s = filled();
        let header =
            IndexFileHeader { base_offset: 100, covered: s.size, next_offset: s.next_offset, max_timestamp: s.index.max_timestamp };
        let mut entries = Vec::new();
        s.index.offsets.encode(&mut entries);
        let file = encode_index_file(OFFSET_INDEX_MAGIC, &header, 8, &entries);
        assert_eq!(decode_index_file(OFFSET_INDEX_MAGIC, 100, 8, &file), Ok((header, entries.as_slice())));
        assert!(decode_index_file(TIME_INDEX_MAGIC, 100, 8, &file).is_err());
        assert!(decode_index_file(OFFSET_INDEX_MAGIC, 101, 8, &file).is_err());
        for at in 0..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x10;
            assert!(decode_index_file(OFFSET_INDEX_MAGIC, 100, 8, &bad).is_err(), "byte {at}");
            assert!(decode_index_file(OFFSET_INDEX_MAGIC, 100, 8, &file[..at]).is_err(), "cut {at}");
        }
    }

    #[test]
    fn the_send_mark_is_whole_blocks_until_the_segment_is_sealed_and_flushed() {
        let mut s = filled();
        assert_eq!(s.send_mark(4096), 0);
        s.written = 9000;
        s.flushed = 9000;
        assert_eq!(s.send_mark(4096), 8192);
        s.sealed = true;
        assert_eq!(s.send_mark(4096), 8192);
        s.flushed = s.size;
        assert_eq!(s.send_mark(4096), 10_000);
    }
}
