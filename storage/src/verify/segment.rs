//! The segments of one partition: every batch, the blocks against their checksums, the indexes against the batches.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use coreline_wire::ids::TopicPartition;
use coreline_wire::record::batch::HEADER_BYTES;
use coreline_wire::record::{BatchHeader, Origin, RawBatch};

use super::{Finding, Item, SegmentSummary, Severity, Visit, of_error};
use crate::checkpoint::CheckpointEntry;
use crate::error::StorageError;
use crate::io::{Disk, DiskFile, OfflineDisk, OpenMode};
use crate::segment::offset_index::OffsetIndex;
use crate::segment::sums::{SUM_BLOCK_BYTES, SUMS_FILE_BYTES_MAX, SegmentSums, decode_signed, extend_sum};
use crate::segment::time_index::TimeIndex;
use crate::segment::{OFFSET_INDEX_MAGIC, TIME_INDEX_MAGIC, decode_index_file, name};

/// Walks the segments, oldest first.
pub(super) async fn walk(disk: &OfflineDisk, dir: &Path, tp: TopicPartition, entry: &CheckpointEntry, logs: &[LogFile], visit: Visit<'_>) {
    let point = entry.point;
    let mut wrong = |base: i64, why: String| {
        visit(Item::Finding(Finding { severity: Severity::Damage, path: dir.join(name::log_file(base)), position: None, why }));
    };
    if point.position > 0 && !logs.iter().any(|log| log.base == point.segment_base) {
        wrong(point.segment_base, format!("missing, the checkpoint says {} bytes", point.position));
    }
    if let Some(first) = logs.first().map(|log| log.base).filter(|first| *first > entry.log_start) {
        wrong(first, format!("it is the first segment, and the log starts at offset {}: segments are missing", entry.log_start));
    }
    let mut next_offset = None;
    for (index, &LogFile { base, size, waits }) in logs.iter().enumerate() {
        let limit = if base == point.segment_base { u64::from(point.position) } else { size };
        if base > point.segment_base {
            // Written behind the checkpoint: what counts of it is in the journal.
            continue;
        }
        if let Some(expected) = next_offset.filter(|expected| *expected > base) {
            let why = format!("begins at offset {base}, the segment before it ends with {expected}");
            visit(Item::Finding(Finding { severity: Severity::Damage, path: dir.join(name::log_file(base)), position: None, why }));
        }
        let following = logs.get(index + 1).map(|next| next.base).filter(|_| base != point.segment_base);
        let (log, sums) = match waits {
            Some(of) => (name::compacted_file(base, of), name::compacted_sums_file(base, of)),
            None => (name::log_file(base), name::sums_file(base)),
        };
        // An index beside one that waits is the old segment's.
        let indexed = waits.is_none();
        let mut one = One { disk, dir, tp, base, size, limit, entry, log, sums, indexed, starts: BTreeMap::new(), following };
        next_offset = one.walk(visit).await;
    }
}

/// A file with the batches of a segment.
#[derive(Clone, Copy)]
pub(super) struct LogFile {
    pub(super) base: i64,
    pub(super) size: u64,
    /// It waits for its name since the exchange of this generation.
    pub(super) waits: Option<u64>,
}

/// One segment.
struct One<'a> {
    disk: &'a OfflineDisk,
    dir: &'a Path,
    tp: TopicPartition,
    base: i64,
    size: u64,
    /// Bytes that count.
    limit: u64,
    entry: &'a CheckpointEntry,
    /// Name of the file with its batches.
    log: String,
    /// Name of the file with its checksums.
    sums: String,
    /// It may have indexes.
    indexed: bool,
    /// Position and base offset of every batch that an index entry may name; as sparse as the index.
    starts: BTreeMap<u32, i64>,
    /// Where the next segment begins.
    following: Option<i64>,
}

impl One<'_> {
    fn finding(&self, severity: Severity, file: &str, position: Option<u64>, why: impl Into<String>) -> Item<'static> {
        Item::Finding(Finding { severity, path: self.dir.join(file), position, why: why.into() })
    }

    /// The offset behind the last batch, when it could be read so far.
    async fn walk(&mut self, visit: Visit<'_>) -> Option<i64> {
        let log = self.log.clone();
        if self.size < self.limit {
            visit(self.finding(Severity::Damage, &log, Some(self.size), format!("ends there, the checkpoint says {} bytes", self.limit)));
        }
        self.limit = self.limit.min(self.size);
        let file = match self.disk.open(&self.dir.join(&log), OpenMode::Read).await {
            Ok(file) => file,
            Err(error) => {
                visit(Item::Finding(of_error(self.dir, Severity::Damage, &error.into())));
                return None;
            }
        };
        let offsets = self.index(&name::offset_index_file(self.base), OFFSET_INDEX_MAGIC, OffsetIndex::ENTRY_BYTES, visit).await;
        let times = self.index(&name::time_index_file(self.base), TIME_INDEX_MAGIC, TimeIndex::ENTRY_BYTES, visit).await;
        let checked = match self.blocks(&file, visit).await {
            Ok(checked) => checked,
            Err(error) => {
                visit(Item::Finding(of_error(self.dir, Severity::Damage, &error)));
                0
            }
        };
        let named = self.named_positions(offsets.as_deref(), times.as_deref());
        let summary = self.batches(&file, &named, checked, visit).await;
        for (position, relative) in named {
            if self.starts.get(&position) != Some(&(self.base + i64::from(relative))) && u64::from(position) < summary.bytes {
                let why = format!("names offset {} at position {position}, where no such batch begins", self.base + i64::from(relative));
                visit(self.finding(Severity::Repairable, &name::offset_index_file(self.base), None, why));
                break;
            }
        }
        let next_offset = summary.next_offset;
        visit(Item::Segment(summary));
        Some(next_offset)
    }

    /// The entries' bytes of an index file.
    async fn index(&self, file: &str, magic: &[u8; 8], entry_bytes: usize, visit: Visit<'_>) -> Option<Vec<u8>> {
        if !self.indexed {
            return None;
        }
        let bytes = match self.disk.read_file(&self.dir.join(file), INDEX_BYTES_MAX).await {
            Ok(bytes) => bytes?,
            Err(error) => {
                visit(Item::Finding(of_error(self.dir, Severity::Repairable, &error.into())));
                return None;
            }
        };
        match decode_index_file(magic, self.base, entry_bytes, &bytes) {
            Ok((header, entries)) => {
                visit(Item::Index { tp: self.tp, file: file.to_string(), entries: entries.len() / entry_bytes, covered: header.covered });
                Some(entries.to_vec())
            }
            Err(why) => {
                visit(self.finding(Severity::Repairable, file, None, why));
                None
            }
        }
    }

    /// Where the indexes say that batches begin: position and relative offset.
    fn named_positions(&self, offsets: Option<&[u8]>, times: Option<&[u8]>) -> BTreeMap<u32, u32> {
        let limit = u32::try_from(self.limit).unwrap_or(u32::MAX);
        let offsets = offsets.and_then(|bytes| OffsetIndex::decode(bytes, limit).ok()).unwrap_or_default();
        let times = times.and_then(|bytes| TimeIndex::decode(bytes, limit).ok()).unwrap_or_default();
        let offsets = offsets.entries().iter().map(|e| (e.position, e.relative_offset));
        offsets.chain(times.entries().iter().map(|e| (e.position, e.relative_offset))).collect()
    }

    /// Compares the blocks with the sidecar and with what the checkpoint has of it; answers with how many were compared.
    async fn blocks(&self, file: &<OfflineDisk as Disk>::File, visit: Visit<'_>) -> Result<u64, StorageError> {
        let sums_file = self.sums.clone();
        let sidecar = match self.disk.read_file(&self.dir.join(&sums_file), SUMS_FILE_BYTES_MAX).await? {
            None => None,
            Some(bytes) => match decode_signed(self.base, self.tp, &bytes) {
                Ok(sidecar) => Some(sidecar),
                Err(why) => {
                    visit(self.finding(Severity::Repairable, &sums_file, None, why));
                    None
                }
            },
        };
        let point = self.entry.point;
        let active = self.base == point.segment_base;
        let saved = active.then(|| SegmentSums::from_saved(&self.entry.sums, point.position));
        if let (Some(sidecar), Some(following)) = (&sidecar, self.following) {
            if u64::from(sidecar.sums.end()) > self.size {
                let why = format!("ends there, {} bytes were written", sidecar.sums.end());
                visit(self.finding(Severity::Damage, &self.log, Some(self.size), why));
            } else if sidecar.next_offset != following {
                let why =
                    format!("ends before offset {}, the next segment begins at {following}: segments are missing", sidecar.next_offset);
                visit(self.finding(Severity::Damage, &self.log, None, why));
            }
        }
        let mut checked = 0;
        for block in 0..self.limit.div_ceil(u64::from(SUM_BLOCK_BYTES)) as u32 {
            let start = u64::from(block) * u64::from(SUM_BLOCK_BYTES);
            let end = (start + u64::from(SUM_BLOCK_BYTES)).min(self.limit);
            let whole = end - start == u64::from(SUM_BLOCK_BYTES);
            let expected = match (&saved, &sidecar) {
                (Some(saved), _) if whole && saved.block(block).is_some() => saved.block(block),
                (Some(_), _) if !whole && active => self.entry.sums.prefix,
                (_, Some(sidecar)) if whole => sidecar.sums.block(block),
                (_, Some(sidecar)) if u64::from(sidecar.sums.end()) == end => Some(sidecar.sums.marks().end.sum),
                _ => None,
            };
            let Some(expected) = expected else { continue };
            let bytes = file.read_at(start, (end - start) as usize).await?;
            checked += 1;
            if extend_sum(0, &bytes) != expected {
                let why = format!("bytes {start}..{end} are not what was written there");
                visit(self.finding(Severity::Damage, &self.log, Some(start), why));
            }
        }
        Ok(checked)
    }

    /// Walks the batches as far as they can be read.
    async fn batches(
        &mut self,
        file: &<OfflineDisk as Disk>::File,
        named: &BTreeMap<u32, u32>,
        blocks_checked: u64,
        visit: Visit<'_>,
    ) -> SegmentSummary {
        let mut summary = SegmentSummary {
            tp: self.tp,
            base_offset: self.base,
            bytes: 0,
            batches: 0,
            records: 0,
            next_offset: self.base,
            max_timestamp: -1,
            blocks_checked,
        };
        let log = self.log.clone();
        let mut epoch = -1;
        let mut window = Bytes::new();
        while summary.bytes < self.limit {
            let position = summary.bytes;
            let left = self.limit - position;
            let header = loop {
                match BatchHeader::parse(&window) {
                    Ok(header) if window.len() >= header.size_bytes() => break Ok(header),
                    Ok(header) if header.size_bytes() as u64 <= left => {
                        window = match self.read(file, position, header.size_bytes()).await {
                            Ok(bytes) => bytes,
                            Err(error) => break Err(error.to_string()),
                        }
                    }
                    Ok(header) => break Err(format!("a batch of {} bytes where {left} are left", header.size_bytes())),
                    Err(_) if window.len() < HEADER_BYTES && left >= HEADER_BYTES as u64 => {
                        window = match self.read(file, position, HEADER_BYTES).await {
                            Ok(bytes) => bytes,
                            Err(error) => break Err(error.to_string()),
                        }
                    }
                    Err(error) => break Err(error.to_string()),
                }
            };
            let header = match header {
                Ok(header) => header,
                Err(why) => {
                    visit(self.finding(Severity::Damage, &log, Some(position), format!("{why}; what follows was not read")));
                    break;
                }
            };
            let bytes = window.split_to(header.size_bytes());
            if let Err(error) = RawBatch::new(bytes.clone()).validate(Origin::Log) {
                visit(self.finding(Severity::Damage, &log, Some(position), format!("the batch at offset {}: {error}", header.base_offset)));
            }
            if header.base_offset < summary.next_offset {
                let why = format!("a batch at offset {} where {} follows", header.base_offset, summary.next_offset);
                visit(self.finding(Severity::Damage, &log, Some(position), why));
            }
            if header.partition_leader_epoch < epoch {
                let why = format!("leader epoch {} after {epoch}", header.partition_leader_epoch);
                visit(self.finding(Severity::Damage, &log, Some(position), why));
            }
            epoch = header.partition_leader_epoch;
            let at = u32::try_from(position).unwrap_or(u32::MAX);
            if named.contains_key(&at) {
                self.starts.insert(at, header.base_offset);
            }
            visit(Item::Batch { tp: self.tp, segment: self.base, position, header: &header, bytes: &bytes });
            summary.batches += 1;
            summary.records += u64::try_from(header.record_count).unwrap_or(0);
            summary.next_offset = header.next_offset();
            summary.max_timestamp = summary.max_timestamp.max(header.max_timestamp);
            summary.bytes += bytes.len() as u64;
        }
        summary
    }

    /// At least `len` bytes from a position, a window's worth when there are so many.
    async fn read(&self, file: &<OfflineDisk as Disk>::File, position: u64, len: usize) -> Result<Bytes, StorageError> {
        let want = (len.max(WINDOW_BYTES) as u64).min(self.limit - position) as usize;
        Ok(file.read_at(position, want).await?.into())
    }
}

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Largest index file that is looked at, bytes.
const INDEX_BYTES_MAX: usize = 64 << 20;
